//! Which layouts there are: every rule from both sides.

use LayoutError as E;
use switch_asm::unwind_info::Op::{Alloc, LoadSp, MachineFrame, Push, PushReturn, SetFrame};
use switch_asm::unwind_info::{
    Abi, Epilogue, EpilogueOp, FrameLayout, Gpr, LayoutBuilder, LayoutError, Op, Step, Xmm,
};

/// Steps that all end at 0, in a function of 0x100 bytes.
fn try_ops(ops: &[Op]) -> Result<FrameLayout, LayoutError> {
    let add = |builder: LayoutBuilder, &op: &Op| builder.op(0, op);
    let builder = ops.iter().fold(FrameLayout::builder(), add);
    builder.code_len(0x100).finish()
}

#[track_caller]
fn good(ops: &[Op]) {
    let layout = try_ops(ops).unwrap_or_else(|error| panic!("{ops:?}: {error}"));
    let kept: Vec<Op> = layout.steps().iter().map(|step| step.op).collect();
    assert_eq!(kept, ops);
}

#[track_caller]
fn bad(ops: &[Op], error: LayoutError) {
    assert_eq!(try_ops(ops), Err(error), "{ops:?}");
}

const fn gpr(reg: Gpr, offset: u32) -> Op {
    Op::SaveGpr { reg, offset }
}

fn xmm(number: u8) -> Xmm {
    Xmm::new(number).expect("below 16")
}

fn sse(number: u8, offset: u32) -> Op {
    let reg = xmm(number);
    Op::SaveXmm { reg, offset }
}

const fn frame(reg: Gpr, offset: u16) -> Op {
    SetFrame { reg, offset }
}

#[test]
fn a_prologue_has_255_bytes_at_most() {
    let of = |len| {
        FrameLayout::builder()
            .prologue_len(len)
            .code_len(1000)
            .finish()
    };
    assert_eq!(of(255).map(|layout| layout.prologue_len()), Ok(255));
    assert_eq!(of(256), Err(E::PrologueTooLong { len: 256 }));
    assert_eq!(of(u32::MAX), Err(E::PrologueTooLong { len: u32::MAX }));
    // Not said, it is where the last step ends.
    let ends = |end| {
        FrameLayout::builder()
            .op(end, Alloc(8))
            .code_len(1000)
            .finish()
    };
    assert_eq!(ends(255).map(|layout| layout.prologue_len()), Ok(255));
    assert_eq!(ends(256), Err(E::PrologueTooLong { len: 256 }));
}

#[test]
fn steps_are_in_order_and_in_the_prologue() {
    let two = |first, second, len| {
        let builder = FrameLayout::builder().op(first, Push(Gpr::Rbx));
        let builder = builder.op(second, Alloc(8)).prologue_len(len);
        builder.code_len(1000).finish()
    };
    assert!(two(4, 4, 4).is_ok());
    assert!(two(0, 255, 255).is_ok());
    assert_eq!(two(4, 3, 9), Err(E::OffsetOrder { end: 3, before: 4 }));
    let beyond = |end, prologue_len| Err(E::OffsetBeyondPrologue { end, prologue_len });
    assert_eq!(two(4, 10, 9), beyond(10, 9));
    assert_eq!(two(4, 256, 255), beyond(256, 255));
    assert_eq!(two(4, u32::MAX, 255), beyond(u32::MAX, 255));
}

#[test]
fn a_function_has_code_at_least_as_long_as_its_prologue() {
    let of = |prologue, code| {
        FrameLayout::builder()
            .prologue_len(prologue)
            .code_len(code)
            .finish()
    };
    assert!(of(9, 9).is_ok());
    let error = E::PrologueBeyondCode {
        prologue_len: 9,
        code_len: 8,
    };
    assert_eq!(of(9, 8), Err(error));
    assert_eq!(of(0, 0), Err(E::Empty));
    assert_eq!(FrameLayout::leaf(0), Err(E::Empty));
    assert!(FrameLayout::leaf(1).is_ok_and(|leaf| leaf.is_leaf()));
    assert_eq!(FrameLayout::builder().finish(), Err(E::Empty));
}

