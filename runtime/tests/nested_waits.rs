//! Waits inside waits: each has a condition of its own, so none eats a wake meant for another, and
//! the user's park token is touched by `park` and `unpark` alone.

mod common;

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::pin::pin;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use common::{Count, Gate, counted, panic_text, runtime, settle, until, watchdog};
use sisal::fiber::{current, park, park_timeout, scope, sleep, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{block_on, unblock};

/// A future that does `work`, which may wait, in each poll, and then is as ready as `gate`.
fn with_work(gate: &Gate, work: impl Fn()) -> impl Future<Output = ()> {
    let gate = gate.clone();
    let mut gate = Box::pin(gate);
    poll_fn(move |cx| {
        work();
        gate.as_mut().poll(cx)
    })
}

#[test]
fn an_inner_wait_is_one_poll_of_the_outer() {
    let _watchdog = watchdog(60);
    let (inner, polls) = (Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| block_on(counted(&polls, async { block_on(inner.clone()) })));
            inner.wait_polls(1);
            settle();
            assert_eq!((inner.polls(), polls.get()), (1, 0));
            inner.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((inner.polls(), polls.get()), (2, 1));
}

/// The outer future's own wake comes while its poll waits for something else: the inner wait does not
/// take it for its own, and the outer one sees it when its turn comes.
#[test]
fn the_outers_wake_waits_for_the_inner_to_end() {
    let _watchdog = watchdog(60);
    let (outer, first, inner) = (Gate::new(), Gate::new(), Gate::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                let mut outer = pin!(outer.clone());
                let polls = Count::new();
                block_on(poll_fn(|cx| {
                    let poll = outer.as_mut().poll(cx);
                    // The first poll leaves the outer waker at `outer`, then waits.
                    if polls.add() == 1 {
                        block_on(first.clone());
                        block_on(inner.clone());
                    }
                    poll
                }));
                polls.get()
            });
            first.wait_polls(1);
            outer.open();
            settle();
            assert_eq!((outer.polls(), first.polls(), inner.polls()), (1, 1, 0));
            first.open();
            inner.wait_polls(1);
            settle();
            assert_eq!((outer.polls(), first.polls(), inner.polls()), (1, 2, 1));
            inner.open();
            assert_eq!(waiter.join().unwrap(), 2);
        });
    });
    assert_eq!((outer.polls(), first.polls(), inner.polls()), (2, 2, 2));
}

/// A waker of an inner wait that is over polls neither the outer future nor a later inner one.
#[test]
fn the_inners_wake_is_not_the_outers() {
    let _watchdog = watchdog(60);
    let (outer, inner, later) = (Gate::new(), Gate::new(), Gate::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(async {
                    block_on(inner.clone());
                    outer.clone().await;
                    block_on(later.clone());
                });
            });
            inner.wait_polls(1);
            let stale = inner.waker();
            inner.open();
            outer.wait_polls(1);
            stale.wake_by_ref();
            settle();
            assert_eq!(outer.polls(), 1, "the inner waker polled the outer future");
            outer.open();
            later.wait_polls(1);
            stale.wake();
            settle();
            assert_eq!(later.polls(), 1, "a waker polled a wait that it is not of");
            later.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((outer.polls(), inner.polls(), later.polls()), (2, 2, 2));
}

#[test]
fn every_level_has_its_own_wake() {
    const LEVELS: usize = 20;
    let _watchdog = watchdog(60);
    let gates: Vec<Gate> = (0..LEVELS).map(|_| Gate::new()).collect();
    fn wait_for_all(gates: &[Gate]) {
        if let Some((gate, rest)) = gates.split_first() {
            // Its waker is left, then the next levels wait in the same poll.
            let mut gate = pin!(gate.clone());
            let mut first = true;
            block_on(poll_fn(|cx| {
                let poll = gate.as_mut().poll(cx);
                if std::mem::take(&mut first) {
                    wait_for_all(rest);
                }
                poll
            }));
        }
    }
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| wait_for_all(&gates));
            gates[LEVELS - 1].wait_polls(1);
            // From the outermost inward: each wake but the last is for a wait that cannot go on yet.
            for gate in &gates {
                settle();
                gate.open();
            }
            waiter.join().unwrap();
        });
    });
    assert!(gates.iter().all(|gate| gate.polls() == 2));
}

