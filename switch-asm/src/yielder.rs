//! What code on a coroutine's stack can do: suspend, or run something on
//! another stack. Must not know who resumes it.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use crate::arch;
use crate::sanitizer;
use crate::stack::{self, STACK_ALIGNMENT, Stack, StackPointer};
use crate::transfer::{decode, encode};
use crate::unwind::{self, CaughtPanic, Request};

/// Suspends the coroutine that it was given to.
///
/// A reference to it is the first argument of a coroutine's closure.
///
/// It cannot leave its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<&switch_asm::Yielder<(), ()>>();
/// ```
///
/// nor its coroutine:
///
/// ```compile_fail,E0521
/// let mut escaped = None;
/// let mut coroutine = switch_asm::ScopedCoroutine::<(), (), ()>::new(|yielder, ()| {
///     escaped = Some(yielder);
/// });
/// ```
//
// The address of a `Yielder` is the address of the parent link, and the link is
// its content: resuming the coroutine writes it.
#[repr(transparent)]
pub struct Yielder<Input, Yield> {
    parent_link: Cell<StackPointer>,
    // It takes a `Yield` and gives an `Input`.
    marker: PhantomData<fn(Yield) -> Input>,
}

impl<Input, Yield> Yielder<Input, Yield> {
    /// The yielder of the coroutine with this parent link.
    ///
    /// # Safety
    ///
    /// The link belongs to a coroutine with these types, which runs on this
    /// thread, and lives as long as the reference is used.
    #[inline]
    pub(crate) unsafe fn from_parent_link<'a>(parent_link: *mut StackPointer) -> &'a Self {
        // SAFETY: `repr(transparent)`, and this function's contract.
        unsafe { &*parent_link.cast::<Self>() }
    }

    #[inline]
    pub(crate) fn parent_link(&self) -> *mut StackPointer {
        self.parent_link.as_ptr()
    }

    /// Suspends the coroutine: [`resume`](crate::Coroutine::resume) returns
    /// `value` to the parent. Returns what the next `resume` sends.
    ///
    /// # Panics
    ///
    /// If the coroutine is dropped while it is suspended here (or
    /// [`force_unwind`](crate::Coroutine::force_unwind) is called), this unwinds
    /// so that its destructors run. No panic hook runs. Code that catches this
    /// panic meets it again at its next suspension.
    ///
    /// A destructor that suspends *while* it is unwound that way aborts the
    /// process, as any panic in a destructor during an unwind does.
    // Better inlined, for return prediction: a function's own `call` and `ret`
    // come between those of the switch. A hint is enough, and `always` makes the
    // copies of large values slower.
    #[inline]
    pub fn suspend(&self, value: Yield) -> Input {
        let mut value = ManuallyDrop::new(value);
        // SAFETY: this is the link of a running coroutine (`from_parent_link`),
        // and we are on its stack, or on one that it runs code on: `&self` does
        // not leave the thread, and is gone when the coroutine ends. The other
        // side decodes a `Yield` at once, and sends `Result<Input, _>`.
        let input: Result<Input, Request> =
            unsafe { decode(arch::switch_yield(encode(&mut value), self.parent_link())) };
        unwind::start_if_asked(input)
    }

