//! Fairness: a fiber whose operations are always ready stops neither timers, nor I/O, nor tasks of
//! its worker; and the budget that sees to it costs next to no wasted poll.

mod common;

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Count, counted, runtime, until, watchdog};
use sisal::fiber::{current, park, scope, sleep_until, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{block_on, unblock};

const TICKS: usize = 50;

/// On one worker: a fiber repeats `op`, made by `prepare`, until another has seen `TICKS` ticks of
/// a 1 ms timer. If the first could hold the worker this would never end.
fn ticks_beside<P, O>(prepare: P)
where
    P: FnOnce() -> O + Send,
    O: FnMut(),
{
    let _watchdog = watchdog(120);
    let (done, ops) = (AtomicBool::new(false), Count::new());
    let ops_at_tick = runtime(1).run(|| {
        scope(|s| {
            s.spawn(|| {
                let mut op = prepare();
                while !done.load(Ordering::Relaxed) {
                    op();
                    ops.add();
                }
            });
            let ticker = s.spawn(|| {
                let mut ops_at_tick = Vec::new();
                block_on(async {
                    let mut interval = tokio::time::interval(Duration::from_millis(1));
                    // Each tick is waited for: the looper has the worker in between.
                    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    for _ in 0..TICKS {
                        interval.tick().await;
                        ops_at_tick.push(ops.get());
                    }
                });
                done.store(true, Ordering::Relaxed);
                ops_at_tick
            });
            ticker.join().unwrap()
        })
    });
    assert_eq!(ops_at_tick.len(), TICKS);
    assert!(
        ops_at_tick.is_sorted() && ops_at_tick[0] < ops_at_tick[TICKS - 1],
        "the looper did not loop beside the timer: {ops_at_tick:?}"
    );
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far)
}

#[test]
fn a_timer_ticks_beside_a_loop_over_a_ready_semaphore() {
    ticks_beside(|| {
        let semaphore = tokio::sync::Semaphore::new(1);
        move || drop(block_on(semaphore.acquire()).unwrap())
    });
}

