//! What fibers are called: names, numbers, places; and what a thread is called that stands for a fiber.

mod common;

use std::collections::HashSet;
use std::panic::Location;
use std::thread;

use common::{one_on_each_worker, panic_text, runtime, watchdog};
use sisal::fiber::{self, Builder, Fiber, FiberId, JoinError, spawn, spawn_local};
use sisal::{Handle, block_on};

fn named(name: &str) -> Builder {
    Builder::new().name(name.to_owned())
}

#[test]
fn a_name_is_what_the_builder_was_given() {
    let all = || {
        let name = || fiber::current().name().map(str::to_owned);
        for given in ["nib", "", "two words", "ein Röhrchen", "line\nbreak"] {
            let fiber = named(given).spawn(name).unwrap();
            assert_eq!(fiber.fiber().name(), Some(given));
            assert_eq!(fiber.thread().name(), Some(given));
            assert_eq!(fiber.join().unwrap().as_deref(), Some(given));
        }
        assert_eq!(
            named("first")
                .name("last".into())
                .spawn(name)
                .unwrap()
                .join()
                .unwrap()
                .unwrap(),
            "last"
        );
        assert_eq!(spawn(name).join().unwrap(), None);
        assert_eq!(Builder::new().spawn(name).unwrap().join().unwrap(), None);
        // A child's name is not its parent's.
        let child = named("parent").spawn(move || spawn(name).join().unwrap());
        assert_eq!(child.unwrap().join().unwrap(), None);
        fiber::scope(|s| {
            let child = named("scoped").spawn_scoped(s, name).unwrap();
            assert_eq!(child.fiber().name(), Some("scoped"));
            assert_eq!(child.join().unwrap().as_deref(), Some("scoped"));
        });
    };
    sisal::run(all);
    all();
}

/// As std's threads, which panic too, and not by an error.
#[test]
fn a_name_with_a_nul_is_refused_by_a_panic_before_anything_starts() {
    let all = || {
        let ran = common::Count::new();
        let texts = fiber::scope(|s| {
            let run = || ran.add();
            [
                panic_text(|| named("a\0b").spawn(|| ())),
                panic_text(|| named("\0").spawn_local(|| ())),
                panic_text(|| named("end\0").spawn_scoped(s, run)),
            ]
        });
        assert_eq!(texts, ["a fiber's name must not contain a NUL"; 3]);
        assert_eq!(ran.get(), 0);
        let std = thread::Builder::new().name("a\0b".to_owned());
        panic_text(|| std.spawn(|| ()));
    };
    sisal::run(all);
}

#[test]
fn numbers_are_unique_across_workers_runtimes_and_threads() {
    let _watchdog = watchdog(60);
    let mut ids = HashSet::new();
    let mut add = |id: FiberId| assert!(ids.insert(id), "{id:?} twice");
    for _ in 0..2 {
        let (a, b) = (runtime(2), runtime(1));
        for runtime in [&a, &b] {
            // From outside, one by one.
            (0..10).for_each(|_| add(runtime.spawn(|| ()).fiber().id()));
        }
        // On workers, more than a worker takes from the process at once, with short lives.
        let each = a.run(|| {
            one_on_each_worker(2, |_| {
                let ids = (0..400).map(|n| match n % 2 {
                    0 => spawn(|| fiber::current().id()).join().unwrap(),
                    _ => spawn_local(|| fiber::current().id()).join().unwrap(),
                });
                ids.collect::<Vec<_>>()
            })
        });
        each.into_iter().flatten().for_each(&mut add);
        let other = thread::spawn(|| fiber::current().id());
        add(other.join().unwrap());
    }
    add(fiber::current().id());
    assert_eq!(ids.len(), 2 * (20 + 800 + 1) + 1);
}

#[test]
fn a_number_is_the_fibers_for_life() {
    sisal::run(|| {
        let me = fiber::current();
        let child = spawn(|| {
            let first = fiber::current().id();
            fiber::yield_now();
            assert_eq!(first, fiber::current().id());
            (first, block_on(async { fiber::current().id() }))
        });
        let handle: Fiber = child.fiber().clone();
        let (first, polled) = child.join().unwrap();
        assert_eq!((first, polled), (handle.id(), handle.id()));
        assert_eq!(me.id(), fiber::current().id());
        assert_ne!(me.id(), handle.id());
    });
}