    /// Runs `f` on the stack of the parent, below what the parent has there.
    ///
    /// For code that needs more stack than the coroutine has.
    ///
    /// `F: Send` keeps a reference to a yielder out of `f`, which must not
    /// suspend: the parent would overwrite its frames.
    ///
    /// ```compile_fail,E0277
    /// use switch_asm::{Coroutine, Yielder};
    ///
    /// Coroutine::new(|yielder: &Yielder<(), ()>, ()| {
    ///     yielder.on_parent_stack(|| yielder.suspend(()));
    /// });
    /// ```
    ///
    /// ```
    /// use switch_asm::{Coroutine, Yielder};
    ///
    /// let mut outer = Coroutine::new(|yielder: &Yielder<(), ()>, ()| {
    ///     yielder.on_parent_stack(|| [1_u8; 100_000].iter().map(|&b| u64::from(b)).sum::<u64>())
    /// });
    /// assert_eq!(outer.resume(()).as_return(), Some(100_000));
    /// ```
    ///
    /// # Panics
    ///
    /// With what `f` panics with.
    pub fn on_parent_stack<F, R>(&self, f: F) -> R
    where
        F: FnOnce() -> R + Send,
    {
        let in_use = self.parent_link.get().get() - arch::PARENT_STACK_OFFSET;
        let base = StackPointer::new(in_use & !(STACK_ALIGNMENT - 1));
        let base = base.expect("a stack does not start at address zero");
        // SAFETY: the link of the coroutine that calls this.
        let limit = unsafe { sanitizer::parent_limit(self.parent_link()) };
        call_on(ParentStack(base, limit.unwrap_or(base)), f)
    }
}

impl<Input, Yield> fmt::Debug for Yielder<Input, Yield> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}

/// The free part of the stack of a parent that waits.
struct ParentStack(StackPointer, StackPointer);

// SAFETY: the parent waits in `switch_and_link`, so nothing below its stack
// pointer is in use. Its guard is that of the stack it runs on. Where that stack
// ends only the sanitizer knows, and `call_on`, the only user, asks for nobody
// else.
unsafe impl Stack for ParentStack {
    fn base(&self) -> StackPointer {
        self.0
    }

    fn limit(&self) -> StackPointer {
        self.1
    }
}

/// Runs `f` on `stack` and returns what it returns.
///
/// For code that needs more stack than there is, without the cost of a
/// coroutine.
///
/// ```
/// use switch_asm::on_stack;
/// use switch_asm::stack::DefaultStack;
///
/// let big = DefaultStack::new(64 * 1024 * 1024)?;
/// let sum = on_stack(big, || [1_u8; 16 * 1024 * 1024].iter().map(|&b| u64::from(b)).sum::<u64>());
/// assert_eq!(sum, 16 * 1024 * 1024);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// With what `f` panics with. Without the feature `unwind` a panic in `f`
/// aborts. If `stack` breaks the promises of [`Stack`] in a way that shows.
#[inline]
#[track_caller]
pub fn on_stack<F, R>(stack: impl Stack, f: F) -> R
where
    F: FnOnce() -> R,
{
    stack::check(&stack);
    call_on(stack, f)
}

// The compiler finds it too large, which it is not once the result is known.
#[inline(always)]
fn call_on<F, R>(stack: impl Stack, f: F) -> R
where
    F: FnOnce() -> R,
{
    /// What crosses to the other stack, and what comes back.
    union Slot<F, R> {
        f: ManuallyDrop<F>,
        result: ManuallyDrop<Result<R, CaughtPanic>>,
    }

    /// # Safety
    ///
    /// `slot` points to a `Slot<F, R>` that holds `f`.
    unsafe extern "C-unwind" fn call<F: FnOnce() -> R, R>(slot: *mut u8) {
        // SAFETY: this function's contract; the caller waits.
        let slot = unsafe { &mut *slot.cast::<Slot<F, R>>() };
        // SAFETY: it holds `f`, which is taken once.
        let f = unsafe { ManuallyDrop::take(&mut slot.f) };
        slot.result = ManuallyDrop::new(unwind::catch_at_root(f));
    }

    let mut slot = Slot::<F, R> {
        f: ManuallyDrop::new(f),
    };
    // SAFETY: `call` gets what it expects and does not unwind; the stack is
    // owned by the call, so nothing else is on it.
    unsafe { arch::on_stack((&raw mut slot).cast(), stack, call::<F, R>) };
    // SAFETY: `call` returned, so the slot holds the result.
    unwind::propagate(unsafe { ManuallyDrop::take(&mut slot.result) })
}
