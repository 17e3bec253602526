//! `Builder::stall_warning`: a fiber that holds its worker is named, with where it is.

mod common;

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use common::{in_child, passes_in_child, role, said, until, watchdog};
use sisal::Runtime;
use sisal::fiber::{self, park, spawn, yield_now};

/// A WARN event of the target `sisal::stall`.
#[derive(Clone, Debug, Default)]
struct Warning {
    message: String,
    fiber: String,
    worker: u64,
    held_ms: u64,
}

/// Keeps warnings of stalls.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<Warning>>>);

impl Warnings {
    /// Set for the whole process, which therefore has one test: the watchdog is a thread of its own.
    fn of_the_process() -> Warnings {
        let warnings = Warnings::default();
        tracing::subscriber::set_global_default(warnings.clone()).unwrap();
        warnings
    }

    fn all(&self) -> MutexGuard<'_, Vec<Warning>> {
        self.0.lock().unwrap()
    }

    /// Those about the fiber of this name.
    fn about(&self, name: &str) -> Vec<Warning> {
        let name = format!("fiber '{name}' (");
        let all = self.all();
        let about = all
            .iter()
            .filter(|warning| warning.message.starts_with(&name));
        about.cloned().collect()
    }
}

impl tracing::field::Visit for Warning {
    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        match field.name() {
            "worker" => self.worker = value,
            "held_ms" => self.held_ms = value,
            other => panic!("a field {other}"),
        }
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "fiber" => self.fiber = format!("{value:?}"),
            other => panic!("a field {other}"),
        }
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "sisal::stall"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        assert_eq!(*event.metadata().level(), tracing::Level::WARN);
        let mut warning = Warning::default();
        event.record(&mut warning);
        self.all().push(warning);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

const LIMIT: Duration = Duration::from_millis(20);

fn watched(workers: usize) -> Runtime {
    let builder = Runtime::builder().workers(workers).stall_warning(LIMIT);
    builder.thread_name("watched").build().unwrap()
}

fn named(name: &str) -> fiber::Builder {
    fiber::Builder::new().name(name.into())
}

#[inline(never)]
fn spins_until(told: &AtomicBool) {
    while !told.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn calls_what_spins(told: &AtomicBool) -> u8 {
    spins_until(told);
    std::hint::black_box(1)
}

fn has_thread(name: &str) -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.into_iter().any(|task| {
        let comm = task.unwrap().path().join("comm");
        std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim() == name)
    })
}

/// Runs the test in a process of its own, which `f` gets the warnings of.
fn alone(test: &str, f: impl FnOnce(Warnings)) {
    if role().is_none() {
        return passes_in_child(test, "child", &[]);
    }
    let _watchdog = watchdog(60);
    f(Warnings::of_the_process());
}

#[test]
fn a_fiber_that_spins_is_named_and_shown() {
    alone("a_fiber_that_spins_is_named_and_shown", |warnings| {
        let runtime = watched(1);
        let told = Arc::new(AtomicBool::new(false));
        let line = line!() + 2;
        let spins = runtime.run(|| {
            named("spinner").spawn({
                let told = Arc::clone(&told);
                move || {
                    let n = calls_what_spins(&told);
                    park(); // as ever
                    n
                }
            })
        });
        let spins = spins.unwrap();
        until(|| warnings.about("spinner").len() == 2);
        told.store(true, Ordering::Release);
        spins.fiber().unpark();
        assert_eq!(spins.join().unwrap(), 1);
        let [first, second] = &*warnings.about("spinner") else {
            panic!(
                "it went on, and was not warned of again: {:?}",
                warnings.all()
            )
        };
        for warning in [first, second] {
            let text = &warning.message;
            let place = format!("spawned at {}:{}:", file!(), line);
            assert!(text.contains(&place), "{place} is not in {text}");
            assert!(text.contains(" has held worker 0 for more than "), "{text}");
            assert!(warning.fiber.starts_with("fiber 'spinner' (FiberId("));
            assert_eq!(warning.worker, 0);
            let at = |name: &str| {
                text.find(name)
                    .unwrap_or_else(|| panic!("no {name} in {text}"))
            };
            let frames = ["spins_until", "calls_what_spins", "stack_init_trampoline"];
            assert!(frames.map(at).is_sorted(), "{text}");
            assert!(text.contains("tests/stall.rs:"), "{text}");
        }
        // The second when the time has doubled.
        assert!(first.held_ms >= LIMIT.as_millis() as u64);
        assert!(second.held_ms >= 2 * first.held_ms, "{first:?} {second:?}");
        // Afterwards all is well.
        assert_eq!(runtime.run(|| spawn(|| 3).join().unwrap()), 3);
        assert!(has_thread("watched-watch"));
        drop(runtime);
        assert!(!has_thread("watched-watch"));
    });
}

