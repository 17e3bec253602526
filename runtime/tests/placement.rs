//! Placement: a started fiber stays on its thread, whatever it waits for; a fresh one goes to whoever
//! has time for it; and long-lived ones spread.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{Count, Gate, one_on_each_worker, runtime, until, watchdog};
use sisal::fiber::{current, park, park_timeout, scope, sleep, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Handle, block_on, unblock};

/// Waits without leaving the worker.
fn until_thread(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// What a started fiber has of its thread.
struct Here {
    thread: ThreadId,
    slot: usize,
    not_send: PhantomData<*const ()>,
}

thread_local! {
    static SLOT: Cell<u32> = const { Cell::new(0) };
}

impl Here {
    fn now() -> Here {
        Here {
            thread: thread::current().id(),
            slot: SLOT.with(|slot| std::ptr::from_ref(slot).addr()),
            not_send: PhantomData,
        }
    }

    #[track_caller]
    fn check(&self) {
        let now = Here::now();
        assert_eq!((self.thread, self.slot), (now.thread, now.slot));
        let Here { not_send, .. } = now;
        let _: PhantomData<*const ()> = not_send;
    }
}

/// Every wait, each ended by somebody else: the reactor, the pool, other workers, plain threads.
fn all_waits(n: usize, outside: &mpsc::Sender<Gate>) {
    let here = Here::now();
    yield_now();
    here.check();
    sleep(Duration::from_millis(n as u64 % 3));
    here.check();
    let me = current();
    let unparking = spawn(move || me.unpark());
    park();
    here.check();
    park_timeout(Duration::from_millis(1));
    here.check();
    unparking.join().unwrap();
    here.check();
    scope(|s| {
        s.spawn(yield_now);
        s.spawn(|| unblock(|| ()));
    });
    here.check();
    unblock(thread::yield_now);
    here.check();
    Handle::current().run(yield_now);
    here.check();
    block_on(tokio::time::sleep(Duration::from_millis(1)));
    here.check();
    block_on(tokio::spawn(tokio::task::yield_now())).unwrap();
    here.check();
    // A plain thread opens it.
    let gate = Gate::new();
    outside.send(gate.clone()).unwrap();
    block_on(gate);
    here.check();
    block_on(async { block_on(tokio::task::yield_now()) });
    here.check();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let far = spawn(move || {
        let here = Here::now();
        let mut stream = TcpStream::connect(addr).unwrap();
        here.check();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        here.check();
    });
    let (mut near, _) = listener.accept().unwrap();
    here.check();
    near.read_exact(&mut [0]).unwrap();
    here.check();
    near.write_all(b"x").unwrap();
    far.join().unwrap();
    here.check();
    // Also while it unwinds.
    let unwound = std::panic::catch_unwind(|| {
        let here = Here::now();
        let _in_drop = common::Defer(|| {
            yield_now();
            here.check();
        });
        std::panic::resume_unwind(Box::new(0))
    });
    unwound.unwrap_err();
    here.check();
}

#[test]
fn a_started_fiber_never_changes_threads() {
    let _watchdog = watchdog(120);
    let (outside, gates) = mpsc::channel::<Gate>();
    let opener = thread::spawn(move || {
        for gate in gates {
            gate.wait_polls(1);
            gate.open();
        }
    });
    let threads = Arc::new(Mutex::new(HashMap::<ThreadId, usize>::new()));
    runtime(4).run(|| {
        // Each worker has some to begin with; what they spawn goes where it may.
        one_on_each_worker(4, |_| {
            let fibers: Vec<_> = (0..25)
                .map(|n| {
                    let (outside, threads) = (outside.clone(), Arc::clone(&threads));
                    spawn(move || {
                        all_waits(n, &outside);
                        let thread = thread::current().id();
                        *threads.lock().unwrap().entry(thread).or_default() += 1;
                    })
                })
                .collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
        });
    });
    drop(outside);
    opener.join().unwrap();
    let threads = threads.lock().unwrap();
    assert_eq!(threads.values().sum::<usize>(), 100);
    assert!(
        threads.len() > 1,
        "all ran on one worker: nothing was shown"
    );
}

/// Values that are not `Send` live across waits, also while others of the worker use the same
/// thread-local.
#[test]
fn what_is_not_send_may_be_held_across_waits() {
    thread_local! {
        static SHARED: RefCell<Vec<Rc<Cell<usize>>>> = const { RefCell::new(Vec::new()) };
    }
    let _watchdog = watchdog(120);
    const FIBERS: usize = 200;
    const ROUNDS: usize = 20;
    let left = runtime(4).run(|| {
        scope(|s| {
            for _ in 0..FIBERS {
                s.spawn(|| {
                    let mine = Rc::new(Cell::new(0));
                    SHARED.with_borrow_mut(|shared| shared.push(Rc::clone(&mine)));
                    for round in 0..ROUNDS {
                        // The counts of an `Rc` are not atomic: two threads would lose some.
                        let clones: Vec<_> = SHARED.with_borrow(|shared| shared.clone());
                        yield_now();
                        for clone in &clones {
                            clone.set(clone.get() + 1);
                        }
                        if round % 5 == 0 {
                            sleep(Duration::from_millis(1));
                        }
                    }
                    SHARED.with_borrow_mut(|shared| shared.retain(|rc| !Rc::ptr_eq(rc, &mine)));
                    until(|| Rc::strong_count(&mine) == 1);
                });
            }
        });
        one_on_each_worker(4, |_| SHARED.with_borrow(Vec::len))
    });
    assert_eq!(left, [0; 4]);
}

/// The spawner holds its worker until what it spawned has run. Many times, each in a new runtime: what
/// has to be shown is that no wake is lost, at the start above all.
#[test]

fn fresh_fibers_of_a_held_worker_run_elsewhere() {
    let _watchdog = watchdog(60);
    for fibers in [1, 10, 1000].into_iter().cycle().take(600) {
        runtime(2).run(|| {
            let (here, elsewhere) = (thread::current().id(), Count::new());
            let spawned: Vec<_> = (0..fibers)
                .map(|_| {
                    let elsewhere = elsewhere.clone();
                    spawn(move || {
                        yield_now();
                        elsewhere.add();
                        thread::current().id()
                    })
                })
                .collect();
            until_thread(|| elsewhere.get() == fibers);
            for fiber in spawned {
                assert_ne!(fiber.join().unwrap(), here);
            }
        });
    }
}

/// Three of four workers are held; what they spawned, and what comes from outside, is the fourth's.
#[test]

fn the_last_free_worker_serves_all() {
    let _watchdog = watchdog(60);
    for _ in 0..300 {
        three_of_four_are_held();
    }
}

fn three_of_four_are_held() {
    let runtime = runtime(4);
    let (held, done) = (Count::new(), Count::new());
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            let (held, done) = (held.clone(), done.clone());
            runtime.spawn(move || {
                held.add();
                until_thread(|| held.get() == 3);
                let fibers: Vec<_> = (0..20)
                    .map(|_| {
                        let done = done.clone();
                        spawn(move || {
                            yield_now();
                            done.add();
                        })
                    })
                    .collect();
                until_thread(|| done.get() == 80);
                drop(fibers);
            })
        })
        .collect();
    until(|| held.get() == 3);
    for _ in 0..20 {
        let done = done.clone();
        drop(runtime.spawn(move || done.add()));
    }
    for hog in hogs {
        hog.join().unwrap();
    }
}

