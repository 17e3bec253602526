//! The same code over `std::thread` and over `sisal::fiber`: every stable item of the former, by an import swap.
//!
//! (`thread_local!` and `LocalKey` are in `locals_like_std.rs`, scopes' errors in `scope.rs`.)

mod common;

use std::num::NonZero;
use std::panic::{RefUnwindSafe, UnwindSafe};

use common::{Count, panic_text, runtime, watchdog};

/// Makes a module with the same functions over `$thread`; `$local` declares what is local there.
macro_rules! over {
    ($name:ident, $thread:path, $local:ident) => {
        mod $name {
            use std::cell::{Cell, RefCell};
            use std::fmt::Debug;
            use std::io;
            use std::num::NonZero;
            use std::sync::Arc;
            use std::sync::atomic::{AtomicBool, Ordering};
            use std::time::{Duration, Instant};

            #[allow(unused_imports, reason = "the other one declares threads' locals")]
            use sisal::fiber_local;
            use thread::{
                AccessError, Builder, JoinHandle, LocalKey, Scope, ScopedJoinHandle, Thread,
                ThreadId,
            };
            use $thread as thread;

            /// What a program sees of it all, as text.
            pub(super) fn all() -> Vec<String> {
                let mut said = Vec::new();
                let mut say =
                    |what: &str, value: &dyn Debug| said.push(format!("{what}: {value:?}"));

                // spawn, join, Result, JoinHandle
                let handle: JoinHandle<u8> = thread::spawn(|| 5);
                let result: thread::Result<u8> = handle.join();
                say("join", &result.unwrap());
                let panicked = thread::spawn(|| panic!("{} is text", std::hint::black_box(1)));
                say(
                    "panicked",
                    &panicked
                        .join()
                        .map(|(): ()| ())
                        .unwrap_err()
                        .downcast::<String>()
                        .unwrap(),
                );
                let value = thread::spawn(|| std::panic::resume_unwind(Box::new(7_u64)));
                let error = value.join().map(|(): ()| ()).unwrap_err();
                say(
                    "is",
                    &(
                        error.is::<u64>(),
                        error.is::<u32>(),
                        error.downcast_ref::<u64>().copied(),
                    ),
                );
                let go = Arc::new(AtomicBool::new(false));
                let theirs = Arc::clone(&go);
                let waits = thread::spawn(move || {
                    while !theirs.load(Ordering::Acquire) {
                        thread::park();
                    }
                });
                say("is_finished", &waits.is_finished());
                go.store(true, Ordering::Release);
                let thread: &Thread = waits.thread();
                thread.unpark();
                let clone: Thread = thread.clone();
                let id: ThreadId = clone.id();
                say("same id", &(id == waits.thread().id()));
                while !waits.is_finished() {
                    thread::yield_now();
                }
                waits.join().unwrap();
                clone.unpark(); // after its end: nothing

                // Builder
                let builder: Builder = Builder::new().name("named".into()).stack_size(256 * 1024);
                let named = builder
                    .spawn(|| thread::current().name().map(str::to_owned))
                    .unwrap();
                say("name outside", &named.thread().name());
                say("name inside", &named.join().unwrap());
                say(
                    "nameless",
                    &thread::spawn(|| thread::current().name().map(str::to_owned))
                        .join()
                        .unwrap(),
                );
                let word = String::from("lent");
                // SAFETY: joined in the next statement; nothing cancels this test.
                let unchecked = unsafe { Builder::new().spawn_unchecked(|| word.len()) }.unwrap();
                say("spawn_unchecked", &unchecked.join().unwrap());

                // scope
                let (mut numbers, mut last) = (vec![1, 2, 3], 0);
                let sum = thread::scope(|s: &Scope<'_, '_>| {
                    let child: ScopedJoinHandle<'_, i32> = s.spawn(|| numbers.iter().sum());
                    s.spawn(|| s.spawn(|| last = 9));
                    let builder = Builder::new().name("scoped".into());
                    let named = builder
                        .spawn_scoped(s, || thread::current().name().map(str::to_owned))
                        .unwrap();
                    say("scoped name", &named.thread().name());
                    say("scoped name", &named.join().unwrap());
                    while !child.is_finished() {
                        thread::yield_now();
                    }
                    child.join().unwrap()
                });
                numbers.push(4);
                say("scope", &(sum, last, numbers.len()));

                // park and sleep
                let start = Instant::now();
                thread::sleep(Duration::from_millis(3));
                thread::park_timeout(Duration::from_millis(3));
                #[allow(deprecated)]
                {
                    thread::sleep_ms(2);
                    thread::park_timeout_ms(2);
                }
                // (std's park_timeout may return early.)
                say("slept", &(start.elapsed() >= Duration::from_millis(5)));
                thread::current().unpark();
                thread::park();
                thread::current().unpark();
                thread::park_timeout(Duration::from_secs(3600));

                // panicking
                struct Sees(Arc<AtomicBool>);
                impl Drop for Sees {
                    fn drop(&mut self) {
                        self.0.store(thread::panicking(), Ordering::Relaxed);
                    }
                }
                let seen = Arc::new(AtomicBool::new(false));
                let sees = Sees(Arc::clone(&seen));
                let panics = thread::spawn(move || {
                    let _sees = sees;
                    panic!("as expected");
                });
                say("panics", &panics.join().map(|(): ()| ()).is_err());
                say(
                    "panicking",
                    &(seen.load(Ordering::Relaxed), thread::panicking()),
                );

                // available_parallelism
                let parallel: io::Result<NonZero<usize>> = thread::available_parallelism();
                say("parallel", &parallel.is_ok());

                // LocalKey
                $local! {
                    static CELL: Cell<u8> = const { Cell::new(1) };
                    static VEC: RefCell<Vec<u8>> = RefCell::new(vec![1]);
                }
                static KEY: &LocalKey<Cell<u8>> = &CELL;
                say("with", &KEY.with(Cell::get));
                let tried: Result<u8, AccessError> = KEY.try_with(Cell::get);
                say("try_with", &tried);
                CELL.set(2);
                say("cell", &(CELL.replace(3), CELL.take(), CELL.get()));
                VEC.with_borrow_mut(|vec| vec.push(2));
                say(
                    "vec",
                    &(VEC.with_borrow(Vec::len), VEC.replace(vec![]), VEC.take()),
                );
                VEC.set(vec![7]);
                say(
                    "local",
                    &thread::spawn(|| (CELL.get(), VEC.take())).join().unwrap(),
                );

                // Debug
                let text = format!("{:?} {:?}", Builder::new(), thread::current());
                say("debug", &(text.contains("Builder"), text.contains("id")));
                say(
                    "handle",
                    &format!("{:?}", thread::spawn(|| ())).starts_with("JoinHandle"),
                );
                said
            }

            /// What panics, and with which words of the caller's.
            pub(super) fn refuses_nul() {
                let _ = Builder::new().name("nul\0".into()).spawn(|| ());
            }
        }
    };
}

