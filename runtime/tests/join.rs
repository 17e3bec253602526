//! Joining: who waits, when the fiber ends, how it ends, and what becomes of its contents.

mod common;

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use common::{Count, Gate, OnDrop, in_child, panic_text, role, runtime, said, settle, text, until};
use common::{ErrorEvents, one_on_each_worker, watchdog};
use sisal::fiber::{Builder, JoinError, JoinHandle, current, park, scope, spawn, yield_now};
use sisal::{Runtime, block_on};

/// How a fiber ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Value,
    Panic,
    /// By the shutdown of its runtime, while it waits.
    Cancel,
    /// By the shutdown of its runtime, before its first run.
    Never,
}

/// Who has the handle.
#[derive(Clone, Copy, Debug)]
enum Who {
    Thread,
    /// Of the same runtime; or of another one, where the fiber's is shut down.
    Fiber,
    ForeignTask,
    /// On a worker of the same runtime, or of another one as above.
    TaskOnWorker,
}

/// What is done with the handle.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Do {
    /// `join`, or `.await` in a task.
    Join,
    Drop,
}

/// In relation to the fiber's end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Before,
    After,
}

const ENDS: [End; 4] = [End::Value, End::Panic, End::Cancel, End::Never];
/// What a fiber returns in these tests: its drops are counted.
struct Output {
    _on_drop: OnDrop,
}

/// Everything that is counted in one combination.
#[derive(Default)]
struct Counts {
    closure: Count,
    frame: Count,
    made: Count,
    output: Count,
    payload: Count,
}

struct Case {
    end: End,
    who: Who,
    act: Do,
    when: When,
    workers: usize,
}

fn check(case: &Case) {
    let Case {
        end,
        who,
        act,
        when,
        workers,
    } = *case;
    let what = format!("{end:?} {who:?} {act:?} {when:?} the end, {workers} workers");
    let counts = Arc::new(Counts::default());
    let gate = Gate::new();
    let runtime = runtime(workers);
    // Outlives `runtime`, and has the joiner where that is shut down.
    let other = common::runtime(1);
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();

    // `Never`: every worker is held by a fiber until the runtime is closed.
    let (held, free) = (Count::new(), Count::new());
    let mut hogs = Vec::new();
    if end == End::Never {
        for _ in 0..workers {
            let (held, free) = (held.clone(), free.clone());
            hogs.push(runtime.spawn(move || {
                held.add();
                while free.get() == 0 {
                    thread::yield_now();
                }
            }));
        }
        until(|| held.get() == workers);
    }
    let handle = runtime.spawn({
        let (counts, gate) = (Arc::clone(&counts), gate.clone());
        let in_closure = counts.closure.on_drop();
        move || {
            let _in_closure = in_closure;
            let _in_frame = counts.frame.on_drop();
            block_on(gate);
            if end == End::Panic {
                resume_unwind(Box::new(counts.payload.on_drop()));
            }
            counts.made.add();
            Output {
                _on_drop: counts.output.on_drop(),
            }
        }
    });
    if end != End::Never {
        gate.wait_polls(1);
    }

    // The joiner says what it got; `None` if it dropped the handle.
    let (answer, answers) = mpsc::channel();
    // It is told when to act, and says that it has begun.
    let (may_act, begun) = (Gate::new(), Count::new());
    let joiner = {
        let (may_act, begun) = (may_act.clone(), begun.clone());
        async move {
            may_act.await;
            begun.add();
            let result = match act {
                Do::Join => Some(handle.await),
                Do::Drop => {
                    drop(handle);
                    None
                }
            };
            answer.send(result).unwrap();
        }
    };
    // A task awaits, a fiber or thread waits for the same future by `block_on`; a `join` of
    // their own is in the tests below.
    let same = matches!(end, End::Value | End::Panic);
    let host = if same { &runtime } else { &other };
    let mut thread = None;
    match who {
        Who::Thread => thread = Some(thread::spawn(|| block_on(joiner))),
        Who::Fiber => drop(host.spawn(|| block_on(joiner))),
        Who::ForeignTask => drop(foreign.spawn(joiner)),
        Who::TaskOnWorker => host.run(|| drop(tokio::spawn(joiner))),
    }
    let mut runtime = Some(runtime);
    let mut make_it_end = || match end {
        End::Value | End::Panic => {
            gate.open();
            until(|| counts.frame.get() == 1);
        }
        End::Cancel => drop(runtime.take()),
        End::Never => {
            let closing = runtime.take().unwrap();
            let handle = closing.handle().clone();
            let closing = thread::spawn(move || drop(closing));
            until(|| handle.spawn(|| ()).is_finished());
            free.add();
            closing.join().unwrap();
        }
    };
    let result = match when {
        When::Before => {
            may_act.open();
            until(|| begun.get() == 1);
            let early = (act == Do::Drop).then(|| answers.recv().unwrap());
            make_it_end();
            early.unwrap_or_else(|| answers.recv().unwrap())
        }
        When::After => {
            make_it_end();
            may_act.open();
            answers.recv().unwrap()
        }
    };
    if let Some(thread) = thread {
        thread.join().unwrap();
    }
    // Ends what is left of fibers, and of tasks on workers.
    drop(runtime);
    drop(other);
    drop(foreign);
    drop(hogs);

    match result {
        None => assert_eq!(act, Do::Drop),
        Some(Ok(output)) => {
            assert_eq!(end, End::Value, "{what}");
            assert_eq!(counts.output.get(), 0, "{what}: the result was dropped");
            drop(output);
        }
        Some(Err(error)) => match end {
            End::Value => panic!("{what}: {error}"),
            End::Panic => {
                assert!(error.is_panic() && !error.is_cancelled(), "{what}");
                assert_eq!(counts.payload.get(), 0, "{what}: the payload was dropped");
                assert!(error.into_panic().is::<OnDrop>(), "{what}");
            }
            End::Cancel | End::Never => {
                assert!(error.is_cancelled() && !error.is_panic(), "{what}");
            }
        },
    }
    let ran = usize::from(end != End::Never);
    assert_eq!(counts.closure.get(), 1, "{what}: what the closure held");
    assert_eq!(counts.frame.get(), ran, "{what}: what the frame held");
    let made = usize::from(end == End::Value);
    assert_eq!(counts.made.get(), made, "{what}");
    assert_eq!(counts.output.get(), made, "{what}: the result");
    let thrown = usize::from(end == End::Panic);
    assert_eq!(counts.payload.get(), thrown, "{what}: the payload");
}