/// One worker is held by a fiber that computes; the other has many bound ones and spawns more. They
/// are to run there: the held one may be the less loaded, but nobody can take them from its inbox.
#[test]
fn fresh_fibers_do_not_wait_for_a_held_worker() {
    let _watchdog = watchdog(60);
    const FIBERS: usize = 30;
    let begun = Count::new();
    runtime(2).run(|| {
        one_on_each_worker(2, |n| {
            if n == 0 {
                until_thread(|| begun.get() == FIBERS);
                return;
            }
            let fibers: Vec<_> = (0..FIBERS)
                .map(|_| {
                    let begun = begun.clone();
                    let fiber = spawn(move || {
                        begun.add();
                        park();
                    });
                    yield_now();
                    fiber
                })
                .collect();
            until(|| begun.get() == FIBERS);
            for fiber in fibers {
                fiber.fiber().unpark();
                fiber.join().unwrap();
            }
        });
    });
}

/// A fiber gets its stack at its first run, and the last one used is the next one given.
#[test]
fn fibers_that_never_wait_share_one_stack() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let here = || {
        let on_stack = 0_u8;
        std::ptr::from_ref(std::hint::black_box(&on_stack)).addr()
    };
    let stacks = runtime.run(|| {
        let fibers: Vec<_> = (0..1000).map(|_| spawn(here)).collect();
        let addresses = fibers.into_iter().map(|fiber| fiber.join().unwrap());
        addresses.collect::<HashSet<_>>()
    });
    assert_eq!(stacks.len(), 1);
}

