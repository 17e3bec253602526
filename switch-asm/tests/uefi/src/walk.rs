//! A virtual unwinder for version 1 of the x64 `UNWIND_INFO`, as far as compiled
//! Rust and switch-asm need it. Must not know about either.
//!
//! One step undoes what the prologue of one function did, going by its unwind
//! codes, and pops its return address. It reads memory, runs nothing, and knows
//! one stack only: an `RSP` loaded from memory takes it to another one.

use core::arch::naked_asm;
use core::ptr;

use crate::image;

/// The registers that a function keeps for its caller, and where it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Context {
    pub rip: usize,
    /// By hardware number; the others are not known and stay zero.
    pub registers: [usize; 16],
}

pub const RBX: usize = 3;
pub const RSP: usize = 4;
pub const RBP: usize = 5;

impl Context {
    /// The state of the caller as it will be after this call.
    #[inline(never)]
    pub fn capture() -> Context {
        let mut context = Context::default();
        // SAFETY: writes the fields.
        unsafe { capture(&mut context) };
        // We are still in here: leave this frame too.
        context
            .step()
            .expect("this function has unwind information");
        context
    }

    pub fn rsp(&self) -> usize {
        self.registers[RSP]
    }

    /// Leaves the innermost function. `None`: its code is not in this image.
    pub fn step(&mut self) -> Option<()> {
        if !image::contains(self.rip) {
            return None;
        }
        match image::function(self.rip) {
            Some(function) => {
                let offset = self.rip - image::base() - function.begin as usize;
                self.undo(function.unwind_info as usize, offset);
            }
            // A leaf: it pushed nothing and saved nothing.
            None => self.rip = self.pop(),
        }
        Some(())
    }

    fn undo(&mut self, info: usize, offset: usize) {
        let [version_flags, prolog_size, slots, frame] = image::at::<[u8; 4]>(info);
        assert_eq!(version_flags & 7, 1, "UNWIND_INFO version 1");
        let (flags, slots) = (version_flags >> 3, slots as usize);
        assert_eq!(flags & CHAINED, 0, "nothing here is chained");
        let (frame_register, frame_offset) = ((frame & 15) as usize, (frame >> 4) as usize * 16);
        let slot = |n: usize| image::at::<[u8; 2]>(info + 4 + 2 * n);
        let wide = |n: usize| image::at::<u16>(info + 4 + 2 * n) as usize;

        // What saved registers are relative to: RSP as the prologue left it.
        let established = frame_register != 0
            && (offset >= prolog_size as usize
                || (0..slots)
                    .any(|n| slot(n)[1] & 15 == SET_FPREG && offset >= slot(n)[0] as usize));
        let frame_base = match established {
            true => self.registers[frame_register] - frame_offset,
            false => self.rsp(),
        };

        let mut n = 0;
        while n < slots {
            let [code_offset, operation] = slot(n);
            let (operation, operand) = (operation & 15, (operation >> 4) as usize);
            let extra = match operation {
                ALLOC_LARGE => 1 + operand,
                SAVE_NONVOL | SAVE_XMM128 => 1,
                SAVE_NONVOL_FAR | SAVE_XMM128_FAR => 2,
                _ => 0,
            };
            // Not done yet where the function is.
            if offset >= code_offset as usize {
                match operation {
                    PUSH_NONVOL => self.registers[operand] = self.pop(),
                    ALLOC_LARGE if operand == 0 => self.registers[RSP] += wide(n + 1) * 8,
                    ALLOC_LARGE => self.registers[RSP] += wide(n + 1) | wide(n + 2) << 16,
                    ALLOC_SMALL => self.registers[RSP] += (operand + 1) * 8,
                    SET_FPREG => self.registers[RSP] = frame_base,
                    SAVE_NONVOL => self.registers[operand] = read(frame_base + wide(n + 1) * 8),
                    SAVE_NONVOL_FAR => {
                        let distance = wide(n + 1) | wide(n + 2) << 16;
                        self.registers[operand] = read(frame_base + distance);
                    }
                    // This target computes without vector registers.
                    SAVE_XMM128 | SAVE_XMM128_FAR => {}
                    _ => panic!("unwind code {operation}"),
                }
            }
            n += 1 + extra;
        }
        self.rip = self.pop();
    }

    fn pop(&mut self) -> usize {
        let value = read(self.rsp());
        self.registers[RSP] += size_of::<usize>();
        value
    }
}

const CHAINED: u8 = 4;
const PUSH_NONVOL: u8 = 0;
const ALLOC_LARGE: u8 = 1;
const ALLOC_SMALL: u8 = 2;
const SET_FPREG: u8 = 3;
const SAVE_NONVOL: u8 = 4;
const SAVE_NONVOL_FAR: u8 = 5;
const SAVE_XMM128: u8 = 8;
const SAVE_XMM128_FAR: u8 = 9;

fn read(address: usize) -> usize {
    assert!(
        address.is_multiple_of(size_of::<usize>()),
        "RSP {address:#x} is not on a stack"
    );
    // SAFETY: a word of a stack frame, if the unwind information is right; if
    // not, the firmware's fault handler ends the test.
    unsafe { ptr::with_exposed_provenance::<usize>(address).read_volatile() }
}

/// Fills `context` with the state of its caller right after this call.
///
/// # Safety
///
/// Writes to `context`, nothing else.
#[unsafe(naked)]
unsafe extern "efiapi" fn capture(context: &mut Context) {
    naked_asm!(
        "mov rax, [rsp]",
        "mov [rcx + {rip}], rax",
        "lea rax, [rsp + 8]",
        "mov [rcx + {registers} + 8 * {rsp}], rax",
        "mov [rcx + {registers} + 8 * {rbx}], rbx",
        "mov [rcx + {registers} + 8 * {rbp}], rbp",
        "mov [rcx + {registers} + 8 * 6], rsi",
        "mov [rcx + {registers} + 8 * 7], rdi",
        "mov [rcx + {registers} + 8 * 12], r12",
        "mov [rcx + {registers} + 8 * 13], r13",
        "mov [rcx + {registers} + 8 * 14], r14",
        "mov [rcx + {registers} + 8 * 15], r15",
        "ret",
        rip = const core::mem::offset_of!(Context, rip),
        registers = const core::mem::offset_of!(Context, registers),
        rbx = const RBX,
        rsp = const RSP,
        rbp = const RBP,
    )
}
