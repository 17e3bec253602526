//! A signal ends the server in good order: what is in flight is finished, what is idle is closed,
//! the exit code is 0.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Client, Server, Tree};
use rustix::process::Signal;

const BIG: usize = 64 * 1024 * 1024;

/// A client in the middle of a download that no socket buffer can hold.
fn download(server: &Server) -> Client {
    let mut client = server.client();
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response_head().status, 200);
    client
}

fn serve(options: &[&str]) -> (Tree, Vec<u8>, Server) {
    let tree = Tree::new();
    let content = tree.noise("big", BIG);
    tree.file("a.txt", "a");
    let server = Server::start(&tree, options);
    (tree, content, server)
}

#[test]
fn requests_in_flight_are_finished_and_idle_connections_closed() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_tree, content, mut server) = serve(&["--drain-timeout", "50s"]);
        let mut fresh = server.client();
        let mut idle = server.client();
        assert_eq!(idle.get("/a.txt").text(), "a");
        let mut busy = download(&server);
        // One read of the server takes all of this, so with the answer it has begun the second
        // head.
        let mut half = server.client();
        half.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /a.txt HTTP/1.1\r\n");
        assert_eq!(half.response().text(), "a");

        server.signal(signal);
        server.wait_for_log(&["stopping"]);
        idle.expect_end();
        fresh.expect_end();
        half.send("Host: x\r\n\r\n");
        let last = half.response();
        assert_eq!(
            (last.text(), last.header("connection")),
            ("a", Some("close"))
        );
        half.expect_end();
        drop(half);
        assert!(busy.read_exact(BIG) == content);
        busy.expect_end();
        drop(busy);
        assert_eq!(server.wait().code(), Some(0));
        let log = server.rest_of_log();
        assert!(
            log.iter().any(|line| line.contains("stopped cut=0")),
            "{log:#?}"
        );
        assert!(TcpStream::connect(server.addr()).is_err());
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let (_tree, _content, mut server) =
        serve(&["--drain-timeout", "10m", "--write-timeout", "10m"]);
    let busy = download(&server);
    server.signal(Signal::TERM);
    server.wait_for_log(&["stopping"]);
    server.signal(Signal::INT);
    assert_eq!(server.wait().code(), Some(0));
    drop(busy);
}

#[test]
fn draining_has_an_end() {
    let (_tree, _content, mut server) =
        serve(&["--drain-timeout", "300ms", "--write-timeout", "10m"]);
    let busy = download(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    server.wait_for_log(&["stopped cut=1"]);
    drop(busy);
}

#[test]
fn a_stopping_server_accepts_nobody() {
    let (_tree, content, mut server) = serve(&["--drain-timeout", "50s"]);
    let mut busy = download(&server);
    server.signal(Signal::TERM);
    server.wait_for_log(&["stopping"]);
    // The signal is logged just before the listener is shut: a connection may still slip in, but
    // gets no answer.
    while let Ok(mut late) = TcpStream::connect(server.addr()) {
        let _ = late.write_all(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(matches!(late.read(&mut [0]), Ok(0) | Err(_)));
    }
    assert!(busy.read_exact(BIG) == content);
    drop(busy);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_server_without_connections_stops() {
    let (_tree, _content, server) = serve(&[]);
    server.stop();
}
