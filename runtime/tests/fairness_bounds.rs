//! How many other fibers run before a runnable one does: the bounds that `runtime/src/sched/README.md`
//! states under "Order of queues", each counted on one worker.
//!
//! Whatever comes from outside comes from a plain thread that the running fiber waits for, holding its
//! worker: so nothing runs between the look at the counter and the push.

mod common;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, runtime, until, watchdog};
use sisal::fiber::{JoinHandle, park, scope, spawn, yield_now};
use sisal::{Handle, Runtime};

/// Between two picks for fairness.
const FAIRNESS: usize = 61;

/// Before a fresh fiber that has `older` ones in front of it, in its deque or the injector. Every second
/// pick for fairness is its queue's if the other one is never empty.
fn fresh_bound(older: usize) -> usize {
    2 * FAIRNESS * (older + 1) - 1
}

/// Before a ready fiber behind `ahead` others: each of them has three fibers in front of it that were just
/// woken by the running one, and one of sixty-one picks is for fairness.
fn ready_bound(ahead: usize) -> usize {
    let picks = 4 * ahead + 3;
    picks + picks / (FAIRNESS - 1) + 1
}

/// Before a fiber in the inbox: until the next pick for fairness; then it is ready.
fn inbox_bound(ahead: usize) -> usize {
    FAIRNESS - 1 + ready_bound(ahead)
}

/// Counts runs of fibers: what ran since, when something starts.
#[derive(Default)]
struct Runs {
    count: AtomicUsize,
    over: AtomicBool,
}

impl Runs {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Ends what keeps the worker busy, also when an assertion fails.
struct End<'a>(&'a Runs);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// What keeps the worker busy for ever. Returns how many fibers it keeps ready.
type Busy = fn(&Arc<Runs>) -> usize;

/// Two fibers that wake each other: one of them is always `next`.
fn wake_each_other(runs: &Arc<Runs>) -> usize {
    let body = |other: Arc<Mutex<Option<sisal::fiber::Fiber>>>, runs: Arc<Runs>| {
        move || {
            until(|| other.lock().unwrap().is_some());
            let other = other.lock().unwrap().clone().unwrap();
            while !runs.is_over() {
                runs.add();
                other.unpark();
                park();
            }
            other.unpark();
        }
    };
    let [first, second] = [(); 2].map(|()| Arc::new(Mutex::new(None)));
    let a = spawn(body(Arc::clone(&second), Arc::clone(runs)));
    let b = spawn(body(Arc::clone(&first), Arc::clone(runs)));
    *first.lock().unwrap() = Some(a.fiber().clone());
    *second.lock().unwrap() = Some(b.fiber().clone());
    2
}

/// Fibers that yield: `ready` is never empty.
fn yield_for_ever(runs: &Arc<Runs>) -> usize {
    const FIBERS: usize = 20;
    for _ in 0..FIBERS {
        let runs = Arc::clone(runs);
        drop(spawn(move || {
            while !runs.is_over() {
                runs.add();
                yield_now();
            }
        }));
    }
    FIBERS
}

/// Each spawns the next and ends: the new end of `fresh` is never empty, and `ready` mostly is.
fn spawn_for_ever(runs: &Arc<Runs>) -> usize {
    fn link(runs: Arc<Runs>) {
        runs.add();
        if !runs.is_over() {
            drop(spawn(move || link(runs)));
        }
    }
    link(Arc::clone(runs));
    0
}

/// All at once.
fn everything(runs: &Arc<Runs>) -> usize {
    wake_each_other(runs) + yield_for_ever(runs) + spawn_for_ever(runs)
}

const ALL: [(&str, Busy); 4] = [
    ("wake each other", wake_each_other),
    ("yield", yield_for_ever),
    ("spawn", spawn_for_ever),
    ("everything", everything),
];

/// Runs `test` as a fiber beside each kind of busy fibers, once these are under way.
fn beside_each(test: impl Fn(&str, &Arc<Runs>, usize) + Send + Sync) {
    let _watchdog = watchdog(120);
    for (name, busy) in ALL {
        runtime(1).run(|| {
            let runs = Arc::new(Runs::default());
            let _end = End(&runs);
            let ready = busy(&runs);
            until(|| runs.now() > 1000);
            // At different moments between two picks for fairness.
            for offset in 0..100 {
                for _ in 0..offset % 7 {
                    yield_now();
                }
                test(name, &runs, ready);
            }
        });
    }
}

