//! What belongs to a socket and not to one of its handles: its clones share it.

use std::io;
use std::time::Duration;

use super::waiting::Wait;
use crate::shim::{AtomicBool, AtomicU64, Ordering};

/// Timeouts and the mode. The descriptor itself is always in non-blocking mode.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) read: Timeout,
    pub(super) write: Timeout,
    /// The user asked for `WouldBlock`.
    nonblocking: AtomicBool,
}

impl Options {
    pub(super) fn new() -> Options {
        Options {
            read: Timeout::none(),
            write: Timeout::none(),
            nonblocking: AtomicBool::new(false),
        }
    }

    pub(super) fn nonblocking(&self) -> bool {
        self.nonblocking.load(Ordering::Relaxed)
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        // Relaxed: a setting, it orders nothing.
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> Wait {
        self.wait(&self.read)
    }

    pub(super) fn writes(&self) -> Wait {
        self.wait(&self.write)
    }

    fn wait(&self, timeout: &Timeout) -> Wait {
        match timeout.get() {
            _ if self.nonblocking() => Wait::Never,
            None => Wait::Ever,
            Some(timeout) => Wait::For(timeout),
        }
    }
}

/// Nanoseconds; 0 is none.
#[derive(Debug)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    fn none() -> Timeout {
        Timeout(AtomicU64::new(0))
    }

    /// # Errors
    /// `InvalidInput` for a zero timeout, as std.
    pub(super) fn set(&self, timeout: Option<Duration>) -> io::Result<()> {
        let nanos = match timeout {
            None => 0,
            Some(Duration::ZERO) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a timeout of zero cannot be set: give `None` for no timeout",
                ));
            }
            Some(timeout) => timeout.as_nanos().try_into().unwrap_or(u64::MAX),
        };
        // Relaxed: a setting, it orders nothing.
        self.0.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}
