//! `Builder::kill_on_overflow`: the overflow of a stack ends just its fiber, or, where that must not be, the process.

mod common;

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{
    Count, Defer, ErrorEvents, OnDrop, in_child, passes_in_child, role, said, until, watchdog,
};
use sisal::Runtime;
use sisal::fiber::{self, park, spawn, yield_now};

/// Recursion without an end that the compiler could see.
#[inline(never)]
fn down(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 8]);
    match n {
        u64::MAX => 0,
        _ => std::hint::black_box(down(n + 1)) + frame[3],
    }
}

fn say(text: &str) {
    // SAFETY: a system call that reads the text; no lock that an overflow could leave locked.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
}

fn killing(workers: usize) -> Runtime {
    let builder = Runtime::builder().workers(workers).stack_size(32 * 1024);
    // SAFETY: what overflows here is in `down` and the like, which touch their own frames.
    let builder = unsafe { builder.kill_on_overflow() };
    builder.thread_name("killing").build().unwrap()
}

/// Names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(task.unwrap().path().join("comm"));
        name.unwrap_or_default().trim().to_owned()
    };
    tasks.map(name).collect()
}

/// Where the pinned values of killed fibers are.
static PLACES: Mutex<Vec<usize>> = Mutex::new(Vec::new());

const MARK: u64 = 0x5153_414c_5f4d_4152;

fn is_marked(place: usize) -> bool {
    let place = ptr::with_exposed_provenance::<[u64; 64]>(place);
    // SAFETY: a retired stack stays, and nobody writes to it.
    unsafe { place.read_volatile() == [MARK; 64] }
}

/// A frame of a fiber that is never left: what lies in it stays as it is.
#[inline(never)]
fn marked_frame(f: impl FnOnce() -> u64) -> u64 {
    let mark = std::hint::black_box([MARK; 64]);
    PLACES
        .lock()
        .unwrap()
        .push(ptr::from_ref(&mark).expose_provenance());
    let result = f();
    result + std::hint::black_box(&mark)[0]
}

sisal::fiber_local!(static FIBER_LOCAL: Cell<Option<OnDrop>> = const { Cell::new(None) });

#[test]
fn just_the_fiber_ends() {
    const TEST: &str = "just_the_fiber_ends";
    const TIMES: usize = 100;
    let Some(role) = role() else {
        // By default the first of them ends the process.
        let child = in_child(TEST, "by default", &[]);
        assert_eq!(
            child.status.signal(),
            Some(libc::SIGABRT),
            "{}",
            said(&child)
        );
        assert!(
            said(&child).contains("fiber 'number 0' ("),
            "{}",
            said(&child)
        );
        return passes_in_child(TEST, "killing", &[]);
    };
    let _watchdog = watchdog(120);
    let runtime = match &*role {
        "killing" => killing(2),
        _ => Runtime::builder().workers(2).build().unwrap(),
    };
    let (dropped, beside) = (Count::new(), Count::new());
    // Goes on all the while.
    let other = runtime.spawn({
        let beside = beside.clone();
        move || {
            while PLACES.lock().unwrap().len() < TIMES {
                beside.add();
                yield_now();
            }
            "went on"
        }
    });
    for n in 0..TIMES {
        let (captured, dropped) = (dropped.on_drop(), dropped.clone());
        let body = move || {
            let _captured = captured;
            let _local = dropped.on_drop();
            FIBER_LOCAL.set(Some(dropped.on_drop()));
            match n % 3 {
                0 => marked_frame(|| down(0)),
                1 => marked_frame(|| sisal::block_on(async { down(0) })),
                // After it was parked and woken.
                _ => marked_frame(|| {
                    fiber::sleep(Duration::from_micros(1));
                    down(0)
                }),
            }
        };
        let fiber = runtime.run(move || {
            let builder = fiber::Builder::new().name(format!("number {n}"));
            builder.spawn(body).unwrap()
        });
        let error = match n % 2 {
            0 => fiber.join().unwrap_err(),
            _ => runtime.run(|| sisal::block_on(fiber)).unwrap_err(),
        };
        assert!(error.is_overflow() && !error.is_panic() && !error.is_cancelled());
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("fiber 'number {n}' (FiberId(")),
            "{text}"
        );
        assert!(
            text.ends_with("overflowed its stack and was ended"),
            "{text}"
        );
        assert!(error.try_into_panic().is_err());
        // Its frames are as they were, under the feet of whoever has a pointer to them.
        assert!(is_marked(*PLACES.lock().unwrap().last().unwrap()));
    }
    assert_eq!(other.join().unwrap(), "went on");
    assert_eq!(dropped.get(), 0);
    // New fibers get other stacks.
    let all: Vec<usize> = PLACES.lock().unwrap().clone();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    assert!(sorted.windows(2).all(|w| w[1] - w[0] >= 32 * 1024));
    runtime.run(|| {
        let fibers: Vec<_> = (0..300).map(|_| spawn(|| marked_frame(|| 1))).collect();
        for fiber in fibers {
            fiber.join().unwrap();
        }
    });
    assert!(all.iter().all(|place| is_marked(*place)));
    // The runtime ends; its threads that own retired fibers do not (S7), and the frames stay.
    let before = threads()
        .iter()
        .filter(|name| name.starts_with("killing-"))
        .count();
    assert_eq!(before, 2);
    let errors = ErrorEvents::new();
    tracing::subscriber::with_default(errors.clone(), || drop(runtime));
    assert!(threads().iter().any(|name| name.starts_with("killing-")));
    assert_eq!(errors.texts().len(), 1, "{:?}", errors.texts());
    assert!(all.iter().all(|place| is_marked(*place)));
    assert_eq!(dropped.get(), 0);
}

