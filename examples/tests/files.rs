//! What is served: regular files and index pages, with the right type and every byte.

mod common;

use common::{Server, Tree};
use rustix::fs::{CWD, FileType, Mode, mknodat};

#[test]
fn every_size_arrives_whole() {
    let tree = Tree::new();
    let sizes = [0, 1, 1000, 131_071, 131_072, 131_073, 262_144, 3_000_001];
    let contents: Vec<_> = sizes
        .iter()
        .map(|len| tree.noise(&len.to_string(), *len))
        .collect();
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for (len, content) in sizes.iter().zip(&contents) {
        let response = client.get(&format!("/{len}"));
        assert_eq!(response.status, 200);
        assert!(response.body == *content, "{len}");
    }
    server.stop();
}

#[test]
fn types_come_from_names() {
    let tree = Tree::new();
    for name in [
        "a.html",
        "a.CSS",
        "a.js",
        "a.tar.gz",
        "a.png",
        "a.unknown",
        "plain",
    ] {
        tree.file(name, "x");
    }
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for (name, wanted) in [
        ("a.html", "text/html; charset=utf-8"),
        ("a.CSS", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.tar.gz", "application/gzip"),
        ("a.png", "image/png"),
        ("a.unknown", "application/octet-stream"),
        ("plain", "application/octet-stream"),
    ] {
        assert_eq!(
            client.get(&format!("/{name}")).header("content-type"),
            Some(wanted)
        );
    }
    server.stop();
}

#[test]
fn directories_are_their_index_page() {
    let tree = Tree::new();
    tree.file("index.html", "top")
        .file("sub/index.html", "sub")
        .file("bare/a.txt", "a");
    std::fs::create_dir_all(tree.root().join("odd/index.html")).unwrap();
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    assert_eq!(client.get("/").text(), "top");
    assert_eq!(client.get("/?x=y").text(), "top");
    assert_eq!(client.get("/sub/").text(), "sub");
    assert_eq!(
        client.get("/sub/").header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for (target, location) in [
        ("/sub", "/sub/"),
        ("/sub?a=b", "/sub/?a=b"),
        ("//sub", "/sub/"),
        ("/bare", "/bare/"),
    ] {
        let response = client.get(target);
        assert_eq!(
            (response.status, response.header("location")),
            (301, Some(location)),
            "{target}"
        );
    }
    for missing in [
        "/bare/",
        "/odd/",
        "/index.html/",
        "/sub/index.html/",
        "/none/",
    ] {
        assert_eq!(client.get(missing).status, 404, "{missing}");
    }
    server.stop();
}

#[test]
fn names_with_odd_characters() {
    let tree = Tree::new();
    tree.file("a b+c%&?#.txt", "odd")
        .file("é/ü.txt", "accents")
        .file("...", "dots");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    assert_eq!(client.get("/a%20b+c%25&%3F%23.txt").text(), "odd");
    assert_eq!(client.get("/%C3%A9/%c3%bc.txt").text(), "accents");
    assert_eq!(client.get("/...").text(), "dots");
    assert_eq!(client.get("/%C3%A9").header("location"), Some("/%C3%A9/"));
    server.stop();
}

#[test]
fn what_is_no_regular_file_does_not_exist() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    mknodat(
        CWD,
        tree.root().join("fifo"),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    for name in ["/fifo", "/socket", "/fifo/", "/a.txt/x"] {
        assert_eq!(client.get(name).status, 404, "{name}");
    }
    let long = format!("/{}", "a".repeat(5000));
    assert_eq!(client.get(&long).status, 404);
    assert_eq!(client.get("/a.txt").text(), "a");
    server.stop();
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_its_connection_only() {
    let tree = Tree::new();
    tree.noise("big", 64 * 1024 * 1024);
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    client.response_head();
    let file = std::fs::File::options()
        .write(true)
        .open(tree.root().join("big"))
        .unwrap();
    file.set_len(1000).unwrap();
    // The rest cannot come: the connection ends short of the promised length.
    let sent = std::io::copy(&mut client.stream(), &mut std::io::sink()).unwrap_or(0);
    assert!(sent < 64 * 1024 * 1024);
    server.wait_for_log(&["aborted=true", "/big"]);
    assert_eq!(server.client().get("/a.txt").text(), "a");
    server.stop();
}
