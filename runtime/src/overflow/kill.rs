//! Whether just the fiber may be ended: `Builder::kill_on_overflow`.
//!
//! It may not where that would leave something of Sisal's or of the C library's half done, or where somebody has a borrow
//! of the frames. What that something is cannot be asked for: the stack itself tells. It is walked from the fault to its
//! base, and if a function is met that must not be left, the answer is no. So nothing is counted while all goes well.
//!
//! Functions of Sisal that must not be left are never inlined, and lie in a section of the program that holds nothing else.
//! (The linker gives the bounds of a section whose name is an identifier.) There are two:
//!
//! - `sisal_keep`: what changes the scheduler, a record or the reactor;
//! - `sisal_lend`: what lends borrows to fibers or threads, and waits for them (S5).
//!
//! User's code that runs inside of one of these (a destructor, a waker) is refused with it.

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use switch_asm::arch;
use switch_asm::trap::{Extent, Fault};

use super::handler::{lowest, room};
use crate::fiber::Header;
use crate::walk::{Link, Modules, Registers, Scratch, peek};

unsafe extern "C" {
    #[link_name = "__start_sisal_keep"]
    static KEEP_START: u8;
    #[link_name = "__stop_sisal_keep"]
    static KEEP_STOP: u8;
    #[link_name = "__start_sisal_lend"]
    static LEND_START: u8;
    #[link_name = "__stop_sisal_lend"]
    static LEND_STOP: u8;
}

/// The bounds of a section are there if the section is: a program may have no `scope`, for instance.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")]
fn keep_is_there() {}

#[inline(never)]
#[unsafe(link_section = "sisal_lend")]
fn lend_is_there() {}

/// What is known of the program; for all workers of a runtime.
#[derive(Clone)]
pub(crate) struct Grounds {
    modules: Arc<Modules>,
    c_library: Arc<[Range<usize>]>,
}

impl Grounds {
    /// # Errors
    /// `Unsupported`: the C library is linked statically.
    pub(crate) fn new() -> io::Result<Grounds> {
        let modules = Modules::loaded();
        let c_library = modules.c_library()?;
        Ok(Grounds {
            modules: Arc::new(modules),
            c_library,
        })
    }
}

/// A worker's judge.
pub(crate) struct Killer {
    grounds: Grounds,
    /// Of the signal handler, on this worker's thread.
    scratch: UnsafeCell<Scratch>,
}

/// Why the process must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Stray,
    Scoped,
    Unwinding,
    Hooked,
    Lends,
    Sisal,
    CLibrary,
    Lost,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Stray => "its stack was not full, so this was a stray access",
            Refusal::Scoped => "it was spawned in a `scope` or by `run`, and has borrows",
            Refusal::Unwinding => "its thread is unwinding",
            Refusal::Hooked => "`Builder::on_switch` was not told that it leaves its stack",
            Refusal::Lends => "it is in a `scope`, `run` or `unblock`, and has lent borrows",
            Refusal::Sisal => "it overflowed inside Sisal",
            Refusal::CLibrary => "it overflowed inside the C library or its allocator",
            Refusal::Lost => "a function without unwind information is on its stack",
        })
    }
}

impl Killer {
    pub(crate) fn new(grounds: Grounds) -> Killer {
        Killer {
            grounds,
            scratch: UnsafeCell::new(Scratch::new()),
        }
    }

    /// Whether the running fiber may leave its stack, `extent`, where it overflowed. In the signal handler.
    pub(super) fn judge(
        &self,
        fault: &mut Fault<'_>,
        extent: Extent,
        header: &Header,
    ) -> Result<(), Refusal> {
        if room(fault, extent).is_some() {
            return Err(Refusal::Stray);
        }
        if header.is_scoped() {
            return Err(Refusal::Scoped);
        }
        if header.is_hooked() {
            return Err(Refusal::Hooked);
        }
        // Of this fiber, or of one that is parked on this thread (S9): its count would be wrong for ever.
        if std::thread::panicking() {
            return Err(Refusal::Unwinding);
        }
        let lowest = lowest(extent).get();
        // SAFETY: of this handler only, which does not interrupt itself: its signals are blocked in it.
        let scratch = unsafe { &mut *self.scratch.get() };
        let link = Link::of(
            extent.base.get() - arch::PARENT_LINK_OFFSET,
            Some(header.link()),
        );
        let from = Registers {
            ip: fault.instruction_pointer(),
            sp: fault.stack_pointer(),
            bp: link.seen(fault.context().uc_mcontext.gregs[libc::REG_RBP as usize] as usize),
        };
        // The first frame's way on leads through the link, to what is not this stack.
        let (at_base, mut refusal) = (Cell::new(false), None);
        let read = |address: usize| {
            at_base.set(at_base.get() || address == link.seems);
            // The innermost words may be in the guard.
            let inside = (lowest..=extent.base.get() - size_of::<usize>()).contains(&address);
            // SAFETY: memory of the stack that this thread was interrupted on.
            inside.then(|| link.seen(unsafe { peek(address) }))
        };
        let each = |address: usize| {
            if !at_base.get() {
                refusal = self.refuse(address);
            }
            !at_base.get() && refusal.is_none()
        };
        self.grounds.modules.walk(scratch, from, read, each);
        match refusal {
            Some(refusal) => Err(refusal),
            None if at_base.get() => Ok(()),
            None => Err(Refusal::Lost),
        }
    }

    /// Whether the function that has this address must not be left.
    fn refuse(&self, address: usize) -> Option<Refusal> {
        // Named where the bounds are, so that the linker keeps them.
        std::hint::black_box([keep_is_there as fn(), lend_is_there]);
        let within =
            |start: *const u8, stop: *const u8| (start.addr()..stop.addr()).contains(&address);
        if within(&raw const KEEP_START, &raw const KEEP_STOP) {
            return Some(Refusal::Sisal);
        }
        if within(&raw const LEND_START, &raw const LEND_STOP) {
            return Some(Refusal::Lends);
        }
        let mut c_library = self.grounds.c_library.iter();
        c_library
            .any(|range| range.contains(&address))
            .then_some(Refusal::CLibrary)
    }
}
