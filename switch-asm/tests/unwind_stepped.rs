//! At every instruction of compiled functions that run on a coroutine, a signal handler that walks the stack finds their
//! caller, with the registers that it had, and gets to whoever resumed the coroutine.
//!
//! A child process runs each function one instruction at a time (the processor's trap flag) and walks from the handler
//! with the system's unwinder. The control: of the same functions in memory that nobody registered, no walk finds
//! the caller.
#![cfg(all(
    target_os = "linux",
    not(target_env = "musl"),
    not(feature = "sanitizer")
))]

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::process::Command;
use std::ptr;

use switch_asm::Coroutine;
use switch_asm::unwind_info::emit::{Emitter, Frame, Probe, PrologueSpec};
use switch_asm::unwind_info::{Abi, CodeRegion, FrameLayout, Gpr, Xmm};

/// What a walk gives back, by both conventions; and by Windows' alone.
const KEPT: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];
const KEPT_WIN64: [Gpr; 2] = [Gpr::Rsi, Gpr::Rdi];

/// Opaque: a frame, as the unwinder shows it.
#[repr(C)]
struct Context {
    _private: [u8; 0],
}

// The platform's unwinder, which std links.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Context, *mut c_void) -> i32,
        data: *mut c_void,
    ) -> i32;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: i32) -> usize;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
}

/// What is stepped through, and what was seen. The handler's alone while it may be called.
struct Stepping {
    code: std::ops::Range<usize>,
    win64: bool,
    /// Of the caller: its address, and its registers by their number in DWARF.
    caller: usize,
    registers: [usize; 16],
    steps: usize,
    wrong: usize,
}

struct Shared(UnsafeCell<Stepping>);

// SAFETY: the child steps on one thread.
unsafe impl Sync for Shared {}

static STEPPING: Shared = Shared(UnsafeCell::new(Stepping {
    code: 0..0,
    win64: false,
    caller: 0,
    registers: [0; 16],
    steps: 0,
    wrong: 0,
}));

/// What one walk found.
#[derive(Default)]
struct Walk {
    pc: usize,
    at_pc: bool,
    caller_found: bool,
    caller_right: bool,
    outer_found: bool,
}

extern "C" fn each(context: *mut Context, walk: *mut c_void) -> i32 {
    // SAFETY: a walk's callback: `context` is its frame, `walk` is what `handle` gave; the handler owns STEPPING.
    unsafe {
        let (walk, stepping) = (&mut *walk.cast::<Walk>(), &*STEPPING.0.get());
        let ip = _Unwind_GetIP(context);
        if walk.at_pc && !walk.caller_found {
            walk.caller_found = true;
            let registers = KEPT
                .iter()
                .chain(stepping.win64.then_some(&KEPT_WIN64).into_iter().flatten());
            walk.caller_right = ip == stepping.caller
                && registers.into_iter().all(|reg| {
                    let number = i32::from(reg.dwarf());
                    _Unwind_GetGR(context, number) == stepping.registers[usize::from(reg.dwarf())]
                });
        }
        walk.at_pc |= ip == walk.pc;
        walk.outer_found |= _Unwind_GetRegionStart(context) == outer as *const () as usize;
    }
    0
}

extern "C" fn handle(_signal: i32, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's context; the child steps on one thread, so nobody else uses STEPPING.
    unsafe {
        let registers = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let pc = registers[libc::REG_RIP as usize] as usize;
        let stepping = &mut *STEPPING.0.get();
        if !stepping.code.contains(&pc) {
            return;
        }
        if pc == stepping.code.start {
            stepping.caller = *(registers[libc::REG_RSP as usize] as *const usize);
            for (reg, index) in [
                (Gpr::Rbx, libc::REG_RBX),
                (Gpr::Rbp, libc::REG_RBP),
                (Gpr::Rsi, libc::REG_RSI),
                (Gpr::Rdi, libc::REG_RDI),
                (Gpr::R12, libc::REG_R12),
                (Gpr::R13, libc::REG_R13),
                (Gpr::R14, libc::REG_R14),
                (Gpr::R15, libc::REG_R15),
            ] {
                stepping.registers[usize::from(reg.dwarf())] = registers[index as usize] as usize;
            }
        }
        let mut walk = Walk {
            pc,
            ..Walk::default()
        };
        _Unwind_Backtrace(each, (&raw mut walk).cast());
        stepping.steps += 1;
        stepping.wrong += usize::from(!(walk.caller_right && walk.outer_found));
    }
}

/// Calls it with the trap flag set. It takes nothing and returns nothing, so both conventions are one.
///
/// # Safety
/// It is a function that keeps what System V's convention says.
unsafe fn call_stepped(function: *const u8) {
    // SAFETY: by contract; the flags are as before afterwards.
    unsafe {
        asm!(
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "call {function}",
            "pushfq",
            "and qword ptr [rsp], ~0x100",
            "popfq",
            function = in(reg) function,
            clobber_abi("sysv64"),
        );
    }
}

/// Who resumes the coroutine: every walk must come here.
#[inline(never)]
fn outer(function: *const u8) -> usize {
    let mut coroutine = Coroutine::<(), (), ()>::new(move |_, ()| {
        // SAFETY: `functions` made it.
        unsafe { call_stepped(function) }
    });
    let ended = coroutine.resume(()).as_return().is_some();
    usize::from(ended)
}

