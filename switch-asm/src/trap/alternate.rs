//! A stack for signal handlers. Must not know what they do.

use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr;
use std::io;

use crate::stack::{DefaultStack, Stack};

/// A stack that signal handlers of this thread run on, as long as it lives.
///
/// A handler cannot run on a stack that overflowed. Threads made by `std` have an
/// alternate stack already, but it is small: enough to print a line. Without any
/// the kernel ends the process when a stack overflows, whatever handlers there
/// are.
///
/// ```
/// use switch_asm::trap::AlternateStack;
///
/// let _for_this_thread = AlternateStack::new()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It belongs to its thread:
///
/// ```compile_fail,E0277
/// fn send<T: Send>() {}
/// send::<switch_asm::trap::AlternateStack>();
/// ```
#[derive(Debug)]
pub struct AlternateStack {
    stack: ManuallyDrop<DefaultStack>,
    previous: libc::stack_t,
    not_send: PhantomData<*mut ()>,
}

impl AlternateStack {
    /// What a handler can use, on top of what the kernel saves there.
    const FOR_HANDLERS: usize = 64 * 1024;

    /// Puts a new one in place of what the thread has.
    ///
    /// # Errors
    ///
    /// As [`DefaultStack::new`], or if this thread runs on its alternate stack
    /// right now.
    pub fn new() -> io::Result<AlternateStack> {
        // SAFETY: only asks.
        let saved = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
        let stack = DefaultStack::new(AlternateStack::FOR_HANDLERS + saved)?;
        let lowest = stack.limit().get() + guard_size(&stack);
        let ours = libc::stack_t {
            ss_sp: ptr::with_exposed_provenance_mut(lowest),
            ss_flags: 0,
            ss_size: stack.base().get() - lowest,
        };
        // SAFETY: memory that stays until `drop` has put the previous one back.
        let previous = unsafe { exchange(Some(&ours)) }.map_err(|error| {
            io::Error::new(
                error.kind(),
                std::format!("cannot set the alternate stack of a thread: {error}"),
            )
        })?;
        Ok(AlternateStack {
            stack: ManuallyDrop::new(stack),
            previous,
            not_send: PhantomData,
        })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let is_ours = |stack: &libc::stack_t| {
            (self.stack.limit().get()..self.stack.base().get()).contains(&stack.ss_sp.addr())
        };
        // SAFETY: asks; then puts back what was there, which whoever set it keeps
        // for the thread.
        let unused = unsafe {
            match exchange(None) {
                Ok(current) if is_ours(&current) => exchange(Some(&self.previous)).is_ok(),
                Ok(_) => true,
                Err(_) => false,
            }
        };
        // Otherwise we are in a handler that runs on it: it stays for good.
        if unused {
            // SAFETY: dropped once, and the kernel does not know it any more.
            unsafe { ManuallyDrop::drop(&mut self.stack) };
        }
    }
}

fn guard_size(stack: &DefaultStack) -> usize {
    match stack.locate(stack.limit().get()) {
        crate::stack::Verdict::Guard(extent) => extent.guard_size,
        _ => 0,
    }
}

/// Sets the alternate stack of this thread, or only asks for it.
///
/// # Safety
///
/// The memory stays as long as the kernel knows it.
unsafe fn exchange(new: Option<&libc::stack_t>) -> io::Result<libc::stack_t> {
    #[cfg(test)]
    crate::stack::faults::before("sigaltstack", libc::ENOMEM)?;
    let mut old = MaybeUninit::<libc::stack_t>::uninit();
    let new = new.map_or(ptr::null(), |new| &raw const *new);
    // SAFETY: room for the answer; the rest is this function's contract.
    match unsafe { libc::sigaltstack(new, old.as_mut_ptr()) } {
        // SAFETY: the kernel filled it in.
        0 => Ok(unsafe { old.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks without the call that can be made to fail.
    fn current() -> usize {
        let mut now = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: only asks, and has room for the answer.
        unsafe {
            assert_eq!(libc::sigaltstack(ptr::null(), now.as_mut_ptr()), 0);
            now.assume_init().ss_sp.addr()
        }
    }

    #[test]
    fn nested_ones_are_put_back() {
        let before = current();
        let outer = AlternateStack::new().expect("a stack");
        let at_outer = current();
        assert_ne!(at_outer, before);
        let inner = AlternateStack::new().expect("a stack");
        assert_ne!(current(), at_outer);
        drop(inner);
        assert_eq!(current(), at_outer);
        drop(outer);
        assert_eq!(current(), before);
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        use crate::stack::faults::{all_say, alone, with_each_call_failing};

        let _alone = alone();
        let before = current();
        // One that fails to be put back stays for good, and its memory with it:
        // so only the making fails here.
        let errors = with_each_call_failing(|| {
            let made = AlternateStack::new();
            assert_eq!(made.is_ok(), current() != before);
            let mut made = made?;
            let stack = &mut made.stack;
            // SAFETY: puts back what was there; then `made` is dropped in parts.
            unsafe {
                assert_eq!(libc::sigaltstack(&made.previous, ptr::null_mut()), 0);
                ManuallyDrop::drop(stack);
            }
            std::mem::forget(made);
            Ok(())
        });
        assert_eq!(current(), before);
        all_say(&errors, "sigaltstack", &["alternate stack of a thread"]);
        all_say(&errors, "mmap", &["ulimit -v"]);
    }

    #[test]
    fn out_of_order_nothing_dangles() {
        let outer = AlternateStack::new().expect("a stack");
        let inner = AlternateStack::new().expect("a stack");
        let at_inner = current();
        drop(outer);
        assert_eq!(current(), at_inner);
        // It would put `outer` back, which is gone.
        std::mem::forget(inner);
    }
}
