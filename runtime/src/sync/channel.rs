//! The queue under `mpsc` and `mpmc`: messages, who waits for one, who waits for room.
//!
//! All of it lies under one lock, which is held for a push or a pop and nothing else: wakers, and destructors of
//! messages, run after it is released.
//!
//! Messages are handed over: who sends while a receiver waits puts the message into the receiver's
//! [`Place`](super::wait_list::Place), and who receives takes what the first waiting sender has in its place. So waiters are served in
//! the order of their arrival, nobody takes what a waiter was woken for, and a waiter that was served needs
//! the lock no more. What a place holds when it is granted says how the wait ended:
//!
//! | | a message | nothing |
//! |---|---|---|
//! | receiver | received | no sender is left |
//! | sender | no receiver is left: it is given back | sent |
//!
//! Two invariants: if a receiver waits there is no message and no sender waits; if a sender waits there is
//! no room. A receiver that gives up after it was served puts its message back, to the front: for that one message
//! the capacity does not count; nor for the one that a waiting `Stream` has room for (`polled.rs`). Where there are several receivers none is told of the end before all have taken up what they were
//! handed, for it may come back.
//!
//! Models: `loom_channel.rs`.

mod iter;
mod polled;
mod recv;
mod send;

use std::collections::VecDeque;
use std::sync::mpsc::{TryRecvError, TrySendError};
use std::task::{Context, Poll, Waker};

use super::wait_list::{Locked, WaitList};
use super::wakers::{let_go, wake_all, wake_or};
use crate::keep::keep;
use crate::shim::{AtomicUsize, Ordering};

use polled::{Id, Polled};

pub(super) use iter::iterators;
pub(super) use recv::Rx;
pub(super) use send::Tx;

#[cfg(test)]
#[path = "loom_channel.rs"]
mod loom_channel;

/// So much memory a bounded channel takes at once; a larger one grows into its capacity.
const AT_ONCE: usize = 64 * 1024;

/// An unbounded queue that was longer than this gives its memory back when it is empty.
const KEPT: usize = 1024;

pub(super) struct Channel<T> {
    /// `usize::MAX`: unbounded.
    capacity: usize,
    /// There may be several receivers: `handed` is kept.
    shared: bool,
    /// The length of the queue when the lock was last released, and one more if a sender waited. A hint, for whoever may have to wait:
    /// nothing depends on it but what is done first.
    len: AtomicUsize,
    state: Locked<State<T>>,
}

struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
    receivers: usize,
    /// Messages in the places of receivers that have not taken them up: any of these may come back.
    handed: usize,
    receiving: WaitList<Option<T>>,
    sending: WaitList<Option<T>>,
    /// Receivers that wait as a `Stream`.
    polled: Polled,
    /// The next receiver's.
    next_id: Id,
}

/// A message that is to be sent at once.
struct Offer<T> {
    message: Option<T>,
    /// Why it is still here.
    disconnected: bool,
}

/// Why a message is not taken.
enum Refused {
    Full,
    Disconnected,
}

#[cold]
fn refuse<T>(message: T, disconnected: bool) -> TrySendError<T> {
    match disconnected {
        true => TrySendError::Disconnected(message),
        false => TrySendError::Full(message),
    }
}

/// A channel with one sender and one receiver. `shared`: that may be cloned.
pub(super) fn channel<T>(capacity: Option<usize>, shared: bool) -> (Tx<T>, Rx<T>) {
    let at_once = match capacity {
        Some(capacity) => capacity.min(AT_ONCE / size_of::<T>().max(1)),
        None => 0,
    };
    let channel = std::sync::Arc::new(Channel {
        capacity: capacity.unwrap_or(usize::MAX),
        shared,
        len: AtomicUsize::new(0),
        state: Locked::new(State {
            queue: VecDeque::with_capacity(at_once),
            senders: 1,
            receivers: 1,
            handed: 0,
            receiving: WaitList::new(),
            sending: WaitList::new(),
            polled: Polled::new(),
            next_id: 1,
        }),
    });
    (Tx::new(channel.clone()), Rx::new(channel))
}

