//! At every instruction of a switch, a signal handler that walks the stack gets
//! to `main`.
//!
//! A child process runs each operation of the crate one instruction at a time
//! (the processor's trap flag) and walks the stack after each of them, with the
//! system's unwinder and from a signal handler on the interrupted stack: what a
//! profiler or a crash reporter does, but everywhere. Files: `stepper` steps and
//! walks, `text` knows which instruction of which sequence an address is, and
//! `scenarios` has what is stepped through.
//!
//! `.ci/unwind.sh` runs this with and without optimisation and frame pointers.
#![cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]

mod scenarios;
mod stepper;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use scenarios::SCENARIOS;
use stepper::{Outcome, Step};
use text::{Place, Text};

/// The instructions of the inline sequences *before* which a walk fails in a
/// build without frame pointers: the compiler finds the frame of the function
/// around them by RSP, and does not know that they move it.
///
/// `docs/switching.md` lists and explains them. A number may be taken out of
/// here; none may be put in.
const NOT_DESCRIBED: &[(&str, &[usize])] = &[
    ("switch_and_link", &[1, 2]),
    ("switch_yield", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    ("switch_and_reset", &[1, 2]),
];

/// With frame pointers, the instructions at which RBP is the parent's already, or
/// still, or RBX is the child's still: the walk gets to `main` but misses the
/// parent, or has its RBX wrong.
const INEXACT_WITH_FRAME_POINTERS: &[(&str, &[usize])] = &[
    ("switch_and_link", &[2]),
    ("switch_yield", &[7, 8, 9, 10, 11, 12]),
    ("switch_and_reset", &[2]),
];

/// What must have been stepped through, so that a test that sees nothing fails:
/// the instructions of each place.
const SEEN: &[(&str, usize)] = &[
    ("stack_init_trampoline", 9),
    ("stack_call_trampoline", 7),
    ("stack_trap_trampoline", 2),
    ("switch_and_link", 3),
    ("switch_yield", 13),
    ("switch_and_reset", 3),
    ("on_stack", 2),
];

const CHILD: &str = "SINGLE_STEP_CHILD";

#[test]
fn every_instruction() {
    if std::env::var_os(CHILD).is_some() {
        return step_and_check();
    }
    let child = Command::new(std::env::current_exe().expect("our own path"))
        .args([
            "--exact",
            "every_instruction",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .output()
        .expect("a child");
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success(),
        "{}\n{output}\n{errors}",
        child.status
    );
    print!("{output}");
    assert!(
        output.contains("instructions stepped"),
        "the child did nothing"
    );
}

/// What was found at the instructions of one place, by their number in it.
#[derive(Default)]
struct Found {
    seen: BTreeSet<usize>,
    /// Some walk from there fails.
    fails: BTreeSet<usize>,
    /// Some walk from there gets to the end, but not by the right way.
    inexact: BTreeSet<usize>,
    steps: usize,
    failures: usize,
}

fn step_and_check() {
    let text = Text::new();
    let mut found = BTreeMap::<&str, Found>::new();
    for &(name, scenario) in SCENARIOS {
        let steps = stepper::run(scenario());
        assert!(steps.len() > 100, "{name}: {} instructions", steps.len());
        let (mut failures, mut outside) = (0, 0);
        for step in &steps {
            let (place, index) = text.place(step.pc);
            let failed = !matches!(step.outcome, Outcome::Exact | Outcome::Inexact(_));
            if matches!(place, Place::Outside | Place::Stub) {
                outside += usize::from(failed);
                continue;
            }
            failures += usize::from(failed);
            let found = found.entry(place.name()).or_default();
            found.steps += 1;
            found.failures += usize::from(failed);
            found.seen.insert(index);
            match step.outcome {
                Outcome::Exact => {}
                Outcome::Inexact(_) => drop(found.inexact.insert(index)),
                Outcome::Lost | Outcome::Crashed => drop(found.fails.insert(index)),
            }
            if place.name() == "elsewhere" && step.outcome != Outcome::Exact {
                println!("  {name}: {:?} at {}", step.outcome, describe(step));
            }
        }
        println!(
            "{name}: {} instructions stepped, {failures} failures, {outside} more in shared libraries and stubs",
            steps.len()
        );
    }
    let frame_pointers = text.frame_pointers();
    println!("frame pointers: {frame_pointers}");
    for (name, found) in &found {
        println!(
            "{name}: {} steps, {} failures; instructions {}, failing {:?}, inexact {:?}",
            found.steps,
            found.failures,
            found.seen.len(),
            found.fails,
            found.inexact
        );
    }
    let (allowed, inexact) = match frame_pointers {
        true => (&[][..], INEXACT_WITH_FRAME_POINTERS),
        false => (NOT_DESCRIBED, NOT_DESCRIBED),
    };
    let of = |list: &[(&str, &[usize])], name: &str| {
        let indices = list
            .iter()
            .find(|(it, _)| *it == name)
            .map(|(_, indices)| *indices);
        indices
            .unwrap_or_default()
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
    };
    let throws = cfg!(feature = "asm-unwind").then_some(("stack_throw_trampoline", 18));
    for (name, instructions) in SEEN.iter().copied().chain(throws) {
        let found = found
            .get(name)
            .unwrap_or_else(|| panic!("{name} was not met"));
        assert_eq!(
            found.seen,
            (0..instructions).collect(),
            "{name}: not all were stepped"
        );
    }
    for (name, found) in &found {
        let (more, less) = (
            &found.fails - &of(allowed, name),
            &found.inexact - &of(inexact, name),
        );
        assert!(more.is_empty(), "{name}: walks fail at {more:?}");
        assert!(less.is_empty(), "{name}: walks are inexact at {less:?}");
    }
}

fn describe(step: &Step) -> String {
    format!(
        "{:#x} in {:#x} + {}",
        step.pc,
        step.function,
        step.pc.wrapping_sub(step.function)
    )
}

const GUIDE: &str = include_str!("../../../docs/switching.md");

#[test]
fn the_guide_has_the_same_list() {
    let count = NOT_DESCRIBED
        .iter()
        .map(|(_, indices)| indices.len())
        .sum::<usize>();
    let text = format!("fails at {count} boundaries");
    assert!(GUIDE.contains(&text), "{text}");
    let text = format!("The {count} boundaries");
    assert!(GUIDE.contains(&text), "{text}");
}

/// The guide has the instructions of each table of unwind information as one run
/// of bytes; so has this program.
#[test]
fn the_guide_explains_the_bytes_that_are_there() {
    let program = std::fs::read("/proc/self/exe").expect("our own file");
    let dwarf = GUIDE.split("## SEH, byte by byte").next().expect("split");
    let dwarf = dwarf
        .split("## DWARF, byte by byte")
        .nth(1)
        .expect("the section");
    let mut found = 0;
    for line in dwarf
        .lines()
        .filter(|line| line.starts_with("**`stack_") && line.ends_with('`'))
    {
        let bytes = line
            .rsplit('`')
            .nth(1)
            .expect("bytes at the end of the line");
        let bytes: Vec<_> = bytes
            .split(' ')
            .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
            .collect();
        let is_there = program.windows(bytes.len()).any(|window| window == bytes);
        assert!(is_there, "no longer so: {line}");
        found += 1;
    }
    assert_eq!(found, 3, "one line for each trampoline of every build");
}
