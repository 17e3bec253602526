//! One line a request, on stderr.

mod common;

use common::{Server, Tree};

#[test]
fn a_line_for_every_request() {
    let tree = Tree::new();
    tree.file("a.txt", "hello");
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    let peer = format!("peer={}", client.stream().local_addr().unwrap());
    client.get("/a.txt?x=\"y\"");
    let line = server.wait_for_log(&["access"]);
    for word in [
        "INFO",
        &peer,
        "GET",
        "/a.txt?x=",
        "status=200",
        "bytes=5",
        "micros=",
    ] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(!line.contains("aborted"), "{line}");
    client.head("/a.txt");
    server.wait_for_log(&["HEAD", "status=200", "bytes=0"]);
    client.get("/none");
    server.wait_for_log(&["GET", "/none", "status=404"]);
    client.offer("\u{1}\r\n\r\n");
    server.wait_for_log(&["status=400"]);
    server.stop();
}

#[test]
fn nobody_reads_the_log() {
    let tree = Tree::new();
    tree.file("a.txt", "hello");
    let (_unread, log) = std::io::pipe().unwrap();
    let server = Server::start_with_log(&tree, log);
    let mut client = server.client();
    // Many times what a pipe holds.
    for _ in 0..5_000 {
        assert_eq!(client.get("/a.txt").text(), "hello");
    }
    server.stop();
}
