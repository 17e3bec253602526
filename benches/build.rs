//! Hands the versions of the compiler and of the peers to `src/machine.rs`.

use std::process::Command;
use std::{env, fs};

const LOCK: &str = "../Cargo.lock";

const PEERS: [&str; 8] = [
    "tokio",
    "corosensei",
    "generator",
    "may",
    "smol",
    "async-executor",
    "hyper",
    "may_minihttp",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BENCH_RUSTC={}", rustc());

    // The lock file says which peers are built; a manifest only says which would do. Relative to the package, where
    // cargo runs this: a path that was compiled in would be that of the checkout that filled the target folder.
    println!("cargo::rerun-if-changed={LOCK}");
    let lock = fs::read_to_string(LOCK).expect("cargo has written it");
    let versions: Vec<String> = PEERS
        .iter()
        .map(|package| match locked(&lock, package) {
            Some(version) => format!("{package} {version}"),
            None => panic!("{package} is not in {LOCK}"),
        })
        .collect();
    println!("cargo::rustc-env=BENCH_PEERS={}", versions.join(","));
}

fn rustc() -> String {
    let rustc = env::var_os("RUSTC").expect("cargo sets RUSTC for build scripts");
    let output = Command::new(rustc).arg("--version").output();
    output.map_or_else(
        |_| "rustc of unknown version".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// The version of `package` in a lock file: the line after its name.
fn locked<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}
