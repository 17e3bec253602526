//! Timers of the current worker's reactor.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::current;
use crate::keep::Kept;

/// A timer of the worker that makes it. It does not spend tokio's budget: our operations run under
/// a count of our own.
///
/// # Panics
/// Off a worker: there is no reactor.
pub(crate) fn sleep_until(deadline: Instant) -> impl Future<Output = ()> {
    Kept::new(unconstrained(sleep(deadline)))
}

/// The same, for whoever sees to the budget itself.
pub(super) fn plain_until(deadline: Instant) -> Kept<Sleep> {
    Kept::new(sleep(deadline))
}

fn sleep(deadline: Instant) -> Sleep {
    current::with_reactor(|| tokio::time::sleep_until(deadline.into()))
}

/// `Instant::now() + timeout`; a time that cannot be told is some thirty years away.
pub(crate) fn after(timeout: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}
