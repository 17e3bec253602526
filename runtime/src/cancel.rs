//! What holds an unwind off, and whether there is one: `fiber::shield`, `fiber::panicking`.

use std::hint::black_box;

use crate::current::{self, ThreadState};
use crate::fiber::Running;

/// Runs `f` with every unwind held off that was asked for from outside of it: cancellation, the
/// runtime's shutdown, and each [`timeout`](crate::timeout()) that the caller is inside of.
///
/// What was held off is met at the first suspension after `f`. A `timeout` inside `f` works as
/// anywhere, and panics go on as ever. Shields nest. On a plain thread and on a worker's own stack, where
/// nothing is cancelled, it only calls `f`.
///
/// For a few steps that belong together (a protocol's farewell, a call through `extern "C"`, which an
/// unwind would abort), not for long waits: a shutdown waits for them too. The children of a
/// [`scope`](crate::fiber::scope) inside `f` are left alone with it: neither a cancellation of this fiber nor the shutdown
/// reaches them before they end.
///
/// # Panics
/// If `f` does.
///
/// ```
/// use sisal::fiber;
///
/// sisal::run(|| {
///     let child = fiber::spawn(|| {
///         fiber::shield(|| {
///             fiber::park(); // not cut short
///             fiber::yield_now();
///         });
///         fiber::yield_now(); // unwinds here
///         unreachable!();
///     });
///     child.cancel();
///     child.fiber().unpark();
///     assert!(child.join().unwrap_err().is_cancelled());
/// });
/// ```
pub fn shield<F, T>(f: F) -> T
where
    F: FnOnce() -> T,
{
    match current::state() {
        ThreadState::Fiber(running) => running.shielded(f),
        ThreadState::Worker | ThreadState::Plain => f(),
    }
}

/// Whether the calling fiber is being unwound, by a panic or by cancellation. As
/// [`std::thread::panicking`], which this is where there is no fiber.
///
/// A destructor that waits in an unwind leaves its thread "panicking" for all fibers of its worker; this
/// tells them apart. While another is in such a wait it may say `true` to a fiber below an `extern "C"` frame or
/// a `catch_unwind`; it never says `false` to one that is unwound.
///
/// ```
/// struct Guard;
/// impl Drop for Guard {
///     fn drop(&mut self) {
///         assert!(sisal::fiber::panicking());
///     }
/// }
/// let child = sisal::spawn(|| {
///     let _guard = Guard;
///     panic!("into the guard");
/// });
/// assert!(child.join().is_err());
/// assert!(!sisal::fiber::panicking());
/// ```
pub fn panicking() -> bool {
    std::thread::panicking()
        && match current::state() {
            // Opaque: if a compiler knew that no unwind comes out of here, no table of the callers would list the call.
            ThreadState::Fiber(running) => {
                black_box(Running::is_unwinding as fn(Running) -> bool)(running)
            }
            ThreadState::Worker | ThreadState::Plain => true,
        }
}
