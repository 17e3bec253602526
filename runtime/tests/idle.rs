//! Idle: a push wakes a worker only if it must, by one write to an eventfd; and a runtime with nothing to do
//! does nothing. Counted by `Runtime::metrics`, and by the kernel.

mod common;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, one_on_each_worker, runtime, until, watchdog};
use sisal::fiber::{park, sleep_until, spawn, spawn_local};
use sisal::net::TcpListener;
use sisal::{Handle, Metrics, Runtime};

/// Waits until every worker has begun its `n`th sleep. Each goes to sleep once when it is new.
fn asleep(runtime: &Runtime, n: u64) {
    until(|| runtime.metrics().workers.iter().all(|w| w.sleeps >= n));
}

/// Waits without leaving the worker.
fn until_thread(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// Fibers that park, and that they have begun to.
fn parked(runtime: &Runtime, n: usize) -> Vec<sisal::fiber::JoinHandle<()>> {
    let begun = Count::new();
    let fibers = (0..n).map(|_| {
        let begun = begun.clone();
        runtime.spawn(move || {
            begun.add();
            park();
        })
    });
    let fibers = fibers.collect();
    until(|| begun.get() == n);
    fibers
}

/// Writes to eventfds that happened between two looks.
fn wakes(before: &Metrics, after: &Metrics) -> u64 {
    after.total().wakes - before.total().wakes
}

#[test]
fn a_push_to_a_busy_worker_wakes_nobody() {
    let _watchdog = watchdog(60);
    const FIBERS: usize = 100;
    let runtime = runtime(1);
    let fibers = parked(&runtime, FIBERS);
    let counted = runtime.run(|| {
        let handle = Handle::current();
        let before = handle.metrics();
        // This fiber holds the worker until all is pushed.
        let spawned: Vec<_> = thread::scope(|s| {
            let pushing = s.spawn(|| {
                for fiber in &fibers {
                    fiber.fiber().unpark();
                }
                (0..FIBERS).map(|n| handle.spawn(move || n)).collect()
            });
            pushing.join().unwrap()
        });
        let pushed = handle.metrics();
        for (n, fiber) in spawned.into_iter().enumerate() {
            assert_eq!(fiber.join().unwrap(), n);
        }
        for fiber in fibers {
            fiber.join().unwrap();
        }
        [before, pushed, handle.metrics()]
    });
    let [before, pushed, after] = counted;
    assert_eq!((wakes(&before, &pushed), wakes(&before, &after)), (0, 0));
    assert_eq!(pushed.injected, FIBERS);
    let [before, after] = [before, after].map(|metrics| metrics.workers[0]);
    assert_eq!(after.inbox_pops - before.inbox_pops, FIBERS as u64);
    assert_eq!(after.injector_pops - before.injector_pops, FIBERS as u64);
}

#[test]
fn many_wakes_of_a_sleeping_worker_cost_one() {
    let _watchdog = watchdog(60);
    const FIBERS: usize = 100;
    let runtime = runtime(1);
    let sent = Arc::new(Count::new());
    // It is woken first, and holds the worker until all are.
    let holder = runtime.spawn({
        let sent = Arc::clone(&sent);
        move || {
            park();
            until_thread(|| sent.get() == 1);
        }
    });
    let fibers = parked(&runtime, FIBERS);
    // All have parked: the worker slept after the last of them.
    until(|| {
        let worker = runtime.metrics().workers[0];
        worker.asleep && worker.bound == 1 + FIBERS as u64
    });
    let before = runtime.metrics();
    holder.fiber().unpark();
    for fiber in &fibers {
        fiber.fiber().unpark();
    }
    sent.add();
    for fiber in fibers {
        fiber.join().unwrap();
    }
    holder.join().unwrap();
    let after = runtime.metrics();
    assert_eq!(wakes(&before, &after), 1);
    let [before, after] = [before, after].map(|metrics| metrics.workers[0]);
    assert_eq!(after.woken - before.woken, 1);
    assert_eq!(after.inbox_pops - before.inbox_pops, 1 + FIBERS as u64);
}

/// Its spawner holds one worker, the other one sleeps: one wake, one steal.
#[test]
fn a_spawn_beside_a_sleeping_worker_wakes_it_once() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    asleep(&runtime, 1);
    let [before, after] = runtime.run(|| {
        let handle = Handle::current();
        // The other one sleeps, if it was woken at all for this fiber.
        until_thread(|| handle.metrics().workers.iter().any(|w| w.asleep));
        let before = handle.metrics();
        let done = Count::new();
        let fiber = spawn({
            let done = done.clone();
            move || {
                done.add();
            }
        });
        until_thread(|| done.get() == 1);
        let after = handle.metrics();
        fiber.join().unwrap();
        [before, after]
    });
    assert_eq!(wakes(&before, &after), 1);
    assert_eq!(after.outside.wakes, before.outside.wakes);
    let [before, after] = [before.total(), after.total()];
    assert_eq!(after.steals - before.steals, 1);
    assert_eq!(after.stolen - before.stolen, 1);
    // It looks again when that fiber has ended.
    assert!((1..=2).contains(&(after.searches - before.searches)));
}

