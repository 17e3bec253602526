//! One step of a walk gives back the caller's registers, from every instruction.

use proptest::prelude::*;
use switch_asm::unwind_info::winx64::{
    Context, Function, Handler, Options, WalkError, decode, encode, unwind_leaf, virtual_unwind,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, Op};

use crate::frames::{Frame, Moment, Random};
use crate::goldens::HANDLER;
use crate::machine::{Machine, Words};

/// Walks from every instruction of a random function. Returns how many there are.
fn all_points(seed: u64) -> usize {
    let mut random = Random(seed);
    let frame = Frame::random(&mut random);
    let handler = Options::new().with_handler(Handler::new(HANDLER));
    let bytes = encode(&frame.layout, &handler).expect("fits");
    let info = decode(&bytes).expect("good");
    for &(pc, moment) in &frame.points {
        let machine = Machine::entered(&mut random);
        let caller = machine.caller();
        let machine = machine.at(&frame, moment, &mut random);
        let mut context = machine.context;
        let function = Function::new(&frame.code, &info);
        let unwound = virtual_unwind(&function, pc, &mut context, &machine.stack);
        let unwound = unwound
            .unwrap_or_else(|error| panic!("{error} at {pc}, {moment:?}: {:?}", frame.layout));
        assert_eq!(context, caller, "at {pc}, {moment:?}: {:?}", frame.layout);
        assert_eq!(unwound.in_epilogue, matches!(moment, Moment::Epilogue(_)));
        let in_body = pc >= frame.layout.prologue_len().into() && !unwound.in_epilogue;
        assert_eq!(
            unwound.handler.map(|handler| handler.rva()),
            in_body.then_some(HANDLER)
        );
        assert!(!unwound.machine_frame);
    }
    frame.points.len()
}

proptest! {
    #[test]
    fn every_instruction_leads_to_the_caller(seed in any::<u64>()) {
        all_points(seed);
    }
}

/// More of the same, from fixed seeds: that every kind of frame occurs.
#[test]
fn many_frames_of_every_kind() {
    let (mut points, mut framed, mut saves, mut xmms, mut home, mut large) = (0, 0, 0, 0, 0, 0);
    for seed in 0..4000 {
        points += all_points(seed);
        let frame = Frame::random(&mut Random(seed));
        framed += usize::from(frame.dynamic);
        let has = |wanted: fn(&Op) -> bool| {
            let mut steps = frame.layout.steps().iter();
            usize::from(steps.any(|step| wanted(&step.op)))
        };
        saves += has(|op| matches!(op, Op::SaveGpr { .. }));
        xmms += has(|op| matches!(op, Op::SaveXmm { .. }));
        let size = frame.layout.frame_size();
        let above = |op: &Op| matches!(op, Op::SaveGpr { offset, .. } if u64::from(*offset) > size);
        home += usize::from(frame.layout.steps().iter().any(|step| above(&step.op)));
        large += has(|op| matches!(op, Op::Alloc(524_288..)));
    }
    println!(
        "{points} points; frames with a frame register: {framed}, saves: {saves}, of SSE registers: {xmms}, in the home area: {home}, far down: {large}"
    );
    assert!(points > 50_000);
    for count in [framed, saves, xmms, home] {
        assert!(count > 500, "{framed} {saves} {xmms} {home}");
    }
    assert!(large > 20, "{large}");
}

fn prepared(layout: &FrameLayout, code: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let bytes = encode(layout, &Options::new()).expect("fits");
    (bytes, code.to_vec())
}

/// A stack with this many words, each its own number, at 0x1000.
fn numbered(count: u64) -> Words {
    let words = (0..count).map(|index| (0x1000 + 8 * index, 0xa000 + index));
    Words {
        words: words.collect(),
        ..Words::default()
    }
}

#[test]
fn a_fibers_base_leads_to_another_stack() {
    let ops = [
        Op::Push(Gpr::Rbx),
        Op::Alloc(8),
        Op::Push(Gpr::Rbp),
        Op::LoadSp { offset: 0 },
    ];
    let builder = ops
        .iter()
        .fold(FrameLayout::builder(), |builder, &op| builder.op(0, op));
    let builder = builder.op(
        0,
        Op::SetFrame {
            reg: Gpr::Rbp,
            offset: 0,
        },
    );
    let layout = builder.code_len(4).finish().expect("a good layout");
    let (bytes, code) = prepared(&layout, &[0x90; 4]);
    let info = decode(&bytes).expect("good");
    // The link at 0x9000 leads to 0x1000: [rbp][rip][rbx], and below them what the switch pushed again, [rip].
    let mut stack = numbered(8);
    stack.words.insert(0x9000, 0x1000);
    let mut context = Context::default();
    *context.gpr_mut(Gpr::Rbp) = 0x9000;
    *context.gpr_mut(Gpr::Rsp) = 0x8000;
    let unwound =
        virtual_unwind(&Function::new(&code, &info), 2, &mut context, &stack).expect("walks");
    assert_eq!(unwound.frame_base, 0x9000);
    assert_eq!(context.gpr(Gpr::Rbp), 0xa000);
    assert_eq!(context.gpr(Gpr::Rbx), 0xa002);
    assert_eq!(context.rip, 0xa003);
    assert_eq!(context.rsp(), 0x1020);
}