#[test]
fn allocations_are_words() {
    for size in [8, 16, 128, 136, 524_280, 524_288, 0xffff_fff0] {
        good(&[Alloc(size)]);
    }
    for size in [0, 1, 4, 7, 9, 12, u32::MAX] {
        bad(&[Alloc(size)], E::BadAlloc { size });
    }
}

#[test]
fn a_frame_is_smaller_than_4_gib() {
    good(&[Alloc(0xffff_fff0)]);
    // With the return address that is one word too much.
    bad(&[Alloc(0xffff_fff8)], E::FrameTooLarge { depth: 1 << 32 });
    let push = Push(Gpr::Rbx);
    good(&[push, Alloc(0xffff_ffe8)]);
    bad(
        &[push, Alloc(0xffff_fff0)],
        E::FrameTooLarge { depth: 1 << 32 },
    );
    good(&[Alloc(0x8000_0000), Alloc(0x7fff_fff0)]);
    let depth = (1 << 32) + 8;
    bad(
        &[Alloc(0x8000_0000), Alloc(0x8000_0000)],
        E::FrameTooLarge { depth },
    );
    let interrupt = MachineFrame { error_code: true };
    good(&[interrupt, Alloc(0xffff_ffc8)]);
    bad(
        &[interrupt, Alloc(0xffff_ffd0)],
        E::FrameTooLarge { depth: 1 << 32 },
    );
}

#[test]
fn pushes_come_first() {
    let reg = Gpr::Rsi;
    good(&[Push(Gpr::Rbx), Push(reg), Alloc(8)]);
    for before in [frame(Gpr::Rbp, 0), gpr(Gpr::Rbx, 0), sse(6, 0)] {
        bad(&[before, Push(reg)], E::PushAfterOther { reg });
    }
    let after_alloc = |end| {
        let builder = FrameLayout::builder().op(end, Alloc(8));
        builder.op(end + 1, Push(reg)).code_len(9).finish()
    };
    assert_eq!(after_alloc(4), Err(E::PushAfterOther { reg }));
    // Unless that was there before the first instruction.
    assert!(after_alloc(0).is_ok());
    // In an interrupt, after what the processor pushed.
    good(&[MachineFrame { error_code: false }, Push(reg)]);
    // The record of a fiber is as it is.
    good(&[
        Push(reg),
        Alloc(8),
        Push(Gpr::Rbp),
        LoadSp { offset: 0 },
        frame(Gpr::Rbp, 0),
    ]);
}

#[test]
fn the_stack_pointer_is_not_saved() {
    bad(&[Push(Gpr::Rsp)], E::BadRegister { reg: Gpr::Rsp });
    bad(&[gpr(Gpr::Rsp, 0)], E::BadRegister { reg: Gpr::Rsp });
    for reg in Gpr::ALL.into_iter().filter(|&reg| reg != Gpr::Rsp) {
        good(&[Push(reg)]);
        good(&[gpr(reg, 8)]);
    }
}

#[test]
fn a_frame_register_is_saved_before_it_is_one() {
    good(&[Push(Gpr::Rbp), frame(Gpr::Rbp, 0), gpr(Gpr::Rbx, 16)]);
    bad(
        &[frame(Gpr::Rbp, 0), gpr(Gpr::Rbp, 0)],
        E::BadRegister { reg: Gpr::Rbp },
    );
}

#[test]
fn sse_registers_go_to_15() {
    assert_eq!(Xmm::new(15).map(Xmm::number), Ok(15));
    assert_eq!(Xmm::new(16), Err(E::BadXmm { number: 16 }));
    assert_eq!(Xmm::new(255), Err(E::BadXmm { number: 255 }));
    (0..16).for_each(|number| good(&[sse(number, 16)]));
}

#[test]
fn nothing_is_saved_twice() {
    let reg = Gpr::Rbx;
    bad(&[Push(reg), Push(reg)], E::SavedTwice { reg });
    bad(&[Push(reg), gpr(reg, 0)], E::SavedTwice { reg });
    bad(&[gpr(reg, 0), gpr(reg, 8)], E::SavedTwice { reg });
    bad(&[sse(6, 0), sse(6, 16)], E::XmmSavedTwice { reg: xmm(6) });
    good(&[
        Alloc(64),
        gpr(Gpr::Rsi, 0),
        sse(6, 16),
        sse(7, 32),
        gpr(Gpr::Rdi, 8),
    ]);
}

