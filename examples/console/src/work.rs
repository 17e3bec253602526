//! Fibers that do something that can be counted.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use sisal::Runtime;
use sisal::fiber::{self, Builder, JoinHandle};

/// How often each does what it does.
pub(crate) const TIMES: u64 = 20;

/// How long the busy one computes, each time.
pub(crate) const BUSY: Duration = Duration::from_millis(3);

/// The fibers, all but one of which end by themselves.
pub(crate) struct Work {
    fibers: Vec<JoinHandle<()>>,
    waits: JoinHandle<()>,
}

#[track_caller]
fn named(name: &str, f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = Builder::new().name(name.into());
    builder.spawn(f).expect("the default stack size is one")
}

impl Work {
    pub(crate) fn start(runtime: &Runtime) -> Work {
        runtime.run(Work::spawn)
    }

    fn spawn() -> Work {
        let yields = named("yields", || (0..TIMES).for_each(|_| fiber::yield_now()));
        let busy = named("busy", || {
            for _ in 0..TIMES {
                let until = Instant::now() + BUSY;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                fiber::yield_now();
            }
        });
        let sleeps = named("sleeps", || {
            (0..TIMES).for_each(|_| fiber::sleep(Duration::from_millis(5)));
        });
        // Parked each time before it is unparked: it says so, and both are on their feet in turns.
        let (tell, told) = mpsc::sync_channel(1);
        let parks = named("parks", move || {
            for _ in 0..TIMES {
                let _ = tell.try_send(());
                fiber::park();
            }
        });
        let parked = parks.fiber().clone();
        let unparks = named("unparks", move || {
            for _ in 0..TIMES {
                while told.try_recv().is_err() {
                    fiber::sleep(Duration::from_millis(1));
                }
                // By now it has left its stack, or is about to.
                fiber::sleep(Duration::from_millis(5));
                parked.unpark();
            }
        });
        let unseen = Builder::new().name("unseen".into()).untracked();
        let unseen = unseen.spawn(fiber::yield_now).expect("as above");
        Work {
            fibers: vec![yields, busy, sleeps, parks, unparks, unseen],
            waits: named("waits", fiber::park),
        }
    }

    /// All but the one that waits for this.
    pub(crate) fn join(&mut self) {
        for fiber in self.fibers.drain(..) {
            fiber.join().expect("none of them panics");
        }
    }

    pub(crate) fn end(mut self, runtime: &Runtime) {
        runtime.run(|| {
            self.join();
            self.waits.fiber().unpark();
            self.waits.join().expect("it does not panic");
        });
    }
}
