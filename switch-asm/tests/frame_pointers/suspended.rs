//! Walks of a coroutine that waits, from `saved_regs`. They must end where its
//! stack does: the parent link in there is of an earlier resume, and what it
//! leads to is long gone. By frame pointers the end is the address of the link,
//! by unwind information it is the trampoline.

use std::arch::naked_asm;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::mem::offset_of;
use std::ops::Range;
use std::ptr;

use switch_asm::arch::{PARENT_LINK_OFFSET, SavedRegs};
use switch_asm::stack::{DefaultStack, Stack};
use switch_asm::{Coroutine, Yielder};

use crate::symbols::Symbols;
use crate::tests::built_with_frame_pointers;

type Waiting = Coroutine<(), (), (), DefaultStack>;

#[inline(never)]
fn waits_inside(yielder: &Yielder<(), ()>, depth: usize) -> usize {
    if depth == 0 {
        yielder.suspend(());
        return 0;
    }
    black_box(waits_inside(yielder, black_box(depth) - 1)) + 1
}

/// A coroutine that waits under three frames, whose parent is gone, and its
/// stack's addresses.
fn waiting() -> (Waiting, Range<usize>) {
    #[inline(never)]
    fn resume_from_a_frame_that_ends(coroutine: &mut Waiting) {
        let local = [1_usize; 64];
        black_box(&local);
        coroutine.resume(()).as_yield().expect("it yields");
    }
    #[inline(never)]
    fn overwrite() {
        black_box([usize::MAX; 256]);
    }
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let range = stack.limit().get()..stack.base().get();
    let mut coroutine = Waiting::with_stack(stack, |yielder, ()| {
        black_box(waits_inside(yielder, 2));
    });
    resume_from_a_frame_that_ends(&mut coroutine);
    overwrite();
    (coroutine, range)
}

pub(crate) fn by_frame_pointers() {
    if !built_with_frame_pointers() {
        return println!(
            "skipped: built without frame pointers; .ci/unwind.sh has a build with them"
        );
    }
    let (coroutine, stack) = waiting();
    let regs = coroutine.saved_regs().expect("it waits");
    let link = stack.end - PARENT_LINK_OFFSET;
    let symbols = Symbols::load();
    let mut names = vec![symbols.name(regs.rip)];
    let mut record = regs.rbp;
    // Upwards, and below the link: that is all there is to check.
    while (regs.rsp..link).contains(&record) {
        // SAFETY: two words of the stack of a coroutine that waits.
        let [next, address] = unsafe { ptr::with_exposed_provenance::<[usize; 2]>(record).read() };
        assert!(next > record, "the chain goes up");
        names.push(symbols.name(address));
        record = next;
    }
    assert_eq!(record, link, "the last record on the stack is the link");
    let inside = names
        .iter()
        .filter(|name| name.contains("waits_inside"))
        .count();
    assert_eq!(inside, 3, "{names:#?}");
    assert!(
        names
            .last()
            .expect("not empty")
            .contains("stack_init_trampoline"),
        "{names:#?}"
    );
}

// --- The system's unwinder, which can only walk the stack that it runs on: so
// the walk runs there, as if the coroutine had called it. ---

