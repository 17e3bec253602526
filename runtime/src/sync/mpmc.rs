//! Channels with many receivers: as [`mpsc`](super::mpsc), and the receiver can be cloned. Each message is received once.
//!
//! Names and behaviour are those of std's `mpmc`, which is not stable. One pair of types serves both kinds of
//! channel. Waiting receivers are served in the order of their arrival, as waiting senders are; a [`Receiver`] is a `Stream` too. What [`mpsc`](super::mpsc#fairness)
//! says of fairness, and of calls on a worker's own stack, holds here too.
//!
//! ```
//! use sisal::sync::mpmc;
//!
//! sisal::run(|| {
//!     let (tx, rx) = mpmc::sync_channel(4);
//!     let workers: Vec<_> = (0..3)
//!         .map(|_| {
//!             let rx = rx.clone();
//!             sisal::fiber::spawn(move || rx.iter().sum::<u32>())
//!         })
//!         .collect();
//!     (1..=100).for_each(|n| tx.send(n).unwrap());
//!     drop(tx);
//!     let sum: u32 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
//!     assert_eq!(sum, 5050);
//! });
//! ```

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use super::channel::{self, Rx, Tx, iterators};
use crate::time::timer;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};

/// A channel without a bound: its [`send`](Sender::send) never waits.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    pair(None)
}

/// A channel with room for `cap` messages; with 0 each message is handed from the one to the other.
///
/// No message costs an allocation: the room is allocated here, or, if that is over 64 KiB, as it is first used.
pub fn sync_channel<T>(cap: usize) -> (Sender<T>, Receiver<T>) {
    pair(Some(cap))
}

fn pair<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let (tx, rx) = channel::channel(capacity, true);
    (Sender { tx }, Receiver { rx })
}

/// The sending half.
pub struct Sender<T> {
    tx: Tx<T>,
}

impl<T> Sender<T> {
    /// Sends a message; in a bounded channel waits until there is room, or, if it has no room at all, until a
    /// receiver takes it.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// If the receivers are gone, before or meanwhile; the message is in the error.
    ///
    /// # Panics
    /// On a worker's own stack, if the channel is bounded: await [`send_async`](Self::send_async) there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait. The message of a sender that is cancelled was sent, or is dropped.
    #[inline(always)] // see `Running::suspend`
    #[track_caller]
    pub fn send(&self, msg: T) -> Result<(), SendError<T>> {
        self.tx.send(msg)
    }

    /// Sends a message if there is room for it, or a receiver that waits. Works everywhere.
    ///
    /// # Errors
    /// If there is no room, or the receivers are gone; the message is in the error.
    pub fn try_send(&self, msg: T) -> Result<(), TrySendError<T>> {
        self.tx.try_send(msg)
    }

    /// [`send`](Self::send) with an end to the wait.
    ///
    /// # Errors
    /// If there was no room in time, or the receivers are gone; the message is in the error.
    ///
    /// # Panics
    /// As `send`.
    ///
    /// # Cancellation
    /// As `send`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sisal::sync::mpmc::{self, SendTimeoutError};
    /// let (tx, rx) = mpmc::sync_channel(0);
    /// let sent = sisal::run(|| tx.send_timeout(7, Duration::from_millis(5)));
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(7)));
    /// # drop(rx);
    /// ```
    #[track_caller]
    pub fn send_timeout(&self, msg: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        let sent = self.tx.send_until(msg, || timer::after(timeout));
        sent.map_err(SendTimeoutError::from_try)
    }

    /// [`send_timeout`](Self::send_timeout) with a point in time.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn send_deadline(&self, msg: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        let sent = self.tx.send_until(msg, || deadline);
        sent.map_err(SendTimeoutError::from_try)
    }

    /// [`send`](Self::send) for async code.
    ///
    /// # Errors
    /// As `send`.
    ///
    /// # Cancellation
    /// The message of a future that is dropped was sent, or is dropped with it.
    pub fn send_async(&self, msg: T) -> impl Future<Output = Result<(), SendError<T>>> {
        self.tx.wait(msg)
    }

    /// Whether no message waits in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; one without any is always full.
    pub fn is_full(&self) -> bool {
        self.tx.is_full()
    }

    /// How many messages wait in the channel.
    pub fn len(&self) -> usize {
        self.tx.len()
    }

    /// The room of a bounded channel.
    pub fn capacity(&self) -> Option<usize> {
        self.tx.capacity()
    }

    /// Whether the two are of one channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        self.tx.same_channel(&other.tx)
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        self.tx.is_disconnected()
    }
}

/// The receiving half.
///
/// As a `Stream` it gives the messages until the senders are gone. Nothing is kept for a stream: a message is received by the clone that looks
/// first, and wakes all that wait as streams. So a stream that is dropped, or not polled any more, keeps none from the others.
/// Calls that wait ([`recv`](Self::recv), [`recv_async`](Self::recv_async)) come before streams.
///
/// ```
/// use futures::StreamExt;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (tx, rx) = sisal::sync::mpmc::channel();
/// sisal::spawn(move || (1..=100).for_each(|n| tx.send(n).unwrap()));
/// let sum = |rx: sisal::sync::mpmc::Receiver<u32>| rx.fold(0, async |sum, n| sum + n);
/// let (one, two) = tokio::join!(sum(rx.clone()), sum(rx));
/// assert_eq!(one + two, 5050);
/// # }
/// ```
pub struct Receiver<T> {
    rx: Rx<T>,
}

impl<T> Receiver<T> {
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
    /// A suspension point if it has to wait. A receiver that is cancelled loses no message: one that was handed to it just then
    /// goes to the next that waits, or is the first for the next `recv`.
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
    #[track_caller]
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.rx.recv_until(|| timer::after(timeout))
    }

    /// [`recv_timeout`](Self::recv_timeout) with a point in time.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.rx.recv_until(|| deadline)
    }

    /// [`recv`](Self::recv) for async code.
    ///
    /// # Errors
    /// As `recv`.
    ///
    /// # Cancellation
    /// A future that is dropped loses no message.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let (tx, rx) = sisal::sync::mpmc::channel();
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

    /// Whether no message waits in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the channel has no room; one without any is always full.
    pub fn is_full(&self) -> bool {
        self.rx.is_full()
    }

    /// How many messages wait in the channel.
    pub fn len(&self) -> usize {
        self.rx.len()
    }

    /// The room of a bounded channel.
    pub fn capacity(&self) -> Option<usize> {
        self.rx.capacity()
    }

    /// Whether the two are of one channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        self.rx.same_channel(&other.rx)
    }

    /// Whether no sender is left; there may be messages.
    pub fn is_disconnected(&self) -> bool {
        self.rx.is_disconnected()
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

/// Why [`send_timeout`](Sender::send_timeout) did not send; the message is inside.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// The receivers are gone.
    Disconnected(T),
}

impl<T> SendTimeoutError<T> {
    fn from_try(error: TrySendError<T>) -> SendTimeoutError<T> {
        match error {
            TrySendError::Full(message) => SendTimeoutError::Timeout(message),
            TrySendError::Disconnected(message) => SendTimeoutError::Disconnected(message),
        }
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(SendError(message): SendError<T>) -> SendTimeoutError<T> {
        SendTimeoutError::Disconnected(message)
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "Timeout(..)",
            SendTimeoutError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendTimeoutError::Timeout(_) => "the channel had no room in time",
            SendTimeoutError::Disconnected(_) => "the channel has no receivers",
        })
    }
}

impl<T> Error for SendTimeoutError<T> {}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let tx = self.tx.clone();
        Sender { tx }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        let rx = self.rx.clone();
        Receiver { rx }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
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
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
