//! Sending: the senders' side of a channel, and its wait.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{SendError, TrySendError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{Channel, Refused};
use crate::park::waker::settle;
use crate::sync::wait::{self, enter};
use crate::sync::wait_list::Place;
use crate::sync::wakers::let_go;

const CALL: &str = "send";
const INSTEAD: &str = "await `send_async` instead";

/// One of a channel's senders.
pub(in crate::sync) struct Tx<T>(Arc<Channel<T>>);

impl<T> Tx<T> {
    pub(super) fn new(channel: Arc<Channel<T>>) -> Tx<T> {
        Tx(channel)
    }

    #[inline]
    pub(in crate::sync) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.0.try_send(message)
    }

    #[inline(always)] // see `Running::suspend`
    #[track_caller]
    pub(in crate::sync) fn send(&self, message: T) -> Result<(), SendError<T>> {
        if self.0.capacity().is_none() {
            return self.send_unbounded(message);
        }
        let fiber = enter(CALL, INSTEAD);
        match self.at_once(message) {
            Ok(sent) => sent,
            Err(message) => wait::wait_alone(fiber, pin!(self.wait(message))),
        }
    }

    /// Without a bound there is no wait: it works everywhere, and is no suspension point.
    #[inline]
    pub(in crate::sync) fn send_unbounded(&self, message: T) -> Result<(), SendError<T>> {
        self.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => SendError(message),
        })
    }

    /// As `try_send`, with a wait before it gives up.
    #[track_caller]
    pub(in crate::sync) fn send_until(
        &self,
        message: T,
        deadline: impl FnOnce() -> Instant,
    ) -> Result<(), TrySendError<T>> {
        if self.0.capacity().is_some() {
            enter(CALL, INSTEAD);
        }
        let message = match self.try_send(message) {
            Err(TrySendError::Full(message)) => message,
            sent => return sent,
        };
        let deadline = deadline();
        // A timer takes a millisecond or two, however short.
        if deadline <= Instant::now() {
            return Err(TrySendError::Full(message));
        }
        let mut send = pin!(self.wait(message));
        match wait::wait_until(CALL, INSTEAD, send.as_mut(), Some(deadline)) {
            Ok(sent) => sent.map_err(|SendError(message)| TrySendError::Disconnected(message)),
            // It may have been served since it last looked.
            Err(_) => send.give_up(),
        }
    }

    /// The wait, for async code too.
    pub(in crate::sync) fn wait(&self, message: T) -> SendFuture<'_, T> {
        SendFuture {
            channel: &self.0,
            place: Place::new(Some(message)),
            waiting: false,
        }
    }

    #[inline(always)]
    fn at_once(&self, message: T) -> Result<Result<(), SendError<T>>, T> {
        if self.0.looks_full() {
            return Err(message);
        }
        match self.try_send(message) {
            Ok(()) => Ok(Ok(())),
            Err(TrySendError::Disconnected(message)) => Ok(Err(SendError(message))),
            Err(TrySendError::Full(message)) => Err(message),
        }
    }

    pub(in crate::sync) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::sync) fn is_full(&self) -> bool {
        self.0.is_full()
    }

    pub(in crate::sync) fn capacity(&self) -> Option<usize> {
        self.0.capacity()
    }

    pub(in crate::sync) fn is_disconnected(&self) -> bool {
        !self.0.has_receivers()
    }

    pub(in crate::sync) fn same_channel(&self, other: &Tx<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Tx<T> {
    fn clone(&self) -> Tx<T> {
        self.0.add_sender();
        Tx(Arc::clone(&self.0))
    }
}

impl<T> Drop for Tx<T> {
    fn drop(&mut self) {
        self.0.drop_sender();
    }
}

/// Ready when the message was taken or queued, or cannot be.
pub(in crate::sync) struct SendFuture<'a, T> {
    channel: &'a Channel<T>,
    /// With the message until that is sent.
    place: Place<Option<T>>,
    /// In the list, or granted and not taken up.
    waiting: bool,
}

