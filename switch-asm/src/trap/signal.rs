//! The signal handler: installed once, asks a hook, passes on. Must not know
//! what a coroutine is.
//!
//! # Passing on
//!
//! The handler that was there before is called as the kernel would have: with
//! its signal mask, one or three arguments, and once if it asked for that. If
//! there was none, the default action is put back: a fault happens again when
//! the instruction is run again, and ends the process with the right signal and
//! a core file; a signal that was sent is sent again.

use core::cell::UnsafeCell;
use core::mem::{self, MaybeUninit};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, Ordering};
use std::io;

use super::Fault;

/// What becomes of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The interrupted code goes on, with the registers as the hook left them.
    Resume,
    /// The handler that was there before gets it.
    Pass,
}

/// Looks at a fault, on the alternate stack if the thread has one.
pub type Hook = fn(&mut Fault<'_>) -> Outcome;

const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What a signal did before.
struct Previous {
    /// Written before `HOOK` is set, read after it was.
    action: UnsafeCell<MaybeUninit<libc::sigaction>>,
    /// It wanted to be called once, and was.
    spent: AtomicBool,
}

// SAFETY: see `action`; `HOOK` orders the two.
unsafe impl Sync for Previous {}

static PREVIOUS: [Previous; SIGNALS.len()] = [const {
    Previous {
        action: UnsafeCell::new(MaybeUninit::zeroed()),
        spent: AtomicBool::new(false),
    }
}; SIGNALS.len()];

static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

static STATE: AtomicU8 = AtomicU8::new(FREE);
const FREE: u8 = 0;
const TAKEN: u8 = 1;

/// Installs the handler for SIGSEGV and SIGBUS, once and for the whole process.
///
/// `hook` is called for each of these signals. A typical one reports an overflow
/// and passes on, so that the process ends as it would have.
///
/// A thread whose stack overflows needs another one for the handler: see
/// [`AlternateStack`](super::AlternateStack).
///
/// ```no_run
/// use switch_asm::trap::{self, Fault, Outcome};
///
/// fn report(fault: &mut Fault<'_>) -> Outcome {
///     if fault.overflow().is_some() {
///         const TEXT: &str = "a coroutine overflowed its stack\n";
///         // SAFETY: a system call that a signal handler may make.
///         unsafe { libc::write(2, TEXT.as_ptr().cast(), TEXT.len()) };
///     }
///     Outcome::Pass
/// }
/// // SAFETY: the hook does nothing that a signal handler may not do.
/// unsafe { trap::install(report)? };
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// `AlreadyExists` if it is installed, by whomever. What the kernel says, in
/// which case nothing is installed.
///
/// # Safety
///
/// `hook` does only what is allowed in a signal handler that interrupts any
/// code: it takes no lock, allocates nothing, and does not panic. It returns
/// [`Outcome::Resume`] only if the interrupted code can go on, with its context
/// as it is then.
///
/// Nobody changes the handlers of these signals meanwhile.
pub unsafe fn install(hook: Hook) -> io::Result<()> {
    if STATE.swap(TAKEN, Ordering::Acquire) != FREE {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the fault handler of switch-asm is installed already",
        ));
    }
    // SAFETY: this function's contract; nobody else gets here.
    let result = unsafe { install_all(hook) };
    if result.is_err() {
        // Release: pairs with the swap above.
        STATE.store(FREE, Ordering::Release);
    }
    result
}

/// # Safety
///
/// As for `install`, and nobody else is in here.
unsafe fn install_all(hook: Hook) -> io::Result<()> {
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        // SAFETY: nobody reads it: our handler is not installed.
        unsafe { exchange(signal, None, previous.action.get().cast()) }
            .map_err(|error| refused(signal, &error))?;
    }
    // Release: pairs with the Acquire in `on_signal`.
    HOOK.store(hook as *mut (), Ordering::Release);
    // SAFETY: all zero is an empty mask, no flags and no handler.
    let mut ours: libc::sigaction = unsafe { mem::zeroed() };
    ours.sa_sigaction = on_signal as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    for (done, signal) in SIGNALS.into_iter().enumerate() {
        // SAFETY: the handler has what it needs.
        if let Err(error) = unsafe { exchange(signal, Some(&ours), ptr::null_mut()) } {
            for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS).take(done) {
                // SAFETY: it was filled in above.
                let action = unsafe { (*previous.action.get()).assume_init_ref() };
                // SAFETY: what was there is put back. It worked before.
                let _ = unsafe { exchange(signal, Some(action), ptr::null_mut()) };
            }
            return Err(refused(signal, &error));
        }
    }
    Ok(())
}

fn refused(signal: libc::c_int, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        std::format!("cannot install a handler for signal {signal}: {error}"),
    )
}

