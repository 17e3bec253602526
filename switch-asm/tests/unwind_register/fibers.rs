//! Frames of generated code on coroutines: a suspended one is unwound through
//! them, and its region outlives it.
#![cfg(feature = "default-stack")]

use std::cell::Cell;
use std::sync::{Arc, Weak};

use switch_asm::unwind_info::CodeRegion;
use switch_asm::{Coroutine, CoroutineResult, Yielder};

use crate::code::{self, win64_callback};

thread_local! {
    static CALLBACKS_LEFT: Cell<u32> = const { Cell::new(0) };
    static REGION: Cell<Option<Weak<CodeRegion>>> = const { Cell::new(None) };
}

/// Whether the region is still there when a callback's frame is left.
struct Left;

impl Drop for Left {
    fn drop(&mut self) {
        let region = REGION.take().expect("it was set");
        assert!(
            region.upgrade().is_some(),
            "it was dropped before its frames"
        );
        REGION.set(Some(region));
        CALLBACKS_LEFT.set(CALLBACKS_LEFT.get() + 1);
    }
}

type Resumed = Yielder<u32, u32>;

extern "sysv64-unwind" fn suspends(arg: usize) {
    let _left = Left;
    // SAFETY: `start` passes its yielder.
    let yielder = unsafe { &*(arg as *const Resumed) };
    assert_eq!(yielder.suspend(1), 2);
}

win64_callback!(suspends_win64, suspends);

/// A coroutine that has the only reference to its region, and suspends in two callbacks, each in a frame of it.
fn start() -> Coroutine<u32, u32, ()> {
    let region = Arc::new(code::region());
    REGION.set(Some(Arc::downgrade(&region)));
    CALLBACKS_LEFT.set(0);
    Coroutine::new(move |yielder: &Resumed, _| {
        let arg = std::ptr::from_ref(yielder).addr();
        // SAFETY: this closure has the region.
        unsafe {
            code::as_sysv(&region, 0)(suspends, arg);
            code::call_win64(code::as_win64(&region, 1), suspends_win64, arg);
        }
        drop(region);
    })
}

fn gone() -> bool {
    REGION.take().expect("it was set").upgrade().is_none()
}

#[test]
fn it_goes_on_through_them() {
    let mut coroutine = start();
    assert_eq!(coroutine.resume(0), CoroutineResult::Yield(1));
    assert_eq!(coroutine.resume(2), CoroutineResult::Yield(1));
    assert_eq!(coroutine.resume(2), CoroutineResult::Return(()));
    assert_eq!(CALLBACKS_LEFT.get(), 2);
    assert!(gone());
}

#[test]
fn a_suspended_one_is_unwound_through_a_system_v_frame() {
    let mut coroutine = start();
    assert_eq!(coroutine.resume(0), CoroutineResult::Yield(1));
    drop(coroutine);
    assert_eq!(CALLBACKS_LEFT.get(), 1);
    assert!(gone());
}

#[test]
fn a_suspended_one_is_unwound_through_a_windows_frame() {
    let mut coroutine = start();
    assert_eq!(coroutine.resume(0), CoroutineResult::Yield(1));
    assert_eq!(coroutine.resume(2), CoroutineResult::Yield(1));
    drop(coroutine);
    assert_eq!(CALLBACKS_LEFT.get(), 2);
    assert!(gone());
}