/// What the busiest of two workers has: at most three of five. `served` gives one entry for each unit of
/// work. A system that does not run one of the two threads for a while gives its part to the other, as it
/// should be: so one of three attempts has to do.
#[track_caller]
fn check_spread(what: &str, served: impl Fn() -> Vec<ThreadId>) {
    let spread = || {
        let served = served();
        let first = served.iter().filter(|&&t| t == served[0]).count();
        (first.max(served.len() - first), served.len())
    };
    let mut attempts = vec![spread()];
    let good = |&(busiest, all): &(usize, usize)| 5 * busiest <= 3 * all;
    while attempts.len() < 3 && !attempts.last().is_some_and(good) {
        attempts.push(spread());
    }
    let is_good = attempts.last().is_some_and(good);
    assert!(is_good, "{what}: busiest worker, all: {attempts:?}");
}

/// A listener that accepts on one worker, and a fiber for each connection. Each connection makes equally many
/// requests, and what is counted is requests.
#[test]
fn connections_of_one_acceptor_spread() {
    const CONNECTIONS: usize = 200;
    const REQUESTS: usize = 5;
    let _watchdog = watchdog(120);
    let serve = |event_interval| {
        let runtime = sisal::Runtime::builder()
            .workers(2)
            .event_interval(event_interval);
        let runtime = runtime.build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let acceptor = runtime.spawn({
            let served = Arc::clone(&served);
            move || {
                let mut fibers = Vec::new();
                for stream in listener.incoming().take(CONNECTIONS) {
                    let (mut stream, served) = (stream.unwrap(), Arc::clone(&served));
                    fibers.push(spawn(move || {
                        // Until the client goes.
                        while stream.read(&mut [0]).unwrap() == 1 {
                            served.lock().unwrap().push(thread::current().id());
                            stream.write_all(b"x").unwrap();
                        }
                    }));
                }
                for fiber in fibers {
                    fiber.join().unwrap();
                }
            }
        });
        let clients = (0..CONNECTIONS).map(|_| std::net::TcpStream::connect(addr).unwrap());
        let mut clients: Vec<_> = clients.collect();
        for _ in 0..REQUESTS {
            for client in &mut clients {
                client.write_all(b"x").unwrap();
            }
            for client in &mut clients {
                client.read_exact(&mut [0]).unwrap();
            }
        }
        drop(clients);
        acceptor.join().unwrap();
        let served = served.lock().unwrap().clone();
        assert_eq!(served.len(), CONNECTIONS * REQUESTS);
        served
    };
    for event_interval in [1, 61] {
        let what = format!("interval {event_interval}");
        check_spread(&what, || serve(event_interval));
    }
}

/// The same one after the other: a connection is served before the next one comes.
#[test]
fn connections_that_come_slowly_spread() {
    let _watchdog = watchdog(120);
    check_spread("one after the other", serve_one_after_the_other);
}

