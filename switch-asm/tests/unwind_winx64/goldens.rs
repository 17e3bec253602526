//! Prologues whose `UNWIND_INFO` is known: clang's for the same instructions, except where it says otherwise.

use switch_asm::unwind_info::winx64::{Chain, Handler, Options, RuntimeFunction, encode};
use switch_asm::unwind_info::{FrameLayout, Gpr, LayoutBuilder, Op, Xmm};

pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) layout: FrameLayout,
    pub(crate) options: Options<'static>,
    pub(crate) bytes: &'static str,
}

/// Where the entries of chains and handlers are in here.
pub(crate) const PARENT: RuntimeFunction = RuntimeFunction {
    begin: 0x170,
    end: 0x179,
    unwind: 0x8000,
};
pub(crate) const HANDLER: u32 = 0x4000;

pub(crate) fn xmm(number: u8) -> Xmm {
    Xmm::new(number).expect("below 16")
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let value = |digit: u8| char::from(digit).to_digit(16).expect("a digit");
    let byte =
        |pair: &[u8]| u8::try_from(value(pair[0]) * 16 + value(pair[1])).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

fn layout(steps: &[(u32, Op)]) -> FrameLayout {
    let add = |builder: LayoutBuilder, &(end, op): &(u32, Op)| builder.op(end, op);
    let builder = steps.iter().fold(FrameLayout::builder(), add);
    builder.code_len(0x100).finish().expect("a good layout")
}

fn plain(name: &'static str, steps: &[(u32, Op)], bytes: &'static str) -> Golden {
    Golden {
        name,
        layout: layout(steps),
        options: Options::new(),
        bytes,
    }
}

const fn gpr(reg: Gpr, offset: u32) -> Op {
    Op::SaveGpr { reg, offset }
}

fn sse(number: u8, offset: u32) -> Op {
    let reg = xmm(number);
    Op::SaveXmm { reg, offset }
}

const fn frame(reg: Gpr, offset: u16) -> Op {
    Op::SetFrame { reg, offset }
}

/// The frame whose further region is P12: push rbx; sub rsp, 48.
pub(crate) fn parent() -> FrameLayout {
    layout(&[(1, Op::Push(Gpr::Rbx)), (5, Op::Alloc(48))])
}

pub(crate) fn goldens() -> Vec<Golden> {
    use Gpr::{R12, R13, R14, R15, Rbp, Rbx, Rdi, Rsi};
    use Op::{Alloc, Push};
    let mut all = vec![
        plain(
            "P1 push rbp; mov rbp, rsp; sub rsp, 32",
            &[(1, Push(Rbp)), (4, frame(Rbp, 0)), (8, Alloc(32))],
            "01080305 0832 0403 0150 0000",
        ),
        plain("P2 sub rsp, 40", &[(4, Alloc(40))], "01040100 0442 0000"),
        plain(
            "P3 eight pushes; sub rsp, 128",
            &[
                (1, Push(Rbp)),
                (2, Push(Rbx)),
                (3, Push(Rdi)),
                (4, Push(Rsi)),
                (6, Push(R12)),
                (8, Push(R13)),
                (10, Push(R14)),
                (12, Push(R15)),
                (19, Alloc(128)),
            ],
            "01130900 13f2 0cf0 0ae0 08d0 06c0 0460 0370 0230 0150 0000",
        ),
        plain("P4 sub rsp, 136", &[(7, Alloc(136))], "01070200 0701 1100"),
        plain(
            "P5 sub rsp, 524280",
            &[(7, Alloc(524_280))],
            "01070200 0701 ffff",
        ),
        plain(
            "P6 push rbx; sub rsp, 524288",
            &[(1, Push(Rbx)), (8, Alloc(524_288))],
            "01080400 0811 00000800 0130",
        ),
        plain(
            "P7 push r13; sub rsp, 240; lea r13, [rsp + 128]; saves of xmm6, xmm15, rbx, r12",
            &[
                (2, Push(R13)),
                (9, Alloc(240)),
                (17, frame(R13, 128)),
                (22, sse(6, 32)),
                (27, sse(15, 48)),
                (31, gpr(Rbx, 64)),
                (35, gpr(R12, 72)),
            ],
            "01230c8d 23c40900 1f340800 1bf80300 16680200 1103 0901 1e00 02d0",
        ),
        // clang has the far form of xmm7 here already, though 1048560 is 65535 units of 16: 1f79 f0ff0f00 and a slot more.
        plain(
            "P8 sub rsp, 0x110008; saves far away",
            &[
                (7, Alloc(0x11_0008)),
                (15, gpr(Rdi, 524_280)),
                (23, gpr(Rsi, 524_288)),
                (31, sse(7, 1_048_560)),
                (40, sse(8, 1_048_576)),
            ],
            "01280d00 2889 00001000 1f78 ffff 1765 00000800 0f74 ffff 0711 08001100 0000",
        ),
        plain(
            "P9 push rbp; sub rsp, 256; lea rbp, [rsp + 240]",
            &[(1, Push(Rbp)), (8, Alloc(256)), (16, frame(Rbp, 240))],
            "011004f5 1003 0801 2000 0150",
        ),
        plain(
            "P10 an interrupt with an error code; push rax",
            &[(0, Op::MachineFrame { error_code: true }), (1, Alloc(8))],
            "01010200 0102 001a",
        ),
        Golden {
            options: Options::new()
                .with_handler(Handler::new(HANDLER).with_data(&[0x44, 0x33, 0x22, 0x11])),
            ..plain(
                "P11 sub rsp, 40, with a handler",
                &[(4, Alloc(40))],
                "19040100 0442 0000 00400000 44332211",
            )
        },
        plain(
            "P12 push rbx; sub rsp, 48",
            &[(1, Push(Rbx)), (5, Alloc(48))],
            "01050200 0552 0130",
        ),
        Golden {
            options: Options::new().with_chain(Chain::new(&parent(), PARENT)),
            ..plain(
                "P12's further region: mov [rsp + 32], rsi",
                &[(5, gpr(Rsi, 32))],
                "21050200 0564 0400 70010000 79010000 00800000",
            )
        },
        plain("P13 nothing", &[], "01000000 00000000"),
        plain(
            "CL push rbp; mov rbp, rsp, which nobody has to know; sub rsp, 64; saves",
            &[
                (1, Push(Rbp)),
                (8, Alloc(64)),
                (13, gpr(Rbx, 32)),
                (18, gpr(Rsi, 40)),
                (23, sse(6, 48)),
            ],
            "01170800 1768 0300 1264 0500 0d34 0400 0872 0150",
        ),
        plain(
            "CK push rdi; mov eax, 0x12348; call __chkstk; sub rsp, rax",
            &[(1, Push(Rdi)), (14, Alloc(0x1_2348))],
            "010e0300 0e01 6924 0170 0000",
        ),
        plain(
            "BASE the base of a fiber",
            &[
                (0, Push(Rbx)),
                (0, Alloc(8)),
                (0, Push(Rbp)),
                (0, Op::LoadSp { offset: 0 }),
                (0, frame(Rbp, 0)),
            ],
            "01000605 0003 0044 0000 0050 0002 0030",
        ),
        // Microsoft's compiler does that, clang does not.
        plain(
            "HOME mov [rsp + 8], rbx; push rdi; sub rsp, 32",
            &[(6, Push(Rdi)), (10, Alloc(32)), (10, gpr(Rbx, 48))],
            "010a0400 0a34 0600 0a32 0670",
        ),
    ];
    all.push(plain(
        "JIT three pushes; sub rsp, 96; lea rbp, [rsp + 48]; saves of xmm6 and rbx",
        &[
            (1, Push(Rbp)),
            (2, Push(Rsi)),
            (3, Push(Rdi)),
            (7, Alloc(96)),
            (12, frame(Rbp, 48)),
            (17, sse(6, 32)),
            (22, gpr(Rbx, 64)),
        ],
        "01160935 1634 0800 1168 0200 0c03 07b2 0370 0260 0150 0000",
    ));
    all.push(plain(
        "an interrupt without error code",
        &[(0, Op::MachineFrame { error_code: false })],
        "01000100 000a 0000",
    ));
    all
}

#[test]
fn all_have_the_known_bytes() {
    let all = goldens();
    for golden in &all {
        let bytes = encode(&golden.layout, &golden.options).expect(golden.name);
        assert_eq!(bytes, hex(golden.bytes), "{}", golden.name);
    }
    assert_eq!(all.len(), 20);
}

/// Sizes and offsets on both sides of where a form ends.
#[test]
fn the_shortest_form_is_taken() {
    let alloc = |size: u32, bytes: &str| {
        let found = encode(&layout(&[(0, Op::Alloc(size))]), &Options::new()).expect("fits");
        assert_eq!(found, hex(bytes), "an allocation of {size}");
    };
    alloc(8, "01000100 0002 0000");
    alloc(128, "01000100 00f2 0000");
    alloc(136, "01000200 0001 1100");
    alloc(524_280, "01000200 0001 ffff");
    alloc(524_288, "01000300 0011 00000800 0000");
    alloc(0xffff_fff0, "01000300 0011 f0ffffff 0000");
    let save = |op: Op, bytes: &str| {
        let found = encode(&layout(&[(0, op)]), &Options::new()).expect("fits");
        assert_eq!(found, hex(bytes), "{op:?}");
    };
    save(gpr(Gpr::Rbx, 0), "01000200 0034 0000");
    save(gpr(Gpr::R15, 524_280), "01000200 00f4 ffff");
    save(gpr(Gpr::R15, 524_288), "01000300 00f5 00000800 0000");
    save(gpr(Gpr::Rbx, 0xffff_fff8), "01000300 0035 f8ffffff 0000");
    save(sse(6, 0), "01000200 0068 0000");
    save(sse(15, 1_048_560), "01000200 00f8 ffff");
    save(sse(15, 1_048_576), "01000300 00f9 00001000 0000");
    save(sse(6, 0xffff_fff0), "01000300 0069 f0ffffff 0000");
}

#[test]
fn handlers_say_what_they_are_asked_about() {
    let layout = layout(&[(4, Op::Alloc(40))]);
    let with = |handler| encode(&layout, &Options::new().with_handler(handler)).expect("fits");
    let exceptions = with(Handler::new(HANDLER).only_for_exceptions());
    assert_eq!(exceptions, hex("09040100 0442 0000 00400000"));
    let unwinds = with(Handler::new(HANDLER).only_for_unwinds());
    assert_eq!(unwinds, hex("11040100 0442 0000 00400000"));
}

/// In a chain with a frame register, all entries name it.
#[test]
fn a_further_region_has_its_functions_frame_register() {
    let parent = layout(&[
        (1, Op::Push(Gpr::Rbp)),
        (5, Op::Alloc(96)),
        (10, frame(Gpr::Rbp, 48)),
    ]);
    let chain = Options::new().with_chain(Chain::new(&parent, PARENT));
    let trailer = "70010000 79010000 00800000";
    let saves = encode(&layout(&[(5, gpr(Gpr::Rsi, 32))]), &chain).expect("fits");
    assert_eq!(saves, hex(&format!("21050235 0564 0400 {trailer}")));
    // One that saves nothing, and is only elsewhere.
    let nothing = encode(&layout(&[]), &chain).expect("fits");
    assert_eq!(nothing, hex(&format!("21000035 {trailer}")));
    // With an odd number of slots the entry is where it is aligned.
    let odd = encode(&layout(&[(0, gpr(Gpr::Rsi, 524_288))]), &chain).expect("fits");
    assert_eq!(odd, hex(&format!("21000335 0065 00000800 0000 {trailer}")));
}
