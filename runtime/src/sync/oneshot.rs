//! A channel for one message: an answer that somebody waits for.
//!
//! Names and signatures are those of std's `oneshot`, which is not stable. The sender never waits. The receiver waits as a fiber or a thread, by
//! [`recv`](Receiver::recv), or as a future. Making a channel allocates once, the message costs nothing more.
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

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::wait::{self, enter};
use super::wait_list::Locked;
use crate::time::timer;

pub use std::sync::mpsc::{RecvError, SendError};

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
    /// `None` if it may come yet.
    fn take(&mut self) -> Option<Result<T, RecvError>> {
        match self.message.take() {
            Some(message) => Some(Ok(message)),
            None if self.sender => None,
            None => Some(Err(RecvError)),
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
/// Awaited by reference (`(&mut rx).await`, `block_on(&mut rx)`), a wait that is given up loses nothing: the receiver can be asked again. A message
/// that is not received is dropped with the receiver.
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
        let fiber = enter(CALL, INSTEAD);
        match self.take() {
            Some(received) => received,
            None => wait::wait_in(fiber, pin!(self)),
        }
    }

    fn take(&self) -> Option<Result<T, RecvError>> {
        self.0.with(Shared::take)
    }

    /// Whether the message is there. Works everywhere, and takes nothing.
    ///
    /// # Errors
    /// If it will not come: the sender went, or it was received before.
    ///
    /// ```
    /// let (tx, rx) = sisal::sync::oneshot::channel();
    /// assert_eq!(rx.is_ready(), Ok(false));
    /// tx.send(7).unwrap();
    /// assert_eq!(rx.is_ready(), Ok(true));
    /// ```
    pub fn is_ready(&self) -> Result<bool, RecvError> {
        self.0.with(|state| match (&state.message, state.sender) {
            (Some(_), _) => Ok(true),
            (None, true) => Ok(false),
            (None, false) => Err(RecvError),
        })
    }

    /// The message if it is there. Works everywhere.
    ///
    /// # Errors
    /// If it is not there yet: the receiver is in the error. Or if it will not come: the sender went, or it was received before.
    ///
    /// ```
    /// use sisal::sync::oneshot::{self, TryRecvError};
    /// let (tx, rx) = oneshot::channel();
    /// let Err(TryRecvError::Empty(rx)) = rx.try_recv() else { panic!() };
    /// tx.send(7).unwrap();
    /// assert_eq!(rx.try_recv().unwrap(), 7);
    /// ```
    pub fn try_recv(self) -> Result<T, TryRecvError<T>> {
        match self.take() {
            Some(received) => Ok(received?),
            None => Err(TryRecvError::Empty(self)),
        }
    }

    /// Waits for the message so long.
    ///
    /// # Errors
    /// If there was none in time: the receiver is in the error. Or if there will be none. A message that comes at the last moment is received.
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    ///
    /// # Cancellation
    /// As [`recv`](Self::recv).
    ///
    /// ```
    /// use std::time::Duration;
    /// use sisal::sync::oneshot::{self, RecvTimeoutError};
    ///
    /// let (tx, rx) = oneshot::channel();
    /// sisal::run(|| {
    ///     let Err(RecvTimeoutError::Timeout(rx)) = rx.recv_timeout(Duration::from_millis(5)) else {
    ///         panic!("nobody sends")
    ///     };
    ///     tx.send(7).unwrap();
    ///     assert_eq!(rx.recv_timeout(Duration::from_millis(5)).unwrap(), 7);
    /// });
    /// ```
    #[track_caller]
    pub fn recv_timeout(self, timeout: Duration) -> Result<T, RecvTimeoutError<T>> {
        self.recv_deadline(timer::after(timeout))
    }

    /// [`recv_timeout`](Self::recv_timeout) with a point in time.
    ///
    /// # Errors
    /// As there.
    #[track_caller]
    pub fn recv_deadline(mut self, deadline: Instant) -> Result<T, RecvTimeoutError<T>> {
        enter(CALL, INSTEAD);
        let mut received = self.take();
        if received.is_none() && deadline > Instant::now() {
            received = match wait::wait_until(CALL, INSTEAD, &mut self, Some(deadline)) {
                Ok(received) => Some(received),
                // It may have come since the last look.
                Err(_) => self.take(),
            };
        }
        match received {
            Some(received) => Ok(received?),
            None => Err(RecvTimeoutError::Timeout(self)),
        }
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
            if taken.is_none() {
                std::mem::swap(&mut state.waker, &mut waker);
            }
            taken
        });
        // The one before, or this one if it is not needed.
        drop(waker);
        taken.map_or(Poll::Pending, Poll::Ready)
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

/// Why [`try_recv`](Receiver::try_recv) has no message.
pub enum TryRecvError<T> {
    /// It may come yet: the receiver, to be asked again.
    Empty(Receiver<T>),
    /// It will not come.
    Disconnected,
}

/// Why [`recv_timeout`](Receiver::recv_timeout) has no message.
pub enum RecvTimeoutError<T> {
    /// It may come yet: the receiver, to be asked again.
    Timeout(Receiver<T>),
    /// It will not come.
    Disconnected,
}

impl<T> From<RecvError> for TryRecvError<T> {
    fn from(RecvError: RecvError) -> TryRecvError<T> {
        TryRecvError::Disconnected
    }
}

impl<T> From<RecvError> for RecvTimeoutError<T> {
    fn from(RecvError: RecvError) -> RecvTimeoutError<T> {
        RecvTimeoutError::Disconnected
    }
}

impl<T> fmt::Debug for TryRecvError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty(_) => "Empty(..)",
            TryRecvError::Disconnected => "Disconnected",
        })
    }
}

impl<T> fmt::Debug for RecvTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvTimeoutError::Timeout(_) => "Timeout(..)",
            RecvTimeoutError::Disconnected => "Disconnected",
        })
    }
}

impl<T> fmt::Display for TryRecvError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty(_) => "the message has not come yet",
            TryRecvError::Disconnected => "the sender is gone",
        })
    }
}

impl<T> fmt::Display for RecvTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecvTimeoutError::Timeout(_) => "the message did not come in time",
            RecvTimeoutError::Disconnected => "the sender is gone",
        })
    }
}

impl<T> Error for TryRecvError<T> {}
impl<T> Error for RecvTimeoutError<T> {}

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
