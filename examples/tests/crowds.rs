//! More connections than allowed are told so, and those allowed stay.

mod common;

use common::{Server, Tree};

#[test]
fn too_many_connections_get_503() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &["--max-connections", "3"]);
    let mut allowed: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut allowed {
        assert_eq!(client.get("/a.txt").text(), "a");
    }
    let mut extra = server.client();
    extra.offer("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = extra.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (503, Some("close"))
    );
    extra.expect_end();
    for client in &mut allowed {
        assert_eq!(client.get("/a.txt").text(), "a");
    }
    // One leaves, and once the server has seen that, another may come.
    let mut gone = allowed.pop().unwrap();
    gone.finish();
    gone.expect_end();
    drop(extra);
    let mut status = 503;
    while status == 503 {
        let mut next = server.client();
        next.offer("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        status = next.response().status;
    }
    assert_eq!(status, 200);
    server.stop();
}
