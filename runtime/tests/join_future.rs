//! A join handle as a future: its wakers, its drops, and what a poll too many does.

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use common::{Count, Gate, panic_text, runtime, settle, until, watchdog};
use sisal::block_on;
use sisal::fiber::spawn;

struct CountWakes(Count);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

fn counting_waker() -> (Count, Waker) {
    let count = Count::new();
    (count.clone(), Waker::from(Arc::new(CountWakes(count))))
}

#[test]
fn a_handle_polled_after_its_result_panics() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let mut handle = runtime.spawn(|| 1);
    assert_eq!(block_on(&mut handle).unwrap(), 1);
    let text = panic_text(|| block_on(&mut handle));
    assert!(text.contains("polled after"), "{text}");
    // And dropping it then drops nothing twice.
    drop(handle);
}

/// The last waker is woken, once; the others are given back.
#[test]
fn a_handle_wakes_the_last_waker_once() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let gate = Gate::new();
    let mut handle = pin!(runtime.spawn({
        let gate = gate.clone();
        move || block_on(gate)
    }));
    gate.wait_polls(1);
    let (first, second) = (counting_waker(), counting_waker());
    let arcs = [
        Arc::new(CountWakes(Count::new())),
        Arc::new(CountWakes(Count::new())),
    ];
    for waker in [&first.1, &first.1, &second.1] {
        let mut cx = Context::from_waker(waker);
        assert!(handle.as_mut().poll(&mut cx).is_pending());
    }
    for arc in &arcs {
        let waker = Waker::from(Arc::clone(arc));
        let mut cx = Context::from_waker(&waker);
        assert!(handle.as_mut().poll(&mut cx).is_pending());
    }
    // The handle keeps a clone of the last one only.
    assert_eq!(arcs.each_ref().map(Arc::strong_count), [1, 2]);
    gate.open();
    until(|| arcs[1].0.get() == 1);
    runtime.run(settle);
    assert_eq!([&first.0, &second.0, &arcs[0].0].map(Count::get), [0; 3]);
    assert_eq!(arcs[1].0.get(), 1);
    assert_eq!(arcs.each_ref().map(Arc::strong_count), [1, 1]);
    let mut cx = Context::from_waker(&first.1);
    assert!(handle.as_mut().poll(&mut cx).is_ready());
}

/// A waker is somebody else's code: if it panics the fiber has ended all the same, and the worker
/// serves others.
#[test]
fn a_handles_waker_that_panics_does_no_harm() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let gate = Gate::new();
    let mut handle = runtime.spawn({
        let gate = gate.clone();
        move || {
            block_on(gate);
            7
        }
    });
    let waker = Waker::from(Arc::new(Bad));
    let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    gate.wait_polls(1);
    gate.open();
    assert_eq!(handle.join().unwrap(), 7);
    assert_eq!(runtime.run(|| 8), 8);
}

#[test]
fn a_dropped_join_future_detaches() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (gate, ended) = (Gate::new(), Count::new());
    let mut handle = runtime.spawn({
        let (gate, ended) = (gate.clone(), ended.clone());
        move || {
            block_on(gate);
            ended.add();
        }
    });
    let (woken, waker) = counting_waker();
    let poll = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
    assert!(matches!(poll, Poll::Pending));
    drop(handle);
    gate.wait_polls(1);
    gate.open();
    until(|| ended.get() == 1);
    drop(runtime);
    assert!(woken.get() <= 1);
}

/// `select!` over handles: the loser goes on.
#[test]
fn the_loser_of_a_select_goes_on() {
    let _watchdog = watchdog(60);
    let ended = Count::new();
    runtime(1).run(|| {
        let gate = Gate::new();
        let slow = spawn({
            let (gate, ended) = (gate.clone(), ended.clone());
            move || {
                block_on(gate);
                ended.add();
            }
        });
        let fast = spawn(|| 3);
        let first = block_on(async {
            tokio::select! {
                _ = slow => unreachable!(),
                n = fast => n.unwrap(),
            }
        });
        assert_eq!((first, ended.get()), (3, 0));
        gate.open();
        until(|| ended.get() == 1);
    });
}
