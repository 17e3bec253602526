//! How frames are released from a frame register: in the form that Windows looks for.

use switch_asm::unwind_info::emit::{Emitter, Frame, PrologueSpec};
use switch_asm::unwind_info::{Abi, CodeMismatch, Epilogue, EpilogueOp, FrameLayout, Gpr, Op};

#[test]
fn a_displacement_is_written_even_if_it_is_0() {
    let regs = Gpr::ALL.into_iter().filter(|&reg| Abi::Win64.keeps(reg));
    for reg in regs.filter(|&reg| !matches!(reg, Gpr::Rsp | Gpr::R12)) {
        let frame = Frame::At { reg, offset: 32 };
        let spec = PrologueSpec::new(Abi::Win64).frame(frame).locals(32, 8);
        let mut code = Vec::new();
        let mut emitter = Emitter::begin(&spec.dynamic(), &mut code).expect("is a prologue");
        let start = code.len();
        emitter.epilogue(&mut code);
        let layout = emitter.finish(&mut code).expect("is a function");
        let (high, low) = (reg.number() >> 3, reg.number() & 7);
        let release = [0x48 | high, 0x8d, 0x60 | low, 0];
        assert_eq!(code[start..start + 4], release, "{reg:?}");
        assert_eq!(layout.check_code(&code), Ok(()));
    }
}

#[test]
fn without_one_windows_does_not_recognise_it() {
    // push rbx; sub rsp, 32; lea rbx, [rsp + 32]; nop; lea rsp, [rbx + 0] or [rbx]; pop rbx; ret
    let prologue = [
        0x53, 0x48, 0x83, 0xec, 0x20, 0x48, 0x8d, 0x5c, 0x24, 0x20, 0x90,
    ];
    let check = |release: &[u8]| {
        let code = [&prologue, release, &[0x5b, 0xc3]].concat();
        let len = code.len() as u32;
        let (reg, offset) = (Gpr::Rbx, 32);
        let epilogue = Epilogue::new(11, len)
            .step(len - 2, EpilogueOp::Release)
            .step(len - 1, EpilogueOp::Pop(reg));
        let layout = FrameLayout::builder()
            .op(1, Op::Push(reg))
            .op(5, Op::Alloc(32))
            .op(10, Op::SetFrame { reg, offset })
            .epilogue(epilogue);
        let layout = layout.code_len(len).finish().expect("is a layout");
        layout.check_code(&code)
    };
    assert_eq!(check(&[0x48, 0x8d, 0x63, 0x00]), Ok(()));
    assert_eq!(check(&[0x48, 0x8d, 0xa3, 0, 0, 0, 0]), Ok(()));
    let unseen = CodeMismatch::NotRecognised { offset: 11 };
    assert_eq!(check(&[0x48, 0x8d, 0x23]), Err(unseen));
}
