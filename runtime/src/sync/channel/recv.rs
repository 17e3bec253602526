//! Receiving: the receivers' side of a channel, and its wait.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{RecvError, RecvTimeoutError, TryRecvError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::{Channel, Id};
use crate::park::waker::settle;
use crate::sync::wait::{self, enter};
use crate::sync::wait_list::Place;
use crate::sync::wakers::let_go;

const CALL: &str = "Receiver::recv";
const INSTEAD: &str = "await `recv_async` instead";

/// One of a channel's receivers.
pub(in crate::sync) struct Rx<T>(Arc<Channel<T>>, Id);

impl<T> Rx<T> {
    pub(super) fn new(channel: Arc<Channel<T>>) -> Rx<T> {
        Rx(channel, 0)
    }

    pub(in crate::sync) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }

    #[inline(always)] // see `Running::suspend`
    #[track_caller]
    pub(in crate::sync) fn recv(&self) -> Result<T, RecvError> {
        let fiber = enter(CALL, INSTEAD);
        match self.at_once() {
            Some(received) => received,
            None => wait::wait_alone(fiber, pin!(RecvFuture::new(&self.0, Stage::Looked))),
        }
    }

    #[track_caller]
    pub(in crate::sync) fn recv_until(
        &self,
        deadline: impl FnOnce() -> Instant,
    ) -> Result<T, RecvTimeoutError> {
        enter(CALL, INSTEAD);
        match self.try_recv() {
            Ok(message) => return Ok(message),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        let deadline = deadline();
        // A timer takes a millisecond or two, however short.
        if deadline <= Instant::now() {
            return Err(RecvTimeoutError::Timeout);
        }
        let mut recv = pin!(self.wait());
        let received = match wait::wait_until(CALL, INSTEAD, recv.as_mut(), Some(deadline)) {
            Ok(received) => Some(received),
            // It may have been served since it last looked.
            Err(_) => recv.as_mut().give_up().inspect(|received| {
                if received.is_ok() {
                    self.0.taken_up();
                }
            }),
        };
        match received {
            Some(received) => received.map_err(|RecvError| RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// The wait, for async code too.
    #[inline]
    pub(in crate::sync) fn wait(&self) -> RecvFuture<'_, T> {
        RecvFuture::new(&self.0, Stage::New)
    }

    pub(in crate::sync) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_next(self.1, cx)
    }

    #[inline(always)]
    fn at_once(&self) -> Option<Result<T, RecvError>> {
        match self.0.looks_empty() {
            true => None,
            false => look(&self.0),
        }
    }

    /// To ask about the channel.
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
        !self.0.has_senders()
    }

    pub(in crate::sync) fn same_channel(&self, other: &Rx<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Clone for Rx<T> {
    fn clone(&self) -> Rx<T> {
        let id = self.0.add_receiver();
        Rx(Arc::clone(&self.0), id)
    }
}

impl<T> Drop for Rx<T> {
    fn drop(&mut self) {
        self.0.drop_receiver(self.1);
    }
}

/// What is there to be had without a wait.
#[inline(never)]
fn look<T>(channel: &Channel<T>) -> Option<Result<T, RecvError>> {
    match channel.try_recv() {
        Ok(message) => Some(Ok(message)),
        Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
        Err(TryRecvError::Empty) => None,
    }
}

/// Ready when there is a message, or can be none.
pub(in crate::sync) struct RecvFuture<'a, T> {
    channel: &'a Channel<T>,
    place: Place<Option<T>>,
    stage: Stage,
}

/// Of a wait. (In plain memory: what `granted` says cannot be known beforehand where a poll is inlined.)
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// As `New`, and there was nothing just now.
    Looked,
    /// In the list, or granted and not taken up.
    Waiting,
    /// It was granted, and taken up.
    Over,
}

