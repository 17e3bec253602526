//! Subscribers that are none of tracing-subscriber's: what they hear of each fiber's own span is enter and exit in
//! turns, on the worker, whether they tell their current span or not, and whether they are the worker's or the spawner's.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use common::{runtime, watchdog};
use sisal::fiber::{Builder, yield_now};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

/// Keeps, for each span, on which threads it was entered and exited.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Spans>>);

#[derive(Default)]
struct Spans {
    spans: BTreeMap<u64, Span>,
    /// Of each thread, innermost last.
    entered: BTreeMap<String, Vec<u64>>,
    wrong: Vec<String>,
}

struct Span {
    metadata: &'static Metadata<'static>,
    handles: usize,
    enters: usize,
    exits: usize,
    threads: Vec<ThreadId>,
}

/// A subscriber that tells its current span or not. Being entered keeps a span open.
struct Teller {
    ledger: Ledger,
    tells: Arc<AtomicBool>,
}

impl Subscriber for Teller {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut all = self.ledger.0.lock().unwrap();
        let id = all.spans.len() as u64 + 1;
        let span = Span {
            metadata: attributes.metadata(),
            handles: 1,
            enters: 0,
            exits: 0,
            threads: Vec::new(),
        };
        all.spans.insert(id, span);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        let all = &mut *self.ledger.0.lock().unwrap();
        let span = all.spans.get_mut(&id.into_u64()).expect("a span of ours");
        if span.handles == 0 {
            all.wrong.push(format!(
                "{} was entered after its end",
                span.metadata.name()
            ));
        }
        span.enters += 1;
        span.handles += 1;
        span.threads.push(thread::current().id());
        all.entered.entry(here()).or_default().push(id.into_u64());
    }

    fn exit(&self, id: &Id) {
        let all = &mut *self.ledger.0.lock().unwrap();
        let span = all.spans.get_mut(&id.into_u64()).expect("a span of ours");
        span.exits += 1;
        span.handles -= 1;
        let entered = all.entered.entry(here()).or_default();
        match entered.iter().rposition(|other| *other == id.into_u64()) {
            Some(at) => drop(entered.remove(at)),
            None => all
                .wrong
                .push(format!("{} was not entered here", span.metadata.name())),
        }
    }

    fn clone_span(&self, id: &Id) -> Id {
        let all = &mut *self.ledger.0.lock().unwrap();
        let span = all.spans.get_mut(&id.into_u64()).expect("a span of ours");
        if span.handles == 0 {
            all.wrong
                .push(format!("{} was cloned after its end", span.metadata.name()));
        }
        span.handles += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let all = &mut *self.ledger.0.lock().unwrap();
        let span = all.spans.get_mut(&id.into_u64()).expect("a span of ours");
        if span.handles == 0 {
            all.wrong
                .push(format!("{} ended twice", span.metadata.name()));
            return false;
        }
        span.handles -= 1;
        span.handles == 0
    }

    fn current_span(&self) -> Current {
        if !self.tells.load(Ordering::SeqCst) {
            return Current::none();
        }
        let all = self.ledger.0.lock().unwrap();
        match all.entered.get(&here()).and_then(|ids| ids.last()) {
            Some(id) => Current::new(Id::from_u64(*id), all.spans[id].metadata),
            None => Current::none(),
        }
    }
}

fn here() -> String {
    format!("{:?}", thread::current().id())
}

impl Ledger {
    fn subscriber(&self, tells: bool) -> Dispatch {
        self.switched(Arc::new(AtomicBool::new(tells)))
    }

    fn switched(&self, tells: Arc<AtomicBool>) -> Dispatch {
        let ledger = self.clone();
        Dispatch::new(Teller { ledger, tells })
    }

