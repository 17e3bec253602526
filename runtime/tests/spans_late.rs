//! A subscriber that comes when fibers are under way: from then on what they enter is theirs alone.

mod common;
mod common_spans;

use common::{Count, runtime, until, watchdog};
use common_spans::{Session, check};
use sisal::fiber::{Builder, yield_now};
use tracing::info_span;

#[test]
fn a_subscriber_that_comes_late() {
    const FIBERS: usize = 30;
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let (begun, set) = (Count::new(), Count::new());
    let fibers: Vec<_> = (0..FIBERS)
        .map(|n| {
            let (begun, set) = (begun.clone(), set.clone());
            let f = move || {
                // Entered before anybody looks: this one never was.
                let _unseen = info_span!("unseen", n).entered();
                begun.add();
                until(|| set.get() > 0);
                for _ in 0..20 {
                    check!("-");
                    let outer = info_span!("outer", n).entered();
                    yield_now();
                    check!("outer {n}");
                    let inner = info_span!("inner", n).entered();
                    yield_now();
                    check!("outer {n}/inner {n}");
                    drop(outer);
                    yield_now();
                    check!("outer {n}/inner {n}");
                    drop(inner);
                    yield_now();
                }
            };
            let handle = runtime.handle().clone();
            handle.run(|| Builder::new().name(format!("f{n}")).spawn(f).unwrap())
        })
        .collect();
    until(|| begun.get() == FIBERS);
    let session = Session::new();
    set.add();
    for fiber in fibers {
        fiber.join().unwrap();
    }
    // And those that are spawned now have a span of their own.
    runtime.run(|| check!("fiber"));
    drop(runtime);
    session.end(FIBERS * 20 * 4 + 1);
}
