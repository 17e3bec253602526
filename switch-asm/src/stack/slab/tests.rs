//! Slabs on kernels that have less to give.

use std::string::ToString;

use super::*;

/// Runs the rest of a test in a child, which may use up what the other tests
/// need too. `None` in the parent, once the child succeeded.
fn in_a_child(test: &str) -> Option<()> {
    const CHILD: &str = "SLAB_CHILD";
    if std::env::var_os(CHILD).is_some() {
        return Some(());
    }
    let child = std::process::Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test])
        .env(CHILD, test)
        .output()
        .expect("a child");
    let output = std::string::String::from_utf8_lossy(&child.stdout);
    assert!(output.contains("1 passed"), "{output}");
    None
}

#[test]
fn a_stack_without_a_guard_is_not_given_out() {
    let slab = Slab::with_guards(PAGE_SIZE, PAGE_SIZE, 2, Guards::refused()).expect("a slab");
    for _ in 0..3 {
        let error = slab.take().expect_err("no guard");
        assert!(error.to_string().starts_with("cannot guard"), "{error}");
        assert!(slab.is_idle());
    }
}

#[test]
fn an_older_kernel_runs_out_of_mappings_and_says_so() {
    let test = "stack::slab::tests::an_older_kernel_runs_out_of_mappings_and_says_so";
    let Some(()) = in_a_child(test) else { return };

    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("procfs");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 1 << 20 {
        return; // Somebody followed the advice; this would take a while.
    }
    let slab =
        Slab::with_guards(PAGE_SIZE, PAGE_SIZE, limit, Guards::protect_only()).expect("a slab");
    let mut stacks = Vec::with_capacity(limit);
    let error = loop {
        match slab.take() {
            Ok(stack) => stacks.push(stack.expect("the mappings end first")),
            Err(error) => break error,
        }
    };
    assert!(stacks.len() > limit / 4, "only {} stacks", stacks.len());
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");

    // The stack whose guard failed is still there, and so are the others.
    let held = stacks.len();
    assert!(slab.take().is_err());
    assert!(!slab.is_idle());
    let last = stacks.pop().map(|stack| stack.base());
    assert_eq!(
        slab.take()
            .expect("a guarded one")
            .map(|stack| stack.base()),
        last
    );
    stacks.clear();
    assert!(slab.is_idle());
    for _ in 0..held {
        stacks.push(
            slab.take()
                .expect("guards are in place")
                .expect("as many as before"),
        );
    }
}
