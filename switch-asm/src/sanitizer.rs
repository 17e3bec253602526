//! Telling AddressSanitizer about switches. Must not know how they are done.
//!
//! The sanitizer keeps, per thread, the bounds of the stack and a *fake stack*
//! that holds locals after their function returned. Whoever changes stacks says
//! so before (`start`) and, from the other stack, after (`finish`):
//!
//! | switch | before, on the old stack | after, on the new stack |
//! |---|---|---|
//! | `switch_and_link` | [`Resume::start`] | [`entered`] the first time, then the drop of [`Suspend`] |
//! | `switch_yield` | [`Suspend::start`] | the drop of [`Resume`] |
//! | `switch_and_reset`, or an unwind out of the stack | [`leave`] | the drop of [`Resume`] |
//! | `on_stack`, there | [`Call::start`] | [`called`] |
//! | `on_stack`, back | [`leave`] in `called` | the drop of [`Call`] |
//!
//! What a stack needs for that lies on the stack itself, in a [`Record`] below
//! its parent link, so the primitives are told too, not only `Coroutine`.
//!
//! Finishing in `drop` serves both a return and an unwind. The functions of the
//! sanitizer are looked up weakly: in a program without it, nothing happens.
//! Without the feature there is no code at all.
//!
//! Locals of functions with assembly blocks never lie on the fake stack, and all
//! functions here that touch a value while a switch is under way have one. So
//! what a coroutine sends when it ends outlives its fake stack.
//!
//! *Not done:* a suspended stack that is given up (`force_reset`, a leak) leaks
//! its fake stack.

use core::ffi::c_void;

use crate::arch::EncodedValue;
use crate::stack::StackPointer;

/// An `InitialFunc`, whatever its object is.
type AnyInitialFunc = unsafe extern "C-unwind" fn(
    arg: EncodedValue,
    parent_link: *mut StackPointer,
    obj: *mut u8,
) -> !;

/// The function given to `on_stack`.
pub(crate) type CallFunc = unsafe extern "C-unwind" fn(ptr: *mut u8);

/// Bytes directly below the parent link that are not for the object.
pub(crate) const RECORD_SIZE: usize = if cfg!(feature = "sanitizer") {
    size_of::<Record>()
} else {
    0
};