/// A runtime that may kill, and did not have to, ends as any other.
#[test]
fn nothing_stays_if_nothing_overflowed() {
    let _watchdog = watchdog(60);
    if role().is_none() {
        return passes_in_child("nothing_stays_if_nothing_overflowed", "child", &[]);
    }
    let runtime = killing(2);
    assert_eq!(runtime.run(|| spawn(|| 5).join().unwrap()), 5);
    drop(runtime);
    assert!(!threads().iter().any(|name| name.starts_with("killing-")));
}

/// Its own error says so if nobody joins.
#[test]
fn nobody_joins_it() {
    if role().is_none() {
        return passes_in_child("nobody_joins_it", "child", &[]);
    }
    let _watchdog = watchdog(60);
    let errors = ErrorEvents::new();
    tracing::subscriber::set_global_default(errors.clone()).unwrap();
    let runtime = killing(1);
    drop(runtime.spawn(|| down(0)));
    until(|| !errors.texts().is_empty());
    let text = errors.texts().remove(0);
    assert!(
        text.starts_with("nobody joined: fiber (")
            && text.ends_with("overflowed its stack and was ended"),
        "{text}"
    );
    // Handles that are left can be used.
    let fiber = runtime.spawn(|| down(0));
    let record = fiber.fiber().clone();
    until(|| fiber.is_finished());
    record.unpark();
    assert!(fiber.join().unwrap_err().is_overflow());
    record.unpark();
}

/// Frames that are larger than the guard, and so are probed on the way.
#[inline(never)]
fn down_wide(n: u64) -> u64 {
    let frame = std::hint::black_box([n as u8; 10_000]);
    match n {
        u64::MAX => 0,
        _ => std::hint::black_box(down_wide(n + 1)) + u64::from(frame[3]),
    }
}

/// Allocates on every level, by the C library's own slow way.
#[inline(never)]
fn down_allocating(n: usize) -> usize {
    // SAFETY: freed below; null is not used.
    let block = std::hint::black_box(unsafe { libc::malloc(2000 + (n % 64) * 16) });
    let below = match n {
        usize::MAX => 0,
        _ => std::hint::black_box(down_allocating(n + 1)),
    };
    // SAFETY: from `malloc`.
    unsafe { libc::free(block) };
    below + 1
}

