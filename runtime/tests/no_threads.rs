//! The system is out of descriptors, threads or memory: errors and panics say of what, nothing is lost, and
//! when there is some again all goes on. In children: the limits are a process's.

mod common;
#[path = "common/limits.rs"]
mod limits;

use std::io::Write;

use common::{Count, panic_text, passes_in_child, role, runtime, until, until_thread, watchdog};
use limits::{address_space, descriptors, limit, threads};
use sisal::fiber::{scope, spawn};
use sisal::{Runtime, unblock};

const MIB: u64 = 1 << 20;

/// All threads but so many have ended. (One that was joined may be in /proc for a moment longer.)
fn only(threads_before: usize) {
    until(|| threads() <= threads_before);
    assert_eq!(threads(), threads_before);
}

#[test]
fn a_runtime_without_descriptors_says_so() {
    const TEST: &str = "a_runtime_without_descriptors_says_so";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    // Warm: what a first runtime opens for good.
    drop(runtime(3));
    only(threads());
    let (fds, tasks) = (descriptors(), threads());
    // `read_dir` has one of its own while it counts.
    let open = fds as u64 - 1;
    let (mut failed, mut told) = (0, [false; 3]);
    for room in 0..64 {
        let before = limit(libc::RLIMIT_NOFILE, open + room);
        let built = Runtime::builder().workers(3).build();
        let works = built.is_ok();
        if let Err(error) = &built {
            let text = error.to_string();
            assert!(text.contains("Too many open files"), "{text}");
            assert!(text.contains("descriptors"), "{text}");
            for (worker, told) in told.iter_mut().enumerate() {
                *told |= text.starts_with(&format!("worker {worker} could not make its reactor"));
            }
            failed += 1;
        }
        limit(libc::RLIMIT_NOFILE, before);
        drop(built);
        only(tasks);
        assert_eq!(descriptors(), fds);
        if works {
            break;
        }
    }
    assert!((1..64).contains(&failed), "{failed} tries failed");
    assert!(told.contains(&true));
    assert_eq!(runtime(3).run(|| spawn(|| 1).join().unwrap()), 1);
}

#[test]
fn a_runtime_without_threads_says_so() {
    const TEST: &str = "a_runtime_without_threads_says_so";
    if role().is_none() {
        // Stacks of threads that are large beside all else, so that it is they that find no room.
        let vars = [("RUST_MIN_STACK", "67108864"), ("MALLOC_ARENA_MAX", "1")];
        return passes_in_child(TEST, "child", &vars);
    }
    let _watchdog = watchdog(60);
    let build = |workers| {
        let builder = Runtime::builder().workers(workers);
        builder.stack_size(16 * 1024).build()
    };
    drop(build(2).unwrap());
    only(threads());
    let (fds, tasks) = (descriptors(), threads());
    let before = limit(libc::RLIMIT_AS, address_space() + (3 * 64 + 40) * MIB);
    let error = build(64).unwrap_err();
    limit(libc::RLIMIT_AS, before);
    let text = error.to_string();
    assert!(text.starts_with("the thread of worker "), "{text}");
    assert!(text.contains(" could not be started: "), "{text}");
    only(tasks);
    assert_eq!(descriptors(), fds);
    assert_eq!(build(64).unwrap().run(|| spawn(|| 1).join().unwrap()), 1);
    only(tasks);
    assert_eq!(descriptors(), fds);
}

#[test]
fn a_runtime_without_room_for_stacks_says_so() {
    const TEST: &str = "a_runtime_without_room_for_stacks_says_so";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    drop(runtime(1));
    only(threads());
    let (fds, tasks) = (descriptors(), threads());
    let before = limit(libc::RLIMIT_AS, address_space() + 64 * MIB);
    let builder = Runtime::builder().workers(1).stack_size(64 << 20);
    let error = builder.build().unwrap_err();
    limit(libc::RLIMIT_AS, before);
    let text = error.to_string();
    assert!(
        text.starts_with("the first stacks could not be made: "),
        "{text}"
    );
    only(tasks);
    assert_eq!(descriptors(), fds);
}

/// The closure was never run, and what it borrows is whole; the fiber has a panic that says why.
#[test]
fn unblock_without_a_thread_panics_and_loses_nothing() {
    const TEST: &str = "unblock_without_a_thread_panics_and_loses_nothing";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    let (ran, drops) = (Count::new(), Count::new());
    let runtime = runtime(1);
    let attempt = || {
        let lent = vec![7; 100];
        let (borrow, held) = (&lent, drops.on_drop());
        let text = panic_text(|| {
            unblock(|| {
                let _held = &held;
                ran.add();
                borrow.len()
            })
        });
        drop(held);
        assert_eq!(lent, [7; 100]);
        text
    };
    runtime.run(|| {
        // The panics' own machinery, warm.
        let _ = panic_text(|| panic!("warm"));
        let before = limit(libc::RLIMIT_AS, address_space() + MIB);
        let texts = [
            attempt(),
            attempt(),
            scope(|s| s.spawn(attempt).join().unwrap()),
        ];
        limit(libc::RLIMIT_AS, before);
        for text in texts {
            assert!(text.contains("OS can't spawn worker thread"), "{text}");
        }
    });
    assert_eq!((ran.get(), drops.get()), (0, 3));
    // There is room again. Jobs that the pool kept for a thread that never came are empty.
    let ok = runtime.run(|| unblock(|| ran.add()));
    assert_eq!((ok, ran.get(), drops.get()), (1, 1, 3));
    runtime.shutdown_timeout(common::LONG).unwrap();
}

/// With a thread that is busy the closure waits for that one, and no panic comes.
#[test]
fn unblock_without_another_thread_waits_for_the_one() {
    const TEST: &str = "unblock_without_another_thread_waits_for_the_one";
    if role().is_none() {
        return passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (begun, free) = (Count::new(), Count::new());
    let busy = runtime.spawn({
        let (begun, free) = (begun.clone(), free.clone());
        move || {
            unblock(|| {
                begun.add();
                until_thread(|| free.get() == 1);
            })
        }
    });
    until(|| begun.get() == 1);
    let before = limit(libc::RLIMIT_AS, address_space() + MIB);
    let waits = runtime.run(|| {
        let second = spawn(|| unblock(|| 5));
        common::settle();
        assert!(!second.is_finished());
        second
    });
    free.add();
    let got = waits.join();
    limit(libc::RLIMIT_AS, before);
    assert_eq!(got.unwrap(), 5);
    busy.join().unwrap();
    std::io::stdout().flush().unwrap();
}
