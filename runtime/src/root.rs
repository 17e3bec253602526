//! The default runtime's `run`.

use crate::runtime;

/// Runs `f` as a fiber of the default runtime, waits for it to end, and returns what it returned.
/// `f` may borrow.
///
/// The default runtime starts at first use, with as many workers as the process may use cores or
/// `SISAL_WORKERS` says, and never ends. Called in a fiber, `run` parks that fiber.
///
/// # Panics
/// If `f` does, with the same payload. On a worker's own stack, before `f` starts. If the default
/// runtime cannot be started.
///
/// # Cancellation
/// In a fiber this is a suspension point, as [`Handle::run`](crate::Handle::run) is.
///
/// ```
/// let name = String::from("fiber");
/// let greeting = sisal::run(|| format!("hello, {name}"));
/// assert_eq!(greeting, "hello, fiber");
/// ```
///
/// `f` runs on another thread, so it takes and returns nothing that is not `Send`:
///
/// ```compile_fail,E0277
/// sisal::run(|| std::rc::Rc::new(1));
/// ```
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    runtime::default().run(f)
}
