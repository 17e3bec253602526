//! A fiber's park on its worker, and its wake by that worker.
//!
//! The fiber that parked last *lingers*: its state word does not say so yet, so a wake by its own worker, if that is the
//! next thing that happens to it, costs no atomic operation, and neither did the park. Protocol: `sched/README.md`, "The last to park".

use super::Worker;
use crate::fiber::{FiberPtr, TOKEN, WOKEN};

impl Worker {
    /// A fiber left its stack to wait.
    #[inline]
    pub(super) fn park(&self, fiber: FiberPtr) {
        if let Some(before) = self.lingering.replace(Some(fiber)) {
            self.park_in_word(before);
        }
    }

    /// Nobody lingers any more. True: who did was called for meanwhile, and is queued.
    #[inline]
    pub(super) fn park_lingering(&self) -> bool {
        (self.lingering.take()).is_some_and(|fiber| self.park_in_word(fiber))
    }

    #[inline]
    fn park_in_word(&self, fiber: FiberPtr) -> bool {
        // SAFETY: a fiber that has not ended is live.
        let called = unsafe { fiber.header() }.park();
        if called {
            self.queues.push_ready(fiber);
        }
        called
    }

    /// Calls for a fiber of this worker's, on its thread. False: a subscriber is to be told, so nothing was done.
    #[inline]
    pub(in crate::sched) fn wake(&self, fiber: FiberPtr, reason: u32) -> bool {
        // SAFETY: whoever calls for a fiber has a live record.
        let header = unsafe { fiber.header() };
        if header.reports_wakes() {
            return false;
        }
        let queue = if self.lingering.get() == Some(fiber) && reason & !(TOKEN | WOKEN) == 0 {
            self.lingering.set(None);
            header.leave_calls(reason);
            true
        } else {
            header.notify_here(reason)
        };
        if queue {
            self.push_woken(fiber);
        }
        true
    }
}
