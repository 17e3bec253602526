//! Walks of the stack continue from a coroutine into its parent: by unwind
//! information and by frame pointers.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::arch::{asm, naked_asm};
use std::backtrace::Backtrace;

use switch_asm::Coroutine;
use switch_asm::arch::{self, EncodedValue};
use switch_asm::stack::{DefaultStack, Stack, StackPointer};

#[inline(never)]
fn captures() -> String {
    std::hint::black_box(Backtrace::force_capture().to_string())
}

#[inline(never)]
fn the_first_resumer(coroutine: &mut Coroutine<(), String, String>) -> String {
    std::hint::black_box(coroutine.resume(()).as_yield().expect("it yields"))
}

#[inline(never)]
fn the_second_resumer(coroutine: &mut Coroutine<(), String, String>) -> String {
    std::hint::black_box(coroutine.resume(()).as_return().expect("it returns"))
}

/// That `names` occur in `trace`, in this order.
fn in_order(trace: &str, names: &[&str]) {
    let mut rest = trace;
    for name in names {
        let Some(at) = rest.find(name) else {
            panic!("{name} is missing or misplaced:\n{trace}")
        };
        rest = &rest[at + name.len()..];
    }
}

#[test]
fn a_backtrace_names_whoever_resumed_it() {
    let mut coroutine = Coroutine::<(), String, String>::new(|yielder, ()| {
        yielder.suspend(captures());
        captures()
    });
    let (here, base) = (
        "a_backtrace_names_whoever_resumed_it",
        "stack_init_trampoline",
    );
    let first = the_first_resumer(&mut coroutine);
    in_order(&first, &["captures", base, "the_first_resumer", here]);
    let second = the_second_resumer(&mut coroutine);
    in_order(&second, &["captures", base, "the_second_resumer", here]);
    assert!(!second.contains("the_first_resumer"), "{second}");
}

#[test]
fn a_backtrace_crosses_several_parents() {
    #[inline(never)]
    fn nested(depth: u32) -> String {
        if depth == 0 {
            return captures();
        }
        let mut inner = Coroutine::<(), (), String>::new(move |_, ()| nested(depth - 1));
        std::hint::black_box(inner.resume(()).as_return().expect("it returns"))
    }
    let trace = nested(5);
    assert_eq!(trace.matches("stack_init_trampoline").count(), 5, "{trace}");
    in_order(
        &trace,
        &["captures", "nested", "a_backtrace_crosses_several_parents"],
    );
}

/// What the coroutine finds while it runs.
#[derive(Default)]
struct Seen {
    /// The frame pointer that its initial function was entered with.
    rbp: usize,
    /// The address of its parent link.
    link: usize,
    /// The parent's frame record: RBP, then RIP.
    record: [usize; 2],
}

/// The initial function: notes RBP before any compiled code can change it.
///
/// # Safety
///
/// An `InitialFunc`.
#[unsafe(naked)]
unsafe extern "C-unwind" fn note_rbp(
    arg: EncodedValue,
    link: &mut StackPointer,
    seen: *mut *mut Seen,
) -> ! {
    naked_asm!(
        "mov rax, [rdx]",
        "mov [rax + {rbp}], rbp",
        "jmp {rest}",
        rbp = const std::mem::offset_of!(Seen, rbp),
        rest = sym yield_twice,
    )
}

/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn yield_twice(
    _: EncodedValue,
    link: &mut StackPointer,
    seen: *mut *mut Seen,
) -> ! {
    let link = &raw mut *link;
    // SAFETY: the test waits for us and owns `seen`; we are on our own stack.
    unsafe {
        let seen = *seen;
        (*seen).link = link.addr();
        for _ in 0..2 {
            // The chain from our first frame: link, record.
            let chain = (*seen).rbp as *const *const [usize; 2];
            (*seen).record = **chain;
            arch::switch_yield(0, link);
        }
        arch::switch_and_reset(0, link)
    }
}

/// Resumes. Returns its own RBP, too: nothing is alive across the switch, so that
/// it is the same before and after.
///
/// # Safety
///
/// `sp` and `base` are as for `switch_and_link`.
#[inline(never)]
unsafe fn the_linked_parent(sp: StackPointer, base: StackPointer) -> (StackPointer, usize) {
    // SAFETY: this function's contract.
    let (_, sp) = unsafe { arch::switch_and_link(0, sp, base) };
    let rbp: usize;
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack)) };
    (sp.expect("it is suspended"), rbp)
}

#[test]
fn frame_pointers_lead_to_the_parent() {
    if cfg!(feature = "sanitizer") {
        return println!("skipped: a function of the sanitizer calls the initial function");
    }
    let mut seen = Seen::default();
    let seen = &raw mut seen;
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    // SAFETY: `note_rbp` takes this object; the stack is ours.
    let mut sp = unsafe { arch::init_stack(&stack, note_rbp, seen) };
    for _ in 0..2 {
        let rbp;
        // SAFETY: `sp` is where the stack waits.
        (sp, rbp) = unsafe { the_linked_parent(sp, stack.base()) };
        // SAFETY: the coroutine is suspended and does not use it.
        let Seen { record, .. } = unsafe { &*seen };
        assert_eq!(record[0], rbp, "the record links to the parent's frame");
        let parent = the_linked_parent as *const () as usize;
        assert!(
            (parent..parent + 4096).contains(&record[1]),
            "{record:#x?} {parent:#x}"
        );
    }
    // SAFETY: as above.
    let Seen { rbp, link, .. } = unsafe { &*seen };
    assert_eq!(rbp, link, "the first frame links to the parent link");
    assert_eq!(*link, stack.base().get() - arch::PARENT_LINK_OFFSET);
}
