//! A fiber's time on a worker: its first run, each later one, its end.

use super::Worker;
use crate::driver::has_budget_remaining;
use crate::error::JoinError;
use crate::fiber::{self, AfterSwitch, FiberPtr, FiberRef};
use crate::sched::shared::bump;
use crate::shim::{Ordering, compiler_fence};

impl Worker {
    /// Runs a fiber that is bound here. False: the turn ends.
    #[inline]
    pub(super) fn run(&self, fiber: FiberPtr) -> bool {
        // SAFETY: a queued fiber is live.
        unsafe { fiber.header() }.begin();
        // SAFETY: on this worker's stack; a started fiber in these queues is bound here and has left its stack.
        let after = self.on(fiber, || unsafe { fiber::resume(fiber) });
        self.follow(fiber, after)
    }

    /// The same for one that is not yet.
    pub(super) fn run_fresh(&self, fiber: FiberPtr) -> bool {
        match self.start(fiber) {
            Some(after) => self.follow(fiber, after),
            None => has_budget_remaining(),
        }
    }

    /// What a fiber wanted when it left its stack. False: the turn ends.
    #[inline(always)]
    fn follow(&self, fiber: FiberPtr, after: AfterSwitch) -> bool {
        // In the order of how often, and no table of addresses.
        if after == AfterSwitch::REQUEUE {
            self.queues.push_ready(fiber);
        } else if after == AfterSwitch::PARK {
            self.park(fiber);
        } else if after == AfterSwitch::FINISH {
            self.finish(fiber);
        } else {
            self.give_up(fiber);
        }
        // Without budget every tokio future is pending. tokio is to call the wakers that it held back for lack of it, and who spent it
        // is not to be the first in the next turn too.
        has_budget_remaining()
    }

    /// Marks `fiber` as the running one while `switch` is away on its stack.
    #[inline]
    fn on(&self, fiber: FiberPtr, switch: impl FnOnce() -> AfterSwitch) -> AfterSwitch {
        // SAFETY: a fiber in a queue is live, and an ended one until `finish` gives up its reference.
        let header = unsafe { fiber.header() };
        // Subscribers are called here, on the worker's own stack (S10, S11).
        header.enter_spans(&self.span);
        self.context.fiber.set(Some(fiber));
        if self.watched {
            self.context.probe.turned();
        }
        let after = switch();
        if self.watched {
            self.context.probe.turned();
        }
        self.context.fiber.set(None);
        // Before the fiber can end: a signal handler counts the fiber that it finds here.
        compiler_fence(Ordering::SeqCst);
        if self.context.unwinding.concerns() {
            self.note_unwinding(fiber, after.is_last());
        }
        header.leave_spans(&self.span, after);
        after
    }

    /// Keeps account of who is in mid-unwind; when nobody is any more, reminds those who waited for
    /// that to unwind themselves (S6).
    #[cold]
    fn note_unwinding(&self, fiber: FiberPtr, ended: bool) {
        // SAFETY: a fiber that was just switched away from is live until `finish`.
        let over = self
            .context
            .unwinding
            .left(unsafe { fiber.header() }, ended);
        if over && self.context.cancel_deferred.take() {
            for fiber in self.bound.borrow().iter() {
                // SAFETY: bound fibers are live.
                if unsafe { fiber.header() }.remind() {
                    self.queues.push_ready(*fiber);
                }
            }
        }
    }

    /// Binds a fresh fiber to this worker and runs it (S1). `None`: that was all of it. Most fibers end in their first run, so
    /// until after that its stack stays in the pool, and it is in no list.
    fn start(&self, fiber: FiberPtr) -> Option<AfterSwitch> {
        // SAFETY: a fresh fiber is live.
        let header = unsafe { fiber.header() };
        let (size, place) = (header.stack_size(), header.spawned_at());
        // SAFETY: on this worker's stack; bound here. The stack was lent to nobody else, and the pool is not used before the run
        // is over.
        let lent = (self.stacks.borrow_mut().lend(size, place))
            .map(|stack| unsafe { fiber::prepare(fiber, stack) });
        let fresh = match lent {
            Ok(fresh) => fresh,
            Err(error) => {
                // SAFETY: it came out of the queue here, so nobody else can start it.
                unsafe { fiber::refuse_fresh(fiber, |id| JoinError::no_stack(id, error)) };
                bump(&self.remote().count.ended);
                return None;
            }
        };
        if self.draining.get() {
            if !header.is_sheltered() {
                // A fresh fiber is in the queue that it came from, and in no other.
                let _ = header.cancel();
            }
            self.tell_started(fiber);
        }
        header.bind(self.index as u32);
        let others = self.bound.borrow().len() as u64;
        self.publish_load(others + 1);
        // SAFETY: on this worker's stack; prepared just now.
        let after = self.on(fiber, || unsafe { fiber::start(fresh) });
        if after == AfterSwitch::FINISH {
            // A wait that it had no need to park for may have left it there.
            self.context.timers.forget(header);
            self.stacks.borrow_mut().returned(size, place);
            self.publish_load(others);
            // SAFETY: the fiber's own reference was not given up yet.
            drop(unsafe { FiberRef::adopt(fiber) });
            bump(&self.remote().count.ended);
            return None;
        }
        header.keep_stack(self.stacks.borrow_mut().kept(size));
        let mut bound = self.bound.borrow_mut();
        // Each has a page of memory at least: 2^32 of them would have 16 TiB.
        header.bound_at.set(bound.len() as u32);
        bound.push(fiber);
        drop(bound);
        if !self.context.unwinding.concerns() {
            // If the end of an unwind came in that run, it was not in the list yet. It has not parked yet, so it is in no
            // queue, and needs none.
            let _ = header.remind();
        }
        Some(after)
    }

    /// Takes back what an ended fiber had: its stack at once, hot, for the next.
    fn finish(&self, fiber: FiberPtr) {
        // SAFETY: the fiber's own reference, adopted here, was not given up yet.
        let ended = unsafe { FiberRef::adopt(fiber) };
        self.context.timers.forget(&ended);
        // SAFETY: on this worker's stack, after `FINISH`: S4, its body has returned.
        let stack = unsafe { ended.take_stack() };
        let mut stacks = self.stacks.borrow_mut();
        stacks.put(ended.stack_size(), ended.spawned_at(), stack);
        drop(stacks);
        self.unbind(ended);
    }

    /// The last of a fiber that was bound here.
    #[inline]
    fn unbind(&self, ended: FiberRef) {
        let mut bound = self.bound.borrow_mut();
        let at = ended.bound_at.get();
        bound.swap_remove(at as usize);
        if let Some(moved) = bound.get(at as usize) {
            // SAFETY: bound fibers are live.
            unsafe { moved.header() }.bound_at.set(at);
        }
        self.publish_load(bound.len() as u64);
        drop(bound);
        drop(ended);
        bump(&self.remote().count.ended);
    }

    /// Ends a fiber that overflowed its stack (S4): whoever joins it is told, and this thread never ends (S7).
    #[cold]
    fn give_up(&self, fiber: FiberPtr) {
        // SAFETY: the fiber's own reference, adopted here, was not given up yet.
        let ended = unsafe { FiberRef::adopt(fiber) };
        self.retire(&ended);
        self.context.timers.forget(&ended);
        // SAFETY: on this worker's stack, after `RETIRE`.
        unsafe { fiber::retire(fiber) };
        self.unbind(ended);
    }
}
