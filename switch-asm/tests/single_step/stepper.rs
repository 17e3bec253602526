//! Runs a function one instruction at a time and walks the stack after each.
//! Must not know what the function is.
//!
//! ```text
//!   main ... run -> fenced_in -> the scenario -> ... -> any instruction
//!                   ^ the fence: a frame with known    ^ trap: handler, walk
//!                     RSP and RBX
//! ```
//!
//! Every walk has to meet the fence with exactly its registers, and from there
//! the same frames to the end as a walk without any switch.

use std::arch::naked_asm;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::{mem, ptr};

/// How a walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It met all that was to be met.
    Exact,
    /// It got to the end the right way, but before that it ...
    Inexact(Miss),
    /// It did not get to the fence, or not to the end.
    Lost,
    /// The unwinder itself faulted.
    Crashed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// ... did not meet the function that resumed.
    Parent,
    /// ... lost the RBX of a caller.
    Rbx,
}

/// One instruction, about to be executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub pc: usize,
    /// Where the unwinder thinks that its function starts, 0 if it knows none.
    pub function: usize,
    pub outcome: Outcome,
}

/// What is stepped through.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub run: extern "C" fn(),
    /// Does all that switches. Every walk while it runs has to meet it.
    pub parent: usize,
}

/// A frame as a walk sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    ip: usize,
    sp: usize,
}

/// What the handlers use. One child steps on one thread.
struct Shared {
    scenario: Scenario,
    /// Whether the scenario's `parent` runs.
    active: bool,
    /// The fence and all frames above it.
    fence: Vec<Frame>,
    steps: Vec<Step>,
}

struct Global<T>(UnsafeCell<T>);

// SAFETY: used by one thread, see `Shared`.
unsafe impl<T> Sync for Global<T> {}

extern "C" fn nothing() {}

static SHARED: Global<Shared> = Global(UnsafeCell::new(Shared {
    scenario: Scenario {
        run: nothing,
        parent: 0,
    },
    active: false,
    fence: Vec::new(),
    steps: Vec::new(),
}));

fn shared() -> &'static mut Shared {
    // SAFETY: callers are on the one thread, and none keeps it across a call of
    // another.
    unsafe { &mut *SHARED.0.get() }
}

/// How many steps a scenario may have; nothing allocates while it runs.
const MOST_STEPS: usize = 1 << 18;

/// Steps through the scenario, alone in its process.
pub(crate) fn run(scenario: Scenario) -> Vec<Step> {
    handle(libc::SIGTRAP, on_trap);
    handle(libc::SIGSEGV, on_fault);
    handle(libc::SIGBUS, on_fault);
    let shared = shared();
    shared.scenario = scenario;
    shared.active = false;
    shared.fence.reserve(64);
    shared.fence.clear();
    shared.steps = Vec::with_capacity(MOST_STEPS);
    // SAFETY: a handler for the traps is there.
    unsafe { fenced_in(scenario.run) };
    let shared = self::shared();
    assert!(shared.fence.len() > 3 && shared.steps.len() < MOST_STEPS);
    mem::take(&mut shared.steps)
}

pub(crate) fn handle(
    signal: c_int,
    handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void),
) {
    // SAFETY: an all-zero `sigaction` is valid, and the handler has the type
    // that SA_SIGINFO asks for.
    unsafe {
        let mut action = mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = handler as usize;
        // On the stack that was interrupted.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
    }
}

/// EFLAGS.TF: a trap after each instruction.
const TRAP_FLAG: usize = 0x100;
/// What the fence has in RBX.
const FENCE_RBX: usize = 0x5e17_1e1d;

/// Notes the way from here to the end of the stack, then calls `function` with a
/// trap after each instruction. Its own frame is the fence.
///
/// # Safety
///
/// A handler for the traps is there.
#[unsafe(naked)]
unsafe extern "C" fn fenced_in(function: extern "C" fn()) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "mov r12, rdi",
        "mov ebx, {rbx}",
        "call {note}",
        "pushfq",
        "or qword ptr [rsp], {trap_flag}",
        "popfq",
        "call r12",
        "pushfq",
        "and qword ptr [rsp], ~{trap_flag}",
        "popfq",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        note = sym note_the_fence,
        rbx = const FENCE_RBX,
        trap_flag = const TRAP_FLAG,
    )
}

// --- Walks ---

/// `struct _Unwind_Context`
type Context = c_void;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        f: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: c_int) -> usize;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
    fn _Unwind_FindEnclosingFunction(pc: usize) -> usize;
}

const NO_REASON: c_int = 0;
const NORMAL_STOP: c_int = 4;
const END_OF_STACK: c_int = 5;
/// RBX as DWARF numbers it.
const DWARF_RBX: c_int = 3;
/// No stack here is deeper.
const MOST_FRAMES: usize = 200;

fn frame(context: *mut Context) -> Frame {
    // SAFETY: the unwinder's own, while it calls us.
    unsafe {
        Frame {
            ip: _Unwind_GetIP(context),
            sp: _Unwind_GetCFA(context),
        }
    }
}

extern "C" fn note_the_fence() {
    extern "C" fn note(context: *mut Context, _: *mut c_void) -> c_int {
        shared().fence.push(frame(context));
        NO_REASON
    }
    // SAFETY: a callback of the type that it asks for.
    unsafe { _Unwind_Backtrace(note, ptr::null_mut()) };
    // The innermost frames are not part of it.
    let fence = &mut shared().fence;
    let start = fence
        .iter()
        .position(|frame| is_fence(frame.ip))
        .expect("it called us");
    fence.drain(..start);
}

