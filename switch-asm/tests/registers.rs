//! The registers that a function must keep are kept across a switch, on both
//! sides.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::arch::naked_asm;

use switch_asm::{Coroutine, CoroutineResult, Yielder};

/// Calls `f(arg)` with `value` in every register that `f` must keep. Returns
/// whether `f` kept them.
///
/// # Safety
///
/// `f` accepts `arg`.
#[unsafe(naked)]
unsafe extern "C" fn keeps(f: unsafe extern "C" fn(usize), arg: usize, value: usize) -> bool {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // The seventh word, which also aligns the stack.
        "push rdx",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rbp, rdx",
        "mov rbx, rdx",
        "mov r12, rdx",
        "mov r13, rdx",
        "mov r14, rdx",
        "mov r15, rdx",
        "call rax",
        "pop rdx",
        "xor eax, eax",
        "cmp rbp, rdx",
        "jne 2f",
        "cmp rbx, rdx",
        "jne 2f",
        "cmp r12, rdx",
        "jne 2f",
        "cmp r13, rdx",
        "jne 2f",
        "cmp r14, rdx",
        "jne 2f",
        "cmp r15, rdx",
        "jne 2f",
        "mov eax, 1",
        "2:",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// # Safety
///
/// The address of the running coroutine's yielder.
unsafe extern "C" fn suspends(yielder: usize) {
    let yielder = std::ptr::with_exposed_provenance::<Yielder<(), ()>>(yielder);
    // SAFETY: this function's contract.
    unsafe { &*yielder }.suspend(());
}

/// # Safety
///
/// The address of a coroutine that nobody else uses.
unsafe extern "C" fn resumes(coroutine: usize) {
    let coroutine = std::ptr::with_exposed_provenance_mut::<Coroutine<(), (), bool>>(coroutine);
    // SAFETY: this function's contract.
    unsafe { &mut *coroutine }.resume(());
}

#[test]
fn all_six_of_them() {
    let mut coroutine = Coroutine::<(), (), bool>::new(|yielder, ()| {
        let yielder_address = (&raw const *yielder).expose_provenance();
        for value in [usize::MAX, 0x1111] {
            // SAFETY: our own yielder.
            let kept = unsafe { keeps(suspends, yielder_address, value) };
            assert!(kept, "the coroutine lost a register");
        }
        true
    });
    let address = (&raw mut coroutine).expose_provenance();
    for value in [0x2222, 0x3333] {
        // SAFETY: the coroutine is not used meanwhile.
        let kept = unsafe { keeps(resumes, address, value) };
        assert!(kept, "the parent lost a register");
    }
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(true));
}
