//! Parts of files: what is asked for is what comes.

mod common;

use common::{Server, Tree};

#[test]
fn one_range() {
    let tree = Tree::new();
    let content = tree.noise("noise.bin", 400_000);
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for (range, start, end) in [
        ("0-0", 0, 1),
        ("0-99", 0, 100),
        ("100-", 100, 400_000),
        ("399999-", 399_999, 400_000),
        ("-1", 399_999, 400_000),
        ("-300000", 100_000, 400_000),
        ("-999999", 0, 400_000),
        ("131071-131073", 131_071, 131_074),
        ("1-999999", 1, 400_000),
        ("0-399999", 0, 400_000),
    ] {
        let response = client.get_with("/noise.bin", &format!("Range: bytes={range}\r\n"));
        assert_eq!(response.status, 206, "{range}");
        let span = format!("bytes {start}-{}/400000", end - 1);
        assert_eq!(response.header("content-range"), Some(&*span), "{range}");
        assert!(response.body == content[start..end], "{range}");
    }
    server.stop();
}

#[test]
fn ranges_outside_the_file() {
    let tree = Tree::new();
    tree.file("ten", "0123456789").file("empty", "");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for (file, range, len) in [
        ("ten", "10-", 10),
        ("ten", "10-20", 10),
        ("ten", "-0", 10),
        ("empty", "0-", 0),
    ] {
        let response = client.get_with(&format!("/{file}"), &format!("Range: bytes={range}\r\n"));
        assert_eq!(response.status, 416, "{range}");
        assert_eq!(
            response.header("content-range"),
            Some(&*format!("bytes */{len}")),
            "{range}"
        );
    }
    server.stop();
}

#[test]
fn what_is_answered_with_the_whole_file() {
    let tree = Tree::new();
    tree.file("ten", "0123456789");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for lines in [
        "",
        "Range: bytes=0-1,3-4\r\n",
        "Range: bytes=5-2\r\n",
        "Range: bytes=x\r\n",
        "Range: lines=0-1\r\n",
        "Range: bytes=0-1\r\nRange: bytes=0-1\r\n",
        "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n",
        "Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ] {
        let response = client.get_with("/ten", lines);
        assert_eq!(
            (response.status, response.text()),
            (200, "0123456789"),
            "{lines}"
        );
        assert_eq!(response.header("accept-ranges"), Some("bytes"));
        assert_eq!(response.header("content-range"), None);
    }
    // A range is a matter of GET.
    client.send("HEAD /ten HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\n\r\n");
    let response = client.response_head();
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("10"))
    );
    server.stop();
}

#[test]
fn a_range_of_the_same_version() {
    let tree = Tree::new();
    tree.file("ten", "0123456789");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    let whole = client.get("/ten");
    for validator in ["last-modified", "etag"] {
        let version = whole.header(validator).unwrap();
        let response = client.get_with(
            "/ten",
            &format!("Range: bytes=2-3\r\nIf-Range: {version}\r\n"),
        );
        assert_eq!(
            (response.status, response.text()),
            (206, "23"),
            "{validator}"
        );
    }
    server.stop();
}
