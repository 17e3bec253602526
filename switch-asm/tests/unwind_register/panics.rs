//! A panic passes, and all that was saved is back.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::code::{self, CLOBBERED, win64_callback};
use crate::unwinder::{Frame, KEPT, keeper, walk};

thread_local! {
    static SEEN: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
    static TRACE: RefCell<String> = const { RefCell::new(String::new()) };
}

extern "sysv64-unwind" fn walks(_: usize) {
    SEEN.set(walk());
}

win64_callback!(walks_win64, walks);

extern "sysv64-unwind" fn throws(arg: usize) {
    resume_unwind(Box::new(arg));
}

win64_callback!(throws_win64, throws);

extern "sysv64-unwind" fn captures(_: usize) {
    TRACE.set(Backtrace::force_capture().to_string());
}

/// That a walk met the function at `start`, and behind it `keeper` with its registers.
fn check_walk(start: *const u8, len: usize) {
    let frames = SEEN.take();
    let within = |frame: &Frame| (start.addr()..start.addr() + len).contains(&frame.ip);
    let Some(at) = frames.iter().position(within) else {
        panic!("not met: {frames:x?}")
    };
    assert_eq!(frames[at].function, start.addr());
    assert_eq!(frames[at].registers[0], CLOBBERED, "it clobbers rbx");
    let above = frames[at + 1];
    assert_eq!(above.function, (keeper as *const ()).addr());
    assert_eq!(above.registers, KEPT.map(|(_, value)| value));
    // It went on to the end.
    assert!(frames.len() > at + 5, "{frames:x?}");
}

#[test]
fn a_walk_finds_the_callers_registers() {
    let region = code::region();
    let lens = [code::sysv().0.len(), code::win64().0.len()];
    let callbacks = [
        (walks as *const ()).addr(),
        (walks_win64 as *const ()).addr(),
    ];
    for number in 0..2 {
        let start = region.function(number);
        // SAFETY: it takes a callback of its own convention, and a word.
        unsafe { keeper(start.cast(), callbacks[number], 0) };
        check_walk(start, lens[number]);
    }
}

/// Counts its drops.
struct Guard<'a>(&'a Cell<u32>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// Has as many values alive as there are registers to keep them in, before, while and after `f`
/// unwinds.
#[inline(never)]
fn with_live_values(f: impl FnOnce()) -> (bool, u64) {
    let values: [u64; 8] = black_box([1, 2, 4, 8, 16, 32, 64, 128]);
    let [a, b, c, d, e, f_, g, h] = values;
    let unwound = catch_unwind(AssertUnwindSafe(f)).is_err();
    let sum = black_box(a) | black_box(b) | black_box(c) | black_box(d);
    (
        unwound,
        sum | black_box(e) | black_box(f_) | black_box(g) | black_box(h),
    )
}

#[test]
fn a_panic_passes() {
    let region = code::region();
    let (sysv, win64) = (code::as_sysv(&region, 0), code::as_win64(&region, 1));
    let drops = Cell::new(0);
    for n in 1..=50 {
        let result = with_live_values(|| {
            let _guard = Guard(&drops);
            // SAFETY: the region lives.
            unsafe { sysv(throws, n) };
        });
        assert_eq!(result, (true, 255));
        let result = with_live_values(|| {
            let _guard = Guard(&drops);
            // SAFETY: the region lives.
            unsafe { code::call_win64(win64, throws_win64, n) };
        });
        assert_eq!(result, (true, 255));
        assert_eq!(drops.get(), 2 * n as u32);
    }
}

#[test]
fn a_panic_has_its_payload_and_its_hook() {
    extern "sysv64-unwind" fn panics(arg: usize) {
        panic!("with {arg}");
    }
    let region = code::region();
    let sysv = code::as_sysv(&region, 0);
    // SAFETY: the region lives.
    let result = catch_unwind(|| unsafe { sysv(panics, 7) });
    let payload = result.expect_err("it panics");
    assert_eq!(
        payload.downcast_ref::<String>().map(String::as_str),
        Some("with 7")
    );
}

#[test]
fn one_panic_passes_both_conventions() {
    thread_local!(static OUTER: Cell<Option<code::SysV>> = const { Cell::new(None) });
    extern "sysv64-unwind" fn calls_on(arg: usize) {
        let sysv = OUTER.get().expect("it was set");
        // SAFETY: the region lives.
        unsafe { sysv(throws, arg) };
    }
    win64_callback!(calls_on_win64, calls_on);
    let region = code::region();
    OUTER.set(Some(code::as_sysv(&region, 0)));
    let win64 = code::as_win64(&region, 1);
    // SAFETY: the region lives.
    let result = catch_unwind(|| unsafe { code::call_win64(win64, calls_on_win64, 9) });
    let payload = result.expect_err("it panics");
    assert_eq!(payload.downcast_ref::<usize>(), Some(&9));
}

#[test]
fn it_returns_too() {
    thread_local!(static SUM: Cell<usize> = const { Cell::new(0) });
    extern "sysv64-unwind" fn adds(arg: usize) {
        SUM.set(SUM.get() + arg);
    }
    win64_callback!(adds_win64, adds);
    let region = code::region();
    // SAFETY: the region lives.
    unsafe {
        code::as_sysv(&region, 0)(adds, 40);
        code::call_win64(code::as_win64(&region, 1), adds_win64, 2);
    }
    assert_eq!(SUM.get(), 42);
}

#[inline(never)]
fn the_caller_above(sysv: code::SysV) {
    // SAFETY: its region lives.
    unsafe { sysv(captures, 0) };
    black_box(());
}

#[test]
fn a_backtrace_names_the_caller_above() {
    let region = code::region();
    the_caller_above(code::as_sysv(&region, 0));
    let trace = TRACE.take();
    let position = |name: &str| {
        trace
            .find(name)
            .unwrap_or_else(|| panic!("{name} is missing:\n{trace}"))
    };
    assert!(position("captures") < position("the_caller_above"));
    assert!(position("the_caller_above") < position("a_backtrace_names_the_caller_above"));
}