/// One `block_on` that is always ready inside: tokio's budget alone makes it come back (a worker
/// whose root future were unconstrained would never see another fiber).
#[test]
fn a_timer_ticks_beside_one_future_that_loops_over_a_ready_semaphore() {
    let _watchdog = watchdog(120);
    let done = AtomicBool::new(false);
    runtime(1).run(|| {
        scope(|s| {
            s.spawn(|| {
                let semaphore = tokio::sync::Semaphore::new(1);
                block_on(async {
                    while !done.load(Ordering::Relaxed) {
                        drop(semaphore.acquire().await.unwrap());
                    }
                });
            });
            for _ in 0..TICKS {
                block_on(tokio::time::sleep(Duration::from_millis(1)));
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_a_ready_tokio_channel() {
    ticks_beside(|| {
        let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel();
        move || {
            tx.send(1).unwrap();
            assert_eq!(block_on(rx.recv()), Some(1));
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_ready_peeks() {
    ticks_beside(|| {
        let (near, mut far) = connected();
        far.write_all(b"always there").unwrap();
        move || {
            // The far end lives as long as the loop.
            let _ = &far;
            assert_eq!(near.peek(&mut [0; 5]).unwrap(), 5);
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_ready_writes_and_reads() {
    ticks_beside(|| {
        let (mut near, mut far) = connected();
        move || {
            far.write_all(b"x").unwrap();
            near.read_exact(&mut [0]).unwrap();
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_reads_with_a_timeout() {
    ticks_beside(|| {
        let (near, mut far) = connected();
        near.set_read_timeout(Some(Duration::from_secs(3600)))
            .unwrap();
        far.write_all(b"always there").unwrap();
        move || {
            let _ = &far;
            assert_eq!(near.peek(&mut [0; 5]).unwrap(), 5);
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_yields() {
    ticks_beside(|| yield_now);
}

#[test]

fn a_timer_ticks_beside_a_loop_over_sleeps_that_are_over() {
    ticks_beside(|| {
        let past = Instant::now() - Duration::from_secs(1);
        move || sleep_until(past)
    });
}

#[test]

fn a_timer_ticks_beside_a_loop_over_parks_with_their_token_there() {
    ticks_beside(|| {
        let me = current();
        move || {
            me.unpark();
            park();
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_spawns_and_joins() {
    ticks_beside(|| || spawn(|| ()).join().unwrap());
}

#[test]
fn a_timer_ticks_beside_a_loop_over_fibers_that_wake_each_other() {
    // Each wakes the other into the slot that goes before all others, for ever.
    ticks_beside(|| {
        let me = current();
        let other = spawn(move || {
            loop {
                park();
                me.unpark();
            }
        });
        move || {
            other.fiber().unpark();
            park();
        }
    });
}

#[test]
fn a_timer_ticks_beside_a_loop_over_futures_that_wake_themselves() {
    ticks_beside(|| || block_on(tokio::task::yield_now()));
}

/// A future that waits by blocking code inside an unconstrained one must not take the budget from
/// whoever runs meanwhile.
#[test]

fn a_timer_ticks_beside_a_ready_loop_and_a_wait_in_an_unconstrained_future() {
    ticks_beside(|| {
        let unconstrained = spawn(|| {
            block_on(tokio::task::unconstrained(async {
                loop {
                    yield_now();
                }
            }))
        });
        drop(unconstrained);
        let semaphore = tokio::sync::Semaphore::new(1);
        move || drop(block_on(semaphore.acquire()).unwrap())
    });
}

#[test]
fn async_tasks_and_sockets_go_on_beside_a_loop_over_yields() {
    let _watchdog = watchdog(120);
    let done = AtomicBool::new(false);
    runtime(1).run(|| {
        scope(|s| {
            s.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    yield_now();
                }
            });
            // A task of this worker's answers on a socket of this worker's reactor.
            let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let addr = listener.local_addr().unwrap();
            let echo = tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut peer, _) = listener.accept().await.unwrap();
                for _ in 0..TICKS {
                    let byte = peer.read_u8().await.unwrap();
                    peer.write_u8(byte + 1).await.unwrap();
                }
            });
            let mut stream = TcpStream::connect(addr).unwrap();
            for n in 0..TICKS as u8 {
                stream.write_all(&[n]).unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [n + 1]);
            }
            block_on(echo).unwrap();
            done.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn blocking_closures_come_back_beside_a_loop_over_yields() {
    let _watchdog = watchdog(120);
    let done = AtomicBool::new(false);
    runtime(1).run(|| {
        scope(|s| {
            s.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    yield_now();
                }
            });
            assert_eq!((0..TICKS).map(|n| unblock(|| n)).sum::<usize>(), 1225);
            done.store(true, Ordering::Relaxed);
        });
    });
}

/// Two fibers that wake each other, and a third that yields, on one worker.
#[test]
fn a_yielding_fiber_goes_on_beside_two_that_wake_each_other() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let me = current();
        let other = spawn(move || {
            loop {
                park();
                me.unpark();
            }
        });
        let turns = Count::new();
        let third = spawn({
            let turns = turns.clone();
            move || {
                while turns.add() < 100 {
                    yield_now();
                }
            }
        });
        while !third.is_finished() {
            other.fiber().unpark();
            park();
        }
    });
}

/// Fresh fibers are run newest first, mostly: one that only spawns the next must not shut out an
/// old one.
#[test]
fn an_old_fresh_fiber_runs_beside_ever_newer_ones() {
    fn spawn_next(stop: &Count) {
        if stop.get() == 0 {
            let stop = stop.clone();
            drop(spawn(move || spawn_next(&stop)));
        }
    }
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let stop = Count::new();
        let old = spawn({
            let stop = stop.clone();
            move || stop.add()
        });
        spawn_next(&stop);
        old.join().unwrap();
    });
}

/// A worker that never runs dry has an eye on what comes from elsewhere.
#[test]
fn fibers_from_outside_run_beside_a_loop_over_yields() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (begun, stop) = (Count::new(), Count::new());
    let looper = runtime.spawn({
        let (begun, stop) = (begun.clone(), stop.clone());
        move || {
            while stop.get() == 0 {
                begun.add();
                yield_now();
            }
        }
    });
    until(|| begun.get() > 0);
    // Spawned by this thread, and then woken by it.
    let woken = Count::new();
    let fiber = runtime.spawn({
        let woken = woken.clone();
        move || {
            for _ in 0..10 {
                woken.add();
                park();
            }
        }
    });
    for n in 1..=10 {
        until(|| woken.get() == n);
        fiber.fiber().unpark();
    }
    fiber.join().unwrap();
    stop.add();
    looper.join().unwrap();
}

/// `fibers` fibers on one worker, each with `each` operations that are ready but spend budget.
/// Returns the operations and the polls they took.
fn polls_of(fibers: usize, each: usize, yielding: bool) -> (usize, usize) {
    let _watchdog = watchdog(120);
    let (polls, ops) = (Count::new(), Count::new());
    let semaphore = tokio::sync::Semaphore::new(tokio::sync::Semaphore::MAX_PERMITS);
    runtime(1).run(|| {
        scope(|s| {
            for _ in 0..fibers {
                s.spawn(|| {
                    for _ in 0..each {
                        drop(block_on(counted(&polls, semaphore.acquire())).unwrap());
                        ops.add();
                        if yielding {
                            yield_now();
                        }
                    }
                });
            }
        });
    });
    assert_eq!(ops.get(), fibers * each);
    (ops.get(), polls.get())
}

#[test]
fn ten_thousand_fibers_cost_no_wasted_poll_each() {
    let (ops, polls) = polls_of(10_000, 1, false);
    assert!(
        polls <= ops + ops / 100,
        "{polls} polls for {ops} operations"
    );
}

#[test]
fn yielding_fibers_cost_no_wasted_poll_each() {
    let (ops, polls) = polls_of(10_000, 5, true);
    assert!(
        polls <= ops + ops / 100,
        "{polls} polls for {ops} operations"
    );
}

/// One poll in 128 is told to come again: that is the budget at work.
#[test]
fn long_running_fibers_waste_one_poll_in_a_hundred_at_most() {
    let (ops, polls) = polls_of(100, 1_000, false);
    assert!(polls > ops, "the budget was never spent");
    assert!(
        polls <= ops + ops / 100,
        "{polls} polls for {ops} operations"
    );
}
