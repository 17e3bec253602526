//! An overflow in a coroutine is told apart from everything else that faults.
//! Each case runs in a child process, which dies of it or gets out.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::cell::Cell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use switch_asm::stack::{DefaultStack, Slab, Stack};
use switch_asm::trap::{self, AlternateStack, CoroutineTrapHandler, Fault, Outcome, Verdict};
use switch_asm::{Coroutine, CoroutineResult};

const CASE: &str = "OVERFLOW_CASE";
/// The limit of the stack that the case expects to overflow.
static EXPECTED: AtomicUsize = AtomicUsize::new(0);

/// Runs `case` in a child, and there alone.
fn in_a_child(test: &str, case: impl FnOnce()) -> Option<Output> {
    if std::env::var_os(CASE).is_some() {
        case();
        return None;
    }
    let child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CASE, test)
        .output()
        .expect("a child");
    Some(child)
}

/// Runs `case` in a child with the handler installed, and expects that it dies
/// of `signal`, and that the last thing it says is `words`.
fn dies(test: &str, signal: i32, words: &str, case: impl FnOnce()) {
    let child = in_a_child(test, || {
        // SAFETY: the hook makes system calls only.
        unsafe { trap::install(report) }.expect("nobody else does");
        case();
        println!("survived");
    });
    let Some(child) = child else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(output.trim_end().ends_with(words), "{output}\n{errors}");
    assert_eq!(
        child.status.signal(),
        Some(signal),
        "{}: {output}\n{errors}",
        child.status
    );
}

/// Runs `case` in a child and expects that it passes.
fn passes(test: &str, case: impl FnOnce()) {
    if let Some(child) = in_a_child(test, case) {
        let output = String::from_utf8_lossy(&child.stdout);
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(
            child.status.success() && output.contains("1 passed"),
            "{}: {output}\n{errors}",
            child.status
        );
    }
}

fn say(text: &str) {
    // SAFETY: a system call that reads the text.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
}

fn report(fault: &mut Fault<'_>) -> Outcome {
    let expected = EXPECTED.load(Ordering::Relaxed);
    say(match (fault.overflow(), fault.verdict()) {
        (Some(extent), _) if extent.limit.get() == expected => "overflow of the expected stack\n",
        (Some(_), _) => "overflow of another stack\n",
        (None, Verdict::Guard(_)) => "stray access to a guard\n",
        (None, Verdict::Inside(_)) => "inside a stack\n",
        (None, Verdict::Foreign) => "foreign\n",
    });
    Outcome::Pass
}

#[inline(never)]
fn down(n: u64) -> u64 {
    if std::hint::black_box(n) == u64::MAX {
        0
    } else {
        down(n + 1) + std::hint::black_box(n)
    }
}

fn write_to(address: usize) {
    // SAFETY: not at all: this is meant to fault.
    unsafe { ptr::without_provenance_mut::<u8>(address).write_volatile(1) }
}

fn overflows<S: Stack + 'static>(stack: S) {
    EXPECTED.store(stack.limit().get(), Ordering::Relaxed);
    Coroutine::<(), (), u64, _>::with_stack(stack, |_, ()| down(0)).resume(());
}

#[test]
fn of_a_default_stack() {
    let words = "overflow of the expected stack";
    dies("of_a_default_stack", libc::SIGSEGV, words, || {
        overflows(DefaultStack::new(64 * 1024).expect("a stack"));
    });
}

#[test]
fn of_a_stack_of_a_slab() {
    let words = "overflow of the expected stack";
    dies("of_a_stack_of_a_slab", libc::SIGSEGV, words, || {
        let slab = Slab::new(64 * 1024, 4096, 100).expect("a slab");
        let _others: Vec<_> = (0..7).map(|_| slab.take()).collect();
        overflows(slab.take().expect("a guard").expect("a stack"));
    });
}

#[test]
fn of_the_inner_one_of_two() {
    let words = "overflow of the expected stack";
    dies("of_the_inner_one_of_two", libc::SIGSEGV, words, || {
        Coroutine::<(), (), ()>::new(|_, ()| overflows(DefaultStack::default())).resume(());
    });
}

