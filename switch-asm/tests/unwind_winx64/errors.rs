//! What Windows' format cannot say, and what it is not.

use switch_asm::unwind_info::winx64::{
    Chain, DecodeError, EncodeError, Handler, Options, RuntimeFunction, TableBuilder, decode,
    encode,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, LayoutBuilder, Op};

use crate::goldens::{HANDLER, PARENT, hex, parent, xmm};

fn ops(ops: &[Op]) -> FrameLayout {
    let add = |builder: LayoutBuilder, &op: &Op| builder.op(0, op);
    let builder = ops.iter().fold(FrameLayout::builder(), add);
    builder.code_len(0x100).finish().expect("a good layout")
}

#[test]
fn there_are_255_slots() {
    let large = |count| vec![Op::Alloc(524_288); count];
    // Three slots each.
    let bytes = encode(&ops(&large(85)), &Options::new()).expect("fits");
    assert_eq!(bytes[2], 255);
    assert_eq!(bytes.len(), 4 + 2 * 256);
    assert_eq!(decode(&bytes).expect("good").codes().count(), 85);
    let mut more = large(85);
    more.push(Op::Alloc(8));
    let error = encode(&ops(&more), &Options::new());
    assert_eq!(error, Err(EncodeError::TooManySlots { slots: 256 }));
    let error = encode(&ops(&large(200)), &Options::new());
    assert_eq!(error, Err(EncodeError::TooManySlots { slots: 600 }));
}

#[test]
fn a_return_address_among_the_pushes_cannot_be_said() {
    let layout = ops(&[Op::Push(Gpr::Rbx), Op::PushReturn]);
    let op = Op::PushReturn;
    assert_eq!(
        encode(&layout, &Options::new()),
        Err(EncodeError::Unsupported { op })
    );
}

#[test]
fn a_further_region_has_no_handler() {
    let chain = Options::new().with_chain(Chain::new(&parent(), PARENT));
    let both = chain.with_handler(Handler::new(HANDLER));
    let error = encode(&ops(&[]), &both).expect_err("both");
    assert!(matches!(error, EncodeError::FlagConflict { why } if why.contains("handler")));
}

#[test]
fn a_further_region_only_saves() {
    let chain = Options::new().with_chain(Chain::new(&parent(), PARENT));
    let save = Op::SaveGpr {
        reg: Gpr::Rsi,
        offset: 32,
    };
    let sse = Op::SaveXmm {
        reg: xmm(6),
        offset: 16,
    };
    assert!(encode(&ops(&[save, sse]), &chain).is_ok());
    let (reg, offset) = (Gpr::Rbp, 0);
    let others = [
        vec![Op::Push(Gpr::Rbx)],
        vec![Op::Alloc(8)],
        // The frame register of its function, or another one, is not its own to set.
        vec![Op::SetFrame { reg, offset }],
        vec![Op::LoadSp { offset: 0 }, Op::SetFrame { reg, offset }],
        vec![Op::MachineFrame { error_code: false }],
        vec![Op::Alloc(8), save],
    ];
    for other in others {
        let error = encode(&ops(&other), &chain).expect_err("more than saves");
        assert!(matches!(error, EncodeError::FlagConflict { why } if why.contains("saves")));
    }
}

#[test]
fn the_parent_of_a_region_is_somewhere() {
    let with = |begin, end, unwind| {
        let function = RuntimeFunction { begin, end, unwind };
        let chain = Chain::new(&parent(), function);
        encode(&ops(&[]), &Options::new().with_chain(chain))
    };
    assert!(with(0x10, 0x11, 0x8000).is_ok());
    assert_eq!(
        with(0x10, 0x10, 0x8000),
        Err(EncodeError::Empty { begin: 0x10 })
    );
    assert_eq!(
        with(0x10, 0xf, 0x8000),
        Err(EncodeError::Empty { begin: 0x10 })
    );
    let address = 0x8002;
    assert_eq!(
        with(0x10, 0x11, 0x8002),
        Err(EncodeError::Unaligned { address })
    );
    // So it must be where it goes into a table.
    let mut builder = TableBuilder::new(0);
    let function = RuntimeFunction {
        begin: 9,
        end: 9,
        unwind: 0,
    };
    let chain = Options::new().with_chain(Chain::new(&parent(), function));
    let error = builder.add(0x1000, &ops(&[]), &chain);
    assert_eq!(error, Err(EncodeError::Empty { begin: 9 }));
}

#[track_caller]
fn refused(bytes: &str, error: DecodeError) {
    assert_eq!(
        decode(&hex(bytes)).map(|info| info.codes().count()),
        Err(error),
        "{bytes}"
    );
}

#[track_caller]
fn read(bytes: &str) -> Vec<(u8, Op)> {
    let bytes = hex(bytes);
    let info = decode(&bytes).expect("good");
    info.codes().map(|step| (step.end, step.op)).collect()
}

