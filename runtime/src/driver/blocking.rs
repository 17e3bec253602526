//! The pool of threads for closures that block: one for a runtime, shared by its workers.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A tokio runtime that nobody drives: only its pool of blocking threads is used.
///
/// Dropped, it waits for nothing (tokio's own drop would, and panics in an async context).
pub(crate) struct BlockingPool {
    runtime: Option<Runtime>,
    threads: BlockingThreads,
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
    pub(crate) fn new(most: usize) -> io::Result<BlockingPool> {
        let threads = BlockingThreads::default();
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(most);
        let runtime = threads.watch(&mut builder).build()?;
        Ok(BlockingPool {
            runtime: Some(runtime),
            threads,
        })
    }

    pub(crate) fn spawner(&self) -> Spawner {
        match &self.runtime {
            Some(runtime) => Spawner {
                pool: runtime.handle().clone(),
                threads: self.threads.clone(),
                running: Arc::new(()),
            },
            None => unreachable!("only its end takes the runtime out"),
        }
    }

    /// Waits for the closures that it was given, and joins its threads.
    ///
    /// # Panics
    /// In an async context: tokio does not let that be blocked. A worker after its last turn is in
    /// none.
    pub(crate) fn shut_down(mut self) {
        drop(self.runtime.take());
    }
}

/// Gives closures to the pool.
pub(crate) struct Spawner {
    pool: Handle,
    threads: BlockingThreads,
    /// One for each closure that has not ended, started or not, beside this one.
    running: Arc<()>,
}

impl Spawner {
    /// Runs `f` on a thread of the pool, or drops it there or here if the pool has shut down.
    pub(crate) fn spawn(&self, f: Box<dyn FnOnce() + Send>) {
        drop(self.pool.spawn_blocking(f));
    }

    /// Runs `f` on a thread of the pool; it is cancelled if the pool has shut down.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.pool.spawn_blocking(f)
    }

    /// Counts a closure for as long as the result is there.
    pub(crate) fn count(&self) -> impl Send + use<> {
        Arc::clone(&self.running)
    }

    /// Closures that are counted now.
    pub(crate) fn running(&self) -> usize {
        Arc::strong_count(&self.running) - 1
    }

    pub(crate) fn threads(&self) -> &BlockingThreads {
        &self.threads
    }
}

/// The threads that a pool has, by their ids. Locked when one starts and when one ends.
#[derive(Clone, Default)]
pub(crate) struct BlockingThreads(Arc<Mutex<HashSet<ThreadId>>>);

impl BlockingThreads {
    /// Names the threads of the runtime to be, and has them counted here.
    pub(super) fn watch<'a>(&self, builder: &'a mut Builder) -> &'a mut Builder {
        let (start, stop) = (self.clone(), self.clone());
        builder
            .thread_name("sisal-blocking")
            .on_thread_start(move || {
                start.0.lock().insert(thread::current().id());
            })
            .on_thread_stop(move || {
                stop.0.lock().remove(&thread::current().id());
            })
    }

    /// Whether the calling thread is one of them.
    pub(crate) fn is_current(&self) -> bool {
        self.0.lock().contains(&thread::current().id())
    }

    /// Threads that are there. After their pool was told to end each of them is inside a closure, or
    /// about to leave.
    pub(crate) fn alive(&self) -> usize {
        self.0.lock().len()
    }
}
