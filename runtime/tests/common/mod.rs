//! What the behaviour tests share: a watchdog, counters, gates, and children that may crash.
//!
//! Nothing here orders threads by sleeping. To wait for a state is [`until`], which yields; a state
//! that never comes is the [`watchdog`]'s business.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use sisal::net::{TcpListener, TcpStream};
use sisal::{Handle, Runtime};

/// Aborts the process if the guard is not dropped within `secs` (or within what
/// `SISAL_TEST_WATCHDOG` says, for whoever looks for a hang). A test that holds one fails by a
/// message instead of hanging.
#[must_use = "the watchdog sleeps when its guard is dropped"]
pub(crate) fn watchdog(secs: u64) -> Watchdog {
    let secs = std::env::var("SISAL_TEST_WATCHDOG")
        .ok()
        .and_then(|secs| secs.parse().ok())
        .unwrap_or(secs);
    let (alive, over) = mpsc::channel();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let thread = thread::spawn(move || {
        if let Err(RecvTimeoutError::Timeout) = over.recv_timeout(Duration::from_secs(secs)) {
            // Not `eprintln`: the harness would capture it, and abort before it is shown.
            let text = format!("\nwatchdog: {name} hangs since {secs} seconds\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            std::process::abort();
        }
    });
    Watchdog {
        alive: Some(alive),
        thread: Some(thread),
    }
}

pub(crate) struct Watchdog {
    alive: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // It panics never.
            let _ = thread.join();
        }
    }
}

/// A runtime of so many workers.
pub(crate) fn runtime(workers: usize) -> Runtime {
    let runtime = Runtime::builder().workers(workers).build();
    runtime.expect("the system has threads and descriptors left")
}

/// Yields until `condition` holds: on a fiber to its worker's others, on a thread to the system.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sisal::fiber::yield_now();
    }
}

/// Lets every other fiber of a one-worker runtime run as far as it gets, a few times over.
pub(crate) fn settle() {
    for _ in 0..200 {
        sisal::fiber::yield_now();
    }
}

pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// Whether the runtime takes no more fibers.
pub(crate) fn is_closed(handle: &Handle) -> bool {
    let probe = handle.spawn(|| ());
    // On an open runtime it may have to wait for a worker: then it is not closed.
    probe.is_finished() && probe.join().is_err()
}

/// Drops the runtime on a thread of its own; returns when it is closed, but has not ended yet.
pub(crate) fn closing(runtime: Runtime) -> thread::JoinHandle<()> {
    let handle = runtime.handle().clone();
    let closing = thread::spawn(move || drop(runtime));
    until(|| is_closed(&handle));
    closing
}

pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

/// A future that holds something and never ends.
pub(crate) async fn never(held: impl Sized) {
    let _held = held;
    std::future::pending::<()>().await;
}

/// Waits without leaving the worker.
pub(crate) fn until_thread(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Counts something.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn new() -> Count {
        Count::default()
    }

    /// The count after this one.
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A value whose drop is counted.
    pub(crate) fn on_drop(&self) -> OnDrop {
        OnDrop(self.clone())
    }
}

/// Counts its drop.
pub(crate) struct OnDrop(Count);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Counts the values that it makes, and their drops.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) made: Count,
    pub(crate) dropped: Count,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally::default()
    }

    pub(crate) fn make(&self) -> OnDrop {
        self.made.add();
        self.dropped.on_drop()
    }

    /// Each value was dropped once, and there were so many.
    #[track_caller]
    pub(crate) fn check(&self, made: std::ops::RangeInclusive<usize>, what: &str) {
        assert_eq!(self.made.get(), self.dropped.get(), "{what}: drops");
        assert!(
            made.contains(&self.made.get()),
            "{what}: {} made",
            self.made.get()
        );
    }
}

/// Calls its closure when it is dropped.
pub(crate) struct Defer<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for Defer<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A future that is ready once its gate is open; the gate counts polls and keeps the last waker.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<GateState>>);

