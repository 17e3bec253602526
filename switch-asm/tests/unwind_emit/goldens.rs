//! The bytes of known prologues. Those with a name are LLVM's for the same instructions.

use switch_asm::unwind_info::dwarf::{self, EhFrameBuilder, PointerEncoding};
use switch_asm::unwind_info::emit::{Emitter, Frame, Probe, PrologueSpec};
use switch_asm::unwind_info::{Abi, FrameLayout, Gpr, Xmm, winx64};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A function whose body is a `nop`: its code and its layout.
fn function(spec: &PrologueSpec) -> (Vec<u8>, FrameLayout) {
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(spec, &mut code).expect("is a prologue");
    code.push(0x90);
    emitter.epilogue(&mut code);
    let layout = emitter.finish(&mut code).expect("is a function");
    assert_eq!(layout.check_code(&code), Ok(()), "{}", hex(&code));
    (code, layout)
}

#[track_caller]
fn golden(spec: PrologueSpec, prologue: &str, epilogue: &str, info: &str) -> FrameLayout {
    let (code, layout) = function(&spec);
    assert_eq!(hex(&code), format!("{prologue}90{epilogue}"));
    assert_eq!(usize::from(layout.prologue_len()), prologue.len() / 2);
    let bytes = winx64::encode(&layout, &winx64::Options::new()).expect("can be encoded");
    assert_eq!(hex(&bytes), info);
    layout
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
fn p1_a_chain_whose_rsp_moves() {
    let spec = win64().frame(Frame::Chain).dynamic().locals(32, 16);
    golden(
        spec,
        "554889e54883ec20",
        "488d65005dc3",
        "010803050832040301500000",
    );
}

#[test]
fn p2_a_frame_for_calls() {
    golden(
        win64().calls(0),
        "4883ec28",
        "4883c428c3",
        "0104010004420000",
    );
}

#[test]
fn p3_all_pushes() {
    use Gpr::{R12, R13, R14, R15, Rbp, Rbx, Rdi, Rsi};
    let all = [Rbp, Rbx, Rdi, Rsi, R12, R13, R14, R15];
    let spec = all.into_iter().fold(win64(), PrologueSpec::push);
    golden(
        spec.locals(128, 8),
        "5553575641544155415641574881ec80000000",
        "4881c480000000415f415e415d415c5e5f5b5dc3",
        "0113090013f20cf00ae008d006c004600370023001500000",
    );
}

#[test]
fn p4_p5_p6_allocations_of_every_size() {
    golden(
        win64().locals(136, 8),
        "4881ec88000000",
        "4881c488000000c3",
        "0107020007011100",
    );
    golden(
        sysv().locals(524_280, 8),
        "4881ecf8ff0700",
        "4881c4f8ff0700c3",
        "010702000701ffff",
    );
    golden(
        sysv().push(Gpr::Rbx).locals(524_288, 8),
        "534881ec00000800",
        "4881c4000008005bc3",
        "010804000811000008000130",
    );
}

#[test]
fn p9_a_frame_register_within_the_frame() {
    let spec = win64().frame(at(Gpr::Rbp, 240)).locals(256, 16);
    let layout = golden(
        spec,
        "554881ec00010000488dac24f0000000",
        "488d65105dc3",
        "011004f51003080120000150",
    );
    assert_eq!(
        entry(&layout),
        "2c0000001c0000008877665544332211170000000000000000410e108602470e9002480c0620410a440c0710410e08c600000000"
    );
}

#[test]
fn a_push_in_dwarf() {
    let (code, layout) = function(&sysv().push(Gpr::Rbp));
    assert_eq!(hex(&code), "55905dc3");
    assert_eq!(
        entry(&layout),
        "240000001c0000008877665544332211040000000000000000410e108602410a410e08c60000000000000000"
    );
}

/// What `.eh_frame` has after the common information.
fn entry(layout: &FrameLayout) -> String {
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, dwarf::Options::default());
    builder.add(0x1122_3344_5566_7788, layout).expect("fits");
    hex(&builder.finish(0).expect("fits")[24..])
}

