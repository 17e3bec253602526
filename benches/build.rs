//! Hands the versions of the compiler and of the peers to `src/machine.rs`.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

const PEERS: [&str; 6] = [
    "tokio",
    "corosensei",
    "generator",
    "may",
    "smol",
    "async-executor",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=BENCH_RUSTC={}", rustc());

    // The lock file says which peers are built; a manifest only says which would do.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    let lock = fs::read_to_string(lock).unwrap_or_default();
    let versions: Vec<String> = PEERS
        .iter()
        .map(|package| format!("{package} {}", locked(&lock, package).unwrap_or("unknown")))
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
