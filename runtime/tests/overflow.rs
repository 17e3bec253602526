//! A fiber that overflows its stack ends the process with a message that names it; every other fault reaches whoever
//! handled it before.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::Output;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{in_child, role, runtime, said, watchdog};
use sisal::Runtime;

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

/// Runs the child of `test`, which must have come as far as to say `ready`, and die of `signal`.
#[track_caller]
fn dies(test: &str, role: &str, signal: i32) -> Output {
    let child = in_child(test, role, &[]);
    let output = said(&child);
    assert!(output.contains("ready"), "{output}");
    assert!(!output.contains("survived"), "{output}");
    assert_eq!(child.status.signal(), Some(signal), "{output}");
    child
}

#[track_caller]
fn says(child: &Output, parts: &[&str]) {
    let output = said(child);
    for part in parts {
        assert!(output.contains(part), "no {part:?} in:\n{output}");
    }
}

const HINT: &str =
    "`fiber::Builder::stack_size` gives this fiber more, `Builder::stack_size` every fiber";

#[test]
fn the_message_names_the_fiber() {
    const TEST: &str = "the_message_names_the_fiber";
    let Some(role) = role() else {
        // That this recursion has no end: a thread dies of it, by std's words.
        let thread = dies(TEST, "thread", libc::SIGABRT);
        says(&thread, &["has overflowed its stack"]);
        assert!(!said(&thread).contains("sisal:"), "{}", said(&thread));

        let named = dies(TEST, "named", libc::SIGABRT);
        says(
            &named,
            &[
                "sisal: fiber 'deep one' (FiberId(",
                "has overflowed its stack of 65536 bytes",
                HINT,
            ],
        );
        let plain = dies(TEST, "plain", libc::SIGABRT);
        says(
            &plain,
            &[
                "sisal: fiber (FiberId(",
                "has overflowed its stack of 262144 bytes",
                HINT,
            ],
        );
        let main = dies(TEST, "main", libc::SIGABRT);
        says(&main, &["has overflowed its stack of 262144 bytes", HINT]);
        for child in [&named, &plain, &main] {
            let text = said(child);
            let line = text
                .split("spawned at line ")
                .nth(1)
                .and_then(|rest| rest.lines().next());
            let place = format!(
                "spawned at {}:{}:",
                file!(),
                line.expect("the child says it")
            );
            says(child, &[&place]);
            assert!(!said(child).contains("kill_on_overflow"), "{}", said(child));
        }
        return;
    };
    let _watchdog = watchdog(60);
    let ready = || {
        say("ready\n");
        down(0)
    };
    let deep = || {
        let builder = sisal::fiber::Builder::new().name("deep one".into());
        let builder = builder.stack_size(64 * 1024);
        say(&format!("spawned at line {}\n", line!() + 1));
        builder.spawn(ready).unwrap().join()
    };
    let plain = runtime(1);
    match &*role {
        "thread" => drop(std::thread::spawn(ready).join()),
        "named" => drop(runtime(2).run(deep)),
        "plain" => {
            say(&format!("spawned at line {}\n", line!() + 1));
            drop(plain.spawn(ready).join());
        }
        _ => {
            say(&format!("spawned at line {}\n", line!() + 1));
            plain.run(ready);
        }
    }
    say("survived\n");
}

/// Far from anything that is mapped.
#[inline(never)]
fn write_to(address: usize) {
    let place = ptr::with_exposed_provenance_mut::<u8>(std::hint::black_box(address));
    // SAFETY: none: it is to fault.
    unsafe { place.write_volatile(1) };
}

#[test]
fn other_faults_are_not_ours() {
    const TEST: &str = "other_faults_are_not_ours";
    let Some(role) = role() else {
        for role in ["null", "unblock", "guard of another"] {
            let child = dies(TEST, role, libc::SIGSEGV);
            assert!(!said(&child).contains("sisal:"), "{}", said(&child));
        }
        // Threads that are no fibers overflow by std's words: the pool's, and a worker's own stack.
        for role in ["unblock down", "worker down"] {
            let child = dies(TEST, role, libc::SIGABRT);
            says(&child, &["has overflowed its stack"]);
            assert!(!said(&child).contains("sisal:"), "{}", said(&child));
        }
        return;
    };
    let _watchdog = watchdog(60);
    match &*role {
        "null" => runtime(1).run(|| {
            say("ready\n");
            write_to(8)
        }),
        "unblock" => runtime(1).run(|| {
            sisal::unblock(|| {
                say("ready\n");
                write_to(8)
            })
        }),
        "unblock down" => drop(runtime(1).run(|| {
            sisal::unblock(|| {
                say("ready\n");
                down(0)
            })
        })),
        "worker down" => runtime(1).run(|| {
            let task = tokio::spawn(async {
                say("ready\n");
                down(0)
            });
            drop(sisal::block_on(task));
        }),
        _ => {
            // Two stacks of one slab lie side by side; above the one is the guard of the other.
            runtime(1).run(|| {
                let here = std::hint::black_box(0_u8);
                let own = ptr::from_ref(&here).addr();
                say("ready\n");
                for page in 1.. {
                    write_up(own + page * 4096);
                }
            });
        }
    }
    say("survived\n");
}

