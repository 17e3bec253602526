//! Functions that call back, and clobber all that they saved before they do.

use switch_asm::unwind_info::{CodeRegion, Epilogue, EpilogueOp, FrameLayout, Gpr, Op, Xmm};

/// What the functions put into registers that are not theirs.
pub(crate) const CLOBBERED: usize = 0xdead;

pub(crate) type SysV = unsafe extern "sysv64-unwind" fn(extern "sysv64-unwind" fn(usize), usize);
pub(crate) type Win64 = unsafe extern "win64-unwind" fn(extern "win64-unwind" fn(usize), usize);

/// `callback(arg)` as a System V function.
pub(crate) fn sysv() -> (Vec<u8>, FrameLayout) {
    let code = [
        &[0x53][..],                           // push rbx
        &[0x41, 0x54],                         // push r12
        &[0x48, 0x83, 0xec, 8],                // sub rsp, 8
        &[0x48, 0xc7, 0xc3, 0xad, 0xde, 0, 0], // 7: mov rbx, 0xdead
        &[0x49, 0xc7, 0xc4, 0xad, 0xde, 0, 0], // mov r12, 0xdead
        &[0x48, 0x89, 0xf8],                   // mov rax, rdi
        &[0x48, 0x89, 0xf7],                   // mov rdi, rsi
        &[0xff, 0xd0],                         // call rax
        &[0x90],                               // 29: nop
        &[0x48, 0x83, 0xc4, 8],                // 30: add rsp, 8
        &[0x41, 0x5c],                         // pop r12
        &[0x5b],                               // pop rbx
        &[0xc3],                               // ret
    ];
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbx))
        .op(3, Op::Push(Gpr::R12))
        .op(7, Op::Alloc(8))
        .epilogue(
            Epilogue::new(30, 38)
                .step(34, EpilogueOp::Release)
                .step(36, EpilogueOp::Pop(Gpr::R12))
                .step(37, EpilogueOp::Pop(Gpr::Rbx)),
        )
        .code_len(38);
    (code.concat(), layout.finish().expect("a valid layout"))
}

/// `callback(arg)` as a Windows function.
pub(crate) fn win64() -> (Vec<u8>, FrameLayout) {
    let code = [
        &[0x55, 0x56, 0x57][..],               // push rbp, rsi, rdi
        &[0x48, 0x83, 0xec, 0x60],             // sub rsp, 96
        &[0x48, 0x8d, 0x6c, 0x24, 0x30],       // lea rbp, [rsp + 48]
        &[0x0f, 0x29, 0x74, 0x24, 0x20],       // movaps [rsp + 32], xmm6
        &[0x48, 0x89, 0x5c, 0x24, 0x40],       // mov [rsp + 64], rbx
        &[0x48, 0xc7, 0xc3, 0xad, 0xde, 0, 0], // 22: mov rbx, 0xdead
        &[0x48, 0xc7, 0xc6, 0xad, 0xde, 0, 0], // mov rsi, 0xdead
        &[0x48, 0xc7, 0xc7, 0xad, 0xde, 0, 0], // mov rdi, 0xdead
        &[0x0f, 0x57, 0xf6],                   // xorps xmm6, xmm6
        &[0x48, 0x89, 0xc8],                   // mov rax, rcx
        &[0x48, 0x89, 0xd1],                   // mov rcx, rdx
        &[0xff, 0xd0],                         // call rax
        &[0x90],                               // nop
        &[0x0f, 0x28, 0x74, 0x24, 0x20],       // 55: movaps xmm6, [rsp + 32]
        &[0x48, 0x8b, 0x5c, 0x24, 0x40],       // mov rbx, [rsp + 64]
        &[0x48, 0x8d, 0x65, 0x30],             // lea rsp, [rbp + 48]
        &[0x5f, 0x5e, 0x5d],                   // pop rdi, rsi, rbp
        &[0xc3],                               // ret
    ];
    let xmm = Xmm::new(6).expect("there is one");
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(2, Op::Push(Gpr::Rsi))
        .op(3, Op::Push(Gpr::Rdi))
        .op(7, Op::Alloc(96))
        .op(
            12,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 48,
            },
        )
        .op(
            17,
            Op::SaveXmm {
                reg: xmm,
                offset: 32,
            },
        )
        .op(
            22,
            Op::SaveGpr {
                reg: Gpr::Rbx,
                offset: 64,
            },
        )
        .epilogue(
            Epilogue::new(55, 73)
                .step(60, EpilogueOp::ReloadXmm(xmm))
                .step(65, EpilogueOp::Reload(Gpr::Rbx))
                .step(69, EpilogueOp::Release)
                .step(70, EpilogueOp::Pop(Gpr::Rdi))
                .step(71, EpilogueOp::Pop(Gpr::Rsi))
                .step(72, EpilogueOp::Pop(Gpr::Rbp)),
        )
        .code_len(73);
    (code.concat(), layout.finish().expect("a valid layout"))
}

/// Both, in this order.
pub(crate) fn region() -> CodeRegion {
    let mut region = CodeRegion::builder(4096).expect("memory");
    for (code, layout) in [sysv(), win64()] {
        region.push(&code, &layout).expect("room");
    }
    region.seal().expect("registered")
}

/// The function with this number, which is one of [`sysv`]'s.
pub(crate) fn as_sysv(region: &CodeRegion, number: usize) -> SysV {
    // SAFETY: that is its signature.
    unsafe { std::mem::transmute(region.function(number)) }
}

/// The function with this number, which is one of [`win64`]'s.
pub(crate) fn as_win64(region: &CodeRegion, number: usize) -> Win64 {
    // SAFETY: that is its signature.
    unsafe { std::mem::transmute(region.function(number)) }
}

/// Calls one of [`win64`]'s.
///
/// By its convention it keeps `rsi`, `rdi` and `xmm6` to `xmm15`, but Linux's unwinders give back what System V keeps and no more. So a
/// landing pad in the frame that calls it may find garbage in them, and this function has none.
///
/// # Safety
/// It is one of them, and its region lives.
#[inline(never)]
pub(crate) unsafe fn call_win64(
    function: Win64,
    callback: extern "win64-unwind" fn(usize),
    arg: usize,
) {
    // SAFETY: this function's contract.
    unsafe { function(callback, arg) };
}

/// A Windows function that does what a System V function does, and unwinds as it does.
///
/// With LLVM's libunwind that must not be one of Rust's: those say where they save XMM registers, and it refuses to walk through them.
macro_rules! win64_callback {
    ($name:ident, $sysv:ident) => {
        #[cfg(target_env = "gnu")]
        extern "win64-unwind" fn $name(arg: usize) {
            $sysv(arg);
        }

        #[cfg(target_env = "musl")]
        #[unsafe(naked)]
        extern "win64-unwind" fn $name(_: usize) {
            std::arch::naked_asm!("mov rdi, rcx", "jmp {}", sym $sysv)
        }
    };
}
pub(crate) use win64_callback;
