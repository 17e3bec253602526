//! The instructions of prologues and epilogues, shortest forms. Must not know
//! what they are for.

use alloc::vec::Vec;

use super::super::reg::{Gpr, Xmm};

const REX_W: u8 = 0x48;

/// Bits of the REX prefix for the register in ModRM's `reg` and for the one in `rm` or the opcode.
fn rex(reg: u8, rm: u8) -> u8 {
    (reg >> 3) << 2 | rm >> 3
}

fn modrm(mode: u8, reg: u8, rm: u8) -> u8 {
    mode << 6 | (reg & 7) << 3 | rm & 7
}

/// `[base + disp]`, with `reg` as the other operand.
fn memory(code: &mut Vec<u8>, reg: u8, base: Gpr, disp: i32) {
    let base = base.number();
    let short = i8::try_from(disp);
    let mode = match short {
        // No displacement at all means something else with rbp and r13.
        Ok(0) if base & 7 != 5 => 0,
        Ok(_) => 1,
        Err(_) => 2,
    };
    code.push(modrm(mode, reg, base));
    if base & 7 == 4 {
        // rsp and r12 need a SIB byte: no index.
        code.push(0x24);
    }
    match (mode, short) {
        (0, _) => {}
        (_, Ok(disp)) => code.push(disp as u8),
        (_, Err(_)) => code.extend(disp.to_le_bytes()),
    }
}

pub(super) fn push(code: &mut Vec<u8>, reg: Gpr) {
    one_byte(code, 0x50, reg);
}

pub(super) fn pop(code: &mut Vec<u8>, reg: Gpr) {
    one_byte(code, 0x58, reg);
}

fn one_byte(code: &mut Vec<u8>, opcode: u8, reg: Gpr) {
    let number = reg.number();
    if number >= 8 {
        code.push(0x41);
    }
    code.push(opcode | number & 7);
}

/// `sub rsp, size`
pub(super) fn sub_rsp(code: &mut Vec<u8>, size: u32) {
    immediate(code, 5, size);
}

/// `add rsp, size`
pub(super) fn add_rsp(code: &mut Vec<u8>, size: u32) {
    immediate(code, 0, size);
}

fn immediate(code: &mut Vec<u8>, operation: u8, size: u32) {
    let rsp = modrm(3, operation, Gpr::Rsp.number());
    match i8::try_from(size) {
        Ok(short) => code.extend([REX_W, 0x83, rsp, short as u8]),
        Err(_) => {
            code.extend([REX_W, 0x81, rsp]);
            code.extend(size.to_le_bytes());
        }
    }
}

/// `sub rsp, rax`
pub(super) fn sub_rsp_rax(code: &mut Vec<u8>) {
    code.extend([REX_W, 0x29, 0xc4]);
}

/// `mov to, from`
pub(super) fn mov(code: &mut Vec<u8>, to: Gpr, from: Gpr) {
    let (to, from) = (to.number(), from.number());
    code.extend([REX_W | rex(from, to), 0x89, modrm(3, from, to)]);
}

/// `lea rsp, [base + disp]`, with a displacement even if that is 0: Windows looks for one. Not for `r12`.
pub(super) fn lea_rsp(code: &mut Vec<u8>, base: Gpr, disp: i32) {
    if disp == 0 {
        let number = base.number();
        let modrm = modrm(1, Gpr::Rsp.number(), number);
        code.extend([REX_W | rex(0, number), 0x8d, modrm, 0]);
    } else {
        lea(code, Gpr::Rsp, base, disp);
    }
}

/// `lea reg, [base + disp]`
pub(super) fn lea(code: &mut Vec<u8>, reg: Gpr, base: Gpr, disp: i32) {
    wide(code, 0x8d, reg, base, disp);
}

/// `mov [base + disp], reg`
pub(super) fn store(code: &mut Vec<u8>, reg: Gpr, base: Gpr, disp: i32) {
    wide(code, 0x89, reg, base, disp);
}

