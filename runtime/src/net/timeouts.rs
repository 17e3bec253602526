//! A stream's timeouts: they belong to the socket, so its clones share them.

use std::io;
use std::time::Duration;

use crate::shim::{AtomicU64, Ordering};

/// Nanoseconds; 0 is none.
#[derive(Debug)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    pub(super) fn none() -> Timeout {
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