#[test]
fn in_a_thread() {
    let words = "overflow of the expected stack";
    dies("in_a_thread", libc::SIGSEGV, words, || {
        let slab = Slab::new(64 * 1024, 4096, 1).expect("a slab");
        let stack = slab.take().expect("a guard").expect("a stack");
        let thread = std::thread::spawn(move || {
            let _alternate = AlternateStack::new().expect("a stack");
            overflows(stack);
        });
        let _ = thread.join();
    });
}

#[test]
fn a_null_dereference_in_a_coroutine() {
    let test = "a_null_dereference_in_a_coroutine";
    dies(test, libc::SIGSEGV, "foreign", || {
        Coroutine::<(), (), ()>::new(|_, ()| write_to(8)).resume(());
    });
}

#[test]
fn a_null_dereference_outside() {
    let test = "a_null_dereference_outside";
    dies(test, libc::SIGSEGV, "foreign", || write_to(8));
}

#[test]
fn an_address_that_is_none() {
    let test = "an_address_that_is_none";
    dies(test, libc::SIGSEGV, "foreign", || {
        Coroutine::<(), (), ()>::new(|_, ()| write_to(1 << 63)).resume(());
    });
}

/// Runs `f` in another thread while this one is in a coroutine, whose limit `f`
/// gets.
fn beside_a_coroutine(f: impl FnOnce(usize) + Send + 'static) {
    let stack = DefaultStack::default();
    let limit = stack.limit().get();
    Coroutine::<(), (), (), _>::with_stack(stack, move |_, ()| {
        let thread = std::thread::spawn(move || f(limit));
        let _ = thread.join();
    })
    .resume(());
}

#[test]
fn a_fault_in_another_thread() {
    let test = "a_fault_in_another_thread";
    dies(test, libc::SIGSEGV, "foreign", || {
        beside_a_coroutine(|_| write_to(8));
    });
}

#[test]
fn a_stray_write_from_another_thread() {
    let test = "a_stray_write_from_another_thread";
    dies(test, libc::SIGSEGV, "stray access to a guard", || {
        beside_a_coroutine(|limit| write_to(limit + 100));
    });
}

#[test]
fn an_overflow_of_a_thread_is_left_to_std() {
    let test = "an_overflow_of_a_thread_is_left_to_std";
    let child = in_a_child(test, || {
        // SAFETY: the hook makes system calls only.
        unsafe { trap::install(report) }.expect("nobody else does");
        let _ = std::thread::spawn(|| down(0)).join();
    });
    let Some(child) = child else { return };
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(errors.contains("has overflowed its stack"), "{errors}");
    assert_eq!(child.status.signal(), Some(libc::SIGABRT));
}

#[test]
fn a_bus_error() {
    dies("a_bus_error", libc::SIGBUS, "foreign", || {
        // SAFETY: a page of an empty file, which nothing can be written to.
        unsafe {
            let file = libc::memfd_create(c"empty".as_ptr(), 0);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let page = libc::mmap(ptr::null_mut(), 4096, access, libc::MAP_SHARED, file, 0);
            assert_ne!(page, libc::MAP_FAILED);
            page.cast::<u8>().write_volatile(1);
        }
    });
}

#[test]
fn it_is_installed_once() {
    passes("it_is_installed_once", || {
        // SAFETY: the hook makes system calls only.
        unsafe { trap::install(report) }.expect("nobody else does");
        // SAFETY: as above.
        let error = unsafe { trap::install(report) }.expect_err("it is installed");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    });
}

/// Installs `handler` for SIGSEGV, as the program did before us.
fn installed_before(handler: usize, flags: libc::c_int) {
    // SAFETY: the handlers below make system calls only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1);
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()), 0);
        trap::install(report).expect("nobody else does");
    }
}

fn is_blocked(signal: libc::c_int) -> bool {
    // SAFETY: asks for the mask of this thread.
    unsafe {
        let mut mask = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), &mut mask);
        libc::sigismember(&mask, signal) == 1
    }
}