impl<T> SendFuture<'_, T> {
    fn place(self: Pin<&mut Self>) -> Pin<&mut Place<Option<T>>> {
        // SAFETY: pinned as part of a pinned future.
        unsafe { self.map_unchecked_mut(|send| &mut send.place) }
    }

    fn place_ref(self: Pin<&Self>) -> Pin<&Place<Option<T>>> {
        // SAFETY: as above.
        unsafe { self.map_unchecked(|send| &send.place) }
    }

    /// The message, if it was not sent.
    ///
    /// # Safety
    /// The place is in no list.
    unsafe fn message(self: Pin<&mut Self>) -> &mut Option<T> {
        // SAFETY: by contract.
        unsafe { self.place().wants() }
    }

    /// How the wait ended, once the place is granted.
    ///
    /// # Safety
    /// It is granted.
    unsafe fn take_up(mut self: Pin<&mut Self>) -> Result<(), SendError<T>> {
        // SAFETY: nothing is moved.
        unsafe { self.as_mut().get_unchecked_mut() }.waiting = false;
        // SAFETY: granted, so it is in no list.
        match unsafe { self.message() }.take() {
            None => Ok(()),
            Some(message) => Err(SendError(message)),
        }
    }

    /// Ends the wait. Whether the message was sent meanwhile.
    fn give_up(mut self: Pin<&mut Self>) -> Result<(), TrySendError<T>> {
        if !self.place.is_granted() {
            let place = self.as_ref().place_ref();
            // SAFETY: used with this list only.
            let own = self
                .channel
                .locked(|state| unsafe { state.sending.remove(place) });
            let_go(own);
        }
        // Nobody grants it from here on.
        if self.place.is_granted() {
            // SAFETY: it is.
            let sent = unsafe { self.take_up() };
            return sent.map_err(|SendError(message)| TrySendError::Disconnected(message));
        }
        // SAFETY: nothing is moved.
        unsafe { self.as_mut().get_unchecked_mut() }.waiting = false;
        // SAFETY: it was taken out, if it was in.
        match unsafe { self.message() }.take() {
            None => Ok(()),
            Some(message) => Err(TrySendError::Full(message)),
        }
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    /// # Panics
    /// If polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.waiting {
            return self.begin(cx.waker());
        }
        if !self.place.is_granted() && !self.as_ref().goes_on(cx.waker()) {
            return Poll::Pending;
        }
        // SAFETY: it is granted.
        Poll::Ready(unsafe { self.take_up() })
    }
}

impl<T> SendFuture<'_, T> {
    /// The first look, and the place in the list if there is no room.
    fn begin(mut self: Pin<&mut Self>, waker: &Waker) -> Poll<Result<(), SendError<T>>> {
        let channel = self.channel;
        // SAFETY: not in the list.
        let message = unsafe { self.as_mut().message() };
        // Here, for a panic hook is anybody's code: not under the lock.
        assert!(message.is_some(), "polled after it was ready");
        if !channel.looks_full() {
            let woken =
                channel.locked_with(|channel, state| state.push(channel, message).unwrap_or(None));
            if let Some(woken) = woken {
                woken.wake();
            }
            // SAFETY: as above.
            if unsafe { self.as_mut().message() }.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
        // SAFETY: for the place below, of the list that has it; after that nobody is woken.
        let waker = unsafe { settle(waker) };
        // SAFETY: it is in no list.
        let before = unsafe { self.as_mut().place().set_waker(Some(waker)) };
        debug_assert!(before.is_none(), "whoever leaves the list takes it along");
        // So it need not be looked at.
        std::mem::forget(before);
        let mut this = self.as_mut();
        let pushed = channel.locked_with(move |channel, state| {
            // SAFETY: not in the list.
            let pushed = state.push(channel, unsafe { this.as_mut().message() });
            if let Err(Refused::Full) = pushed {
                // SAFETY: used with this list only, and not granted; `drop` takes it out before it is freed.
                unsafe { state.sending.append(this.as_ref().place_ref()) };
            }
            pushed
        });
        if let Err(Refused::Full) = pushed {
            // SAFETY: nothing is moved.
            unsafe { self.as_mut().get_unchecked_mut() }.waiting = true;
            return Poll::Pending;
        }
        // SAFETY: it is in no list.
        let_go(unsafe { self.as_mut().place().set_waker(None) });
        if let Ok(Some(woken)) = pushed {
            woken.wake();
        }
        // SAFETY: as above.
        Poll::Ready(match unsafe { self.message() }.take() {
            None => Ok(()),
            Some(message) => Err(SendError(message)),
        })
    }

    /// Waits on, for another waker. True: it was served meanwhile.
    #[cold]
    fn goes_on(self: Pin<&Self>, waker: &Waker) -> bool {
        // SAFETY: as in `begin`.
        let waker = unsafe { settle(waker) };
        let (channel, place) = (self.channel, self.place_ref());
        // SAFETY: used with this list only.
        unsafe { place.wait_on(waker, |f| channel.locked(|state| f(&mut state.sending))) }
    }
}

impl<T> Drop for SendFuture<'_, T> {
    fn drop(&mut self) {
        if self.waiting {
            // SAFETY: not moved any more.
            let this = unsafe { Pin::new_unchecked(self) };
            drop(this.give_up());
        }
    }
}