/// # Safety
///
/// A `sigaction` with SA_SIGINFO, after `HOOK` and `PREVIOUS` were set.
unsafe extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: `errno` belongs to the interrupted code.
    let errno = unsafe { *libc::__errno_location() };
    // Acquire: pairs with the Release in `install_all`.
    let hook = HOOK.load(Ordering::Acquire);
    // SAFETY: only ever set to a `Hook`, before this handler was installed.
    let hook = unsafe { mem::transmute::<*mut (), Hook>(hook) };
    // SAFETY: the kernel's, for the time of this call.
    let mut fault = unsafe { Fault::new(signal, &*info, &mut *context.cast()) };
    if hook(&mut fault) == Outcome::Pass {
        // SAFETY: as we were called.
        unsafe { pass_on(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// # Safety
///
/// As for `on_signal`.
unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type OneArgument = unsafe extern "C" fn(libc::c_int);
    type ThreeArguments =
        unsafe extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

    let which = usize::from(signal != SIGNALS[0]);
    let previous = &PREVIOUS[which];
    // SAFETY: filled in before this handler was installed.
    let action = unsafe { (*previous.action.get()).assume_init_ref() };
    // SAFETY: the kernel's.
    let was_sent = unsafe { (*info).si_code } <= 0;
    let once = action.sa_flags & libc::SA_RESETHAND != 0;
    // Relaxed: nothing else is published with it.
    let spent = once && previous.spent.swap(true, Ordering::Relaxed);
    match action.sa_sigaction {
        libc::SIG_IGN if was_sent => {}
        // A fault cannot be ignored: the kernel takes the default then.
        handler if spent || handler == libc::SIG_DFL || handler == libc::SIG_IGN => {
            // SAFETY: all zero is the default action.
            let default: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: the default needs nothing.
            let _ = unsafe { exchange(signal, Some(&default), ptr::null_mut()) };
            if was_sent {
                // Blocked here, so that it arrives when we return.
                // SAFETY: sends a signal to this thread.
                unsafe { libc::raise(signal) };
            }
        }
        handler => {
            let mut mask = MaybeUninit::uninit();
            // SAFETY: a handler of one of the two kinds, as its flags say, called
            // with what we got and with the signals blocked that it asked for.
            unsafe {
                libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, mask.as_mut_ptr());
                if action.sa_flags & libc::SA_SIGINFO == 0 {
                    mem::transmute::<usize, OneArgument>(handler)(signal);
                } else {
                    mem::transmute::<usize, ThreeArguments>(handler)(signal, info, context);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut());
            }
        }
    }
}

/// Sets what a signal does, or only asks for it.
///
/// # Safety
///
/// `new` is an action that is fit for this signal; `old` is null or has room.
unsafe fn exchange(
    signal: libc::c_int,
    new: Option<&libc::sigaction>,
    old: *mut libc::sigaction,
) -> io::Result<()> {
    #[cfg(test)]
    crate::stack::faults::before("sigaction", libc::EINVAL)?;
    let new = new.map_or(ptr::null(), |new| &raw const *new);
    // SAFETY: this function's contract.
    match unsafe { libc::sigaction(signal, new, old) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::faults::{all_say, alone, with_each_call_failing};

    fn handlers() -> [usize; SIGNALS.len()] {
        SIGNALS.map(|signal| {
            let mut now = MaybeUninit::<libc::sigaction>::uninit();
            // SAFETY: only asks, and has room for the answer.
            unsafe {
                assert_eq!(libc::sigaction(signal, ptr::null(), now.as_mut_ptr()), 0);
                now.assume_init().sa_sigaction
            }
        })
    }

    #[test]
    fn all_or_nothing() {
        let _alone = alone();
        let before = handlers();
        let errors = with_each_call_failing(|| {
            // SAFETY: the hook does nothing.
            let result = unsafe { install(|_| Outcome::Pass) };
            let ours = on_signal as *const () as usize;
            if let Err(error) = result {
                // Also if the way back is made to fail once: see below.
                let now = handlers();
                assert!(now == before || now[0] == ours, "half installed");
                put_back(before);
                return Err(error);
            }
            assert_eq!(handlers(), [ours; SIGNALS.len()]);
            // SAFETY: as above.
            let again = unsafe { install(|_| Outcome::Pass) };
            assert_eq!(
                again.map_err(|error| error.kind()),
                Err(io::ErrorKind::AlreadyExists)
            );
            put_back(before);
            STATE.store(FREE, Ordering::Release);
            Ok(())
        });
        assert_eq!(handlers(), before);
        all_say(&errors, "sigaction", &["handler for signal"]);
        assert!(errors.len() >= 2 * SIGNALS.len());
    }

    /// What no program could do without this module's statics.
    fn put_back(before: [usize; SIGNALS.len()]) {
        for ((signal, previous), handler) in SIGNALS.into_iter().zip(&PREVIOUS).zip(before) {
            // SAFETY: all zero if it was never asked for, else what the kernel said.
            let mut action = unsafe { *(*previous.action.get()).assume_init_ref() };
            action.sa_sigaction = handler;
            // SAFETY: what was there before.
            let result = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
            assert_eq!(result, 0);
        }
    }
}
