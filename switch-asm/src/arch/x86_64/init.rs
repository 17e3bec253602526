//! A stack before its first run, and a look into one that waits. Must not
//! contain instructions.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;

use super::layout::{
    BaseFrame, InitialFrame, InitialFunc, PARENT_LINK_OFFSET, STACK_ALIGNMENT, StackWord,
    SuspendedFrame,
};
use super::trampoline::stack_init_trampoline;
use crate::sanitizer;
use crate::stack::{self as stacks, MIN_STACK_SIZE, Stack, StackPointer};

/// Makes `stack` ready so that the first resume calls `func`.
///
/// `obj` moves onto the stack; `func` gets its address and owns it. Returns the
/// stack pointer to give to [`switch_and_link`](super::switch_and_link).
///
/// # Panics
///
/// If `stack` is none: not aligned, its limit above its base, or smaller than
/// [`MIN_STACK_SIZE`]. If `obj` is so large that it could not lie between the base and the limit of
/// the stack. (One that merely leaves too little room for `func` runs into the
/// guard.)
///
/// # Safety
///
/// - Nothing else uses `stack` until it ends or is discarded.
/// - `obj` is gone if the stack is reused or freed before its first resume,
///   unless [`drop_initial_obj`] dropped it.
/// - `func` must not unwind, unless the feature `asm-unwind` is on.
#[inline]
#[track_caller]
pub unsafe fn init_stack<T>(stack: &impl Stack, func: InitialFunc<T>, obj: T) -> StackPointer {
    stacks::check(stack);
    // SAFETY: this function's contract; the stack was checked.
    unsafe { init_stack_unchecked(stack, func, obj) }
}

/// [`init_stack`] without a look at whether `stack` is one, for whoever starts many.
///
/// # Panics
///
/// If `obj` is too large, as there.
///
/// # Safety
///
/// As there, and `stack` is what [`Stack`] promises.
#[inline]
#[track_caller]
pub unsafe fn init_stack_unchecked<T>(
    stack: &impl Stack,
    func: InitialFunc<T>,
    obj: T,
) -> StackPointer {
    let base = stack.base();
    let object_end = base.get() - size_of::<BaseFrame>() - sanitizer::RECORD_SIZE;
    // SAFETY: this function's contract; the base frame is where the object ends.
    unsafe { init(stack, base, object_end, func, obj) }
}

/// [`init_stack_unchecked`] of a stack whose base frame is not at its base but in `frame`: where whoever switches often
/// has something else at hand that a switch touches, so that it touches one cache line of the stack less.
///
/// [`frame.end()`](ApartFrame::end) takes the place of the stack's base wherever one is resumed or thrown into. Not for
/// stacks that [`setup_trap_trampoline`](super::setup_trap_trampoline) is used on.
///
/// ```
/// use switch_asm::arch::{self, ApartFrame};
/// use switch_asm::stack::{DefaultStack, StackPointer};
///
/// unsafe extern "C-unwind" fn echo(mut arg: usize, link: &mut StackPointer, _: *mut ()) -> ! {
///     loop {
///         // SAFETY: on the stack that was entered with this link.
///         arg = unsafe { arch::switch_yield(arg + 1, link) };
///     }
/// }
///
/// let stack = DefaultStack::new(64 * 1024)?;
/// let frame = ApartFrame::new();
/// // SAFETY: the stack and the frame are ours alone, and stay until the last switch.
/// unsafe {
///     let sp = arch::init_stack_apart(&stack, &frame, echo, ());
///     let (one, sp) = arch::switch_and_link(0, sp, frame.end());
///     let (three, _) = arch::switch_and_link(2, sp.unwrap(), frame.end());
///     assert_eq!((one, three), (1, 3));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// If `obj` is too large, as there.
///
/// # Safety
///
/// As there. `frame` is this stack's only, stays where it is, and is not touched but by what is in this module, until the
/// stack has ended or is discarded.
#[inline]
#[track_caller]
pub unsafe fn init_stack_apart<T>(
    stack: &impl Stack,
    frame: &ApartFrame,
    func: InitialFunc<T>,
    obj: T,
) -> StackPointer {
    // SAFETY: this function's contract.
    unsafe { init(stack, frame.end(), stack.base().get(), func, obj) }
}

/// The two words at the base of a stack, [apart](init_stack_apart) from it.
#[repr(C)]
pub struct ApartFrame {
    record: UnsafeCell<MaybeUninit<sanitizer::RecordPlace>>,
    frame: UnsafeCell<MaybeUninit<BaseFrame>>,
}

impl ApartFrame {
    /// Of no stack yet.
    pub const fn new() -> ApartFrame {
        ApartFrame {
            record: UnsafeCell::new(MaybeUninit::uninit()),
            frame: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// What stands for the base of the stack where that is resumed: `PARENT_LINK_OFFSET` above the link.
    #[inline(always)]
    pub fn end(&self) -> StackPointer {
        // The record below the link is reached by this address too.
        let end = (&raw const *self).wrapping_add(1).expose_provenance();
        // SAFETY: the end of an object is not null.
        unsafe { StackPointer::new_unchecked(end) }
    }

    /// The address of the parent link.
    #[inline(always)]
    pub fn parent_link(&self) -> *mut StackPointer {
        at(self.end().get() - PARENT_LINK_OFFSET)
    }
}

impl Default for ApartFrame {
    fn default() -> ApartFrame {
        ApartFrame::new()
    }
}

impl fmt::Debug for ApartFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ApartFrame").field(&self.end()).finish()
    }
}

