//! A closure with a stack of its own, resumed by hand. Must not know a
//! scheduler.

mod forced;

use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr;

use crate::arch::{self, EncodedValue, SavedRegs};
#[cfg(feature = "default-stack")]
use crate::stack::DefaultStack;
use crate::stack::{Stack, StackPointer};
use crate::transfer::{decode, encode};
use crate::trap::CoroutineTrapHandler;
use crate::unwind::{self, CaughtPanic, Request};
use crate::yielder::Yielder;

/// Why [`Coroutine::resume`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoroutineResult<Yield, Return> {
    /// The coroutine suspended, with this value, and can be resumed.
    Yield(Yield),
    /// The coroutine returned this value and is done.
    Return(Return),
}

impl<Yield, Return> CoroutineResult<Yield, Return> {
    /// The value of a suspension.
    pub fn as_yield(self) -> Option<Yield> {
        match self {
            CoroutineResult::Yield(value) => Some(value),
            CoroutineResult::Return(_) => None,
        }
    }

    /// The value of the return.
    pub fn as_return(self) -> Option<Return> {
        match self {
            CoroutineResult::Yield(_) => None,
            CoroutineResult::Return(value) => Some(value),
        }
    }
}

/// A closure that can be suspended in the middle, with the stack it runs on.
///
/// ```
/// use switch_asm::{Coroutine, CoroutineResult};
///
/// let mut squares = Coroutine::new(|yielder, ()| {
///     for n in 1..=2 {
///         yielder.suspend(n * n);
///     }
/// });
/// assert_eq!(squares.resume(()), CoroutineResult::Yield(1));
/// assert_eq!(squares.resume(()), CoroutineResult::Yield(4));
/// assert_eq!(squares.resume(()), CoroutineResult::Return(()));
/// assert!(squares.done());
/// ```
///
/// # Dropping
///
/// Dropping a coroutine that is suspended unwinds it first, so that the
/// destructors of everything on its stack run: see
/// [`force_unwind`](Coroutine::force_unwind). Without the feature `unwind` that
/// is not possible and aborts the process.
///
/// # Not `Send`
///
/// What is on the stack of a coroutine is invisible to the type system, so a
/// coroutine stays on its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<switch_asm::Coroutine<(), (), ()>>();
/// ```
///
/// It is `Sync` if its stack is: a shared reference cannot resume it.
///
/// ```
/// fn sync<T: Sync>() {}
/// sync::<switch_asm::Coroutine<*mut (), *mut (), *mut ()>>();
/// ```
///
/// A type that wraps a coroutine may implement `Send` for itself if its author
/// knows that everything that is ever alive across a suspension is `Send`, and
/// that none of it is bound to the thread (thread-locals, lock guards).
pub struct Coroutine<
    Input,
    Yield,
    Return,
    #[cfg(feature = "default-stack")] S: Stack = DefaultStack,
    #[cfg(not(feature = "default-stack"))] S: Stack,
> {
    stack: S,
    /// Where it is suspended. `None`: it runs, or it is done.
    stack_ptr: Option<StackPointer>,
    /// Where it was before the first resume. A suspended coroutine is never
    /// there again: the frame of a suspension is larger than the initial one.
    initial_stack_ptr: StackPointer,
    /// Drops the closure of a coroutine that never ran.
    drop_fn: unsafe fn(*mut u8),
    // It takes an `Input` and gives the others.
    marker: PhantomData<fn(Input) -> CoroutineResult<Yield, Return>>,
    // Not `Send`, whatever the parameters are.
    not_send: PhantomData<*mut ()>,
}

// SAFETY: `&Coroutine` reaches three words that only `&mut Coroutine` changes,
// the registers that they lead to, and the stack. Nothing else that is on the
// stack can be reached through it.
unsafe impl<Input, Yield, Return, S: Stack + Sync> Sync for Coroutine<Input, Yield, Return, S> {}

