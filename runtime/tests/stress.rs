//! A seeded mix of everything, bounded by the number of operations. Every fiber ends once, every value
//! is dropped once, every message arrives once.
//!
//! A failure prints the seed. `SISAL_STRESS_SEED` repeats it (the schedule is the machine's, so it may take
//! some runs); `SISAL_STRESS_OPS` sets the number of operations.

mod common;

use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{ErrorEvents, OnDrop, Tally, runtime, until, watchdog};
use sisal::fiber::{
    Fiber, JoinError, JoinHandle, current, park, park_timeout, scope, sleep, spawn, yield_now,
};
use sisal::{Handle, block_on, unblock};

/// xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    /// For another fiber.
    fn fork(&mut self) -> Random {
        Random(self.next() | 1)
    }
}

fn seed() -> u64 {
    let given = std::env::var("SISAL_STRESS_SEED").ok();
    let seed = match given {
        Some(seed) => seed.parse().expect("SISAL_STRESS_SEED is a number"),
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.unwrap().as_nanos() as u64 | 1
        }
    };
    println!("SISAL_STRESS_SEED={seed}");
    seed
}

fn operations(default: u64) -> u64 {
    let given = std::env::var("SISAL_STRESS_OPS").ok();
    given.map_or(default, |ops| {
        ops.parse().expect("SISAL_STRESS_OPS is a number")
    })
}

/// What all fibers of one run share.
struct World {
    left: AtomicU64,
    /// The runtime is to be dropped in the middle: answers may fail to come.
    doomed: bool,
    begun: AtomicUsize,
    ended: AtomicUsize,
    panicked: AtomicUsize,
    panics_seen: AtomicUsize,
    tally: Tally,
    sent: AtomicU64,
    sent_sum: AtomicU64,
    received: AtomicU64,
    received_sum: AtomicU64,
    to_server: tokio::sync::mpsc::Sender<(u64, OnDrop)>,
    /// Handles that somebody is to join some time, when that need not wait: two fibers that wait for
    /// each other would do so for ever.
    open: Mutex<Vec<JoinHandle<OnDrop>>>,
    /// Fibers that somebody may unpark for nothing at any time.
    known: Mutex<Vec<Fiber>>,
}

type Receiver = tokio::sync::mpsc::Receiver<(u64, OnDrop)>;

