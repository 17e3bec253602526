//! A region is forgotten by the unwinder, then its section is freed, then its
//! code is unmapped: seen from the allocator and from the functions that do it,
//! which this program has its own of.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::{mem, ptr};

use switch_asm::unwind_info::{CodeRegion, FrameLayout};

/// What is watched: the code and, once it is known, the section.
static CODE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SECTION: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// When what happened, counted from 1. All in one thread.
static NOW: AtomicUsize = AtomicUsize::new(0);
static FORGOTTEN: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicUsize = AtomicUsize::new(0);
static UNMAPPED: AtomicUsize = AtomicUsize::new(0);

fn happens(what: &AtomicUsize) {
    let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
    assert_eq!(what.swap(now, Ordering::Relaxed), 0, "it happens once");
}

/// # Safety
/// libgcc's contract.
#[unsafe(no_mangle)]
unsafe extern "C" fn __deregister_frame(section: *mut c_void) {
    SECTION.store(section, Ordering::Relaxed);
    happens(&FORGOTTEN);
    // SAFETY: libgcc's, behind this one; its contract is that of this function.
    unsafe {
        let real = libc::dlsym(libc::RTLD_NEXT, c"__deregister_frame".as_ptr());
        assert!(!real.is_null());
        mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(real)(section);
    }
}

/// # Safety
/// The system call's contract.
#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(start: *mut c_void, len: usize) -> c_int {
    if start == CODE.load(Ordering::Relaxed) {
        happens(&UNMAPPED);
    }
    // SAFETY: this function's contract.
    unsafe { libc::syscall(libc::SYS_munmap, start, len) as c_int }
}

struct Watching;

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: this function's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let section = SECTION.load(Ordering::Relaxed);
        if !section.is_null() && section == memory.cast() {
            SECTION.store(ptr::null_mut(), Ordering::Relaxed);
            happens(&FREED);
        }
        // SAFETY: this function's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

#[test]
fn forgotten_then_freed_then_unmapped() {
    let mut builder = CodeRegion::builder(4096).expect("memory");
    let leaf = FrameLayout::leaf(1).expect("a valid layout");
    builder.push(&[0xc3], &leaf).expect("room");
    let region = builder.seal().expect("registered");
    CODE.store(region.function(0).cast_mut().cast(), Ordering::Relaxed);
    assert_eq!(NOW.load(Ordering::Relaxed), 0);
    drop(region);
    let times = [&FORGOTTEN, &FREED, &UNMAPPED].map(|what| what.load(Ordering::Relaxed));
    assert_eq!(times, [1, 2, 3]);
}