fn check_all(who: Who) {
    let _watchdog = watchdog(240);
    for workers in [1, 2] {
        for end in ENDS {
            for act in [Do::Join, Do::Drop] {
                for when in [When::Before, When::After] {
                    check(&Case {
                        end,
                        who,
                        act,
                        when,
                        workers,
                    });
                }
            }
        }
    }
}

#[test]
fn a_thread_gets_every_end_once() {
    check_all(Who::Thread);
}

#[test]
fn a_fiber_gets_every_end_once() {
    check_all(Who::Fiber);
}

#[test]
fn a_foreign_task_gets_every_end_once() {
    check_all(Who::ForeignTask);
}

#[test]
fn a_task_on_a_worker_gets_every_end_once() {
    check_all(Who::TaskOnWorker);
}

/// `JoinHandle::join` itself, which is not the future: fiber and thread, before and after the end.
#[test]
fn join_waits_and_takes_the_result() {
    let _watchdog = watchdog(60);
    let drops = Count::new();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for after in [false, true] {
            let make = |gate: &Gate| {
                let (gate, output) = (gate.clone(), drops.on_drop());
                runtime.spawn(move || {
                    block_on(gate);
                    output
                })
            };
            let join = |gate: Gate, handle: JoinHandle<OnDrop>| {
                if after {
                    gate.open();
                    until(|| handle.is_finished());
                } else {
                    assert!(!handle.is_finished());
                    let opened = gate.clone();
                    drop(spawn(move || opened.open()));
                }
                handle.join().unwrap()
            };
            for on_fiber in [false, true] {
                let gate = Gate::new();
                let (handle, before) = (make(&gate), drops.get());
                gate.wait_polls(1);
                let output = match on_fiber {
                    true => runtime.run(|| join(gate, handle)),
                    false => join(gate, handle),
                };
                assert_eq!(drops.get(), before);
                drop(output);
                assert_eq!(drops.get(), before + 1);
            }
        }
    }
}

#[test]
fn a_result_that_nobody_takes_is_dropped_on_the_fiber_or_by_the_handle() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    /// Says where it was dropped.
    struct Where(mpsc::Sender<thread::ThreadId>);
    impl Drop for Where {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let worker = runtime.run(|| thread::current().id());
    let (tx, rx) = mpsc::channel();
    let gate = Gate::new();
    let early = runtime.spawn({
        let (tx, gate) = (tx.clone(), gate.clone());
        move || {
            block_on(gate);
            Where(tx)
        }
    });
    drop(early);
    gate.wait_polls(1);
    gate.open();
    assert_eq!(rx.recv().unwrap(), worker);
    let late = runtime.spawn(move || Where(tx));
    until(|| late.is_finished());
    drop(late);
    assert_eq!(rx.recv().unwrap(), thread::current().id());
    assert!(rx.recv().is_err(), "dropped twice");
}

