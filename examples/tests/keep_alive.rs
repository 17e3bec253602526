//! Many requests on one connection: kept or closed as agreed, answered in order, bodies skipped.

mod common;

use common::{Server, Tree};

fn serve() -> (Tree, Server) {
    let tree = Tree::new();
    tree.file("a.txt", "a")
        .file("b.txt", "bb")
        .file("empty", "");
    let server = Server::start(&tree, &["--max-body", "100000"]);
    (tree, server)
}

#[test]
fn kept_or_closed() {
    let (_tree, server) = serve();
    for (head, said, kept) in [
        ("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", None, true),
        (
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
            None,
            true,
        ),
        (
            "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: foo, CLOSE\r\n\r\n",
            Some("close"),
            false,
        ),
        ("GET /a.txt HTTP/1.0\r\n\r\n", Some("close"), false),
        (
            "GET /a.txt HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            Some("keep-alive"),
            true,
        ),
    ] {
        let mut client = server.client();
        for _ in 0..3 {
            client.send(head);
            let response = client.response();
            assert_eq!((response.status, response.text()), (200, "a"), "{head}");
            assert_eq!(response.header("connection"), said, "{head}");
            if !kept {
                client.expect_end();
                break;
            }
        }
    }
    server.stop();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (tree, server) = serve();
    let noise = tree.noise("noise.bin", 300_000);
    let mut client = server.client();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = "HEAD /b.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    let round = [
        &get("/a.txt"),
        &get("/noise.bin"),
        head,
        &get("/none"),
        &get("/b.txt"),
    ]
    .concat();
    for _ in 0..10 {
        client.send(&round);
        assert_eq!(client.response().text(), "a");
        assert!(client.response().body == noise);
        assert_eq!(client.response_head().header("content-length"), Some("2"));
        assert_eq!(client.response().status, 404);
        assert_eq!(client.response().text(), "bb");
    }
    // Cut anywhere, a request is the same request.
    for byte in get("/a.txt").into_bytes() {
        client.send([byte]);
    }
    assert_eq!(client.response().text(), "a");
    // What follows a request that closes is not answered.
    client.send(
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned() + &get("/b.txt"),
    );
    assert_eq!(client.response().text(), "a");
    client.expect_end();
    server.stop();
}

#[test]
fn head_is_get_without_the_body() {
    let (_tree, server) = serve();
    let mut client = server.client();
    for target in ["/a.txt", "/empty", "/none", "/%zz"] {
        let get = client.get(target);
        let head = client.head(target);
        assert_eq!(head.status, get.status, "{target}");
        for name in ["content-length", "content-type", "last-modified", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
    }
    assert_eq!(client.get("/a.txt").text(), "a");
    server.stop();
}

#[test]
fn bodies_are_skipped() {
    let (_tree, server) = serve();
    let mut client = server.client();
    let big = "x".repeat(90_000);
    for body in [
        "Content-Length: 0\r\n\r\n".to_owned(),
        "Content-Length: 3\r\n\r\nabc".to_owned(),
        "Content-Length: 3\r\nContent-Length: 3\r\n\r\nGET".to_owned(),
        format!("Content-Length: 90000\r\n\r\n{big}"),
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n3;name=value\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
            .to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n"
            .to_owned(),
        format!("Transfer-Encoding: chunked\r\n\r\n15f90\r\n{big}\r\n0\r\n\r\n"),
        // A line break too many after the body, as some clients send.
        "Content-Length: 3\r\n\r\nabc\r\n".to_owned(),
    ] {
        for (method, status) in [("GET", 200), ("POST", 405)] {
            client.send(format!("{method} /a.txt HTTP/1.1\r\nHost: x\r\n{body}"));
            assert_eq!(client.response().status, status, "{method} {}", &body[..20]);
        }
        assert_eq!(client.get("/b.txt").text(), "bb", "{}", &body[..20]);
    }
    server.stop();
}

#[test]
fn a_client_that_asks_before_it_sends() {
    let (_tree, server) = serve();
    let expect = |method: &str, len: u32| {
        format!(
            "{method} /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len}\r\n\r\n"
        )
    };
    let mut client = server.client();
    client.send(expect("GET", 3));
    assert_eq!(client.response().status, 100);
    client.send("abc");
    assert_eq!(client.response().text(), "a");
    // It did not wait: no word that nobody waits for.
    client.send(expect("GET", 3) + "abc");
    assert_eq!(client.response().status, 200);
    // Nothing to wait for.
    client.send(expect("GET", 0));
    assert_eq!(client.response().status, 200);
    // Refused before the body is sent: the answer at once, and no guessing whether the body comes.
    for (method, len, status) in [("POST", 3, 405), ("GET", 200_000, 413)] {
        let mut client = server.client();
        client.send(expect(method, len));
        let response = client.response();
        assert_eq!(
            (response.status, response.header("connection")),
            (status, Some("close"))
        );
        client.expect_end();
    }
    server.stop();
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answers() {
    let (_tree, server) = serve();
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /b.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    client.finish();
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.response().text(), "bb");
    client.expect_end();
    server.stop();
}