#[track_caller]
fn check(what: &str, others: usize, bound: usize) {
    assert!(
        others <= bound,
        "{what}: {others} others before it, {bound} at most"
    );
}

/// Runs `f` on a plain thread while the calling fiber holds its worker.
fn from_outside<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|s| s.spawn(f).join().unwrap())
}

#[test]
fn a_ready_fiber_waits_for_those_ahead_of_it() {
    beside_each(|name, runs, ready| {
        let before = runs.now();
        yield_now();
        check(name, runs.now() - before, ready_bound(ready));
    });
}

/// Woken by the running fiber: the next but for one, or as any ready one.
#[test]
fn a_fiber_woken_by_the_running_one_waits_no_longer_than_a_ready_one() {
    beside_each(|name, runs, ready| {
        let parks = Arc::new(AtomicBool::new(false));
        let parked = spawn({
            let (runs, parks) = (Arc::clone(runs), Arc::clone(&parks));
            move || {
                parks.store(true, Ordering::Relaxed);
                park();
                runs.now()
            }
        });
        until(|| parks.load(Ordering::Relaxed));
        let before = runs.now();
        parked.fiber().unpark();
        let others = parked.join().unwrap() - before;
        // This fiber parks in `join`.
        check(name, others, ready_bound(ready + 1));
    });
}

#[test]
fn the_old_end_of_fresh_is_served() {
    beside_each(|name, runs, _| {
        // One may be there already: the busy spawner's.
        const OLDER: usize = 1;
        let before = runs.now();
        let spawned: Vec<_> = (0..5)
            .map(|_| {
                let runs = Arc::clone(runs);
                spawn(move || runs.now())
            })
            .collect();
        for (n, fiber) in spawned.into_iter().enumerate() {
            check(name, fiber.join().unwrap() - before, fresh_bound(OLDER + n));
        }
    });
}

#[test]
fn the_injector_is_served() {
    beside_each(|name, runs, _| {
        let handle = Handle::current();
        let before = runs.now();
        let spawned: Vec<_> = from_outside(|| {
            let spawn = |_| {
                let runs = Arc::clone(runs);
                handle.spawn(move || runs.now())
            };
            (0..5).map(spawn).collect()
        });
        for (n, fiber) in spawned.into_iter().enumerate() {
            check(name, fiber.join().unwrap() - before, fresh_bound(n));
        }
    });
}

#[test]
fn the_inbox_is_served() {
    beside_each(|name, runs, ready| {
        let before = runs.now();
        // A token that is there already is as good, but shows nothing: so the fiber parks before.
        let parked = Arc::new(AtomicBool::new(false));
        let fiber = spawn({
            let (runs, parked) = (Arc::clone(runs), Arc::clone(&parked));
            move || {
                parked.store(true, Ordering::Relaxed);
                park();
                runs.now()
            }
        });
        until(|| parked.load(Ordering::Relaxed));
        assert!(runs.now() - before <= fresh_bound(1) + ready_bound(ready));
        let before = runs.now();
        from_outside(|| fiber.fiber().unpark());
        let others = fiber.join().unwrap() - before;
        check(name, others, inbox_bound(ready + 1));
    });
}

/// Who parked last and is called for while others yield, however long the turn: by its own worker it is the next, by another thread it
/// waits for a pick for fairness at the most.
#[test]
fn the_last_to_park_is_served() {
    let _watchdog = watchdog(60);
    type Call = fn(&JoinHandle<()>);
    let calls: [(&str, Call, usize); 4] = [
        ("unpark", |fiber| fiber.fiber().unpark(), 1),
        ("cancel", JoinHandle::cancel, 1),
        (
            "unpark from outside",
            |fiber| from_outside(|| fiber.fiber().unpark()),
            FAIRNESS + 1,
        ),
        (
            "cancel from outside",
            |fiber| from_outside(|| fiber.cancel()),
            FAIRNESS + 1,
        ),
    ];
    let runtime = Runtime::builder().workers(1).event_interval(u32::MAX);
    runtime.build().unwrap().run(|| {
        for (name, call, bound) in calls {
            let (parks, ran) = (Count::new(), Count::new());
            let fiber = spawn({
                let (parks, ran) = (parks.clone(), ran.on_drop());
                move || {
                    let _ran = ran;
                    parks.add();
                    park();
                }
            });
            while parks.get() == 0 {
                yield_now();
            }
            call(&fiber);
            let mut yields = 0;
            while ran.get() == 0 {
                yield_now();
                yields += 1;
            }
            check(name, yields, bound);
            drop(fiber.join());
        }
    });
}