/// What the two kinds of `init_stack` share.
///
/// # Safety
///
/// As for [`init_stack_unchecked`]. The base frame ends at `frame_end`, with a sanitizer's record below it. Nothing else
/// is on the stack from `object_end` on, which is aligned to `STACK_ALIGNMENT`.
#[inline(always)]
#[track_caller]
unsafe fn init<T>(
    stack: &impl Stack,
    frame_end: StackPointer,
    object_end: usize,
    func: InitialFunc<T>,
    obj: T,
) -> StackPointer {
    let align = const {
        if align_of::<T>() > STACK_ALIGNMENT {
            align_of::<T>()
        } else {
            STACK_ALIGNMENT
        }
    };
    let size = const { size_of::<T>().next_multiple_of(STACK_ALIGNMENT) };
    // What every stack has room for needs no look.
    let is_small = const { size_of::<T>() < 1024 && align_of::<T>() < 1024 };
    if !is_small {
        let room = object_end - stack.limit().get();
        if size + align >= room - size_of::<InitialFrame>() {
            too_large(size_of::<T>(), room);
        }
    }
    let mut object = object_end - size;
    if align > STACK_ALIGNMENT {
        object &= !(align - 1);
    }
    let sp = object - size_of::<InitialFrame>();

    // SAFETY: all three are ours alone: between the limit and the base of the stack
    // (`Stack`, and the check above; a write that meets the guard faults), or the
    // frame in its own place. They are disjoint and aligned: the frame to a word at
    // least, `object` to STACK_ALIGNMENT, `sp` to a word below that.
    unsafe {
        let func = sanitizer::initialise(stack.limit(), stack.base(), frame_end, func as usize);
        at::<BaseFrame>(frame_end.get() - size_of::<BaseFrame>())
            .cast::<u8>()
            .add(offset_of!(BaseFrame, initial_func))
            .cast::<StackWord>()
            .write(func as StackWord);
        at::<T>(object).write(obj);
        at::<InitialFrame>(sp).write(InitialFrame { rip: initial_rip() });
        StackPointer::new_unchecked(sp)
    }
}

/// Drops the object of a stack that was initialised and never resumed.
///
/// # Safety
///
/// - `stack_ptr` is what [`init_stack`] returned for the stack with this
///   `stack_base`, and the stack was never resumed.
/// - `drop_fn` drops the object's type in place.
/// - The stack is not resumed afterwards.
pub unsafe fn drop_initial_obj(
    stack_base: StackPointer,
    stack_ptr: StackPointer,
    drop_fn: unsafe fn(ptr: *mut u8),
) {
    let object = stack_ptr.get() + size_of::<InitialFrame>();
    debug_assert!(object <= stack_base.get());
    // SAFETY: `init_stack` put the object just above its stack pointer, and
    // nobody took it (this function's contract).
    unsafe { drop_fn(at::<u8>(object)) }
}

/// The registers with which a suspended stack will go on, as a walker needs
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRegs {
    /// Where it goes on.
    pub rip: usize,
    /// The stack pointer there, as unwind information for `rip` expects it.
    pub rsp: usize,
    /// The frame pointer.
    pub rbp: usize,
    /// The base pointer, which some functions compute their frame from.
    pub rbx: usize,
}

/// Reads the registers of a stack that waits to be resumed.
///
/// A stack that never ran has no frame and no frame pointer yet: `rbp` and
/// `rbx` are zero, `rip` is the trampoline.
///
/// # Safety
///
/// `sp` is the current stack pointer of an initialised or suspended stack, and
/// nobody resumes it during the call.
pub unsafe fn saved_regs(sp: StackPointer) -> SavedRegs {
    // SAFETY: both kinds of stack have a RIP at their stack pointer.
    let rip = unsafe { at::<InitialFrame>(sp.get()).read() }.rip;
    if rip == initial_rip() {
        return SavedRegs {
            rip: rip as usize,
            rsp: sp.get() + size_of::<InitialFrame>(),
            rbp: 0,
            rbx: 0,
        };
    }
    // SAFETY: a stack that waits and does not wait at the trampoline was left by
    // `switch_yield`, with this frame.
    let frame = unsafe { at::<SuspendedFrame>(sp.get()).read() };
    SavedRegs {
        rip: frame.rip as usize,
        rsp: sp.get() + size_of::<SuspendedFrame>(),
        rbp: frame.rbp as usize,
        rbx: frame.rbx as usize,
    }
}

/// The RIP of a stack that never ran.
fn initial_rip() -> StackWord {
    stack_init_trampoline as *const () as usize as StackWord
}

/// A place on a stack, whose owner knows it only as an address.
fn at<T>(address: usize) -> *mut T {
    ptr::with_exposed_provenance_mut(address)
}

#[cold]
#[track_caller]
fn too_large(size: usize, room: usize) -> ! {
    panic!(
        "an initial object of {size} bytes does not fit on a stack of {room} bytes \
         (at least {MIN_STACK_SIZE} more are needed to run); box it or take a larger stack"
    )
}