#[test]
fn what_no_abi_keeps_cannot_lead_to_a_frame() {
    use Gpr::{R13, R14, R15, Rbp, Rbx, Rdi, Rsi};
    for reg in Gpr::ALL {
        let ops = [Alloc(64), frame(reg, 32)];
        let base = [LoadSp { offset: 0 }, frame(reg, 0)];
        if [Rbx, Rbp, Rsi, Rdi, R13, R14, R15].contains(&reg) {
            good(&ops);
            good(&base);
        } else {
            bad(&ops, E::BadFrameRegister { reg });
            bad(&base, E::BadFrameRegister { reg });
        }
    }
}

#[test]
fn a_frame_register_is_near_its_frame() {
    let at = |size, offset| try_ops(&[Alloc(size), frame(Gpr::Rbp, offset)]);
    assert!(at(512, 0).is_ok());
    assert!(at(512, 16).is_ok());
    assert!(at(512, 240).is_ok());
    for offset in [8, 1, 241, 248, 256, u16::MAX] {
        assert_eq!(at(512, offset), Err(E::BadFrameOffset { offset }));
    }
    // Not above the return address.
    assert!(at(40, 48).is_ok());
    assert_eq!(at(40, 64), Err(E::BadFrameOffset { offset: 64 }));
    assert!(at(56, 64).is_ok());
    // What lies above a fiber's base is not its own.
    good(&[Push(Gpr::Rbp), LoadSp { offset: 0 }, frame(Gpr::Rbp, 240)]);
}

#[test]
fn there_is_one_frame_register() {
    bad(&[frame(Gpr::Rbp, 0), frame(Gpr::Rbx, 0)], E::SecondFrame);
    bad(
        &[frame(Gpr::Rbp, 0), Alloc(8), frame(Gpr::Rbp, 0)],
        E::SecondFrame,
    );
}

#[test]
fn registers_are_saved_when_their_place_is_known() {
    for save in [gpr(Gpr::Rbx, 0), sse(6, 0)] {
        bad(&[save, frame(Gpr::Rbp, 0)], E::SaveBeforeBase);
        bad(&[Alloc(32), save, Alloc(8)], E::SaveBeforeBase);
        good(&[Alloc(32), frame(Gpr::Rbp, 16), save, Alloc(8)]);
        good(&[Alloc(32), save]);
    }
    // The caller's home area lies above the frame.
    good(&[Push(Gpr::Rdi), Alloc(32), gpr(Gpr::Rbx, 48)]);
}

#[test]
fn places_are_aligned() {
    for offset in [0, 8, 16, 24, 524_280, 524_288, 0xffff_fff8] {
        good(&[Alloc(64), gpr(Gpr::Rbx, offset)]);
    }
    let unaligned = |offset, multiple_of| E::BadSaveOffset {
        offset,
        multiple_of,
    };
    for offset in [1, 4, 7, 9, 12, u32::MAX] {
        bad(&[gpr(Gpr::Rbx, offset)], unaligned(offset, 8));
        bad(
            &[LoadSp { offset }, frame(Gpr::Rbp, 0)],
            unaligned(offset, 8),
        );
    }
    for offset in [0, 16, 1_048_560, 1_048_576, 0xffff_fff0] {
        good(&[Alloc(64), sse(6, offset)]);
    }
    for offset in [1, 8, 15, 24, 0xffff_fff8] {
        bad(&[sse(6, offset)], unaligned(offset, 16));
    }
}

