//! Channels with one receiver: `std::sync::mpsc` for fibers, threads and async tasks.
//!
//! Types, errors and behaviour are std's. Beyond it: [`Receiver::recv_async`] and [`SyncSender::send_async`] for async
//! code, and a [`Receiver`] is a `Stream`.
//!
//! Who has to wait parks its fiber or blocks its thread. Waiting senders are served in the order of their
//! arrival, and their messages are received in that order. On a worker's own stack (an async task spawned from a fiber, a
//! waker, a destructor at shutdown) calls that wait panic: await the async twin there.
//!
//! # Fairness
//! A fiber that receives or sends without ever having to wait would shut out the others of its worker. So after 128
//! such calls in a row it yields: that is a suspension point like a wait. [`Sender::send`], which never waits, and the `try_*` calls
//! do not count.
//!
//! ```
//! use sisal::sync::mpsc;
//!
//! sisal::run(|| {
//!     let (tx, rx) = mpsc::sync_channel(2);
//!     let sender = sisal::fiber::spawn(move || (0..10).try_for_each(|n| tx.send(n)));
//!     assert_eq!(rx.iter().sum::<i32>(), 45);
//!     sender.join().unwrap().unwrap();
//! });
//! ```

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::channel::{self, Rx, Tx, iterators};
use crate::time::timer;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

/// A channel without a bound: [`send`](Sender::send) never waits.
///
/// ```
/// let (tx, rx) = sisal::sync::mpsc::channel();
/// std::thread::spawn(move || tx.send("from a thread").unwrap());
/// assert_eq!(sisal::run(move || rx.recv()), Ok("from a thread"));
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = channel::channel(None, false);
    (Sender { tx }, Receiver::new(rx))
}

/// A channel with room for `bound` messages: [`send`](SyncSender::send) waits for room. With 0 there is none, and each
/// message is handed from the one to the other.
///
/// No message costs an allocation: the room is allocated here, or, if that is over 64 KiB, as it is first used.
///
/// ```
/// use std::sync::mpsc::TrySendError;
/// let (tx, rx) = sisal::sync::mpsc::sync_channel(1);
/// tx.send(1).unwrap();
/// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
/// assert_eq!(rx.recv(), Ok(1));
/// ```
pub fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
    let (tx, rx) = channel::channel(Some(bound), false);
    (SyncSender { tx }, Receiver::new(rx))
}

/// The sending half of [`channel`].
pub struct Sender<T> {
    tx: Tx<T>,
}

impl<T> Sender<T> {
    /// Sends a message. It never waits: it works everywhere, and is no suspension point.
    ///
    /// # Errors
    /// If the receiver is gone; the message is in the error. `Ok` does not mean that it will be received.
    ///
    /// ```
    /// let (tx, rx) = sisal::sync::mpsc::channel();
    /// tx.send(1).unwrap();
    /// drop(rx);
    /// assert_eq!(tx.send(2).unwrap_err().0, 2);
    /// ```
    #[inline]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.tx.send_unbounded(t)
    }
}

/// The sending half of [`sync_channel`].
pub struct SyncSender<T> {
    tx: Tx<T>,
}

impl<T> SyncSender<T> {
    /// Sends a message; waits until there is room, or, in a channel without room, until a receiver takes it.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// If the receiver is gone, before or meanwhile; the message is in the error.
    ///
    /// # Panics
    /// On a worker's own stack: await [`send_async`](Self::send_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait (and see [Fairness](self#fairness)). The message of a sender that
    /// is cancelled was sent, or is dropped.
    ///
    /// ```
    /// sisal::run(|| {
    ///     let (tx, rx) = sisal::sync::mpsc::sync_channel(0);
    ///     let sender = sisal::fiber::spawn(move || tx.send("taken"));
    ///     assert_eq!(rx.recv(), Ok("taken"));
    ///     assert_eq!(sender.join().unwrap(), Ok(()));
    /// });
    /// ```
    #[inline(always)] // see `Running::suspend`
    #[track_caller]
    pub fn send(&self, t: T) -> Result<(), SendError<T>> {
        self.tx.send(t)
    }

    /// Sends a message if there is room for it, or a receiver that waits. Works everywhere.
    ///
    /// # Errors
    /// If there is no room, or the receiver is gone; the message is in the error.
    pub fn try_send(&self, t: T) -> Result<(), TrySendError<T>> {
        self.tx.try_send(t)
    }

