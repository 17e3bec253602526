//! `spawn_local`: fibers of things that are not `Send`. They stay with the worker that spawned them, and so
//! does the drop of everything in them.

mod common;

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};

use common::{Count, Defer, Gate, one_on_each_worker, panic_text, runtime, until, watchdog};
use sisal::fiber::{self, Builder, JoinHandle, park, spawn, spawn_local, yield_now};
use sisal::{Handle, Runtime, block_on};

/// Not `Send`: counts its drop, and whether that was on the thread that made it.
struct Here {
    thread: ThreadId,
    drops: Count,
    strays: Count,
    not_send: PhantomData<Rc<()>>,
}

impl Drop for Here {
    fn drop(&mut self) {
        if thread::current().id() != self.thread {
            self.strays.add();
        }
        self.drops.add();
    }
}

#[derive(Clone, Default)]
struct Drops {
    drops: Count,
    strays: Count,
}

impl Drops {
    fn here(&self) -> Here {
        Here {
            thread: thread::current().id(),
            drops: self.drops.clone(),
            strays: self.strays.clone(),
            not_send: PhantomData,
        }
    }

    #[track_caller]
    fn check(&self, drops: usize) {
        assert_eq!((self.drops.get(), self.strays.get()), (drops, 0));
    }
}

#[test]
fn nothing_has_to_be_send() {
    let order = runtime(1).run(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let children: Vec<JoinHandle<Rc<Cell<u32>>>> = (0..3)
            .map(|n| {
                let log = Rc::clone(&log);
                spawn_local(move || {
                    log.borrow_mut().push(n);
                    yield_now();
                    log.borrow_mut().push(10 + n);
                    Rc::new(Cell::new(n))
                })
            })
            .collect();
        for (n, child) in children.into_iter().enumerate() {
            assert_eq!(child.join().unwrap().get(), n as u32);
        }
        log.take()
    });
    // Newest first, as fibers that may be stolen; one that is ready goes before them.
    assert_eq!(order, [2, 12, 1, 11, 0, 10]);
}

/// Other workers look for work all the while, and find what they may take.
#[test]
fn nobody_takes_a_local_fiber() {
    let _watchdog = watchdog(60);
    let runtime = runtime(3);
    for _ in 0..20 {
        runtime.run(|| {
            let here = thread::current().id();
            let locals: Vec<_> = (0..100)
                .map(|_| spawn_local(|| thread::current().id()))
                .collect();
            let taken = Arc::new(AtomicUsize::new(0));
            let others: Vec<_> = (0..100)
                .map(|_| {
                    let taken = Arc::clone(&taken);
                    spawn(move || taken.fetch_add(1, Ordering::Relaxed))
                })
                .collect();
            // This worker is held until all that could be taken is taken.
            while taken.load(Ordering::Relaxed) < 100 {
                thread::yield_now();
            }
            assert!(locals.iter().all(|local| !local.is_finished()));
            for local in locals {
                assert_eq!(local.join().unwrap(), here);
            }
            others.into_iter().for_each(|other| {
                other.join().unwrap();
            });
        });
    }
}

/// More bound fibers than any other worker has does not send a local one elsewhere.
#[test]
fn placement_leaves_a_local_fiber_alone() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let here = thread::current().id();
        let all: Vec<_> = (0..200)
            .map(|_| {
                let local = spawn_local(|| {
                    park();
                    thread::current().id()
                });
                yield_now();
                local
            })
            .collect();
        for local in all {
            local.fiber().unpark();
            assert_eq!(local.join().unwrap(), here);
        }
    });
}

#[test]
fn an_async_task_on_a_worker_may_spawn_locally() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let here = thread::current().id();
        let task = tokio::spawn(async move {
            let value = Rc::new(5);
            let ran_on = thread::current().id();
            let fiber = spawn_local(move || (thread::current().id(), *value));
            let (fiber_on, value) = fiber.await.unwrap();
            assert_eq!(ran_on, fiber_on);
            (ran_on, value)
        });
        assert_eq!(block_on(task).unwrap(), (here, 5));
    });
}

