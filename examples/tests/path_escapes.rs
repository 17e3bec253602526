//! No request target reaches a file outside of the root.

mod common;

use std::os::unix::fs::symlink;

use common::{Server, Tree};

const SECRET: &str = "nobody may read this";

#[test]
fn no_way_out_of_the_root() {
    let tree = Tree::new();
    tree.file("inside.txt", "inside")
        .file("sub/deep/b.txt", "b");
    std::fs::write(tree.top().join("secret"), SECRET).unwrap();
    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    let absolute = tree.top().join("secret");
    let absolute = absolute.to_str().unwrap();
    let mut targets = vec![
        absolute.to_owned(),
        format!("/{absolute}"),
        format!("/%2f{}", &absolute[1..]),
        format!("http://test{absolute}"),
        format!("file://{absolute}"),
        absolute[1..].to_owned(),
    ];
    let up = [
        "..",
        "%2e%2e",
        "%2E%2E",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "..%00",
        "%00..",
    ];
    let slash = ["/", "%2f", "%2F", "\\", "%5c", "%5C", "//", "/./", "%252f"];
    for up in up {
        for slash in slash {
            targets.push(format!("/{up}{slash}secret"));
            targets.push(format!("/sub{slash}{up}{slash}{up}{slash}secret"));
            targets.push(format!("/sub/deep/{up}{slash}{up}{slash}{up}{slash}secret"));
            targets.push(format!("{up}{slash}secret"));
            targets.push(format!("http://test/{up}{slash}secret"));
        }
    }
    for target in targets {
        let response = client.get(&target);
        assert!(
            [400, 404].contains(&response.status),
            "{target} gave {}",
            response.status
        );
        assert!(!response.text().contains(SECRET), "{target}");
    }
    // What stays inside works, dots or not.
    for target in [
        "/sub/../inside.txt",
        "/./inside.txt",
        "/sub/deep/%2e%2e/../inside.txt",
        "//inside.txt",
    ] {
        assert_eq!(client.get(target).text(), "inside", "{target}");
    }
    server.stop();
}

#[test]
fn links_lead_nowhere_outside() {
    let tree = Tree::new();
    tree.file("a.txt", "a").file("sub/b.txt", "b");
    let (root, top) = (tree.root(), tree.top());
    std::fs::write(top.join("secret"), SECRET).unwrap();
    std::fs::create_dir(top.join("other")).unwrap();
    std::fs::write(top.join("other/index.html"), SECRET).unwrap();
    symlink("../secret", root.join("relative")).unwrap();
    symlink(top.join("secret"), root.join("absolute")).unwrap();
    symlink("../other", root.join("directory")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("parent/secret", root.join("twice")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("round", root.join("round")).unwrap();
    symlink("missing", root.join("dangling")).unwrap();
    symlink("sub/b.txt", root.join("inner.txt")).unwrap();
    symlink("../a.txt", root.join("sub/up.txt")).unwrap();
    symlink(
        std::fs::canonicalize(root.join("a.txt")).unwrap(),
        root.join("full.txt"),
    )
    .unwrap();
    symlink("sub", root.join("folder")).unwrap();

    let server = Server::start(&tree, &[]);
    let mut client = server.client();
    let secret = format!("/magic{}", top.join("secret").display());
    for target in [
        "/relative",
        "/absolute",
        "/directory",
        "/directory/",
        "/directory/index.html",
        "/parent",
        "/parent/secret",
        "/parent/root/a.txt",
        "/twice",
        "/round",
        "/dangling",
        &secret,
    ] {
        let response = client.get(target);
        assert_eq!(response.status, 404, "{target}");
        assert!(!response.text().contains(SECRET), "{target}");
    }
    assert_eq!(client.get("/inner.txt").text(), "b");
    assert_eq!(client.get("/sub/up.txt").text(), "a");
    assert_eq!(client.get("/full.txt").text(), "a");
    assert_eq!(client.get("/folder/b.txt").text(), "b");
    server.stop();
}