#[inline(never)]
fn spins_again_until(told: &AtomicBool) {
    // Other code than above: equal functions become one.
    while !std::hint::black_box(told).load(Ordering::Acquire) {
        std::hint::black_box(0);
        std::hint::spin_loop();
    }
}

#[test]
fn two_stalls_are_two_warnings() {
    alone("two_stalls_are_two_warnings", |warnings| {
        let runtime = watched(1);
        let told = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let stalls = runtime.run(|| {
            let told = Arc::clone(&told);
            named("stalls").spawn(move || {
                spins_until(&told[0]);
                yield_now();
                spins_again_until(&told[1]);
            })
        });
        let seen = |function: &str| {
            let at = |warning: &Warning| warning.message.contains(function);
            warnings.about("stalls").iter().filter(|w| at(w)).count()
        };
        until(|| seen("spins_until") > 0);
        assert_eq!(seen("spins_again_until"), 0);
        told[0].store(true, Ordering::Release);
        // Counted anew, from the second one's begin.
        until(|| seen("spins_again_until") > 0);
        told[1].store(true, Ordering::Release);
        stalls.unwrap().join().unwrap();
    });
}

/// In the kernel, and the sleep is as long as it was to be.
#[test]
fn a_worker_in_a_system_call_is_reported() {
    alone("a_worker_in_a_system_call_is_reported", |warnings| {
        let runtime = watched(1);
        let blocked = runtime.run(|| {
            named("blocked").spawn(|| {
                let begun = Instant::now();
                let long = LIMIT * 10;
                std::thread::sleep(long);
                assert!(begun.elapsed() >= long);
            })
        });
        blocked.unwrap().join().unwrap();
        // It may still be looking for names.
        until(|| !warnings.about("blocked").is_empty());
        let all = warnings.about("blocked");
        assert!(!all.is_empty());
        let text = &all[0].message;
        assert!(
            text.contains("nanosleep") && text.contains("::sleep"),
            "{text}"
        );
        assert!(
            text.contains("a_worker_in_a_system_call_is_reported"),
            "{text}"
        );
    });
}

/// A handoff to the pipe, as a server that reads: restarted by the kernel, the read gives what comes.
#[test]
fn a_read_goes_on_after_the_signal() {
    use std::io::{Read, Write};
    alone("a_read_goes_on_after_the_signal", |warnings| {
        let runtime = watched(1);
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let reads = runtime.run(|| {
            named("reads").spawn(move || {
                let mut byte = [0];
                // One system call: no loop that would hide an `Interrupted`.
                reader.read(&mut byte).map(|n| (n, byte))
            })
        });
        until(|| warnings.about("reads").len() == 2);
        writer.write_all(b"x").unwrap();
        assert_eq!(reads.unwrap().join().unwrap().unwrap(), (1, *b"x"));
    });
}

#[test]
fn nothing_is_said_if_nobody_stalls() {
    alone("nothing_is_said_if_nobody_stalls", |warnings| {
        // No machine is so slow that a fiber of these takes so long.
        let builder = Runtime::builder()
            .workers(2)
            .stall_warning(Duration::from_secs(30));
        let runtime = builder.build().unwrap();
        let sum: u64 = runtime.run(|| {
            let fibers: Vec<_> = (0..1000_u64)
                .map(|n| {
                    spawn(move || {
                        fiber::sleep(Duration::from_micros(n % 100));
                        yield_now();
                        n
                    })
                })
                .collect();
            fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum()
        });
        assert_eq!(sum, 499_500);
        drop(runtime);
        // A worker that sleeps and a fiber that is parked are no stall, for however long.
        let limit = Duration::from_millis(400);
        let builder = Runtime::builder().workers(2).stall_warning(limit);
        let runtime = builder.build().unwrap();
        let parked = runtime.spawn(park);
        for _ in 0..4 {
            std::thread::sleep(limit);
            runtime.run(yield_now);
        }
        parked.fiber().unpark();
        parked.join().unwrap();
        drop(runtime);
        assert!(warnings.all().is_empty(), "{:?}", warnings.all());
    });
}

