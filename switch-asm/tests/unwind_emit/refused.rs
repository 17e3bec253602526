//! Code that does not fit its layout: each kind of mismatch, and every code whose prologue or epilogue
//! differs in one byte.

use std::collections::BTreeMap;

use CodeMismatch as M;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use switch_asm::unwind_info::emit::Emitter;
use switch_asm::unwind_info::{
    CodeMismatch, Epilogue, EpilogueOp, FrameLayout, Gpr, LayoutBuilder, Op, Xmm,
};

use crate::specs::{Spec, spec};

#[track_caller]
fn refused(layout: LayoutBuilder, code: &[u8], mismatch: CodeMismatch) {
    let layout = layout
        .code_len(code.len() as u32)
        .finish()
        .expect("is a layout");
    assert_eq!(layout.check_code(code), Err(mismatch), "{code:02x?}");
    assert!(!mismatch.to_string().is_empty());
}

fn builder() -> LayoutBuilder {
    FrameLayout::builder()
}

#[test]
fn another_length() {
    let layout = FrameLayout::leaf(3).expect("has code");
    let mismatch = M::Length { code: 2, layout: 3 };
    assert_eq!(layout.check_code(&[0x90; 2]), Err(mismatch));
}

#[test]
fn what_is_no_instruction_of_a_prologue() {
    let unknown = M::Unknown { offset: 1 };
    // cpuid; jmp; ret; and rsp, -16; call without its displacement; jz forwards; sub esp, 8
    let strange: [&[u8]; 7] = [
        &[0x0f, 0xa2],
        &[0xeb, 0x00],
        &[0xc3],
        &[0x48, 0x83, 0xe4, 0xf0],
        &[0xe8, 0, 0],
        &[0x74, 0x00, 0x90],
        &[0x83, 0xec, 0x08],
    ];
    for strange in strange {
        let mut code = vec![0x53];
        code.extend(strange);
        let layout = builder().op(1, Op::Push(Gpr::Rbx));
        refused(layout.prologue_len(code.len() as u32), &code, unknown);
    }
}

#[test]
fn loops_that_do_more_than_touch_pages() {
    // again: push rbx; jne again. And back to before what was already told.
    let layout = || builder().op(1, Op::Push(Gpr::Rbx)).prologue_len(3);
    refused(
        layout(),
        &[0x53, 0x75, 0xfd, 0x90],
        M::Unknown { offset: 1 },
    );
    // nop; again: cmp eax, 1; jne again
    let code = [0x53, 0x90, 0x83, 0xf8, 0x01, 0x75, 0xfb, 0x90];
    let layout = builder().op(1, Op::Push(Gpr::Rbx)).prologue_len(7);
    let layout = layout.code_len(8).finish().expect("is one");
    assert_eq!(layout.check_code(&code), Ok(()));
}

#[test]
fn registers_that_no_body_keeps_lead_nowhere() {
    // mov r11, rsp; sub rsp, 32; mov rsp, r11; ret
    let code = [
        0x49, 0x89, 0xe3, 0x48, 0x83, 0xec, 0x20, 0x4c, 0x89, 0xdc, 0xc3,
    ];
    let epilogue = Epilogue::new(7, 11).step(10, EpilogueOp::Release);
    let layout = builder().op(7, Op::Alloc(32)).epilogue(epilogue);
    refused(layout, &code, M::Undescribed { offset: 7 });
}

#[test]
fn steps_that_end_within_instructions() {
    // push rbx; sub rsp, 32
    let code = [0x53, 0x48, 0x83, 0xec, 0x20, 0x90];
    let layout = builder().op(1, Op::Push(Gpr::Rbx));
    let split = M::Split { offset: 1 };
    refused(layout.clone().op(4, Op::Alloc(32)), &code, split);
    let within = layout.clone().op(4, Op::Alloc(32)).prologue_len(5);
    refused(within, &code, split);
    refused(layout.prologue_len(3), &code, split);
}

