//! A server as a child process, a tree of files for it, and a client that sees every byte.

#![allow(dead_code, reason = "every test file uses a part of this")]

mod client;
mod server;
mod tree;

pub(crate) use client::Client;
#[allow(unused_imports, reason = "as above")]
pub(crate) use server::Server;
pub(crate) use tree::Tree;

/// Far beyond anything that works: a test that waits this long has failed.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Says so even when the test runner hides what passing tests print.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