#[test]
fn inner_waits_of_every_kind_are_part_of_one_poll() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let other = common::runtime(1);
    let (gate, begun, polls) = (Gate::new(), Count::new(), Count::new());
    runtime.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        scope(|s| {
            s.spawn(|| {
                // Answers late, so that the read waits.
                let (mut peer, _) = listener.accept().unwrap();
                settle();
                peer.write_all(b"x").unwrap();
            });
            let waiter = s.spawn(|| {
                let (gate, begun, polls) = (&gate, &begun, &polls);
                block_on(counted(
                    polls,
                    with_work(gate, || {
                        begun.add();
                        yield_now();
                        sleep(Duration::from_millis(1));
                        park_timeout(Duration::from_millis(1));
                        assert_eq!(spawn(|| 1).join().unwrap(), 1);
                        assert_eq!(scope(|s| s.spawn(|| 2).join().unwrap()), 2);
                        assert_eq!(unblock(|| 3), 3);
                        assert_eq!(runtime.run(|| 4), 4);
                        assert_eq!(other.run(|| 5), 5);
                        if polls.get() == 0 {
                            let mut stream = TcpStream::connect(addr).unwrap();
                            stream.read_exact(&mut [0]).unwrap();
                        }
                        let me = current();
                        let helper = spawn(move || me.unpark());
                        park();
                        helper.join().unwrap();
                    }),
                ));
            });
            gate.wait_polls(1);
            settle();
            // A wake of any of the inner waits would have polled the outer one again.
            assert_eq!((begun.get(), polls.get()), (1, 1));
            gate.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((gate.polls(), polls.get()), (2, 2));
}

/// All the while the outer future's wake is there already.
#[test]
fn inner_waits_of_every_kind_hold_while_the_outer_is_woken() {
    let _watchdog = watchdog(60);
    let (stages, polls) = (Count::new(), Count::new());
    let (go, gone) = (Gate::new(), Gate::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(poll_fn(|cx| {
                    if polls.add() == 2 {
                        return Poll::Ready(());
                    }
                    let wake = || cx.waker().wake_by_ref();
                    wake();
                    park();
                    stages.add();
                    wake();
                    let child = spawn({
                        let go = go.clone();
                        move || block_on(go)
                    });
                    child.join().unwrap();
                    stages.add();
                    wake();
                    scope(|s| s.spawn(|| block_on(gone.clone())).join().unwrap());
                    stages.add();
                    Poll::Pending
                }));
            });
            until(|| polls.get() == 1);
            settle();
            assert_eq!(stages.get(), 0, "a wake ended a `park`");
            waiter.fiber().unpark();
            settle();
            assert_eq!(stages.get(), 1, "a wake ended a `join`");
            go.open();
            settle();
            assert_eq!(stages.get(), 2, "a wake ended a `scope`");
            gone.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((stages.get(), polls.get()), (3, 2));
}

#[test]
fn a_panic_in_an_inner_wait_leaves_the_outer_whole() {
    let _watchdog = watchdog(60);
    let (gate, after) = (Gate::new(), Gate::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(async {
                    let inner = || block_on(async { block_on(async { panic!("inner") }) });
                    assert_eq!(panic_text(inner), "inner");
                    gate.clone().await;
                });
                // An outermost wait again: were the depth off, its wakes would be misplaced.
                block_on(after.clone());
            });
            gate.wait_polls(1);
            gate.open();
            after.wait_polls(1);
            settle();
            assert_eq!((gate.polls(), after.polls()), (2, 1));
            after.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!((gate.polls(), after.polls()), (2, 2));
}

/// What a fiber may do between an `unpark` of it and its `park`.
fn in_between() -> Vec<(&'static str, fn())> {
    vec![
        ("nothing", || ()),
        ("yield_now", || yield_now()),
        ("sleep", || sleep(Duration::from_millis(1))),
        ("join", || spawn(|| yield_now()).join().unwrap()),
        ("await of a join handle", || {
            block_on(spawn(|| yield_now())).unwrap();
        }),
        ("scope", || {
            scope(|s| {
                s.spawn(|| yield_now());
            });
        }),
        ("run", || sisal::Handle::current().run(|| yield_now())),
        ("unblock", || unblock(thread::yield_now)),
        ("block_on a timer", || {
            block_on(tokio::time::sleep(Duration::from_millis(1)));
        }),
        ("block_on with a self wake", || {
            block_on(tokio::task::yield_now());
        }),
        ("nested block_on", || {
            block_on(async { block_on(tokio::task::yield_now()) });
        }),
        ("accept, connect, read", || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let server = spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                yield_now();
                peer.write_all(b"x").unwrap();
            });
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.read_exact(&mut [0]).unwrap();
            server.join().unwrap();
        }),
        ("a wait that a panic ends", || {
            panic_text(|| {
                block_on(async {
                    yield_now();
                    panic!("over");
                })
            });
        }),
    ]
}