/// Shows what a program would: name, number, place and reason.
#[test]
fn the_errors_text_names_the_fiber_and_the_place() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let line = line!() + 2;
    let named = Builder::new().name("nils".into());
    let handle = runtime.run(|| named.spawn(|| panic!("no {}", "milk")).unwrap());
    let id = format!("{:?}", handle.fiber().id());
    assert!(id.starts_with("FiberId("), "{id}");
    let error = handle.join().unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        for part in [
            "fiber 'nils'",
            &id,
            &format!("join.rs:{line}:"),
            "panicked: no milk",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    assert!(std::error::Error::source(&error).is_none());

    let line = line!() + 1;
    let handle = runtime.spawn(|| park());
    let id = format!("{:?}", handle.fiber().id());
    drop(runtime);
    let text = handle.join().unwrap_err().to_string();
    for part in ["fiber (", &id, &format!("join.rs:{line}:"), "was cancelled"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// The line that the error says its fiber was spawned at; it is in this file.
fn line_of<T>(ended: Result<T, JoinError>) -> u32 {
    let error = ended.map(drop).unwrap_err().to_string();
    match error.split("join.rs:").nth(1) {
        Some(at) => at.split(':').next().unwrap().parse().unwrap(),
        None => panic!("not this file's: {error}"),
    }
}

fn fail() {
    resume_unwind(Box::new(0))
}

#[test]
fn handles_builders_and_scopes_tell_their_callers_place() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let handle = sisal::Handle::current();
        assert_eq!(line_of(handle.spawn(fail).join()), line!());
        assert_eq!(line_of(Builder::new().spawn(fail).unwrap().join()), line!());
        scope(|s| {
            assert_eq!(line_of(s.spawn(fail).join()), line!());
            let spawned = (Builder::new().spawn_scoped(s, fail), line!());
            assert_eq!(line_of(spawned.0.unwrap().join()), spawned.1);
        });
    });
    assert_eq!(line_of(runtime.spawn(fail).join()), line!());
}

#[test]

fn spawn_tells_its_callers_place() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        assert_eq!(line_of(sisal::fiber::spawn(fail).join()), line!());
        assert_eq!(line_of(sisal::spawn(fail).join()), line!());
    });
    assert_eq!(line_of(sisal::spawn(fail).join()), line!());
}

#[test]
fn the_payload_of_a_panic_comes_through() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let error = runtime.spawn(|| panic!("a str")).join().unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&"a str"));

    let two = 2;
    let error = runtime.spawn(move || panic!("{two}")).join().unwrap_err();
    let payload = error.try_into_panic().unwrap();
    assert_eq!(payload.downcast_ref(), Some(&String::from("2")));

    let thrown = || std::panic::panic_any(vec![1_u8, 2]);
    let error = runtime.spawn(thrown).join().unwrap_err();
    assert!(error.to_string().contains("a value that is no string"));
    assert_eq!(*error.into_panic().downcast::<Vec<u8>>().unwrap(), [1, 2]);

    // Joined, thrown on, joined again: it is the same.
    let twice = runtime.spawn(|| match spawn(|| panic!("on and on")).join() {
        Err(error) => resume_unwind(error.into_panic()),
        Ok(()) => unreachable!(),
    });
    let payload = twice.join().unwrap_err().into_panic();
    assert_eq!(text(&*payload), "on and on");
}

#[test]
fn an_error_that_is_no_panic_gives_no_payload() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.spawn(park);
    drop(runtime);
    let error = handle.join().unwrap_err();
    let error = error.try_into_panic().unwrap_err();
    assert!(error.is_cancelled());
    let text = panic_text(|| error.into_panic());
    assert!(
        text.contains("did not panic") && text.contains("cancelled"),
        "{text}"
    );
}

#[test]
fn a_fiber_cannot_join_itself() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
        let (told, tell) = mpsc::channel();
        let fiber = spawn({
            let handle = Arc::clone(&handle);
            move || {
                until(|| handle.lock().unwrap().is_some());
                let own = handle.lock().unwrap().take().unwrap();
                told.send(panic_text(|| own.join())).unwrap();
                // The handle is gone, and the fiber goes on.
                yield_now();
                told.send("on".into()).unwrap();
            }
        });
        *handle.lock().unwrap() = Some(fiber);
        let all: Vec<String> = loop {
            settle();
            match tell.try_iter().collect() {
                all if Vec::is_empty(&all) => {}
                all => break all,
            }
        };
        assert_eq!(all, ["a fiber cannot join itself", "on"]);
    });
}

