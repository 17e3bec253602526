//! Epilogues, recognised by their instructions: the information of version 1 does not tell where they are.
//!
//! Follows Microsoft's "x64 prolog and epilog" and the published walker of .NET, which says that it is Windows'
//! (dotnet/runtime, `unwinder/amd64/unwinder.cpp`).

use super::function::Function;
use crate::unwind_info::Gpr;

/// What is left to do of an epilogue: a release, pops, a `ret` or a jump.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail<'a> {
    /// RSP becomes this register plus a distance.
    pub(super) release: Option<(Gpr, i32)>,
    pops: &'a [u8],
}

impl<'a> Tail<'a> {
    /// The one that begins at `pc`, if one does. Always asked, for return addresses too: a call right before
    /// an epilogue is taken for being in it.
    pub(super) fn at(function: &Function<'a>, pc: usize) -> Option<Tail<'a>> {
        let code = function.code;
        let (release, len) = release(function, code.get(pc..)?);
        let pops_at = pc + len;
        let mut at = pops_at;
        while let Some((_, len)) = pop(code.get(at..)?) {
            at += len;
        }
        let pops = code.get(pops_at..at)?;
        // `repne`, which some processors want before a `ret`, changes nothing.
        if code.get(at) == Some(&0xf2) {
            at += 1;
        }
        ends(function, at).then_some(Tail { release, pops })
    }

    /// The registers that it pops, in the order of execution.
    pub(super) fn pops(self) -> impl Iterator<Item = Gpr> + 'a {
        let mut rest = self.pops;
        core::iter::from_fn(move || {
            let (reg, len) = pop(rest)?;
            rest = &rest[len..];
            Some(reg)
        })
    }
}

/// `add rsp, n` or `lea rsp, [frame register + n]`, and its length.
fn release(function: &Function<'_>, code: &[u8]) -> (Option<(Gpr, i32)>, usize) {
    let (base, disp8) = match *code {
        [0x48, 0x83, 0xc4, ..] => (Gpr::Rsp, true),
        [0x48, 0x81, 0xc4, ..] => (Gpr::Rsp, false),
        [rex @ (0x48 | 0x49), 0x8d, modrm, ..] => {
            let base = Gpr::ALL[usize::from((rex & 1) << 3 | modrm & 7)];
            let is_frame = function
                .info
                .frame_register()
                .is_some_and(|(reg, _)| reg == base);
            // r12 and rsp as a base need one byte more, which Windows does not look for. Nor is it here.
            match modrm & 0xf8 {
                0x60 if is_frame => (base, true),
                0xa0 if is_frame => (base, false),
                _ => return (None, 0),
            }
        }
        _ => return (None, 0),
    };
    match *code {
        [_, _, _, n, ..] if disp8 => (Some((base, i32::from(n.cast_signed()))), 4),
        [_, _, _, a, b, c, d, ..] => (Some((base, i32::from_le_bytes([a, b, c, d]))), 7),
        _ => (None, 0),
    }
}

/// `pop reg`, and its length.
fn pop(code: &[u8]) -> Option<(Gpr, usize)> {
    let (rex, op, len) = match *code {
        [op @ 0x58..=0x5f, ..] => (0, op, 1),
        [rex @ 0x40..=0x4f, op @ 0x58..=0x5f, ..] => (rex, op, 2),
        _ => return None,
    };
    Some((Gpr::ALL[usize::from((rex & 1) << 3 | op & 7)], len))
}

/// Whether the instruction at `at` leaves the function.
fn ends(function: &Function<'_>, at: usize) -> bool {
    let jump = |len: i64, distance: i64| {
        i64::try_from(at).is_ok_and(|at| function.is_left_by_jump_to(at + len + distance))
    };
    match function.code[at..] {
        // ret; ret n; rep ret
        [0xc3 | 0xc2, ..] | [0xf3, 0xc3, ..] => true,
        [0xeb, n, ..] => jump(2, n.cast_signed().into()),
        [0xe9, a, b, c, d, ..] => jump(5, i32::from_le_bytes([a, b, c, d]).into()),
        // jmp [rip + n]
        [0xff, 0x25, ..] => true,
        // jmp reg or [mem], of 64 bits: the prefix says nothing to the processor, and to walkers
        // that the function ends.
        [0x48..=0x4f, 0xff, modrm, ..] => modrm & 0x38 == 0x20,
        _ => false,
    }
}