/// What the kernel says of a runtime's worker threads: times that they gave up their core, and the
/// nanoseconds that they had one.
fn by_kernel(name: &str) -> Vec<(u64, u64)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let tasks = tasks.filter_map(|task| {
        let path = task.unwrap().path();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        if !read("comm").starts_with(name) {
            return None;
        }
        let status = read("status");
        let switches = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let switches = switches.unwrap().trim().parse().unwrap();
        let ran = read("schedstat");
        let ran = ran.split(' ').next().and_then(|ran| ran.parse().ok());
        Some((switches, ran.unwrap_or(0)))
    });
    tasks.collect()
}

/// A worker that is woken to search for something fresh, and has just been woken for a fiber of its own too, runs that one first: then it
/// has another search in its place, or what is fresh would wait for a fiber that waits for it.
#[test]
fn a_searcher_that_runs_its_own_sends_another() {
    let _watchdog = watchdog(120);
    const ROUNDS: u32 = 40;
    let begin = Instant::now();
    // Both within the millisecond that a timer takes to come after its time.
    let sleeps_until = |round: u32| begin + Duration::from_millis(50 + 10 * u64::from(round));
    let spawned_at =
        |round| sleeps_until(round) + Duration::from_micros(u64::from(100 + 27 * round));
    let ran: Vec<_> = (0..ROUNDS).map(|_| Count::new()).collect();
    // They hold their workers.
    let await_run = |round: u32| {
        while ran[round as usize].get() == 0 {
            std::hint::spin_loop();
        }
    };
    runtime(3).run(|| {
        one_on_each_worker(3, |n| match n {
            // Has less to do than the third, so it is woken to search.
            0 => {
                for round in 0..ROUNDS {
                    sleep_until(sleeps_until(round));
                    await_run(round);
                }
            }
            1 => {
                for round in 0..ROUNDS {
                    sleep_until(sleeps_until(round) - Duration::from_millis(3));
                    while Instant::now() < spawned_at(round) {
                        std::hint::spin_loop();
                    }
                    let ran = ran[round as usize].clone();
                    drop(spawn(move || ran.add()));
                    await_run(round);
                }
            }
            _ => {
                let fibers: Vec<_> = (0..3).map(|_| spawn_local(park)).collect();
                sleep_until(sleeps_until(ROUNDS));
                for fiber in &fibers {
                    fiber.fiber().unpark();
                }
            }
        });
    });
    assert!(ran.iter().all(|ran| ran.get() == 1));
}

/// Five seconds of nothing: no turn, no return from the kernel, no time of the processor. (A duration, not
/// an order.)
#[test]
fn an_idle_runtime_does_nothing() {
    let _watchdog = watchdog(60);
    const WORKERS: usize = 3;
    const IDLE: Duration = Duration::from_secs(5);
    let runtime = Runtime::builder().workers(WORKERS).thread_name("quiet");
    let runtime = runtime.build().unwrap();
    // Live fibers on each worker; an open listener, with a fiber that waits for a connection.
    let fibers = parked(&runtime, 100);
    let addr = std::sync::mpsc::channel();
    let accepting = runtime.spawn(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        addr.0.send(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    });
    let addr = addr.1.recv().unwrap();
    runtime.run(|| one_on_each_worker(WORKERS, |_| ()));
    // The last wake-ups may still be under way: until a while has passed without any.
    let mut before = (runtime.metrics(), by_kernel("quiet-"));
    loop {
        thread::sleep(Duration::from_millis(200));
        let now = (runtime.metrics(), by_kernel("quiet-"));
        if now.0.workers == before.0.workers && now.1 == before.1 {
            break;
        }
        before = now;
    }
    assert_eq!(before.1.len(), WORKERS);
    thread::sleep(IDLE);
    let after = (runtime.metrics(), by_kernel("quiet-"));
    assert_eq!(before.0.workers, after.0.workers);
    assert_eq!(before.1, after.1);
    let total = after.0.total();
    assert_eq!((total.bound, after.0.live()), (101, 101));
    // And it is all there.
    drop(std::net::TcpStream::connect(addr).unwrap());
    accepting.join().unwrap();
    for fiber in fibers {
        fiber.fiber().unpark();
        fiber.join().unwrap();
    }
    assert_ne!(runtime.metrics().total().turns, total.turns);
    assert_ne!(by_kernel("quiet-"), after.1);
}