/// Two fibers that join each other would wait for ever; the runtime's end ends that too.
#[test]
fn fibers_that_join_each_other_end_with_their_runtime() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
    let a = runtime.spawn({
        let handle = Arc::clone(&handle);
        move || {
            until(|| handle.lock().unwrap().is_some());
            let b = handle.lock().unwrap().take().unwrap();
            let _ = b.join();
        }
    });
    let fiber = a.fiber().clone();
    let (out, ended) = mpsc::channel();
    *handle.lock().unwrap() = Some(runtime.spawn(move || {
        out.send(a.join().is_ok()).unwrap();
    }));
    until(|| handle.lock().unwrap().is_none());
    runtime.run(settle);
    drop(runtime);
    assert!(
        ended.recv().is_err(),
        "the join of a cancelled fiber returned"
    );
    assert!(fiber.name().is_none());
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

#[test]
fn a_panicking_fiber_does_not_kill_its_worker() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let worker = runtime.run(|| thread::current().id());
    for n in 0..200 {
        let fiber = runtime.spawn(move || {
            let _in_frame = Box::new(n);
            yield_now();
            resume_unwind(Box::new(n))
        });
        let error: JoinError = fiber.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(error.into_panic().downcast_ref(), Some(&n));
    }
    assert_eq!(runtime.run(|| thread::current().id()), worker);
    assert!(
        !runtime.run(thread::panicking),
        "a count of panics was left behind"
    );
}

/// Panics of fibers that take turns in mid-unwind stay apart (S9).
#[test]
fn fibers_may_wait_while_they_unwind() {
    struct WaitsInDrop(Count);
    impl Drop for WaitsInDrop {
        fn drop(&mut self) {
            for _ in 0..10 {
                yield_now();
            }
            self.0.add();
        }
    }
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, drops) = (runtime(workers), Count::new());
        let fibers: Vec<_> = (0..50)
            .map(|n| {
                let drops = drops.clone();
                runtime.spawn(move || {
                    let _first = WaitsInDrop(drops.clone());
                    let _second = WaitsInDrop(drops);
                    yield_now();
                    if n % 2 == 0 {
                        resume_unwind(Box::new(n))
                    }
                    n
                })
            })
            .collect();
        for (n, fiber) in fibers.into_iter().enumerate() {
            match fiber.join() {
                Ok(m) => assert!(m == n && n % 2 == 1),
                Err(error) => assert_eq!(error.into_panic().downcast_ref(), Some(&n)),
            }
        }
        assert_eq!(drops.get(), 100);
        assert!(!runtime.run(thread::panicking));
    }
}

#[test]
fn is_finished_is_true_from_the_end_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let fiber = spawn({
            let gate = gate.clone();
            move || block_on(gate)
        });
        assert!(!fiber.is_finished());
        gate.wait_polls(1);
        assert!(!fiber.is_finished());
        gate.open();
        until(|| fiber.is_finished());
        assert!(fiber.is_finished());
        fiber.join().unwrap();
    });
}

#[test]
fn one_fiber_may_join_many_and_many_may_be_joined_in_any_order() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let mut fibers: Vec<_> = (0..1000)
            .map(|n| {
                spawn(move || {
                    for _ in 0..n % 7 {
                        yield_now();
                    }
                    n
                })
            })
            .collect();
        let mut sum = 0;
        while !fibers.is_empty() {
            let at = (fibers.len() * 7) % 13 % fibers.len();
            sum += fibers.swap_remove(at).join().unwrap();
        }
        assert_eq!(sum, 499_500);
    });
}

#[test]
fn handles_may_be_joined_across_workers_and_runtimes() {
    let _watchdog = watchdog(60);
    let (a, b) = (runtime(2), runtime(2));
    a.run(|| {
        one_on_each_worker(2, |n| {
            let here = spawn(move || n);
            let home = a.handle().clone();
            let there = b.spawn(move || {
                let back = home.spawn(move || n);
                back.join().unwrap() + 10
            });
            assert_eq!((here.join().unwrap(), there.join().unwrap()), (n, n + 10));
        });
    });
}

