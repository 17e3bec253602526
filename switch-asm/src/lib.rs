//! x86_64 linked-stack switching: coroutines, guarded stacks, and the raw
//! primitives below them.
//!
//! A [`Coroutine`] is a closure with a stack of its own. [`Coroutine::resume`]
//! runs it until it calls [`Yielder::suspend`] or returns; both directions
//! carry a value, and a round trip costs a few nanoseconds.
//!
//! ```
//! use switch_asm::{Coroutine, CoroutineResult};
//!
//! let mut sum = Coroutine::new(|yielder, mut input: u32| {
//!     let mut total = 0;
//!     while input != 0 {
//!         total += input;
//!         input = yielder.suspend(total);
//!     }
//!     "done"
//! });
//! assert_eq!(sum.resume(2), CoroutineResult::Yield(2));
//! assert_eq!(sum.resume(5), CoroutineResult::Yield(7));
//! assert_eq!(sum.resume(0), CoroutineResult::Return("done"));
//! ```
//!
//! # Contents
//!
//! | module | what |
//! |---|---|
//! | root | [`Coroutine`], [`ScopedCoroutine`], [`Yielder`], [`CoroutineResult`], [`on_stack`] |
//! | [`stack`] | the [`Stack`](stack::Stack) trait; `DefaultStack`, one mapping per stack; `Slab`, many guarded stacks in one mapping; `Slabs`, slabs of every size |
//! | [`trap`] | which stack overflowed; making a coroutine that faulted end |
//! | `unwind_info` | with the feature `unwind-info`: unwind information for code made at run time, for Windows and DWARF |
//! | [`arch`] | the primitives without the wrapper, for runtimes that bring their own: unsafe, and exactly documented |
//!
//! # What a switch keeps
//!
//! The coroutine and its parent are *linked*: while a coroutine runs, the base
//! of its stack points at its parent's saved registers, in the shape of a frame
//! record and with DWARF unwind information. Backtraces, debuggers and profilers
//! walk from a coroutine into the code that resumed it.
//!
//! **Not switched**: the MXCSR and x87 control words. Code that changes the
//! rounding mode or unmasks floating-point exceptions must put them back before
//! it suspends or resumes. Thread-locals belong to the thread, as always.
//!
//! # Features
//!
//! `default-stack` (stacks mapped from the operating system) and `unwind`
//! (panics cross from a coroutine to its parent; dropping a suspended coroutine
//! runs its destructors) are on by default and need `std`. Without them the
//! crate is `no_std`: a panic that reaches the root of a coroutine aborts, and
//! so does dropping a suspended coroutine.
//!
//! `asm-unwind` (nightly, implies `unwind`): panics unwind through the switch
//! itself. The behaviour is the same; a resume has nothing to check on its way
//! back.
//!
//! `unwind-info`: the module `unwind_info`, which needs `alloc`. With `unwind` too, what it
//! describes can be registered with the unwinder of the process.
//!
//! # From corosensei
//!
//! The root, [`stack`] and [`trap`] have the names and signatures of corosensei
//! 0.3, so that on these platforms a crate can say
//! `corosensei = { package = "switch-asm", … }` and change nothing else.
//!
//! # Platforms
//!
//! x86_64 Linux, and x86_64 UEFI without the features `default-stack` and `unwind`. Anywhere else, with the
//! feature `unwind-info`, the crate is the module `unwind_info` and nothing else; without it, a compile error.

#![no_std]
#![cfg_attr(feature = "asm-unwind", feature(asm_unwind))]
#[cfg(feature = "unwind-info")]
extern crate alloc;
#[cfg(any(feature = "default-stack", feature = "unwind"))]
extern crate std;

cfg_if::cfg_if! {
    if #[cfg(any(
        not(feature = "unwind-info"),
        all(
            target_arch = "x86_64",
            any(target_os = "linux", target_os = "uefi"),
            target_pointer_width = "64"
        )
    ))] {
        pub mod arch;
        mod coroutine;
        mod sanitizer;
        mod scoped;
        pub mod stack;
        mod transfer;
        pub mod trap;
        mod unwind;
        mod yielder;

        pub use coroutine::{Coroutine, CoroutineResult};
        pub use scoped::{ScopedCoroutine, ScopedCoroutineRef};
        pub use yielder::{Yielder, on_stack};
    }
}
#[cfg(feature = "unwind-info")]
pub mod unwind_info;

/// The program of the page for JITs runs.
#[cfg(all(
    doctest,
    target_os = "linux",
    feature = "unwind",
    feature = "unwind-info"
))]
#[doc = include_str!("../../docs/jit.md")]
struct Jit;