/// `unpark`, then a wait of any other kind, then `park`: the token is there, and it is one.
#[test]
fn the_park_token_survives_every_other_wait() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for (name, wait) in in_between() {
            // Before the wait, and during it (where that can be told: before the first switch).
            for when in ["by itself", "by another fiber", "by a thread"] {
                runtime(workers).run(|| {
                    let (me, parked) = (current(), Count::new());
                    let unparking = match when {
                        "by itself" => {
                            me.unpark();
                            None
                        }
                        "by another fiber" => {
                            spawn(move || me.unpark()).join().unwrap();
                            None
                        }
                        _ => Some(thread::spawn(move || me.unpark())),
                    };
                    wait();
                    if let Some(thread) = unparking {
                        // It may have come during the wait.
                        thread.join().unwrap();
                    }
                    park();
                    parked.add();
                    // The token was one: without another, `park_timeout` runs its time.
                    let before = std::time::Instant::now();
                    park_timeout(Duration::from_millis(2));
                    assert!(
                        before.elapsed() >= Duration::from_millis(2),
                        "{name}, unparked {when}, {workers} workers: a token too many"
                    );
                });
            }
        }
    }
}

/// No wait of another kind leaves a token behind.
#[test]
fn no_other_wait_leaves_a_token() {
    let _watchdog = watchdog(60);
    let stages = Count::new();
    runtime(1).run(|| {
        for (name, wait) in in_between() {
            let before = stages.get();
            scope(|s| {
                let waiter = s.spawn(|| {
                    wait();
                    stages.add();
                    park();
                    stages.add();
                });
                until(|| stages.get() == before + 1);
                settle();
                assert_eq!(stages.get(), before + 1, "{name} left a token");
                waiter.fiber().unpark();
                waiter.join().unwrap();
            });
        }
    });
}

/// An `unpark` ends no wait but `park`, and costs a waiting future no poll.
#[test]
fn an_unpark_ends_no_other_wait() {
    let _watchdog = watchdog(60);
    let (gate, child, stages) = (Gate::new(), Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(gate.clone());
                stages.add();
                s.spawn(|| block_on(child.clone())).join().unwrap();
                stages.add();
                park();
            });
            gate.wait_polls(1);
            waiter.fiber().unpark();
            settle();
            assert_eq!((gate.polls(), stages.get()), (1, 0));
            gate.open();
            child.wait_polls(1);
            waiter.fiber().unpark();
            settle();
            assert_eq!((gate.polls(), stages.get()), (2, 1));
            child.open();
            waiter.join().unwrap();
        });
    });
    assert_eq!(stages.get(), 2);
}

/// A waker of a `block_on` ends no `park`.
#[test]
fn a_wake_is_no_unpark() {
    let _watchdog = watchdog(60);
    let (outermost, nested, stages) = (Gate::new(), Gate::new(), Count::new());
    runtime(1).run(|| {
        scope(|s| {
            let waiter = s.spawn(|| {
                block_on(outermost.clone());
                block_on(async { block_on(nested.clone()) });
                park();
                stages.add();
            });
            outermost.wait_polls(1);
            let mut stale = vec![outermost.waker()];
            outermost.open();
            nested.wait_polls(1);
            stale.push(nested.waker());
            nested.open();
            settle();
            for waker in stale {
                waker.wake_by_ref();
                settle();
                waker.wake();
                settle();
            }
            assert_eq!(stages.get(), 0);
            waiter.fiber().unpark();
            waiter.join().unwrap();
        });
    });
}

#[test]
fn on_a_plain_thread_inner_waits_are_their_own_too() {
    let _watchdog = watchdog(60);
    let (outer, inner) = (Gate::new(), Gate::new());
    let waker = thread::spawn({
        let (outer, inner) = (outer.clone(), inner.clone());
        move || {
            inner.wait_polls(1);
            outer.open();
            inner.open();
        }
    });
    let mut first = true;
    let mut opened = pin!(outer.clone());
    block_on(poll_fn(|cx| {
        let poll = opened.as_mut().poll(cx);
        if std::mem::take(&mut first) {
            block_on(inner.clone());
        }
        poll
    }));
    waker.join().unwrap();
    assert_eq!((outer.polls(), inner.polls()), (2, 2));
}

/// The token of a plain thread is std's, and our waits leave it alone.
#[test]
fn on_a_plain_thread_the_token_survives_our_waits() {
    let _watchdog = watchdog(60);
    thread::spawn(|| {
        // The start of the default runtime waits for its threads as std's channels do: by the token.
        sisal::run(|| ());
        current().unpark();
        assert_eq!(block_on(sisal::spawn(|| 1)).unwrap(), 1);
        assert_eq!(sisal::spawn(|| 2).join().unwrap(), 2);
        assert_eq!(sisal::run(|| 3), 3);
        scope(|s| s.spawn(|| 4).join().unwrap());
        // Hangs if one of them took it.
        park();
    })
    .join()
    .unwrap();
}