unsafe extern "C" {
    fn _Unwind_Backtrace(
        f: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
    fn _Unwind_GetRegionStart(context: *mut c_void) -> usize;
}

const NO_REASON: c_int = 0;
const NORMAL_STOP: c_int = 4;

/// The frames of a walk, while they are on the stack.
#[derive(Default)]
struct Found {
    stack: Range<usize>,
    trampoline: usize,
    addresses: Vec<usize>,
    ended: bool,
}

thread_local! {
    static FOUND: Cell<*mut Found> = const { Cell::new(ptr::null_mut()) };
    static BACK: Cell<usize> = const { Cell::new(0) };
}

extern "C" fn note(context: *mut c_void, _: *mut c_void) -> c_int {
    // SAFETY: the test's, while it waits; and the unwinder's own.
    let (found, ip, sp, function) = unsafe {
        let found = &mut *FOUND.get();
        let (ip, sp) = (_Unwind_GetIP(context), _Unwind_GetCFA(context));
        (found, ip, sp, _Unwind_GetRegionStart(context))
    };
    assert!(found.stack.contains(&sp), "left the stack");
    found.addresses.push(ip);
    found.ended = function == found.trampoline;
    // The unwinder reads a frame before it calls us: the one after this would be
    // in the stale parent, wherever that is.
    if found.ended { NORMAL_STOP } else { NO_REASON }
}

extern "C" fn walk_then_go_back() {
    // SAFETY: a callback of the type that it asks for. Then the way back: our
    // frames have nothing to drop.
    unsafe {
        _Unwind_Backtrace(note, ptr::null_mut());
        go_back(BACK.get())
    }
}

extern "C" fn note_the_way_back(rsp: usize) {
    BACK.set(rsp);
}

/// Runs `walk_then_go_back` on the stack of `regs`, with these registers, and
/// with their RIP as its return address.
///
/// # Safety
///
/// They are those of a stack that waits. What is saved below their RSP is lost.
#[unsafe(naked)]
unsafe extern "C" fn walk_as_called_by(regs: &SavedRegs) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "mov rdi, rsp",
        "call {note_the_way_back}",
        "mov rdi, [rsp]",
        "mov rax, [rdi + {rip}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rsp, [rdi + {rsp}]",
        "push rax",
        "jmp {walk_then_go_back}",
        note_the_way_back = sym note_the_way_back,
        walk_then_go_back = sym walk_then_go_back,
        rip = const offset_of!(SavedRegs, rip),
        rbx = const offset_of!(SavedRegs, rbx),
        rbp = const offset_of!(SavedRegs, rbp),
        rsp = const offset_of!(SavedRegs, rsp),
    )
}

/// Returns from `walk_as_called_by`.
///
/// # Safety
///
/// `rsp` is what it noted.
#[unsafe(naked)]
unsafe extern "C" fn go_back(rsp: usize) -> ! {
    naked_asm!(
        "mov rsp, rdi",
        "pop rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

pub(crate) fn by_unwind_information() {
    let (mut coroutine, stack) = waiting();
    let regs = coroutine.saved_regs().expect("it waits");
    assert!(stack.contains(&regs.rsp));
    let mut found = Found {
        stack: stack.clone(),
        trampoline: trampoline(),
        ..Found::default()
    };
    FOUND.set(&raw mut found);
    // RIP, RBX, RBP: what a switch left, which is where the walk runs.
    type Saved = [usize; 3];
    let below = ptr::with_exposed_provenance_mut::<Saved>(regs.rsp - size_of::<Saved>());
    // SAFETY: the coroutine waits, and what is lost is put back.
    unsafe {
        let saved = below.read();
        assert_eq!(saved, [regs.rip, regs.rbx, regs.rbp]);
        walk_as_called_by(&regs);
        below.write(saved);
    }
    let symbols = Symbols::load();
    let names: Vec<_> = found
        .addresses
        .iter()
        .map(|&address| symbols.name(address))
        .collect();
    let inside = names
        .iter()
        .filter(|name| name.contains("waits_inside"))
        .count();
    assert_eq!(inside, 3, "{names:#?}");
    assert!(
        names
            .last()
            .expect("not empty")
            .contains("stack_init_trampoline"),
        "{names:#?}"
    );
    assert!(found.ended, "{names:#?}");
    // It took no harm.
    coroutine.resume(()).as_return().expect("it returns");
}

/// Where a coroutine that never ran waits.
fn trampoline() -> usize {
    let fresh = Coroutine::<(), (), ()>::new(|_, ()| ());
    fresh.saved_regs().expect("it waits").rip
}

pub(crate) fn a_coroutine_that_never_ran_has_one_frame() {
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let range = stack.limit().get()..stack.base().get();
    let coroutine = Waiting::with_stack(stack, |_, ()| ());
    let regs = coroutine.saved_regs().expect("it waits");
    assert!(
        Symbols::load()
            .name(regs.rip)
            .contains("stack_init_trampoline")
    );
    assert!(range.contains(&regs.rsp) && !range.contains(&regs.rbp));
}
