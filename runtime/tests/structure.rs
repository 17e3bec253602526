//! The tree is the architecture: this reads the sources as text and fails where they leave it.
//!
//! What the rules are: docs/architecture.md. Every check says how much it looked at, and fails if that
//! is nothing; each finds a fault in a sample, in `structure/`.

#[path = "structure/edges.rs"]
mod edges;
#[path = "structure/rules.rs"]
mod rules;
#[path = "structure/source.rs"]
mod source;

use rules::{ATOMICS, BANNED, CATCHES, FAIL_OVER, PRINT_OVER, STATICS};
use source::{Source, sources};

/// The folders of the workspace that hold what is built.
const MEMBERS: [&str; 5] = [
    "runtime/src",
    "switch-asm/src",
    "examples/src",
    "benches/src",
    "soak/src",
];

fn runtime() -> Vec<Source> {
    sources("runtime/src")
}

#[track_caller]
fn report(what: &str, (count, wrong): (usize, Vec<String>), least: usize) {
    println!("{what}: {count}");
    assert!(wrong.is_empty(), "{what}:\n  {}\n", wrong.join("\n  "));
    assert!(
        count >= least,
        "{what}: only {count} looked at, expected {least} or more"
    );
}

#[test]
fn modules_know_what_they_may() {
    let found = edges::check_edges(&runtime(), edges::EDGES);
    report("edges in use", found, 40);
}

#[test]
fn crates_stay_behind_their_seams() {
    let found = edges::check_seams(&runtime(), edges::SEAMS);
    report("names of crates", found, 15);
}

#[test]
fn state_is_not_hidden() {
    report(
        "statics",
        rules::check_statics(&runtime(), STATICS),
        STATICS.len(),
    );
    // The second is what `fiber_local!` expands to in its user's crate.
    let listed = ["current.rs", "local_key.rs"];
    let found = rules::check_listed(&runtime(), "thread_local!", &listed);
    report("thread-locals", found, listed.len());
}

#[test]
fn atomics_come_through_the_door() {
    let listed: Vec<&str> = ATOMICS.iter().map(|(file, _)| *file).collect();
    let found = rules::check_listed(&runtime(), "std::sync::atomic", &listed);
    report("names of std's atomics", found, listed.len());
}

#[test]
fn unwinds_are_stopped_where_listed() {
    let listed: Vec<&str> = CATCHES.iter().map(|(file, _)| *file).collect();
    let found = rules::check_listed(&runtime(), "catch_unwind(", &listed);
    report("catches", found, listed.len());
}

#[test]
fn orderings_say_why() {
    report(
        "orderings above Relaxed",
        rules::check_orderings(&runtime()),
        30,
    );
}

#[test]
fn frames_that_must_not_be_left_stay() {
    // The first has functions without calls; the others look at their result after the last.
    let except = ["overflow/kill.rs", "scope.rs", "unblock.rs"];
    let found = rules::check_frames_stay(&runtime(), &except);
    report("functions that must not be left", found, 9);
}

#[test]
fn nothing_is_unfinished() {
    let mut all = sources("");
    // The words that are looked for are in there.
    all.retain(|source| !source.name.starts_with("runtime/tests/structure"));
    println!("files: {}", all.len());
    report("lines", rules::check_unfinished(&all), 10_000);
}

#[test]
fn one_word_for_a_thing() {
    let found = rules::check_words(&runtime(), BANNED, "lib.rs");
    report("lines for words", found, 1000);
}

#[test]
fn files_can_be_read() {
    let (mut count, mut wrong) = (0, Vec::new());
    for member in MEMBERS.iter().chain(&["runtime/tests", "switch-asm/tests"]) {
        for source in sources(member) {
            count += 1;
            match rules::check_size(&source, PRINT_OVER, FAIL_OVER) {
                Ok(None) => {}
                Ok(Some(long)) => println!("long: {member}/{long}"),
                Err(error) => wrong.push(format!("{member}/{error}")),
            }
        }
    }
    report("files", (count, wrong), 60);
}

#[test]
fn contents_hold_no_logic() {
    let (mut count, mut wrong) = (0, Vec::new());
    for member in MEMBERS {
        let found = rules::check_contents(&sources(member));
        count += found.0;
        wrong.extend(found.1.iter().map(|place| format!("{member}/{place}")));
    }
    report("tables of contents", (count, wrong), 10);
}