#[test]
fn a_panic_that_nobody_joins_is_an_error_event() {
    let _watchdog = watchdog(60);
    let errors = ErrorEvents::new();
    // Workers are to see it, so it is the process's.
    tracing::subscriber::set_global_default(errors.clone()).unwrap();
    let runtime = runtime(1);
    let named = |name: &str| Builder::new().name(name.to_owned());
    let events = |name: &str| -> Vec<String> {
        let mut texts = errors.texts();
        texts.retain(|text| text.contains(name));
        texts
    };
    runtime.run(|| {
        // Dropped before the end, dropped after it, joined, and gone without a panic.
        let early = named("unseen early").spawn(|| panic!("spilt")).unwrap();
        drop(early);
        let late = named("unseen late").spawn(|| panic!("spilt")).unwrap();
        until(|| late.is_finished());
        drop(late);
        let seen = named("seen").spawn(|| panic!("spilt")).unwrap();
        seen.join().unwrap_err();
        let fine = named("fine").spawn(|| ()).unwrap();
        drop(fine);
        until(|| !events("unseen early").is_empty());
    });
    for name in ["unseen early", "unseen late"] {
        let events = events(name);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("spilt") && events[0].contains("join.rs"));
    }
    assert!(events("'seen'").is_empty() && events("'fine'").is_empty());
    // Nobody joins a cancelled fiber either, and nobody need know.
    let cancelled = runtime.run(|| named("cancelled").spawn(park).unwrap());
    drop(cancelled);
    drop(runtime);
    assert!(events("cancelled").is_empty());
}

/// A destructor that panics: of a result that nobody takes, of a payload, of what a closure holds.
#[test]
fn destructors_that_panic_end_with_their_fiber() {
    struct Bomb(Count);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.add();
            if !thread::panicking() {
                panic!("a bomb");
            }
        }
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let bombs = Count::new();
    let bomb = || Bomb(bombs.clone());
    // What the fiber returns, unseen.
    let made = bomb();
    runtime.run(|| {
        // It has not run yet: the only worker is here.
        drop(spawn(move || made));
        settle();
    });
    assert_eq!(bombs.get(), 1);
    // What it throws, unseen.
    let thrown = bomb();
    runtime.run(|| {
        drop(spawn(move || resume_unwind(Box::new(thrown))));
        settle();
    });
    assert_eq!(bombs.get(), 2);
    // What its closure holds: an ordinary panic of the fiber.
    let held = bomb();
    let fiber = runtime.spawn(move || drop(held));
    let error = fiber.join().unwrap_err();
    assert!(error.to_string().contains("a bomb"), "{error}");
    // What is returned belongs to who drops the handle, and so does the panic.
    let made = bomb();
    let late = runtime.spawn(move || made);
    until(|| late.is_finished());
    assert_eq!(panic_text(|| drop(late)), "a bomb");
    assert_eq!(bombs.get(), 4);
    assert_eq!(runtime.run(|| 1), 1);
    // A closure that never runs.
    let handle = runtime.handle().clone();
    drop(runtime);
    let held = bomb();
    let never = handle.spawn(move || drop(held));
    assert!(never.join().unwrap_err().is_cancelled());
    assert_eq!(bombs.get(), 5);
}

#[test]
fn a_fiber_knows_itself_by_the_handle() {
    let _watchdog = watchdog(60);
    let handle = runtime(1).run(|| {
        let handle = spawn(|| current().id());
        let id = handle.fiber().id();
        assert_eq!(handle.join().unwrap(), id);
        let handle = spawn(|| ());
        let text = format!("{handle:?}");
        assert!(
            text.contains("JoinHandle") && text.contains("FiberId"),
            "{text}"
        );
        handle
    });
    // Its runtime has ended, in which it may have run or not.
    let _ = handle.join();
}

/// `extern "C"` frames abort an unwind; a panic through one ends the process and says so. The child
/// first shows that it runs so far.
#[test]
fn an_unwind_through_a_c_frame_aborts() {
    extern "C" fn c_frame() {
        panic!("through C");
    }
    if role().is_some() {
        let runtime = runtime(1);
        runtime.run(|| println!("alive"));
        let _ = runtime.spawn(|| c_frame()).join();
        println!("survived");
        return;
    }
    let child = in_child("an_unwind_through_a_c_frame_aborts", "crash", &[]);
    let said = said(&child);
    assert!(
        said.contains("alive") && !said.contains("survived"),
        "{said}"
    );
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}");
}

/// A runtime that is dropped while a thread joins: the thread gets its answer.
#[test]
fn a_join_under_way_ends_with_the_runtime() {
    let _watchdog = watchdog(60);
    for _ in 0..50 {
        let runtime: Runtime = runtime(2);
        let handle = runtime.spawn(park);
        let joining = thread::spawn(|| handle.join());
        drop(runtime);
        assert!(joining.join().unwrap().unwrap_err().is_cancelled());
    }
}