impl<'a, T> RecvFuture<'a, T> {
    #[inline(always)]
    fn new(channel: &'a Channel<T>, stage: Stage) -> RecvFuture<'a, T> {
        RecvFuture {
            channel,
            place: Place::new(None),
            stage,
        }
    }

    #[inline(always)]
    fn set_stage(self: Pin<&mut Self>, stage: Stage) {
        // SAFETY: nothing is moved.
        unsafe { self.get_unchecked_mut() }.stage = stage;
    }

    #[inline]
    fn place(self: Pin<&mut Self>) -> Pin<&mut Place<Option<T>>> {
        // SAFETY: pinned as part of a pinned future.
        unsafe { self.map_unchecked_mut(|recv| &mut recv.place) }
    }

    #[inline]
    fn place_ref(self: Pin<&Self>) -> Pin<&Place<Option<T>>> {
        // SAFETY: as above.
        unsafe { self.map_unchecked(|recv| &recv.place) }
    }

    /// What was received, once the place is granted. The caller tells the channel, or puts it back.
    ///
    /// # Safety
    /// It is granted.
    #[inline]
    unsafe fn take_up(mut self: Pin<&mut Self>) -> Result<T, RecvError> {
        self.as_mut().set_stage(Stage::Over);
        // SAFETY: granted, so it is in no list.
        unsafe { self.place().wants() }.take().ok_or(RecvError)
    }

    /// Ends the wait. What it was served meanwhile, if it was: the caller tells the channel, or puts it back.
    fn give_up(self: Pin<&mut Self>) -> Option<Result<T, RecvError>> {
        if self.stage != Stage::Waiting {
            return None;
        }
        if !self.place.is_granted() {
            let place = self.as_ref().place_ref();
            // SAFETY: used with this list only.
            let own = self
                .channel
                .locked(|state| unsafe { state.receiving.remove(place) });
            let_go(own);
        }
        // Nobody grants it from here on.
        if self.place.is_granted() {
            // SAFETY: it is.
            return Some(unsafe { self.take_up() });
        }
        self.set_stage(Stage::New);
        None
    }

    /// Ends the wait for nobody: a message that it was served is another's.
    #[cold]
    fn hand_back(mut self: Pin<&mut Self>) {
        if let Some(Ok(message)) = self.as_mut().give_up() {
            self.channel.put_back(message);
        }
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline(always)] // in a fiber it is two looks and a call
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.stage != Stage::Waiting {
            return self.begin(cx.waker());
        }
        if !self.place.is_granted() && !self.as_ref().goes_on(cx.waker()) {
            return Poll::Pending;
        }
        let channel = self.channel;
        // SAFETY: it is granted.
        let received = unsafe { self.take_up() };
        if received.is_ok() {
            channel.taken_up();
        }
        Poll::Ready(received)
    }
}

impl<T> RecvFuture<'_, T> {
    /// The first look, and the place in the list if it finds nothing.
    #[inline(always)]
    fn begin(mut self: Pin<&mut Self>, waker: &Waker) -> Poll<Result<T, RecvError>> {
        // A place serves one wait: to the list it would be granted already.
        assert!(self.stage != Stage::Over, "polled after it was ready");
        if self.stage != Stage::Looked
            && !self.channel.looks_empty()
            && let Some(received) = look(self.channel)
        {
            return Poll::Ready(received);
        }
        loop {
            // SAFETY: for the place below, of the list that has it; after that nobody is woken.
            let waker = unsafe { settle(waker) };
            // SAFETY: it is in no list.
            let before = unsafe { self.as_mut().place().set_waker(Some(waker)) };
            debug_assert!(before.is_none(), "whoever leaves the list takes it along");
            // So it need not be looked at.
            std::mem::forget(before);
            if self.as_mut().enlist() {
                return Poll::Pending;
            }
            if let Some(received) = self.as_mut().look_again() {
                return Poll::Ready(received);
            }
        }
    }

    /// Puts the place into the list, unless there is something to be had.
    #[inline]
    fn enlist(self: Pin<&mut Self>) -> bool {
        let place = self.as_ref().place_ref();
        let waiting = self.channel.locked(move |state| {
            let waits = state.is_bare();
            if waits {
                // SAFETY: used with this list only, and not granted; `drop` takes it out before it is freed.
                unsafe { state.receiving.append(place) };
            }
            waits
        });
        if waiting {
            self.set_stage(Stage::Waiting);
        }
        waiting
    }

    /// Something came after the first look, or it was too hasty.
    #[cold]
    fn look_again(self: Pin<&mut Self>) -> Option<Result<T, RecvError>> {
        let channel = self.channel;
        // SAFETY: it is in no list.
        let_go(unsafe { self.place().set_waker(None) });
        look(channel)
    }

    /// Waits on, for another waker. True: it was served meanwhile.
    #[cold]
    fn goes_on(self: Pin<&Self>, waker: &Waker) -> bool {
        // SAFETY: as in `begin`.
        let waker = unsafe { settle(waker) };
        let (channel, place) = (self.channel, self.place_ref());
        // SAFETY: used with this list only.
        unsafe { place.wait_on(waker, |f| channel.locked(|state| f(&mut state.receiving))) }
    }
}

impl<T> Drop for RecvFuture<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.stage == Stage::Waiting {
            // SAFETY: not moved any more.
            unsafe { Pin::new_unchecked(self) }.hand_back();
        }
    }
}