over!(threads, std::thread, thread_local);
over!(fibers, sisal::fiber, fiber_local);

#[test]
fn a_program_sees_the_same() {
    let _watchdog = watchdog(60);
    let threads = threads::all();
    assert!(threads.len() > 20, "{threads:?}");
    assert_eq!(threads, fibers::all(), "off a runtime");
    for workers in [1, 4] {
        let runtime = runtime(workers);
        let inside = runtime.spawn(fibers::all).join().unwrap();
        assert_eq!(threads, inside, "on {workers} workers");
    }
}

#[test]
fn a_nul_in_a_name_panics() {
    panic_text(threads::refuses_nul);
    assert!(panic_text(fibers::refuses_nul).contains("NUL"));
    runtime(1).run(|| assert!(panic_text(fibers::refuses_nul).contains("NUL")));
}

#[test]
fn parallelism_is_the_workers() {
    let _watchdog = watchdog(60);
    for workers in [1, 3] {
        let runtime = runtime(workers);
        let count = || sisal::fiber::available_parallelism().unwrap().get();
        assert_eq!(runtime.run(count), workers);
        // It does not wait, so a worker's own stack may ask.
        let task =
            move || sisal::block_on(async move { tokio::spawn(async move { count() }).await });
        assert_eq!(runtime.run(task).unwrap(), workers);
    }
}

