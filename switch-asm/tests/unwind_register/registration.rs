//! Sections that are registered by hand, for code in memory of one's own.

use std::ptr;
use std::sync::mpsc;
use std::thread;

use switch_asm::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};
use switch_asm::unwind_info::{FrameLayout, RegisterError, Registration};

use crate::code::{self, SysV};

/// Code in memory that knows nothing of unwinding; never unmapped.
pub(crate) fn unregistered() -> (SysV, FrameLayout) {
    let (code, layout) = code::sysv();
    // SAFETY: new memory, as large as the code, and its signature.
    unsafe {
        let memory = libc::mmap(
            ptr::null_mut(),
            code.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED);
        ptr::copy_nonoverlapping(code.as_ptr(), memory.cast(), code.len());
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        assert_eq!(libc::mprotect(memory, code.len(), protection), 0);
        (
            std::mem::transmute::<*mut libc::c_void, SysV>(memory),
            layout,
        )
    }
}

/// # Safety
/// That of [`Registration::eh_frame`].
pub(crate) unsafe fn register(function: SysV, layout: &FrameLayout) -> Registration {
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::new());
    let address = (function as *const ()).addr() as u64;
    builder.add(address, layout).expect("it can be said");
    let section = builder.finish(0).expect("one function");
    // SAFETY: this function's contract.
    unsafe { Registration::eh_frame(section) }.expect("registered")
}

extern "sysv64-unwind" fn throws(arg: usize) {
    std::panic::resume_unwind(Box::new(arg));
}

fn passes(function: SysV) {
    // SAFETY: its code is never unmapped.
    let result = std::panic::catch_unwind(|| unsafe { function(throws, 5) });
    assert_eq!(
        result.expect_err("it panics").downcast_ref(),
        Some(&5_usize)
    );
}

#[test]
fn moves_between_threads() {
    let (function, layout) = unregistered();
    // SAFETY: that code, which is never unmapped.
    let registration = unsafe { register(function, &layout) };
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        passes(function);
        send.send(registration).expect("it is received");
    })
    .join()
    .expect("it passes");
    let registration = receive.recv().expect("it was sent");
    passes(function);
    thread::spawn(move || drop(registration))
        .join()
        .expect("it is dropped");
}

#[test]
fn again_and_again() {
    let (function, layout) = unregistered();
    for _ in 0..100 {
        // SAFETY: that code, which is never unmapped.
        let registration = unsafe { register(function, &layout) };
        passes(function);
        drop(registration);
    }
}

#[test]
fn several_are_dropped_in_any_order() {
    let mut all: Vec<_> = (0..9)
        .map(|_| {
            let (function, layout) = unregistered();
            // SAFETY: that code, which is never unmapped.
            (function, unsafe { register(function, &layout) })
        })
        .collect();
    for at in [4, 0, 6, 0, 2] {
        drop(all.remove(at).1);
        all.iter().for_each(|(function, _)| passes(*function));
    }
}

#[test]
fn sections_without_functions() {
    let empty = EhFrameBuilder::new(PointerEncoding::Absolute, Options::new());
    let empty = empty.finish(0).expect("nothing can overlap");
    // SAFETY: it describes nothing.
    let first = unsafe { Registration::eh_frame(empty.clone()) }.expect("registered");
    // SAFETY: it describes nothing.
    let second = unsafe { Registration::eh_frame(empty) }.expect("registered");
    drop(first);
    let (function, layout) = unregistered();
    // SAFETY: that code, which is never unmapped.
    let registration = unsafe { register(function, &layout) };
    passes(function);
    drop((registration, second));
}

#[test]
fn sections_that_are_not_complete() {
    let (function, layout) = unregistered();
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::new());
    let address = (function as *const ()).addr() as u64;
    builder.add(address, &layout).expect("it can be said");
    let whole = builder.finish(0).expect("one function");
    let refused = |section: &[u8]| {
        // SAFETY: it must not get to the unwinder.
        match unsafe { Registration::eh_frame(section.to_vec()) } {
            Err(RegisterError::BadSection { at }) => at,
            other => panic!("{other:?}"),
        }
    };
    for len in 0..whole.len() {
        assert!(refused(&whole[..len]) <= len);
    }
    assert_eq!(refused(&[&whole[..], &[0]].concat()), whole.len() - 4);
    assert_eq!(refused(&[&whole[..], &whole].concat()), whole.len() - 4);
    assert_eq!(refused(&[0xff; 16]), 0);
    assert_eq!(refused(&[]), 0);
}
