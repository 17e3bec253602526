//! The pool of threads for closures that block: one for a runtime, shared by its workers.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// A tokio runtime that nobody drives: only its pool of blocking threads is used.
///
/// Dropped, it waits for nothing (tokio's own drop would, and panics in an async context).
pub(crate) struct BlockingPool {
    runtime: Option<Runtime>,
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl BlockingPool {
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(threads: usize) -> io::Result<BlockingPool> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(threads)
            .thread_name("sisal-blocking")
            .build()?;
        Ok(BlockingPool {
            runtime: Some(runtime),
        })
    }

    pub(crate) fn spawner(&self) -> Spawner {
        match &self.runtime {
            Some(runtime) => Spawner(runtime.handle().clone()),
            None => unreachable!("only its end takes the runtime out"),
        }
    }

    /// Waits at most `timeout` for the closures that have started; drops those that have not.
    ///
    /// # Panics
    /// In an async context: tokio does not let that be blocked. A worker after its last turn is in
    /// none.
    pub(crate) fn shut_down(mut self, timeout: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(timeout);
        }
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
