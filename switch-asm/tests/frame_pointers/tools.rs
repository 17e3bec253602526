//! gdb and perf, as a user runs them.

use std::hint::black_box;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use switch_asm::stack::DefaultStack;
use switch_asm::{Coroutine, on_stack};

use crate::tests::{built_with_frame_pointers, in_order, on_ourselves};

/// Where gdb stops.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gdb_stops_here(n: usize) -> usize {
    black_box(n)
}

#[inline(never)]
fn inside_the_coroutine(depth: usize) -> usize {
    black_box(on_stack(DefaultStack::default(), || gdb_stops_here(depth)))
}

#[inline(never)]
fn the_inner_resumer(depth: usize) -> usize {
    let mut inner =
        Coroutine::<(), (), usize>::new(move |_, ()| black_box(inside_the_coroutine(depth)));
    black_box(inner.resume(()).as_return().expect("it returns"))
}

#[inline(never)]
fn the_outer_resumer() -> usize {
    let mut outer =
        Coroutine::<(), (), usize>::new(|_, ()| black_box(the_inner_resumer(black_box(3))));
    black_box(outer.resume(()).as_return().expect("it returns"))
}

/// What the tools look at.
pub(crate) fn subject() {
    black_box(the_outer_resumer());
    black_box(the_profiled_resumer());
}

/// What the tool said, or why it cannot be asked.
fn ask(tool: &mut Command) -> Result<Output, String> {
    tool.output()
        .map_err(|error| format!("{:?}: {error}", tool.get_program()))
}

pub(crate) fn gdb_shows_the_parents_below() {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off"]);
    gdb.args([
        "-ex",
        "break gdb_stops_here",
        "-ex",
        "run",
        "-ex",
        "bt",
        "--args",
    ]);
    let output = match ask(&mut on_ourselves(gdb)) {
        Ok(output) => output,
        Err(why) => return println!("skipped: no gdb: {why}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ptrace: Operation not permitted") {
        return println!("skipped: gdb may not trace here: {errors}");
    }
    in_order(
        &text,
        &[
            "#0",
            "gdb_stops_here",
            "<signal handler called>", // stack_call_trampoline
            "inside_the_coroutine",
            "<signal handler called>", // stack_init_trampoline
            "the_inner_resumer",
            "<signal handler called>", // stack_init_trampoline
            "the_outer_resumer",
            "subject",
            "main",
        ],
    );
    assert!(
        !text.contains("corrupt stack") && !errors.contains("corrupt stack"),
        "{text}{errors}"
    );
}

#[inline(never)]
fn spins_in_the_coroutine(for_how_long: Duration) -> usize {
    let end = Instant::now() + for_how_long;
    let mut n = 0;
    while Instant::now() < end {
        for _ in 0..10_000 {
            n = black_box(n + 1);
        }
    }
    n
}

#[inline(never)]
fn the_profiled_resumer() -> usize {
    let mut coroutine = Coroutine::<(), (), usize>::new(|_, ()| {
        black_box(spins_in_the_coroutine(Duration::from_millis(500)))
    });
    black_box(coroutine.resume(()).as_return().expect("it returns"))
}

pub(crate) fn perf_crosses_by_frame_pointers() {
    if !built_with_frame_pointers() {
        return println!(
            "skipped: built without frame pointers; .ci/unwind.sh has a build with them"
        );
    }
    let exe = std::env::current_exe().expect("our own path");
    let data = exe.with_file_name("frame_pointers_perf.data");
    let mut record = Command::new("perf");
    record.args([
        "record",
        "--call-graph",
        "fp",
        "-e",
        "cpu-clock:u",
        "-F",
        "200",
        "-o",
    ]);
    record.arg(&data).arg("--");
    let output = match ask(&mut on_ourselves(record)) {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            return println!("skipped: perf cannot record here: {why}");
        }
        Err(why) => return println!("skipped: no perf: {why}"),
    };
    let mut script = Command::new("perf");
    script.args(["script", "-F", "ip,sym", "-i"]).arg(&data);
    let samples = ask(&mut script).expect("perf was there a moment ago");
    let samples = String::from_utf8_lossy(&samples.stdout);
    let ours = |sample: &&str| sample.contains("spins_in_the_coroutine");
    let crosses =
        |sample: &&str| sample.contains("the_profiled_resumer") && sample.contains("main");
    let (all, good) = (
        samples.split("\n\n").filter(ours).count(),
        samples.split("\n\n").filter(ours).filter(crosses).count(),
    );
    println!("perf: {good} of {all} samples in the coroutine have its parent and main");
    assert!(
        all > 20,
        "{samples}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A sample may fall into a prologue.
    assert!(good * 10 >= all * 9, "{good} of {all}:\n{samples}");
    let sample = samples
        .split("\n\n")
        .find(|sample| ours(sample) && crosses(sample));
    in_order(
        sample.expect("counted"),
        &["spins_in_the_coroutine", "the_profiled_resumer", "main"],
    );
}
