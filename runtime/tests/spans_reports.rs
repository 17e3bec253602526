//! What a fiber's own span says, the events of its wakes, and the event of a panic that nobody joins.

mod common;
mod common_spans;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use common::{one_on_each_worker, runtime, until, watchdog};
use common_spans::text_of;
use sisal::block_on;
use sisal::fiber::{self, Builder, park, yield_now};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Span, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// What a console would keep of a fiber.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    fields: BTreeMap<&'static str, String>,
    target: &'static str,
    polls: usize,
    wakes: usize,
    self_wakes: usize,
    clones: usize,
    ended: bool,
    errors: Vec<String>,
}

#[derive(Clone, Default)]
struct Reports(Arc<Mutex<BTreeMap<u64, Seen>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reports {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "runtime.spawn" {
            return;
        }
        assert!(context.span(id).unwrap().parent().is_none());
        let mut seen = Seen {
            target: attributes.metadata().target(),
            ..Seen::default()
        };
        for field in attributes.metadata().fields() {
            let text = text_of(|visit| attributes.record(visit), field.name());
            seen.fields.insert(field.name(), text);
        }
        assert_eq!(*attributes.metadata().level(), Level::TRACE);
        self.0.lock().unwrap().insert(id.into_u64(), seen);
    }

    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        if let Some(seen) = self.0.lock().unwrap().get_mut(&id.into_u64()) {
            seen.polls += 1;
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut all = self.0.lock().unwrap();
        if let Some(seen) = all.remove(&id.into_u64()) {
            // The number may be given again.
            let key = u64::MAX - seen.fields["task.id"].parse::<u64>().unwrap();
            let ended = Seen {
                ended: true,
                ..seen
            };
            all.insert(key, ended);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = self.0.lock().unwrap();
        if *event.metadata().level() == Level::ERROR {
            let text = text_of(|visit| event.record(visit), "message");
            let span = context
                .event_span(event)
                .map_or(0, |span| span.id().into_u64());
            all.entry(span).or_default().errors.push(text);
        }
        if event.metadata().target() != "runtime::waker" {
            return;
        }
        let id = text_of(|visit| event.record(visit), "task.id")
            .parse()
            .unwrap();
        assert_ne!(id, 0);
        let in_itself = context
            .event_span(event)
            .is_some_and(|span| span.id().into_u64() == id);
        match text_of(|visit| event.record(visit), "op").as_str() {
            "waker.clone" => all.get_mut(&id).unwrap().clones += 1,
            "waker.wake_by_ref" => {
                // After its end there is nothing to be seen of it.
                let seen = all.get_mut(&id).unwrap();
                seen.wakes += 1;
                seen.self_wakes += usize::from(in_itself);
            }
            op => panic!("{op}"),
        }
    }
}

impl Reports {
    fn named(&self, name: &str) -> Option<Seen> {
        let all = self.0.lock().unwrap();
        let mut of = all.values().filter(|seen| {
            seen.fields
                .get("task.name")
                .is_some_and(|other| other == name)
        });
        let one = of.next().cloned();
        assert!(of.next().is_none(), "two {name}");
        one
    }

    #[track_caller]
    fn ended(&self, name: &str) -> Seen {
        until(|| self.named(name).is_some_and(|seen| seen.ended));
        self.named(name).unwrap()
    }
}

fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

/// One process's subscriber, so one test; its parts by name.
#[test]
fn what_is_reported_of_fibers() {
    let _watchdog = watchdog(60);
    let reports = Reports::default();
    let subscriber = tracing_subscriber::registry().with(reports.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let two = runtime(2);

    // Its fields.
    let (line, fiber) = (line!() + 1, named("fields").stack_size(128 << 10));
    let fiber = two.run(|| fiber.spawn(|| fiber::current().id()).unwrap());
    let id = fiber.join().unwrap();
    let seen = reports.ended("fields");
    assert_eq!(seen.target, "fiber::task");
    assert_eq!(seen.fields["kind"], "fiber");
    assert_eq!(
        format!("FiberId({})", seen.fields["task.id"]),
        format!("{id:?}")
    );
    assert_eq!(seen.fields["stack.bytes"], (128 << 10).to_string());
    assert!(seen.fields["loc.file"].ends_with("spans_reports.rs"));
    assert_eq!(seen.fields["loc.line"], line.to_string());
    assert!(seen.fields["loc.col"].parse::<u32>().unwrap() > 1);
    assert_eq!((seen.polls, seen.wakes, seen.clones), (1, 0, 1));
    let fiber = two.run(|| named("default stack").spawn(|| ()).unwrap());
    fiber.join().unwrap();
    assert_eq!(
        reports.ended("default stack").fields["stack.bytes"],
        (256 << 10).to_string()
    );

    // A yield is a wake by itself.
    let fiber = two.run(|| {
        named("yields")
            .spawn(|| (0..7).for_each(|_| yield_now()))
            .unwrap()
    });
    fiber.join().unwrap();
    let seen = reports.ended("yields");
    assert_eq!((seen.polls, seen.wakes, seen.self_wakes), (8, 7, 7));

    // Calls that make it runnable are told of, others are not.
    let one = runtime(1);
    one.run(|| {
        let fiber = named("parks").spawn(|| (park(), park())).unwrap();
        for times in 1..=2 {
            // There is one worker, so it has left it.
            until(|| reports.named("parks").unwrap().polls == times);
            for _ in 0..5 {
                fiber.fiber().unpark();
            }
        }
        let parked = fiber.fiber().clone();
        fiber.join().unwrap();
        parked.unpark();
    });
    let seen = reports.ended("parks");
    assert_eq!(
        (seen.polls, seen.wakes, seen.self_wakes, seen.clones),
        (3, 2, 0, 1)
    );

    // A wake that comes while it runs counts when its worker puts it back: it parks for something else then.
    one.run(|| {
        let parks_inside = || {
            block_on(std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                park();
                std::task::Poll::Ready(())
            }));
        };
        let fiber = named("parks inside").spawn(parks_inside).unwrap();
        until(|| reports.named("parks inside").unwrap().polls == 2);
        fiber.fiber().unpark();
        fiber.join().unwrap();
    });
    let seen = reports.ended("parks inside");
    assert_eq!((seen.polls, seen.wakes), (3, 2));

    // As does one that a future gives itself: `block_on` lets others run before it polls again.
    let fiber = one.run(|| {
        let wakes_itself = || {
            let mut polls = 0;
            block_on(std::future::poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                cx.waker().wake_by_ref();
                match polls {
                    4 => std::task::Poll::Ready(()),
                    _ => std::task::Poll::Pending,
                }
            }));
        };
        named("wakes itself").spawn(wakes_itself).unwrap()
    });
    fiber.join().unwrap();
    let seen = reports.ended("wakes itself");
    assert_eq!((seen.polls, seen.wakes), (4, 3));

    // By other workers, and by timers: every run but the first.
    two.run(|| {
        let fibers = one_on_each_worker(2, |n| {
            let name = format!("woken {n}");
            named(&name)
                .spawn(|| {
                    for _ in 0..20 {
                        park();
                        fiber::sleep(std::time::Duration::from_millis(1));
                    }
                })
                .unwrap()
        });
        until(|| {
            fibers.iter().for_each(|fiber| fiber.fiber().unpark());
            fibers.iter().all(|fiber| fiber.is_finished())
        });
    });
    for n in 0..2 {
        let seen = reports.ended(&format!("woken {n}"));
        assert_eq!(seen.polls, seen.wakes + 1);
        assert!(seen.polls > 5, "{seen:?}");
    }

    // Nothing is reported of it.
    let fiber = two.run(|| {
        named("untracked")
            .untracked()
            .spawn(|| Span::current().is_none())
            .unwrap()
    });
    assert!(fiber.join().unwrap());
    assert_eq!(reports.named("untracked"), None);

    // A panic that nobody joins: in its span, not in the one that it had entered, nor in another's.
    // (One worker: the handle is dropped before the fiber runs. Else it is the event of who drops the handle.)
    one.run(|| {
        let _other = info_span!("other").entered();
        let panics = named("panics").spawn(|| {
            let _span = info_span!("inside").entered();
            yield_now();
            std::panic::resume_unwind(Box::new("spilt"));
        });
        drop(panics.unwrap());
    });
    let errors = reports.ended("panics").errors;
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("spilt") && errors[0].contains("'panics'"),
        "{errors:?}"
    );

    // Unwound by the end, and refused by it: the span of each ends.
    let handle = two.handle().clone();
    two.run(|| drop(named("cancelled").spawn(park).unwrap()));
    until(|| {
        reports
            .named("cancelled")
            .is_some_and(|seen| seen.polls == 1)
    });
    drop(two);
    let seen = reports.ended("cancelled");
    assert_eq!((seen.polls, seen.wakes), (2, 1));
    let before = reports.0.lock().unwrap().len();
    let refused = handle.spawn(|| ());
    assert!(refused.is_finished());
    let all = reports.0.lock().unwrap();
    assert_eq!(all.len(), before + 1);
    assert!(all.values().all(|seen| seen.ended || seen.polls > 0));
    drop(all);
    drop(one);
    assert!(reports.0.lock().unwrap().values().all(|seen| seen.ended));
}