impl<T> State<T> {
    /// Takes the message, to hand it over or to queue it. The waker is to be called after the lock is released.
    #[inline(always)]
    fn push(
        &mut self,
        channel: &Channel<T>,
        message: &mut Option<T>,
    ) -> Result<Option<Waker>, Refused> {
        if self.receivers == 0 {
            return Err(Refused::Disconnected);
        }
        if let Some(place) = self.receiving.first() {
            // In pieces: one load of what was stored in two waits for the stores.
            if let Some(message) = message.take() {
                *place = Some(message);
            }
            self.handed += usize::from(channel.shared);
            return Ok(self.receiving.grant_first());
        }
        // A stream that waits has room for one, as any receiver that waits.
        if self.queue.len() < channel.capacity || !self.polled.is_empty() {
            if let Some(message) = message.take() {
                self.queue.push_back(message);
            }
            return Ok(self.polled.take());
        }
        Err(Refused::Full)
    }

    /// Takes the first message, and lets a waiting sender's in.
    #[inline(always)]
    fn pop(&mut self, capacity: usize) -> Result<(T, Option<Waker>), TryRecvError> {
        let Some(message) = self.queue.pop_front() else {
            if let Some(place) = self.sending.first() {
                let message = place.take().expect("a waiting sender has its message");
                return Ok((message, self.sending.grant_first()));
            }
            return Err(match self.has_ended() {
                true => TryRecvError::Disconnected,
                false => TryRecvError::Empty,
            });
        };
        if self.queue.len() < capacity
            && let Some(place) = self.sending.first()
        {
            let next = place.take().expect("a waiting sender has its message");
            self.queue.push_back(next);
            return Ok((message, self.sending.grant_first()));
        }
        if capacity == usize::MAX && self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        Ok((message, None))
    }

    /// A receiver was served and does not want it: it is the first message again.
    fn put_back(&mut self, shared: bool, message: T) -> Option<Waker> {
        if let Some(place) = self.receiving.first() {
            *place = Some(message);
            return self.receiving.grant_first();
        }
        self.handed -= usize::from(shared);
        self.queue.push_front(message);
        self.polled.take()
    }
}

impl<T> State<T> {
    /// Whether no message will come any more to an empty queue.
    fn has_ended(&self) -> bool {
        self.senders == 0 && self.handed == 0
    }

    /// Whether a receiver has to wait.
    #[inline]
    fn is_bare(&self) -> bool {
        self.queue.is_empty() && self.sending.is_empty() && !self.has_ended()
    }
}