#[derive(Default)]
struct GateState {
    open: bool,
    /// Polls that have returned.
    polls: usize,
    waker: Option<Waker>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate::default()
    }

    /// Polls that have returned: when this is 1 and the gate shut, the waker is there.
    pub(crate) fn polls(&self) -> usize {
        self.0.lock().unwrap().polls
    }

    /// Opens the gate and wakes whoever waits.
    pub(crate) fn open(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.open = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A clone of the waker that was left by the last poll.
    pub(crate) fn waker(&self) -> Waker {
        let state = self.0.lock().unwrap();
        state.waker.clone().expect("the gate was polled")
    }

    /// Waits, without a wake, until the gate was polled so many times.
    pub(crate) fn wait_polls(&self, polls: usize) {
        until(|| self.polls() >= polls);
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        state.polls += 1;
        if state.open {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Counts the polls of a future, each after it has returned.
pub(crate) fn counted<F: Future>(polls: &Count, future: F) -> impl Future<Output = F::Output> {
    let polls = polls.clone();
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        let poll = future.as_mut().poll(cx);
        polls.add();
        poll
    })
}

/// A `tracing` subscriber that keeps the messages of ERROR events.
#[derive(Clone, Default)]
pub(crate) struct ErrorEvents(Arc<Mutex<Vec<String>>>);

impl ErrorEvents {
    pub(crate) fn new() -> ErrorEvents {
        ErrorEvents::default()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl tracing::Subscriber for ErrorEvents {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    // Sisal has no spans.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The text of a panic.
pub(crate) fn text(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<String>()
            .map_or("(no text)", |text| text),
    }
}

/// What `f` panics with, as text.
#[track_caller]
pub(crate) fn panic_text<R>(f: impl FnOnce() -> R) -> String {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(_) => panic!("this should have panicked"),
        Err(payload) => text(&*payload).to_owned(),
    }
}

/// So many fibers, each bound to another worker of a runtime that has exactly as many: each holds
/// its worker until all have one. Call it in a fiber; `f` gets the fiber's number.
pub(crate) fn one_on_each_worker<T: Send>(workers: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let all_here = std::sync::Barrier::new(workers);
    let (all_here, f) = (&all_here, &f);
    sisal::fiber::scope(|s| {
        let fibers: Vec<_> = (0..workers)
            .map(|n| {
                s.spawn(move || {
                    all_here.wait();
                    f(n)
                })
            })
            .collect();
        fibers.into_iter().map(|f| f.join().unwrap()).collect()
    })
}

const CHILD: &str = "SISAL_TEST_CHILD";

/// Which part this process plays in the test that `in_child` runs; `None` for the parent.
pub(crate) fn role() -> Option<String> {
    std::env::var(CHILD).ok()
}

/// Runs the calling test alone, in a process of its own, where `role()` is `role`.
pub(crate) fn in_child(test: &str, role: &str, vars: &[(&str, &str)]) -> Output {
    let exe = std::env::current_exe().expect("a test knows its own path");
    let mut child = Command::new(exe);
    child
        .args(["--exact", test, "--include-ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, role)
        .env("RUST_BACKTRACE", "0")
        .envs(vars.iter().copied());
    child.output().expect("a test can run itself")
}

/// Runs the calling test as [`in_child`] does, where it has to pass.
#[track_caller]
pub(crate) fn passes_in_child(test: &str, role: &str, vars: &[(&str, &str)]) {
    let child = in_child(test, role, vars);
    let said = said(&child);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// Both outputs of a child, for messages.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Calls itself until `bytes` of the stack below the caller's frame are in use, then calls `at_end`
/// down there, and returns how many bytes it was.
pub(crate) fn reach(bytes: usize, at_end: &mut dyn FnMut()) -> usize {
    #[inline(never)]
    fn deeper(start: usize, bytes: usize, at_end: &mut dyn FnMut()) -> usize {
        let frame = std::hint::black_box([0_u8; 256]);
        let used = start - frame.as_ptr().addr();
        if used >= bytes {
            at_end();
            return used;
        }
        // Not a tail call: `frame` is used after it.
        std::hint::black_box(deeper(start, bytes, at_end) + usize::from(frame[0]))
    }
    let start = std::hint::black_box([0_u8; 1]);
    deeper(start.as_ptr().addr(), bytes, at_end)
}