#[test]
fn prologues_that_do_something_else() {
    let reg = Gpr::Rbx;
    let code = [
        0x53, 0x48, 0x83, 0xec, 0x20, 0x48, 0x89, 0x6c, 0x24, 0x08, 0x90,
    ];
    let right = || builder().op(1, Op::Push(reg)).op(5, Op::Alloc(32));
    let save = |offset| Op::SaveGpr {
        reg: Gpr::Rbp,
        offset,
    };
    let step = |offset, op| M::Step { offset, op };
    // The right one is right.
    let good = right()
        .op(10, save(8))
        .code_len(11)
        .finish()
        .expect("is one");
    assert_eq!(good.check_code(&code), Ok(()));

    let other = Op::Push(Gpr::R14);
    refused(
        builder().op(1, other).op(5, Op::Alloc(32)),
        &code,
        step(0, other),
    );
    let other = Op::Alloc(24);
    refused(
        builder().op(1, Op::Push(reg)).op(5, other),
        &code,
        step(1, other),
    );
    refused(right().op(10, save(16)), &code, step(5, save(16)));
    // Told before it is done.
    refused(
        right().op(5, save(8)).prologue_len(10),
        &code,
        step(1, save(8)),
    );
    let frame = Op::SetFrame { reg, offset: 16 };
    refused(right().op(10, frame), &code, step(5, frame));
    // Not told at all.
    refused(
        right().prologue_len(10),
        &code,
        M::Undescribed { offset: 5 },
    );
    refused(
        builder().op(1, Op::Push(reg)).prologue_len(5),
        &code,
        M::Undescribed { offset: 1 },
    );
    refused(
        builder().op(1, Op::Alloc(8)).op(5, Op::Alloc(32)),
        &code,
        M::Undescribed { offset: 0 },
    );
}

#[test]
fn registers_that_change_too_early() {
    let reg = Gpr::Rbx;
    // xor ebx, ebx; push rbx
    let clobbers = M::Clobbers { offset: 0, reg };
    refused(
        builder().op(3, Op::Push(reg)),
        &[0x31, 0xdb, 0x53, 0x90],
        clobbers,
    );
    // Also of those that one ABI does not keep, if the layout says that it saves them.
    let reg = Gpr::Rsi;
    let clobbers = M::Clobbers { offset: 0, reg };
    refused(
        builder().op(3, Op::Push(reg)),
        &[0x31, 0xf6, 0x56, 0x90],
        clobbers,
    );
    // push rbp; mov rbp, rsp; xor ebp, ebp
    let reg = Gpr::Rbp;
    let layout = builder()
        .op(1, Op::Push(reg))
        .op(4, Op::SetFrame { reg, offset: 0 })
        .prologue_len(6);
    let code = [0x55, 0x48, 0x89, 0xe5, 0x31, 0xed];
    refused(layout, &code, M::Clobbers { offset: 4, reg });
}

#[test]
fn what_looks_like_a_save() {
    let rbx = |offset| Op::SaveGpr {
        reg: Gpr::Rbx,
        offset,
    };
    let step = |offset, op| M::Step { offset, op };
    // sub rsp, 24; movaps xmm6, [rsp]; movaps [rsp], xmm6
    let code = [
        0x48, 0x83, 0xec, 0x18, 0x0f, 0x28, 0x34, 0x24, 0x0f, 0x29, 0x34, 0x24,
    ];
    let reg = Xmm::new(6).expect("below 16");
    let save = Op::SaveXmm { reg, offset: 0 };
    refused(
        builder().op(4, Op::Alloc(24)).op(12, save),
        &code,
        step(8, save),
    );
    // mov [rsp - 8], rbx; sub rsp, 8
    let code = [0x48, 0x89, 0x5c, 0x24, 0xf8, 0x48, 0x83, 0xec, 0x08];
    let push = Op::Push(Gpr::Rbx);
    refused(builder().op(9, push), &code, step(5, push));
    // mov [rsp - 8], rbx; push 17, or call; sub rsp, 8: below RSP it did not stay
    let (alloc, save) = (Op::Alloc(8), rbx(0));
    let code = [0x48, 0x89, 0x5c, 0x24, 0xf8, 0x6a, 0x11];
    refused(builder().op(7, alloc).op(7, save), &code, step(5, save));
    let code = [0x48, 0x89, 0x5c, 0x24, 0xf8, 0x68, 1, 0, 0, 0];
    refused(builder().op(10, alloc).op(10, save), &code, step(5, save));
    let code = [
        0x48, 0x89, 0x5c, 0x24, 0xf8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xec, 0x08,
    ];
    refused(builder().op(14, alloc).op(14, save), &code, step(10, save));
    // sub rsp, 24; mov r11, rsp; call; mov [r11], rbx: what was called keeps no r11
    let code = [
        0x48, 0x83, 0xec, 0x18, 0x49, 0x89, 0xe3, 0xe8, 0, 0, 0, 0, 0x49, 0x89, 0x1b,
    ];
    let layout = builder().op(4, Op::Alloc(24)).op(15, rbx(0));
    refused(layout, &code, step(12, rbx(0)));
}

