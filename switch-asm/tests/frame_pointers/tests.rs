//! The list of tests, and what they share.

use std::hint::black_box;
use std::process::Command;

use crate::{chain, suspended, tools};

const TESTS: &[(&str, fn())] = &[
    ("the_chain_reaches_main", chain::the_chain_reaches_main),
    ("suspended_by_frame_pointers", suspended::by_frame_pointers),
    (
        "suspended_by_unwind_information",
        suspended::by_unwind_information,
    ),
    (
        "never_ran",
        suspended::a_coroutine_that_never_ran_has_one_frame,
    ),
    ("gdb", tools::gdb_shows_the_parents_below),
    ("perf", tools::perf_crosses_by_frame_pointers),
];

/// Holds the name of the program that a tool looks at: this one.
const SUBJECT: &str = "FRAME_POINTERS_SUBJECT";

pub(crate) fn run() {
    if std::env::var_os(SUBJECT).is_some() {
        return tools::subject();
    }
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|it| name.contains(it));
    let mut passed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        println!("test {name} ...");
        test();
        println!("test {name} ... ok");
        passed += 1;
    }
    println!("\ntest result: ok. {passed} passed; 0 failed");
}

/// `tool`, given our own program to run as a subject.
pub(crate) fn on_ourselves(mut tool: Command) -> Command {
    tool.arg(std::env::current_exe().expect("our own path"))
        .env(SUBJECT, "1");
    tool
}

/// Whether this build has them, by the prologue of a function that has a frame in
/// any build.
pub(crate) fn built_with_frame_pointers() -> bool {
    #[inline(never)]
    extern "C" fn with_a_frame() {
        let value = black_box(1);
        black_box(value + black_box(identity(value)));
    }
    #[inline(never)]
    fn identity(value: usize) -> usize {
        black_box(value)
    }
    with_a_frame();
    // SAFETY: the first bytes of a function.
    let start = unsafe { (with_a_frame as *const () as *const [u8; 4]).read() };
    // push rbp; mov rbp, rsp
    start == [0x55, 0x48, 0x89, 0xe5]
}

/// That `names` occur in `text`, in this order.
pub(crate) fn in_order(text: &str, names: &[&str]) {
    let mut rest = text;
    for name in names {
        let Some(at) = rest.find(name) else {
            panic!("{name} is missing or misplaced:\n{text}")
        };
        rest = &rest[at + name.len()..];
    }
}
