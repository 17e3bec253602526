//! `Builder`: a runtime's settings.

use std::io;
use std::time::Duration;

use crate::driver::TokioHandle;
use crate::fiber::SwitchHooks;
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
    event_interval: Option<u32>,
    max_blocking_threads: usize,
    on_switch: Option<SwitchHooks>,
    kill_on_overflow: bool,
    stall_warning: Option<Duration>,
}

/// Address space of a stack; pages are committed by use.
const STACK_SIZE: usize = 256 * 1024;

/// One page; frames of Rust code are probed, so it cannot be jumped over.
const GUARD_SIZE: usize = 4096;

/// Fibers between two looks at timers and I/O: twice tokio's default for tasks, which take four times as long to
/// switch. A look takes some 370 ns: at 61 a `yield_now` among 100 fibers took 15.6 ns, at this 12.7.
const EVENT_INTERVAL: u32 = 122;

/// Ticks of the processor's clock, some 20 µs. A look at timers and I/O is a system call, which takes as long as some forty
/// switches: fibers that do little else would spend a quarter of their time on it.
const LEAST_TURN: u64 = 50_000;

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
            event_interval: None,
            max_blocking_threads: MAX_BLOCKING_THREADS,
            on_switch: None,
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

    /// At most so many fibers are run between two looks at timers and I/O. Default: 122, or as many as run in about
    /// 20 µs if that is more, but not more than 1,952. Less answers events sooner, more switches faster.
    pub fn event_interval(mut self, fibers: u32) -> Builder {
        self.event_interval = Some(fibers);
        self
    }

    /// Threads for blocking closures, of the whole runtime. Half of them serve
    /// [`unblock`](crate::unblock()); the rest is divided among the workers, at least one each, for
    /// what tokio's own calls (files, name lookup) block. They are started when needed. Default: 512.
    pub fn max_blocking_threads(mut self, threads: usize) -> Builder {
        self.max_blocking_threads = threads;
        self
    }

    /// Gives each fiber its own content of thread-local slots that somebody sets and restores in
    /// stack order.
    ///
    /// Code such as `scoped_tls::ScopedKey::set(value, || ...)` puts a value into a thread-local and, when
    /// its closure is over, puts back what was there before. Fibers of one thread interleave, so if two
    /// of them wait inside such closures each sees, and restores, what the other left. With these
    /// hooks neither does: `save` is called on a fiber's stack before each switch away from it, takes the
    /// slots' content as one word and leaves the slots *neutral*, as they are outside of all such closures;
    /// `restore` is called on the same stack when the fiber goes on, with that word.
    ///
    /// Every wait that does suspend the fiber is such a switch, and so is a yield; a wait that is over at
    /// once is none. A fiber's first run and its end are none either: it begins with neutral slots and has
    /// to leave them so, which it does when all such closures have ended. The word is kept in the waiting
    /// frame, and nothing is allocated. A cancelled fiber gets its word back before it unwinds. A second
    /// call replaces the hooks of the first. Default: none, which costs nothing.
    ///
    /// # Safety
    /// For every call of `save`, on any worker's thread, and of `restore` with what the last unanswered
    /// `save` of the same fiber returned:
    /// - They do not panic (that aborts), and they do not call anything of Sisal's that may wait or yield.
    /// - Between them, a fiber finds in the slots exactly what it left there. So they swap all slots of
    ///   the libraries in question, and whatever else a library keeps in step with its slots.
    /// - The library is sound if its slots are changed between two statements of one fiber, as long as
    ///   they are back before the second. (It is not if it lends references *into* a slot across a wait.)
    /// - A worker's own stack (async tasks, wakers) leaves the slots neutral whenever it runs fibers.
    ///   Guards that an async task holds across an `.await` break that.
    /// - No code relies on a fiber that ends with slots that are not neutral (a guard was leaked): the
    ///   next fiber of that thread begins with them.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::ptr;
    ///
    /// thread_local! {
    ///     // What some library keeps there while a closure runs.
    ///     static SLOT: Cell<*mut ()> = const { Cell::new(ptr::null_mut()) };
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let builder = sisal::Runtime::builder();
    /// // SAFETY: both only move one word; the library lends no reference into the slot.
    /// let builder = unsafe {
    ///     builder.on_switch(|| SLOT.replace(ptr::null_mut()), |word| SLOT.set(word))
    /// };
    /// let runtime = builder.workers(1).build()?;
    /// runtime.run(|| {
    ///     let mut value = 7;
    ///     SLOT.set(ptr::from_mut(&mut value).cast());
    ///     let other = sisal::fiber::spawn(|| assert!(SLOT.get().is_null()));
    ///     sisal::fiber::yield_now();
    ///     assert_eq!(SLOT.replace(ptr::null_mut()), ptr::from_mut(&mut value).cast());
    ///     other.join().unwrap();
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub unsafe fn on_switch(
        mut self,
        save: unsafe fn() -> *mut (),
        restore: unsafe fn(*mut ()),
    ) -> Builder {
        self.on_switch = Some(SwitchHooks { save, restore });
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
    /// everything that it owns is leaked, `fiber_local!` values included, with a stack of address space. Its worker's thread never ends, because frames that
    /// stay may use its thread-locals: when the runtime ends, that thread is left behind, and reported.
    ///
    /// The process ends as by default, and the message says why, if the fiber is scoped (of `run`, or of a
    /// [`scope`](crate::fiber::scope)), is inside a `scope`, `run` or [`unblock`](crate::unblock()) of its own, is unwinding
    /// or has another fiber of its worker parked in mid-unwind, if there are [`on_switch`](Self::on_switch) hooks, or if it overflowed inside Sisal, the C library or its allocator, in code that
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
    /// Else what the operating system says to threads, epoll, signal handlers or memory: the text says for
    /// what, the `source` is the system's error. What had been started has ended by then.
    pub fn build(self) -> io::Result<Runtime> {
        let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        let workers = match self.workers {
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, |n| n.get()),
        };
        if workers == 0 || workers > u32::MAX as usize {
            return invalid("`Builder::workers` must be 1 or more");
        }
        if self.event_interval == Some(0) {
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
            event_interval: self.event_interval.unwrap_or(EVENT_INTERVAL),
            least_turn: match self.event_interval {
                None => LEAST_TURN,
                Some(_) => 0,
            },
            max_blocking_threads: self.max_blocking_threads,
            on_switch: self.on_switch,
            kill_on_overflow: match self.kill_on_overflow {
                true => Some(Grounds::new()?),
                false => None,
            },
            stall_warning: self.stall_warning,
        })
    }
}
