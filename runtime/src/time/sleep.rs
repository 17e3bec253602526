//! `fiber::sleep`.

use std::time::{Duration, Instant};

use super::timer;
use crate::block_on::block_on;
use crate::current::{self, ThreadState};

/// Waits for at least `duration` (resolution: 1 ms).
///
/// In a fiber this parks the fiber; on a plain thread it is [`std::thread::sleep`].
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
#[track_caller]
pub fn sleep(duration: Duration) {
    match current::state() {
        ThreadState::Plain => std::thread::sleep(duration),
        _ => sleep_until(timer::after(duration)),
    }
}

/// Waits until `deadline`, if that is not past.
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
#[track_caller]
pub fn sleep_until(deadline: Instant) {
    match current::state() {
        ThreadState::Fiber(_) => block_on(timer::sleep_until(deadline)),
        ThreadState::Worker => current::refuse_worker("sleep", "await `tokio::time::sleep` there"),
        ThreadState::Plain => {
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        }
    }
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
