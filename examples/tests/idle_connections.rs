//! Ten thousand idle connections cost the others nothing.

mod common;

use common::{Server, Tree};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const IDLE: usize = 10_000;

/// Sockets of the test or of the server, and some to spare; the server keeps a tenth for files.
const NEEDED: u64 = IDLE as u64 * 10 / 9 + 500;

#[test]
fn ten_thousand_wait_while_others_are_served() {
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|hard| hard < NEEDED) {
        common::skipped(&format!(
            "the hard limit of open files is below {NEEDED}: ulimit -Hn"
        ));
        return;
    }
    // The server inherits it.
    let raised = Rlimit {
        current: Some(limit.current.map_or(NEEDED, |current| current.max(NEEDED))),
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();

    let tree = Tree::new();
    tree.file("a.txt", "a");
    let content = tree.noise("noise.bin", 300_000);
    let server = Server::start(&tree, &["--idle-timeout", "10m"]);
    let mut idle: Vec<_> = (0..IDLE).map(|_| server.client()).collect();
    // Half of them have had an answer before they wait.
    for client in idle.iter_mut().step_by(2) {
        assert_eq!(client.get("/a.txt").text(), "a");
    }
    let mut other = server.client();
    for _ in 0..200 {
        assert_eq!(other.get("/a.txt").text(), "a");
    }
    assert!(other.get("/noise.bin").body == content);
    assert_eq!(server.client().get("/a.txt").text(), "a");
    // And every one of them is still there.
    for client in &mut idle {
        assert_eq!(client.get("/a.txt").text(), "a");
    }
    server.stop();
    for mut client in idle {
        client.expect_end();
    }
}
