//! Code that fits its layout: all that `emit` writes, and of what others write the forms that it does not.

use proptest::prelude::*;
use switch_asm::unwind_info::emit::Emitter;
use switch_asm::unwind_info::{
    Epilogue, EpilogueOp, FrameLayout, Gpr, Hazard, LayoutBuilder, Op, Xmm,
};

use crate::specs::spec;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn what_is_emitted_fits(spec in spec(1 << 24), epilogues in 0_usize..4) {
        let mut code = Vec::new();
        let mut emitter = Emitter::begin(&spec.spec, &mut code).expect("is a prologue");
        for n in 0..=epilogues {
            code.extend([0x0f, 0x0b]);
            match n % 3 {
                0 => emitter.epilogue(&mut code),
                1 => {
                    let at = emitter.tail_jump(&mut code);
                    code[at..at + 4].copy_from_slice(&0x1000_0000_u32.to_le_bytes());
                }
                _ => emitter.tail_jump_to(&mut code, Gpr::R11).expect("is free"),
            }
        }
        let layout = emitter.finish(&mut code).expect("is a function");
        prop_assert_eq!(layout.check_code(&code), Ok(()));
        prop_assert_eq!(layout.epilogues().len(), epilogues + 1);
    }
}

#[track_caller]
fn fits(layout: LayoutBuilder, code: &[u8]) {
    let layout = layout
        .code_len(code.len() as u32)
        .finish()
        .expect("is a layout");
    assert_eq!(layout.check_code(code), Ok(()), "{code:02x?}");
}

fn builder() -> LayoutBuilder {
    FrameLayout::builder()
}

#[test]
fn leaves_fit_all_code() {
    fits(builder(), &[0xc3]);
    // Nothing is said of bodies.
    fits(builder(), &[0x54, 0x06, 0x5c]);
}

#[test]
fn other_encodings_of_the_same() {
    // push rbp with a prefix; sub rsp, 8 with a long constant; mov rbp, rsp the other way round; movups
    let code = [
        0x40, 0x55, 0x48, 0x81, 0xec, 0x20, 0, 0, 0, 0x48, 0x8b, 0xec, 0x0f, 0x11, 0x75, 0x10,
        0xc9, 0xc3,
    ];
    let reg = Gpr::Rbp;
    let xmm = Xmm::new(6).expect("below 16");
    let layout = builder()
        .op(2, Op::Push(reg))
        .op(9, Op::Alloc(32))
        .op(12, Op::SetFrame { reg, offset: 0 })
        .op(
            16,
            Op::SaveXmm {
                reg: xmm,
                offset: 16,
            },
        );
    fits(layout, &code);
}

#[test]
fn leave_releases_and_pops() {
    // push rbp; mov rbp, rsp; sub rsp, 32; leave; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xc9, 0xc3];
    let epilogue = Epilogue::new(8, 10)
        .step(9, EpilogueOp::Release)
        .step(9, EpilogueOp::Pop(Gpr::Rbp));
    let layout = builder().op(1, Op::Push(Gpr::Rbp));
    let framed = layout.clone().op(
        4,
        Op::SetFrame {
            reg: Gpr::Rbp,
            offset: 0,
        },
    );
    fits(
        framed.op(8, Op::Alloc(32)).epilogue(epilogue.clone()),
        &code,
    );
    // Nobody has to be told of the frame register.
    fits(layout.op(8, Op::Alloc(32)).epilogue(epilogue), &code);
}

#[test]
fn a_register_in_the_callers_area_is_told_later() {
    // mov [rsp + 8], rbx; push rdi; sub rsp, 32: Microsoft's compiler
    let code = [
        0x48, 0x89, 0x5c, 0x24, 0x08, 0x57, 0x48, 0x83, 0xec, 0x20, 0x0f, 0x0b,
    ];
    let layout = builder()
        .op(6, Op::Push(Gpr::Rdi))
        .op(10, Op::Alloc(32))
        .op(
            10,
            Op::SaveGpr {
                reg: Gpr::Rbx,
                offset: 48,
            },
        );
    fits(layout, &code);
    // mov [rsp + 8], rcx is no save.
    let code = [
        0x48, 0x89, 0x4c, 0x24, 0x08, 0x48, 0x83, 0xec, 0x28, 0x0f, 0x0b,
    ];
    fits(builder().op(9, Op::Alloc(40)), &code);
}

