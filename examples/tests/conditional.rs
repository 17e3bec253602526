//! A client that has the file already is told so.

mod common;

use std::time::{Duration, SystemTime};

use common::{Server, Tree};

#[test]
fn by_date_and_by_tag() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250);
    let file = std::fs::File::options()
        .write(true)
        .open(tree.root().join("a.txt"))
        .unwrap();
    file.set_modified(time).unwrap();
    let server = Server::start(&tree, &[]);
    let mut client = server.client();

    let response = client.get("/a.txt");
    assert_eq!(
        response.header("last-modified"),
        Some("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    let etag = response.header("etag").unwrap().to_owned();

    let none_match = format!("If-None-Match: {etag}\r\n");
    let weak = format!("If-None-Match: \"x\", W/{etag}\r\n");
    let matches = format!("If-Match: {etag}\r\n");
    for (lines, status) in [
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 304),
        ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304),
        ("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", 304),
        ("If-Modified-Since: Mon, 07 Nov 1994 08:49:37 GMT\r\n", 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", 200),
        ("If-Modified-Since: last week\r\n", 200),
        (
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            200,
        ),
        (
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n",
            412,
        ),
        ("If-None-Match: *\r\n", 304),
        (&none_match, 304),
        (&weak, 304),
        (
            "If-None-Match: \"x\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            200,
        ),
        (&matches, 200),
        ("If-Match: \"x\"\r\n", 412),
    ] {
        let response = client.get_with("/a.txt", lines);
        assert_eq!(response.status, status, "{lines}");
        if status == 304 {
            assert_eq!(response.header("etag"), Some(&*etag));
            assert_eq!(response.header("content-length"), None);
        }
    }
    // The connection is still in step.
    assert_eq!(client.get("/a.txt").text(), "a");
    server.stop();
}

#[test]
fn another_content_has_another_tag() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    let before = client.get("/a.txt").header("etag").unwrap().to_owned();
    tree.file("a.txt", "ab");
    let response = client.get_with("/a.txt", &format!("If-None-Match: {before}\r\n"));
    assert_eq!((response.status, response.text()), (200, "ab"));
    server.stop();
}