#[test]
fn aligned_moves_of_what_is_not() {
    // sub rsp, 32; a save of xmm6 at [rsp], 40 bytes below a multiple of 16; and with 40 bytes instead
    let reg = Xmm::new(6).expect("below 16");
    let save = Op::SaveXmm { reg, offset: 0 };
    let forms: [(&[u8], &[u8], bool); 6] = [
        (&[0x0f, 0x29], &[0x0f, 0x28], true),
        (&[0x66, 0x0f, 0x29], &[0x66, 0x0f, 0x28], true),
        (&[0x66, 0x0f, 0x7f], &[0x66, 0x0f, 0x6f], true),
        (&[0x0f, 0x11], &[0x0f, 0x10], false),
        (&[0x66, 0x0f, 0x11], &[0x66, 0x0f, 0x10], false),
        (&[0xf3, 0x0f, 0x7f], &[0xf3, 0x0f, 0x6f], false),
    ];
    let check = |size: u8, store: &[u8], load: &[u8]| {
        let frame = |op| [0x48, 0x83, op, size];
        let (operand, down, up) = ([0x34, 0x24], frame(0xec), frame(0xc4));
        let code = [&down[..], store, &operand, load, &operand, &up, &[0xc3]].concat();
        let (prologue, len) = (4 + store.len() as u32 + 2, code.len() as u32);
        let epilogue = Epilogue::new(prologue, len)
            .step(len - 5, EpilogueOp::ReloadXmm(reg))
            .step(len - 1, EpilogueOp::Release);
        let layout = builder().op(4, Op::Alloc(size.into())).op(prologue, save);
        let layout = layout.epilogue(epilogue).code_len(len).finish();
        layout.expect("is a layout").check_code(&code)
    };
    for (store, load, aligned) in forms {
        assert_eq!(check(40, store, load), Ok(()));
        let faults = aligned.then_some(M::Misaligned { offset: 4 });
        assert_eq!(check(32, store, load).err(), faults, "{store:02x?}");
        // The load alone.
        let unaligned = forms[3].0;
        let faults = aligned.then_some(M::Misaligned { offset: 8 });
        assert_eq!(check(32, unaligned, load).err(), faults, "{load:02x?}");
    }
    assert!(!M::Misaligned { offset: 4 }.to_string().is_empty());
}

#[test]
fn leaves_that_do_not_fit() {
    // push rbp; mov rbp, rsp; push rbx; nop; leave; pop rbp; ret
    let code = [0x55, 0x48, 0x89, 0xe5, 0x53, 0x90, 0xc9, 0x5d, 0xc3];
    let (rbp, rbx) = (EpilogueOp::Pop(Gpr::Rbp), EpilogueOp::Pop(Gpr::Rbx));
    let epilogue = Epilogue::new(6, 9).step(7, rbx).step(8, rbp);
    let layout = builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(5, Op::Push(Gpr::Rbx));
    let mismatch = M::EpilogueStep { offset: 6, op: rbx };
    refused(layout.epilogue(epilogue), &code, mismatch);
    // push rbp; lea rbp, [rsp - 8]; leave; ret: RSP is not where it was
    let code = [0x55, 0x48, 0x8d, 0x6c, 0x24, 0xf8, 0xc9, 0xc3];
    let layout = builder().op(1, Op::Push(Gpr::Rbp)).prologue_len(6);
    let layout = layout.epilogue(Epilogue::new(6, 8).step(7, rbp));
    refused(layout, &code, M::Ending { offset: 7 });
}

