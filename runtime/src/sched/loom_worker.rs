//! Models of the worker itself: its real turns over the real shared part, with fibers that switch.
//!
//! Protocols: README.md of this folder, "Sleep and wake" and "Shutdown and termination detection".
//!
//! Left out: tokio (a worker sleeps on a `Bell` instead of in its reactor), and crossbeam's deque and
//! injector (`loom_deque.rs` stands in for them).

use std::sync::{Arc, Mutex};
use std::task::Waker;

use loom::sync::Condvar;
use loom::thread::{self, JoinHandle};

use super::{Deque, Worker};
use crate::driver::{Driver, Turn};
use crate::fiber::{FiberPtr, FiberRef, Running, TOKEN};
use crate::loom_support::{Bell, explore, explore_within, fiber, runtime};
use crate::sched::Shared;
use crate::shim::Ordering;

/// As `worker::main` makes it. The thread-local context stays empty: to loom all threads are one.
fn worker(shared: &Arc<Shared>, index: usize, deque: Deque<FiberPtr>) -> Worker {
    let threads = &shared.workers[index].blocking;
    let reactor = Driver::new(None, 1, threads, Some(super::WAITS))
        .unwrap()
        .reactor();
    Worker::new(Arc::clone(shared), index, deque, reactor)
}

/// Runs a worker until it exits, as `Driver::drive` does. After each turn it calls `task`, on its own
/// stack: what an async task or a waker does there.
pub(super) fn start_with(
    shared: &Arc<Shared>,
    index: usize,
    deque: Deque<FiberPtr>,
    task: impl Fn(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    start_made(shared, index, deque, |_| (), task)
}

/// The same, and tells `made` of the worker before its first turn.
pub(super) fn start_made(
    shared: &Arc<Shared>,
    index: usize,
    deque: Deque<FiberPtr>,
    made: impl FnOnce(&Worker) + Send + 'static,
    task: impl Fn(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    start_in_time(shared, index, deque, true, made, task, |_| ())
}

/// The same; after each sleep it calls `stirred`: what an async task does that was woken with the worker.
pub(super) fn start_stirred(
    shared: &Arc<Shared>,
    index: usize,
    deque: Deque<FiberPtr>,
    made: impl FnOnce(&Worker) + Send + 'static,
    stirred: impl Fn(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    start_in_time(shared, index, deque, true, made, |_| (), stirred)
}

/// The same as `start_with`, and its timers never come.
pub(super) fn start_timeless(
    shared: &Arc<Shared>,
    index: usize,
    deque: Deque<FiberPtr>,
    task: impl Fn(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    start_in_time(shared, index, deque, false, |_| (), task, |_| ())
}

fn start_in_time(
    shared: &Arc<Shared>,
    index: usize,
    deque: Deque<FiberPtr>,
    timers: bool,
    made: impl FnOnce(&Worker) + Send + 'static,
    task: impl Fn(&Worker) + Send + 'static,
    stirred: impl Fn(&Worker) + Send + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    let run = move || {
        let worker = worker(&shared, index, deque);
        // As `main` asks its reactor.
        let waits = shared.workers.len() > 1;
        made(&worker);
        let bell = Bell::new();
        let waker = Waker::from(Arc::clone(&bell));
        loop {
            let turn = worker.turn(&waker);
            if turn == Turn::Exit {
                break;
            }
            task(&worker);
            if turn == Turn::Again {
                continue;
            }
            if waits {
                worker.rest();
            }
            match turn {
                // The timer may be first.
                Turn::SleepUntil(_) if timers => thread::yield_now(),
                _ => bell.wait(),
            }
            if waits {
                worker.stir();
            }
            stirred(&worker);
        }
        assert!(worker.queues.is_empty(), "an exit leaves a fiber behind");
        assert!(worker.bound.borrow().is_empty(), "or on its stack");
    };
    // Words. A worker's turn needs more than loom's default.
    let builder = thread::Builder::new().stack_size(0x4000);
    builder.spawn(run).unwrap()
}

pub(super) fn start(shared: &Arc<Shared>, index: usize, deque: Deque<FiberPtr>) -> JoinHandle<()> {
    start_with(shared, index, deque, |_| ())
}

fn start_all(shared: &Arc<Shared>, deques: Vec<Deque<FiberPtr>>) -> Vec<JoinHandle<()>> {
    let start = |(index, deque)| start(shared, index, deque);
    deques.into_iter().enumerate().map(start).collect()
}

/// Closes the runtime, and waits for its workers.
pub(super) fn end(shared: &Shared, workers: Vec<JoinHandle<()>>) {
    shared.close();
    for worker in workers {
        worker.join().unwrap();
    }
}

/// A fiber spawned from outside is run, whatever its worker does meanwhile.
#[test]
fn loom_worker_spawn_against_sleep() {
    explore(500, || {
        let (shared, deques) = runtime(1);
        let workers = start_all(&shared, deques);
        let (own, handle) = fiber(shared.clone(), || ());
        shared.spawn(shared.here(), own);
        while !handle.is_done() {
            thread::yield_now();
        }
        end(&shared, workers);
        assert_eq!(shared.live(), 0);
    });
}

/// A fiber that parks, on a stack of its own, and a wake from another thread.
#[test]
fn loom_worker_wake_against_park() {
    explore(1000, || {
        let (shared, deques) = runtime(1);
        let workers = start_all(&shared, deques);
        let me = Arc::new(Mutex::new(None));
        let (own, handle) = fiber(shared.clone(), {
            let me = Arc::clone(&me);
            move || {
                let me = me.lock().unwrap().unwrap();
                // SAFETY: on the fiber's own stack.
                let running = unsafe { Running::new(me) };
                while !running.header().take(TOKEN) {
                    running.park();
                }
            }
        });
        *me.lock().unwrap() = Some(own);
        shared.spawn(shared.here(), own);
        handle.wake(TOKEN);
        while !handle.is_done() {
            thread::yield_now();
        }
        end(&shared, workers);
        assert_eq!(shared.live(), 0);
    });
}

/// A spawn from outside while the runtime closes: the fiber is refused, or the workers wait for it.
#[test]
fn loom_worker_spawn_against_close() {
    explore(1000, || {
        let (shared, deques) = runtime(1);
        let workers = start_all(&shared, deques);
        let spawner = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (own, handle) = fiber(shared.clone(), || ());
                shared.spawn(shared.here(), own);
                handle
            })
        };
        end(&shared, workers);
        assert!(spawner.join().unwrap().is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// Two workers that end their last fibers at the same time: one of them says that all is over.
#[test]
fn loom_worker_two_last_fibers() {
    explore_within(2, 1000, || {
        let (shared, deques) = runtime(2);
        let (first, first_handle) = fiber(shared.clone(), || ());
        let (second, second_handle) = fiber(shared.clone(), || ());
        shared.spawn(shared.here(), first);
        shared.spawn(shared.here(), second);
        let workers = start_all(&shared, deques);
        end(&shared, workers);
        assert!(first_handle.is_done() && second_handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// When it is dropped, what follows is other models' matter.
pub(super) struct TheRest;

impl Drop for TheRest {
    fn drop(&mut self) {
        loom::skip_branch();
    }
}

/// How many hogs run, and where they wait for the second.
pub(super) type Hogs = Arc<(loom::sync::Mutex<usize>, Condvar)>;

pub(super) fn hogs() -> Hogs {
    Arc::new((loom::sync::Mutex::new(0), Condvar::new()))
}

/// A fiber that blocks its worker, as no fiber should, until two of its kind run at once. The second
/// closes the runtime.
pub(super) fn hog(shared: &Arc<Shared>, hogs: &Hogs) -> (FiberPtr, FiberRef) {
    let (scheduler, shared, hogs) = (shared.clone(), Arc::clone(shared), Arc::clone(hogs));
    fiber(scheduler, move || {
        let (running, both) = &*hogs;
        let mut running = running.lock().unwrap();
        *running += 1;
        if *running == 2 {
            drop(TheRest);
            both.notify_one();
            drop(running);
            shared.close();
            return;
        }
        while *running < 2 {
            running = both.wait(running).unwrap();
        }
    })
}

/// Spawns from outside do not wait behind a fiber that hogs its worker.
#[test]
fn loom_worker_second_worker_helps() {
    explore_within(2, 1000, || {
        let (shared, deques) = runtime(2);
        let workers = start_all(&shared, deques);
        let hogs = hogs();
        let handles = [(); 2].map(|()| {
            let (own, handle) = hog(&shared, &hogs);
            shared.spawn(shared.here(), own);
            handle
        });
        for worker in workers {
            worker.join().unwrap();
        }
        assert!(handles.iter().all(|handle| handle.is_done()));
        assert_eq!(shared.live(), 0);
    });
}

/// What a fiber spawns does not wait behind it: another worker takes it.
#[test]
fn loom_worker_fresh_is_stolen() {
    explore_within(2, 500, || {
        let (shared, mut deques) = runtime(2);
        let hogs = hogs();
        let helper = start(&shared, 1, deques.pop().unwrap());
        let (first, first_handle) = hog(&shared, &hogs);
        let (second, second_handle) = hog(&shared, &hogs);
        let both = Mutex::new(Some((first, second)));
        // The first is put where the second comes from; what is left is `Shared::spawn`.
        let owner = start_with(&shared, 0, deques.pop().unwrap(), move |worker| {
            if let Some((first, second)) = both.lock().unwrap().take() {
                worker.shared.spawn_on(worker, first);
                worker.shared.spawn_on(worker, second);
            }
        });
        helper.join().unwrap();
        owner.join().unwrap();
        assert!(first_handle.is_done() && second_handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// A fiber spawns another while the runtime closes: nobody counts its end without the other's spawn.
#[test]
fn loom_worker_child_against_close() {
    explore_within(2, 500, || {
        let (shared, mut deques) = runtime(2);
        let helper = start(&shared, 1, deques.pop().unwrap());
        let here = Arc::new(Mutex::new(0));
        let (child, _) = fiber(shared.clone(), || ());
        let (parent, _) = fiber(shared.clone(), {
            let here = Arc::clone(&here);
            move || {
                let worker = *here.lock().unwrap() as *const Worker;
                // SAFETY: the worker whose queue the parent is in outlives it.
                let worker = unsafe { &*worker };
                worker.shared.spawn_on(worker, child);
            }
        });
        // Not where it can be stolen.
        shared.outside.spawned.fetch_add(1, Ordering::SeqCst);
        let made = move |worker: &Worker| {
            worker.queues.push_local(parent);
            *here.lock().unwrap() = std::ptr::from_ref(worker) as usize;
        };
        let spawner = start_made(&shared, 0, deques.pop().unwrap(), made, |_| ());
        end(&shared, vec![helper, spawner]);
        assert_eq!(shared.live(), 0);
    });
}

/// A spawn that is refused is counted for a moment. Whoever ends the last fiber in that moment is
/// told when it is over.
#[test]
fn loom_worker_refused_spawn_against_last_end() {
    explore_within(2, 500, || {
        let (shared, mut deques) = runtime(2);
        let (last, handle) = fiber(shared.clone(), || ());
        shared.spawn(shared.here(), last);
        let helper = start(&shared, 1, deques.pop().unwrap());
        let refused = Mutex::new(false);
        let spawner = start_with(&shared, 0, deques.pop().unwrap(), move |worker| {
            let mut refused = refused.lock().unwrap();
            if !*refused && worker.shared.shutdown.is_closed() {
                *refused = true;
                let (fiber, _) = fiber(worker.shared.clone(), || ());
                worker.shared.spawn_on(worker, fiber);
            }
        });
        end(&shared, vec![helper, spawner]);
        assert!(handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// A worker with more than its share spawns outside of its turns: whoever is to take the fiber is awake,
/// or woken.
#[test]
fn loom_worker_task_spawns_elsewhere() {
    explore_within(2, 200, || {
        let (shared, mut deques) = runtime(2);
        let helper = start(&shared, 1, deques.pop().unwrap());
        let (own, handle) = fiber(shared.clone(), {
            let shared = Arc::clone(&shared);
            move || {
                drop(TheRest);
                shared.close();
            }
        });
        let left = Mutex::new(Some(own));
        let spawner = start_with(&shared, 0, deques.pop().unwrap(), move |worker| {
            if let Some(fiber) = left.lock().unwrap().take() {
                worker.remote().bound.store(100, Ordering::Relaxed);
                worker.remote().load.store(100, Ordering::Relaxed);
                worker.shared.spawn_on(worker, fiber);
            }
        });
        helper.join().unwrap();
        spawner.join().unwrap();
        assert!(handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// An async task of a worker's, which is no fiber, spawns while the runtime closes.
#[test]
fn loom_worker_task_spawns_against_close() {
    explore(1000, || {
        let (shared, mut deques) = runtime(2);
        let spawned = Arc::new(Mutex::new(None));
        let helper = start(&shared, 1, deques.pop().unwrap());
        let by_task = Arc::clone(&spawned);
        let spawner = start_with(&shared, 0, deques.pop().unwrap(), move |worker| {
            let mut spawned = by_task.lock().unwrap();
            if spawned.is_some() {
                return;
            }
            let rest = TheRest;
            let (fiber, handle) = fiber(worker.shared.clone(), move || drop(rest));
            *spawned = Some(handle);
            drop(spawned);
            worker.shared.spawn_on(worker, fiber);
        });
        end(&shared, vec![helper, spawner]);
        if let Some(handle) = &*spawned.lock().unwrap() {
            assert!(handle.is_done());
        }
        assert_eq!(shared.live(), 0);
    });
}
