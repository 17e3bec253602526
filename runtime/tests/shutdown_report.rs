//! What a shutdown says that is given up: each fiber by name, id and place, what else did not end, and how
//! many threads are kept for it.

mod common;

use std::cell::RefCell;
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::time::Duration;

use common::{Count, Defer, ErrorEvents, never, runtime, settle, until, until_thread, watchdog};
use sisal::fiber::{Builder, JoinHandle, park, spawn};
use sisal::{Runtime, Unfinished, block_on, unblock};

/// Long enough for whatever does end, on a busy machine too.
const SHORT: Duration = Duration::from_secs(1);

/// A fiber that catches every cancel until `free` is counted.
fn stubborn(runtime: &Runtime, name: Option<&str>, free: &Count) -> JoinHandle<()> {
    let (free, begun) = (free.clone(), Count::new());
    let stay = {
        let begun = begun.clone();
        move || {
            begun.add();
            while free.get() == 0 {
                let _ = catch_unwind(park);
            }
        }
    };
    let fiber = match name {
        Some(name) => {
            let builder = Builder::new().name(name.into());
            runtime.run(|| builder.spawn(stay).unwrap())
        }
        None => runtime.spawn(stay),
    };
    until(|| begun.get() == 1);
    fiber
}

fn end(runtime: Runtime) -> Unfinished {
    runtime.shutdown_timeout(SHORT).unwrap_err()
}

#[test]
fn each_fiber_that_did_not_end_is_named() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, free) = (runtime(workers), Count::new());
        let ends = runtime.spawn(park);
        let named = stubborn(&runtime, Some("mule"), &free);
        let unnamed = stubborn(&runtime, None, &free);
        let report = end(runtime);
        assert!(ends.join().unwrap_err().is_cancelled());
        let mut left: Vec<_> = report.fibers().iter().collect();
        left.sort_by_key(|fiber| fiber.name().is_none());
        assert_eq!(left.len(), 2, "{report}");
        assert_eq!(left[0].name(), Some("mule"));
        assert_eq!(left[1].name(), None);
        for (left, fiber) in left.iter().zip([&named, &unnamed]) {
            assert_eq!(left.id(), fiber.fiber().id());
            assert!(left.spawned_at().file().ends_with("shutdown_report.rs"));
            assert!(!left.is_retired());
        }
        assert!(left[0].spawned_at().line() < left[1].spawned_at().line());
        let text = report.to_string();
        assert!(
            text.starts_with("2 fibers did not end before the deadline: "),
            "{text}"
        );
        let place = left[1].spawned_at();
        for part in [
            format!("fiber 'mule' ({:?}, spawned at ", named.fiber().id()),
            format!("fiber ({:?}, spawned at {place})", unnamed.fiber().id()),
            format!("worker threads kept: {workers}"),
            "`yield_now`".into(),
        ] {
            assert!(text.contains(&part), "{part}: {text}");
        }
        assert!(!text.contains("more"), "{text}");
        // While one worker has a fiber no worker ends.
        assert_eq!(report.worker_threads(), workers);
        assert_eq!(
            (report.unnamed_fibers(), report.blocking_closures()),
            (0, 0)
        );
        assert_eq!((report.stuck_workers(), report.async_tasks()), (&[][..], 0));
        free.add();
        for fiber in [named, unnamed] {
            fiber.fiber().unpark();
            fiber.join().unwrap();
        }
    }
}

#[test]
fn the_text_names_ten_and_counts_the_rest() {
    let _watchdog = watchdog(60);
    let (runtime, free) = (runtime(1), Count::new());
    let fibers: Vec<_> = (0..15)
        .map(|n| stubborn(&runtime, Some(&format!("mule-{n}")), &free))
        .collect();
    let report = end(runtime);
    assert_eq!(report.fibers().len(), 15);
    let text = report.to_string();
    assert!(text.starts_with("15 fibers did not end"), "{text}");
    assert_eq!(text.matches("'mule-").count(), 10, "{text}");
    assert!(text.contains(", and 5 more; worker threads"), "{text}");
    free.add();
    for fiber in fibers {
        fiber.fiber().unpark();
        fiber.join().unwrap();
    }
}