#[test]
fn two_registers_in_one_place() {
    // sub rsp, 24; mov [rsp], rbx; mov [rsp + 4], rbp
    let code = [
        0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0x1c, 0x24, 0x48, 0x89, 0x6c, 0x24, 0x04, 0x90,
    ];
    let save = |reg, offset| Op::SaveGpr { reg, offset };
    let layout = builder().op(4, Op::Alloc(24)).op(8, save(Gpr::Rbx, 0));
    refused(
        layout.op(13, save(Gpr::Rbp, 8)),
        &code,
        M::Overwrites { offset: 8 },
    );
}

#[test]
fn the_return_address_stays() {
    // sub rsp, 24; mov [rsp + n], r11, and eax
    let layout = || builder().op(4, Op::Alloc(24));
    let store = |n, mov: &[u8]| [&[0x48, 0x83, 0xec, 0x18], mov, &[0x24, n, 0x90]].concat();
    for mov in [&[0x4c, 0x89, 0x5c][..], &[0x89, 0x44]] {
        let end = 6 + mov.len() as u32;
        for n in [24, 28] {
            let layout = layout().prologue_len(end);
            refused(layout, &store(n, mov), M::Overwrites { offset: 4 });
        }
        for n in [16, 32] {
            let code = store(n, mov);
            let layout = layout().prologue_len(end).code_len(code.len() as u32);
            let layout = layout.finish().expect("is a layout");
            assert_eq!(layout.check_code(&code), Ok(()));
        }
    }
    // mov [rsp], eax: of a leaf, in an interrupt, and what a prologue elsewhere has pushed
    let code = [0x89, 0x04, 0x24, 0x90];
    let overwrites = M::Overwrites { offset: 0 };
    refused(builder().prologue_len(3), &code, overwrites);
    for op in [
        Op::MachineFrame { error_code: true },
        Op::PushReturn,
        Op::Push(Gpr::Rbx),
    ] {
        refused(builder().op(0, op).prologue_len(3), &code, overwrites);
    }
}

/// push rbx; sub rsp, 16; movaps [rsp], xmm6; and an epilogue of these bytes and steps.
#[track_caller]
fn epilogue(bytes: &[u8], steps: &[(u32, EpilogueOp)], mismatch: CodeMismatch) {
    let mut code = vec![0x53, 0x48, 0x83, 0xec, 0x10, 0x0f, 0x29, 0x34, 0x24];
    code.extend(bytes);
    let mut epilogue = Epilogue::new(9, code.len() as u32);
    for &(end, op) in steps {
        epilogue = epilogue.step(9 + end, op);
    }
    let reg = Xmm::new(6).expect("below 16");
    let layout = builder()
        .op(1, Op::Push(Gpr::Rbx))
        .op(5, Op::Alloc(16))
        .op(9, Op::SaveXmm { reg, offset: 0 })
        .epilogue(epilogue);
    refused(layout, &code, mismatch);
}

#[test]
fn epilogues_that_do_something_else() {
    let release = EpilogueOp::Release;
    let pop = EpilogueOp::Pop(Gpr::Rbx);
    let reload = EpilogueOp::ReloadXmm(Xmm::new(6).expect("below 16"));
    let both = [(4, release), (5, pop)];
    let step = |offset, op| M::EpilogueStep { offset, op };
    // add rsp, 8; pop rbx; ret
    epilogue(
        &[0x48, 0x83, 0xc4, 0x08, 0x5b, 0xc3],
        &both,
        step(9, release),
    );
    // add rsp, 16; pop rbp
    epilogue(&[0x48, 0x83, 0xc4, 0x10, 0x5d, 0xc3], &both, step(13, pop));
    // Told one instruction late, or within one.
    epilogue(
        &[0x48, 0x83, 0xc4, 0x10, 0x5b, 0xf3, 0xc3],
        &[(5, release), (6, pop)],
        M::Undescribed { offset: 9 },
    );
    epilogue(
        &[0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3],
        &[(3, release), (5, pop)],
        M::Split { offset: 9 },
    );
    // movaps xmm6, [rsp + 16]; movaps xmm7, [rsp]
    let three = [(5, reload), (9, release), (10, pop)];
    epilogue(
        &[
            0x0f, 0x28, 0x74, 0x24, 0x10, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3,
        ],
        &three,
        step(9, reload),
    );
    let three = [(4, reload), (8, release), (9, pop)];
    epilogue(
        &[0x0f, 0x28, 0x3c, 0x24, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3],
        &three,
        step(9, reload),
    );
    // A reload that nobody is told of, and a register that is kept.
    epilogue(
        &[0x0f, 0x28, 0x34, 0x24, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3],
        &[(8, release), (9, pop)],
        M::Undescribed { offset: 9 },
    );
    epilogue(
        &[0x31, 0xed, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3],
        &[(6, release), (7, pop)],
        M::Undescribed { offset: 9 },
    );
}