#[test]
fn only_version_1_is_read() {
    for version in [0, 2, 3, 4, 5, 6, 7] {
        refused(
            &format!("{version:02x}000000 00000000"),
            DecodeError::Version { version },
        );
    }
    assert_eq!(read("01000000"), []);
}

#[test]
fn flags_that_nobody_knows_are_refused() {
    for flags in 0..32 {
        let bytes = format!("{:02x}000000", 1 | flags << 3);
        let trailer = "00".repeat(12);
        match flags {
            0 => _ = read(&bytes),
            1..=4 => {
                _ = read(&format!("{bytes}{trailer}"));
                refused(&bytes, DecodeError::Short);
            }
            _ => refused(&format!("{bytes}{trailer}"), DecodeError::Flags { flags }),
        }
    }
}

#[test]
fn what_is_cut_off_is_refused() {
    let golden = hex("19040100 0442 0000 00400000");
    for len in 0..golden.len() {
        let found = decode(&golden[..len]).map(|_| ());
        assert_eq!(found, Err(DecodeError::Short), "{len} bytes");
    }
    assert!(decode(&golden).is_ok());
    let chained = hex("21050300 0565 04000000 0000 701000007910000000800000");
    for len in 0..chained.len() {
        let found = decode(&chained[..len]).map(|_| ());
        assert_eq!(found, Err(DecodeError::Short), "{len} bytes");
    }
    assert!(decode(&chained).is_ok());
    // Where nothing follows, nobody needs the last slot of an odd number.
    assert_eq!(read("01040100 0442"), [(4, Op::Alloc(40))]);
    refused("01040100 04", DecodeError::Short);
}

#[test]
fn codes_of_other_versions_are_refused() {
    for number in 0..16 {
        let code = number | 0x20;
        let bytes = format!("01000300 00{code:02x} 00000000");
        let known = [0, 2, 4, 5, 8, 9].contains(&number);
        match number {
            // Sets a frame register, which needs one.
            3 => refused(&bytes, DecodeError::NoFrameRegister),
            // Epilogues are version 2's; 7 was never used; an allocation and an interrupt have two kinds.
            _ if !known => refused(&bytes, DecodeError::UnknownCode { code }),
            _ => {
                decode(&hex(&bytes)).expect("known");
            }
        }
    }
    assert_eq!(read("01000300 0011 00000800").len(), 1);
    refused(
        "01000300 0021 00000800",
        DecodeError::UnknownCode { code: 0x21 },
    );
    assert_eq!(
        read("01000100 001a"),
        [(0, Op::MachineFrame { error_code: true })]
    );
    refused("01000100 002a", DecodeError::UnknownCode { code: 0x2a });
}

#[test]
fn operands_are_within_the_count() {
    for code in ["01", "11", "34", "35", "68", "69"] {
        refused(
            &format!("01000100 00{code} 0000 00000000"),
            DecodeError::CutOff,
        );
    }
    for code in ["11", "35", "69"] {
        refused(
            &format!("01000200 00{code} 0000 00000000"),
            DecodeError::CutOff,
        );
        assert_eq!(read(&format!("01000300 00{code} 0000 00000000")).len(), 1);
    }
}

#[test]
fn the_trailer_of_an_odd_number_of_slots_is_aligned() {
    let bytes = hex("19040100 0442 ffff 00400000 44332211");
    let handler = decode(&bytes).expect("good").handler().expect("has one");
    assert_eq!(handler.rva(), 0x4000);
    assert_eq!(handler.data(), [0x44, 0x33, 0x22, 0x11]);
    let bytes = hex("19040200 0701 1100 00400000 44332211");
    let handler = decode(&bytes).expect("good").handler().expect("has one");
    assert_eq!(handler.rva(), 0x4000);
    let bytes = hex("21050100 0502 ffff 70010000 79010000 00800000");
    assert_eq!(decode(&bytes).expect("good").chain(), Some(PARENT));
}

#[test]
fn errors_say_what_is_wrong() {
    let encode = [
        (EncodeError::TooManySlots { slots: 256 }, "256"),
        (
            EncodeError::RvaRange {
                address: 16,
                base: 32,
            },
            "0x10",
        ),
        (EncodeError::Unaligned { address: 18 }, "0x12"),
        (EncodeError::Overlap { address: 16 }, "0x10"),
        (
            EncodeError::Unsupported { op: Op::PushReturn },
            "PushReturn",
        ),
    ];
    for (error, part) in encode {
        assert!(error.to_string().contains(part), "{error}");
    }
    let decode = [
        (DecodeError::Version { version: 2 }, "2"),
        (DecodeError::Flags { flags: 8 }, "0x8"),
        (DecodeError::UnknownCode { code: 6 }, "0x06"),
    ];
    for (error, part) in decode {
        assert!(error.to_string().contains(part), "{error}");
    }
}