fn serve_one_after_the_other() -> Vec<ThreadId> {
    const CONNECTIONS: usize = 100;
    let runtime = runtime(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let acceptor = runtime.spawn({
        let served = Arc::clone(&served);
        move || {
            let fibers = listener.incoming().take(CONNECTIONS).map(|stream| {
                let (mut stream, served) = (stream.unwrap(), Arc::clone(&served));
                spawn(move || {
                    stream.read_exact(&mut [0]).unwrap();
                    served.lock().unwrap().push(thread::current().id());
                    stream.write_all(b"x").unwrap();
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                })
            });
            let fibers: Vec<_> = fibers.collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
        }
    });
    let clients = (0..CONNECTIONS).map(|_| {
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        client
    });
    drop(clients.collect::<Vec<_>>());
    acceptor.join().unwrap();
    served.lock().unwrap().clone()
}

/// Without a reactor: each child parks before the next is spawned.
#[test]
fn long_lived_fibers_of_one_spawner_spread() {
    let _watchdog = watchdog(120);
    check_spread("one by one", spawn_one_by_one);
}

fn spawn_one_by_one() -> Vec<ThreadId> {
    const FIBERS: usize = 400;
    let threads = Mutex::new(Vec::new());
    runtime(2).run(|| {
        scope(|s| {
            let mut fibers = Vec::new();
            for n in 1..=FIBERS {
                fibers.push(s.spawn(|| {
                    threads.lock().unwrap().push(thread::current().id());
                    park();
                }));
                until(|| threads.lock().unwrap().len() == n);
            }
            for fiber in fibers {
                fiber.fiber().unpark();
            }
        });
    });
    threads.into_inner().unwrap()
}

/// All at once, by a fiber that waits for them, and from a plain thread.
#[test]
fn long_lived_fibers_spawned_at_once_spread() {
    const FIBERS: usize = 400;
    let _watchdog = watchdog(120);
    let spawn_at_once = |from_outside| {
        let runtime = runtime(2);
        let threads = Arc::new(Mutex::new(Vec::new()));
        let spawn_all = {
            let (handle, threads) = (runtime.handle().clone(), Arc::clone(&threads));
            move || {
                let fibers = (0..FIBERS).map(|_| {
                    let threads = Arc::clone(&threads);
                    handle.spawn(move || {
                        threads.lock().unwrap().push(thread::current().id());
                        park();
                    })
                });
                fibers.collect::<Vec<_>>()
            }
        };
        let fibers = match from_outside {
            true => spawn_all(),
            false => runtime.spawn(spawn_all).join().unwrap(),
        };
        until(|| threads.lock().unwrap().len() == FIBERS);
        for fiber in fibers {
            fiber.fiber().unpark();
            fiber.join().unwrap();
        }
        threads.lock().unwrap().clone()
    };
    for from_outside in [false, true] {
        let what = format!("from outside: {from_outside}");
        check_spread(&what, || spawn_at_once(from_outside));
    }
}

/// The other way round: what holds back from a fresh fiber does not hold back for ever. One worker has
/// many parked fibers and nothing to do; the other spawns, and then is held until all that it spawned have run.
#[test]
fn who_holds_back_helps_a_held_worker() {
    const PARKED: usize = 200;
    const FIBERS: usize = 300;
    let _watchdog = watchdog(60);
    // Fibers that end at once, and fibers that stay.
    for stay in [false, true] {
        let runtime = runtime(2);
        let metrics = runtime.run(|| {
            let (begun, staying) = (Count::new(), Count::new());
            let spread = one_on_each_worker(2, |n| {
                if n == 0 {
                    until_thread(|| staying.get() == 1);
                    // Its worker is idle for a moment, so that the other has to find out again.
                    unblock(|| ());
                    let me = thread::current().id();
                    let fibers = (0..FIBERS).map(|_| {
                        let begun = begun.clone();
                        spawn(move || {
                            begun.add();
                            if stay {
                                park();
                            }
                            thread::current().id() != me
                        })
                    });
                    let fibers: Vec<_> = fibers.collect();
                    until_thread(|| begun.get() == FIBERS);
                    for fiber in &fibers {
                        fiber.fiber().unpark();
                    }
                    return fibers.into_iter().all(|fiber| fiber.join().unwrap());
                }
                // Its worker is the only one that is free.
                let parked = Count::new();
                let fibers = (0..PARKED).map(|_| {
                    let parked = parked.clone();
                    spawn(move || {
                        parked.add();
                        park();
                    })
                });
                let fibers: Vec<_> = fibers.collect();
                until(|| parked.get() == PARKED);
                staying.add();
                let all_begun = begun.clone();
                unblock(move || until_thread(|| all_begun.get() == FIBERS));
                for fiber in fibers {
                    fiber.fiber().unpark();
                    fiber.join().unwrap();
                }
                true
            });
            assert_eq!(spread, [true; 2], "stay: {stay}");
            Handle::current().metrics()
        });
        assert!(metrics.total().watches > 0, "nobody held back: {metrics:?}");
    }
}