#[cfg(feature = "default-stack")]
impl<Input, Yield, Return> Coroutine<Input, Yield, Return, DefaultStack> {
    /// A coroutine that will run `func` on a new stack of 1 MiB.
    ///
    /// # Panics
    ///
    /// If there is no memory for the stack. [`DefaultStack::new`] and
    /// [`Coroutine::with_stack`] report that as an error.
    pub fn new<F>(func: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
        Input: 'static,
        Yield: 'static,
        Return: 'static,
    {
        Coroutine::with_stack(DefaultStack::default(), func)
    }
}

impl<Input, Yield, Return, S: Stack> Coroutine<Input, Yield, Return, S> {
    /// A coroutine that will run `func` on `stack`.
    ///
    /// # Panics
    ///
    /// If `func` captures more than fits on the stack, or if `stack` breaks the
    /// promises of [`Stack`] in a way that shows.
    #[track_caller]
    pub fn with_stack<F>(stack: S, func: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
        Input: 'static,
        Yield: 'static,
        Return: 'static,
        S: 'static,
    {
        // SAFETY: nothing is borrowed; a forgotten coroutine takes its stack
        // along, since the coroutine owns it.
        unsafe { Coroutine::with_stack_unchecked(stack, func) }
    }

    /// [`with_stack`](Coroutine::with_stack) for closures and stacks that
    /// borrow.
    ///
    /// # Panics
    ///
    /// As [`with_stack`](Coroutine::with_stack).
    ///
    /// # Safety
    ///
    /// All that `func`, `Input`, `Yield` and `Return` borrow outlives the
    /// coroutine. If the coroutine is forgotten, that means for ever, and the
    /// memory of the stack is never used again.
    #[track_caller]
    pub unsafe fn with_stack_unchecked<F>(stack: S, func: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
    {
        // SAFETY: the stack is ours, `root` does not unwind, and `drop_fn` drops
        // the closure if it never runs.
        let sp = unsafe { arch::init_stack(&stack, root::<Input, Yield, Return, F>, func) };
        Coroutine {
            stack,
            stack_ptr: Some(sp),
            initial_stack_ptr: sp,
            drop_fn: drop_in_place::<F>,
            marker: PhantomData,
            not_send: PhantomData,
        }
    }

    /// Runs the coroutine until it suspends or returns. `input` is what its
    /// [`suspend`](Yielder::suspend) returns, or at first the argument of its
    /// closure.
    ///
    /// # Panics
    ///
    /// If the coroutine is done. If the coroutine panics, that panic continues
    /// here (its hook has run already), and the coroutine is done.
    #[inline]
    #[track_caller]
    pub fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        let Some(sp) = self.stack_ptr else {
            resumed_when_done()
        };
        // SAFETY: `sp` is where the coroutine is suspended.
        match unsafe { self.switch(sp, Ok(input)) } {
            CoroutineResult::Yield(value) => CoroutineResult::Yield(value),
            CoroutineResult::Return(result) => CoroutineResult::Return(unwind::propagate(result)),
        }
    }

    /// # Safety
    ///
    /// `sp` is the value of `self.stack_ptr`. A request to unwind goes only to a
    /// coroutine that has started.
    #[inline]
    unsafe fn switch(
        &mut self,
        sp: StackPointer,
        input: Result<Input, Request>,
    ) -> CoroutineResult<Yield, Result<Return, CaughtPanic>> {
        let mut input = ManuallyDrop::new(input);
        // A panic that passes leaves it done.
        #[cfg(feature = "asm-unwind")]
        {
            self.stack_ptr = None;
        }
        // SAFETY: `sp` and the base belong together. The other side, `root` or
        // `suspend`, decodes a `Result<Input, _>` at once.
        let back = unsafe { arch::switch_and_link(encode(&mut input), sp, self.stack.base()) };
        // SAFETY: this is what the switch returned.
        unsafe { self.switched_back(back) }
    }

    /// # Safety
    ///
    /// The coroutine was switched to, switched back with this, and nothing
    /// happened since.
    #[inline]
    unsafe fn switched_back(
        &mut self,
        (value, sp): (EncodedValue, Option<StackPointer>),
    ) -> CoroutineResult<Yield, Result<Return, CaughtPanic>> {
        self.stack_ptr = sp;
        match sp {
            // SAFETY: it comes from `suspend`, which encodes a `Yield`.
            Some(_) => CoroutineResult::Yield(unsafe { decode(value) }),
            // SAFETY: it comes from `finish`, which encodes this.
            None => CoroutineResult::Return(unsafe { decode(value) }),
        }
    }

    /// Whether it was ever resumed.
    pub fn started(&self) -> bool {
        self.stack_ptr != Some(self.initial_stack_ptr)
    }

    /// Whether it returned, panicked or was unwound, so that it cannot be
    /// resumed.
    pub fn done(&self) -> bool {
        self.stack_ptr.is_none()
    }

    /// The registers with which it will go on, for a dump or a walk. `None` if
    /// it is done.
    pub fn saved_regs(&self) -> Option<SavedRegs> {
        // SAFETY: it is suspended there, and to resume it takes `&mut self`.
        self.stack_ptr.map(|sp| unsafe { arch::saved_regs(sp) })
    }

    /// Declares the coroutine done, whatever is on its stack.
    ///
    /// # Safety
    ///
    /// No destructor that anything relies on is left on its stack, and nobody
    /// uses a borrow of something there. For a coroutine that never ran that
    /// includes its closure.
    pub unsafe fn force_reset(&mut self) {
        self.stack_ptr = None;
    }

    /// What a signal handler needs to end the coroutine when it faults: see
    /// [`trap`](crate::trap).
    pub fn trap_handler(&self) -> CoroutineTrapHandler<Return> {
        // SAFETY: a coroutine of this crate: its parent decodes what `finish`
        // encodes.
        unsafe { CoroutineTrapHandler::of_stack(&self.stack) }
    }

    /// Takes the stack of a coroutine that is done, for another one to use.
    ///
    /// # Panics
    ///
    /// If the coroutine is not [`done`](Coroutine::done).
    #[track_caller]
    pub fn into_stack(self) -> S {
        assert!(
            self.done(),
            "the stack of a coroutine that is not done is in use"
        );
        let this = ManuallyDrop::new(self);
        // SAFETY: read once, since `this` is not dropped; a coroutine that is
        // done has nothing else to drop.
        unsafe { ptr::read(&this.stack) }
    }
}

impl<Input, Yield, Return, S: Stack> fmt::Debug for Coroutine<Input, Yield, Return, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine")
            .field("base", &format_args!("{:#x}", self.stack.base()))
            .field("started", &self.started())
            .field("done", &self.done())
            .finish_non_exhaustive()
    }
}

