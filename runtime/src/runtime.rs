//! `Runtime`: workers and their end; the default runtime.

use std::fmt;
use std::io;
use std::num::NonZero;
use std::os::unix::thread::JoinHandleExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::builder::Builder;
use crate::current::{self, ThreadState};
use crate::driver::BlockingPool;
use crate::error::because;
use crate::handle::Handle;
use crate::join::JoinHandle;
use crate::metrics::Metrics;
use crate::overflow;
use crate::sched::{Config, Shared, Starts, worker_main};
use crate::stall::Watchdog;
use crate::time::timer;
use crate::unfinished::{Parts, Unfinished};

/// How long dropping a runtime waits for its fibers.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);

/// Worker threads, and the fibers on them.
///
/// Several may exist at once. Most programs use the default one, by [`run`](crate::run()) and
/// [`spawn`](crate::spawn()).
///
/// Dropping a runtime ends it. It takes no more fibers (spawns end at once, cancelled); every fiber is
/// unwound, so that its destructors run; async tasks on the workers are dropped; blocking closures are
/// waited for; then the workers end. The drop waits for all of that up to 10 seconds
/// ([`shutdown_timeout`](Self::shutdown_timeout) sets another time): from a plain thread it blocks, from a
/// fiber of another runtime it parks the fiber; in a fiber, async task or blocking closure of its own, and
/// on any worker's own stack, it panics, and the runtime ends without being waited for. What has not ended
/// in time is reported by a `tracing` ERROR event, and goes on; its threads end when it does.
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
    /// Ends when this is dropped.
    watchdog: Option<Watchdog>,
}

// As its handle.
impl UnwindSafe for Runtime {}
impl RefUnwindSafe for Runtime {}

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
        overflow::install(config.kill_on_overflow.is_some())?;
        let half = (config.max_blocking_threads / 2).max(1);
        let pool = BlockingPool::new(half)
            .map_err(|error| because("the pool of blocking threads could not be made", error))?;
        let workers = config.workers;
        let (shared, deques) = Shared::new(config, pool)
            .map_err(|error| because("the first stacks could not be made", error))?;
        let mut runtime = Runtime {
            handle: Handle::new(Arc::clone(&shared)),
            threads: Vec::with_capacity(workers),
            watchdog: None,
        };
        let starts = Starts::new();
        let mut result = Ok(());
        for (index, deque) in deques.into_iter().enumerate() {
            let (shared, starting) = (Arc::clone(&shared), starts.worker(index));
            let name = format!("{}-{index}", shared.config.thread_name);
            let thread = thread::Builder::new()
                .name(name)
                .spawn(move || worker_main(shared, index, deque, starting));
            match thread {
                Ok(thread) => runtime.threads.push(thread),
                Err(error) => {
                    let what = format!("the thread of worker {index} could not be started");
                    result = Err(because(what, error));
                    break;
                }
            }
        }
        if let Err(error) = result.and(starts.wait()) {
            shared.abandon();
            for thread in runtime.threads.drain(..) {
                // A worker does not panic (it aborts), so there is nothing to be told.
                let _ = thread.join();
            }
            return Err(error);
        }
        if let Some(limit) = shared.config.stall_warning {
            let name = format!("{}-watch", shared.config.thread_name);
            // If this fails the workers are ended by the runtime's drop.
            runtime.watchdog = Some(Watchdog::start(shared.probes(), limit, name)?);
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

    /// Ends the runtime as dropping it does, but waits for `timeout` instead of 10 seconds, and gives what
    /// did not end by then instead of logging it.
    ///
    /// All of it counts: fibers and their destructors, async tasks on the workers, and blocking closures.
    ///
    /// # Errors
    /// [`Unfinished`]: what did not end in time.
    ///
    /// # Panics
    /// In a fiber, async task or blocking closure of this runtime, and on any worker's own stack. The
    /// runtime ends all the same, but nobody waits for that.
    ///
    /// # Cancellation
    /// In a fiber of another runtime this is a suspension point. A fiber that unwinds from here leaves the
    /// runtime to end by itself, without a report.
    ///
    /// ```
    /// use std::time::Duration;
    /// # fn main() -> std::io::Result<()> {
    /// let runtime = sisal::Runtime::new()?;
    /// let server = runtime.spawn(|| loop {
    ///     sisal::fiber::park(); // serves until it is unwound
    /// });
    /// if let Err(unfinished) = runtime.shutdown_timeout(Duration::from_secs(5)) {
    ///     eprintln!("{unfinished}");
    /// }
    /// # assert!(server.join().is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Result<(), Unfinished> {
        self.end(timeout)
    }

    #[track_caller]
    fn end(&mut self, timeout: Duration) -> Result<(), Unfinished> {
        if self.threads.is_empty() {
            return Ok(()); // ended before, or never begun
        }
        let threads = std::mem::take(&mut self.threads);
        let shared = self.handle.shared();
        let deadline = timer::after(timeout);
        shared.close();
        let inside = current::runtime() == Some(Arc::as_ptr(shared).cast())
            || matches!(current::state(), ThreadState::Plain) && shared.is_in_closure();
        if inside || matches!(current::state(), ThreadState::Worker) {
            // It ends all the same, but nobody waits for that.
            if thread::panicking() {
                return Ok(());
            }
            if inside {
                panic!(
                    "a runtime cannot wait for its own end: move it out of its fibers, async tasks and \
                     blocking closures to drop it"
                );
            }
            current::refuse_worker("Runtime::drop", "drop it in `tokio::task::spawn_blocking`");
        }
        shared.wait_closed(deadline)?;
        // All but over: what is left are destructors of thread-locals, which may be anybody's code.
        let joined = |thread| join_until(thread, deadline);
        match threads
            .into_iter()
            .map(joined)
            .filter(|in_time| !in_time)
            .count()
        {
            0 => Ok(()),
            late => Err(Unfinished::new(Parts {
                workers: late,
                leaving: late,
                ..Parts::default()
            })),
        }
    }
}

