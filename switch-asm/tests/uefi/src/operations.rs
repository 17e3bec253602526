//! Every operation, by what it returns.

use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};
use core::num::NonZeroUsize;

use switch_asm::stack::{Stack, StackPointer};
use switch_asm::{Coroutine, CoroutineResult, Yielder, on_stack};

const SIZE: usize = 64 * 1024;

#[repr(C, align(4096))]
struct Memory(UnsafeCell<[u8; SIZE]>);

// SAFETY: there is one processor and nothing interrupts the program.
unsafe impl Sync for Memory {}

static MEMORY: [Memory; 6] = [const { Memory(UnsafeCell::new([0; SIZE])) }; 6];

/// One of a few stacks, by number. A test takes each at most once at a time.
pub struct Static(&'static Memory);

pub fn stack(number: usize) -> Static {
    Static(&MEMORY[number])
}

// SAFETY: static memory, aligned to pages, which only this value hands out. It
// has no guard: UEFI maps all memory. The tests stay far away from the limit.
unsafe impl Stack for Static {
    fn base(&self) -> StackPointer {
        self.limit()
            .checked_add(SIZE)
            .expect("below the end of memory")
    }

    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.0.0.get().expose_provenance()).expect("a static has an address")
    }
}

pub fn resume_and_suspend() {
    let mut sum = Coroutine::with_stack(stack(0), |yielder: &Yielder<u32, u32>, mut input| {
        let mut total = 0;
        while input != 0 {
            total += input;
            input = yielder.suspend(total);
        }
        "done"
    });
    assert!(!sum.started() && !sum.done());
    let mut expected = 0;
    for n in 1..1000 {
        expected += n;
        assert_eq!(sum.resume(n), CoroutineResult::Yield(expected));
    }
    assert!(sum.started() && !sum.done());
    assert_eq!(sum.resume(0), CoroutineResult::Return("done"));
    assert!(sum.done());
    // The stack is as good as new.
    let mut next = Coroutine::with_stack(sum.into_stack(), |_: &Yielder<u8, ()>, n| n + 1);
    assert_eq!(next.resume(1), CoroutineResult::Return(2));
}

pub fn large_values() {
    let mut reverse =
        Coroutine::with_stack(stack(0), |yielder: &Yielder<_, _>, mut words: [u64; 9]| {
            for _ in 0..3 {
                words.reverse();
                words = yielder.suspend(words);
            }
        });
    let forward = core::array::from_fn(|n| n as u64);
    let mut backward = forward;
    backward.reverse();
    for _ in 0..3 {
        assert_eq!(reverse.resume(forward), CoroutineResult::Yield(backward));
    }
    assert_eq!(reverse.resume(forward), CoroutineResult::Return(()));
}

