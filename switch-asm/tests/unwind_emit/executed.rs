//! Functions that are run: they return the right value, and their caller finds its registers as they
//! were.

use std::arch::naked_asm;
use std::ptr;

use proptest::prelude::*;
use switch_asm::unwind_info::emit::{Emitter, Frame, Place};
use switch_asm::unwind_info::{Abi, Gpr};

use crate::specs::{Spec, spec};

/// Pages that hold code and can be executed.
struct Code {
    at: *mut libc::c_void,
    len: usize,
}

impl Code {
    fn new(bytes: &[u8]) -> Code {
        let len = bytes.len().next_multiple_of(4096);
        // SAFETY: a new mapping, which is written within its length before it is made executable.
        unsafe {
            let at = libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len());
            assert_eq!(
                libc::mprotect(at, len, libc::PROT_READ | libc::PROT_EXEC),
                0
            );
            Code { at, len }
        }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: nobody runs it any more: calls return before their code is dropped.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

/// What a call left in registers: rax, rbx, rbp, rsi, rdi, r12 to r15, xmm6 to xmm15.
type Left = [u64; 19];

/// Calls `function` with `argument` in `rdi` and `rcx`, and with a number of its own in each register that an
/// ABI may keep: see [`before`].
///
/// # Safety
/// `function` keeps what System V keeps, and writes to its own frame only.
#[unsafe(naked)]
unsafe extern "sysv64" fn call(function: *const libc::c_void, argument: u64, left: *mut Left) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdx",
        // What a callee on Windows may use.
        "sub rsp, 32",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rcx, rsi",
        "mov ebx, 101",
        "mov ebp, 102",
        "mov esi, 103",
        "mov r12d, 105",
        "mov r13d, 106",
        "mov r14d, 107",
        "mov r15d, 108",
        "mov edx, 109",
        "movq xmm6, rdx",
        "inc edx",
        "movq xmm7, rdx",
        "inc edx",
        "movq xmm8, rdx",
        "inc edx",
        "movq xmm9, rdx",
        "inc edx",
        "movq xmm10, rdx",
        "inc edx",
        "movq xmm11, rdx",
        "inc edx",
        "movq xmm12, rdx",
        "inc edx",
        "movq xmm13, rdx",
        "inc edx",
        "movq xmm14, rdx",
        "inc edx",
        "movq xmm15, rdx",
        "call rax",
        "mov r11, [rsp + 32]",
        "mov [r11], rax",
        "mov [r11 + 8], rbx",
        "mov [r11 + 16], rbp",
        "mov [r11 + 24], rsi",
        "mov [r11 + 32], rdi",
        "mov [r11 + 40], r12",
        "mov [r11 + 48], r13",
        "mov [r11 + 56], r14",
        "mov [r11 + 64], r15",
        "movq [r11 + 72], xmm6",
        "movq [r11 + 80], xmm7",
        "movq [r11 + 88], xmm8",
        "movq [r11 + 96], xmm9",
        "movq [r11 + 104], xmm10",
        "movq [r11 + 112], xmm11",
        "movq [r11 + 120], xmm12",
        "movq [r11 + 128], xmm13",
        "movq [r11 + 136], xmm14",
        "movq [r11 + 144], xmm15",
        "add rsp, 32",
        "pop rdx",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    )
}

/// What [`call`] puts there before.
fn before(argument: u64) -> Left {
    let mut before: Left = std::array::from_fn(|n| 100 + n as u64);
    before[4] = argument;
    before
}

/// Twice its argument, which is in `rdi` and in `rcx`, if RSP is right; more if not.
#[unsafe(naked)]
extern "sysv64" fn twice() {
    naked_asm!(
        "lea rax, [rsp + 8]",
        "and eax, 15",
        "add rax, rcx",
        "add rax, rcx",
        // What it may change, it does.
        "mov rcx, -1",
        "mov rdx, rcx",
        "mov r8, rcx",
        "mov r9, rcx",
        "mov r10, rcx",
        "mov r11, rcx",
        "ret",
    )
}

/// What `Probe::Call` calls: touches [rsp + 8 - n] for every n up to rax, keeps all but r10 and r11.
const TOUCH_PAGES: [u8; 29] = [
    0x4c, 0x8d, 0x54, 0x24, 0x08, // lea r10, [rsp + 8]
    0x49, 0x89, 0xc3, // mov r11, rax
    0x49, 0x81, 0xea, 0x00, 0x10, 0x00, 0x00, // again: sub r10, 4096
    0x45, 0x85, 0x1a, // test [r10], r11d
    0x49, 0x81, 0xeb, 0x00, 0x10, 0x00, 0x00, // sub r11, 4096
    0x77, 0xed, // ja again
    0xc3, // ret
    0xcc,
];

/// `mov reg, value`
fn mov(code: &mut Vec<u8>, reg: Gpr, value: u64) {
    let n = reg.number();
    code.extend([0x48 | n >> 3, 0xb8 | n & 7]);
    code.extend(value.to_le_bytes());
}

/// `mov byte [place + distance], 0xee`
fn fill(code: &mut Vec<u8>, place: Place, distance: u32) {
    let n = place.reg.number();
    if n >= 8 {
        code.push(0x41);
    }
    code.extend([0xc6, 0x80 | n & 7]);
    if n & 7 == 4 {
        code.push(0x24);
    }
    code.extend((place.offset + distance as i32).to_le_bytes());
    code.push(0xee);
}

