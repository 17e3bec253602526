//! What no function can be made of, each with what just can.

use switch_asm::unwind_info::emit::{EmitError as E, Emitter, Frame, Probe, PrologueSpec};
use switch_asm::unwind_info::{Abi, Gpr, LayoutError, Xmm};

const MOST: u32 = i32::MAX as u32 - 4096;

fn begin(spec: &PrologueSpec) -> Result<usize, E> {
    let mut code = vec![0xcc];
    let begun = Emitter::begin(spec, &mut code);
    if begun.is_err() {
        assert_eq!(code, [0xcc], "an error leaves the code alone");
    }
    begun.map(|_| code.len() - 1)
}

#[track_caller]
fn bad(spec: PrologueSpec, error: E) {
    assert_eq!(begin(&spec), Err(error), "{spec:?}");
    assert!(!error.to_string().is_empty());
}

#[track_caller]
fn good(spec: PrologueSpec) {
    assert!(begin(&spec).is_ok(), "{spec:?}: {:?}", begin(&spec));
}

const fn sysv() -> PrologueSpec {
    PrologueSpec::new(Abi::SysV)
}

const fn win64() -> PrologueSpec {
    PrologueSpec::new(Abi::Win64)
}

const fn at(reg: Gpr, offset: u16) -> Frame {
    Frame::At { reg, offset }
}

fn xmm(number: u8) -> Xmm {
    Xmm::new(number).expect("below 16")
}

#[test]
fn registers_are_saved_once() {
    let reg = Gpr::Rbx;
    bad(sysv().push(reg).push(reg), E::SavedTwice { reg });
    bad(sysv().push(reg).store(reg), E::SavedTwice { reg });
    bad(sysv().store(reg).store(reg), E::SavedTwice { reg });
    let reg = xmm(6);
    bad(
        win64().store_xmm(reg).store_xmm(reg),
        E::XmmSavedTwice { reg },
    );
    // Saying what a chain pushes anyhow is not saying it twice.
    good(sysv().frame(Frame::Chain).push(Gpr::Rbp));
}

#[test]
fn some_registers_cannot_be_saved() {
    let reg = Gpr::Rsp;
    bad(sysv().push(reg), E::BadSave { reg });
    bad(sysv().store(reg), E::BadSave { reg });
    let reg = Gpr::Rbp;
    bad(sysv().frame(Frame::Chain).store(reg), E::BadSave { reg });
    bad(win64().frame(at(reg, 0)).store(reg), E::BadSave { reg });
    good(win64().store(reg));
    // A probe is done with them before they are saved.
    for (reg, probe) in [
        (Gpr::Rax, Probe::Call),
        (Gpr::R10, Probe::CallAt(0)),
        (Gpr::R11, Probe::Inline),
    ] {
        let spec = |size| sysv().store(reg).locals(size, 8).probe(probe);
        bad(spec(4096), E::BadSave { reg });
        good(spec(4080));
    }
}

#[test]
fn frame_registers_are_kept_by_the_abi_and_understood_by_windows() {
    for reg in [Gpr::Rax, Gpr::Rsp, Gpr::R12, Gpr::Rcx, Gpr::R11] {
        bad(win64().frame(at(reg, 0)), E::BadFrameRegister { reg });
    }
    let reg = Gpr::Rsi;
    bad(sysv().frame(at(reg, 0)), E::BadFrameRegister { reg });
    good(win64().frame(at(reg, 0)));
}

#[test]
fn frame_registers_lead_into_the_frame() {
    let spec = |offset, size| win64().frame(at(Gpr::Rbx, offset)).locals(size, 8);
    for offset in [8, 1, 256, 32] {
        let size = if offset == 256 { 512 } else { 8 };
        bad(
            spec(offset, size),
            E::BadFrameOffset {
                offset: offset.into(),
            },
        );
    }
    good(spec(240, 512));
    // A pushed register, the return address and 16 bytes.
    good(spec(32, 16));
}

