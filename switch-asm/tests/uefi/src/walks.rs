//! Walks of the stack, from `.pdata` alone, that must meet the expected callers.

use core::arch::{asm, naked_asm};
use core::hint::black_box;

use switch_asm::arch;
use switch_asm::stack::{Stack, StackPointer};
use switch_asm::{Coroutine, CoroutineResult, Yielder, on_stack};

use crate::operations::{Static, stack};
use crate::walk::{Context, RBP, RBX, RSP};
use crate::{efi_main, image};

/// A function that a walk can be asked for.
#[derive(Clone, Copy)]
struct Name(&'static str, usize);

macro_rules! name {
    ($function:expr) => {
        Name(stringify!($function), $function as *const () as usize)
    };
}

/// Walks to the end of the image and says whether it met these functions, in
/// this order; others may be in between. It has to end in `efi_main`, from where
/// it goes on into the firmware.
#[inline(never)]
fn meets(names: &[Name]) -> bool {
    let mut context = Context::capture();
    let mut left = names.iter();
    let mut next = left.next();
    let mut last = None;
    for _ in 0..100 {
        let function = image::function(context.rip);
        if let Some(&Name(name, address)) = next {
            let wanted = image::function(address);
            assert!(wanted.is_some(), "{name} has no unwind information");
            if wanted == function {
                next = left.next();
            }
        }
        if image::contains(context.rip) {
            last = function;
        }
        if context.step().is_none() {
            assert!(
                last == image::function(efi_main as *const () as usize),
                "it ends elsewhere"
            );
            if let Some(Name(name, _)) = next {
                panic!("{name} is not on the stack, or not there");
            }
            return true;
        }
    }
    panic!("the walk does not end");
}

/// What the trampolines are called in a walk: they have no name out here, but
/// a coroutine that never ran waits in one.
fn stack_init_trampoline() -> Name {
    let fresh = Coroutine::<(), (), (), _>::with_stack(stack(5), |_, ()| ());
    Name(
        "stack_init_trampoline",
        fresh.saved_regs().expect("it waits").rip,
    )
}

/// The region at its end, which is where walks meet it.
fn base_of_a_stack() -> Name {
    let Name(name, start) = stack_init_trampoline();
    let first = image::function(start).expect("the trampoline has unwind information");
    Name(name, image::base() + first.end as usize)
}

pub fn table() {
    let count = image::functions().count();
    assert!(
        count > 50,
        "{count} functions: built without -C force-unwind-tables=yes?"
    );
    let Name(_, start) = stack_init_trampoline();
    let Name(_, base) = base_of_a_stack();
    let (first, second) = (image::function(start), image::function(base));
    assert!(
        first.is_some() && second.is_some() && first != second,
        "two regions"
    );
    // What `docs/switching.md` explains.
    let bytes: [u8; 16] = image::at(second.expect("checked").unwind_info as usize);
    assert_eq!(
        bytes,
        [1, 0, 6, 5, 0, 3, 0, 0x44, 0, 0, 0, 0x50, 0, 2, 0, 0x30]
    );
    let bytes: [u8; 10] = image::at(first.expect("checked").unwind_info as usize);
    assert_eq!(bytes, [1, 1, 3, 0, 1, 0x50, 0, 2, 0, 0x30]);
}

type Walker = Coroutine<(), bool, bool, Static>;

#[inline(never)]
fn first_parent(coroutine: &mut Walker) -> CoroutineResult<bool, bool> {
    black_box(coroutine.resume(()))
}

#[inline(never)]
fn second_parent(coroutine: &mut Walker) -> CoroutineResult<bool, bool> {
    black_box(coroutine.resume(()))
}

#[inline(never)]
fn in_the_coroutine(names: &[Name]) -> bool {
    black_box(meets(names))
}

pub fn from_a_coroutine() {
    let base = base_of_a_stack();
    let mut coroutine = Walker::with_stack(stack(0), move |_, ()| {
        in_the_coroutine(&[
            name!(in_the_coroutine),
            base,
            name!(first_parent),
            name!(from_a_coroutine),
            name!(efi_main),
        ])
    });
    assert_eq!(first_parent(&mut coroutine), CoroutineResult::Return(true));
}

pub fn from_another_parent() {
    let base = base_of_a_stack();
    let mut coroutine = Walker::with_stack(stack(0), move |yielder, ()| {
        let expected = |parent| [base, parent, name!(from_another_parent), name!(efi_main)];
        yielder.suspend(in_the_coroutine(&expected(name!(first_parent))));
        in_the_coroutine(&expected(name!(second_parent)))
    });
    assert_eq!(first_parent(&mut coroutine), CoroutineResult::Yield(true));
    assert_eq!(second_parent(&mut coroutine), CoroutineResult::Return(true));
}

#[inline(never)]
fn calls_on_stack() -> bool {
    black_box(on_stack(stack(1), || {
        in_the_coroutine(&[
            name!(in_the_coroutine),
            name!(calls_on_stack),
            name!(from_on_stack),
            name!(efi_main),
        ])
    }))
}

pub fn from_on_stack() {
    assert!(calls_on_stack());
}

pub fn from_nested() {
    #[inline(never)]
    fn nest(depth: usize, base: Name) -> bool {
        if depth == 5 {
            let [nest, here] = [name!(nest), name!(from_nested)];
            let end = name!(efi_main);
            return in_the_coroutine(&[
                nest, base, nest, base, nest, base, nest, base, nest, base, nest, here, end,
            ]);
        }
        let mut inner = Walker::with_stack(stack(depth), move |_, ()| nest(depth + 1, base));
        black_box(inner.resume(()).as_return()) == Some(true)
    }
    assert!(nest(0, base_of_a_stack()));
}

/// The last function of a stack that trapped.
///
/// # Safety
///
/// A `TrapFunc`.
unsafe extern "C-unwind" fn trapped(base: *mut Name, link: &mut StackPointer) -> ! {
    // SAFETY: we own the value, and are on our own stack.
    unsafe {
        let met = meets(&[
            name!(trapped),
            base.read(),
            name!(resume_to_trap),
            name!(from_a_trap),
        ]);
        arch::switch_and_reset(usize::from(met), link)
    }
}

/// Goes on as after a trap that a handler dealt with.
///
/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn traps(_: usize, link: &mut StackPointer, _: *mut ()) -> ! {
    let base = link_address(link).checked_add(arch::PARENT_LINK_OFFSET);
    // The trampoline's one region starts at its first instruction.
    let trampoline =
        |regs: &arch::TrapHandlerRegs| Name("stack_trap_trampoline", regs.rip as usize);
    // SAFETY: nobody needs what is on this stack. The value of the first call
    // only tells the address for that of the second.
    unsafe {
        let base = base.expect("below the end of memory");
        let regs = arch::setup_trap_trampoline(base, Name("", 0), trapped);
        let arch::TrapHandlerRegs {
            rip,
            rsp,
            rbp,
            rdi,
            rsi,
        } = arch::setup_trap_trampoline(base, trampoline(&regs), trapped);
        asm!(
            "mov rsp, {rsp}",
            "mov rbp, {rbp}",
            "jmp {rip}",
            rsp = in(reg) rsp,
            rbp = in(reg) rbp,
            rip = in(reg) rip,
            in("rdi") rdi,
            in("rsi") rsi,
            options(noreturn),
        )
    }
}

fn link_address(link: *mut StackPointer) -> StackPointer {
    StackPointer::new(link.expose_provenance()).expect("a reference is not null")
}

#[inline(never)]
fn resume_to_trap(stack: &Static) -> usize {
    // SAFETY: the stack is ours, and ends in this one resume.
    unsafe {
        let sp = arch::init_stack(stack, traps, ());
        let (met, sp) = arch::switch_and_link(0, sp, stack.base());
        assert_eq!(sp, None);
        black_box(met)
    }
}

pub fn from_a_trap() {
    assert_eq!(resume_to_trap(&stack(0)), 1);
}

const IN_RBX: usize = 0x0b0b_0b0b;
const IN_RBP: usize = 0x5b5b_5b5b;

/// Calls `f(arg)` with known values in RBX and RBP; has no other frame. Returns
/// what `f` does.
///
/// # Safety
///
/// `f` accepts `arg`.
#[unsafe(naked)]
unsafe extern "efiapi" fn with_known_registers(
    f: unsafe extern "efiapi" fn(usize) -> bool,
    arg: usize,
) -> bool {
    naked_asm!(
        ".seh_proc {this}",
        "push rbx",
        ".seh_pushreg rbx",
        "push rbp",
        ".seh_pushreg rbp",
        "sub rsp, 5 * 8",
        ".seh_stackalloc 5 * 8",
        ".seh_endprologue",
        "mov ebx, {rbx}",
        "mov ebp, {rbp}",
        "mov rax, rcx",
        "mov rcx, rdx",
        "call rax",
        "nop",
        "add rsp, 5 * 8",
        "pop rbp",
        "pop rbx",
        "ret",
        ".seh_endproc",
        this = sym with_known_registers,
        rbx = const IN_RBX,
        rbp = const IN_RBP,
    )
}

/// # Safety
///
/// The address of a coroutine that nobody else uses.
unsafe extern "efiapi" fn resumes(coroutine: usize) -> bool {
    // SAFETY: this function's contract.
    let coroutine = unsafe { &mut *core::ptr::with_exposed_provenance_mut::<Walker>(coroutine) };
    first_parent(coroutine) == CoroutineResult::Return(true)
}

pub fn registers() {
    let mut coroutine = Walker::with_stack(stack(0), |_: &Yielder<(), bool>, ()| {
        let wanted = image::function(with_known_registers as *const () as usize);
        let mut context = Context::capture();
        while image::function(context.rip) != wanted {
            context.step().expect("it is on the stack");
        }
        context.registers[RBX] == IN_RBX
            && context.registers[RBP] == IN_RBP
            && context.registers[RSP].is_multiple_of(16)
    });
    let address = (&raw mut coroutine).expose_provenance();
    // SAFETY: the coroutine is not used meanwhile.
    assert!(unsafe { with_known_registers(resumes, address) });
}
