//! `Runtime`: workers and their end; the default runtime.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use crate::builder::Builder;
use crate::current::{self, ThreadState};
use crate::driver::BlockingPool;
use crate::handle::Handle;
use crate::join::JoinHandle;
use crate::metrics::Metrics;
use crate::sched::{Config, Leftover, Shared, worker_main};
use crate::time::timer;

/// How long dropping a runtime waits for its fibers.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// Worker threads, and the fibers on them.
///
/// Several may exist at once. Most programs use the default one, by [`run`](crate::run()) and
/// [`spawn`](crate::spawn()).
///
/// Dropping a runtime ends it: every fiber is unwound, so that its destructors run, then the workers
/// end. The drop waits for that up to 10 seconds ([`shutdown_timeout`](Self::shutdown_timeout) sets
/// another time): from a plain thread it blocks, from a fiber of another runtime it parks the
/// fiber; from a fiber of its own, and on any worker's own stack, it panics, and the runtime ends
/// without being waited for. What has not ended in time is reported by a `tracing` ERROR event, and
/// its worker threads are kept for as long as the process lives.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::new()?;
/// let handle = runtime.spawn(|| "a fiber");
/// assert_eq!(handle.join().unwrap(), "a fiber");
/// # Ok(())
/// # }
/// ```
pub struct Runtime {
    handle: Handle,
    /// Empty when it has ended.
    threads: Vec<thread::JoinHandle<()>>,
}

impl Runtime {
    /// A runtime with default settings.
    ///
    /// # Errors
    /// As for [`Builder::build`].
    pub fn new() -> io::Result<Runtime> {
        Runtime::builder().build()
    }

    /// Settings for a runtime.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn start(config: Config) -> io::Result<Runtime> {
        let half = (config.max_blocking_threads / 2).max(1);
        let pool = BlockingPool::new(half)?;
        let workers = config.workers;
        let (shared, deques) = Shared::new(config, pool)?;
        let mut runtime = Runtime {
            handle: Handle::new(Arc::clone(&shared)),
            threads: Vec::with_capacity(workers),
        };
        let (started, starts) = mpsc::channel();
        let mut result = Ok(());
        for (index, deque) in deques.into_iter().enumerate() {
            let (shared, started) = (Arc::clone(&shared), started.clone());
            let name = format!("{}-{index}", shared.config.thread_name);
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || worker_main(shared, index, deque, started));
            match thread {
                Ok(thread) => runtime.threads.push(thread),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        drop(started);
        // Ends when every thread has answered.
        for start in starts {
            result = result.and(start);
        }
        if let Err(error) = result {
            shared.abandon();
            for thread in runtime.threads.drain(..) {
                // A worker does not panic (it aborts), so there is nothing to be told.
                let _ = thread.join();
            }
            return Err(error);
        }
        Ok(runtime)
    }

    /// Runs `f` as a fiber and waits for it: see [`Handle::run`].
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        self.handle.run(f)
    }

    /// Starts a fiber: see [`Handle::spawn`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn(f)
    }

    /// A handle that can be cloned and sent, and does not keep the runtime going.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What the runtime did so far, and has now: see [`Metrics`]. From anywhere; it costs the workers nothing.
    pub fn metrics(&self) -> Metrics {
        self.handle.metrics()
    }

    /// Ends the runtime as dropping it does, but waits for `timeout` instead of 10 seconds.
    ///
    /// # Panics
    /// In a fiber of this runtime, and on any worker's own stack.
    #[track_caller]
    pub fn shutdown_timeout(mut self, timeout: Duration) {
        self.end(timeout);
    }

    #[track_caller]
    fn end(&mut self, timeout: Duration) {
        if self.threads.is_empty() {
            return; // ended before, or never begun
        }
        let threads = std::mem::take(&mut self.threads);
        let shared = self.handle.shared();
        let deadline = timer::after(timeout);
        shared.close(deadline);
        let inside = current::runtime() == Some(Arc::as_ptr(shared).cast());
        if inside || matches!(current::state(), ThreadState::Worker) {
            // It ends all the same, but nobody waits for that.
            if thread::panicking() {
                return;
            }
            if inside {
                panic!(
                    "a runtime cannot wait for its own end: move it out of its fibers to drop it"
                );
            }
            current::refuse_worker("Runtime::drop", "drop it in `tokio::task::spawn_blocking`");
        }
        match shared.wait_closed(deadline) {
            Ok(()) => {
                for thread in threads {
                    // All but over; a worker does not panic.
                    let _ = thread.join();
                }
            }
            Err(leftover) => report(leftover),
        }
    }
}

#[cold]
fn report(leftover: Leftover) {
    tracing::error!("runtime shutdown: {leftover}");
}

impl Drop for Runtime {
    #[track_caller]
    fn drop(&mut self) {
        self.end(DROP_TIMEOUT);
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Runtime").field(&self.handle).finish()
    }
}

/// The runtime of [`run`](crate::run()) and [`spawn`](crate::spawn()): started at first use, never
/// ended, `SISAL_WORKERS` workers.
#[track_caller]
pub(crate) fn default() -> &'static Handle {
    static DEFAULT: OnceLock<Runtime> = OnceLock::new();
    DEFAULT.get_or_init(start_default).handle()
}

#[track_caller]
fn start_default() -> Runtime {
    const NAME: &str = "SISAL_WORKERS";
    let mut builder = Runtime::builder();
    if let Some(value) = std::env::var_os(NAME) {
        match value.to_str().and_then(|value| value.parse().ok()) {
            Some(workers) if workers > 0 => builder = builder.workers(workers),
            _ => panic!("{NAME}={value:?} is no number of workers: set it to 1 or more"),
        }
    }
    match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the default runtime could not be started: {error}"),
    }
}