#[test]
fn a_moving_chain_saves_little() {
    let chain = |xmms: u8| {
        let spec = sysv().frame(Frame::Chain).dynamic().push(Gpr::Rbx);
        (0..xmms).fold(spec, |spec, n| spec.store_xmm(xmm(n)))
    };
    good(chain(14));
    bad(chain(15), E::BadFrameOffset { offset: 256 });
}

#[test]
fn where_rsp_moves_a_register_leads_back() {
    bad(sysv().dynamic(), E::NoFrameRegister);
    good(sysv().dynamic().frame(Frame::Chain));
}

#[test]
fn locals_are_aligned_to_sixteen_at_most() {
    for align in [0, 3, 12, 32, 4096] {
        bad(sysv().locals(8, align), E::BadAlignment { align });
    }
    for align in [1, 2, 4, 8, 16] {
        good(sysv().locals(8, align));
    }
}

#[test]
fn frames_have_less_than_2_gib() {
    let size = u64::from(MOST) + 1;
    bad(
        sysv().locals(MOST + 1, 1),
        E::FrameTooLarge {
            size: size.next_multiple_of(8),
        },
    );
    good(sysv().locals(MOST / 8 * 8, 1));
    let chain = || sysv().frame(Frame::Chain).dynamic();
    good(chain().locals(MOST / 16 * 16, 1));
    bad(
        chain().locals(u32::MAX, 1),
        E::FrameTooLarge { size: 1 << 32 },
    );
    let calls = sysv().calls(u32::MAX);
    assert!(matches!(begin(&calls), Err(E::FrameTooLarge { .. })));
}

#[test]
fn windows_wants_its_pages_touched() {
    bad(win64().locals(4096, 8), E::NoProbe { size: 4096 });
    good(win64().locals(4088, 8));
    good(win64().locals(4096, 8).probe(Probe::Inline));
    good(sysv().locals(1 << 20, 8));
}

#[test]
fn prologues_have_255_bytes_at_most() {
    // Far stores of everything.
    let spec = |xmms: u8| {
        let kept = Gpr::ALL.into_iter().filter(|&reg| reg != Gpr::Rsp);
        let spec = kept.fold(sysv().calls(1 << 20), PrologueSpec::store);
        (0..xmms).fold(spec, |spec, n| spec.store_xmm(xmm(n)))
    };
    // 15 of 8 bytes, 8 of 8, 7 of 9, and 7.
    let len = begin(&spec(15)).expect("254 bytes");
    assert_eq!(len, 254);
    bad(
        spec(16),
        E::Layout(LayoutError::PrologueTooLong { len: 263 }),
    );
}

#[test]
fn tail_jumps_go_through_registers_that_are_free() {
    let spec = win64().push(Gpr::Rcx);
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(&spec, &mut code).expect("is a prologue");
    let before = code.clone();
    for reg in [Gpr::Rcx, Gpr::Rbx, Gpr::Rsi, Gpr::Rsp] {
        let jump = emitter.tail_jump_to(&mut code, reg);
        assert_eq!(jump, Err(E::BadTailRegister { reg }));
        assert_eq!(code, before);
    }
    assert_eq!(emitter.tail_jump_to(&mut code, Gpr::Rax), Ok(()));
    let layout = emitter.finish(&mut code).expect("is a function");
    assert_eq!(code, [0x51, 0x59, 0x48, 0xff, 0xe0]);
    assert_eq!(layout.check_code(&code), Ok(()));
}

#[test]
fn functions_have_code_and_keep_it() {
    let mut code = Vec::new();
    let empty = Emitter::begin(&sysv(), &mut code).expect("no prologue");
    let finished = empty.finish(&mut code);
    assert_eq!(finished, Err(E::Layout(LayoutError::Empty)));

    code.extend([0x90; 8]);
    let cut = Emitter::begin(&sysv(), &mut code).expect("no prologue");
    code.truncate(4);
    assert_eq!(cut.finish(&mut code), Err(E::BadLength));

    let mut code = Vec::new();
    let cut = Emitter::begin(&sysv().push(Gpr::Rbx), &mut code).expect("a prologue");
    code.clear();
    code.push(0x90);
    code.pop();
    assert!(matches!(cut.finish(&mut code), Err(E::Layout(_))));
}