#[test]
fn registers_that_change_after_their_reload() {
    // sub rsp, 24; mov [rsp], rsi; mov rsi, [rsp]; xor esi, esi; add rsp, 24; ret
    let code = [
        0x48, 0x83, 0xec, 0x18, 0x48, 0x89, 0x34, 0x24, 0x48, 0x8b, 0x34, 0x24, 0x31, 0xf6, 0x48,
        0x83, 0xc4, 0x18, 0xc3,
    ];
    let reg = Gpr::Rsi;
    let epilogue = Epilogue::new(8, 19).step(12, EpilogueOp::Reload(reg));
    let layout = builder()
        .op(4, Op::Alloc(24))
        .op(8, Op::SaveGpr { reg, offset: 0 })
        .epilogue(epilogue.step(18, EpilogueOp::Release));
    refused(layout, &code, M::Undescribed { offset: 12 });
}

#[test]
fn epilogues_that_windows_does_not_recognise() {
    let both = [(4, EpilogueOp::Release), (5, EpilogueOp::Pop(Gpr::Rbx))];
    let seen = |offset| M::NotRecognised { offset };
    let one = |end: &[u8]| {
        let mut bytes = vec![0x48, 0x83, 0xc4, 0x10, 0x5b];
        bytes.extend(end);
        bytes
    };
    // nop; jmp rax without REX.W; jmp [rax]; jmp to what comes next and to within
    epilogue(&one(&[0x90, 0xc3]), &both, seen(14));
    epilogue(&one(&[0xff, 0xe0]), &both, seen(14));
    epilogue(&one(&[0xff, 0x20]), &both, seen(14));
    epilogue(&one(&[0xeb, 0xf2]), &both, seen(14));
    let mut within = one(&[0xeb, 0x00]);
    within.push(0xc3);
    epilogue(&within, &both, seen(14));
    // Leaves before its end, and does not.
    epilogue(&one(&[0xc3, 0x90]), &both, M::Ending { offset: 14 });
    let nothing = builder().epilogue(Epilogue::new(0, 1));
    refused(nothing, &[0x90], M::Ending { offset: 0 });
    // cpuid
    let later = [(6, EpilogueOp::Release), (7, EpilogueOp::Pop(Gpr::Rbx))];
    let code = [0x0f, 0xa2, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3];
    epilogue(&code, &later, M::Unknown { offset: 9 });
}

/// Why a changed byte may go unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unseen {
    /// Another encoding of the same: bits that mean nothing there, or another move of an SSE register.
    Same,
    /// Which pages are touched, how, and by whom.
    Probe,
    /// Where a chain's `rbp` points if no unwinder uses it.
    SilentChain,
    /// Where the function is left for.
    Target,
}

fn decode(code: &[u8], from: u32, to: u32) -> Vec<Instruction> {
    let code = &code[from as usize..to as usize];
    Decoder::with_ip(64, code, from.into(), DecoderOptions::NONE)
        .into_iter()
        .collect()
}

/// All aligned and unaligned moves of 16 bytes do the same.
fn kind(mnemonic: Mnemonic) -> Mnemonic {
    use Mnemonic as N;
    match mnemonic {
        N::Movups | N::Movupd | N::Movapd | N::Movdqa | N::Movdqu => N::Movaps,
        other => other,
    }
}