/// Joins a thread that does not panic. False: it had not ended at `deadline`, and is detached.
fn join_until(thread: thread::JoinHandle<()>, deadline: Instant) -> bool {
    // std cannot join with a deadline, and whatever the thread itself says comes before its end.
    let left = deadline.saturating_duration_since(Instant::now());
    let wall = SystemTime::now() + left;
    let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = libc::timespec {
        tv_sec: wall.as_secs() as libc::time_t,
        tv_nsec: wall.subsec_nanos().into(),
    };
    let thread = thread.into_pthread_t();
    // SAFETY: a thread that was not joined or detached yet: std gave it up just now.
    let joined = unsafe { libc::pthread_timedjoin_np(thread, ptr::null_mut(), &until) } == 0;
    if !joined {
        // SAFETY: as above, and the call above did not join it.
        unsafe { libc::pthread_detach(thread) };
    }
    joined
}

impl Drop for Runtime {
    #[track_caller]
    fn drop(&mut self) {
        if let Err(unfinished) = self.end(DROP_TIMEOUT) {
            tracing::error!("runtime shutdown: {unfinished}");
        }
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

/// What `SISAL_WORKERS` says, if it is set.
///
/// # Errors
/// `InvalidInput` if that is no number of workers.
fn default_workers() -> io::Result<Option<NonZero<usize>>> {
    const NAME: &str = "SISAL_WORKERS";
    let Some(value) = std::env::var_os(NAME) else {
        return Ok(None);
    };
    match value.to_str().and_then(|value| value.parse().ok()) {
        Some(workers) => Ok(Some(workers)),
        None => {
            let text = format!("{NAME}={value:?} is no number of workers: set it to 1 or more");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    }
}

/// How many workers the default runtime has, or will have.
///
/// # Errors
/// `InvalidInput` if `SISAL_WORKERS` is no number; what std's function of that name says.
pub(crate) fn default_parallelism() -> io::Result<NonZero<usize>> {
    match default_workers()? {
        Some(workers) => Ok(workers),
        None => std::thread::available_parallelism(),
    }
}

#[track_caller]
fn start_default() -> Runtime {
    let mut builder = Runtime::builder();
    match default_workers() {
        Ok(None) => {}
        Ok(Some(workers)) => builder = builder.workers(workers.get()),
        Err(error) => panic!("{error}"),
    }
    match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the default runtime could not be started: {error}"),
    }
}

#[cfg(all(test, not(sisal_loom)))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Threads of this process whose name begins so.
    fn threads(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let named = |task: io::Result<std::fs::DirEntry>| {
            let comm = std::fs::read_to_string(task.unwrap().path().join("comm"));
            comm.is_ok_and(|comm| comm.starts_with(name))
        };
        tasks.map(named).filter(|is| *is).count()
    }

    /// The thread of a worker with a retired fiber is kept and reported (S7); the others end, and nobody
    /// waits for the deadline.
    #[test]
    fn a_worker_with_a_retired_fiber_is_kept() {
        let builder = Runtime::builder().workers(3).thread_name("kept");
        let runtime = builder.build().unwrap();
        let handle = runtime.handle().clone();
        let fiber = runtime.spawn(move || handle.shared().pretend_retired());
        let id = fiber.fiber().id();
        fiber.join().unwrap();
        assert_eq!(threads("kept-"), 3);
        let report = runtime
            .shutdown_timeout(Duration::from_secs(3600))
            .unwrap_err();
        assert_eq!(report.fibers().len(), 1, "{report}");
        let fiber = &report.fibers()[0];
        assert!(fiber.is_retired() && fiber.id() == id, "{report}");
        assert_eq!(report.worker_threads(), 1);
        let text = report.to_string();
        assert!(text.contains(": retired fiber (FiberId("), "{text}");
        assert!(text.contains("worker threads kept: 1"), "{text}");
        while threads("kept-") > 1 {
            thread::yield_now();
        }
        assert_eq!(threads("kept-"), 1);
    }

    /// Blocks `SIGURG` on this thread, or lets it through.
    fn mask(how: libc::c_int) {
        // SAFETY: changes the mask of this thread by a set made here.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGURG);
            libc::pthread_sigmask(how, &set, std::ptr::null_mut());
        }
    }

