//! Clients that vanish take nothing with them.

mod common;

use common::{Client, Server, Tree};
use rustix::net::sockopt::set_socket_linger;

/// Closes with a reset.
fn reset(client: Client) {
    set_socket_linger(client.stream(), Some(std::time::Duration::ZERO)).unwrap();
}

#[test]
fn resets_at_every_stage() {
    let tree = Tree::new();
    tree.noise("big", 32 * 1024 * 1024);
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &[]);
    let mut witness = server.client();
    for round in 0..20 {
        // Before a request, within a head, within a body, with the answer unread, within an answer.
        reset(server.client());
        let mut head = server.client();
        head.send("GET /a.txt HT");
        reset(head);
        let mut body = server.client();
        body.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
        reset(body);
        let mut unread = server.client();
        unread.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        reset(unread);
        let mut answer = server.client();
        answer.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(answer.response_head().status, 200);
        reset(answer);
        server.wait_for_log(&["/big", "aborted=true"]);
        assert_eq!(witness.get("/a.txt").text(), "a", "round {round}");
    }
    assert_eq!(server.client().get("/a.txt").text(), "a");
    drop(witness);
    server.stop();
}