/// A function that does nothing but overwrite what it saved.
fn function(spec: &PrologueSpec, saved: &[Gpr], moves_rsp: bool) -> (Vec<u8>, FrameLayout) {
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(spec, &mut code).unwrap();
    for reg in saved {
        // mov reg, 0x11111111
        let number = reg.number();
        code.extend([0x48 | number >> 3, 0xc7, 0xc0 | number & 7]);
        code.extend([0x11; 4]);
    }
    if moves_rsp {
        code.extend([0x48, 0x83, 0xec, 0x40]); // sub rsp, 64
    }
    // Two ends, as many functions have.
    code.extend([0x85, 0xe4]); // test esp, esp
    code.extend([0x74, 0]); // jz to the second
    let jump = code.len();
    emitter.epilogue(&mut code);
    code[jump - 1] = u8::try_from(code.len() - jump).unwrap();
    code.push(0x90); // nop
    emitter.epilogue(&mut code);
    let layout = emitter.finish(&mut code).unwrap();
    layout.check_code(&code).unwrap();
    (code, layout)
}

fn functions() -> Vec<(&'static str, Abi, Vec<u8>, FrameLayout)> {
    use Gpr::{R12, R13, R14, R15, Rbp, Rbx, Rdi, Rsi};
    let (sysv, win64) = (PrologueSpec::new(Abi::SysV), PrologueSpec::new(Abi::Win64));
    let xmm6 = Xmm::new(6).unwrap();
    let specs = [
        ("leaf", sysv.clone(), &[][..], false),
        ("one push", sysv.clone().push(Rbx), &[Rbx], false),
        (
            "all pushes and a chain",
            sysv.clone()
                .frame(Frame::Chain)
                .push(Rbx)
                .push(R12)
                .push(R13)
                .push(R14)
                .push(R15)
                .locals(40, 8)
                .calls(0),
            &[Rbx, R12, R13, R14, R15],
            false,
        ),
        (
            "a frame register, and RSP moves",
            sysv.clone()
                .frame(Frame::At {
                    reg: Rbp,
                    offset: 32,
                })
                .store(Rbx)
                .store(R12)
                .locals(64, 16)
                .dynamic(),
            &[Rbx, R12],
            true,
        ),
        (
            "many pages",
            sysv.push(Rbx).locals(20_000, 8).probe(Probe::Inline),
            &[Rbx],
            false,
        ),
        (
            "Windows' registers",
            win64
                .clone()
                .frame(Frame::At {
                    reg: Rbp,
                    offset: 48,
                })
                .push(Rsi)
                .push(Rdi)
                .store(Rbx)
                .store_xmm(xmm6)
                .locals(32, 16)
                .calls(0),
            &[Rsi, Rdi, Rbx],
            false,
        ),
        (
            "Windows' registers in a chain",
            win64
                .frame(Frame::Chain)
                .push(Rdi)
                .store(Rsi)
                .store(R15)
                .locals(100, 4),
            &[Rdi, Rsi, R15],
            false,
        ),
    ];
    let make = |(name, spec, saved, moves): (&'static str, PrologueSpec, &[Gpr], bool)| {
        let abi = if name.starts_with("Windows") {
            Abi::Win64
        } else {
            Abi::SysV
        };
        let (code, layout) = function(&spec, saved, moves);
        (name, abi, code, layout)
    };
    specs.into_iter().map(make).collect()
}

/// Steps through the code at `address`; how many walks there were, and how many were wrong.
fn step(address: *const u8, len: usize, abi: Abi) -> (usize, usize) {
    // SAFETY: no signal comes: nothing has the trap flag set.
    let stepping = unsafe { &mut *STEPPING.0.get() };
    stepping.code = address.addr()..address.addr() + len;
    stepping.win64 = abi == Abi::Win64;
    (stepping.steps, stepping.wrong) = (0, 0);
    assert_eq!(outer(address), 1, "it came back");
    // SAFETY: as above.
    let stepping = unsafe { &*STEPPING.0.get() };
    (stepping.steps, stepping.wrong)
}

/// Code that nobody registered.
fn unregistered(code: &[u8]) -> *const u8 {
    // SAFETY: a new mapping, larger than the code, which is then only read and run. It stays.
    unsafe {
        let (rw, private) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let page = libc::mmap(ptr::null_mut(), 4096, rw, private, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        ptr::copy_nonoverlapping(code.as_ptr(), page.cast(), code.len());
        assert_eq!(
            libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC),
            0
        );
        page.cast()
    }
}

fn child() {
    // SAFETY: a handler for a signal that only stepping raises. It runs on the interrupted stack, as a profiler's would.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(
            libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()),
            0
        );
    }
    let functions = functions();
    let mut region = CodeRegion::builder(4096).unwrap();
    for (.., code, layout) in &functions {
        region.push(code, layout).unwrap();
    }
    let region = region.seal().unwrap();
    let mut all = 0;
    for (number, (name, abi, code, _)) in functions.iter().enumerate() {
        let (steps, wrong) = step(region.function(number), code.len(), *abi);
        println!("{name}: {steps} walks, {wrong} wrong");
        assert!(steps >= 3, "every function has a few instructions");
        assert_eq!(wrong, 0, "{name}");
        all += steps;

        let (steps, wrong) = step(unregistered(code), code.len(), *abi);
        assert_eq!(
            wrong, steps,
            "{name}: a walk got out of code that nobody knows"
        );
    }
    println!("walked from {all} instructions");
}

const CHILD: &str = "UNWIND_STEPPED_CHILD";

#[test]
fn every_instruction() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "every_instruction",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    assert!(
        text.contains("walked from"),
        "the child did nothing: {text}"
    );
    print!("{text}");
}
