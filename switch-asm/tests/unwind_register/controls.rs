//! Without a registration nothing passes: what the other tests see is its doing.
//! A panic that cannot pass aborts, so each of these is a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::registration::{register, unregistered};
use crate::unwinder::{keeper, walk};

/// Runs an ignored test of this file. Returns whether it passed, or the signal that ended it; and what it printed.
fn child(name: &str) -> (Result<bool, i32>, String) {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            &format!("controls::{name}"),
        ])
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let end = match output.status.signal() {
        Some(signal) => Err(signal),
        None => Ok(output.status.success()),
    };
    (end, String::from_utf8_lossy(&text).into_owned())
}

extern "sysv64-unwind" fn counts_and_throws(_: usize) {
    let frames = walk();
    let met = frames
        .iter()
        .any(|frame| frame.function == (keeper as *const ()).addr());
    println!("the caller was met: {met}");
    panic!("it is thrown");
}

fn throw_through(function: *const ()) {
    let callback = (counts_and_throws as *const ()).addr();
    // SAFETY: it takes a callback and a word.
    let caught = std::panic::catch_unwind(|| unsafe { keeper(function, callback, 0) });
    println!("caught: {}", caught.is_err());
}

#[test]
#[ignore = "run by others, in a process of its own"]
fn registered() {
    let (function, layout) = unregistered();
    // SAFETY: that code, which is never unmapped.
    let _registration = unsafe { register(function, &layout) };
    throw_through(function as *const ());
}

#[test]
#[ignore = "run by others, in a process of its own"]
fn never_registered() {
    throw_through(unregistered().0 as *const ());
}

#[test]
#[ignore = "run by others, in a process of its own"]
fn registered_no_more() {
    let (function, layout) = unregistered();
    // SAFETY: that code, which is never unmapped.
    drop(unsafe { register(function, &layout) });
    throw_through(function as *const ());
}

#[test]
fn a_registered_one_passes() {
    let (end, text) = child("registered");
    assert_eq!(end, Ok(true), "{text}");
    assert!(text.contains("the caller was met: true"), "{text}");
    assert!(text.contains("caught: true"), "{text}");
}

#[test]
fn one_that_was_never_registered_aborts() {
    aborts("never_registered");
}

#[test]
fn one_that_is_registered_no_more_aborts() {
    aborts("registered_no_more");
}

fn aborts(name: &str) {
    let (end, text) = child(name);
    assert_eq!(end, Err(libc::SIGABRT), "{text}");
    assert!(text.contains("the caller was met: false"), "{text}");
    assert!(text.contains("it is thrown"), "{text}");
    assert!(!text.contains("caught:"), "{text}");
}