    #[test]
    fn a_worker_says_what_it_runs() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let probe = runtime.handle.shared().probes().remove(0);
        runtime.run(|| ());
        let phase = Arc::new(Mutex::new(0));
        let reached = |n| while *phase.lock().unwrap() < n {};
        let fiber = runtime.run(|| {
            let phase = Arc::clone(&phase);
            let builder = crate::fiber::Builder::new().name("asked".into());
            builder.spawn(move || {
                let until = |n| while *phase.lock().unwrap() < n {};
                *phase.lock().unwrap() = 1;
                until(2);
                mask(libc::SIG_BLOCK);
                *phase.lock().unwrap() = 3;
                until(4);
                // The signal that was too late arrives, and finds nothing to answer.
                mask(libc::SIG_UNBLOCK);
                *phase.lock().unwrap() = 5;
                until(6);
            })
        });
        reached(1);
        for _ in 0..10 {
            let identity = probe.running_fiber().expect("it spins");
            assert_eq!(identity.name.as_deref(), Some("asked"));
        }
        *phase.lock().unwrap() = 2;
        reached(3);
        assert!(probe.running_fiber().is_none(), "it cannot answer");
        *phase.lock().unwrap() = 4;
        reached(5);
        assert!(probe.running_fiber().is_some());
        *phase.lock().unwrap() = 6;
        fiber.unwrap().join().unwrap();
        let parked = runtime.spawn(crate::fiber::park);
        runtime.run(crate::fiber::yield_now);
        while probe.running_fiber().is_some() {}
        parked.fiber().unpark();
        parked.join().unwrap();
        drop(runtime);
        assert!(probe.running_fiber().is_none(), "its thread is gone");
    }
}
