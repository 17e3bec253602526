//! `fiber::sleep`.

use std::time::{Duration, Instant};

use super::{call_at, timer};
use crate::current::{self, ThreadState};
use crate::fiber::Running;

/// Waits for at least `duration` (resolution: 1 ms).
///
/// In a fiber this parks the fiber, by std's clock: tokio's `pause` does not stop it. On a plain thread it is
/// [`std::thread::sleep`].
///
/// # Panics
/// On a worker's own stack: await `tokio::time::sleep` there.
///
/// # Cancellation
/// A suspension point: a cancelled fiber unwinds from here.
///
/// ```
/// use std::time::Duration;
/// sisal::run(|| sisal::fiber::sleep(Duration::from_millis(1)));
/// ```
#[inline(always)] // see `Running::suspend`
#[track_caller]
pub fn sleep(duration: Duration) {
    match current::state() {
        ThreadState::Plain => std::thread::sleep(duration),
        ThreadState::Fiber(running) => on_fiber(running, timer::after(duration)),
        ThreadState::Worker => refuse(),
    }
}

/// Waits until `deadline`, as [`sleep`]. If that is past a fiber lets others run once.
///
/// # Panics
/// On a worker's own stack: await `tokio::time::sleep_until` there.
///
/// # Cancellation
/// A suspension point: a cancelled fiber unwinds from here.
///
/// ```
/// use std::time::{Duration, Instant};
/// let deadline = Instant::now() + Duration::from_millis(1);
/// sisal::run(|| sisal::fiber::sleep_until(deadline));
/// assert!(Instant::now() >= deadline);
/// ```
#[inline(always)] // see `Running::suspend`
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    match current::state() {
        ThreadState::Fiber(running) if deadline <= Instant::now() => running.yield_now(),
        ThreadState::Fiber(running) => on_fiber(running, deadline),
        ThreadState::Worker => refuse(),
        ThreadState::Plain => {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

#[cold]
#[track_caller]
fn refuse() -> ! {
    current::refuse_worker("sleep", "await `tokio::time::sleep` there")
}

#[inline(always)]
fn on_fiber(running: Running, deadline: Instant) {
    /// Also when it unwinds: nothing of its later waits is called for by this.
    struct Timed(Running);
    impl Drop for Timed {
        fn drop(&mut self) {
            self.0.header().waits_for_no_time();
        }
    }
    call_at(running, deadline);
    let timed = Timed(running);
    while timed.0.header().is_timed() {
        timed.0.park();
    }
    std::mem::forget(timed);
}

/// [`sleep`] for milliseconds, as code older than `Duration` spells it.
///
/// # Panics
/// On a worker's own stack: await `tokio::time::sleep` there.
///
/// # Cancellation
/// A suspension point, as `sleep` is.
#[deprecated(note = "use `fiber::sleep`, as std says of its own")]
#[track_caller]
pub fn sleep_ms(ms: u32) {
    sleep(Duration::from_millis(ms.into()));
}