fn same(a: &Instruction, b: &Instruction) -> bool {
    let operand = |n| {
        let kind = a.op_kind(n);
        kind == b.op_kind(n)
            && match kind {
                OpKind::Register => a.op_register(n) == b.op_register(n),
                OpKind::Memory => {
                    (a.memory_base(), a.memory_index()) == (b.memory_base(), b.memory_index())
                        && a.memory_displacement64() == b.memory_displacement64()
                        && a.memory_size().size() == b.memory_size().size()
                }
                OpKind::NearBranch64 => a.near_branch64() == b.near_branch64(),
                _ => a.immediate(n) == b.immediate(n),
            }
    };
    a.len() == b.len()
        && kind(a.mnemonic()) == kind(b.mnemonic())
        && a.op_count() == b.op_count()
        && (0..a.op_count()).all(operand)
}

fn unseen(was: &Instruction, is: &Instruction, silent: bool) -> Option<Unseen> {
    use Mnemonic as N;
    let leaves = |one: &Instruction| matches!(one.mnemonic(), N::Ret | N::Jmp);
    let register = was.op0_kind() == OpKind::Register;
    // The size for whoever touches them, if RSP is not set from it.
    let probe = register && matches!(was.op0_register(), Register::R11 | Register::EAX);
    let chain = register && was.op0_register() == Register::RBP;
    match was.mnemonic() {
        _ if same(was, is) => Some(Unseen::Same),
        N::Test | N::Cmp | N::Jge | N::Call => Some(Unseen::Probe),
        N::Mov | N::Sub if probe => Some(Unseen::Probe),
        N::Mov if chain && was.op1_register() == Register::RSP && silent => {
            Some(Unseen::SilentChain)
        }
        _ if leaves(was) && leaves(is) => Some(Unseen::Target),
        _ => None,
    }
}

fn function(spec: &Spec) -> Option<(FrameLayout, Vec<u8>)> {
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(&spec.spec, &mut code).ok()?;
    code.push(0x90);
    emitter.epilogue(&mut code);
    let at = emitter.tail_jump(&mut code);
    code[at..at + 4].copy_from_slice(&0x1000_0000_u32.to_le_bytes());
    emitter.tail_jump_to(&mut code, Gpr::R11).ok()?;
    Some((emitter.finish(&mut code).ok()?, code))
}

#[test]
fn every_byte_counts() {
    let mut runner = TestRunner::deterministic();
    let mut accepted: BTreeMap<Unseen, u32> = BTreeMap::new();
    let mut refused = 0;
    for _ in 0..12 {
        let spec = spec(1 << 18)
            .new_tree(&mut runner)
            .expect("makes one")
            .current();
        let Some((layout, code)) = function(&spec) else {
            continue;
        };
        let mut parts = vec![(0, layout.prologue_len().into())];
        parts.extend(
            layout
                .epilogues()
                .iter()
                .map(|one| (one.start(), one.end())),
        );
        for &(from, to) in &parts {
            let right = decode(&code, from, to);
            for at in from as usize..to as usize {
                for byte in (0..=255).filter(|&byte| byte != code[at]) {
                    let mut wrong = code.clone();
                    wrong[at] = byte;
                    if layout.check_code(&wrong).is_err() {
                        refused += 1;
                        continue;
                    }
                    let now = decode(&wrong, from, to);
                    let silent = layout.frame_register().is_none();
                    // The first difference that is one explains what comes after it in a probe.
                    let differs = |(a, b): &(&Instruction, &Instruction)| !same(a, b);
                    let first = right.iter().zip(&now).find(differs);
                    let why = match first {
                        Some((was, is)) => unseen(was, is, silent),
                        None => Some(Unseen::Same).filter(|_| right.len() == now.len()),
                    };
                    let why = why.unwrap_or_else(|| {
                        panic!("{at} becomes {byte:02x} in {code:02x?}, and that fits {layout:?}")
                    });
                    *accepted.entry(why).or_default() += 1;
                }
            }
        }
    }
    println!("changed bytes: {refused} refused; accepted: {accepted:?}");
    assert!(refused > 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_code_is_a_panic(spec in spec(1 << 20), noise in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
        let Some((layout, mut code)) = function(&spec) else {
            return Ok(());
        };
        let at = at.index(code.len());
        for (byte, noise) in code[at..].iter_mut().zip(noise) {
            *byte = noise;
        }
        let _ = layout.check_code(&code);
        layout.hazards(&code);
    }
}