impl<T> Channel<T> {
    /// Calls `f` under the lock.
    #[inline]
    fn locked<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        self.locked_with(move |_, state| f(state))
    }

    /// Calls `f` under the lock with this channel: with no more than a word beside it both come in registers.
    #[inline]
    fn locked_with<R>(&self, f: impl FnOnce(&Channel<T>, &mut State<T>) -> R) -> R {
        keep(move || {
            self.state.kept(move |state| {
                let result = f(self, state);
                let len = state.queue.len() + usize::from(!state.sending.is_empty());
                self.len.store(len, Ordering::Relaxed);
                result
            })
        })
    }

    /// Whether a receiver will have to wait, most likely.
    #[inline]
    fn looks_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Whether a sender will have to wait, most likely.
    #[inline]
    fn looks_full(&self) -> bool {
        self.len.load(Ordering::Relaxed) >= self.capacity
    }

    #[inline]
    fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut offer = Offer {
            message: Some(message),
            disconnected: false,
        };
        let woken = self.offer(&mut offer);
        if let Some(woken) = woken {
            woken.wake();
        }
        match offer.message {
            None => Ok(()),
            Some(message) => Err(refuse(message, offer.disconnected)),
        }
    }

    /// Whom it wakes, if the message was taken. (What is refused stays where it is, so that no more than this comes back, and in
    /// registers.)
    #[inline]
    fn offer(&self, offer: &mut Offer<T>) -> Option<Waker> {
        self.locked_with(
            move |channel, state| match state.push(channel, &mut offer.message) {
                Ok(woken) => woken,
                Err(refused) => {
                    offer.disconnected = matches!(refused, Refused::Disconnected);
                    None
                }
            },
        )
    }

    #[inline]
    fn try_recv(&self) -> Result<T, TryRecvError> {
        let (message, woken) = self.locked_with(|channel, state| state.pop(channel.capacity))?;
        Ok(self.wake_for(message, woken))
    }

    /// Wakes the sender that a message just taken lets go on. If its waker panics the message goes back.
    #[inline]
    fn wake_for(&self, message: T, woken: Option<Waker>) -> T {
        let Some(woken) = woken else {
            return message;
        };
        wake_or(woken, message, |message| {
            self.locked(|state| state.handed += usize::from(self.shared));
            self.put_back(message);
        })
    }

    /// Of a receiver as a `Stream`.
    fn poll_next(&self, id: Id, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if !self.looks_empty()
            && let Ok(message) = self.try_recv()
        {
            return Poll::Ready(Some(message));
        }
        let mut waker = Some(cx.waker().clone());
        let popped = self.locked(|state| {
            let popped = state.pop(self.capacity);
            if let Err(TryRecvError::Empty) = popped {
                waker = waker.take().and_then(|new| state.polled.wait(id, new));
            }
            popped
        });
        // The one before, or this one if it is not needed.
        let_go(waker);
        match popped {
            Ok((message, woken)) => Poll::Ready(Some(self.wake_for(message, woken))),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => Poll::Pending,
        }
    }

    fn put_back(&self, message: T) {
        let woken = self.locked(|state| state.put_back(self.shared, message));
        if let Some(woken) = woken {
            woken.wake();
        }
    }

    fn add_sender(&self) {
        self.locked(|state| state.senders += 1);
    }

    fn add_receiver(&self) -> Id {
        self.locked(|state| {
            state.receivers += 1;
            let id = state.next_id;
            state.next_id += 1;
            id
        })
    }

    /// The last one tells all receivers that wait.
    fn drop_sender(&self) {
        let last = self.locked(|state| {
            state.senders -= 1;
            state.has_ended()
        });
        if last {
            self.end_receiving();
        }
    }

    /// A receiver took up what it was handed, without the lock.
    #[inline]
    fn taken_up(&self) {
        if self.shared {
            let last = self.locked(|state| {
                state.handed -= 1;
                state.has_ended()
            });
            if last {
                self.end_receiving();
            }
        }
    }

    #[cold]
    fn end_receiving(&self) {
        wake_all(|wakers| {
            self.locked(|state| {
                state.polled.take_some(wakers) || state.receiving.grant_while(wakers, |_| true)
            })
        });
    }

    /// The last one gives all senders that wait their messages back, and drops those in the queue.
    fn drop_receiver(&self, id: Id) {
        let (own, left) = self.locked(|state| {
            state.receivers -= 1;
            let own = state.polled.remove(id);
            let last = state.receivers == 0;
            (own, last.then(|| std::mem::take(&mut state.queue)))
        });
        if let Some(left) = left {
            wake_all(|wakers| self.locked(|state| state.sending.grant_while(wakers, |_| true)));
            drop(left);
        }
        drop(own);
    }

    fn capacity(&self) -> Option<usize> {
        (self.capacity != usize::MAX).then_some(self.capacity)
    }

    fn len(&self) -> usize {
        self.locked(|state| state.queue.len())
    }

    fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    fn has_senders(&self) -> bool {
        self.locked(|state| state.senders > 0)
    }

    fn has_receivers(&self) -> bool {
        self.locked(|state| state.receivers > 0)
    }
}
