//! Slow and silent clients are let go. No wall-clock time is asserted: only that the end comes, and
//! which one.

mod common;

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, Server, Tree};

/// Long enough that nothing else runs into it.
const LONG: &str = "50s";
const SHORT: &str = "300ms";

fn serve(options: &[&str]) -> (Tree, Server) {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let server = Server::start(&tree, options);
    (tree, server)
}

/// Sends the byte again and again until the server says something.
fn drip(client: &mut Client, byte: u8) {
    let pace = Duration::from_millis(20);
    client.stream().set_read_timeout(Some(pace)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        client.offer([byte]);
        match client.stream().peek(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => break,
        }
        assert!(Instant::now() < deadline, "the server never loses patience");
    }
    client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn idle_connections_are_closed_without_a_word() {
    let (_tree, server) = serve(&["--idle-timeout", SHORT, "--header-timeout", LONG]);
    let mut silent = server.client();
    let mut kept = server.client();
    assert_eq!(kept.get("/a.txt").text(), "a");
    kept.expect_end();
    silent.expect_end();
    // Line breaks are no requests.
    let mut blank = server.client();
    drip(&mut blank, b'\n');
    blank.expect_end();
    server.stop();
}

#[test]
fn a_head_half_sent_is_answered_with_408() {
    let (_tree, server) = serve(&["--idle-timeout", LONG, "--header-timeout", SHORT]);
    let mut client = server.client();
    assert_eq!(client.get("/a.txt").text(), "a");
    client.send("GET /a.txt HTTP/1.1\r\nHost:");
    let response = client.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (408, Some("close"))
    );
    client.expect_end();
    server.stop();
}

#[test]
fn the_time_for_a_head_is_for_all_of_it() {
    let (_tree, server) = serve(&["--idle-timeout", LONG, "--header-timeout", SHORT]);
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nA: ");
    drip(&mut client, b'a');
    assert_eq!(client.response().status, 408);
    server.stop();
}

#[test]
fn the_time_for_a_body_is_for_all_of_it() {
    let (_tree, server) = serve(&["--idle-timeout", LONG, "--header-timeout", SHORT]);
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    drip(&mut client, b'a');
    assert_eq!(client.response().status, 408);
    server.stop();
}

#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let (tree, server) = serve(&["--write-timeout", SHORT]);
    let content = tree.noise("big", 64 * 1024 * 1024);
    let mut client = server.client();
    client.send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    server.wait_for_log(&["/big", "aborted=true"]);
    let mut rest = Vec::new();
    // An end or a reset; in any case not the whole file.
    let _ = client.stream().read_to_end(&mut rest);
    assert!(rest.len() < content.len());
    assert_eq!(server.client().get("/a.txt").text(), "a");
    server.stop();
}
