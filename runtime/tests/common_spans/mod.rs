//! What the tests of spans share: a layer that checks the chain of spans of every single event.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Says which chain the current code should be in, as the field `want` of an event: names of spans,
/// outermost first, with `/` between. A fiber's own span is `fiber NAME`, or `fiber` without one.
#[allow(unused_macros, reason = "as above")]
macro_rules! check {
    ($($want:tt)+) => { tracing::info!(want = %format!($($want)+)) };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use check;

/// Compares the chain of each event that has a `want`, and counts spans.
#[derive(Clone, Default)]
pub(crate) struct Checker(Arc<Checked>);

#[derive(Default)]
pub(crate) struct Checked {
    right: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    opened: AtomicUsize,
    closed: AtomicUsize,
}

/// The name of a span in a chain.
struct Name(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Checker {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        let name = match attributes.metadata().name() {
            "runtime.spawn" => format!("fiber {}", text_of(|v| attributes.record(v), "task.name")),
            name => format!("{name} {}", text_of(|v| attributes.record(v), "n")),
        };
        let span = context.span(id).expect("it is new");
        span.extensions_mut().insert(Name(name.trim().to_owned()));
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let want = text_of(|v| event.record(v), "want");
        if want.is_empty() {
            return;
        }
        let mut names = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            names.push(
                extensions
                    .get::<Name>()
                    .expect("every span has one")
                    .0
                    .clone(),
            );
        }
        names.reverse();
        let chain = names.join("/");
        // "-": in no span.
        if chain == want.trim_start_matches('-') {
            self.0.right.fetch_add(1, Ordering::SeqCst);
        } else {
            self.0
                .wrong
                .lock()
                .push(format!("in {chain}, not in {want}"));
        }
    }
}

/// One field as text, or nothing.
pub(crate) fn text_of(record: impl FnOnce(&mut dyn Visit), name: &str) -> String {
    struct One<'a>(&'a str, String);
    impl Visit for One<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == self.0 {
                self.1 = format!("{value:?}");
            }
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == self.0 {
                self.1 = value.to_owned();
            }
        }
    }
    let mut one = One(name, String::new());
    record(&mut one);
    one.1
}

/// The process's subscriber: a registry with a `Checker`, which sees every level.
fn global() -> &'static Checker {
    static GLOBAL: OnceLock<Checker> = OnceLock::new();
    GLOBAL.get_or_init(|| {
        let checker = Checker::default();
        let subscriber = Registry::default().with(checker.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        checker
    })
}

/// The global checker, for one test at a time.
pub(crate) struct Session {
    checker: &'static Checker,
    before: (usize, usize, usize),
    _alone: MutexGuard<'static, ()>,
}

impl Session {
    pub(crate) fn new() -> Session {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock();
        let checker = global();
        checker.0.wrong.lock().clear();
        Session {
            checker,
            before: checker.counts(),
            _alone: alone,
        }
    }

    /// When the runtime has ended: so many events were checked, none was in a wrong chain, every span that was
    /// opened was closed.
    #[track_caller]
    pub(crate) fn end(self, events: usize) {
        let right = self.end_with(|_| true);
        assert_eq!(right, events, "events");
    }

    /// The same, with a number of events that is as it should be.
    #[track_caller]
    pub(crate) fn end_with(self, is_right: impl FnOnce(usize) -> bool) -> usize {
        let (right, opened, closed) = self.checker.counts();
        let (right, opened, closed) = (
            right - self.before.0,
            opened - self.before.1,
            closed - self.before.2,
        );
        let wrong = self.checker.0.wrong.lock();
        println!(
            "{right} events right, {} wrong; {opened} spans opened, {closed} closed",
            wrong.len()
        );
        assert!(
            wrong.is_empty(),
            "{} wrong, the first: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        assert!(is_right(right), "{right} events");
        assert_eq!(opened, closed, "spans opened and closed");
        assert!(opened > 0, "no span was looked at");
        assert!(Span::current().is_none(), "a span is left on this thread");
        right
    }
}

impl Checker {
    fn counts(&self) -> (usize, usize, usize) {
        let get = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (get(&self.0.right), get(&self.0.opened), get(&self.0.closed))
    }
}