/// Memory for the record of a stack whose base frame is apart, which is as `Send` as that frame.
#[cfg(not(all(feature = "sanitizer", target_os = "linux")))]
pub(crate) type RecordPlace = ();
/// As above.
#[cfg(all(feature = "sanitizer", target_os = "linux"))]
#[repr(transparent)]
pub(crate) struct RecordPlace(#[allow(dead_code, reason = "written by address")] Record);
#[cfg(all(feature = "sanitizer", target_os = "linux"))]
const _: () = assert!(size_of::<RecordPlace>() == RECORD_SIZE);
// SAFETY: addresses and a size, used by whoever switches on that stack.
#[cfg(all(feature = "sanitizer", target_os = "linux"))]
unsafe impl Send for RecordPlace {}

/// What the sanitizer has to be told about a stack.
#[repr(C, align(16))]
#[derive(Debug)]
struct Record {
    /// The stack that code of this stack runs on: this one, or one that it called
    /// through `on_stack`.
    own: Bounds,
    /// Where it returns to.
    parent: Bounds,
    /// The fake stack while it waits.
    fake_stack: *mut c_void,
    /// The `InitialFunc` that `entered` stands in for.
    initial_func: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Bounds {
    bottom: *const c_void,
    size: usize,
}

impl Bounds {
    const UNKNOWN: Bounds = Bounds {
        bottom: core::ptr::null(),
        size: 0,
    };

    fn new(limit: usize, base: usize) -> Bounds {
        Bounds {
            bottom: core::ptr::with_exposed_provenance(limit),
            size: base - limit,
        }
    }
}

/// The record of the stack with this parent link.
#[inline(always)]
fn record(parent_link: *mut StackPointer) -> *mut Record {
    parent_link.cast::<Record>().wrapping_sub(1)
}

/// The same by the end of its base frame: the base of the stack, unless the frame is apart.
#[inline(always)]
fn record_of(frame_end: StackPointer) -> *mut Record {
    let link = frame_end.get() - crate::arch::PARENT_LINK_OFFSET;
    record(core::ptr::with_exposed_provenance_mut(link))
}

cfg_if::cfg_if! {
    if #[cfg(all(feature = "sanitizer", target_os = "linux"))] {
        /// A function of the sanitizer, if it is in this program.
        macro_rules! weak {
            ($name:ident, $symbol:literal, $($argument:ty),*) => {
                #[inline(always)]
                fn $name() -> Option<unsafe extern "C" fn($($argument),*)> {
                    let address: usize;
                    // SAFETY: reads an entry of the global offset table, which
                    // is zero if nothing defines the symbol.
                    unsafe {
                        core::arch::asm!(
                            concat!(".weak ", $symbol),
                            concat!("mov {}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                            out(reg) address,
                            options(nostack, preserves_flags, readonly),
                        );
                        // SAFETY: the address of a C function of this type, or
                        // zero, which is `None`.
                        core::mem::transmute(address)
                    }
                }
            };
        }
        weak!(start, "__sanitizer_start_switch_fiber", *mut *mut c_void, *const c_void, usize);
        weak!(finish, "__sanitizer_finish_switch_fiber", *mut c_void, *mut *const c_void, *mut usize);
        weak!(unpoison, "__asan_unpoison_memory_region", *const c_void, usize);

        const IS_ON: bool = true;
        const ENTERED: AnyInitialFunc = entered;
        const CALLED: CallFunc = called;
    } else {
        #[inline(always)]
        fn start() -> Option<unsafe extern "C" fn(*mut *mut c_void, *const c_void, usize)> {
            None
        }
        #[inline(always)]
        fn finish() -> Option<unsafe extern "C" fn(*mut c_void, *mut *const c_void, *mut usize)> {
            None
        }
        #[inline(always)]
        fn unpoison() -> Option<unsafe extern "C" fn(*const c_void, usize)> {
            None
        }

        const IS_ON: bool = false;

        // The real ones are not compiled: their landing pads would need a
        // personality function, which programs without unwinding do not have.
        const ENTERED: AnyInitialFunc = not_entered;
        const CALLED: CallFunc = not_called;

        extern "C-unwind" fn not_entered(_: EncodedValue, _: *mut StackPointer, _: *mut u8) -> ! {
            unreachable!("the sanitizer is off")
        }
        extern "C-unwind" fn not_called(_: *mut u8) {}
    }
}

/// # Safety
///
/// The next thing is a switch to a stack with these bounds. `fake_stack` is null
/// if this one is left for good.
#[inline(always)]
unsafe fn start_to(bounds: Bounds, fake_stack: *mut *mut c_void) {
    if let Some(start) = start() {
        // SAFETY: this function's contract.
        unsafe { start(fake_stack, bounds.bottom, bounds.size) }
    }
}

/// # Safety
///
/// The last thing was a switch to the stack that this runs on, where `fake_stack`
/// was left. `from` gets the bounds of the other.
#[inline(always)]
unsafe fn finish_from(from: *mut Bounds, fake_stack: *mut c_void) {
    if let Some(finish) = finish() {
        // SAFETY: this function's contract.
        unsafe { finish(fake_stack, &raw mut (*from).bottom, &raw mut (*from).size) }
    }
}

/// Forgets what the sanitizer knows about memory: frames that were given up never
/// said that they ended.
///
/// # Safety
///
/// No frame that is in use is there.
#[inline(always)]
unsafe fn forget(memory: Bounds) {
    if let Some(unpoison) = unpoison() {
        // SAFETY: this function's contract.
        unsafe { unpoison(memory.bottom, memory.size) }
    }
}

/// Makes the record of a stack whose base frame ends at `frame_end`. Returns what to call instead of `func`.
///
/// # Safety
///
/// Nothing uses the stack. There are `RECORD_SIZE` bytes below its link.
#[inline(always)]
pub(crate) unsafe fn initialise(
    limit: StackPointer,
    base: StackPointer,
    frame_end: StackPointer,
    func: usize,
) -> usize {
    if !IS_ON {
        return func;
    }
    let own = Bounds::new(limit.get(), base.get());
    // SAFETY: this function's contract.
    unsafe {
        forget(own);
        record_of(frame_end).write(Record {
            own,
            parent: Bounds::UNKNOWN,
            fake_stack: core::ptr::null_mut(),
            initial_func: func,
        });
    }
    ENTERED as *const () as usize
}

/// Forgets what the sanitizer knows about the memory of a stack whose frames are
/// given up while it runs.
///
/// # Safety
///
/// The stack was initialised.
#[inline(always)]
pub(crate) unsafe fn abandon_frames(stack_base: StackPointer) {
    if IS_ON {
        // SAFETY: this function's contract.
        unsafe { forget((*record_of(stack_base)).own) }
    }
}

/// The first function on a stack, before its `InitialFunc`.
///
/// # Safety
///
/// An `InitialFunc` of a stack that `initialise` prepared.
#[cfg(all(feature = "sanitizer", target_os = "linux"))]
unsafe extern "C-unwind" fn entered(
    arg: EncodedValue,
    parent_link: *mut StackPointer,
    obj: *mut u8,
) -> ! {
    /// An unwind goes on in the parent (feature `asm-unwind`).
    struct Left(*mut StackPointer);
    impl Drop for Left {
        fn drop(&mut self) {
            // SAFETY: the last frame on this stack.
            unsafe { leave(self.0) }
        }
    }

    // SAFETY: our own record; no fake stack yet.
    let func = unsafe {
        let record = record(parent_link);
        finish_from(&raw mut (*record).parent, core::ptr::null_mut());
        (*record).initial_func
    };
    let _left = Left(parent_link);
    // SAFETY: the function that `initialise` was given, and all that it expects.
    unsafe { core::mem::transmute::<usize, AnyInitialFunc>(func)(arg, parent_link, obj) }
}

/// A stack is left for good, for its parent.
///
/// # Safety
///
/// The link is that of the running stack; the next thing is the switch.
#[inline(always)]
pub(crate) unsafe fn leave(parent_link: *mut StackPointer) {
    if IS_ON {
        // SAFETY: this function's contract.
        unsafe { start_to((*record(parent_link)).parent, core::ptr::null_mut()) }
    }
}

/// The lowest address of the stack that a parent runs on, if it is known.
///
/// # Safety
///
/// The link is that of a running stack.
#[inline(always)]
pub(crate) unsafe fn parent_limit(parent_link: *mut StackPointer) -> Option<StackPointer> {
    if !IS_ON {
        return None;
    }
    // SAFETY: this function's contract.
    StackPointer::new(
        unsafe { (*record(parent_link)).parent }
            .bottom
            .expose_provenance(),
    )
}

/// From a parent to its child, and until control is back.
#[derive(Debug)]
pub(crate) struct Resume {
    child: *mut Record,
    fake_stack: *mut c_void,
}

impl Resume {
    #[inline(always)]
    pub(crate) fn new(stack_base: StackPointer) -> Resume {
        Resume {
            child: if IS_ON {
                record_of(stack_base)
            } else {
                core::ptr::null_mut()
            },
            fake_stack: core::ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// The next thing is the switch to the stack with this base. `self` is not
    /// moved from here on.
    #[inline(always)]
    pub(crate) unsafe fn start(&mut self) {
        if IS_ON {
            // SAFETY: this function's contract.
            unsafe { start_to((*self.child).own, &raw mut self.fake_stack) }
        }
    }
}

impl Drop for Resume {
    #[inline(always)]
    fn drop(&mut self) {
        if IS_ON {
            // SAFETY: back on the stack of `start`. What the child left may be a
            // stack that it called: that is where it goes on.
            unsafe { finish_from(&raw mut (*self.child).own, self.fake_stack) }
        }
    }
}

/// From a child to its parent, and until it is resumed.
#[derive(Debug)]
pub(crate) struct Suspend {
    own: *mut Record,
}

impl Suspend {
    #[inline(always)]
    pub(crate) fn new(parent_link: *mut StackPointer) -> Suspend {
        Suspend {
            own: if IS_ON {
                record(parent_link)
            } else {
                core::ptr::null_mut()
            },
        }
    }

    /// # Safety
    ///
    /// The next thing is the switch to the parent of the stack with this link.
    #[inline(always)]
    pub(crate) unsafe fn start(&mut self) {
        if IS_ON {
            // SAFETY: this function's contract.
            unsafe { start_to((*self.own).parent, &raw mut (*self.own).fake_stack) }
        }
    }
}

impl Drop for Suspend {
    #[inline(always)]
    fn drop(&mut self) {
        if IS_ON {
            // SAFETY: back on the stack of `start`, maybe from another parent.
            unsafe { finish_from(&raw mut (*self.own).parent, (*self.own).fake_stack) }
        }
    }
}

/// A call on another stack, until it is back.
#[derive(Debug)]
pub(crate) struct Call {
    arg: *mut u8,
    f: CallFunc,
    caller: Bounds,
    fake_stack: *mut c_void,
}

impl Call {
    #[inline(always)]
    pub(crate) fn new(arg: *mut u8, f: CallFunc) -> Call {
        Call {
            arg,
            f,
            caller: Bounds::UNKNOWN,
            fake_stack: core::ptr::null_mut(),
        }
    }

    /// Returns what to call there, and its argument.
    ///
    /// # Safety
    ///
    /// The next thing is that call, on the stack with these bounds. `self` is not
    /// moved from here on.
    #[inline(always)]
    pub(crate) unsafe fn start(
        &mut self,
        limit: StackPointer,
        base: StackPointer,
    ) -> (*mut u8, CallFunc) {
        if !IS_ON {
            return (self.arg, self.f);
        }
        let there = Bounds::new(limit.get(), base.get());
        // SAFETY: this function's contract. Nothing is on the stack.
        unsafe {
            forget(there);
            start_to(there, &raw mut self.fake_stack);
        }
        ((&raw mut *self).cast(), CALLED)
    }
}

impl Drop for Call {
    #[inline(always)]
    fn drop(&mut self) {
        if IS_ON {
            // SAFETY: back on the stack of `start`.
            unsafe { finish_from(&raw mut self.caller, self.fake_stack) }
        }
    }
}

/// The first function of a call on another stack.
///
/// # Safety
///
/// `call` is a `Call` whose `start` was just called.
#[cfg(all(feature = "sanitizer", target_os = "linux"))]
unsafe extern "C-unwind" fn called(call: *mut u8) {
    /// The call ends, by a return or an unwind.
    struct Left(Bounds);
    impl Drop for Left {
        fn drop(&mut self) {
            // SAFETY: the last frame on this stack.
            unsafe { start_to(self.0, core::ptr::null_mut()) }
        }
    }

    let call = call.cast::<Call>();
    // SAFETY: this function's contract; no fake stack yet.
    unsafe {
        finish_from(&raw mut (*call).caller, core::ptr::null_mut());
        let _left = Left((*call).caller);
        ((*call).f)((*call).arg);
    }
}