/// Calls `f(arg)` with `value` in all registers that a function must keep.
/// Returns whether `f` kept them.
///
/// # Safety
///
/// `f` accepts `arg`.
#[unsafe(naked)]
unsafe extern "efiapi" fn keeps(
    f: unsafe extern "efiapi" fn(usize),
    arg: usize,
    value: usize,
) -> bool {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push rsi",
        "push rdi",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        // Our value, and a home area for `f`: five words, which also align.
        "sub rsp, 5 * 8",
        "mov [rsp + 4 * 8], r8",
        "mov rax, rcx",
        "mov rcx, rdx",
        "mov rbp, r8",
        "mov rbx, r8",
        "mov rsi, r8",
        "mov rdi, r8",
        "mov r12, r8",
        "mov r13, r8",
        "mov r14, r8",
        "mov r15, r8",
        "call rax",
        "xor eax, eax",
        "mov rdx, [rsp + 4 * 8]",
        "cmp rbp, rdx",
        "jne 2f",
        "cmp rbx, rdx",
        "jne 2f",
        "cmp rsi, rdx",
        "jne 2f",
        "cmp rdi, rdx",
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
        "add rsp, 5 * 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rdi",
        "pop rsi",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// # Safety
///
/// The address of the running coroutine's yielder.
unsafe extern "efiapi" fn suspends(yielder: usize) {
    // SAFETY: this function's contract.
    unsafe { &*core::ptr::with_exposed_provenance::<Yielder<(), ()>>(yielder) }.suspend(());
}

/// # Safety
///
/// The address of a coroutine that nobody else uses.
unsafe extern "efiapi" fn resumes(coroutine: usize) {
    type Kept = Coroutine<(), (), bool, Static>;
    // SAFETY: this function's contract.
    unsafe { &mut *core::ptr::with_exposed_provenance_mut::<Kept>(coroutine) }.resume(());
}

pub fn registers() {
    let mut coroutine = Coroutine::<(), (), bool, _>::with_stack(stack(0), |yielder, ()| {
        let address = (&raw const *yielder).expose_provenance();
        // SAFETY: our own yielder.
        [usize::MAX, 0x1111]
            .iter()
            .all(|&value| unsafe { keeps(suspends, address, value) })
    });
    let address = (&raw mut coroutine).expose_provenance();
    for value in [0x2222, 0x3333] {
        // SAFETY: the coroutine is not used meanwhile.
        assert!(
            unsafe { keeps(resumes, address, value) },
            "the parent lost a register"
        );
    }
    assert_eq!(
        coroutine.resume(()),
        CoroutineResult::Return(true),
        "the coroutine lost a register"
    );
}

pub fn force_reset() {
    let mut coroutine = Coroutine::<(), u8, (), _>::with_stack(stack(0), |yielder, ()| {
        for n in 0.. {
            yielder.suspend(n);
        }
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(0));
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(1));
    // SAFETY: nothing on its stack has a destructor.
    unsafe { coroutine.force_reset() };
    assert!(coroutine.done());
    let mut next = Coroutine::with_stack(coroutine.into_stack(), |_: &Yielder<u8, ()>, n| n * 2);
    assert_eq!(next.resume(21), CoroutineResult::Return(42));
}

pub fn never_ran() {
    struct Counts<'a>(&'a Cell<u32>);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let drops = Cell::new(0);
    let counts = Counts(&drops);
    // SAFETY: `drops` lives longer than the coroutine.
    let coroutine = unsafe {
        Coroutine::<(), (), (), _>::with_stack_unchecked(stack(0), move |_, ()| drop(counts))
    };
    assert_eq!(drops.get(), 0);
    drop(coroutine);
    assert_eq!(drops.get(), 1);
}

/// Whether a local of the caller lies on the stack.
fn is_on(stack: &Static, local: *const u8) -> bool {
    (stack.limit().get()..stack.base().get()).contains(&local.addr())
}

pub fn on_another_stack() {
    let mut other = stack(1);
    let answer = on_stack(&mut other, || {
        let mut locals = [0_u8; 20_000];
        core::hint::black_box(&mut locals)[7] = 41;
        assert!(is_on(&stack(1), locals.as_ptr()));
        locals[7] + 1
    });
    assert_eq!(answer, 42);
    let local = 0;
    assert!(!is_on(&other, &raw const local));
}

pub fn on_parent_stack() {
    let mut coroutine = Coroutine::<(), (), bool, _>::with_stack(stack(0), |yielder, ()| {
        let here = is_on(&stack(0), (&raw const *yielder).cast());
        let there = yielder.on_parent_stack(|| {
            let local = core::hint::black_box(0);
            is_on(&stack(0), &raw const local)
        });
        here && !there
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(true));
}

pub fn nested() {
    fn sum(depth: usize) -> usize {
        if depth == 5 {
            return 1;
        }
        let mut inner =
            Coroutine::<(), usize, usize, _>::with_stack(stack(depth), move |yielder, ()| {
                yielder.suspend(depth);
                sum(depth + 1)
            });
        assert_eq!(inner.resume(()), CoroutineResult::Yield(depth));
        depth + inner.resume(()).as_return().expect("it returns")
    }
    assert_eq!(sum(0), 11);
}
