//! Who else walks stacks: chains of frame pointers, gdb, perf, and a dump that
//! looks at a coroutine which waits.
//!
//! Chains and perf need a build with frame pointers, which `.ci/unwind.sh` makes;
//! gdb and perf are not on every machine. A test that cannot do its work says
//! `skipped: ` and why.
//!
//! The tests run on the main thread, one after the other; arguments that are no
//! flags are names to look for.
#[cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]
mod chain;
#[cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]
mod suspended;
#[cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]
mod symbols;
#[cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]
mod tests;
#[cfg(all(
    feature = "default-stack",
    feature = "unwind",
    not(feature = "sanitizer")
))]
mod tools;

fn main() {
    #[cfg(all(
        feature = "default-stack",
        feature = "unwind",
        not(feature = "sanitizer")
    ))]
    tests::run();
    #[cfg(not(all(
        feature = "default-stack",
        feature = "unwind",
        not(feature = "sanitizer")
    )))]
    println!("skipped: the features do not fit");
}