#[test]
fn the_previous_handler_gets_the_rest() {
    extern "C" fn previous(_: libc::c_int, info: &libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: a fault has an address.
        let address = unsafe { info.si_addr() }.addr();
        assert!(is_blocked(libc::SIGUSR1) && is_blocked(libc::SIGSEGV));
        say("previous handler\n");
        // SAFETY: ends the process.
        unsafe { libc::_exit(if address == 8 { 0 } else { 1 }) };
    }
    let test = "the_previous_handler_gets_the_rest";
    let child = in_a_child(test, || {
        installed_before(previous as *const () as usize, libc::SA_SIGINFO);
        write_to(8);
    });
    let Some(child) = child else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.ends_with("foreign\nprevious handler\n"), "{output}");
    assert_eq!(child.status.code(), Some(0));
}

#[test]
fn a_previous_handler_for_once_is_called_once() {
    extern "C" fn previous(_: libc::c_int) {
        say("once\n");
    }
    let test = "a_previous_handler_for_once_is_called_once";
    let child = in_a_child(test, || {
        installed_before(previous as *const () as usize, libc::SA_RESETHAND);
        write_to(8);
    });
    let Some(child) = child else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.ends_with("foreign\nonce\nforeign\n"), "{output}");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_signal_that_was_sent_takes_the_default() {
    let test = "a_signal_that_was_sent_takes_the_default";
    let child = in_a_child(test, || {
        installed_before(libc::SIG_DFL, 0);
        // SAFETY: sends us a signal.
        unsafe { libc::raise(libc::SIGSEGV) };
        say("survived\n");
    });
    let Some(child) = child else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.ends_with("foreign\n"), "{output}");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV));
}

#[test]
fn a_fault_cannot_be_ignored_but_a_signal_can() {
    let test = "a_fault_cannot_be_ignored_but_a_signal_can";
    let child = in_a_child(test, || {
        installed_before(libc::SIG_IGN, 0);
        // SAFETY: sends us a signal.
        unsafe { libc::raise(libc::SIGSEGV) };
        say("ignored\n");
        write_to(8);
    });
    let Some(child) = child else { return };
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.ends_with("foreign\nignored\nforeign\n"), "{output}");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV));
}

thread_local! {
    static WAY_OUT: Cell<Option<CoroutineTrapHandler<u64>>> = const { Cell::new(None) };
    static PANIC: Cell<bool> = const { Cell::new(false) };
}

/// Makes a coroutine of this thread that overflows or faults leave.
fn let_out(fault: &mut Fault<'_>) -> Outcome {
    let Some(way_out) = WAY_OUT.take() else {
        return Outcome::Pass;
    };
    if !way_out.stack_ptr_in_bounds(fault.stack_pointer()) {
        return Outcome::Pass;
    }
    let code = match (fault.overflow(), PANIC.get()) {
        (_, true) => 0,
        (Some(_), _) => 1,
        (None, _) => 2,
    };
    // SAFETY: the coroutine runs, and `down` and `write_to` hold nothing.
    unsafe {
        fault.go_on_with(way_out.setup_trap_handler(move || match code {
            0 => panic!("let out"),
            code => code,
        }));
    }
    Outcome::Resume
}

#[test]
fn it_gets_out_with_a_value_or_a_panic() {
    passes("it_gets_out_with_a_value_or_a_panic", || {
        // SAFETY: the hook touches thread-locals without destructors.
        unsafe { trap::install(let_out) }.expect("nobody else does");
        std::panic::set_hook(Box::new(|_| ()));
        let slab = Slab::new(32 * 1024, 4096, 1).expect("a slab");
        let resume = |f: fn() -> u64| {
            let stack = slab.take().expect("a guard").expect("the only one");
            let mut coroutine = Coroutine::<(), (), u64, _>::with_stack(stack, move |_, ()| f());
            WAY_OUT.set(Some(coroutine.trap_handler()));
            let result = coroutine.resume(());
            assert!(coroutine.done());
            result
        };
        for _ in 0..100 {
            assert_eq!(resume(|| down(0)), CoroutineResult::Return(1));
            let null = || {
                write_to(8);
                9
            };
            assert_eq!(resume(null), CoroutineResult::Return(2));
            assert_eq!(resume(|| 3), CoroutineResult::Return(3));
        }
        PANIC.set(true);
        for _ in 0..100 {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| resume(|| down(0))));
            let payload = result.expect_err("it panics");
            assert_eq!(payload.downcast_ref(), Some(&"let out"));
        }
        assert!(slab.is_idle());
    });
}