/// Off a runtime it is what the default one will have, which is not started by the question.
#[test]
fn parallelism_off_a_runtime() {
    const TEST: &str = "parallelism_off_a_runtime";
    let ours = || sisal::fiber::available_parallelism().map(NonZero::get);
    match common::role().as_deref() {
        Some("set") => {
            assert_eq!(ours().unwrap(), 3);
            assert_eq!(sisal::run(ours).unwrap(), 3);
        }
        Some("wrong") => {
            let error = ours().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("SISAL_WORKERS"), "{error}");
        }
        Some(_) => {
            let std = std::thread::available_parallelism().unwrap().get();
            assert_eq!(ours().unwrap(), std);
            let workers = || std::fs::read_dir("/proc/self/task").unwrap().count();
            let before = workers();
            assert_eq!(ours().unwrap(), std);
            assert_eq!(workers(), before, "nothing was started");
            assert_eq!(sisal::run(ours).unwrap(), std);
            assert!(workers() > before, "now it was");
        }
        None => {
            common::passes_in_child(TEST, "set", &[("SISAL_WORKERS", "3")]);
            common::passes_in_child(TEST, "wrong", &[("SISAL_WORKERS", "many")]);
            common::passes_in_child(TEST, "unset", &[]);
        }
    }
}

/// A fiber of `spawn_unchecked` borrows, and a cancel of who waits for it, shielded, does not cut the wait short.
#[test]
fn what_is_lent_unchecked_comes_back() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let begun = Count::new();
        let theirs = begun.clone();
        let waits = sisal::fiber::spawn(move || {
            let mut counted = 0;
            let count = || {
                for _ in 0..50 {
                    theirs.add();
                    sisal::fiber::yield_now();
                    counted += 1;
                }
            };
            // SAFETY: joined at once, shielded.
            let child = unsafe { sisal::fiber::Builder::new().spawn_unchecked(count) }.unwrap();
            sisal::fiber::shield(|| child.join()).unwrap();
            counted
        });
        common::until(|| begun.get() > 0);
        assert!(begun.get() < 50);
        waits.cancel();
        // It ends without another wait: its result is kept.
        assert_eq!(waits.join().unwrap(), 50);
    });
}

/// Does not compile where std's type has a trait that ours lacks.
#[test]
fn auto_traits_are_stds() {
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}
    all::<std::thread::Builder>();
    all::<sisal::fiber::Builder>();
    all::<std::thread::Thread>();
    all::<sisal::fiber::Thread>();
    all::<std::thread::ThreadId>();
    all::<sisal::fiber::ThreadId>();
    all::<std::thread::AccessError>();
    all::<sisal::fiber::AccessError>();
    all::<std::thread::LocalKey<u8>>();
    all::<sisal::fiber::LocalKey<u8>>();
    fn shared<T: Send + Sync + Unpin>() {}
    shared::<std::thread::JoinHandle<u8>>();
    all::<sisal::fiber::JoinHandle<u8>>();
    shared::<std::thread::ScopedJoinHandle<'static, u8>>();
    shared::<sisal::fiber::ScopedJoinHandle<'static, u8>>();
    shared::<std::thread::Scope<'static, 'static>>();
    shared::<sisal::fiber::Scope<'static, 'static>>();
}