/// The first frame on the stack of a coroutine.
///
/// # Safety
///
/// Called by the first resume of a stack that was initialised with an `F`, with
/// an encoded `Result<Input, Request>`.
unsafe extern "C-unwind" fn root<Input, Yield, Return, F>(
    input: EncodedValue,
    parent_link: &mut StackPointer,
    func: *mut F,
) -> !
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return,
{
    // SAFETY: the parent encoded this and waits.
    let input = unsafe { decode::<Result<Input, Request>>(input) };
    // SAFETY: our own link; this function is never left, and the closure gets
    // the reference for a lifetime that ends with the closure.
    let yielder = unsafe { Yielder::<Input, Yield>::from_parent_link(parent_link) };
    let result = unwind::catch_at_root(|| {
        // SAFETY: `init_stack` put it there for us to take.
        let func = unsafe { func.read() };
        // SAFETY: a request goes only to a coroutine that has started.
        func(yielder, unsafe { input.unwrap_unchecked() })
    });
    // SAFETY: the closure is gone. Nothing else here has a destructor.
    unsafe { finish(result, yielder.parent_link()) }
}

/// Ends the coroutine with `result`.
///
/// # Safety
///
/// The link is that of the coroutine that runs, whose parent waits in `switch`
/// for a `Return` of this type, and no frame has a destructor left.
#[inline]
pub(crate) unsafe fn finish<Return>(
    result: Result<Return, CaughtPanic>,
    parent_link: *mut StackPointer,
) -> ! {
    let mut result = ManuallyDrop::new(result);
    // SAFETY: the result belongs to the parent, which takes it at once; the rest
    // is this function's contract.
    unsafe { arch::switch_and_reset(encode(&mut result), parent_link) }
}

/// # Safety
///
/// `ptr` points to a `T` that is not used again.
unsafe fn drop_in_place<T>(ptr: *mut u8) {
    // SAFETY: this function's contract.
    unsafe { ptr.cast::<T>().drop_in_place() }
}

#[cold]
#[track_caller]
fn resumed_when_done() -> ! {
    panic!("resumed a coroutine that is done; `Coroutine::done` tells")
}