#[test]
fn what_an_interrupt_pushed_was_there_before() {
    // push rax
    let layout = builder()
        .op(0, Op::MachineFrame { error_code: true })
        .op(1, Op::Alloc(8));
    fits(layout, &[0x50, 0x48, 0xcf]);
}

#[test]
fn every_way_to_leave_that_windows_knows() {
    let ways: [&[u8]; 10] = [
        &[0xc3],
        &[0xf3, 0xc3],
        &[0xf2, 0xc3],
        &[0xc2, 0x10, 0x00],
        // To elsewhere, and to the start.
        &[0xe9, 0, 0, 0, 1],
        &[0xe9, 0xf9, 0xff, 0xff, 0xff],
        &[0xeb, 0xfc],
        &[0xff, 0x25, 0, 0, 0, 0],
        &[0x48, 0xff, 0xe0],
        &[0x49, 0xff, 0x63, 0x08],
    ];
    for way in ways {
        let mut code = vec![0x53, 0x5b];
        code.extend(way);
        let end = code.len() as u32;
        let epilogue = Epilogue::new(1, end).step(2, EpilogueOp::Pop(Gpr::Rbx));
        fits(
            builder().op(1, Op::Push(Gpr::Rbx)).epilogue(epilogue),
            &code,
        );
    }
}

#[test]
fn calls_of_every_form_before_an_epilogue_are_a_hazard() {
    let calls: [&[u8]; 7] = [
        &[0xe8, 1, 2, 3, 4],
        &[0xff, 0xd0],
        &[0x41, 0xff, 0xd3],
        // call [rax], [rsp + 8], [rip + n], [rsi + n]
        &[0xff, 0x10],
        &[0xff, 0x54, 0x24, 0x08],
        &[0xff, 0x15, 1, 2, 3, 4],
        &[0xff, 0x96, 1, 2, 3, 4],
    ];
    for call in calls {
        let mut code = vec![0x53];
        code.extend(call);
        let start = code.len() as u32;
        code.extend([0x5b, 0xc3]);
        code.extend(call);
        let end = code.len() as u32;
        let epilogue = Epilogue::new(start, start + 2).step(start + 1, EpilogueOp::Pop(Gpr::Rbx));
        let layout = builder().op(1, Op::Push(Gpr::Rbx)).epilogue(epilogue);
        let layout = layout.code_len(end).finish().expect("is a layout");
        let both = [
            Hazard::CallBeforeEpilogue { offset: start },
            Hazard::EndsWithCall { offset: end },
        ];
        assert_eq!(layout.hazards(&code), both, "{call:02x?}");
        // Code that is too short is no panic.
        for len in 0..code.len() {
            layout.hazards(&code[..len]);
        }
    }
    let none = FrameLayout::leaf(3).expect("has code");
    assert_eq!(none.hazards(&[0x90, 0xff, 0xe0]), []);
}

#[test]
fn an_epilogue_without_reloads_is_a_hazard() {
    // sub rsp, 40; mov [rsp + 32], rbx or r9; xor ebx, ebx; add rsp, 40; ret
    let layout = |reg| {
        let save = Op::SaveGpr { reg, offset: 32 };
        let epilogue = Epilogue::new(11, 16).step(15, EpilogueOp::Release);
        let layout = FrameLayout::builder().op(4, Op::Alloc(40)).op(9, save);
        let layout = layout.code_len(16).epilogue(epilogue).finish();
        layout.expect("is a layout")
    };
    let code = [
        0x48, 0x83, 0xec, 0x28, 0x48, 0x89, 0x5c, 0x24, 0x20, 0x31, 0xdb, 0x48, 0x83, 0xc4, 0x28,
        0xc3,
    ];
    // The body is not looked at.
    assert_eq!(layout(Gpr::Rbx).check_code(&code), Ok(()));
    let hazard = Hazard::NotReloaded { offset: 11 };
    assert_eq!(layout(Gpr::Rbx).hazards(&code), [hazard]);
    assert!(hazard.to_string().contains("11"));
    // What no ABI keeps need not come back.
    assert_eq!(layout(Gpr::R9).hazards(&code), []);
}
