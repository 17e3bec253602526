//! Coroutines that borrow. Must not know how stacks are switched.
//!
//! A suspended coroutine that borrows must be unwound before the borrow ends,
//! and a value that its owner can forget is never unwound. So nobody owns one:
//! it lies in the frame of [`ScopedCoroutine::scope`], and what gets out is a
//! reference. Before its scope it may be forgotten: it has not run.

use core::fmt;
use core::marker::PhantomData;

#[cfg(feature = "default-stack")]
use crate::stack::DefaultStack;
use crate::stack::Stack;
use crate::trap::CoroutineTrapHandler;
use crate::yielder::Yielder;
use crate::{Coroutine, CoroutineResult};

/// A [`Coroutine`] whose closure, values and stack may borrow.
///
/// It runs inside a scope only, at whose end it is unwound and dropped.
///
/// ```
/// use switch_asm::{CoroutineResult, ScopedCoroutine, Yielder};
///
/// let mut log = Vec::new();
/// let greet = ScopedCoroutine::new(|yielder: &Yielder<&str, usize>, mut name: &str| loop {
///     log.push(format!("hello, {name}"));
///     name = yielder.suspend(log.len());
/// });
/// greet.scope(|mut greet| -> () {
///     assert_eq!(greet.resume("ada"), CoroutineResult::<_, ()>::Yield(1));
///     assert_eq!(greet.resume("alan"), CoroutineResult::Yield(2));
/// });
/// assert_eq!(log, ["hello, ada", "hello, alan"]);
/// ```
///
/// What it borrows outlives it:
///
/// ```compile_fail,E0505
/// use switch_asm::ScopedCoroutine;
///
/// let text = String::from("text");
/// let coroutine = ScopedCoroutine::<(), (), usize>::new(|_, ()| text.len());
/// drop(text);
/// coroutine.scope(|mut c| c.resume(()));
/// ```
///
/// also if it is dropped without ever running:
///
/// ```compile_fail,E0597
/// use switch_asm::ScopedCoroutine;
///
/// let coroutine;
/// let text = String::from("text");
/// coroutine = ScopedCoroutine::<(), (), usize>::new(|_, ()| text.len());
/// ```
///
/// and the reference does not get out of its scope:
///
/// ```compile_fail,E0521
/// use switch_asm::ScopedCoroutine;
///
/// let mut escaped = None;
/// ScopedCoroutine::<(), (), ()>::new(|_, ()| ()).scope(|c| escaped = Some(c));
/// ```
///
/// Like [`Coroutine`] it stays on its thread, and so does the reference to it:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<switch_asm::ScopedCoroutine<'_, (), (), ()>>();
/// ```
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// use switch_asm::{ScopedCoroutineRef, stack::DefaultStack};
/// send::<ScopedCoroutineRef<'_, (), (), (), DefaultStack>>();
/// ```
pub struct ScopedCoroutine<
    'a,
    Input,
    Yield,
    Return,
    #[cfg(feature = "default-stack")] S: Stack = DefaultStack,
    #[cfg(not(feature = "default-stack"))] S: Stack,
> {
    coroutine: Coroutine<Input, Yield, Return, S>,
    borrows: PhantomData<Borrows<'a>>,
}

/// Stands for the closure, whose type the coroutine forgets. Its destructor may
/// use what it borrows, and the compiler must know that.
struct Borrows<'a>(PhantomData<&'a mut ()>);

impl Drop for Borrows<'_> {
    fn drop(&mut self) {}
}

