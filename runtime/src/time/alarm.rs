//! A time in a fiber's own list of its worker: for waits that look again whenever they are called.

use std::time::Instant;

use crate::current;
use crate::fiber::Running;

/// Has the running fiber called for when `deadline` has passed, if it is parked then. It has one such time; a new one replaces it.
#[inline(never)]
pub(crate) fn call_at(running: Running, deadline: Instant) {
    current::timers(|timers| timers.call_at(running, deadline));
}

/// After a wait since [`call_at`]: whether its time has come. If it has not, it will not.
#[inline]
pub(crate) fn is_over(running: Running) -> bool {
    let header = running.header();
    header.waits_for_no_time();
    !header.is_timed()
}