/// What is fresh behind a fiber that spins is run by others meanwhile.
#[test]
fn fresh_fibers_are_stolen_meanwhile() {
    alone("fresh_fibers_are_stolen_meanwhile", |warnings| {
        const FRESH: usize = 100;
        let runtime = watched(2);
        let done = Arc::new(AtomicUsize::new(0));
        let holder = runtime.run(|| {
            let done = Arc::clone(&done);
            named("holder").spawn(move || {
                let fibers: Vec<_> = (0..FRESH)
                    .map(|_| {
                        let done = Arc::clone(&done);
                        spawn(move || done.fetch_add(1, Ordering::Release))
                    })
                    .collect();
                while done.load(Ordering::Acquire) < FRESH {
                    std::hint::spin_loop();
                }
                fibers.len()
            })
        });
        assert_eq!(holder.unwrap().join().unwrap(), FRESH);
        // And the watchdog goes on looking at both.
        let told = Arc::new(AtomicBool::new(false));
        let spins = runtime.run(|| {
            let told = Arc::clone(&told);
            named("later").spawn(move || spins_until(&told)).unwrap()
        });
        until(|| !warnings.about("later").is_empty());
        told.store(true, Ordering::Release);
        spins.join().unwrap();
    });
}

static URGENT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn by_the_program(_: libc::c_int) {
    URGENT.fetch_add(1, Ordering::SeqCst);
}

/// The program's own handler for the signal gets what the program and the kernel send, and nothing of ours.
#[test]
fn a_handler_of_the_program_gets_its_own() {
    alone("a_handler_of_the_program_gets_its_own", |warnings| {
        // SAFETY: the handler counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = by_the_program as *const () as usize;
            let done = libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut());
            assert_eq!(done, 0);
        }
        let runtime = watched(1);
        let told = Arc::new(AtomicBool::new(false));
        let spins = runtime.run(|| {
            let told = Arc::clone(&told);
            named("spinner").spawn(move || spins_until(&told)).unwrap()
        });
        until(|| warnings.about("spinner").len() == 2);
        assert_eq!(URGENT.load(Ordering::SeqCst), 0);
        // SAFETY: a signal to this thread, and one to the process.
        unsafe {
            libc::raise(libc::SIGURG);
            assert_eq!(URGENT.load(Ordering::SeqCst), 1);
            libc::kill(libc::getpid(), libc::SIGURG);
        }
        until(|| URGENT.load(Ordering::SeqCst) == 2);
        told.store(true, Ordering::Release);
        spins.join().unwrap();
    });
}

/// A fiber with little stack left can be asked: the handler runs elsewhere. (It would overflow on the fiber's own.)
#[test]
fn a_fiber_at_the_end_of_its_stack_is_asked() {
    alone("a_fiber_at_the_end_of_its_stack_is_asked", |warnings| {
        const SIZE: usize = 64 * 1024;
        let runtime = watched(1);
        let told = Arc::new(AtomicBool::new(false));
        let deep = runtime.run(|| {
            let told = Arc::clone(&told);
            let builder = named("deep").stack_size(SIZE);
            builder.spawn(move || common::reach(SIZE - 4096, &mut || spins_until(&told)))
        });
        until(|| warnings.about("deep").len() == 2);
        told.store(true, Ordering::Release);
        assert!(deep.unwrap().join().unwrap() >= SIZE - 4096);
        let text = &warnings.about("deep")[0].message;
        assert!(text.contains("spins_until") && text.contains("deeper"));
    });
}

#[test]
fn no_time_is_no_limit() {
    let error = Runtime::builder().stall_warning(Duration::ZERO).build();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Builder::stall_warning"));
    // In a child, so that this process has no handler.
    if role().is_none() {
        let child = in_child("no_time_is_no_limit", "child", &[]);
        assert!(child.status.success(), "{}", said(&child));
    }
}
