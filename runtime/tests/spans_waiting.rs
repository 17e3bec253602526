//! A subscriber that waits where it is called on a fiber, as one does that writes to a socket of Sisal's: no lock of ours
//! is held meanwhile.

mod common;

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{runtime, settle, until, watchdog};
use sisal::fiber::{park, scope, spawn, yield_now};
use tracing::{Event, Metadata, Subscriber, span};

/// Yields once, when the owner of the scope tells that it wakes a child.
struct Waits;

static WAITS: AtomicBool = AtomicBool::new(false);

sisal::fiber_local!(static IS_OWNER: Cell<bool> = const { Cell::new(false) });

impl Subscriber for Waits {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn event(&self, _: &Event<'_>) {
        if IS_OWNER.get() && !WAITS.swap(true, Ordering::Relaxed) {
            yield_now();
        }
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_child_spawns_while_the_cancel_of_its_scope_is_told() {
    let _watchdog = watchdog(20);
    tracing::subscriber::set_global_default(Waits).unwrap();
    runtime(1).run(|| {
        let owner = spawn(|| {
            scope(|s| {
                s.spawn(park);
                s.spawn(move || {
                    until(|| WAITS.load(Ordering::Relaxed));
                    s.spawn(|| ());
                });
                settle(); // both have started
                IS_OWNER.set(true);
            });
        });
        settle();
        settle();
        owner.cancel();
        assert!(owner.join().unwrap_err().is_cancelled());
    });
    assert!(WAITS.load(Ordering::Relaxed), "it was told");
}
