//! Every end of a fiber, seen by every joiner, before and after: told once, and each value of the
//! fiber is dropped once.

mod common;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use common::{Count, Gate, OnDrop, runtime, until, watchdog};
use sisal::block_on;

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