#[test]
fn saves_lie_on_nothing_else() {
    let over = |ops: &[Op], offset| bad(ops, E::SaveOverlaps { offset });
    let (alloc, push) = (Alloc(40), Push(Gpr::Rbp));
    // The return address: the base is 48 below the canonical frame address.
    good(&[alloc, gpr(Gpr::Rbx, 32)]);
    over(&[alloc, gpr(Gpr::Rbx, 40)], 40);
    good(&[alloc, gpr(Gpr::Rbx, 48)]);
    good(&[alloc, sse(6, 16)]);
    over(&[alloc, sse(6, 32)], 32);
    good(&[alloc, sse(6, 48)]);
    // Of a region of another function it is not known where that is.
    good(&[gpr(Gpr::Rbx, 0), sse(6, 16)]);
    over(&[gpr(Gpr::Rbx, 0), sse(6, 0)], 0);
    // What was pushed, and what the frame register does not change.
    over(&[push, alloc, gpr(Gpr::Rbx, 40)], 40);
    over(&[push, alloc, frame(Gpr::Rbp, 0), gpr(Gpr::Rbx, 40)], 40);
    over(&[push, frame(Gpr::Rbp, 0), alloc, gpr(Gpr::Rbx, 0)], 0);
    over(&[push, PushReturn, alloc, gpr(Gpr::Rbx, 48)], 48);
    over(&[push, PushReturn, alloc, gpr(Gpr::Rbx, 40)], 40);
    good(&[push, PushReturn, alloc, gpr(Gpr::Rbx, 56)]);
    // What the processor pushed.
    for (error_code, words) in [(false, 5), (true, 6)] {
        let interrupt = MachineFrame { error_code };
        good(&[interrupt, alloc, gpr(Gpr::Rbx, 32)]);
        for word in 0..words {
            let offset = 40 + 8 * word;
            over(&[interrupt, alloc, gpr(Gpr::Rbx, offset)], offset);
        }
        good(&[interrupt, alloc, gpr(Gpr::Rbx, 40 + 8 * words)]);
    }
    // Each other, in the frame and above it.
    good(&[alloc, sse(6, 0), gpr(Gpr::Rbx, 16)]);
    over(&[alloc, sse(6, 0), gpr(Gpr::Rbx, 8)], 8);
    over(&[alloc, gpr(Gpr::Rbx, 8), sse(6, 0)], 0);
    over(&[alloc, gpr(Gpr::Rbx, 8), gpr(Gpr::Rsi, 8)], 8);
    over(&[alloc, gpr(Gpr::Rbx, 56), sse(6, 48)], 48);
}

#[test]
fn a_fibers_base_ends_with_its_frame_register() {
    let (load, base) = (LoadSp { offset: 0 }, frame(Gpr::Rbp, 0));
    good(&[load, base]);
    good(&[Push(Gpr::Rbp), PushReturn, Push(Gpr::Rbx), load, base]);
    let ends = |first, second| {
        let builder = FrameLayout::builder().op(first, load).op(second, base);
        builder.code_len(9).finish()
    };
    assert!(ends(4, 4).is_ok());
    assert_eq!(ends(0, 4), Err(E::BadFiberBase));
    bad(&[load], E::BadFiberBase);
    bad(&[load, Alloc(8)], E::BadFiberBase);
    bad(&[base, load], E::BadFiberBase);
    bad(&[load, Alloc(8), base], E::BadFiberBase);
    bad(&[load, base, Alloc(8)], E::BadFiberBase);
    bad(&[load, load, base], E::BadFiberBase);
    bad(&[load, base, gpr(Gpr::Rbx, 0)], E::BadFiberBase);
}

#[test]
fn there_is_one_return_address() {
    good(&[Push(Gpr::Rbx), PushReturn, Push(Gpr::Rbp), Alloc(8)]);
    bad(&[PushReturn, PushReturn], E::BadPushReturn);
    let after_alloc = |end| {
        let builder = FrameLayout::builder().op(end, Alloc(8));
        builder.op(end, PushReturn).code_len(9).finish()
    };
    assert_eq!(after_alloc(4), Err(E::BadPushReturn));
    assert!(after_alloc(0).is_ok());
    bad(&[gpr(Gpr::Rbx, 8), PushReturn], E::BadPushReturn);
    bad(
        &[MachineFrame { error_code: false }, PushReturn],
        E::BadPushReturn,
    );
}

