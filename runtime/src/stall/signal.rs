//! The signal by which a worker is asked, and its handler.
//!
//! `SIGURG`, as in Go's runtime and for its reasons: by default it is ignored, so one that comes late does no harm; debuggers
//! pass it on; the C library does not use it; and whoever uses it for what it is meant for, urgent data, must expect some
//! that mean nothing. What we did not send goes to the handler that was there before.

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::OnceLock;

use parking_lot::Mutex;
use switch_asm::arch;
use switch_asm::stack::StackPointer;
use switch_asm::trap::{self, Verdict};

use super::probe::Answer;
use crate::current::{self, Context};
use crate::fiber::FiberRef;
use crate::walk::{Link, Registers, peek_all};

const SIGNAL: libc::c_int = libc::SIGURG;

/// What the signal did before: set before our handler is.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// A thread, as the kernel knows it.
#[derive(Clone, Copy)]
pub(super) struct Thread(libc::pid_t);

impl Thread {
    pub(super) fn current() -> Thread {
        // SAFETY: asks.
        Thread(unsafe { libc::gettid() })
    }

    /// Sends the signal. The thread has not ended.
    pub(super) fn signal(self) {
        // SAFETY: sends a signal that has a handler, or is ignored. It fails for a thread that is gone, or when there is no
        // memory for it, and then there is no answer.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, SIGNAL) };
    }
}

/// Installs the handler of the process, at the first call.
pub(super) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock();
    if *installed {
        return Ok(());
    }
    let mut previous = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: only asks, and there is room for the answer.
    check(unsafe { libc::sigaction(SIGNAL, ptr::null(), previous.as_mut_ptr()) })?;
    // SAFETY: filled in by the kernel.
    PREVIOUS.get_or_init(|| unsafe { previous.assume_init() });
    // SAFETY: all zero is an empty mask, no flags and no handler.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = on_signal as *const () as usize;
    // On the alternate stack: a fiber's own may have no room left.
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler does what a handler may, and `PREVIOUS` is set.
    check(unsafe { libc::sigaction(SIGNAL, &ours, ptr::null_mut()) })?;
    *installed = true;
    Ok(())
}

/// Lets this thread have the signal, whatever mask it inherited.
pub(super) fn unblock() {
    // SAFETY: changes the mask of this thread by a set made here.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, SIGNAL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
/// A `sigaction` with SA_SIGINFO, after `PREVIOUS` was set.
unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: `errno` belongs to the interrupted code.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel's, for the time of this call. What a thread of this process sent to this one has a sender.
    let sent = unsafe { (*info).si_code == libc::SI_TKILL && (*info).si_pid() == libc::getpid() };
    let ours = sent
        && current::with_context(|worker| {
            // SAFETY: as above.
            answer(worker, unsafe { &*context.cast() });
        })
        .is_some();
    if !ours {
        // SAFETY: as we were called.
        unsafe { pass_on(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Says what this worker runs, if that was asked.
fn answer(worker: &Context, interrupted: &libc::ucontext_t) {
    worker.probe.answer(|into| {
        let register = |name: libc::c_int| interrupted.uc_mcontext.gregs[name as usize] as usize;
        let registers = Registers {
            ip: register(libc::REG_RIP),
            sp: register(libc::REG_RSP),
            bp: register(libc::REG_RBP),
        };
        into.registers = registers;
        // SAFETY: the worker's running fiber is live. It may be about to run, or have just left its stack, and then it stays
        // live until the interrupted code goes on.
        into.fiber = worker
            .fiber
            .get()
            .map(|fiber| unsafe { FiberRef::count(fiber) });
        copy_stack(into);
    });
}

/// As much of the interrupted stack as there is room for, from its innermost frame.
fn copy_stack(into: &mut Answer) {
    let sp = into.registers.sp;
    let base = match trap::locate(sp) {
        Verdict::Inside(extent) => Some(extent.base),
        // A worker's own, or one of another crate's coroutines.
        Verdict::Guard(_) | Verdict::Foreign => None,
    };
    let on_own = |fiber: &&FiberRef| base.is_some_and(|base| fiber.is_on(base));
    let record = into.fiber.as_ref().filter(on_own).map(|f| f.link());
    let base = base.map_or(0, StackPointer::get);
    into.link = Link::of(base.saturating_sub(arch::PARENT_LINK_OFFSET), record);
    into.registers.bp = into.link.seen(into.registers.bp);
    into.copied = base.saturating_sub(sp).min(into.stack.len());
    let copy = &mut into.stack[..into.copied];
    // SAFETY: this thread's own stack, from its stack pointer towards its base.
    unsafe { peek_all(sp, copy) };
}

/// # Safety
/// As for `on_signal`.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type OneArgument = unsafe extern "C" fn(libc::c_int);
    type ThreeArguments =
        unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

    let Some(previous) = PREVIOUS.get() else {
        return;
    };
    match previous.sa_sigaction {
        // By default it is ignored.
        libc::SIG_DFL | libc::SIG_IGN => {}
        handler => {
            let mut mask = MaybeUninit::uninit();
            // SAFETY: a handler of one of the two kinds, as its flags say, called with what we got and with the signals blocked
            // that it asked for.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, &previous.sa_mask, mask.as_mut_ptr());
                if previous.sa_flags & libc::SA_SIGINFO == 0 {
                    mem::transmute::<usize, OneArgument>(handler)(signal);
                } else {
                    mem::transmute::<usize, ThreeArguments>(handler)(signal, info, context);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
            }
        }
    }
}