#[cfg(feature = "default-stack")]
impl<'a, Input, Yield, Return> ScopedCoroutine<'a, Input, Yield, Return, DefaultStack> {
    /// A coroutine that will run `func` on a new stack of 1 MiB.
    ///
    /// # Panics
    ///
    /// If there is no memory for the stack. [`DefaultStack::new`] and
    /// [`ScopedCoroutine::with_stack`] report that as an error.
    pub fn new<F>(func: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'a,
    {
        ScopedCoroutine::with_stack(DefaultStack::default(), func)
    }
}

impl<'a, Input, Yield, Return, S: Stack> ScopedCoroutine<'a, Input, Yield, Return, S> {
    /// A coroutine that will run `func` on `stack`, which may be a `&mut` of one.
    ///
    /// # Panics
    ///
    /// If `func` captures more than fits on the stack, or if `stack` breaks the
    /// promises of [`Stack`] in a way that shows.
    #[track_caller]
    pub fn with_stack<F>(stack: S, func: F) -> Self
    where
        F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'a,
    {
        ScopedCoroutine {
            // SAFETY: it runs in `scope` only, whose frame drops it. Everything
            // borrowed is borrowed for `'a`, or named by the other parameters,
            // all of which outlive that frame. One that is forgotten earlier
            // never runs, and its memory may be used again.
            coroutine: unsafe { Coroutine::with_stack_unchecked(stack, func) },
            borrows: PhantomData,
        }
    }

    /// Takes the stack of a coroutine that is done, for another one to use.
    ///
    /// # Panics
    ///
    /// Always, since a coroutine that has not entered its scope is not done.
    #[track_caller]
    pub fn into_stack(self) -> S {
        self.coroutine.into_stack()
    }

    /// Runs `f` with a reference to the coroutine, then unwinds and drops the
    /// coroutine, also if `f` panics.
    ///
    /// # Panics
    ///
    /// With what `f` panics with, or with another panic than the unwind that
    /// leaves the coroutine at the end.
    #[inline]
    pub fn scope<F, T>(mut self, f: F) -> T
    where
        F: FnOnce(ScopedCoroutineRef<'_, Input, Yield, Return, S>) -> T,
    {
        f(ScopedCoroutineRef {
            coroutine: &mut self.coroutine,
        })
    }
}

/// A coroutine inside its [`scope`](ScopedCoroutine::scope).
///
/// The compiler does not reborrow it by itself, as it does a `&mut`: pass on
/// [`as_mut`](ScopedCoroutineRef::as_mut) to keep it.
pub struct ScopedCoroutineRef<'a, Input, Yield, Return, S: Stack> {
    coroutine: &'a mut Coroutine<Input, Yield, Return, S>,
}

impl<Input, Yield, Return, S: Stack> ScopedCoroutineRef<'_, Input, Yield, Return, S> {
    /// Another reference to it, for a shorter time.
    #[inline]
    pub fn as_mut(&mut self) -> ScopedCoroutineRef<'_, Input, Yield, Return, S> {
        ScopedCoroutineRef {
            coroutine: self.coroutine,
        }
    }

    /// See [`Coroutine::resume`].
    ///
    /// # Panics
    ///
    /// As there.
    #[inline]
    #[track_caller]
    pub fn resume(&mut self, input: Input) -> CoroutineResult<Yield, Return> {
        self.coroutine.resume(input)
    }

    /// Whether it was ever resumed.
    pub fn started(&self) -> bool {
        self.coroutine.started()
    }

    /// Whether it returned, panicked or was unwound.
    pub fn done(&self) -> bool {
        self.coroutine.done()
    }

    /// See [`Coroutine::force_reset`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn force_reset(&mut self) {
        // SAFETY: this function's contract.
        unsafe { self.coroutine.force_reset() }
    }

    /// See [`Coroutine::force_unwind`].
    ///
    /// # Panics
    ///
    /// As there.
    pub fn force_unwind(&mut self) {
        self.coroutine.force_unwind();
    }

    /// See [`Coroutine::trap_handler`].
    pub fn trap_handler(&self) -> CoroutineTrapHandler<Return> {
        self.coroutine.trap_handler()
    }
}

impl<Input, Yield, Return, S: Stack> fmt::Debug for ScopedCoroutine<'_, Input, Yield, Return, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedCoroutine")
            .field(&self.coroutine)
            .finish()
    }
}

impl<Input, Yield, Return, S: Stack> fmt::Debug
    for ScopedCoroutineRef<'_, Input, Yield, Return, S>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedCoroutineRef")
            .field(&self.coroutine)
            .finish()
    }
}
