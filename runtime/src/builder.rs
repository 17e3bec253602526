//! `Builder`: a runtime's settings.

use std::io;
use std::time::Duration;

use crate::driver::TokioHandle;
use crate::overflow::Grounds;
use crate::runtime::Runtime;
use crate::sched::Config;
use crate::stack_pool::check_size;

/// Settings of a [`Runtime`]. Made by [`Runtime::builder`].
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::builder()
///     .workers(2)
///     .stack_size(64 * 1024)
///     .thread_name("web")
///     .build()?;
/// assert_eq!(runtime.run(|| 1 + 1), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until `build`"]
pub struct Builder {
    workers: Option<usize>,
    stack_size: usize,
    guard_size: usize,
    thread_name: String,
    tokio: Option<TokioHandle>,
    event_interval: u32,
    max_blocking_threads: usize,
    kill_on_overflow: bool,
    stall_warning: Option<Duration>,
}

/// Address space of a stack; pages are committed by use.
const STACK_SIZE: usize = 256 * 1024;

/// One page; frames of Rust code are probed, so it cannot be jumped over.
const GUARD_SIZE: usize = 4096;

/// Fibers between two looks at timers and I/O; tokio's own default for tasks.
const EVENT_INTERVAL: u32 = 61;

/// tokio's own default.
const MAX_BLOCKING_THREADS: usize = 512;

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            workers: None,
            stack_size: STACK_SIZE,
            guard_size: GUARD_SIZE,
            thread_name: "sisal-worker".to_owned(),
            tokio: None,
            event_interval: EVENT_INTERVAL,
            max_blocking_threads: MAX_BLOCKING_THREADS,
            kill_on_overflow: false,
            stall_warning: None,
        }
    }

    /// Worker threads. Default: as many as the process may use cores.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.workers = Some(workers);
        self
    }

    /// Bytes of a fiber's stack, rounded up to pages. Default: 256 KiB of address space, of which
    /// only what a fiber touches is memory.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = bytes;
        self
    }

    /// Bytes of the guard below a stack, rounded up to pages. Default: one page. More is for
    /// foreign code whose frames may be larger than a page and are not probed.
    pub fn guard_size(mut self, bytes: usize) -> Builder {
        self.guard_size = bytes;
        self
    }

    /// Worker threads are called this, with `-0`, `-1` and so on. Default: `sisal-worker`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.thread_name = name.into();
        self
    }

    /// Makes another tokio runtime the current one in fibers: what a fiber gives to
    /// `tokio::spawn`, and the sockets and timers of tokio that it makes, belong to that runtime and
    /// outlive this one. Default: each worker's own.
    pub fn tokio(mut self, handle: tokio::runtime::Handle) -> Builder {
        self.tokio = Some(handle);
        self
    }

    /// At most so many fibers are run between two looks at timers and I/O. Default: 61. Less
    /// answers events sooner, more switches faster.
    pub fn event_interval(mut self, fibers: u32) -> Builder {
        self.event_interval = fibers;
        self
    }

    /// Threads for blocking closures, of the whole runtime. Half of them serve
    /// [`unblock`](crate::unblock()); the rest is divided among the workers, at least one each, for
    /// what tokio's own calls (files, name lookup) block. They are started when needed. Default: 512.
    pub fn max_blocking_threads(mut self, threads: usize) -> Builder {
        self.max_blocking_threads = threads;
        self
    }

    /// Warns of fibers that hold their worker for longer than `limit`: by a `tracing` WARN event of the target
    /// `sisal::stall`, which names the fiber (name, id, spawn place), says how long, and shows where it is. Another one follows
    /// when the time has doubled. Default: no warnings.
    ///
    /// A thread of its own looks at the workers a few times within `limit`; on a worker it costs two stores for each
    /// switch. A worker that is found stuck gets a signal, `SIGURG`, whose handler copies what is needed: system calls that no
    /// `SA_RESTART` restarts (signal(7)) end with `EINTR` then, also in the code that stalls. See `docs/tuning.md` in
    /// the repository.
    pub fn stall_warning(mut self, limit: Duration) -> Builder {
        self.stall_warning = Some(limit);
        self
    }

    /// Makes a stack overflow end just its fiber, where that is possible: joining it gives an error that
    /// [is an overflow](crate::fiber::JoinError::is_overflow), and the other fibers go on. Default: the process ends, with a message that names the fiber.
    ///
    /// The fiber stops where it is, for ever. No destructor of its runs, and its stack is never used again nor freed, so
    /// everything that it owns is leaked, with a stack of address space. Its worker's thread never ends, because frames that
    /// stay may use its thread-locals: when the runtime ends, that thread is left behind, and reported.
    ///
    /// The process ends as by default, and the message says why, if the fiber is scoped (of `run`, or of a
    /// [`scope`](crate::fiber::scope)), is inside a `scope`, `run` or [`unblock`](crate::unblock()) of its own, is unwinding
    /// or has another fiber of its worker parked in mid-unwind, or overflowed inside Sisal, the C library or its allocator, in code that
    /// these called, or below a function without unwind information.
    ///
    /// # Safety
    /// For every fiber of this runtime, wherever in it a stack may overflow:
    ///
    /// - To other fibers of its worker it looks as if the fiber had parked there. So at that point nothing may be half done that
    ///   belongs to the thread and not to the fiber: thread-local state, a call of an allocator other than the
    ///   C library's, foreign code with state of its own for each thread.
    /// - Nobody has a borrow of its frames whose end the fiber was to wait for (`std::thread::scope`, rayon, a scope of another
    ///   crate): of Sisal's own calls this is checked.
    /// - Its frames can be walked, and do not go through libraries that were loaded after this runtime was built or are
    ///   unloaded while it runs.
    /// - Stacks overflow into their guard: code whose frames may be larger than it is probed, as Rust's is.
    ///
    /// What is merely locked stays locked: a `Mutex` whose guard was on that stack is held for ever, and a thread that
    /// waits for it waits for ever, be it this worker's. That is not unsound, but seldom what is wanted.
    pub unsafe fn kill_on_overflow(mut self) -> Builder {
        self.kill_on_overflow = true;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// `InvalidInput` for a setting that cannot be (no workers, no blocking threads, an event
    /// interval of 0, a stall warning after no time, a stack too small or too large), naming it. For
    /// [`kill_on_overflow`](Self::kill_on_overflow): `Unsupported` in a program that the C library is linked to statically, and
    /// `AlreadyExists` in one that called `switch_asm::trap::install`.
    /// Else what the operating system says to threads, epoll, signal handlers or memory.
    pub fn build(self) -> io::Result<Runtime> {
        let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let workers = match self.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, |n| n.get()),
        };
        if workers == 0 || workers > u32::MAX as usize {
            return invalid("`Builder::workers` must be 1 or more");
        }
        if self.event_interval == 0 {
            return invalid("`Builder::event_interval` must be 1 or more");
        }
        if self.max_blocking_threads == 0 {
            return invalid("`Builder::max_blocking_threads` must be 1 or more");
        }
        if self.stall_warning == Some(Duration::ZERO) {
            return invalid("`Builder::stall_warning` must be more than 0");
        }
        if self.thread_name.contains('\0') {
            return invalid("`Builder::thread_name` must not contain a NUL");
        }
        Runtime::start(Config {
            workers,
            stack_size: check_size(self.stack_size)?,
            guard_size: self.guard_size,
            thread_name: self.thread_name,
            tokio: self.tokio,
            event_interval: self.event_interval,
            max_blocking_threads: self.max_blocking_threads,
            kill_on_overflow: match self.kill_on_overflow {
                true => Some(Grounds::new()?),
                false => None,
            },
            stall_warning: self.stall_warning,
        })
    }
}
