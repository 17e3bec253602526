//! `timeout`: a deadline for any blocking code.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use tokio::task::coop::unconstrained;

use super::elapsed::Elapsed;
use super::timer;
use crate::current::{self, ThreadState};
use crate::fiber::caught;
use crate::keep::keep;
use crate::park::waker;

/// Runs `f` for at most `duration` (resolution: 1 ms): any code that waits as fibers do, third parties'
/// included.
///
/// When the time is over, `f` unwinds from the wait that it is in, or from the next, as if that had
/// panicked (but no panic hook runs): its destructors run, and `timeout` returns `Err`. Code that does not wait is
/// not interrupted. A value that `f` returns, however late, is `Ok`: no result is lost.
///
/// Calls nest: of several deadlines that have passed the outermost ends its `timeout`. Code in `f` that
/// catches the unwind meets it again at its next wait. The children of a
/// [`scope`](crate::fiber::scope) in `f` are cancelled, and waited for. [`shield`](crate::fiber::shield) in `f` holds the
/// unwind off; so does a destructor, while it runs in an unwind. [`unblock`](crate::unblock()) is
/// waited for. A duration of zero ends `f` at its first wait.
///
/// # Errors
/// [`Elapsed`] if the time was over, and `f` did not return.
///
/// # Panics
/// If `f` does. On a plain thread, whose waits cannot be unwound: use it inside
/// [`sisal::run`](crate::run()). On a worker's own stack: await `tokio::time::timeout` there.
///
/// # Cancellation
/// Not itself a suspension point. With `panic = "abort"` nothing can unwind, so `f` always runs to its end.
///
/// ```
/// use std::time::Duration;
/// sisal::run(|| {
///     let slow = sisal::timeout(Duration::from_millis(5), || sisal::fiber::park());
///     assert!(slow.is_err());
///     let fast = sisal::timeout(Duration::from_secs(60), || 2 + 2);
///     assert_eq!(fast, Ok(4));
/// });
/// ```
#[track_caller]
pub fn timeout<F, T>(duration: Duration, f: F) -> Result<T, Elapsed>
where
    F: FnOnce() -> T,
{
    let running = match current::state() {
        ThreadState::Fiber(running) => running,
        ThreadState::Worker => {
            current::refuse_worker("timeout", "await `tokio::time::timeout` there")
        }
        ThreadState::Plain => panic!(
            "`timeout` on a plain thread, whose waits cannot be unwound: call it in a fiber, \
             inside `sisal::run`"
        ),
    };
    let deadline = timer::after(duration);
    let mut sleep = pin!(timer::plain_until(deadline));
    // SAFETY: the waker is used in this frame only, and clones count.
    let waker = unsafe { waker::borrowed_expire(running) };
    // Once: it is the same waker whatever `f` waits for. (tokio rounds up, also a time of zero.)
    let first = keep(|| pin!(unconstrained(sleep.as_mut())).poll(&mut Context::from_waker(&waker)));
    if duration.is_zero() || first.is_ready() {
        waker.wake_by_ref();
    }
    let sleep = sleep.as_ref().inner();
    let fired = || sleep.is_elapsed();
    // Nothing of `f` is seen again after a panic of it that goes on.
    let ended = running.within(deadline, &fired, || caught(f));
    ended.map_err(|payload| match payload {
        None => Elapsed::new(),
        Some(payload) => resume_unwind(payload),
    })
}
