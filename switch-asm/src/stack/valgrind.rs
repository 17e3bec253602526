//! Telling Valgrind about stacks. Must not know what they are for.
//!
//! Valgrind takes a large change of the stack pointer for an ordinary large
//! frame, unless it knows that memory as a stack of its own. A program tells it
//! things by a sequence of instructions that does nothing on a processor.

use core::arch::asm;

const STACK_REGISTER: usize = 0x1501;
const STACK_DEREGISTER: usize = 0x1502;

/// A range that Valgrind knows as a stack as long as this lives.
///
/// Without Valgrind it does nothing. Custom [`Stack`](super::Stack)s hold one;
/// those of this crate do so already.
///
/// ```
/// use switch_asm::stack::valgrind::ValgrindStackRegistration;
///
/// let mut memory = vec![0_u8; 64 * 1024];
/// let _stack = ValgrindStackRegistration::new(memory.as_mut_ptr(), memory.len());
/// ```
#[derive(Debug)]
pub struct ValgrindStackRegistration {
    /// Valgrind's name for it. Zero if there is no Valgrind.
    id: usize,
}

impl ValgrindStackRegistration {
    /// Registers `len` bytes from `addr`, the lowest address.
    #[inline]
    pub fn new(addr: *mut u8, len: usize) -> Self {
        ValgrindStackRegistration::of_range(addr.addr(), len)
    }

    #[inline]
    pub(super) fn of_range(start: usize, len: usize) -> Self {
        ValgrindStackRegistration {
            // An id counts from zero; one more, to tell it from no Valgrind.
            id: request([STACK_REGISTER, start, start + len, 0, 0, 0], usize::MAX).wrapping_add(1),
        }
    }

    /// Whether Valgrind is there.
    #[cfg(feature = "default-stack")]
    pub(super) fn is_known(&self) -> bool {
        self.id != 0
    }
}

impl Drop for ValgrindStackRegistration {
    #[inline]
    fn drop(&mut self) {
        if self.id != 0 {
            request([STACK_DEREGISTER, self.id - 1, 0, 0, 0, 0], 0);
        }
    }
}

/// Asks Valgrind. Without it the answer is `otherwise`.
#[inline]
fn request(arguments: [usize; 6], otherwise: usize) -> usize {
    let answer;
    // SAFETY: rotates RDI by 128 bits in all, which changes no more than flags,
    // and exchanges RBX with itself. Valgrind reads the arguments and writes RDX.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inlateout("rdx") otherwise => answer,
            options(nostack),
        );
    }
    answer
}

#[cfg(all(test, feature = "default-stack"))]
mod tests {
    use super::*;

    #[test]
    fn without_valgrind_nothing_happens() {
        if std::env::var_os("LD_PRELOAD")
            .is_some_and(|it| it.to_string_lossy().contains("valgrind"))
        {
            return;
        }
        let registration = ValgrindStackRegistration::of_range(4096, 4096);
        assert_eq!(registration.id, 0);
        assert_eq!(request([0; 6], 17), 17);
    }
}
