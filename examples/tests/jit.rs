//! The JIT, run as a user runs it.

use std::process::{Command, Output};

fn jit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sisal-jit"))
        .args(arguments)
        .output()
        .unwrap()
}

fn printed(arguments: &[&str]) -> String {
    let output = jit(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_conventions_compute() {
    for abi in ["sysv64", "win64"] {
        let text = "twice(x) * (3 - 10) + wait(2)";
        assert_eq!(printed(&["eval", text, "-x", "-5", "--abi", abi]), "72\n");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, error) in [
        (
            "1 +",
            "error: at byte 3: expected a number, `x`, a call or `(`\n",
        ),
        (
            "what(1)",
            "error: there is no function what; there are twice, wait, fail, trace\n",
        ),
    ] {
        let output = jit(&["eval", text]);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), error);
        assert!(!output.status.success());
    }
    let output = jit(&["eval", "1 + fail(3)"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("panicked: fail(3)"), "{errors}");
    assert_eq!(
        output.status.code(),
        Some(1),
        "it came out as an error of `join`"
    );
}

/// All that is hard, by both conventions: the program fails if a step does.
#[test]
fn on_fibers() {
    let text = printed(&[]);
    for wanted in [
        "= 33 for x = 7",
        "1000 fibers waited in it at once: the sum is 519500",
        "panicked: fail(7); destructors run: 1",
        "was cancelled; destructors run: 2",
    ] {
        assert_eq!(text.matches(wanted).count(), 2, "{wanted:?} in\n{text}");
    }
    // The walk: Rust, compiled code, the fiber's closure, its base, the worker. (`Program::call` may be left by a jump.)
    let mut rest = &*text;
    for frame in [
        "jit/host.rs",
        "compiled code at",
        "jit/demo.rs",
        "fiber/body.rs",
        "trampoline",
        "sched/worker",
    ]
    .repeat(2)
    {
        let at = rest
            .find(frame)
            .unwrap_or_else(|| panic!("no {frame} in the rest of\n{text}"));
        rest = &rest[at..];
    }
}