/// Writes what is there, if it can be read: only a guard or unmapped memory faults.
fn write_up(address: usize) {
    let place = ptr::with_exposed_provenance_mut::<u8>(std::hint::black_box(address));
    // SAFETY: none: it is to fault, sooner or later.
    unsafe { place.write_volatile(place.read_volatile()) };
}

static BEFORE: AtomicUsize = AtomicUsize::new(0);

/// A handler of the program's: gets past the write in `write_to`, and counts.
extern "C" fn by_the_program(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel's own, passed on.
    let (address, context) = unsafe {
        (
            (*info).si_addr().addr(),
            &*context.cast::<libc::ucontext_t>(),
        )
    };
    let rsp = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    let ip = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    let here = write_to as *const () as usize;
    let right = signal == libc::SIGSEGV && rsp > 0x10000 && (here..here + 4096).contains(&ip);
    if address != 8 || !right {
        say("wrong siginfo or context\n");
        // SAFETY: ends the process.
        unsafe { libc::_exit(3) };
    }
    say("by the program\n");
    BEFORE.fetch_add(1, Ordering::Relaxed);
    let next = NEXT.load(Ordering::Relaxed);
    if next != 0 {
        // SAFETY: `after` stored what was there before it: a handler of three arguments.
        unsafe {
            let next: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                std::mem::transmute(next);
            next(signal, info, ptr::from_ref(context).cast_mut().cast());
        }
        return;
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Installs it; what was there before is returned.
fn install(handler: usize) -> usize {
    // SAFETY: the handlers here make system calls only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut old: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, &mut old), 0);
        old.sa_sigaction
    }
}

extern "C" fn chains(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    say("after ours\n");
    // SAFETY: what was there before, a handler of three arguments.
    unsafe {
        let next: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            std::mem::transmute(NEXT.load(Ordering::Relaxed));
        next(signal, info, context);
    }
}

#[test]
fn handlers_of_the_program_go_on_working() {
    const TEST: &str = "handlers_of_the_program_go_on_working";
    let Some(role) = role() else {
        // Without any the write is the end.
        dies(TEST, "none", libc::SIGSEGV);
        let before = in_child(TEST, "before", &[]);
        says(&before, &["ready", "by the program"]);
        assert_eq!(before.status.code(), Some(7), "{}", said(&before));
        // One that came after ours, and passes everything on: an overflow is still told.
        let after = dies(TEST, "after", libc::SIGABRT);
        says(
            &after,
            &[
                "after ours",
                "has overflowed its stack of 262144 bytes",
                HINT,
            ],
        );
        // And what is not ours goes through both.
        let through = dies(TEST, "through", libc::SIGSEGV);
        says(&through, &["after ours"]);
        return;
    };
    let _watchdog = watchdog(60);
    match &*role {
        "none" => runtime(1).run(|| {
            say("ready\n");
            write_to(8)
        }),
        "before" => {
            install(by_the_program as *const () as usize);
            runtime(1).run(|| {
                say("ready\n");
                write_to(8)
            });
        }
        role => {
            let runtime = runtime(1);
            NEXT.store(install(chains as *const () as usize), Ordering::Relaxed);
            let overflow = role == "after";
            runtime.run(|| {
                say("ready\n");
                if overflow {
                    down(0);
                } else {
                    write_to(8)
                }
            });
        }
    }
    say("survived\n");
}

/// In many runtimes, one after the other and at once, the handler is one.
#[test]
fn it_is_there_for_every_runtime() {
    const TEST: &str = "it_is_there_for_every_runtime";
    if role().is_none() {
        let child = dies(TEST, "child", libc::SIGABRT);
        says(
            &child,
            &[
                "fiber 'the last' (",
                "has overflowed its stack of 32768 bytes",
            ],
        );
        return;
    }
    let _watchdog = watchdog(60);
    for _ in 0..10 {
        assert_eq!(runtime(1).run(|| 1), 1);
    }
    let together: Vec<Runtime> = (0..3).map(|_| runtime(1)).collect();
    let last = together.last().unwrap();
    last.run(|| {
        let builder = sisal::fiber::Builder::new().name("the last".into());
        let fiber = builder.stack_size(32 * 1024).spawn(|| {
            say("ready\n");
            down(0)
        });
        drop(fiber.unwrap().join());
    });
    say("survived\n");
}

/// What a program does that has coroutines of its own.
fn hook_of_the_program(fault: &mut switch_asm::trap::Fault<'_>) -> switch_asm::trap::Outcome {
    if fault.overflow().is_some() {
        say("hook of the program\n");
    }
    switch_asm::trap::Outcome::Pass
}

#[test]
fn a_hook_of_the_program_decides() {
    const TEST: &str = "a_hook_of_the_program_decides";
    if role().is_none() {
        let child = dies(TEST, "child", libc::SIGSEGV);
        says(&child, &["hook of the program"]);
        assert!(!said(&child).contains("sisal:"), "{}", said(&child));
        return;
    }
    let _watchdog = watchdog(60);
    // SAFETY: the hook makes a system call.
    unsafe { switch_asm::trap::install(hook_of_the_program) }.unwrap();
    // One that is to kill cannot do without ours.
    // SAFETY: nothing runs on it.
    let builder = unsafe { Runtime::builder().workers(1).kill_on_overflow() };
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("stack overflows"), "{error}");
    runtime(1).run(|| {
        say("ready\n");
        down(0)
    });
    say("survived\n");
}
