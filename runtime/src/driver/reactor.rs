//! A worker's own tokio runtime, with the scheduler as its root future.
//!
//! A poll of the root future is one turn of the scheduler. tokio polls it under its cooperation
//! budget and drives timers and I/O between polls, so a turn that ends often enough keeps both
//! going, and a worker needs no second thread.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, LocalOptions, LocalRuntime, RuntimeMetrics};
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep};

use super::blocking::BlockingThreads;

/// What the scheduler wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Look at timers and I/O, then call again.
    Again,
    /// Nothing to run: wait for an event or a wake.
    Sleep,
    /// The same, but until then at the most.
    SleepUntil(Instant),
    /// The worker is over.
    Exit,
}

/// Called by a worker's thread before it waits for events, when it has no async task to run, and after that,
/// before it runs one.
#[derive(Clone, Copy)]
pub(crate) struct Waits {
    pub(crate) begin: fn(),
    pub(crate) end: fn(),
}

/// A worker's reactor. Made and used on the worker's thread.
pub(crate) struct Driver {
    runtime: LocalRuntime,
    foreign: Option<Handle>,
}

impl Driver {
    /// # Errors
    /// The operating system's, for epoll and eventfd.
    pub(crate) fn new(
        foreign: Option<Handle>,
        most_blocking: usize,
        blocking: &BlockingThreads,
        waits: Option<Waits>,
    ) -> io::Result<Driver> {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().max_blocking_threads(most_blocking);
        if let Some(waits) = waits {
            builder
                .on_thread_park(waits.begin)
                .on_thread_unpark(waits.end);
        }
        let runtime = blocking
            .watch(&mut builder)
            .build_local(LocalOptions::default())?;
        Ok(Driver { runtime, foreign })
    }

    pub(crate) fn reactor(&self) -> Reactor {
        Reactor(self.runtime.handle().clone())
    }

    /// Calls `turn` until it says `Exit`. Its argument wakes this worker from its sleep.
    pub(crate) fn drive(&self, mut turn: impl FnMut(&Waker) -> Turn) {
        self.runtime.block_on(async {
            let mut alarm = Alarm::new();
            poll_fn(|cx| {
                let entered = self.foreign.as_ref().map(Handle::enter);
                let turn = turn(cx.waker());
                if let Some(entered) = entered {
                    // A fiber that holds such a guard of its own across a wait breaks the order in which
                    // tokio wants them dropped: its panic must not end the worker.
                    let _ = catch_unwind(AssertUnwindSafe(|| drop(entered)));
                }
                match turn {
                    Turn::Again => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Turn::Sleep => Poll::Pending,
                    Turn::SleepUntil(end) => {
                        alarm.set(end, cx);
                        Poll::Pending
                    }
                    Turn::Exit => Poll::Ready(()),
                }
            })
            .await
        });
    }

    pub(crate) fn tasks(&self) -> AsyncTasks {
        AsyncTasks(self.runtime.metrics())
    }

    /// Drops the async tasks that are left, calls `tasks_gone`, and waits for the blocking closures of
    /// tokio's own calls: for as long as that takes.
    pub(crate) fn shut_down(self, tasks_gone: impl Fn() + Send + Sync + 'static) {
        struct Call<F>(F);
        impl<F: Fn() + Send + Sync> Wake for Call<F> {
            fn wake(self: Arc<Self>) {
                (self.0)();
            }
        }
        // tokio ends its timers when its tasks are gone, and wakes whoever waits for them: so that is how
        // to be told. Only what a report says depends on it.
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let mut timer = {
            let _entered = self.runtime.enter();
            Box::pin(tokio::time::sleep(FAR))
        };
        let waker = Waker::from(Arc::new(Call(tasks_gone)));
        let _ = timer.as_mut().poll(&mut Context::from_waker(&waker));
        // Not `shutdown_timeout`: that waits for the closures before it drops the tasks which they may
        // wait for, and drops those after the time.
        drop(self.runtime);
        drop(timer);
    }
}

/// What ends a worker's sleep in time.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    set_for: Option<Instant>,
}

impl Alarm {
    /// In the worker's context.
    fn new() -> Alarm {
        Alarm {
            sleep: Box::pin(sleep(Duration::ZERO)),
            set_for: None,
        }
    }

    /// One that is set for that time, as after most events, is left alone: it has the waker, which is the same in every poll, and tokio
    /// polls again when it is time.
    #[inline(never)]
    fn set(&mut self, end: Instant, cx: &mut Context<'_>) {
        if self.set_for != Some(end) || self.sleep.is_elapsed() {
            self.set_for = Some(end);
            self.sleep.as_mut().reset(end.into());
            // Without a budget it would not get as far as the waker.
            if pin!(unconstrained(&mut self.sleep)).poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }
}

/// Counts the async tasks of a worker, from any thread. Keeps the worker's descriptors open.
pub(crate) struct AsyncTasks(RuntimeMetrics);

impl AsyncTasks {
    /// Those that have not been dropped, without the one that is being dropped.
    pub(crate) fn alive(&self) -> usize {
        self.0.num_alive_tasks()
    }
}

/// Where a worker's timers and sockets register.
pub(crate) struct Reactor(Handle);

impl Reactor {
    /// Whether there are async tasks, ready or waiting, on this worker.
    pub(crate) fn has_tasks(&self) -> bool {
        self.0.metrics().num_alive_tasks() > 0
    }

    /// Runs `f`, which does not switch, with this reactor current: in a fiber another may be, by
    /// `Builder::tokio` or by a guard of the user's.
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        let _entered = self.0.enter();
        f()
    }
}
