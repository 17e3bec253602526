//! Settings: what cannot be is said by an error that names it, and what can be is what one gets.

mod common;

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::thread;
use std::time::Duration;

use common::{
    Count, in_child, one_on_each_worker, panic_text, passes_in_child, reach, role, runtime, said,
    until, watchdog,
};
use sisal::fiber::{self, spawn, yield_now};
use sisal::{Builder, Runtime, block_on, unblock};

#[test]
fn settings_that_cannot_be_are_named() {
    let _watchdog = watchdog(60);
    type Set = fn(Builder) -> Builder;
    let invalid: [(&str, Set); 11] = [
        ("`Builder::workers`", |b| b.workers(0)),
        ("`Builder::workers`", |b| b.workers(usize::MAX)),
        ("`Builder::event_interval`", |b| b.event_interval(0)),
        ("`Builder::max_blocking_threads`", |b| {
            b.max_blocking_threads(0)
        }),
        ("`Builder::thread_name`", |b| b.thread_name("a\0b")),
        ("stack", |b| b.stack_size(0)),
        ("stack", |b| b.stack_size(1)),
        ("stack", |b| b.stack_size(usize::MAX)),
        ("stack", |b| b.stack_size(1 << 60)),
        ("guard", |b| b.guard_size(0)),
        ("stack", |b| b.guard_size(usize::MAX)),
    ];
    for (name, set) in invalid {
        let error = set(Runtime::builder().workers(1)).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn a_fibers_stack_size_that_cannot_be_is_an_error_at_once() {
    let _watchdog = watchdog(60);
    let ran = Count::new();
    runtime(1).run(|| {
        for bytes in [0, 1, 1 << 60, usize::MAX] {
            let ran = ran.clone();
            let builder = fiber::Builder::new().stack_size(bytes);
            let error = builder.spawn(move || ran.add()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("stack"), "{error}");
        }
    });
    assert_eq!(ran.get(), 0);
}

/// Sets a limit of this process; returns what it was.
fn limit(resource: libc::__rlimit_resource_t, to: libc::rlim_t) -> libc::rlim_t {
    // SAFETY: plain calls with valid pointers.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, to);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
        before
    }
}

/// The fiber cannot start, whoever waits for it is told why, and the worker goes on.
#[test]
fn a_stack_that_there_is_no_room_for_is_told_by_join() {
    const TEST: &str = "a_stack_that_there_is_no_room_for_is_told_by_join";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    limit(libc::RLIMIT_AS, 16 << 30);
    let (ran, drops) = (Count::new(), Count::new());
    let runtime = runtime(1);
    let huge = || {
        let (ran, held) = (ran.clone(), drops.on_drop());
        let builder = fiber::Builder::new().name("huge".into());
        let run = move || {
            let _held = held;
            ran.add();
        };
        builder.stack_size(32 << 30).spawn(run).unwrap()
    };
    let fiber = runtime.run(huge);
    let error = fiber.join().unwrap_err();
    assert!(!error.is_panic() && !error.is_cancelled());
    let text = error.to_string();
    for part in ["huge", "no stack", "builder.rs"] {
        assert!(text.contains(part), "{text}");
    }
    let source = std::error::Error::source(&error).unwrap();
    assert!(text.ends_with(&source.to_string()), "{text}");
    assert!(error.try_into_panic().is_err());
    // In a scope too: unseen, it is told by a panic.
    let text = runtime.run(|| {
        panic_text(|| {
            fiber::scope(|s| {
                let builder = fiber::Builder::new().stack_size(32 << 30);
                drop(builder.spawn_scoped(s, || ran.add()).unwrap());
            })
        })
    });
    assert!(text.contains("no stack"), "{text}");
    assert_eq!((ran.get(), drops.get()), (0, 1));
    assert_eq!(runtime.run(|| spawn(|| 1).join().unwrap()), 1);
}

#[test]
fn worker_threads_have_their_names() {
    let _watchdog = watchdog(60);
    let name = || thread::current().name().unwrap_or_default().to_owned();
    let named = |builder: Builder, workers: usize| {
        let mut names = builder.workers(workers).build().unwrap().run(|| {
            let names = one_on_each_worker(workers, |_| name());
            let on_pool = unblock(name);
            assert_eq!(on_pool, "sisal-blocking");
            names
        });
        names.sort();
        names
    };
    assert_eq!(
        named(Runtime::builder(), 2),
        ["sisal-worker-0", "sisal-worker-1"]
    );
    let web = Runtime::builder().thread_name("web");
    assert_eq!(named(web, 3), ["web-0", "web-1", "web-2"]);
    // Longer than the system shows, or empty: ours to keep.
    let long = Runtime::builder().thread_name("a name of more than fifteen bytes");
    assert_eq!(named(long, 1), ["a name of more than fifteen bytes-0"]);
    assert_eq!(named(Runtime::builder().thread_name(""), 1), ["-0"]);
}

#[test]
fn a_runtime_has_as_many_workers_as_asked_for() {
    let _watchdog = watchdog(60);
    for workers in [1, 2, 3, 8] {
        let runtime = runtime(workers);
        // Ends only with so many at once.
        let mut threads = runtime.run(|| one_on_each_worker(workers, |_| thread::current().id()));
        threads.sort_by_key(|id| format!("{id:?}"));
        threads.dedup();
        assert_eq!(threads.len(), workers);
    }
    // Without asking: what the process may use.
    let cores = thread::available_parallelism().unwrap().get();
    let text = format!("{:?}", Runtime::new().unwrap());
    assert!(text.contains(&format!("workers: {cores}")), "{text}");
}

/// Each look at timers and I/O comes after so many fibers, be it one.
#[test]
fn any_event_interval_works() {
    let _watchdog = watchdog(60);
    for interval in [1, 2, 61, u32::MAX] {
        for workers in [1, 2] {
            let builder = Runtime::builder().workers(workers).event_interval(interval);
            builder.build().unwrap().run(|| {
                let fibers: Vec<_> = (0..100)
                    .map(|_| {
                        spawn(|| {
                            (0..10).for_each(|_| yield_now());
                            fiber::sleep(Duration::from_millis(1));
                            block_on(tokio::task::yield_now());
                        })
                    })
                    .collect();
                fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            });
        }
    }
}

#[test]
fn a_stack_holds_what_was_asked_for() {
    const MIB: usize = 1 << 20;
    let _watchdog = watchdog(60);
    // Seven tenths of it by calls; the rest is for the frames of whoever calls.
    let deep = || reach(MIB * 7 / 10, &mut || yield_now());
    runtime(1).run(|| {
        for _ in 0..3 {
            let builder = fiber::Builder::new().stack_size(MIB);
            let reached = builder.spawn(deep).unwrap().join().unwrap();
            assert!(reached >= MIB * 7 / 10);
        }
    });
    let builder = Runtime::builder().workers(1).stack_size(MIB);
    let runtime = builder.build().unwrap();
    assert!(runtime.run(deep) >= MIB * 7 / 10);
    // Many at once, each with all of it, parked down there.
    let fibers: Vec<_> = (0..100).map(|_| runtime.spawn(deep)).collect();
    for fiber in fibers {
        assert!(fiber.join().unwrap() >= MIB * 7 / 10);
    }
    // By default: 256 KiB, seven tenths of which anybody may count on.
    let default = 256 * 1024 * 7 / 10;
    assert!(common::runtime(1).run(|| reach(default, &mut || ())) >= default);
}

/// The least stack is enough for what Sisal itself does on it.
#[test]
fn the_smallest_stack_is_enough_to_wait_on() {
    let _watchdog = watchdog(60);
    let builder = Runtime::builder().workers(1).stack_size(16 * 1024);
    builder.build().unwrap().run(|| {
        let fibers: Vec<_> = (0..10)
            .map(|_| {
                spawn(|| {
                    yield_now();
                    fiber::sleep(Duration::from_millis(1));
                    block_on(tokio::task::yield_now());
                    fiber::current().unpark();
                    fiber::park();
                    assert_eq!(unblock(|| 1), 1);
                    spawn(|| ()).join().unwrap();
                })
            })
            .collect();
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    });
}

const CRASHES: &str = "an_overflow_ends_the_process";

/// What the child of `an_overflow_ends_the_process` does: all but fills a stack, says so, fills it.
fn overflow(set: impl FnOnce(Builder) -> Builder) {
    let size = 128 * 1024;
    let runtime = set(Runtime::builder().workers(1).stack_size(size));
    runtime.build().unwrap().run(|| {
        // A neighbour on each side, whose memory an overflow without a guard would run into.
        let neighbours = [(); 2].map(|()| spawn(fiber::park));
        yield_now();
        let below = size * 9 / 10;
        let reached = reach(below, &mut || ());
        println!("alive at {reached}");
        reach(2 * size, &mut || ());
        println!("survived");
        drop(neighbours);
    });
}

#[test]
fn an_overflow_ends_the_process() {
    match role().as_deref() {
        Some("default") => return overflow(|builder| builder),
        Some("large guard") => return overflow(|builder| builder.guard_size(1 << 20)),
        _ => {}
    }
    for role in ["default", "large guard"] {
        let child = in_child(CRASHES, role, &[]);
        let said = said(&child);
        assert!(said.contains("alive at"), "{said}");
        assert!(!said.contains("survived"), "{said}");
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(
            said.contains("has overflowed its stack of 131072 bytes"),
            "{said}"
        );
    }
}

/// A frame that jumps over a guard of a page does not jump over a larger one.
#[test]
fn a_guard_is_as_large_as_was_asked_for() {
    const TEST: &str = "a_guard_is_as_large_as_was_asked_for";
    const GUARD: usize = 1 << 20;
    if let Some(offset) = role() {
        let offset: usize = offset.parse().unwrap();
        let builder = Runtime::builder().workers(1).guard_size(GUARD);
        builder.build().unwrap().run(|| {
            let here = 0_u8;
            let size = 256 * 1024;
            println!("alive");
            let below = std::ptr::from_ref(&here).addr() - size - offset;
            let below = std::ptr::with_exposed_provenance::<u8>(below);
            // SAFETY: none; it is what unprobed code would do, and the process is to die of it.
            std::hint::black_box(unsafe { below.read_volatile() });
            println!("survived");
        });
        return;
    }
    // Right below the stack, and all but a stack's size from the far end of the guard.
    for offset in [0, GUARD / 2, GUARD - (300 << 10)] {
        let child = in_child(TEST, &offset.to_string(), &[]);
        let said = said(&child);
        assert!(
            said.contains("alive") && !said.contains("survived"),
            "{said}"
        );
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}");
        // It was met far below the stack pointer, and the message says so.
        assert!(
            said.contains("has overflowed its stack of 262144 bytes"),
            "{said}"
        );
        assert!(said.contains("this may have been a stray access"), "{said}");
    }
}