/// The injector is full, so that its first fiber is taken at each pick for fairness: still the fresh ones of
/// the worker have their turn. And the other way round.
#[test]
fn the_injector_and_fresh_take_turns() {
    let _watchdog = watchdog(60);
    const MANY: usize = 1000;
    for injector_is_full in [true, false] {
        runtime(1).run(|| {
            let runs = Arc::new(Runs::default());
            let _end = End(&runs);
            yield_for_ever(&runs);
            until(|| runs.now() > 1000);
            let handle = Handle::current();
            let before = runs.now();
            let body = || {
                let runs = Arc::clone(&runs);
                move || {
                    runs.add();
                    runs.now()
                }
            };
            let outside = |n: usize| {
                from_outside(|| (0..n).map(|_| handle.spawn(body())).collect::<Vec<_>>())
            };
            let (many, one) = match injector_is_full {
                true => (outside(MANY), vec![spawn(body())]),
                false => ((0..MANY).map(|_| spawn(body())).collect(), outside(1)),
            };
            for fiber in one {
                check(
                    "one beside many",
                    fiber.join().unwrap() - before,
                    fresh_bound(0) + 1,
                );
            }
            for fiber in many {
                fiber.join().unwrap();
            }
        });
    }
}

/// A turn runs so many fibers and no more.
#[test]
fn timers_and_io_are_looked_at_after_every_event_interval() {
    let _watchdog = watchdog(60);
    for interval in [1, 7, 61] {
        let runtime = Runtime::builder().workers(1).event_interval(interval);
        let runtime = runtime.build().unwrap();
        runtime.run(|| {
            let runs = Arc::new(Runs::default());
            let _end = End(&runs);
            let ready = everything(&runs);
            until(|| runs.now() > 1000);
            let listener = sisal::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let mut far = std::net::TcpStream::connect(addr).unwrap();
            let (mut near, _) = listener.accept().unwrap();
            for _ in 0..20 {
                // The byte is there before the reactor looks again; after it, the fiber is ready.
                let waiting = Arc::new(AtomicBool::new(false));
                let (by_io, by_timer) = scope(|s| {
                    let reader = s.spawn({
                        let (near, runs, waiting) = (&mut near, Arc::clone(&runs), &waiting);
                        move || {
                            waiting.store(true, Ordering::Relaxed);
                            std::io::Read::read_exact(near, &mut [0]).unwrap();
                            runs.now()
                        }
                    });
                    until(|| waiting.load(Ordering::Relaxed));
                    let deadline = Instant::now() + Duration::from_millis(20);
                    let asleep = Arc::new(AtomicBool::new(false));
                    let sleeper = s.spawn({
                        let (runs, asleep) = (Arc::clone(&runs), Arc::clone(&asleep));
                        move || {
                            asleep.store(true, Ordering::Relaxed);
                            sisal::fiber::sleep_until(deadline);
                            runs.now()
                        }
                    });
                    until(|| asleep.load(Ordering::Relaxed));
                    // Timers have a grain of a millisecond. Nothing else runs meanwhile.
                    while Instant::now() < deadline + Duration::from_millis(3) {
                        std::hint::spin_loop();
                    }
                    far.write_all(b"x").unwrap();
                    let before = runs.now();
                    let by_timer = sleeper.join().unwrap();
                    let by_io = reader.join().unwrap();
                    (
                        by_io.saturating_sub(before),
                        by_timer.saturating_sub(before),
                    )
                });
                let bound = interval as usize + ready_bound(ready + 2);
                check("I/O", by_io, bound);
                check("timer", by_timer, bound);
            }
        });
        let worker = runtime.metrics().workers[0];
        assert!(
            worker.switches <= worker.turns * u64::from(interval),
            "interval {interval}: {worker:?}"
        );
        assert!(worker.switches > 1000);
    }
}