/// On a thread that runs no fiber the thread stands for itself: name and number are its.
#[test]
fn on_a_thread_current_is_the_thread() {
    let check = || {
        let (fiber, thread) = (fiber::current(), thread::current());
        assert_eq!(fiber.name(), thread.name());
        assert_eq!(fiber.id(), fiber::current().id());
        assert_eq!(
            format!("{:?}", fiber.id()),
            format!("FiberId({:?})", thread.id())
        );
        let text = format!("{fiber:?}");
        for part in [format!("{:?}", thread.id()), format!("{:?}", thread.name())] {
            assert!(text.contains(&part), "{text}");
        }
        fiber.id()
    };
    let here = check();
    let named = thread::Builder::new().name("a thread".to_owned());
    assert_ne!(named.spawn(check).unwrap().join().unwrap(), here);
    let runtime = runtime(1);
    runtime.run(|| {
        // The pool's thread, and the worker's own stack.
        assert_ne!(sisal::unblock(check), here);
        assert_ne!(
            block_on(tokio::spawn(async move { check() })).unwrap(),
            here
        );
    });
}

#[test]
fn debug_shows_number_name_and_place() {
    sisal::run(|| {
        let line = line!() + 1;
        let child = named("nib").spawn(|| ()).unwrap();
        let fiber = child.fiber().clone();
        let number = format!("{:?}", fiber.id());
        let digits = number
            .strip_prefix("FiberId(")
            .and_then(|s| s.strip_suffix(')'));
        assert!(digits.unwrap().parse::<u64>().unwrap() > 0, "{number}");
        let texts = [format!("{fiber:?}"), format!("{child:?}")];
        for text in texts {
            for part in [&number, "nib", &format!("names.rs:{line}:")] {
                assert!(text.contains(part), "{text} without {part}");
            }
        }
        assert!(format!("{:?}", spawn(|| ()).fiber()).contains("name: None"));
        let builder = format!("{:?}", named("nib").stack_size(1 << 20));
        assert!(
            builder.contains("nib") && builder.contains("1048576"),
            "{builder}"
        );
    });
}

/// What each way to spawn says of where: the line of the user's call, not one of ours.
#[test]
fn errors_name_the_line_that_spawned() {
    #[track_caller]
    fn says(what: &str, line: u32, error: JoinError) {
        let text = error.to_string();
        let place = format!("spawned at {}:{line}:", Location::caller().file());
        assert!(text.contains(&place), "{what}: {text}, not {place}");
        assert!(text.contains("spilt"), "{what}: {text}");
    }
    fn spill() {
        std::panic::resume_unwind(Box::new("spilt"));
    }
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    macro_rules! check {
        ($what:expr, $($spawn:tt)*) => {
            says($what, line!(), ($($spawn)*).join().unwrap_err())
        };
    }
    check!("Runtime::spawn", runtime.spawn(spill));
    check!("Handle::spawn", handle.spawn(spill));
    check!("sisal::spawn on a thread", sisal::spawn(spill));
    runtime.run(|| {
        check!("sisal::spawn", sisal::spawn(spill));
        check!("fiber::spawn", fiber::spawn(spill));
        check!("fiber::spawn_local", fiber::spawn_local(spill));
        // Short, so that the line of the check is the line of the spawn.
        let new = Builder::new;
        check!("Builder::spawn", new().spawn(spill).unwrap());
        check!("Builder::spawn_local", new().spawn_local(spill).unwrap());
        check!("Handle::spawn in a fiber", Handle::current().spawn(spill));
        fiber::scope(|s| {
            check!("Scope::spawn", s.spawn(spill));
            let builder = new();
            check!("spawn_scoped", builder.spawn_scoped(s, spill).unwrap());
        });
        // `run` has no error, but its fiber has a place.
        let line = line!() + 1;
        let text = Handle::current().run(|| format!("{:?}", fiber::current()));
        assert!(text.contains(&format!("names.rs:{line}:")), "{text}");
    });
    let line = line!() + 1;
    let text = runtime.run(|| format!("{:?}", fiber::current()));
    assert!(text.contains(&format!("names.rs:{line}:")), "{text}");
    let line = line!() + 1;
    let text = sisal::run(|| format!("{:?}", fiber::current()));
    assert!(text.contains(&format!("names.rs:{line}:")), "{text}");
}

/// A helper that passes its caller on, as std's.
#[test]
fn a_users_own_track_caller_is_passed_on() {
    #[track_caller]
    fn start() -> fiber::JoinHandle<()> {
        spawn(|| std::panic::resume_unwind(Box::new(())))
    }
    let line = line!() + 1;
    let error = start().join().unwrap_err();
    assert!(
        error.to_string().contains(&format!("names.rs:{line}:")),
        "{error}"
    );
}

#[test]
fn an_error_names_the_fiber() {
    let error = sisal::run(|| {
        let child = named("nils").spawn(|| std::panic::resume_unwind(Box::new("spilt")));
        let child: fiber::JoinHandle<()> = child.unwrap();
        let id = child.fiber().id();
        let error = child.join().unwrap_err();
        assert!(error.to_string().contains(&format!("{id:?}")), "{error}");
        error
    });
    assert!(error.to_string().starts_with("fiber 'nils' ("), "{error}");
    assert_eq!(format!("{error:?}"), format!("JoinError({error})"));
}
