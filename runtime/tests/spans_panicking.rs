//! A subscriber that panics, or that waits where it must not: the worker and its fibers go on.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Count, runtime, watchdog};
use sisal::fiber::{self, Builder, park, scope, yield_now};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(usize)]
enum Call {
    New,
    Enter,
    Exit,
    Close,
    Event,
}

const CALLS: [Call; 5] = [Call::New, Call::Enter, Call::Exit, Call::Close, Call::Event];

/// Does something bad in every third call of some kind.
#[derive(Clone, Default)]
struct Bad(Arc<State>);

#[derive(Default)]
struct State {
    /// One more than the `Call`; 0: behaves.
    call: AtomicUsize,
    waits: AtomicBool,
    calls: AtomicUsize,
    done: Count,
}

impl Bad {
    fn called(&self, call: Call, of_a_fiber: bool) {
        // What a fiber's own code enters, on its stack, is its own business.
        let on_worker = format!("{:?}", fiber::current().id()).contains("ThreadId");
        let state = &*self.0;
        if !(of_a_fiber || on_worker) || state.call.load(Ordering::SeqCst) != call as usize + 1 {
            return;
        }
        let calls = state.calls.fetch_add(1, Ordering::SeqCst);
        if !calls.is_multiple_of(3) {
            return;
        }
        state.done.add();
        if state.waits.load(Ordering::SeqCst) {
            fiber::sleep(Duration::from_millis(1));
        } else {
            panic!("a bad subscriber");
        }
    }
}

fn is_fiber<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, context: &Context<'_, S>) -> bool {
    context
        .metadata(id)
        .is_some_and(|metadata| metadata.name() == "runtime.spawn")
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Bad {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.called(Call::New, attributes.metadata().name() == "runtime.spawn");
    }
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.called(Call::Enter, is_fiber(id, &context));
    }
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.called(Call::Exit, is_fiber(id, &context));
    }
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.called(Call::Close, is_fiber(&id, &context));
    }
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.called(Call::Event, event.metadata().target() == "runtime::waker");
    }
}

/// Fibers that yield, park, wake each other and end, in spans and without.
fn work() {
    const FIBERS: usize = 20;
    let runtime = runtime(2);
    let ended = Count::new();
    runtime.run(|| {
        scope(|s| {
            for n in 0..FIBERS {
                let ended = &ended;
                s.spawn(move || {
                    for _ in 0..3 {
                        let _span = info_span!("code", n).entered();
                        yield_now();
                        let me = fiber::current();
                        let waker = Builder::new().name("waker".into());
                        let waker = waker.spawn(move || me.unpark()).unwrap();
                        park();
                        waker.join().unwrap();
                    }
                    ended.add();
                });
            }
        });
    });
    assert_eq!(ended.get(), FIBERS);
}

#[test]
fn a_bad_subscriber_harms_no_worker() {
    let _watchdog = watchdog(120);
    let bad = Bad::default();
    let subscriber = tracing_subscriber::registry().with(bad.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let texts = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&texts);
    std::panic::set_hook(Box::new(move |info| {
        let text = common::text(info.payload()).to_owned();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        said.lock().unwrap().push(format!("{thread}: {text}"));
    }));
    for call in CALLS {
        bad.0.call.store(call as usize + 1, Ordering::SeqCst);
        let before = bad.0.done.get();
        work();
        let panics = bad.0.done.get() - before;
        let texts = std::mem::take(&mut *texts.lock().unwrap());
        println!("{call:?}: {panics} panics");
        assert!(panics > 5, "{call:?}: {panics} panics");
        let ours = texts
            .iter()
            .filter(|text| text.contains("a bad subscriber"));
        assert_eq!(ours.count(), panics);
    }
    // On the worker's own stack there is no waiting.
    bad.0.waits.store(true, Ordering::SeqCst);
    for call in [Call::Enter, Call::Exit] {
        bad.0.call.store(call as usize + 1, Ordering::SeqCst);
        let before = bad.0.done.get();
        work();
        let waits = bad.0.done.get() - before;
        let texts = std::mem::take(&mut *texts.lock().unwrap());
        println!("{call:?}: {waits} waits");
        assert!(waits > 5, "{call:?}: {waits} waits");
        assert_eq!(texts.len(), waits, "{texts:?}");
        for text in texts {
            assert!(
                text.contains("sisal-worker") && text.contains("would block a worker's own stack"),
                "{text}"
            );
            assert!(text.contains("tokio::time::sleep"), "{text}");
        }
    }
    bad.0.call.store(0, Ordering::SeqCst);
    work();
}
