//! A fault, as a signal handler sees it. Must not know how it got there.

use core::fmt;

use super::{TrapHandlerRegs, locate};
use crate::stack::{Extent, Verdict};

/// A signal that interrupted this thread: what happened, and with which
/// registers it will go on.
pub struct Fault<'a> {
    signal: libc::c_int,
    info: &'a libc::siginfo_t,
    context: &'a mut libc::ucontext_t,
}

impl<'a> Fault<'a> {
    pub(super) fn new(
        signal: libc::c_int,
        info: &'a libc::siginfo_t,
        context: &'a mut libc::ucontext_t,
    ) -> Fault<'a> {
        Fault {
            signal,
            info,
            context,
        }
    }

    /// `SIGSEGV` or `SIGBUS`.
    pub fn signal(&self) -> i32 {
        self.signal
    }

    /// The address whose access failed. `None` if there is none: somebody sent
    /// the signal, or the address was not one that a pointer can have.
    pub fn address(&self) -> Option<usize> {
        // Sent by a process: zero or below. By the kernel without an address:
        // SI_KERNEL.
        if self.info.si_code <= 0 || self.info.si_code == libc::SI_KERNEL {
            return None;
        }
        // SAFETY: faults of these signals have the field.
        Some(unsafe { self.info.si_addr() }.addr())
    }

    /// What that address is.
    pub fn verdict(&self) -> Verdict {
        self.address().map_or(Verdict::Foreign, locate)
    }

    /// The stack that overflowed, if that is what happened: the address is in a
    /// guard, and the interrupted code ran on the stack that the guard belongs
    /// to.
    ///
    /// A stray access to the guard of another stack is not an overflow.
    pub fn overflow(&self) -> Option<Extent> {
        match self.verdict() {
            Verdict::Guard(extent) => (extent.limit.get()..=extent.base.get())
                .contains(&self.stack_pointer())
                .then_some(extent),
            Verdict::Inside(_) | Verdict::Foreign => None,
        }
    }

    /// RSP of the interrupted code.
    pub fn stack_pointer(&self) -> usize {
        self.register(libc::REG_RSP)
    }

    /// RIP of the interrupted code: the instruction that faulted.
    pub fn instruction_pointer(&self) -> usize {
        self.register(libc::REG_RIP)
    }

    /// Makes the interrupted code go on with these registers, for instance in a
    /// function that ends its coroutine: see
    /// [`CoroutineTrapHandler::setup_trap_handler`](super::CoroutineTrapHandler::setup_trap_handler).
    ///
    /// # Safety
    ///
    /// They are those that make sense where `rip` points, whatever the others
    /// are. The hook returns [`Outcome::Resume`](super::Outcome::Resume).
    pub unsafe fn go_on_with(&mut self, regs: TrapHandlerRegs) {
        let TrapHandlerRegs {
            rip,
            rsp,
            rbp,
            rdi,
            rsi,
        } = regs;
        let registers = &mut self.context.uc_mcontext.gregs;
        for (name, value) in [
            (libc::REG_RIP, rip),
            (libc::REG_RSP, rsp),
            (libc::REG_RBP, rbp),
            (libc::REG_RDI, rdi),
            (libc::REG_RSI, rsi),
        ] {
            registers[name as usize] = value.cast_signed();
        }
    }

    /// The whole context of the interrupted code.
    pub fn context(&mut self) -> &mut libc::ucontext_t {
        self.context
    }

    fn register(&self, name: libc::c_int) -> usize {
        self.context.uc_mcontext.gregs[name as usize].cast_unsigned() as usize
    }
}

impl fmt::Debug for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("signal", &self.signal)
            .field("address", &self.address())
            .field("verdict", &self.verdict())
            .field("stack_pointer", &self.stack_pointer())
            .field("instruction_pointer", &self.instruction_pointer())
            .finish()
    }
}