#[test]
fn an_interrupt_leads_to_what_it_interrupted() {
    for error_code in [false, true] {
        let builder = FrameLayout::builder().op(0, Op::MachineFrame { error_code });
        let builder = builder
            .op(1, Op::Push(Gpr::Rbx))
            .op(5, Op::Alloc(32))
            .code_len(9);
        let (bytes, code) = prepared(&builder.finish().expect("a good layout"), &[0x90; 9]);
        let info = decode(&bytes).expect("good");
        for (pc, below) in [(0, 0), (1, 8), (6, 40)] {
            let stack = numbered(20);
            let mut context = Context::default();
            *context.gpr_mut(Gpr::Rsp) = 0x1040 - below;
            let unwound = virtual_unwind(&Function::new(&code, &info), pc, &mut context, &stack);
            assert!(unwound.expect("walks").machine_frame);
            let frame = 0xa008 + u64::from(error_code);
            assert_eq!(context.rip, frame);
            assert_eq!(context.rsp(), frame + 3);
        }
    }
}

/// P7's body: saves count from where RSP was when the frame register was set, however far down it is now.
#[test]
fn saves_count_from_the_frame_register() {
    let golden = crate::goldens::goldens().remove(6);
    assert!(golden.name.starts_with("P7"));
    let bytes = encode(&golden.layout, &golden.options).expect("fits");
    let info = decode(&bytes).expect("good");
    for down in [0, 640] {
        let stack = numbered(200);
        let base = 0x1000 + 640;
        let mut context = Context::default();
        *context.gpr_mut(Gpr::Rsp) = base - down;
        *context.gpr_mut(Gpr::R13) = base + 128;
        let code = [0x90; 64];
        let unwound = virtual_unwind(&Function::new(&code, &info), 40, &mut context, &stack);
        assert_eq!(unwound.expect("walks").frame_base, base);
        let at = |offset: u64| 0xa000 + (base - 0x1000 + offset) / 8;
        assert_eq!(context.rip, at(248));
        assert_eq!(context.rsp(), base + 256);
        assert_eq!(context.gpr(Gpr::Rbx), at(64));
        assert_eq!(context.gpr(Gpr::R12), at(72));
        assert_eq!(context.gpr(Gpr::R13), at(240));
        assert_eq!(
            context.xmms[6],
            u128::from(at(40)) << 64 | u128::from(at(32))
        );
        assert_eq!(
            context.xmms[15],
            u128::from(at(56)) << 64 | u128::from(at(48))
        );
    }
}

/// Before the instruction that sets the frame register has run, that is something else; after it RSP may be.
#[test]
fn the_frame_base_is_where_the_frame_register_leads() {
    let builder = FrameLayout::builder().op(4, Op::Alloc(8));
    let (reg, offset) = (Gpr::Rbp, 16);
    let builder = builder.op(9, Op::SetFrame { reg, offset });
    let layout = builder.op(13, Op::Alloc(8)).code_len(20).finish();
    let (bytes, code) = prepared(&layout.expect("a good layout"), &[0x90; 20]);
    let info = decode(&bytes).expect("good");
    let stack = numbered(60);
    for pc in 0..20 {
        let mut context = Context::default();
        *context.gpr_mut(Gpr::Rsp) = 0x1000;
        *context.gpr_mut(Gpr::Rbp) = 0x1110;
        let unwound = virtual_unwind(&Function::new(&code, &info), pc, &mut context, &stack);
        let expected = if pc < 9 { 0x1000 } else { 0x1100 };
        assert_eq!(unwound.expect("walks").frame_base, expected, "at {pc}");
    }
}

#[test]
fn a_leaf_only_returns() {
    let stack = numbered(2);
    let mut context = Context::default();
    *context.gpr_mut(Gpr::Rsp) = 0x1000;
    assert_eq!(unwind_leaf(&mut context, &stack), Ok(()));
    assert_eq!((context.rip, context.rsp()), (0xa000, 0x1008));
    *context.gpr_mut(Gpr::Rsp) = 0x2000;
    let before = context;
    let error = unwind_leaf(&mut context, &stack);
    assert_eq!(error, Err(WalkError::Memory { address: 0x2000 }));
    assert_eq!(context, before);
}

/// Whichever word is missing, the walk says which, and changes nothing.
#[test]
fn memory_that_cannot_be_read_is_an_error() {
    let mut missing = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let frame = Frame::random(&mut random);
        let bytes = encode(&frame.layout, &Options::new()).expect("fits");
        let info = decode(&bytes).expect("good");
        for &(pc, moment) in &frame.points {
            let machine = Machine::entered(&mut random).at(&frame, moment, &mut random);
            let mut stack = machine.stack;
            let mut addresses: Vec<u64> = stack.words.keys().copied().collect();
            addresses.sort_unstable();
            let gone = random.pick(&addresses);
            stack.words.remove(&gone);
            let mut context = machine.context;
            let function = Function::new(&frame.code, &info);
            match virtual_unwind(&function, pc, &mut context, &stack) {
                // A register that is back already is not read.
                Ok(_) => {}
                Err(WalkError::Memory { address }) => {
                    // Both halves of an SSE register have one address.
                    assert!(address == gone || address + 8 == gone);
                    assert_eq!(context, machine.context);
                    missing += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(missing > 1000, "{missing}");
}

#[test]
fn a_function_has_an_end() {
    let layout = FrameLayout::builder()
        .op(4, Op::Alloc(8))
        .code_len(9)
        .finish();
    let (bytes, code) = prepared(&layout.expect("a good layout"), &[0x90; 9]);
    let info = decode(&bytes).expect("good");
    let stack = numbered(8);
    let walk = |pc| {
        let mut context = Context::default();
        *context.gpr_mut(Gpr::Rsp) = 0x1000;
        virtual_unwind(&Function::new(&code, &info), pc, &mut context, &stack).map(|_| context.rip)
    };
    assert_eq!(walk(0), Ok(0xa000));
    assert_eq!(walk(8), Ok(0xa001));
    assert_eq!(walk(9), Err(WalkError::PcOutside { pc: 9 }));
    assert_eq!(walk(u32::MAX), Err(WalkError::PcOutside { pc: u32::MAX }));
}