/// The fiber that it is in is named; of the others it is known how many there are.
#[test]
fn a_worker_that_was_stuck_before_is_told_by_its_number() {
    let _watchdog = watchdog(60);
    let (runtime, begun, free) = (runtime(1), Count::new(), Count::new());
    let parked: Vec<_> = (0..3).map(|_| runtime.spawn(park)).collect();
    runtime.run(settle);
    let hog = runtime.run({
        let (begun, free) = (begun.clone(), free.clone());
        let builder = Builder::new().name("hog".into());
        move || {
            let hog = builder.spawn(move || {
                begun.add();
                until_thread(|| free.get() == 1);
            });
            hog.unwrap()
        }
    });
    until(|| begun.get() == 1);
    let fresh: Vec<_> = (0..5).map(|_| runtime.spawn(|| ())).collect();
    let report = end(runtime);
    assert_eq!(report.stuck_workers(), [0]);
    assert_eq!((report.fibers().len(), report.unnamed_fibers()), (1, 8));
    assert_eq!(report.fibers()[0].id(), hog.fiber().id());
    assert_eq!(report.worker_threads(), 1);
    let text = report.to_string();
    for part in [
        "9 fibers did not end before the deadline: fiber 'hog' (",
        ", and 8 more; ",
        "worker 0 has been inside one fiber or async task since before the shutdown; ",
        "worker threads kept: 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // It comes to an end all the same when it can, and all with it.
    free.add();
    hog.join().unwrap();
    for fiber in parked.into_iter().chain(fresh) {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
}

/// A fiber that stops its worker's thread while it is unwound: it was told of before.
#[test]
fn a_destructor_that_blocks_its_thread_is_named() {
    let _watchdog = watchdog(60);
    let (runtime, begun, free) = (runtime(1), Count::new(), Count::new());
    let blocks = |free: &Count| {
        let free = free.clone();
        Defer(move || until_thread(|| free.get() == 1))
    };
    let fiber = runtime.run(|| {
        let (blocks, begun) = (blocks(&free), begun.clone());
        let named = Builder::new().name("blocks".into());
        let fiber = named.spawn(move || {
            let _blocks = blocks;
            begun.add();
            park();
        });
        fiber.unwrap()
    });
    until(|| begun.get() == 1);
    let parked = runtime.spawn(park);
    let report = end(runtime);
    assert_eq!(report.stuck_workers(), [0; 0], "{report}");
    let named = |name| report.fibers().iter().any(|f| f.name() == Some(name));
    assert!(named("blocks"), "{report}");
    free.add();
    assert!(fiber.join().unwrap_err().is_cancelled());
    assert!(parked.join().unwrap_err().is_cancelled());
}

/// The same in a fiber that never ran: it is started only to be dropped.
#[test]
fn a_fresh_fiber_whose_destructor_blocks_is_named() {
    let _watchdog = watchdog(60);
    let (runtime, begun) = (runtime(1), Count::new());
    let (release, wait) = mpsc::channel::<()>();
    let (told, tell) = mpsc::channel();
    let hog = runtime.spawn({
        let begun = begun.clone();
        let blocks = Defer(move || wait.recv().unwrap());
        move || {
            let named = Builder::new().name("fresh".into());
            let fresh = named.spawn(move || drop(blocks)).unwrap();
            told.send(fresh).unwrap();
            begun.add();
            // Until the runtime is closed: then it gives way.
            loop {
                if spawn(|| ()).is_finished() {
                    break;
                }
            }
        }
    });
    until(|| begun.get() == 1);
    let report = end(runtime);
    assert_eq!(report.fibers().len(), 1, "{report}");
    assert_eq!(report.fibers()[0].name(), Some("fresh"));
    release.send(()).unwrap();
    assert!(tell.recv().unwrap().join().unwrap_err().is_cancelled());
    drop(hog);
}

/// One deadline for all: every worker and the pool are stuck in closures, and the report comes.
#[test]
fn stuck_blocking_closures_share_one_deadline() {
    let _watchdog = watchdog(60);
    for workers in [1, 2, 4] {
        let (runtime, begun, free) = (runtime(workers), Count::new(), Count::new());
        let stay = |begun: &Count, free: &Count| {
            let (begun, free) = (begun.clone(), free.clone());
            move || {
                begun.add();
                until_thread(|| free.get() == 1);
            }
        };
        // Of tokio's, on each worker.
        runtime.run(|| {
            common::one_on_each_worker(workers, |_| {
                drop(tokio::task::spawn_blocking(stay(&begun, &free)));
            });
        });
        until(|| begun.get() == workers);
        let report = end(runtime);
        assert_eq!(report.blocking_closures(), workers, "{report}");
        assert_eq!((report.fibers().len(), report.unnamed_fibers()), (0, 0));
        assert_eq!(
            (report.async_tasks(), report.worker_threads()),
            (0, workers)
        );
        let plural = if workers == 1 { "" } else { "s" };
        let text = report.to_string();
        let start = format!("{workers} blocking closure{plural} did not end before the deadline; ");
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains("it has to be told to return"), "{text}");
        free.add();
    }
}

#[test]
fn a_stuck_unblock_is_counted_and_its_fiber_named() {
    let _watchdog = watchdog(60);
    let (runtime, begun, free) = (runtime(2), Count::new(), Count::new());
    let fiber = runtime.run(|| {
        let (begun, free) = (begun.clone(), free.clone());
        let named = Builder::new().name("unblocks".into());
        let fiber = named.spawn(move || {
            drop(tokio::task::spawn_blocking({
                let (begun, free) = (begun.clone(), free.clone());
                move || {
                    begun.add();
                    until_thread(|| free.get() == 1);
                }
            }));
            unblock(|| {
                begun.add();
                until_thread(|| free.get() == 1);
            });
        });
        fiber.unwrap()
    });
    until(|| begun.get() == 2);
    let report = end(runtime);
    // Tokio's is on a worker that has not got so far.
    assert_eq!(report.blocking_closures(), 1, "{report}");
    assert_eq!(report.fibers().len(), 1, "{report}");
    assert_eq!(report.fibers()[0].name(), Some("unblocks"));
    free.add();
    fiber.join().unwrap();
}

#[test]
fn stuck_destructors_of_async_tasks_are_counted() {
    let _watchdog = watchdog(60);
    let (runtime, polled, dropped) = (runtime(1), Count::new(), Count::new());
    let (release, wait) = mpsc::channel::<()>();
    runtime.run(|| {
        let mut wait = Some(wait);
        for n in 0..4 {
            let wait = (n == 1).then(|| wait.take()).flatten();
            let (polled, mut dropped) = (polled.clone(), Some(dropped.on_drop()));
            let last = Defer(move || {
                if let Some(wait) = &wait {
                    wait.recv().unwrap();
                }
                drop(dropped.take());
            });
            drop(tokio::spawn(async move {
                polled.add();
                never(last).await;
            }));
        }
        until(|| polled.get() == 4);
    });
    let report = end(runtime);
    // In whatever order they go: the one that blocks, and those behind it.
    assert_eq!(report.async_tasks(), 4 - dropped.get(), "{report}");
    assert!((1..=4).contains(&report.async_tasks()), "{report}");
    assert_eq!((report.fibers().len(), report.blocking_closures()), (0, 0));
    assert_eq!(report.worker_threads(), 1);
    let text = report.to_string();
    assert!(text.contains("destructor of an async task"), "{text}");
    release.send(()).unwrap();
    until(|| dropped.get() == 4);
}

/// The last that a worker's thread does, after all that the runtime knows of, has the same deadline.
#[test]
fn a_stuck_destructor_of_a_thread_local_is_told() {
    struct Stays(mpsc::Receiver<()>, mpsc::Sender<()>);
    impl Drop for Stays {
        fn drop(&mut self) {
            let _ = self.0.recv();
            self.1.send(()).unwrap();
        }
    }
    thread_local! {
        static STAYS: RefCell<Option<Stays>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(3);
    let (release, wait) = mpsc::channel();
    let (ended, end_of_it) = mpsc::channel();
    let stays = Stays(wait, ended);
    runtime.run(|| STAYS.set(Some(stays)));
    let report = end(runtime);
    assert_eq!(report.worker_threads(), 1, "{report}");
    assert_eq!((report.fibers().len(), report.unnamed_fibers()), (0, 0));
    let text = report.to_string();
    assert!(
        text.starts_with("destructors of thread-locals of the workers did not end"),
        "{text}"
    );
    release.send(()).unwrap();
    end_of_it.recv().unwrap();
}

/// The report of a drop is an ERROR event, with the same words.
#[test]
fn a_drop_logs_what_did_not_end() {
    let _watchdog = watchdog(60);
    let (runtime, free) = (runtime(1), Count::new());
    let fiber = stubborn(&runtime, Some("mule"), &free);
    let events = ErrorEvents::new();
    // The ten seconds that a drop waits.
    tracing::subscriber::with_default(events.clone(), || drop(runtime));
    let texts = events.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    for part in [
        "runtime shutdown: 1 fiber did not end before the deadline: fiber 'mule' (",
        "; worker threads kept: 1. A fiber ends at its next wait",
    ] {
        assert!(texts[0].contains(part), "{texts:?}");
    }
    free.add();
    fiber.fiber().unpark();
    fiber.join().unwrap();
}

/// No time at all: the fibers are asked to unwind, and nobody waits.
#[test]
fn a_timeout_of_zero_reports_or_not_and_ends_it() {
    let _watchdog = watchdog(60);
    for workers in [1, 3] {
        let (runtime, drops) = (runtime(workers), Count::new());
        let fibers: Vec<_> = (0..20)
            .map(|_| {
                let held = drops.on_drop();
                runtime.spawn(move || block_on(never(held)))
            })
            .collect();
        match runtime.shutdown_timeout(Duration::ZERO) {
            Ok(()) => assert_eq!(drops.get(), 20),
            Err(report) => assert!(report.worker_threads() >= 1, "{report}"),
        }
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        assert_eq!(drops.get(), 20);
    }
}
