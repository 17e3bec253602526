//! A server that has run out of descriptors goes on as soon as some come back.

mod common;

use common::{Server, Tree};
use rustix::process::{Resource, Rlimit, prlimit};

#[test]
fn no_descriptors_left() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let server = Server::start(&tree, &["--max-connections", "100000"]);
    let few = Rlimit {
        current: Some(64),
        maximum: Some(64),
    };
    prlimit(Some(server.pid()), Resource::Nofile, few).unwrap();

    let crowd: Vec<_> = (0..100).map(|_| server.client()).collect();
    server.wait_for_log(&["WARN", "cannot accept"]);
    drop(crowd);
    loop {
        let response = server.client().get("/a.txt");
        match response.status {
            200 => break,
            // There was one for the connection and none for the file.
            503 => assert!(response.text().contains("out of resources")),
            status => panic!("status {status}"),
        }
    }
    server.stop();
}