    /// Spans of this name: how many, and how often each was entered.
    #[track_caller]
    fn check(&self, name: &str) -> Vec<usize> {
        let all = self.0.lock().unwrap();
        assert!(all.wrong.is_empty(), "{:?}", all.wrong);
        let spans = all
            .spans
            .values()
            .filter(|span| span.metadata.name() == name);
        let enters = spans.map(|span| {
            assert_eq!(span.enters, span.exits, "{name}: enters and exits");
            assert_eq!(span.handles, 0, "{name}: handles left");
            let mut threads = span.threads.clone();
            threads.dedup();
            assert!(threads.len() <= 1, "{name} on {threads:?}");
            assert!(!threads.contains(&thread::current().id()), "{name} here");
            span.enters
        });
        enters.collect()
    }

    fn is_left(&self) {
        let all = self.0.lock().unwrap();
        for (thread, spans) in &all.entered {
            assert!(spans.is_empty(), "{thread} is still in {spans:?}");
        }
    }
}

const FIBERS: usize = 20;
const YIELDS: usize = 10;

/// Fibers that yield, with a span of their code's or without.
fn yields(with_span: bool) {
    let runtime = runtime(2);
    runtime.run(|| {
        let fibers: Vec<_> = (0..FIBERS)
            .map(|_| {
                let fiber = move || {
                    for _ in 0..YIELDS {
                        let _span = with_span.then(|| info_span!("code").entered());
                        yield_now();
                    }
                };
                Builder::new().spawn(fiber).unwrap()
            })
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
    });
}

/// One process, one global subscriber: parts in this order.
#[test]
fn enters_and_exits_come_in_turns() {
    let _watchdog = watchdog(60);
    // 1. The spawner's own subscriber, and none of the process: the main fiber's span is the spawner's, what
    //    fibers spawn is seen by nobody.
    let own = Ledger::default();
    tracing::dispatcher::with_default(&own.subscriber(true), || yields(true));
    assert_eq!(own.check("runtime.spawn").len(), 1);
    assert!(own.check("code").is_empty());
    own.is_left();

    // 2. The process's subscriber, which does not tell its current span: fibers' own spans come and go; what their code
    //    enters stays with the thread, as nobody could know of it.
    let mute = Ledger::default();
    let tells = Arc::new(AtomicBool::new(false));
    tracing::dispatcher::set_global_default(mute.switched(tells.clone())).unwrap();
    yields(false);
    let enters = mute.check("runtime.spawn");
    // The main fiber, and one poll more than yields of each other.
    assert_eq!(enters.len(), FIBERS + 1);
    assert!(
        enters[1..].iter().all(|enters| *enters == YIELDS + 1),
        "{enters:?}"
    );
    mute.is_left();
    yields(true);
    assert_eq!(mute.check("code"), vec![1; FIBERS * YIELDS]);
    assert_eq!(mute.check("runtime.spawn").len(), 2 * (FIBERS + 1));
    mute.is_left();

    // 3. Both: ids of the two are the same numbers, and neither hears of the other's.
    let own = Ledger::default();
    let before = mute.check("runtime.spawn").len();
    tracing::dispatcher::with_default(&own.subscriber(true), || yields(true));
    assert_eq!(own.check("runtime.spawn").len(), 1);
    assert_eq!(mute.check("runtime.spawn").len(), before + FIBERS);
    own.is_left();
    mute.is_left();

    // 4. Guards that are leaked: the fiber is in their spans to its end, and the thread is not.
    tells.store(true, Ordering::SeqCst);
    let runtime = runtime(2);
    runtime.run(|| {
        let leaks = || {
            let mut spans = Vec::new();
            for _ in 0..YIELDS {
                let span = info_span!("leaked");
                std::mem::forget(span.enter());
                spans.push(span);
                yield_now();
            }
        };
        let fibers: Vec<_> = (0..FIBERS)
            .map(|_| Builder::new().spawn(leaks).unwrap())
            .collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
    });
    drop(runtime);
    let enters = mute.check("leaked");
    assert_eq!(enters.len(), FIBERS * YIELDS);
    // In each: once for every switch after.
    assert_eq!(
        enters[..].iter().sum::<usize>(),
        FIBERS * (1..=YIELDS).map(|n| n + 1).sum::<usize>()
    );
    mute.is_left();
}
