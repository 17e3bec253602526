//! The stand-in for crossbeam's deque and injector in loom models: as little order as any could give.
//!
//! A thief that takes a fiber sees what its pusher did. A look whether there is something orders
//! nothing, and may miss a push that nothing else orders before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::{AtomicUsize, Ordering};

pub(crate) use crossbeam_deque::Steal;

struct Queue<T> {
    /// The one thing that loom sees. Items are put in before it grows and taken after it shrinks.
    len: AtomicUsize,
    items: Mutex<VecDeque<T>>,
}

impl<T> Queue<T> {
    fn new() -> Queue<T> {
        let (len, items) = (AtomicUsize::new(0), Mutex::default());
        Queue { len, items }
    }

    fn push(&self, item: T) {
        self.items.lock().unwrap().push_back(item);
        // Release pairs with the Acquire of `take`.
        self.len.fetch_add(1, Ordering::Release);
    }

    /// The right to take one item.
    fn take(&self) -> bool {
        let mut len = self.len.load(Ordering::Relaxed);
        while len > 0 {
            // Acquire pairs with `push`.
            match self
                .len
                .compare_exchange(len, len - 1, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => len = now,
            }
        }
        false
    }

    fn oldest(&self) -> Option<T> {
        self.take()
            .then(|| self.items.lock().unwrap().pop_front().unwrap())
    }

    fn newest(&self) -> Option<T> {
        self.take()
            .then(|| self.items.lock().unwrap().pop_back().unwrap())
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }
}

fn steal<T>(item: Option<T>) -> Steal<T> {
    item.map_or(Steal::Empty, Steal::Success)
}

pub(crate) struct Worker<T>(Arc<Queue<T>>);

impl<T> Worker<T> {
    pub(crate) fn new_lifo() -> Worker<T> {
        Worker(Arc::new(Queue::new()))
    }

    pub(crate) fn stealer(&self) -> Stealer<T> {
        Stealer(Arc::clone(&self.0))
    }

    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.0.newest()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(crate) struct Stealer<T>(Arc<Queue<T>>);

impl<T> Stealer<T> {
    pub(crate) fn steal(&self) -> Steal<T> {
        steal(self.0.oldest())
    }

    /// Moves one item more to `dest`, if there are two.
    pub(crate) fn steal_batch_with_limit_and_pop(
        &self,
        dest: &Worker<T>,
        limit: usize,
    ) -> Steal<T> {
        let first = self.0.oldest();
        if first.is_some()
            && limit > 1
            && let Some(second) = self.0.oldest()
        {
            dest.push(second);
        }
        steal(first)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

pub(crate) struct Injector<T>(Queue<T>);

impl<T> Injector<T> {
    pub(crate) fn new() -> Injector<T> {
        Injector(Queue::new())
    }

    pub(crate) fn push(&self, item: T) {
        self.0.push(item);
    }

    pub(crate) fn steal(&self) -> Steal<T> {
        steal(self.0.oldest())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
