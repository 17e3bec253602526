//! Whose stack it was, and what follows.

use std::io;
use std::sync::OnceLock;

use switch_asm::stack::StackPointer;
use switch_asm::trap::{self, Extent, Fault, Outcome, TrapHandlerRegs};

use super::kill::Refusal;
use super::message;
use crate::current::{self, Context};
use crate::fiber;

/// Installs the handler of the process, at the first call. What is no overflow of a fiber's goes to the handler that was
/// there before.
///
/// If the program has installed a hook of its own by `switch_asm::trap::install`, that one decides, unless ours is `needed`.
///
/// # Errors
/// What the kernel says. `AlreadyExists`: ours is needed, and the program has its own.
pub(crate) fn install(needed: bool) -> io::Result<()> {
    /// A process has one handler for a signal.
    static INSTALLED: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
    let result = INSTALLED.get_or_init(|| {
        // SAFETY: `on_fault` does what may be done in a signal handler (see the parent module), and asks to go on only with
        // the registers of `fiber::leaving`. As for others who change these handlers meanwhile: nobody can know.
        unsafe { trap::install(on_fault) }.map_err(|error| error.kind())
    });
    match *result {
        Ok(()) => Ok(()),
        Err(io::ErrorKind::AlreadyExists) if !needed => Ok(()),
        Err(kind) => {
            let what = "the handler for stack overflows could not be installed";
            Err(io::Error::new(kind, format!("{what}: {kind}")))
        }
    }
}

/// A fault on a thread of the process, most likely not ours.
fn on_fault(fault: &mut Fault<'_>) -> Outcome {
    // First what needs no thread-local: in a library that was loaded late the first use of one may allocate.
    let Some(extent) = fault.overflow() else {
        return Outcome::Pass;
    };
    match current::with_context(|context| overflowed(fault, extent, context)) {
        Some(Verdict::Leave(registers)) => {
            leave(fault, registers);
            Outcome::Resume
        }
        Some(Verdict::NoFiber) | None => Outcome::Pass,
    }
}

enum Verdict {
    /// A stack of somebody else's coroutine.
    NoFiber,
    /// The fiber is ended: its thread goes on with these.
    Leave(TrapHandlerRegs),
}

/// The stack in `extent` overflowed, on a worker.
fn overflowed(fault: &mut Fault<'_>, extent: Extent, context: &Context) -> Verdict {
    let Some(fiber) = context.fiber.get() else {
        return Verdict::NoFiber;
    };
    // SAFETY: the running fiber is live, and this is its worker's thread.
    let header = unsafe { fiber.header() };
    if !header.is_on(extent.base) {
        return Verdict::NoFiber;
    }
    let refusal = match &context.killer {
        None => None,
        Some(killer) => match killer.judge(fault, extent, header) {
            // SAFETY: interrupted on the stack of this fiber; the handler runs on the worker's alternate stack.
            Ok(()) => return Verdict::Leave(unsafe { fiber::leaving(header) }),
            Err(refusal) => Some(refusal),
        },
    };
    report(fault, extent, &header.named(), refusal);
    std::process::abort()
}

fn report(fault: &Fault<'_>, extent: Extent, fiber: &fiber::Named<'_>, refusal: Option<Refusal>) {
    let size = size(extent);
    message::write(format_args!(
        "\nsisal: {fiber} has overflowed its stack of {size} bytes\n\
         sisal: `fiber::Builder::stack_size` gives this fiber more, `Builder::stack_size` every fiber of the runtime\n"
    ));
    if let Some(left) = room(fault, extent) {
        message::write(format_args!(
            "sisal: {left} bytes of it were not in use, so this may have been a stray access\n"
        ));
    }
    if let Some(refusal) = refusal {
        message::write(format_args!(
            "sisal: `Builder::kill_on_overflow` cannot end just the fiber: {refusal}\n"
        ));
    }
}

/// What the stack was asked for with: its usable bytes and the few of its cache colour.
fn size(extent: Extent) -> usize {
    let usable = extent.base.get() - lowest(extent).get();
    usable.next_multiple_of(rustix::param::page_size())
}

/// The lowest address of a stack that does not fault.
pub(super) fn lowest(extent: Extent) -> StackPointer {
    extent.limit.saturating_add(extent.guard_size)
}

/// The bytes that are left below the stack pointer, if they are more than those of a stack that is full.
pub(super) fn room(fault: &Fault<'_>, extent: Extent) -> Option<usize> {
    /// Functions that call no other use so many bytes below their stack pointer (System V ABI, 3.2.2).
    const RED_ZONE: usize = 128;
    let left = fault.stack_pointer().checked_sub(lowest(extent).get())?;
    (left > RED_ZONE).then_some(left)
}

/// Makes the thread go on with `registers`, as at the beginning of a function.
fn leave(fault: &mut Fault<'_>, registers: TrapHandlerRegs) {
    /// EFLAGS.DF: string instructions go down.
    const DIRECTION: i64 = 1 << 10;
    // SAFETY: these registers make sense together, and the hook says `Resume`.
    unsafe { fault.go_on_with(registers) };
    // The fault may have come in the middle of a backward copy.
    fault.context().uc_mcontext.gregs[libc::REG_EFL as usize] &= !DIRECTION;
}
