//! A channel for one message: an answer that somebody waits for.
//!
//! The sender never waits. The receiver waits as a fiber or a thread, by [`recv`](Receiver::recv), or as a future. Error types are
//! [`mpsc`](super::mpsc)'s. Making a channel allocates once, the message costs nothing more.
//!
//! ```
//! use sisal::sync::{mpsc, oneshot};
//!
//! sisal::run(|| {
//!     let (requests, served) = mpsc::channel::<(u32, oneshot::Sender<u32>)>();
//!     sisal::fiber::spawn(move || {
//!         for (n, answer) in served {
//!             // Who asked may have gone.
//!             let _ = answer.send(n * n);
//!         }
//!     });
//!     let (answer, answered) = oneshot::channel();
//!     requests.send((12, answer)).unwrap();
//!     assert_eq!(answered.recv(), Ok(144));
//! });
//! ```

use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::wait::{self, enter};
use super::wait_list::Locked;
use crate::time::timer;

pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};

#[cfg(test)]
#[path = "loom_oneshot.rs"]
mod loom_oneshot;

const CALL: &str = "oneshot::Receiver::recv";
const INSTEAD: &str = "`.await` the receiver instead";

/// A channel for one message.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Locked::new(Shared {
        message: None,
        waker: None,
        sender: true,
        receiver: true,
    }));
    let sender = Sender(Some(Arc::clone(&shared)));
    (sender, Receiver(shared))
}

struct Shared<T> {
    message: Option<T>,
    /// The receiver's, while it waits.
    waker: Option<Waker>,
    /// May still send.
    sender: bool,
    /// May still receive.
    receiver: bool,
}

impl<T> Shared<T> {
    fn take(&mut self) -> Result<T, TryRecvError> {
        match self.message.take() {
            Some(message) => Ok(message),
            None if self.sender => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Disconnected),
        }
    }
}

/// The sending half. Dropping it tells the receiver that nothing will come.
pub struct Sender<T>(
    /// `None` once it has sent.
    Option<Arc<Locked<Shared<T>>>>,
);

impl<T> Sender<T> {
    /// Sends the message. Works everywhere, and is no suspension point.
    ///
    /// # Errors
    /// If the receiver is gone; the message is in the error. `Ok` does not mean that it will be received.
    ///
    /// ```
    /// let (tx, rx) = sisal::sync::oneshot::channel();
    /// drop(rx);
    /// assert_eq!(tx.send(7).unwrap_err().0, 7);
    /// ```
    pub fn send(mut self, t: T) -> Result<(), SendError<T>> {
        let Some(shared) = self.0.take() else {
            unreachable!("only `send` takes it, and with it the sender");
        };
        let waker = shared.with(|state| {
            if !state.receiver {
                return Err(SendError(t));
            }
            state.message = Some(t);
            state.sender = false;
            Ok(state.waker.take())
        })?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Whether the receiver is gone, so that nobody wants the message.
    pub fn is_closed(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|shared| shared.with(|state| !state.receiver))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else {
            return;
        };
        let waker = shared.with(|state| {
            state.sender = false;
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The receiving half: call [`recv`](Self::recv), or `.await` it.
///
/// # Cancellation
/// Awaited by reference, a wait that is given up loses nothing. A message that is not received is dropped with the receiver.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (tx, rx) = sisal::sync::oneshot::channel();
/// sisal::spawn(move || tx.send(7));
/// assert_eq!(rx.await, Ok(7));
/// # }
/// ```
pub struct Receiver<T>(Arc<Locked<Shared<T>>>);

impl<T> Receiver<T> {
    /// Waits for the message.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// If the sender went without sending, or the message was received before.
    ///
    /// # Panics
    /// On a worker's own stack: `.await` the receiver there.
    ///
    /// # Cancellation
    /// A suspension point if it has to wait. The message of a receiver that is cancelled is dropped with it.
    #[track_caller]
    pub fn recv(self) -> Result<T, RecvError> {
        enter(CALL, INSTEAD);
        match self.take() {
            Some(received) => received,
            None => wait::wait(CALL, INSTEAD, self),
        }
    }

    fn take(&self) -> Option<Result<T, RecvError>> {
        match self.0.with(Shared::take) {
            Ok(message) => Some(Ok(message)),
            Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
            Err(TryRecvError::Empty) => None,
        }
    }

    /// The message if it is there. Works everywhere.
    ///
    /// # Errors
    /// If it is not there yet, or will not come: the sender went, or it was received before.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.with(Shared::take)
    }

    /// Waits for the message so long. The receiver may be asked again after that.
    ///
    /// # Errors
    /// If there was none in time, or will be none. A message that comes at the last moment is received.
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    ///
    /// # Cancellation
    /// A suspension point if it has to wait. A cancelled call leaves the message to the receiver.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (tx, mut rx) = sisal::sync::oneshot::channel();
    /// sisal::run(|| {
    ///     assert!(rx.recv_timeout(Duration::from_millis(5)).is_err());
    ///     tx.send(7).unwrap();
    ///     assert_eq!(rx.recv_timeout(Duration::from_millis(5)), Ok(7));
    /// });
    /// ```
    #[track_caller]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(timer::after(timeout))
    }

    /// [`recv_timeout`](Self::recv_timeout) with a point in time.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        enter(CALL, INSTEAD);
        let mut received = self.try_recv();
        if matches!(received, Err(TryRecvError::Empty)) && deadline > Instant::now() {
            received = match wait::wait_until(CALL, INSTEAD, &mut *self, Some(deadline)) {
                Ok(received) => received.map_err(|RecvError| TryRecvError::Disconnected),
                // It may have come since the last look.
                Err(_) => self.try_recv(),
            };
        }
        received.map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(received) = self.take() {
            return Poll::Ready(received);
        }
        let mut waker = Some(cx.waker().clone());
        let taken = self.0.with(|state| {
            let taken = state.take();
            if let Err(TryRecvError::Empty) = taken {
                std::mem::swap(&mut state.waker, &mut waker);
            }
            taken
        });
        // The one before, or this one if it is not needed.
        drop(waker);
        match taken {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(TryRecvError::Disconnected) => Poll::Ready(Err(RecvError)),
            Err(TryRecvError::Empty) => Poll::Pending,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.0.with(|state| {
            state.receiver = false;
            (state.message.take(), state.waker.take())
        });
        drop(left);
    }
}

// The message is not in here.
impl<T> Unpin for Receiver<T> {}

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

// An unwind finds the message whole.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}