#[test]
fn cl_a_chain_that_nobody_is_told_of() {
    // Cranelift's frame, described as it is.
    let spec = win64()
        .frame(Frame::Chain)
        .calls(0)
        .store(Gpr::Rbx)
        .store(Gpr::Rsi)
        .store_xmm(xmm(6));
    golden(
        spec,
        "554889e54883ec4048895c242048897424280f29742430",
        "0f28742430488b5c2420488b7424284883c4405dc3",
        "0117080017680300126405000d34040008720150",
    );
}

#[test]
fn ck_a_probe_by_call() {
    let spec = win64().push(Gpr::Rdi).locals(0x12348, 8).probe(Probe::Call);
    golden(
        spec,
        "57b848230100e8000000004829c4",
        "4881c4482301005fc3",
        "010e03000e01692401700000",
    );
}

#[test]
fn a_jit_frame() {
    let spec = win64()
        .frame(at(Gpr::Rbp, 48))
        .push(Gpr::Rsi)
        .push(Gpr::Rdi)
        .store(Gpr::Rbx)
        .store_xmm(xmm(6))
        .locals(32, 16)
        .calls(0);
    golden(
        spec,
        "5556574883ec60488d6c243048895c24200f29742430",
        "0f287500488b5df0488d65305f5e5dc3",
        "0116093516680300113404000c0307b20370026001500000",
    );
}

#[test]
fn a_chain_whose_rsp_moves_and_that_saves() {
    // rbp leads to the caller's, 32 above the frame base: two pushes and a save of 16 bytes lie between.
    let spec = win64()
        .frame(Frame::Chain)
        .dynamic()
        .push(Gpr::Rbx)
        .push(Gpr::Rdi)
        .store_xmm(xmm(6))
        .locals(16, 16)
        .calls(0);
    golden(
        spec,
        "5553574883ec10488d6c24200f2934244883ec30",
        "0f2875e0488d65f05f5b5dc3",
        "011408251452106800000c030712037002300150",
    );
}

#[test]
fn nothing_at_all() {
    let layout = golden(win64(), "", "c3", "0100000000000000");
    assert!(layout.is_leaf());
    golden(sysv().landing_pad(), "f30f1efa", "c3", "0104000000000000");
}

#[test]
fn pages_are_touched_one_by_one_or_in_a_loop() {
    let spec = |pages: u32| sysv().locals(pages * 4096, 8).probe(Probe::Inline);
    let prologue = |pages| {
        let (code, layout) = function(&spec(pages));
        hex(&code[..layout.prologue_len().into()])
    };
    assert_eq!(
        prologue(3),
        "85842400f0ffff85842400e0ffff85842400d0ffff4881ec00300000"
    );
    assert_eq!(
        prologue(4),
        "49c7c300f0ffff4285041c4981eb001000004981fb00c0ffff7dec4881ec00400000"
    );
    // Below a page, nothing is.
    let (code, _) = function(&sysv().locals(4088, 8).probe(Probe::Inline));
    assert_eq!(hex(&code[..7]), "4881ecf80f0000");
}

#[test]
fn a_call_and_an_end_have_something_between() {
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(&win64().calls(0), &mut code).expect("is a prologue");
    code.extend([0xff, 0xd0]);
    emitter.called(&code);
    emitter.epilogue(&mut code);
    code.extend([0xff, 0xd0]);
    emitter.called(&code);
    let layout = emitter.finish(&mut code).expect("is a function");
    assert_eq!(hex(&code), "4883ec28ffd0904883c428c3ffd0cc");
    assert_eq!(layout.check_code(&code), Ok(()));
    assert_eq!(layout.hazards(&code), []);
    assert_eq!(layout.epilogues()[0].start(), 7);
}
