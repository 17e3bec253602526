//! Every kind of bad request has its status, and the server lives on.

mod common;

use common::{Server, Tree};

/// Sends the bytes, says that nothing more comes, and gives the status of the only response.
fn status(server: &Server, bytes: impl AsRef<[u8]>) -> u16 {
    let mut client = server.client();
    client.offer(bytes);
    let response = client.response();
    assert_eq!(response.header("connection"), Some("close"), "{response:?}");
    assert!(response.text().starts_with(&response.status.to_string()));
    client.expect_end();
    response.status
}

fn serve() -> (Tree, Server) {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &["--max-body", "1000"]);
    (tree, server)
}

#[test]
fn malformed_heads() {
    let (_tree, server) = serve();
    for bad in [
        "GARBAGE\r\n\r\n",
        "GET\r\n\r\n",
        "GET /a.txt\r\n\r\n",
        "GET /a.txt HTTP/1.1 more\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a.txt FTP/1.1\r\nHost: x\r\n\r\n",
        "G\u{0}T /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}",
    ] {
        assert_eq!(status(&server, bad), 400, "{bad:?}");
    }
    server.stop();
}

#[test]
fn hosts_versions_and_methods() {
    let (_tree, server) = serve();
    let get = |lines: &str| format!("GET /a.txt {lines}\r\n\r\n");
    assert_eq!(status(&server, get("HTTP/1.1")), 400);
    assert_eq!(status(&server, get("HTTP/1.1\r\nHost: a\r\nHost: b")), 400);
    assert_eq!(status(&server, get("HTTP/1.1\r\nHost: a b")), 400);
    assert_eq!(status(&server, get("HTTP/2.0\r\nHost: a")), 505);
    assert_eq!(status(&server, get("HTTP/0.9")), 505);
    assert_eq!(status(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);

    // These leave no doubt where the request ends, so the connection stays.
    let mut client = server.client();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        client.send(format!(
            "{method} /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        ));
        let response = client.response();
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    for other in ["OPTIONS * HTTP/1.1", "CONNECT a:80 HTTP/1.1"] {
        client.send(format!("{other}\r\nHost: x\r\n\r\n"));
        assert_eq!(client.response().status, 405, "{other}");
    }
    client.send("BREW /a.txt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 501);
    assert_eq!(client.get("*").status, 400);
    assert_eq!(client.get("/%zz").status, 400);
    assert_eq!(client.get("/none").status, 404);
    assert_eq!(client.get("/a.txt").text(), "a");
    server.stop();
}

#[test]
fn two_ways_to_end_a_request_are_one_too_many() {
    let (_tree, server) = serve();
    let get = |lines: &str| format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: -1",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length: five",
        "Content-Length:",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked, identity",
    ] {
        let smuggled = get(lines) + "0\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(status(&server, smuggled), 400, "{lines}");
    }
    assert_eq!(
        status(&server, get("Transfer-Encoding: gzip, chunked")),
        501
    );
    let old = "GET /a.txt HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&server, old), 400);
    server.stop();
}

#[test]
fn too_much_of_anything() {
    let (_tree, server) = serve();
    let get = |lines: &str| format!("GET /a.txt HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
    assert_eq!(
        status(&server, format!("GET /{} HTTP/1.1\r\n", "a".repeat(20_000))),
        414
    );
    assert_eq!(
        status(&server, get(&format!("A: {}", "a".repeat(20_000)))),
        431
    );
    assert_eq!(status(&server, get(&["A: b"; 101].join("\r\n"))), 431);
    assert_eq!(status(&server, get("Content-Length: 1001")), 413);
    assert_eq!(
        status(&server, get(&format!("Content-Length: {}", "9".repeat(40)))),
        413
    );
    let chunk = format!("3e8\r\n{}\r\n", "a".repeat(1000));
    assert_eq!(
        status(&server, get("Transfer-Encoding: chunked") + &chunk),
        413
    );
    assert_eq!(
        status(
            &server,
            get("Transfer-Encoding: chunked") + "fffffffffffffff0\r\n"
        ),
        413
    );
    server.stop();
}

#[test]
fn bodies_that_are_not_what_they_say() {
    let (_tree, server) = serve();
    let chunked = |body: &str| {
        format!("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    for body in [
        "zz\r\n",
        "\r\n",
        "-1\r\n",
        "3\r\nabcd\r\n",
        "3\nabc\r\n",
        "11111111111111111\r\n",
    ] {
        assert_eq!(status(&server, chunked(body)), 400, "{body:?}");
    }
    let expects = "GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: tea\r\n\r\n";
    assert_eq!(status(&server, expects), 417);
    server.stop();
}

#[test]
fn a_head_that_breaks_off() {
    let (_tree, server) = serve();
    let mut client = server.client();
    client.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n");
    client.finish();
    assert_eq!(client.response().status, 400);
    client.expect_end();
    // Nothing at all, and nothing but line breaks, is no request: no answer.
    for nothing in ["", "\r\n", "\r\n\r\n\r\n"] {
        let mut client = server.client();
        client.send(nothing);
        client.finish();
        client.expect_end();
    }
    server.stop();
}
