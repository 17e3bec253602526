//! A worker's fresh fibers: the newest is its own next, the oldest is for others.
//!
//! A deque that others steal from costs its owner a full fence at each pop. The only worker of its runtime has nobody who
//! steals, and keeps them in a plain queue.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::fiber::FiberPtr;
use crate::shim::deque::Worker as Deque;

pub(super) struct Fresh {
    /// Empty if there is only one worker.
    shared: Deque<FiberPtr>,
    alone: bool,
    /// Empty if there are several.
    own: RefCell<VecDeque<FiberPtr>>,
}

impl Fresh {
    pub(super) fn new(shared: Deque<FiberPtr>, alone: bool) -> Fresh {
        Fresh {
            shared,
            alone,
            own: RefCell::default(),
        }
    }

    #[inline]
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// What others steal from, and what is stolen comes to.
    pub(super) fn shared(&self) -> &Deque<FiberPtr> {
        &self.shared
    }

    #[inline]
    pub(super) fn push(&self, fiber: FiberPtr) {
        match self.alone {
            true => self.own.borrow_mut().push_back(fiber),
            false => self.shared.push(fiber),
        }
    }

    /// The newest.
    #[inline]
    pub(super) fn pop(&self) -> Option<FiberPtr> {
        match self.alone {
            true => self.own.borrow_mut().pop_back(),
            false => self.shared.pop(),
        }
    }

    /// The oldest, if this is the only worker; else it is stolen, as others do.
    pub(super) fn pop_oldest(&self) -> Option<FiberPtr> {
        self.own.borrow_mut().pop_front()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        match self.alone {
            true => self.own.borrow().is_empty(),
            false => self.shared.is_empty(),
        }
    }

    /// How many others do not see.
    #[inline]
    pub(super) fn unshared(&self) -> u64 {
        self.own.borrow().len() as u64
    }
}