/// Spawns on every level, and never lets the fibers run.
#[inline(never)]
fn down_spawning(n: usize) -> usize {
    drop(spawn(park));
    match n {
        usize::MAX => 0,
        _ => std::hint::black_box(down_spawning(n + 1)) + 1,
    }
}

/// Begins so many bytes further down.
#[inline(never)]
fn lower<const BYTES: usize>() {
    let room = std::hint::black_box([0_u8; BYTES]);
    down_spawning(0);
    std::hint::black_box(&room);
}

/// A spawn that overflows: before it has begun anything, or after it is through, just the fiber is ended, and the
/// runtime goes on and ends; in between the process.
#[test]
fn wherever_in_a_spawn() {
    const TEST: &str = "wherever_in_a_spawn";
    const FROM: [fn(); 12] = [
        lower::<0>,
        lower::<32>,
        lower::<64>,
        lower::<96>,
        lower::<128>,
        lower::<160>,
        lower::<192>,
        lower::<224>,
        lower::<256>,
        lower::<320>,
        lower::<384>,
        lower::<448>,
    ];
    let Some(role) = role() else {
        let mut refused = 0;
        for from in 0..FROM.len() {
            let child = in_child(TEST, &from.to_string(), &[]);
            let text = said(&child);
            assert!(text.contains("ready"), "{from}: {text}");
            if child.status.signal() == Some(libc::SIGABRT) {
                assert!(text.contains("it overflowed inside "), "{from}: {text}");
                refused += 1;
            } else {
                assert!(
                    child.status.success() && text.contains("survived"),
                    "{from}: {text}"
                );
            }
        }
        println!("{refused} of {} refused", FROM.len());
        // Optimised, what lies deepest in a spawn is what it does first.
        assert!(refused > 0 || !cfg!(debug_assertions));
        return;
    };
    let _watchdog = watchdog(60);
    let from = FROM[role.parse::<usize>().unwrap()];
    let runtime = killing(1);
    let ended = runtime.spawn(move || {
        say("ready\n");
        from();
    });
    assert!(ended.join().unwrap_err().is_overflow());
    assert_eq!(runtime.run(|| spawn(|| 5).join().unwrap()), 5);
    let unfinished = runtime
        .shutdown_timeout(Duration::from_secs(30))
        .unwrap_err();
    assert_eq!(unfinished.fibers().len(), 1, "{unfinished}");
    say("survived\n");
}

static COMPARED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn compare(_: *const libc::c_void, _: *const libc::c_void) -> libc::c_int {
    COMPARED.fetch_add(1, Ordering::Relaxed);
    (down(0) % 2) as libc::c_int
}

/// Each: what overflows, and the words of the refusal.
const REFUSED: [(&str, &str); 9] = [
    (
        "stray",
        "its stack was not full, so this was a stray access",
    ),
    (
        "allocator",
        "it overflowed inside the C library or its allocator",
    ),
    (
        "called by the C library",
        "it overflowed inside the C library or its allocator",
    ),
    (
        "scoped",
        "it was spawned in a `scope` or by `run`, and has borrows",
    ),
    (
        "run",
        "it was spawned in a `scope` or by `run`, and has borrows",
    ),
    (
        "owner",
        "it is in a `scope`, `run` or `unblock`, and has lent borrows",
    ),
    ("unwinding", "its thread is unwinding"),
    ("beside an unwind", "its thread is unwinding"),
    ("destructor of a result", "it overflowed inside Sisal"),
];