/// The worker sleeps in its reactor when the task is woken and spawns.
#[test]
fn a_local_fiber_spawned_outside_of_a_turn_is_run() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for _ in 0..20 {
            let task = tokio::spawn(async {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                let value = Rc::new(Cell::new(1));
                spawn_local(move || value.replace(2)).await.unwrap()
            });
            assert_eq!(block_on(task).unwrap(), 1);
        }
    });
}

#[test]
fn off_a_worker_there_is_no_local_spawn() {
    let drops = Drops::default();
    let attempt = || {
        let held = drops.here();
        let text = panic_text(|| spawn_local(move || drop(held)));
        assert!(text.starts_with("`spawn_local` off a worker"), "{text}");
        let held = drops.here();
        let error = Builder::new().spawn_local(move || drop(held)).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Other, text));
    };
    attempt();
    // A thread of the pool is none either.
    runtime(1).run(|| sisal::unblock(attempt));
    drops.check(4);
}

#[test]
fn the_builders_settings_hold() {
    runtime(1).run(|| {
        let not_send = Rc::new(());
        let builder = Builder::new().name("nib".into()).stack_size(1 << 20);
        let child = builder.spawn_local(move || {
            drop(not_send);
            let used = common::reach(700 << 10, &mut || ());
            (used, fiber::current().name().map(str::to_owned))
        });
        let child = child.unwrap();
        assert_eq!(child.fiber().name(), Some("nib"));
        let (used, name) = child.join().unwrap();
        assert!(used >= 700 << 10);
        assert_eq!(name.as_deref(), Some("nib"));
        let error = Builder::new().stack_size(1).spawn_local(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// A fresh fiber waits for 61 picks for each that is older, and one more for each turn of the other kind:
/// whatever is ready, and whatever is spawned after it.
#[test]
fn a_local_fiber_is_passed_over_as_long_as_any_fresh_one() {
    const BOUND: usize = 62;
    let _watchdog = watchdog(60);

    // Two fibers that yield for ever keep `ready` filled; five of each kind wait.
    runtime(1).run(|| {
        let (picks, stop) = (Count::new(), Arc::new(AtomicBool::new(false)));
        let begun = Count::new();
        let busy: Vec<_> = (0..2)
            .map(|_| {
                let (picks, stop) = (picks.clone(), Arc::clone(&stop));
                let begun = begun.clone();
                spawn(move || {
                    begun.add();
                    while !stop.load(Ordering::Relaxed) {
                        picks.add();
                        yield_now();
                    }
                })
            })
            .collect();
        until(|| begun.get() == 2);
        let start = picks.get();
        let (mut local, mut fresh) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            let seen = picks.clone();
            local.push(spawn_local(move || seen.get()));
            let seen = picks.clone();
            fresh.push(spawn(move || seen.get()));
        }
        for (kind, fibers) in [("local", local), ("fresh", fresh)] {
            for (rank, fiber) in fibers.into_iter().enumerate() {
                let passed = fiber.join().unwrap() - start;
                let bound = (rank + 1) * BOUND;
                assert!(passed <= bound, "{kind} {rank}: {passed} > {bound}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|fiber| fiber.join().unwrap());
    });

    // Each local fiber spawns the next: newest first would never come to the oldest, nor to `fresh`.
    runtime(1).run(|| {
        fn chain(stop: Rc<Cell<bool>>, ran: Rc<Cell<usize>>) {
            ran.set(ran.get() + 1);
            if !stop.get() {
                spawn_local(move || chain(stop, ran));
            }
        }
        let (stop, ran) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let oldest = spawn_local({
            let ran = Rc::clone(&ran);
            move || ran.get()
        });
        let counted = Count::new();
        let fresh = spawn({
            let counted = counted.clone();
            move || counted.add()
        });
        spawn_local({
            let (stop, ran) = (Rc::clone(&stop), Rc::clone(&ran));
            move || chain(stop, ran)
        });
        let passed = oldest.join().unwrap();
        assert!((1..=BOUND).contains(&passed), "{passed}");
        // This fiber waits for `fresh` without being ready, so the chain goes on.
        fresh.join().unwrap();
        assert!(ran.get() <= 2 * BOUND, "{}", ran.get());
        stop.set(true);
    });
}

/// S11: however the fiber ends, its closure and its result are dropped once, on its worker.
#[test]
fn contents_are_dropped_on_their_worker() {
    let _watchdog = watchdog(60);
    let all = Drops::default();
    let run = |f: &(dyn Fn(&Drops) + Sync)| runtime(2).run(|| f(&all));

    // Joined: the closure's and the result.
    run(&|drops| {
        let (held, result) = (drops.here(), drops.here());
        let child = spawn_local(move || {
            let _held = held;
            result
        });
        drop(child.join().unwrap());
        drops.check(2);
    });
    // Detached before it starts, and after it ended.
    run(&|drops| {
        let (held, result) = (drops.here(), drops.here());
        drop(spawn_local(move || (held, result)));
        until(|| drops.drops.get() == 4);
        let result = drops.here();
        let child = spawn_local(move || result);
        until(|| child.is_finished());
        drops.check(4);
        drop(child);
        drops.check(5);
    });
    // A panic, joined and not.
    run(&|drops| {
        for _ in 0..2 {
            let held = drops.here();
            let child = spawn_local(move || {
                let _held = held;
                resume_unwind(Box::new(()))
            });
            let child: JoinHandle<Rc<()>> = child;
            if drops.drops.get() == 5 {
                assert!(child.join().unwrap_err().is_panic());
            } else {
                drop(child);
                until(|| drops.drops.get() == 7);
            }
        }
    });
}

/// There is no room for its stack: the closure is dropped on the worker's own.
#[test]
fn a_local_fiber_without_a_stack_is_dropped_on_its_worker() {
    const TEST: &str = "a_local_fiber_without_a_stack_is_dropped_on_its_worker";
    if common::role().is_none() {
        return common::passes_in_child(TEST, "child", &[]);
    }
    let _watchdog = watchdog(60);
    let all = Drops::default();
    let most = libc::rlimit {
        rlim_cur: 16 << 30,
        rlim_max: 16 << 30,
    };
    // SAFETY: the limit is read here only.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const most) };
    assert_eq!(set, 0);
    runtime(1).run(|| {
        let held = all.here();
        let builder = Builder::new().stack_size(32 << 30);
        let child = builder.spawn_local(move || held).unwrap();
        let error = child.join().map(drop).unwrap_err();
        assert!(error.to_string().contains("no stack"), "{error}");
        all.check(1);
    });
}

/// The result of a local fiber may be `Send` while its closure is not: the handle goes where it likes, the
/// closure does not.
#[test]
fn a_handle_on_another_thread_drops_no_closure() {
    let _watchdog = watchdog(60);
    let (drops, results) = (Drops::default(), Count::new());
    let runtime = runtime(1);
    let open = Arc::new(AtomicBool::new(false));
    let kept = runtime.run(|| {
        let mut handles: Vec<_> = (0..4)
            .map(|_| {
                let (held, result, open) = (drops.here(), results.on_drop(), Arc::clone(&open));
                spawn_local(move || {
                    let _held = held;
                    until(|| open.load(Ordering::Relaxed));
                    result
                })
            })
            .collect();
        // None has started yet: two handles go before that, on another thread; two are kept.
        let kept = handles.split_off(2);
        thread::spawn(move || drop(handles)).join().unwrap();
        drops.check(0);
        open.store(true, Ordering::Relaxed);
        until(|| drops.drops.get() == 4);
        until(|| results.get() == 2);
        kept
    });
    let mut kept = kept.into_iter();
    drop(kept.next().unwrap().join().unwrap());
    assert_eq!(results.get(), 3);
    let last = kept.next().unwrap();
    until(|| last.is_finished());
    drop(last);
    assert_eq!(results.get(), 4);
    drops.check(4);
}

/// A waker or a handle of a fiber frees its record long after its end, on any thread. Nothing of the
/// fiber's is in there any more.
#[test]
fn whoever_frees_the_record_drops_nothing() {
    let _watchdog = watchdog(60);
    let drops = Drops::default();
    sisal::fiber_local!(static LOCAL: RefCell<Option<Here>> = const { RefCell::new(None) });
    let gate = Gate::new();
    let runtime = runtime(1);
    let fiber = runtime.run(|| {
        let (held, result, local) = (drops.here(), drops.here(), drops.here());
        let shut = gate.clone();
        let child = spawn_local(move || {
            LOCAL.set(Some(local));
            let _held = held;
            block_on(shut);
            result
        });
        gate.wait_polls(1);
        let fiber = child.fiber().clone();
        drop(child);
        fiber
    });
    let waker = gate.waker();
    gate.open();
    until(|| drops.drops.get() == 3);
    drop(runtime);
    drops.check(3);
    waker.wake_by_ref();
    fiber.unpark();
    thread::spawn(move || drop((waker, fiber))).join().unwrap();
    drops.check(3);
}

/// Holds the caller's worker until a spawn is refused.
fn hold_until_closed(handle: &Handle) {
    loop {
        let ran = Count::new();
        let theirs = ran.clone();
        let probe = handle.spawn(move || theirs.add());
        if probe.is_finished() && ran.get() == 0 {
            return;
        }
        thread::yield_now();
    }
}

/// A closed runtime: fibers that wait are unwound, those that have not begun are only dropped, those that
/// come later end at once; all on their worker, a fiber's own stack or its spawner's.
#[test]
fn a_shutdown_drops_contents_on_their_worker() {
    let _watchdog = watchdog(60);
    let drops = Drops::default();
    let runtime = runtime(2);
    let handle = runtime.handle().clone();
    let made = Count::new();
    let (ready, all_ready) = mpsc::channel();
    for worker in runtime.run(|| one_on_each_worker(2, |n| n)) {
        let (drops, made, ready, handle) =
            (drops.clone(), made.clone(), ready.clone(), handle.clone());
        let here = move || {
            made.add();
            drops.here()
        };
        runtime.spawn(move || {
            let parked = here();
            spawn_local(move || {
                let _parked = parked;
                park();
            });
            yield_now();
            let in_drop = here();
            // Holds its worker from here on, until the runtime is closed.
            let fresh = here();
            spawn_local(move || drop(fresh));
            ready.send(worker).unwrap();
            hold_until_closed(&handle);
            let late = here();
            let refused = spawn_local(move || late);
            // Nobody else could have run it meanwhile.
            assert!(refused.is_finished());
            drop(refused);
            let _spawns = Defer(move || {
                let late = here();
                spawn_local(move || late);
            });
            drop(in_drop);
            park();
        });
    }
    for _ in 0..2 {
        all_ready.recv().unwrap();
    }
    runtime
        .shutdown_timeout(std::time::Duration::from_secs(50))
        .unwrap();
    drops.check(made.get());
    assert_eq!(made.get(), 10);
}

/// Cancelled before its first run: the closure is dropped on a fiber's stack, where its destructor may wait.
#[test]
fn a_closure_that_never_ran_may_wait_in_its_destructor() {
    let _watchdog = watchdog(60);
    let (drops, waited) = (Drops::default(), Count::new());
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let (ready, all_ready) = mpsc::channel();
    let counts = (drops.clone(), waited.clone());
    runtime.spawn(move || {
        let (drops, waited) = counts;
        let held = drops.here();
        let waits = Defer(move || {
            yield_now();
            waited.add();
        });
        spawn_local(move || drop((held, waits)));
        ready.send(()).unwrap();
        hold_until_closed(&handle);
    });
    all_ready.recv().unwrap();
    drop::<Runtime>(runtime);
    drops.check(1);
    assert_eq!(waited.get(), 1);
}

/// Spawned by many, everywhere, with some handles thrown away: each runs once, where it was spawned.
#[test]
fn many_local_fibers() {
    let _watchdog = watchdog(120);
    let (drops, ran) = (Drops::default(), Count::new());
    runtime(2).run(|| {
        fiber::scope(|s| {
            for n in 0..50 {
                let (drops, ran) = (&drops, &ran);
                s.spawn(move || {
                    let mut kept = Vec::new();
                    for m in 0..20 {
                        let (held, ran) = (drops.here(), ran.clone());
                        let child = spawn_local(move || {
                            if (n + m) % 3 == 0 {
                                yield_now();
                            }
                            ran.add();
                            held
                        });
                        if m % 2 == 0 {
                            kept.push(child);
                        }
                    }
                    kept.into_iter().for_each(|child| drop(child.join()));
                });
            }
        });
        until(|| drops.drops.get() == 1000);
    });
    assert_eq!(ran.get(), 1000);
    drops.check(1000);
}