    /// [`send`](Self::send) for async code.
    ///
    /// # Errors
    /// As `send`.
    ///
    /// # Cancellation
    /// The message of a future that is dropped was sent, or is dropped with it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (tx, rx) = sisal::sync::mpsc::sync_channel(1);
    /// let fiber = sisal::spawn(move || rx.iter().sum::<i32>());
    /// for n in 0..10 {
    ///     tx.send_async(n).await.unwrap();
    /// }
    /// drop(tx);
    /// assert_eq!(fiber.await.unwrap(), 45);
    /// # }
    /// ```
    pub fn send_async(&self, t: T) -> impl Future<Output = Result<(), SendError<T>>> {
        self.tx.wait(t)
    }
}

/// The receiving half of [`channel`] and [`sync_channel`].
///
/// As a `Stream` it gives the messages until the senders are gone. Who drops the stream's future loses no message.
///
/// ```
/// use futures::StreamExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (tx, rx) = sisal::sync::mpsc::channel();
/// sisal::spawn(move || (1..4).for_each(|n| tx.send(n).unwrap()));
/// assert_eq!(rx.collect::<Vec<_>>().await, [1, 2, 3]);
/// # }
/// ```
pub struct Receiver<T> {
    rx: Rx<T>,
    /// As std's: `Send`, and not `Sync`.
    not_sync: PhantomData<Cell<()>>,
}

impl<T> Receiver<T> {
    fn new(rx: Rx<T>) -> Receiver<T> {
        let not_sync = PhantomData;
        Receiver { rx, not_sync }
    }

    /// Waits for a message. Messages that were sent are received also when the senders are gone.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// If there is no message, and no sender is left.
    ///
    /// # Panics
    /// On a worker's own stack: await [`recv_async`](Self::recv_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait (and see [Fairness](self#fairness)). A receiver that is cancelled
    /// loses no message: one that was handed to it just then is the first for the next `recv`. (In a channel without room its sender
    /// knows it as received.)
    ///
    /// ```
    /// sisal::run(|| {
    ///     let (tx, rx) = sisal::sync::mpsc::channel();
    ///     sisal::fiber::spawn(move || tx.send("sent"));
    ///     assert_eq!(rx.recv(), Ok("sent"));
    ///     assert!(rx.recv().is_err());
    /// });
    /// ```
    #[inline(always)] // see `Running::suspend`
    #[track_caller]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.rx.recv()
    }

    /// A message if there is one. Works everywhere.
    ///
    /// # Errors
    /// If there is none, or no sender is left.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.rx.try_recv()
    }

    /// [`recv`](Self::recv) with an end to the wait.
    ///
    /// # Errors
    /// If there was no message in time, or no sender is left. A message that comes at the last moment is received.
    ///
    /// # Panics
    /// As `recv`.
    ///
    /// # Cancellation
    /// As `recv`.
    ///
    /// ```
    /// use std::sync::mpsc::RecvTimeoutError;
    /// use std::time::Duration;
    /// let (tx, rx) = sisal::sync::mpsc::channel::<u8>();
    /// let nothing = sisal::run(move || rx.recv_timeout(Duration::from_millis(5)));
    /// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    /// # drop(tx);
    /// ```
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.rx.recv_until(|| timer::after(timeout))
    }

    /// [`recv`](Self::recv) for async code.
    ///
    /// # Errors
    /// As `recv`.
    ///
    /// # Cancellation
    /// A future that is dropped loses no message. (Of two at a time, one may be told of the end before the other, dropped with the last message, gives
    /// that back: the next call gets it.)
    ///
    /// # Panics
    /// If polled again after it was ready.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (tx, rx) = sisal::sync::mpsc::channel();
    /// sisal::spawn(move || tx.send(7));
    /// assert_eq!(rx.recv_async().await, Ok(7));
    /// # }
    /// ```
    pub fn recv_async(&self) -> impl Future<Output = Result<T, RecvError>> {
        self.rx.wait()
    }

    /// Messages until the senders are gone, waiting for each as [`recv`](Self::recv) does.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { rx: self }
    }

    /// Messages that are there already, waiting for none.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { rx: self }
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.rx.poll_next(cx)
    }
}

// The messages are not in here.
impl<T> Unpin for Receiver<T> {}

iterators!();

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let tx = self.tx.clone();
        Sender { tx }
    }
}

impl<T> Clone for SyncSender<T> {
    fn clone(&self) -> SyncSender<T> {
        let tx = self.tx.clone();
        SyncSender { tx }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SyncSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

// As std's: an unwind finds the queue whole.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for SyncSender<T> {}
impl<T> RefUnwindSafe for SyncSender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
