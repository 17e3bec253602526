//! Receivers that wait as a `Stream`.
//!
//! A receiver may be moved between two polls, so it has no place in a list, and one that was polled need not be polled again: its task
//! may have turned to something else for an hour. So nothing is handed to a stream. A message is put into the
//! queue, for whoever looks first, and *all* streams that wait are woken: were it one, and that one not looking, the message would lie there
//! while the others sleep. Whoever was woken is out, and registers anew if it finds nothing.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::sync::wakers::{Wakers, wake_all};

/// Which of a channel's receivers.
pub(super) type Id = usize;

/// The streams that found nothing.
pub(super) struct Polled {
    first: Option<(Id, Waker)>,
    /// Empty where there is one receiver.
    others: Vec<(Id, Waker)>,
}

impl Polled {
    pub(super) const fn new() -> Polled {
        Polled {
            first: None,
            others: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// To be woken by this one. The one before is dropped after the lock is released, for it may be anybody's code.
    #[must_use]
    pub(super) fn wait(&mut self, id: Id, waker: Waker) -> Option<Waker> {
        let mut known = self.first.iter_mut().chain(&mut self.others);
        if let Some((_, old)) = known.find(|(known, _)| *known == id) {
            return Some(std::mem::replace(old, waker));
        }
        match self.first {
            None => self.first = Some((id, waker)),
            Some(_) => self.others.push((id, waker)),
        }
        None
    }

    /// It goes. What it gives back is dropped after the lock is released.
    #[must_use]
    pub(super) fn remove(&mut self, id: Id) -> Option<Waker> {
        if let Some(at) = self.others.iter().position(|(known, _)| *known == id) {
            return Some(self.others.swap_remove(at).1);
        }
        let (_, waker) = self.first.take_if(|(known, _)| *known == id)?;
        self.first = self.others.pop();
        Some(waker)
    }

    /// All of them, to be woken after the lock is released.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Waker> {
        let (_, first) = self.first.take()?;
        Some(match self.others.is_empty() {
            true => first,
            false => self.join_others(first),
        })
    }

    #[cold]
    fn join_others(&mut self, first: Waker) -> Waker {
        let others = std::mem::take(&mut self.others).into_iter();
        let wakers = others.map(|(_, waker)| waker).chain([first]);
        Waker::from(Arc::new(Streams(wakers.collect())))
    }

    /// The same, some at a time. True: `wakers` is full before that.
    pub(super) fn take_some(&mut self, wakers: &mut Wakers) -> bool {
        while !wakers.is_full() {
            let Some((_, waker)) = self.others.pop().or_else(|| self.first.take()) else {
                return false;
            };
            wakers.push(Some(waker));
        }
        true
    }
}

/// Several of them as one waker, which is called once.
struct Streams(Vec<Waker>);

impl Wake for Streams {
    fn wake(self: Arc<Self>) {
        let Some(Streams(streams)) = Arc::into_inner(self) else {
            unreachable!("it is not cloned");
        };
        let mut streams = streams.into_iter();
        wake_all(|wakers| {
            while !wakers.is_full() {
                match streams.next() {
                    Some(waker) => wakers.push(Some(waker)),
                    None => return false,
                }
            }
            true
        });
    }
}