#[test]
fn an_interrupt_comes_first() {
    for error_code in [false, true] {
        let interrupt = MachineFrame { error_code };
        good(&[interrupt, Push(Gpr::Rbp), frame(Gpr::Rbp, 0), Alloc(64)]);
        for before in [Push(Gpr::Rbx), Alloc(8), PushReturn, interrupt] {
            bad(&[before, interrupt], E::BadMachineFrame);
        }
        let late = FrameLayout::builder().op(1, interrupt).code_len(9).finish();
        assert_eq!(late, Err(E::BadMachineFrame));
    }
}

/// push rbx; push rsi; sub rsp, 32; saves of rdi and xmm6; with an epilogue.
fn with_epilogue(epilogue: Epilogue) -> Result<FrameLayout, LayoutError> {
    let builder = FrameLayout::builder();
    let builder = builder.op(1, Push(Gpr::Rbx)).op(2, Push(Gpr::Rsi));
    let builder = builder
        .op(6, Alloc(32))
        .op(10, gpr(Gpr::Rdi, 0))
        .op(14, sse(6, 16));
    builder.code_len(0x40).epilogue(epilogue).finish()
}

#[test]
fn an_epilogue_undoes_the_prologue() {
    use EpilogueOp::{Pop, Release, Reload, ReloadXmm};
    let steps = |steps: &[EpilogueOp]| {
        let add = |epilogue: Epilogue, (end, &op): (u32, &EpilogueOp)| epilogue.step(end, op);
        with_epilogue((0x21..).zip(steps).fold(Epilogue::new(0x20, 0x40), add))
    };
    let (rsi, rbx) = (Pop(Gpr::Rsi), Pop(Gpr::Rbx));
    let bad = |ops: &[EpilogueOp], part: &str| match steps(ops) {
        Err(E::BadEpilogue { start: 0x20, why }) => assert!(why.contains(part), "{ops:?}: {why}"),
        other => panic!("{ops:?}: {other:?}"),
    };
    assert!(steps(&[Release, rsi, rbx]).is_ok());
    assert!(steps(&[Reload(Gpr::Rdi), ReloadXmm(xmm(6)), Release, rsi, rbx]).is_ok());
    bad(&[Reload(Gpr::Rdi), Release, rsi, rbx], "not all");
    bad(&[ReloadXmm(xmm(6)), Release, rsi, rbx], "not all");
    bad(&[Reload(Gpr::R15), Release, rsi, rbx], "was not saved");
    bad(&[ReloadXmm(xmm(7)), Release, rsi, rbx], "was not saved");
    bad(&[Release, Reload(Gpr::Rdi), rsi, rbx], "after its frame");
    bad(&[Release, ReloadXmm(xmm(6)), rsi, rbx], "after its frame");
    bad(&[Release, Release, rsi, rbx], "twice");
    bad(&[rsi, rbx], "before the frame is released");
    bad(&[Release, rbx, rsi], "opposite order");
    bad(&[Release, rsi, rbx, Pop(Gpr::Rdi)], "opposite order");
    bad(&[Release, rsi], "release the frame and pop");
    bad(&[Release], "release the frame and pop");
    bad(&[], "release the frame and pop");
}

