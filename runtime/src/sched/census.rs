//! Who is left: what a shutdown that is given up says of the fibers that did not end.
//!
//! Nothing of this is done before a shutdown. A worker that takes its first turn after `close` leaves
//! counted references to its bound fibers here, and to each that it starts from then on; whoever waited
//! in vain takes them and looks which are not done. So a stuck fiber is named although its worker
//! takes no more turns. A worker that was stuck before the shutdown began left nothing here: its signal handler
//! is asked for the fiber that it is in (`Probe`).

use parking_lot::Mutex;

use super::shared::Shared;
use super::worker::Worker;
use crate::fiber::{FiberPtr, FiberRef};
use crate::unfinished::UnfinishedFiber;

/// What a worker told of its fibers. No fiber is counted, dropped or looked at under the lock.
pub(super) struct Census(Mutex<Told>);

enum Told {
    /// It has taken no turn since the runtime was closed.
    Nothing,
    Fibers(Vec<FiberRef>),
    /// Nobody will ask any more. (References that stayed would keep the runtime, and it them.)
    Over,
}

impl Census {
    pub(super) fn new() -> Census {
        Census(Mutex::new(Told::Nothing))
    }

    /// The worker: its bound fibers at its first turn after `close`.
    fn tell(&self, fibers: Vec<FiberRef>) {
        let mut told = self.0.lock();
        let late = match *told {
            Told::Nothing => {
                *told = Told::Fibers(fibers);
                None
            }
            _ => Some(fibers),
        };
        drop(told);
        drop(late);
    }

    /// The worker: one more.
    fn tell_more(&self, fiber: FiberRef) {
        let mut told = self.0.lock();
        let late = match &mut *told {
            Told::Fibers(fibers) => {
                fibers.push(fiber);
                None
            }
            _ => Some(fiber),
        };
        drop(told);
        drop(late);
    }

    /// What was told; `None` if nothing. Nothing is from now on.
    pub(super) fn take(&self) -> Option<Vec<FiberRef>> {
        match std::mem::replace(&mut *self.0.lock(), Told::Over) {
            Told::Nothing => None,
            Told::Fibers(fibers) => Some(fibers),
            Told::Over => Some(Vec::new()),
        }
    }
}

impl Worker {
    fn census(&self) -> &Census {
        &self.shared.workers[self.index].census
    }

    /// At the first turn after `close`.
    pub(super) fn tell_bound(&self) {
        let bound = self.bound.borrow();
        // SAFETY: bound fibers are live.
        let count = |fiber: &FiberPtr| unsafe { FiberRef::count(*fiber) };
        let fibers = bound.iter().map(count).collect();
        drop(bound);
        self.census().tell(fibers);
    }

    /// A fiber that is started after that.
    pub(super) fn tell_started(&self, fiber: FiberPtr) {
        // SAFETY: it is about to be run, so it is live.
        self.census().tell_more(unsafe { FiberRef::count(fiber) });
    }

    /// No fiber is left anywhere.
    pub(super) fn forget_told(&self) {
        drop(self.census().take());
    }
}

impl Shared {
    /// The fibers that have not ended, and the workers that told nothing of theirs. Once.
    pub(super) fn left_over(&self) -> (Vec<UnfinishedFiber>, Vec<usize>) {
        let (mut fibers, mut silent) = (Vec::new(), Vec::new());
        for (index, worker) in self.workers.iter().enumerate() {
            let Some(told) = worker.census.take() else {
                silent.push(index);
                let running = worker.probe.running_fiber();
                fibers.extend(running.map(|fiber| UnfinishedFiber::new(fiber, false)));
                continue;
            };
            let left = told.iter().filter(|fiber| !fiber.is_done());
            fibers.extend(left.map(|fiber| UnfinishedFiber::new(fiber.identity(), false)));
        }
        (fibers, silent)
    }
}