/// A function that returns four times its argument and three: adds its argument to twice that, if it may call.
fn function(spec: &Spec) -> Vec<u8> {
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(&spec.spec, &mut code).expect("is a prologue");
    let argument = match spec.abi {
        Abi::SysV => Gpr::Rdi,
        Abi::Win64 => Gpr::Rcx,
    };
    if spec.moves {
        // push rax; push rax; sub rsp, 64
        code.extend([0x50, 0x50, 0x48, 0x83, 0xec, 0x40]);
    }
    if spec.locals > 0 {
        fill(&mut code, emitter.locals(), 0);
        fill(&mut code, emitter.locals(), spec.locals - 1);
    }
    // mov rcx, argument; mov rax, argument
    let n = argument.number();
    code.extend([0x48, 0x89, 0xc1 | n << 3, 0x48, 0x89, 0xc0 | n << 3]);
    let frame = match spec.frame {
        Frame::None => None,
        Frame::Chain => Some(Gpr::Rbp),
        Frame::At { reg, .. } => Some(reg),
    };
    for &reg in &spec.saved {
        if Some(reg) != frame {
            mov(&mut code, reg, 0xdead_dead_dead_dead);
        }
    }
    for &xmm in &spec.xmms {
        // pcmpeqd xmm, xmm
        code.push(0x66);
        if xmm >= 8 {
            code.push(0x45);
        }
        code.extend([0x0f, 0x76, 0xc0 | (xmm & 7) << 3 | xmm & 7]);
    }
    if spec.calls {
        mov(&mut code, Gpr::Rax, twice as *const () as u64);
        code.extend([0xff, 0xd0]);
        emitter.called(&code);
    } else {
        // add rax, rax
        code.extend([0x48, 0x01, 0xc0]);
    }
    let jump = emitter.tail_jump(&mut code);
    let probe = emitter.probe_call();
    let layout = emitter.finish(&mut code).expect("is a function");
    // The tail: lea rax, [rax + rax + 3]; ret
    patch(&mut code, jump);
    code.extend([0x48, 0x8d, 0x44, 0x00, 0x03, 0xc3]);
    if let Some(at) = probe {
        patch(&mut code, at);
        code.extend(TOUCH_PAGES);
    }
    assert_eq!(
        layout.check_code(&code[..layout.code_len() as usize]),
        Ok(())
    );
    code
}

/// Makes a displacement lead to the end of the code.
fn patch(code: &mut [u8], at: usize) {
    let distance = (code.len() - at - 4) as u32;
    code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
}

fn check(spec: &Spec, argument: u64) {
    let code = Code::new(&function(spec));
    let mut left: Left = [0; 19];
    // SAFETY: made by `emit` for that, and looked at by `check_code`; it writes to its locals alone.
    unsafe { call(code.at, argument, &mut left) };
    let mut expected = before(argument);
    expected[0] = argument.wrapping_mul(4).wrapping_add(3);
    if spec.abi == Abi::SysV {
        // rsi, rdi and the SSE registers are whoever's.
        for n in (3..=4).chain(9..19) {
            expected[n] = left[n];
        }
    }
    assert_eq!(left, expected, "{spec:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn values_come_back_and_registers_too(spec in spec(1 << 19), argument in any::<u64>()) {
        check(&spec, argument);
    }
}

#[test]
fn the_caller_that_looks_sees_a_register_that_changed() {
    // mov rbx, -1; ret
    let code = Code::new(&[0x48, 0xc7, 0xc3, 0xff, 0xff, 0xff, 0xff, 0xc3]);
    let mut left: Left = [0; 19];
    // SAFETY: `call` keeps its caller's rbx itself.
    unsafe { call(code.at, 7, &mut left) };
    let mut expected = before(7);
    (expected[0], expected[1]) = (left[0], u64::MAX);
    assert_eq!(left, expected);
}

#[test]
fn rust_calls_them_by_both_abis() {
    use switch_asm::unwind_info::emit::PrologueSpec;

    // Keeps its second argument in a saved register across a call of the first.
    let body: [(Abi, &[u8]); 2] = [
        // mov rbx, rsi; call rdi; add rax, rbx
        (Abi::SysV, &[0x48, 0x89, 0xf3, 0xff, 0xd7, 0x48, 0x01, 0xd8]),
        // mov rbx, rdx; call rcx; add rax, rbx
        (
            Abi::Win64,
            &[0x48, 0x89, 0xd3, 0xff, 0xd1, 0x48, 0x01, 0xd8],
        ),
    ];
    for (abi, body) in body {
        let spec = PrologueSpec::new(abi).push(Gpr::Rbx).calls(0);
        let mut bytes = Vec::new();
        let mut emitter = Emitter::begin(&spec, &mut bytes).expect("is a prologue");
        bytes.extend(body);
        emitter.epilogue(&mut bytes);
        emitter.finish(&mut bytes).expect("is a function");
        let code = Code::new(&bytes);
        let sum = match abi {
            Abi::SysV => {
                extern "sysv64" fn forty() -> u64 {
                    40
                }
                type F = extern "sysv64" fn(extern "sysv64" fn() -> u64, u64) -> u64;
                // SAFETY: the code is such a function.
                let function = unsafe { std::mem::transmute::<*mut libc::c_void, F>(code.at) };
                function(forty, 2)
            }
            Abi::Win64 => {
                extern "win64" fn forty() -> u64 {
                    40
                }
                type F = extern "win64" fn(extern "win64" fn() -> u64, u64) -> u64;
                // SAFETY: the code is such a function.
                let function = unsafe { std::mem::transmute::<*mut libc::c_void, F>(code.at) };
                function(forty, 2)
            }
        };
        assert_eq!(sum, 42);
    }
}