#[test]
fn an_epilogue_lies_behind_the_prologue_and_the_one_before() {
    use EpilogueOp::{Pop, Release};
    let at = |start, released, end| {
        let epilogue = Epilogue::new(start, end).step(released, Release);
        epilogue
            .step(end - 2, Pop(Gpr::Rsi))
            .step(end - 1, Pop(Gpr::Rbx))
    };
    let bad = |epilogue: Epilogue, part: &str| match with_epilogue(epilogue) {
        Err(E::BadEpilogue { why, .. }) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    assert!(with_epilogue(at(14, 18, 0x40)).is_ok());
    bad(at(13, 18, 0x40), "before the prologue");
    bad(at(0x30, 0x34, 0x41), "behind the function");
    bad(at(0x30, 0x2f, 0x40), "order of their addresses");
    bad(at(0x30, 0x30, 0x40), "order of their addresses");
    bad(at(0x30, 0x3e, 0x40), "order of their addresses");
    bad(at(0x30, 0x40, 0x40), "leaves the function");
    bad(Epilogue::new(0x30, 0x30), "its end lies before its start");
    let two = |second| {
        let builder = FrameLayout::builder().op(4, Alloc(8)).code_len(0x40);
        let epilogue = |start| Epilogue::new(start, start + 5).step(start + 4, Release);
        builder
            .epilogue(epilogue(0x10))
            .epilogue(epilogue(second))
            .finish()
    };
    assert!(two(0x15).is_ok());
    let start = 0x14;
    assert!(matches!(
        two(start),
        Err(E::BadEpilogue { start: 0x14, .. })
    ));
}

#[test]
fn an_epilogues_steps_take_bytes() {
    use EpilogueOp::{Pop, Release};
    // push rbp or another; sub rsp, 8; with an epilogue whose steps end there.
    let ends = |reg, release, pop| {
        let builder = FrameLayout::builder().op(1, Push(reg)).op(5, Alloc(8));
        let epilogue = Epilogue::new(6, 12).step(release, Release);
        let builder = builder.epilogue(epilogue.step(pop, Pop(reg)));
        builder.code_len(12).finish()
    };
    assert!(ends(Gpr::Rbp, 10, 11).is_ok());
    // `leave` does both.
    assert!(ends(Gpr::Rbp, 7, 7).is_ok());
    let bad = |reg, release, pop, part| match ends(reg, release, pop) {
        Err(E::BadEpilogue { why, .. }) => assert!(why.contains(part), "{why}"),
        other => panic!("{other:?}"),
    };
    bad(Gpr::Rbx, 7, 7, "order");
    bad(Gpr::Rbp, 6, 7, "order");
    bad(Gpr::Rbp, 6, 6, "order");
    bad(Gpr::Rbp, 10, 12, "leaves the function");
}

#[test]
fn a_frame_that_was_not_called_has_no_epilogue() {
    let odd: [&[Op]; 3] = [
        &[LoadSp { offset: 0 }, frame(Gpr::Rbp, 0)],
        &[PushReturn],
        &[MachineFrame { error_code: true }],
    ];
    for ops in odd {
        let add = |builder: LayoutBuilder, &op: &Op| builder.op(0, op);
        let builder = ops.iter().fold(FrameLayout::builder(), add).code_len(9);
        let found = builder.epilogue(Epilogue::new(8, 9)).finish();
        assert!(
            matches!(found, Err(E::BadEpilogue { start: 8, .. })),
            "{found:?}"
        );
    }
}

#[test]
fn a_layout_says_what_it_is() {
    let layout = try_ops(&[
        Push(Gpr::Rbx),
        Alloc(40),
        frame(Gpr::Rbx, 16),
        sse(3, 0),
        sse(6, 16),
    ]);
    let layout = layout.expect("a good one");
    assert_eq!(layout.frame_size(), 48);
    assert_eq!(layout.frame_register(), Some((Gpr::Rbx, 16)));
    assert!(!layout.is_leaf());
    let step = Step {
        end: 0,
        op: Alloc(40),
    };
    assert_eq!(layout.steps()[1], step);
    let in_vain: Vec<Op> = layout.saved_in_vain(Abi::Win64).collect();
    assert_eq!(in_vain, [sse(3, 0)]);
    let in_vain: Vec<Op> = layout.saved_in_vain(Abi::SysV).collect();
    assert_eq!(in_vain, [sse(3, 0), sse(6, 16)]);
}

#[test]
fn errors_say_what_is_wrong() {
    let all = [
        (E::PrologueTooLong { len: 256 }, "256"),
        (E::OffsetOrder { end: 3, before: 4 }, "4"),
        (E::BadAlloc { size: 12 }, "12"),
        (E::FrameTooLarge { depth: 1 << 32 }, "4294967296"),
        (E::PushAfterOther { reg: Gpr::Rsi }, "Rsi"),
        (E::BadXmm { number: 16 }, "16"),
        (E::BadFrameRegister { reg: Gpr::R12 }, "R12"),
        (E::BadFrameOffset { offset: 248 }, "248"),
    ];
    for (error, part) in all {
        assert!(error.to_string().contains(part), "{error}");
    }
}
