//! Two functions and a region of the second: `outer(inner, callback, argument)` loads registers that a
//! function must keep and calls `inner(callback, argument)`, which clobbers them, in part elsewhere, and calls the callback.

use switch_asm::unwind_info::{FrameLayout, Gpr, Op, Xmm};

/// What `outer` has in rbx, rsi, rdi, r12; the lower halves of xmm6 and xmm7 are as rbx and rsi.
pub(crate) const KEPT: [u64; 4] = [
    0x1111_2222_3333_4444,
    0x5555_6666_7777_8888,
    0x9999_aaaa_bbbb_cccc,
    0xdddd_eeee_ffff_0001,
];

/// Where things are in the region.
pub(crate) const OUTER: usize = 0x1000;
pub(crate) const INNER: usize = 0x1100;
/// Before its function: distances from there are negative.
pub(crate) const COLD: usize = 0x0800;
pub(crate) const HANDLER: usize = 0x1200;

pub(crate) fn outer() -> (Vec<u8>, FrameLayout) {
    let mut code = vec![
        0x53, // 0: push rbx
        0x56, // 1: push rsi
        0x57, // 2: push rdi
        0x41, 0x54, // 3: push r12
        0x48, 0x83, 0xec, 0x48, // 5: sub rsp, 72
        0x0f, 0x29, 0x74, 0x24, 0x20, // 9: movaps [rsp + 32], xmm6
        0x0f, 0x29, 0x7c, 0x24, 0x30, // 14: movaps [rsp + 48], xmm7
    ];
    let loads: [[u8; 2]; 4] = [[0x48, 0xbb], [0x48, 0xbe], [0x48, 0xbf], [0x49, 0xbc]];
    for (load, value) in loads.iter().zip(KEPT) {
        code.extend(load);
        code.extend(value.to_le_bytes());
    }
    code.extend([
        0x66, 0x48, 0x0f, 0x6e, 0xf3, // movq xmm6, rbx
        0x66, 0x48, 0x0f, 0x6e, 0xfe, // movq xmm7, rsi
        0x48, 0x89, 0xc8, // mov rax, rcx
        0x48, 0x89, 0xd1, // mov rcx, rdx
        0x4c, 0x89, 0xc2, // mov rdx, r8
        0xff, 0xd0, // call rax
        0x90, // nop: what follows is not for return addresses
        0x0f, 0x28, 0x74, 0x24, 0x20, // movaps xmm6, [rsp + 32]
        0x0f, 0x28, 0x7c, 0x24, 0x30, // movaps xmm7, [rsp + 48]
        0x48, 0x83, 0xc4, 0x48, // add rsp, 72
        0x41, 0x5c, // pop r12
        0x5f, // pop rdi
        0x5e, // pop rsi
        0x5b, // pop rbx
        0xc3, // ret
    ]);
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbx))
        .op(2, Op::Push(Gpr::Rsi))
        .op(3, Op::Push(Gpr::Rdi))
        .op(5, Op::Push(Gpr::R12))
        .op(9, Op::Alloc(72))
        .op(14, xmm(6, 32))
        .op(19, xmm(7, 48));
    finish(code, layout)
}

pub(crate) fn inner() -> (Vec<u8>, FrameLayout) {
    let mut code = vec![
        0x55, // 0: push rbp
        0x56, // 1: push rsi
        0x57, // 2: push rdi
        0x48, 0x83, 0xec, 0x60, // 3: sub rsp, 96
        0x48, 0x8d, 0x6c, 0x24, 0x30, // 7: lea rbp, [rsp + 48]
        0x0f, 0x29, 0x74, 0x24, 0x20, // 12: movaps [rsp + 32], xmm6
        0x48, 0x89, 0x5c, 0x24, 0x40, // 17: mov [rsp + 64], rbx
        0x48, 0x31, 0xdb, // 22: xor rbx, rbx
        0x48, 0x31, 0xf6, // 25: xor rsi, rsi
        0x48, 0x31, 0xff, // 28: xor rdi, rdi
        0x0f, 0x57, 0xf6, // 31: xorps xmm6, xmm6
    ];
    jump(&mut code, INNER, COLD);
    assert_eq!(code.len(), BACK);
    code.extend([
        0x0f, 0x28, 0x75, 0xf0, // movaps xmm6, [rbp - 16]
        0x48, 0x8b, 0x5d, 0x10, // mov rbx, [rbp + 16]
        0x48, 0x8d, 0x65, 0x30, // lea rsp, [rbp + 48]
        0x5f, // pop rdi
        0x5e, // pop rsi
        0x5d, // pop rbp
        0xc3, // ret
    ]);
    let (reg, offset) = (Gpr::Rbp, 48);
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(2, Op::Push(Gpr::Rsi))
        .op(3, Op::Push(Gpr::Rdi))
        .op(7, Op::Alloc(96))
        .op(12, Op::SetFrame { reg, offset })
        .op(17, xmm(6, 32))
        .op(22, gpr(Gpr::Rbx, 64));
    finish(code, layout)
}

/// Where `inner` goes on after its cold part.
const BACK: usize = 39;

/// The part of `inner` that is elsewhere: saves more, moves RSP down, calls.
pub(crate) fn cold() -> (Vec<u8>, FrameLayout) {
    let mut code = vec![
        0x4c, 0x89, 0x64, 0x24, 0x48, // 0: mov [rsp + 72], r12
        0x0f, 0x29, 0x7c, 0x24, 0x50, // 5: movaps [rsp + 80], xmm7
        0x4d, 0x31, 0xe4, // xor r12, r12
        0x0f, 0x57, 0xff, // xorps xmm7, xmm7
        0x48, 0x83, 0xec, 0x40, // sub rsp, 64
        0x48, 0x89, 0xc8, // mov rax, rcx
        0x48, 0x89, 0xd1, // mov rcx, rdx
        0xff, 0xd0, // call rax
        0x90, // nop
        0x48, 0x83, 0xc4, 0x40, // add rsp, 64
        0x4c, 0x8b, 0x65, 0x18, // mov r12, [rbp + 24]
        0x0f, 0x28, 0x7d, 0x20, // movaps xmm7, [rbp + 32]
    ];
    jump(&mut code, COLD, INNER + BACK);
    let layout = FrameLayout::builder()
        .op(5, gpr(Gpr::R12, 72))
        .op(10, xmm(7, 80));
    finish(code, layout)
}

/// A jump to somewhere far.
pub(crate) fn thunk(to: u64) -> Vec<u8> {
    // mov rax, to; jmp rax
    let mut code = vec![0x48, 0xb8];
    code.extend(to.to_le_bytes());
    code.extend([0xff, 0xe0]);
    code
}

fn jump(code: &mut Vec<u8>, from: usize, to: usize) {
    let after = from + code.len() + 5;
    let distance = i32::try_from(to as i64 - after as i64).expect("near");
    code.push(0xe9);
    code.extend(distance.to_le_bytes());
}

const fn gpr(reg: Gpr, offset: u32) -> Op {
    Op::SaveGpr { reg, offset }
}

fn xmm(number: u8, offset: u32) -> Op {
    let reg = Xmm::new(number).expect("below 16");
    Op::SaveXmm { reg, offset }
}

fn finish(code: Vec<u8>, layout: switch_asm::unwind_info::LayoutBuilder) -> (Vec<u8>, FrameLayout) {
    let len = u32::try_from(code.len()).expect("short");
    let layout = layout.code_len(len).finish().expect("a good layout");
    (code, layout)
}
