//! A frame that Cranelift has, described right.
//!
//! Cranelift 0.135 describes `push rbp; mov rbp, rsp; sub rsp, n; mov [rsp + x], reg; …` with a frame register, counts the
//! saves from the lowest of them, and goes wrong three times: the distance of the frame register, in bytes, is shifted into a field
//! for units of 16, of which nothing is left; places of general registers are divided by 16 instead of 8; and what lies
//! below the frame base cannot be said, which is where the saves then are. Walks get through, since RSP and RIP come from
//! the frame register; the registers that they bring along are others.
//!
//! Here the frame has no frame register, though the code keeps the chain of `rbp`: RSP stays where it is in the body.

use switch_asm::unwind_info::winx64::{Context, Function, Options, decode, encode, virtual_unwind};
use switch_asm::unwind_info::{FrameLayout, Gpr, LayoutBuilder, Op};

use crate::goldens::{hex, xmm};
use crate::machine::Words;

const S: u64 = 0x10_0000;

/// 0: push rbp; mov rbp, rsp; sub rsp, size; rbx, rsi and rdi go to [rsp + 32] and on.
fn saves_three(size: u32) -> LayoutBuilder {
    let save = |reg, offset| Op::SaveGpr { reg, offset };
    FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(8, Op::Alloc(size))
        .op(0x0d, save(Gpr::Rbx, 32))
        .op(0x12, save(Gpr::Rsi, 40))
        .op(0x17, save(Gpr::Rdi, 48))
}

/// The frame for which Cranelift makes [`CRANELIFT`].
pub(crate) fn small() -> FrameLayout {
    saves_three(64)
        .code_len(0x40)
        .finish()
        .expect("a good layout")
}

/// The same with xmm6 to xmm8 at [rsp + 64] and on.
pub(crate) fn large() -> FrameLayout {
    let save = |number, offset| {
        let reg = xmm(number);
        Op::SaveXmm { reg, offset }
    };
    let builder = saves_three(112).op(0x1c, save(6, 64)).op(0x21, save(7, 80));
    let layout = builder.op(0x27, save(8, 96)).code_len(0x40).finish();
    layout.expect("a good layout")
}

/// What cranelift-codegen 0.135.8 made for [`small`].
pub(crate) const CRANELIFT: &str = "01170805 1774 0100 1264 0000 0d34 0000 0403 0150";

/// What the same arithmetic makes for [`large`].
pub(crate) const CRANELIFT_LARGE: &str =
    "01270e05 2788 0400 2178 0300 1c68 0200 1774 0100 1264 0000 0d34 0000 0403 0150";

/// Where a word on the stack is: its value says so.
const fn at(address: u64) -> u64 {
    0xa000_0000 + address
}

/// A walk from the body of a frame of `size` bytes below the pushed `rbp`, in which each word holds its place.
fn walk(bytes: &[u8], size: u64) -> Context {
    let words = (0..64).map(|index| (S + 8 * index, at(S + 8 * index)));
    let stack = Words {
        words: words.collect(),
        ..Words::default()
    };
    let mut context = Context::default();
    *context.gpr_mut(Gpr::Rsp) = S;
    *context.gpr_mut(Gpr::Rbp) = S + size;
    let info = decode(bytes).expect("good");
    let function = Function::new(&[0x90; 0x40], &info);
    virtual_unwind(&function, 0x30, &mut context, &stack).expect("walks");
    // Both get this far.
    assert_eq!(context.gpr(Gpr::Rbp), at(S + size));
    assert_eq!(context.rip, at(S + size + 8));
    assert_eq!(context.rsp(), S + size + 16);
    context
}

const fn wide(address: u64) -> u128 {
    (at(address + 8) as u128) << 64 | at(address) as u128
}

#[test]
fn all_registers_are_restored() {
    let bytes = encode(&small(), &Options::new()).expect("fits");
    assert_eq!(
        bytes,
        hex("01170800 1774 0600 1264 0500 0d34 0400 0872 0150")
    );
    let caller = walk(&bytes, 64);
    assert_eq!(caller.gpr(Gpr::Rbx), at(S + 32));
    assert_eq!(caller.gpr(Gpr::Rsi), at(S + 40));
    assert_eq!(caller.gpr(Gpr::Rdi), at(S + 48));

    let bytes = encode(&large(), &Options::new()).expect("fits");
    let caller = walk(&bytes, 112);
    assert_eq!(caller.gpr(Gpr::Rbx), at(S + 32));
    assert_eq!(caller.gpr(Gpr::Rsi), at(S + 40));
    assert_eq!(caller.gpr(Gpr::Rdi), at(S + 48));
    assert_eq!(caller.xmms[6], wide(S + 64));
    assert_eq!(caller.xmms[7], wide(S + 80));
    assert_eq!(caller.xmms[8], wide(S + 96));
}

#[test]
fn cranelifts_bytes_restore_others() {
    let caller = walk(&hex(CRANELIFT), 64);
    // Twice the saved rbp, and the return address.
    assert_eq!(caller.gpr(Gpr::Rbx), at(S + 64));
    assert_eq!(caller.gpr(Gpr::Rsi), at(S + 64));
    assert_eq!(caller.gpr(Gpr::Rdi), at(S + 72));
    let caller = walk(&hex(CRANELIFT_LARGE), 112);
    assert_eq!(caller.gpr(Gpr::Rbx), at(S + 112));
    assert_eq!(caller.gpr(Gpr::Rsi), at(S + 112));
    assert_eq!(caller.gpr(Gpr::Rdi), at(S + 120));
    // From the caller's frame.
    assert_eq!(caller.xmms[6], wide(S + 112 + 32));
    assert_eq!(caller.xmms[7], wide(S + 112 + 48));
    assert_eq!(caller.xmms[8], wide(S + 112 + 64));
}
