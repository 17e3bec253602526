//! A coroutine of another crate that is suspended in a wait of one fiber and resumed by another: the frame of
//! that wait must not go on. In children: it aborts.

mod common;

use std::cell::RefCell;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use common::{in_child, role, runtime, said, watchdog};
use sisal::block_on;
use sisal::fiber::{scope, spawn, yield_now};
use switch_asm::{Coroutine, CoroutineResult};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// Both fibers are on one worker. Its yielder, while the coroutine runs.
    static YIELDER: RefCell<Option<*const switch_asm::Yielder<(), ()>>> =
        const { RefCell::new(None) };
}

/// Suspends the coroutine that the caller is on.
fn leave() {
    let yielder = YIELDER.with_borrow(|it| it.unwrap());
    // SAFETY: the coroutine's closure, which lent it, is further up on this very stack.
    unsafe { &*yielder }.suspend(());
}

fn coroutine(wait: fn()) -> Coroutine<(), (), ()> {
    Coroutine::new(move |yielder, ()| {
        YIELDER.with_borrow_mut(|it| *it = Some(std::ptr::from_ref(yielder)));
        wait();
    })
}

/// Leaves the coroutine in its first poll.
struct LeavesInPoll(bool);

impl Future for LeavesInPoll {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if !std::mem::replace(&mut self.0, true) {
            leave();
        }
        Poll::Ready(())
    }
}

/// Leaves the coroutine in the middle of a spawn, which knows its worker.
struct LeavesInSpawn(AtomicBool);

impl Subscriber for LeavesInSpawn {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        if !self.0.swap(true, Ordering::Relaxed) {
            leave();
        }
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

type Wait = fn();

/// What waits and calls user's code, or does not even wait.
const WAITS: [(&str, Wait); 4] = [
    ("spawn", || {
        let leaves = LeavesInSpawn(AtomicBool::new(false));
        with_default(leaves, || drop(spawn(|| ())));
    }),
    ("block_on", || block_on(LeavesInPoll(false))),
    ("block_on in block_on", || {
        block_on(async { block_on(LeavesInPoll(false)) })
    }),
    ("scope", || {
        scope(|s| {
            s.spawn(yield_now);
            leave();
        })
    }),
];

#[test]
fn a_coroutine_moved_in_mid_wait_aborts() {
    const TEST: &str = "a_coroutine_moved_in_mid_wait_aborts";
    const WORDS: &str = "of one fiber was resumed by another";
    if let Some(role) = role() {
        let _watchdog = watchdog(20);
        let (mode, name) = role.split_once(": ").unwrap();
        let wait = WAITS.iter().find(|(it, _)| *it == name).unwrap().1;
        let moved = mode == "moved";
        runtime(1).run(move || {
            // The one worker's fibers only; nothing is sent but the box's address.
            let mut coroutine = Box::new(coroutine(wait));
            assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
            println!("suspended");
            let at = Box::into_raw(coroutine).expose_provenance();
            let resume = move || {
                let coroutine = std::ptr::with_exposed_provenance_mut::<Coroutine<(), (), ()>>(at);
                // SAFETY: made above, on this very thread, and nobody else uses it.
                let mut coroutine = unsafe { Box::from_raw(coroutine) };
                assert_eq!(coroutine.resume(()), CoroutineResult::Return(()));
                println!("went on");
            };
            match moved {
                true => spawn(resume).join().unwrap(),
                false => resume(),
            }
        });
        return;
    }
    for (name, _) in WAITS {
        // In its own fiber it goes on: what aborts is the move.
        let child = in_child(TEST, &format!("stays: {name}"), &[]);
        let told = said(&child);
        assert!(
            child.status.success() && told.contains("went on"),
            "{name}: {told}"
        );
        let child = in_child(TEST, &format!("moved: {name}"), &[]);
        let told = said(&child);
        assert!(
            told.contains("suspended") && told.contains(WORDS),
            "{name}: {told}"
        );
        assert!(!told.contains("went on"), "{name}: {told}");
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{name}: {told}");
    }
}
