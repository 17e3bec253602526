//! A fiber's park on its worker, and its wake by that worker.
//!
//! The fiber that parked last *lingers*: its state word does not say so yet, so a wake by its own worker, if that is the
//! next thing that happens to it, costs no atomic operation, and neither did the park. Protocol: `sched/README.md`, "The last to park".

use super::Worker;
use crate::fiber::{FiberPtr, TOKEN, WOKEN};
use crate::sched::queues::Pick;

impl Worker {
    /// A fiber left its stack to wait.
    #[inline]
    pub(super) fn park(&self, fiber: FiberPtr) {
        // SAFETY: a fiber that has not ended is live.
        if unsafe { fiber.header() }.reports_wakes() {
            // A subscriber is told of its wakes, each before it is in a queue.
            return self.park_in_word(fiber);
        }
        if let Some(before) = self.lingering.replace(Some(fiber)) {
            self.park_in_word(before);
        }
    }

    /// Nobody lingers any more.
    #[inline]
    pub(super) fn park_lingering(&self) {
        if let Some(fiber) = self.lingering.take() {
            self.park_in_word(fiber);
        }
    }

    /// The same, when nothing is queued. The fiber, if somebody called for it meanwhile: it need not be queued.
    #[inline]
    pub(super) fn pick_lingering(&self) -> Option<Pick> {
        let fiber = self.lingering.take()?;
        // SAFETY: a fiber that has not ended is live.
        let called = unsafe { fiber.header() }.park();
        called.then_some(Pick::Started(fiber))
    }

    #[inline]
    fn park_in_word(&self, fiber: FiberPtr) {
        // SAFETY: a fiber that has not ended is live.
        if unsafe { fiber.header() }.park() {
            self.queues.push_ready(fiber);
        }
    }

    /// Calls for a fiber of this worker's, on its thread. False: a subscriber is to be told, so nothing was done.
    #[inline]
    pub(in crate::sched) fn wake(&self, fiber: FiberPtr, reason: u32) -> bool {
        // SAFETY: whoever calls for a fiber has a live record.
        let header = unsafe { fiber.header() };
        if self.lingering.get() == Some(fiber) {
            // No subscriber is told of it (`park`).
            if reason & !(TOKEN | WOKEN) == 0 {
                self.lingering.set(None);
                header.leave_calls(reason);
                self.push_woken(fiber);
                return true;
            }
            // What is for the word is for one that says that the fiber waits.
            self.park_lingering();
        }
        if header.reports_wakes() {
            return false;
        }
        if header.notify_here(reason) {
            self.push_woken(fiber);
        }
        true
    }
}