/// Whether the address, of an instruction or behind a call, is in the fence.
fn is_fence(ip: usize) -> bool {
    // SAFETY: any number is fine. The function looks for the byte before.
    unsafe { _Unwind_FindEnclosingFunction(ip) == fenced_in as *const () as usize }
}

/// A walk from a trap.
struct Walk {
    pc: usize,
    /// The frame that trapped was met.
    started: bool,
    /// How many frames of the fence were met.
    fence: usize,
    frames: usize,
    parent: bool,
    rbx: bool,
    ended: bool,
}

extern "C" fn meet(context: *mut Context, walk: *mut c_void) -> c_int {
    // SAFETY: `walk_from_here` gave its own.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let shared = shared();
    let frame = frame(context);
    walk.frames += 1;
    // Below it are the handler's own frames.
    walk.started |= frame.ip == walk.pc;
    if !walk.started {
        return NO_REASON;
    }
    // SAFETY: as in `frame`.
    let (region, rbx) = unsafe {
        (
            _Unwind_GetRegionStart(context),
            _Unwind_GetGR(context, DWARF_RBX),
        )
    };
    walk.parent |= region == shared.scenario.parent;
    if walk.fence == 0 {
        // It called two functions, from two places.
        if is_fence(frame.ip) && frame.sp == shared.fence[0].sp {
            walk.rbx = rbx == FENCE_RBX;
            walk.fence = 1;
        }
    } else if shared.fence.get(walk.fence) == Some(&frame) {
        walk.fence += 1;
    } else {
        return NORMAL_STOP;
    }
    if walk.frames > MOST_FRAMES {
        NORMAL_STOP
    } else {
        NO_REASON
    }
}

extern "C" fn walk_from_here(walk: *mut c_void) {
    // SAFETY: `on_trap` gave its own.
    let ended = unsafe { _Unwind_Backtrace(meet, walk) } == END_OF_STACK;
    // SAFETY: as above.
    unsafe { &mut *walk.cast::<Walk>() }.ended = ended;
}

extern "C" fn on_trap(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let pc = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    if is_fence(pc + 1) {
        return;
    }
    // SAFETY: any number is fine. The function looks for the byte before.
    let function = unsafe { _Unwind_FindEnclosingFunction(pc + 1) };
    let scenario = shared().scenario;
    if function == scenario.run as usize {
        shared().active = false;
    } else if pc == scenario.parent {
        shared().active = true;
    }
    let mut walk = Walk {
        pc,
        started: false,
        fence: 0,
        frames: 0,
        parent: false,
        rbx: false,
        ended: false,
    };
    // SAFETY: `walk_from_here` has nothing to drop.
    let returned = unsafe { rescued(walk_from_here, (&raw mut walk).cast(), RESCUE.0.get()) };
    let shared = shared();
    let outcome = if !returned {
        Outcome::Crashed
    } else if walk.fence != shared.fence.len() || !walk.ended {
        Outcome::Lost
    } else if shared.active && !walk.parent {
        Outcome::Inexact(Miss::Parent)
    } else if !walk.rbx {
        Outcome::Inexact(Miss::Rbx)
    } else {
        Outcome::Exact
    };
    assert!(shared.steps.len() < MOST_STEPS, "too many steps");
    shared.steps.push(Step {
        pc,
        function,
        outcome,
    });
}

// --- Faults of the unwinder ---

/// Where [`rescued`] can be gone back to, while it runs.
#[repr(C)]
struct Rescue {
    rsp: usize,
    rip: usize,
}

static RESCUE: Global<Rescue> = Global(UnsafeCell::new(Rescue { rsp: 0, rip: 0 }));

/// Calls `f(arg)`. Returns whether it returned; `false` after a fault.
///
/// # Safety
///
/// `f` accepts `arg`, and nothing breaks if it is left in the middle. `rescue` is
/// that of `on_fault`.
#[unsafe(naked)]
unsafe extern "C" fn rescued(
    f: extern "C" fn(*mut c_void),
    arg: *mut c_void,
    rescue: *mut Rescue,
) -> bool {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_offset r15, -56",
        "push rdx",
        "mov [rdx + {rsp}], rsp",
        "lea rax, [rip + 2f]",
        "mov [rdx + {rip}], rax",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "mov eax, 1",
        "jmp 3f",
        // `on_fault` goes on here, with the RSP noted above.
        "2:",
        "lea rbp, [rsp + 6 * 8]",
        "xor eax, eax",
        "3:",
        "pop rdx",
        "mov qword ptr [rdx + {rsp}], 0",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        rsp = const mem::offset_of!(Rescue, rsp),
        rip = const mem::offset_of!(Rescue, rip),
    )
}

extern "C" fn on_fault(signal: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's, and one thread's.
    let (context, rescue) = unsafe {
        (
            &mut *context.cast::<libc::ucontext_t>(),
            &mut *RESCUE.0.get(),
        )
    };
    if rescue.rsp == 0 {
        // Not the unwinder's: it faults again, and that is fatal.
        // SAFETY: a signal that we handle.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RSP as usize] = rescue.rsp as i64;
    registers[libc::REG_RIP as usize] = rescue.rip as i64;
}