/// `mov reg, [base + disp]`
pub(super) fn load(code: &mut Vec<u8>, reg: Gpr, base: Gpr, disp: i32) {
    wide(code, 0x8b, reg, base, disp);
}

fn wide(code: &mut Vec<u8>, opcode: u8, reg: Gpr, base: Gpr, disp: i32) {
    code.extend([REX_W | rex(reg.number(), base.number()), opcode]);
    memory(code, reg.number(), base, disp);
}

/// `movaps [base + disp], reg`
pub(super) fn store_xmm(code: &mut Vec<u8>, reg: Xmm, base: Gpr, disp: i32) {
    movaps(code, 0x29, reg, base, disp);
}

/// `movaps reg, [base + disp]`
pub(super) fn load_xmm(code: &mut Vec<u8>, reg: Xmm, base: Gpr, disp: i32) {
    movaps(code, 0x28, reg, base, disp);
}

fn movaps(code: &mut Vec<u8>, opcode: u8, reg: Xmm, base: Gpr, disp: i32) {
    match rex(reg.number(), base.number()) {
        0 => {}
        bits => code.push(0x40 | bits),
    }
    code.extend([0x0f, opcode]);
    memory(code, reg.number(), base, disp);
}

/// `mov eax, value`, which zeroes the upper half of `rax`.
pub(super) fn mov_eax(code: &mut Vec<u8>, value: u32) {
    code.push(0xb8);
    code.extend(value.to_le_bytes());
}

/// `mov r11, value`
pub(super) fn mov_r11(code: &mut Vec<u8>, value: u64) {
    code.extend([0x49, 0xbb]);
    code.extend(value.to_le_bytes());
}

/// `call r11`
pub(super) fn call_r11(code: &mut Vec<u8>) {
    code.extend([0x41, 0xff, 0xd3]);
}

/// `call` or `jmp` to a displacement to be filled in: where that is.
pub(super) fn call(code: &mut Vec<u8>) -> usize {
    relative(code, 0xe8)
}

pub(super) fn jmp(code: &mut Vec<u8>) -> usize {
    relative(code, 0xe9)
}

fn relative(code: &mut Vec<u8>, opcode: u8) -> usize {
    code.extend([opcode, 0, 0, 0, 0]);
    code.len() - 4
}

/// `rex.w jmp reg`: the prefix does nothing but tell Windows that the function ends here.
pub(super) fn jmp_reg(code: &mut Vec<u8>, reg: Gpr) {
    let number = reg.number();
    code.extend([REX_W | rex(0, number), 0xff, modrm(3, 4, number)]);
}

pub(super) fn ret(code: &mut Vec<u8>) {
    code.push(0xc3);
}

pub(super) fn nop(code: &mut Vec<u8>) {
    code.push(0x90);
}

pub(super) fn int3(code: &mut Vec<u8>) {
    code.push(0xcc);
}

pub(super) fn endbr64(code: &mut Vec<u8>) {
    code.extend([0xf3, 0x0f, 0x1e, 0xfa]);
}

/// `test [rsp - below], eax`: touches a page, changes the flags only.
pub(super) fn touch(code: &mut Vec<u8>, below: u32) {
    code.push(0x85);
    memory(code, 0, Gpr::Rsp, -(below as i32));
}

/// Touches every page from the first to the last multiple of `page` in `size`.
pub(super) fn touch_loop(code: &mut Vec<u8>, size: u32, page: u32) {
    let last = size / page * page;
    // mov r11, -page
    code.extend([0x49, 0xc7, 0xc3]);
    code.extend((-(page as i32)).to_le_bytes());
    let again = code.len();
    // test [rsp + r11], eax
    code.extend([0x42, 0x85, 0x04, 0x1c]);
    // sub r11, page
    code.extend([0x49, 0x81, 0xeb]);
    code.extend(page.to_le_bytes());
    // cmp r11, -last
    code.extend([0x49, 0x81, 0xfb]);
    code.extend((-(last as i32)).to_le_bytes());
    // jge again
    let back = again as isize - (code.len() as isize + 2);
    code.extend([0x7d, back as i8 as u8]);
}