fn with_workers(test: &str, value: &str) -> Output {
    in_child(test, "child", &[("SISAL_WORKERS", value)])
}

#[test]
fn the_default_runtimes_workers_are_set_by_the_environment() {
    const TEST: &str = "the_default_runtimes_workers_are_set_by_the_environment";
    if role().is_some() {
        let workers: usize = std::env::var("SISAL_WORKERS").unwrap().parse().unwrap();
        let text = sisal::run(|| format!("{:?}", sisal::Handle::current()));
        assert!(text.contains(&format!("workers: {workers}")), "{text}");
        sisal::run(|| one_on_each_worker(workers, |_| ()));
        return;
    }
    for workers in ["1", "3"] {
        passes_in_child(TEST, "child", &[("SISAL_WORKERS", workers)]);
    }
}

#[test]
fn a_number_of_workers_that_cannot_be_is_told_by_a_panic() {
    const TEST: &str = "a_number_of_workers_that_cannot_be_is_told_by_a_panic";
    if role().is_some() {
        println!("alive");
        for attempt in [
            || sisal::run(|| ()),
            || drop(sisal::spawn(|| ())),
            || fiber::scope(|_| ()),
        ] {
            println!("told: {}", panic_text(attempt));
        }
        return;
    }
    for value in ["0", "-1", "two", "", " 1", "99999999999999999999"] {
        let child = with_workers(TEST, value);
        let said = said(&child);
        assert!(child.status.success() && said.contains("alive"), "{said}");
        let told = format!("told: SISAL_WORKERS={value:?} is no number of workers");
        assert_eq!(said.matches(&told).count(), 3, "{said}");
    }
}

/// A default runtime that cannot be started is tried anew at the next call.
#[test]
fn the_default_runtime_says_why_it_cannot_start() {
    const TEST: &str = "the_default_runtime_says_why_it_cannot_start";
    if role().is_some() {
        let _watchdog = watchdog(60);
        let limit = |descriptors| limit(libc::RLIMIT_NOFILE, descriptors);
        assert_eq!(runtime(1).run(|| 1), 1);
        let before = limit(3);
        let error = Runtime::builder().workers(2).build().unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        let source: &std::io::Error = source.downcast_ref().unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{error}");
        let text = panic_text(|| sisal::run(|| ()));
        assert!(
            text.contains("default runtime could not be started"),
            "{text}"
        );
        limit(before);
        assert_eq!(sisal::run(|| 2), 2);
        // Nothing is left of the attempts.
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let with_default = threads();
        limit(3);
        assert!(Runtime::builder().workers(4).build().is_err());
        limit(before);
        until(|| threads() <= with_default);
        return;
    }
    passes_in_child(TEST, "child", &[]);
}
