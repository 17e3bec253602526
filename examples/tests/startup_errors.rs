//! What is wrong at the start is said in one line, with what to do about it, and exit code 1.

mod common;

use std::net::TcpListener;
use std::process::{Command, Output};

use common::Tree;

fn serve(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sisal-tour"))
        .arg("serve")
        .args(arguments)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap()
}

/// The only line on stderr.
fn complaint(arguments: &[&str]) -> String {
    let output = serve(arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    let line = text
        .strip_suffix('\n')
        .unwrap_or_else(|| panic!("{text:?}"));
    assert!(!line.contains('\n'), "{text}");
    assert!(line.starts_with("error: "), "{text}");
    line.to_owned()
}

#[test]
fn a_port_in_use() {
    let tree = Tree::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap().to_string();
    let line = complaint(&["--root", tree.root().to_str().unwrap(), "--addr", &addr]);
    assert!(
        line.contains(&addr) && line.contains("in use") && line.contains("--addr"),
        "{line}"
    );
}

#[test]
fn an_address_that_is_none() {
    let tree = Tree::new();
    let root = tree.root();
    let root = root.to_str().unwrap();
    for addr in ["nonsense", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:8080"] {
        let line = complaint(&["--root", root, "--addr", addr]);
        assert!(line.contains(addr) && line.contains("--addr"), "{line}");
    }
}

#[test]
fn a_root_that_is_none() {
    let tree = Tree::new();
    tree.file("a.txt", "a");
    let missing = tree.root().join("missing");
    let file = tree.root().join("a.txt");
    for (root, problem) in [(missing, "no directory"), (file, "not a directory")] {
        let root = root.to_str().unwrap();
        let line = complaint(&["--addr", "127.0.0.1:0", "--root", root]);
        assert!(
            line.contains(root) && line.contains(problem) && line.contains("--root"),
            "{line}"
        );
    }
}

#[test]
fn options_that_make_no_sense() {
    for option in [
        "--idle-timeout=0",
        "--workers=0",
        "--drain-timeout=1h",
        "--max-body=-1",
        "--unknown",
    ] {
        let output = serve(&[option]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(!output.stderr.is_empty(), "{option}");
    }
}

#[test]
fn help_names_every_option() {
    let output = serve(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for option in [
        "--addr",
        "--root",
        "--workers",
        "--idle-timeout",
        "--drain-timeout",
        "--max-connections",
    ] {
        assert!(text.contains(option), "{option} in {text}");
    }
}