#[test]
fn where_that_must_not_be_the_process_ends() {
    const TEST: &str = "where_that_must_not_be_the_process_ends";
    let Some(role) = role() else {
        for (role, reason) in REFUSED {
            let child = in_child(TEST, role, &[]);
            let text = said(&child);
            assert!(
                text.contains("ready") && !text.contains("survived"),
                "{role}: {text}"
            );
            assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{role}: {text}");
            assert!(
                text.contains("has overflowed its stack of 32768 bytes"),
                "{role}: {text}"
            );
            let why = format!("`Builder::kill_on_overflow` cannot end just the fiber: {reason}");
            assert!(text.contains(&why), "{role}: {text}");
        }
        // The same ways down are survived where nothing is in the way: it is not the way.
        return passes_in_child(TEST, "allowed", &[]);
    };
    let _watchdog = watchdog(60);
    let runtime = killing(1);
    let ready = || say("ready\n");
    let overflow = || {
        say("ready\n");
        down(0)
    };
    let own = |f: fn()| drop(runtime.spawn(f).join());
    match &*role {
        "stray" => own(|| {
            let here = std::hint::black_box(0_u8);
            say("ready\n");
            // The guard of this stack is less than a stack's size and a page below.
            let below = ptr::from_ref(&here).addr() - 32 * 1024 - 1024;
            let below = ptr::with_exposed_provenance_mut::<u8>(below);
            // SAFETY: none: it is to fault.
            unsafe { below.write_volatile(1) };
        }),
        "allocator" => own(|| {
            say("ready\n");
            down_allocating(0);
        }),
        "called by the C library" => own(|| {
            say("ready\n");
            let mut words = [3_u64, 1, 2];
            // SAFETY: three words, and a function that compares two.
            unsafe { libc::qsort(words.as_mut_ptr().cast(), 3, 8, Some(compare)) };
        }),
        "scoped" => own(|| {
            fiber::scope(|s| {
                drop(
                    s.spawn(|| {
                        say("ready\n");
                        down(0)
                    })
                    .join(),
                )
            });
        }),
        "run" => drop(runtime.run(overflow)),
        "owner" => own(|| {
            fiber::scope(|s| {
                s.spawn(|| 1);
                say("ready\n");
                down(0);
            });
        }),
        "unwinding" => own(|| {
            let _down = Defer(|| {
                say("ready\n");
                down(0);
            });
            std::panic::resume_unwind(Box::new("over"));
        }),
        "beside an unwind" => {
            let unwinds = runtime.spawn(|| {
                let _waits = Defer(park);
                std::panic::resume_unwind(Box::new("over"));
            });
            let fiber = runtime.spawn(move || {
                // The other is parked in mid-unwind now, or will be.
                until(std::thread::panicking);
                say("ready\n");
                down(0)
            });
            drop(fiber.join());
            drop(unwinds);
        }
        "destructor of a result" => {
            let dropped = Count::new();
            let result = {
                let dropped = dropped.clone();
                move || {
                    until(|| dropped.get() == 1);
                    Defer(|| {
                        say("ready\n");
                        down(0);
                    })
                }
            };
            // Nobody can ask for it any more, so the fiber's last function drops it.
            drop(runtime.spawn(result));
            dropped.add();
            loop {
                runtime.run(yield_now);
            }
        }
        _ => {
            ready();
            let closed = runtime.spawn(|| {
                let words = [1, 2];
                let sum: i32 = fiber::scope(|s| s.spawn(|| words.iter().sum()).join().unwrap());
                assert_eq!(sisal::unblock(|| sum), 3);
                down(0)
            });
            assert!(closed.join().unwrap_err().is_overflow());
            let wide = runtime.spawn(|| down_wide(0));
            assert!(wide.join().unwrap_err().is_overflow());
            // So large a closure has no room on its stack, and is dropped as what never ran. Optimised, it may be called where it is.
            let (large, dropped) = ([1_u8; 40 * 1024], Count::new());
            let on_drop = dropped.on_drop();
            let never = runtime.spawn(move || (large.len(), drop(on_drop)));
            match never.join() {
                Err(error) => assert!(error.is_overflow()),
                Ok((len, ())) => assert!(!cfg!(debug_assertions) && len == 40 * 1024),
            }
            assert_eq!(dropped.get(), 1);
            return;
        }
    }
    say("survived\n");
}