/// The panic of these fibers.
struct Thrown(#[allow(dead_code, reason = "its drop is counted")] OnDrop);

impl World {
    fn new(left: u64, doomed: bool) -> (Arc<World>, Receiver) {
        let (to_server, messages) = tokio::sync::mpsc::channel(16);
        let world = World {
            left: AtomicU64::new(left),
            doomed,
            begun: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            panicked: AtomicUsize::new(0),
            panics_seen: AtomicUsize::new(0),
            tally: Tally::new(),
            sent: AtomicU64::new(0),
            sent_sum: AtomicU64::new(0),
            received: AtomicU64::new(0),
            received_sum: AtomicU64::new(0),
            to_server,
            open: Mutex::new(Vec::new()),
            known: Mutex::new(Vec::new()),
        };
        (Arc::new(world), messages)
    }

    /// Takes one operation from what is left.
    fn take(&self) -> bool {
        let taken = |left: u64| left.checked_sub(1);
        let update = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        update.is_ok()
    }

    fn spawn(self: &Arc<World>, random: &mut Random, depth: u32) -> JoinHandle<OnDrop> {
        let (world, random) = (Arc::clone(self), random.fork());
        let in_closure = self.tally.make();
        spawn(move || {
            let _in_closure = in_closure;
            world.live(random, depth)
        })
    }

    /// The life of a fiber: operations by lot until there are none left.
    fn live(self: &Arc<World>, mut random: Random, depth: u32) -> OnDrop {
        struct Ends<'a>(&'a World);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        let _ends = Ends(self);
        let _in_frame = self.tally.make();
        let here = thread::current().id();
        let steps = 1 + random.below(40);
        for _ in 0..steps {
            if !self.take() {
                break;
            }
            self.operation(&mut random, depth);
            assert_eq!(here, thread::current().id());
        }
        if random.below(16) == 0 {
            self.panicked.fetch_add(1, Ordering::Relaxed);
            resume_unwind(Box::new(Thrown(self.tally.make())));
        }
        self.tally.make()
    }

    fn operation(self: &Arc<World>, random: &mut Random, depth: u32) {
        match random.below(20) {
            0..3 => yield_now(),
            3 => sleep(Duration::from_micros(random.below(1500))),
            4 => {
                // Others may unpark it too; they only make it early.
                let me = current();
                self.known.lock().unwrap().push(me.clone());
                let helper = spawn(move || me.unpark());
                park();
                assert!(helper.join().is_ok() || self.doomed);
            }
            5 => park_timeout(Duration::from_micros(random.below(1500))),
            6 => {
                let known = self.known.lock().unwrap();
                if let Some(at) = (known.len() as u64).checked_sub(1) {
                    known[random.below(at + 1) as usize].unpark();
                }
            }
            7..10 if depth < 6 => {
                let child = self.spawn(random, depth + 1);
                match random.below(3) {
                    0 => self.seen(child.join()),
                    1 => self.open.lock().unwrap().push(child),
                    _ => drop(child),
                }
            }
            10 => {
                let mut open = self.open.lock().unwrap();
                if let Some(at) = open.iter().position(JoinHandle::is_finished) {
                    let ended = open.swap_remove(at);
                    drop(open);
                    match random.below(2) {
                        0 => self.seen(ended.join()),
                        _ => self.seen(block_on(ended)),
                    }
                }
            }
            11..13 => {
                let n = random.below(1000);
                let message = (n, self.tally.make());
                self.sent.fetch_add(1, Ordering::Relaxed);
                self.sent_sum.fetch_add(n, Ordering::Relaxed);
                let sent = block_on(self.to_server.send(message));
                assert!(sent.is_ok() || self.doomed);
            }
            13 if depth < 6 => self.scoped(random, depth),
            14 => {
                let lent = self.tally.make();
                let thrown = catch_unwind(std::panic::AssertUnwindSafe(|| {
                    unblock(|| {
                        let _lent = &lent;
                        if lent_is_odd(&lent) {
                            resume_unwind(Box::new(Thrown(self.tally.make())));
                        }
                    })
                }));
                assert_eq!(thrown.is_err(), lent_is_odd(&lent));
            }
            15 => {
                let task = tokio::spawn({
                    let held = self.tally.make();
                    async move {
                        tokio::task::yield_now().await;
                        held
                    }
                });
                drop(block_on(task).unwrap());
            }
            16 => {
                // A wait in mid-unwind.
                let held = self.tally.make();
                let unwound = catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let _waits = common::Defer(yield_now);
                    resume_unwind(Box::new(Thrown(held)))
                }));
                drop(unwound.unwrap_err());
            }
            17 => {
                let held = self.tally.make();
                Handle::current().run(|| {
                    let _held = &held;
                    yield_now();
                });
            }
            18 => block_on(async {
                let nested = async { block_on(tokio::task::yield_now()) };
                let timer = tokio::time::sleep(Duration::from_micros(random.below(1500)));
                tokio::select! {
                    () = nested => {}
                    () = timer => {}
                }
            }),
            _ => {
                let (tx, rx) = futures::channel::oneshot::channel();
                let held = self.tally.make();
                let answer = spawn(move || drop(tx.send(held)));
                assert!(block_on(rx).is_ok() || self.doomed);
                assert!(answer.join().is_ok() || self.doomed);
            }
        }
    }

    fn scoped(self: &Arc<World>, random: &mut Random, depth: u32) {
        let lent = self.tally.make();
        let children = random.below(4);
        let randoms: Vec<_> = (0..children).map(|_| random.fork()).collect();
        scope(|s| {
            let handles: Vec<_> = randoms
                .into_iter()
                .map(|random| {
                    let lent = &lent;
                    s.spawn(move || {
                        let _lent = lent;
                        self.live(random, depth + 1)
                    })
                })
                .collect();
            for handle in handles {
                self.seen(handle.join());
            }
        });
    }

    fn seen(&self, result: Result<OnDrop, JoinError>) {
        match result {
            Ok(value) => drop(value),
            Err(_) if self.doomed => {}
            Err(error) => {
                assert!(error.into_panic().is::<Thrown>());
                self.panics_seen.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Receives until the senders are gone, or it is told to stop.
    fn serve(&self, mut messages: Receiver, stop: &tokio::sync::Notify) {
        loop {
            let message = block_on(async {
                tokio::select! {
                    biased;
                    message = messages.recv() => message,
                    () = stop.notified() => None,
                }
            });
            let Some((n, _held)) = message else { return };
            self.received.fetch_add(1, Ordering::Relaxed);
            self.received_sum.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// After the end of the runtime.
    fn check(self: Arc<World>) {
        let world = Arc::into_inner(self).expect("every fiber has given its world back");
        let begun = world.begun.load(Ordering::Relaxed);
        assert_eq!(world.ended.load(Ordering::Relaxed), begun);
        let thrown = world.panicked.load(Ordering::Relaxed);
        assert!(world.panics_seen.load(Ordering::Relaxed) <= thrown);
        println!("{begun} fibers, {thrown} panics");
        // Messages may be left in a channel whose receiver has gone.
        let tally = world.tally.clone();
        drop(world);
        tally.check(begun..=usize::MAX, "all values");
    }
}

/// By its address, which is as good as any.
fn lent_is_odd(lent: &OnDrop) -> bool {
    (std::ptr::from_ref(lent).addr() >> 4) % 2 == 1
}

fn stress(workers: usize) {
    let _watchdog = watchdog(300);
    let mut random = Random(seed());
    let (world, messages) = World::new(operations(40_000), false);
    let stop = Arc::new(tokio::sync::Notify::new());
    let runtime = runtime(workers);
    let server = runtime.spawn({
        let (world, stop) = (Arc::clone(&world), Arc::clone(&stop));
        move || world.serve(messages, &stop)
    });
    while world.left.load(Ordering::Relaxed) > 0 {
        let batch: Vec<_> = (0..20)
            .map(|_| {
                let (world, random) = (Arc::clone(&world), random.fork());
                runtime.spawn(move || world.live(random, 0))
            })
            .collect();
        batch.into_iter().for_each(|fiber| world.seen(fiber.join()));
    }
    // Each fiber holds the world, the detached ones too; so do its server and this thread.
    until(|| {
        let open = world.open.lock().unwrap().pop();
        if let Some(open) = open {
            world.seen(open.join());
        }
        Arc::strong_count(&world) == 2 && world.open.lock().unwrap().is_empty()
    });
    stop.notify_one();
    server.join().unwrap();
    drop(runtime);
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!(load(&world.sent), load(&world.received));
    assert_eq!(load(&world.sent_sum), load(&world.received_sum));
    world.check();
}

#[test]
fn on_one_worker() {
    stress(1);
}

#[test]
fn on_two_workers() {
    stress(2);
}

#[test]
fn on_four_workers() {
    stress(4);
}

/// The runtime is dropped in the middle of it: it ends, and nothing is lost or dropped twice.
#[test]
fn that_is_shut_down() {
    let _watchdog = watchdog(300);
    let mut random = Random(seed());
    let stop = Arc::new(tokio::sync::Notify::new());
    for round in 0..30 {
        let (world, messages) = World::new(u64::MAX, true);
        let runtime = runtime(1 + round % 3);
        let (serving, stop) = (Arc::clone(&world), Arc::clone(&stop));
        let mut fibers = vec![runtime.spawn(move || serving.serve(messages, &stop))];
        for _ in 0..10 {
            let (world, mut random) = (Arc::clone(&world), random.fork());
            fibers.push(runtime.spawn(move || {
                loop {
                    let result = world.spawn(&mut random, 0).join();
                    if matches!(&result, Err(error) if error.is_cancelled()) {
                        park();
                    }
                    world.seen(result);
                }
            }));
        }
        let enough = random.below(400) as usize;
        until(|| world.ended.load(Ordering::Relaxed) >= enough);
        let events = ErrorEvents::new();
        tracing::subscriber::with_default(events.clone(), || drop(runtime));
        assert_eq!(events.texts(), [""; 0]);
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        world.check();
    }
}

/// As many as the oldest kernels can guard, all parked at once.
#[test]
fn thirty_thousand_fibers_park_and_end() {
    const FIBERS: usize = 30_000;
    let _watchdog = watchdog(300);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let tally = Tally::new();
        let parked = Arc::new(AtomicUsize::new(0));
        let spawn_all = || -> Vec<_> {
            (0..FIBERS)
                .map(|n| {
                    let (held, tally) = (tally.make(), tally.clone());
                    let parked = Arc::clone(&parked);
                    runtime.spawn(move || {
                        let _held = held;
                        let _in_frame = tally.make();
                        parked.fetch_add(1, Ordering::Relaxed);
                        park();
                        n
                    })
                })
                .collect()
        };
        let fibers = spawn_all();
        until(|| parked.load(Ordering::Relaxed) == FIBERS);
        fibers.iter().for_each(|fiber| fiber.fiber().unpark());
        for (n, fiber) in fibers.into_iter().enumerate() {
            assert_eq!(fiber.join().unwrap(), n);
        }
        // Again, on the stacks of the first ones; and this time the runtime ends under them.
        let fibers = spawn_all();
        until(|| parked.load(Ordering::Relaxed) == 2 * FIBERS);
        drop(runtime);
        for fiber in fibers {
            assert!(fiber.join().unwrap_err().is_cancelled());
        }
        tally.check(4 * FIBERS..=4 * FIBERS, "all");
    }
}
