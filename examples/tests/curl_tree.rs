//! curl fetches a whole tree, and every byte is right.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Server, Tree};

fn curl(arguments: &[&str]) -> Option<Output> {
    match Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(arguments)
        .output()
    {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("curl: {error}"),
    }
}

#[test]
fn a_tree_byte_for_byte() {
    if curl(&["--version"]).is_none() {
        common::skipped("curl not found: apt-get install curl");
        return;
    }
    let tree = Tree::new();
    let mut names = Vec::new();
    for directory in ["", "one/", "one/two/", "with space/"] {
        for len in [0, 1, 700, 70_000, 700_000] {
            let name = format!("{directory}{len}.bin");
            tree.noise(&name, len + directory.len());
            names.push(name);
        }
    }
    tree.file("one/index.html", "<h1>one</h1>");
    let server = Server::start(&tree, &[]);
    let base = format!("http://{}", server.addr());
    let got = tree.top().join("got");

    // All in one run, so over one connection.
    let mut arguments = vec!["--fail".to_owned(), "--create-dirs".to_owned()];
    for name in &names {
        arguments.push(format!("{base}/{}", name.replace(' ', "%20")));
        arguments.push("-o".to_owned());
        arguments.push(got.join(name).to_str().unwrap().to_owned());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = curl(&arguments).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |path: &Path| std::fs::read(path).unwrap();
    for name in &names {
        assert!(
            read(&tree.root().join(name)) == read(&got.join(name)),
            "{name}"
        );
    }

    let fetch = |arguments: &[&str]| String::from_utf8(curl(arguments).unwrap().stdout).unwrap();
    let one = format!("{base}/one");
    assert_eq!(fetch(&["--location", &one]), "<h1>one</h1>");
    let page = format!("{base}/one/index.html");
    assert_eq!(fetch(&["--range", "4-6", &page]), "one");
    assert_eq!(
        fetch(&["--head", &page]).lines().next(),
        Some("HTTP/1.1 200 OK")
    );
    let escape = format!("{base}/../../etc/hostname");
    let code = fetch(&[
        "--path-as-is",
        "--write-out",
        "%{http_code}",
        "--output",
        "/dev/null",
        &escape,
    ]);
    assert_eq!(code, "400");
    // A body that curl announces with Expect, refused before it is sent.
    let upload = tree.root().join("700000.bin");
    let upload = format!("@{}", upload.to_str().unwrap());
    let code = fetch(&[
        "--data-binary",
        &upload,
        "--header",
        "Expect: 100-continue",
        "--write-out",
        "%{http_code}",
        "--output",
        "/dev/null",
        &page,
    ]);
    assert_eq!(code, "405");
    server.stop();
}
