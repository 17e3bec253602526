//! The pool of threads for closures that block: one for a runtime, shared by its workers.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio runtime that nobody drives: only its pool of blocking threads is used.
pub(crate) struct BlockingPool {
    runtime: Runtime,
}

impl BlockingPool {
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(threads: usize) -> io::Result<BlockingPool> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads)
            .thread_name("sisal-blocking")
            .build()?;
        Ok(BlockingPool { runtime })
    }

    pub(crate) fn spawner(&self) -> Spawner {
        Spawner(self.runtime.handle().clone())
    }

    /// Waits at most `timeout` for the closures that have started; drops those that have not.
    ///
    /// # Panics
    /// In an async context: tokio does not let that be blocked. A worker after its last turn is in
    /// none.
    pub(crate) fn shut_down(self, timeout: Duration) {
        self.runtime.shutdown_timeout(timeout);
    }

    /// Waits for nothing.
    pub(crate) fn abandon(self) {
        self.runtime.shutdown_background();
    }
}

/// Gives closures to the pool.
#[derive(Clone)]
pub(crate) struct Spawner(Handle);

impl Spawner {
    /// Runs `f` on a thread of the pool, or drops it there or here if the pool has shut down.
    pub(crate) fn spawn(&self, f: Box<dyn FnOnce() + Send>) {
        drop(self.0.spawn_blocking(f));
    }
}
