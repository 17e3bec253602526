//! `.eh_frame` sections, byte by byte, and what they cannot say. The first
//! three were read back by readelf and llvm-dwarfdump when they were written down.

use switch_asm::unwind_info::dwarf::{DwarfError, EhFrameBuilder, Options, PointerEncoding, rows};
use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, LayoutBuilder, Op, Xmm};

use EpilogueOp::{Pop, Release, Reload, ReloadXmm};
use Gpr::{Rbp, Rbx, Rdi, Rsi};

const ADDRESS: u64 = 0x1122_3344_5566_7788;
const CIE: &str = "1400000000000000017a520001781001000c070890010000";
const SIGNAL_CIE: &str = "1400000000000000017a52530001781001000c0708900100";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hexadecimal"))
        .collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|&[high, low]| (high * 16 + low) as u8)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn layout(builder: LayoutBuilder) -> FrameLayout {
    builder.finish().expect("a valid layout")
}

fn section(layout: &FrameLayout, options: Options) -> Vec<u8> {
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, options);
    builder.add(ADDRESS, layout).expect("it can be said");
    assert_eq!(
        builder.section_len(),
        builder.clone().finish(0).expect("one function").len()
    );
    builder.finish(0).expect("one function")
}

/// That the section is `cie`, one entry with `fde` behind its addresses, filled
/// up with zeros, and the end.
#[track_caller]
fn check(layout: &FrameLayout, options: Options, cie: &str, fde: &str) {
    let mut expected = bytes(cie);
    let mut body = bytes(fde);
    // Its length, its distance, two addresses.
    while !(4 + 4 + 16 + body.len()).is_multiple_of(8) {
        body.push(0);
    }
    let len = 4 + 16 + body.len() as u32;
    let distance = expected.len() as u32 + 4;
    expected.extend(len.to_le_bytes());
    expected.extend(distance.to_le_bytes());
    expected.extend(ADDRESS.to_le_bytes());
    expected.extend(u64::from(layout.code_len()).to_le_bytes());
    expected.extend(body);
    expected.extend([0; 4]);
    assert_eq!(hex(&section(layout, options)), hex(&expected));
}

/// That the section is the common one and these bytes.
#[track_caller]
fn check_whole(layout: &FrameLayout, options: Options, rest: &str) {
    let expected = [bytes(CIE), bytes(rest)].concat();
    assert_eq!(hex(&section(layout, options)), hex(&expected));
}

/// `push rbp; nop; pop rbp; ret`
fn push_pop() -> FrameLayout {
    layout(
        FrameLayout::builder()
            .op(1, Op::Push(Rbp))
            .code_len(4)
            .epilogue(Epilogue::new(2, 4).step(3, Pop(Rbp))),
    )
}

/// `push rbp; sub rsp, 256; lea rbp, [rsp + 240]; nop; lea rsp, [rbp + 16]; pop rbp; ret`
fn far_frame() -> LayoutBuilder {
    FrameLayout::builder()
        .op(1, Op::Push(Rbp))
        .op(8, Op::Alloc(256))
        .op(
            16,
            Op::SetFrame {
                reg: Rbp,
                offset: 240,
            },
        )
}

fn jit() -> LayoutBuilder {
    let xmm = Xmm::new(6).expect("there is one");
    FrameLayout::builder()
        .op(1, Op::Push(Rbp))
        .op(2, Op::Push(Rsi))
        .op(3, Op::Push(Rdi))
        .op(7, Op::Alloc(96))
        .op(
            12,
            Op::SetFrame {
                reg: Rbp,
                offset: 48,
            },
        )
        .op(
            17,
            Op::SaveXmm {
                reg: xmm,
                offset: 32,
            },
        )
        .op(
            22,
            Op::SaveGpr {
                reg: Rbx,
                offset: 64,
            },
        )
        .code_len(39)
}

#[test]
fn a_push_and_a_pop() {
    check_whole(
        &push_pop(),
        Options::default(),
        "240000001c00000088776655443322110400000000000000 \
         00410e108602410a410e08c600000000 00000000",
    );
}

#[test]
fn a_frame_register() {
    let far = far_frame()
        .code_len(23)
        .epilogue(Epilogue::new(17, 23).step(21, Release).step(22, Pop(Rbp)));
    check_whole(
        &layout(far),
        Options::default(),
        "2c0000001c0000008877665544332211170000000000000000\
         410e108602470e9002480c0620410a440c0710410e08c600000000",
    );
}

#[test]
fn xmm_registers_when_asked() {
    let epilogue = Epilogue::new(31, 39)
        .step(35, Release)
        .step(36, Pop(Rdi))
        .step(37, Pop(Rsi))
        .step(38, Pop(Rbp));
    let jit = layout(jit().epilogue(epilogue));
    check_whole(
        &jit,
        Options::default().xmm(true),
        "440000001c0000008877665544332211270000000000000000\
         410e108602410e188403410e208504440e8001450c065045970c458308\
         490a440c0720410e18c5410e10c4410e08c600000000",
    );
    check(
        &jit,
        Options::default(),
        CIE,
        "00 410e108602410e188403410e208504440e8001450c06504a8308490a440c0720410e18c5410e10c4410e08c6",
    );
    check(
        &jit,
        Options::default().xmm(true).epilogues(false),
        CIE,
        "00 410e108602410e188403410e208504440e8001450c065045970c458308",
    );
}

#[test]
fn reloads_give_back() {
    let xmm = Xmm::new(6).expect("there is one");
    // movaps xmm6, [rsp + 32]; mov rbx, [rsp + 64]; lea rsp, [rbp + 48]; pops; ret
    let epilogue = Epilogue::new(22, 39)
        .step(27, ReloadXmm(xmm))
        .step(32, Reload(Rbx))
        .step(35, Release)
        .step(36, Pop(Rdi))
        .step(37, Pop(Rsi))
        .step(38, Pop(Rbp));
    check(
        &layout(jit().epilogue(epilogue)),
        Options::default().xmm(true),
        CIE,
        "00 410e108602410e188403410e208504440e8001450c065045970c458308 \
         0a45d745c3430c0720410e18c5410e10c4410e08c6",
    );
}

#[test]
fn code_behind_an_epilogue() {
    // push rbp; mov rbp, rsp; nop; leave; ret; nop; pop rbp; ret
    let two = FrameLayout::builder()
        .op(1, Op::Push(Rbp))
        .op(
            4,
            Op::SetFrame {
                reg: Rbp,
                offset: 0,
            },
        )
        .epilogue(Epilogue::new(5, 7).step(6, Release).step(6, Pop(Rbp)))
        .epilogue(Epilogue::new(8, 10).step(9, Pop(Rbp)))
        .code_len(10);
    check(
        &layout(two),
        Options::default(),
        CIE,
        "00 410e108602430d06 410a410c0708c6410b 410a410c0708c6",
    );
}

#[test]
fn a_register_in_the_callers_home_area() {
    // mov [rsp + 8], rbx; push rdi; sub rsp, 32
    let home = FrameLayout::builder()
        .op(6, Op::Push(Rdi))
        .op(10, Op::Alloc(32))
        .op(
            10,
            Op::SaveGpr {
                reg: Rbx,
                offset: 48,
            },
        )
        .code_len(20);
    // The return address is at 40 from RSP: rbx is at the CFA.
    check(
        &layout(home),
        Options::default(),
        CIE,
        "00 460e108502440e308300",
    );
    let above = FrameLayout::builder()
        .op(4, Op::Alloc(40))
        .op(
            9,
            Op::SaveGpr {
                reg: Rbx,
                offset: 56,
            },
        )
        .op(
            17,
            Op::SaveXmm {
                reg: Xmm::new(15).expect("there is one"),
                offset: 1600,
            },
        )
        .code_len(20);
    check(
        &layout(above),
        Options::default().xmm(true),
        CIE,
        // rbx at CFA + 8, xmm15 at CFA + 1552: -1 and -194 units of -8.
        "00 440e304511037f481120be7e",
    );
}

#[test]
fn long_ways() {
    let long = FrameLayout::builder()
        .op(100, Op::Push(Rbx))
        .epilogue(Epilogue::new(500, 502).step(501, Pop(Rbx)))
        .epilogue(Epilogue::new(100_000, 100_002).step(100_001, Pop(Rbx)))
        .code_len(100_002);
    check(
        &layout(long),
        Options::default(),
        CIE,
        "00 02640e108302 0390010a410e08c3410b 04aa8401000a410e08c3",
    );
}

#[test]
fn the_shortest_way_forward() {
    let ways = [
        (63, "7f"),
        (64, "0240"),
        (255, "02ff"),
        (256, "030001"),
        (65_535, "03ffff"),
        (65_536, "0400000100"),
    ];
    for (start, way) in ways {
        let far = FrameLayout::builder()
            .op(0, Op::Push(Rbx))
            .epilogue(Epilogue::new(start, start + 2).step(start + 1, Pop(Rbx)))
            .code_len(start + 2);
        let fde = format!("00 0e108302 {way} 0a 410e08c3");
        check(&layout(far), Options::default(), CIE, &fde);
    }
}

/// What `switch-asm` has at the base of a coroutine on Linux: `rbp` points at
/// a link, the link at rbp, rip and rbx.
fn fiber_base(end: u32) -> FrameLayout {
    layout(
        FrameLayout::builder()
            .op(0, Op::Push(Rbx))
            .op(0, Op::PushReturn)
            .op(end, Op::Push(Rbp))
            .op(end, Op::LoadSp { offset: 0 })
            .op(
                end,
                Op::SetFrame {
                    reg: Rbp,
                    offset: 0,
                },
            )
            .code_len(0x10),
    )
}

#[test]
fn the_base_of_a_fiber() {
    check(
        &fiber_base(0),
        Options::default(),
        SIGNAL_CIE,
        "00 0f05760006231883019002 8603",
    );
}

#[test]
fn the_base_of_a_fiber_elsewhere() {
    // The link is 16 above where rbp points, minus what rbp is off.
    let base = FrameLayout::builder()
        .op(0, Op::Push(Rbx))
        .op(0, Op::Alloc(8))
        .op(0, Op::Push(Rbp))
        .op(0, Op::LoadSp { offset: 16 })
        .op(
            0,
            Op::SetFrame {
                reg: Gpr::R15,
                offset: 240,
            },
        )
        .code_len(0x10);
    // r15 - 224; a record of 32 bytes with the return address on top.
    check(
        &layout(base),
        Options::default(),
        SIGNAL_CIE,
        "00 0f067fa07e06232083028604",
    );
}

#[test]
fn before_the_return_address_is_there() {
    let late = FrameLayout::builder()
        .op(1, Op::Push(Rbx))
        .op(6, Op::PushReturn)
        .code_len(0x10);
    let late = layout(late);
    check(
        &late,
        Options::default(),
        CIE,
        "00 0e000710 410e088301 450e109002",
    );
    let table: Vec<String> = rows(&late).iter().map(ToString::to_string).collect();
    assert_eq!(
        table,
        [
            "0..1: cfa=rsp+0 rip=?",
            "1..6: cfa=rsp+8 rbx=[cfa-8] rip=?",
            "6..16: cfa=rsp+16 rbx=[cfa-8] rip=[cfa-16]",
        ]
    );
}

#[test]
fn interrupts() {
    let plain = FrameLayout::builder()
        .op(0, Op::MachineFrame { error_code: false })
        .op(1, Op::Push(Gpr::Rax))
        .code_len(0x10);
    // RSP and RIP below the top of the machine's frame; rax below that.
    check(
        &layout(plain),
        Options::default(),
        SIGNAL_CIE,
        "00 0e2887029005 410e308006",
    );
    let with_code = FrameLayout::builder()
        .op(0, Op::MachineFrame { error_code: true })
        .code_len(0x10);
    check(
        &layout(with_code),
        Options::default(),
        SIGNAL_CIE,
        "00 0e3087029005",
    );
}

#[test]
fn many_in_one_section() {
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
    let leaf = FrameLayout::leaf(16).expect("a valid layout");
    builder.add(0x3000, &leaf).expect("it can be said");
    builder.add(0x1000, &fiber_base(0)).expect("it can be said");
    builder.add(0x2000, &push_pop()).expect("it can be said");
    builder.add(0x1010, &fiber_base(4)).expect("it can be said");
    let section = builder.finish(0).expect("no two overlap");
    // Each entry's distance leads to the common information of its kind.
    let word = |at: usize| u32::from_le_bytes(section[at..at + 4].try_into().expect("four"));
    let mut kinds = Vec::new();
    let mut at = 0;
    while word(at) != 0 {
        let distance = word(at + 4) as usize;
        if distance != 0 {
            let common = at + 4 - distance;
            assert_eq!(word(common + 4), 0);
            let kind = &section[common + 9..common + 12];
            kinds.push(String::from_utf8_lossy(kind).into_owned());
        }
        at += 4 + word(at) as usize;
    }
    assert_eq!(at, section.len() - 4);
    assert_eq!(kinds, ["zR\0", "zRS", "zR\0", "zRS"]);
}

#[test]
fn all_are_signals_when_asked() {
    check(
        &push_pop(),
        Options::default().signal(true),
        SIGNAL_CIE,
        "00 410e108602410a410e08c6",
    );
}

#[test]
fn without_functions() {
    let builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
    assert_eq!(builder.section_len(), 4);
    assert_eq!(builder.finish(0), Ok(vec![0; 4]));
}

#[test]
fn relative_addresses_count_from_where_they_are() {
    let mut builder = EhFrameBuilder::new(PointerEncoding::PcRelative, Options::default());
    builder.add(0x1000, &push_pop()).expect("it can be said");
    builder.add(0x9000, &push_pop()).expect("it can be said");
    let section = builder.finish(0x8000).expect("near enough");
    let word = |at: usize| i32::from_le_bytes(section[at..at + 4].try_into().expect("four"));
    assert_eq!(section[16], 0x1b);
    // The first entry is at 24, its address at 32.
    assert_eq!(word(32), 0x1000 - 0x8020);
    assert_eq!(word(36), 4);
    let second = 28 + word(24) as usize;
    assert_eq!(word(second + 8), 0x9000 - 0x8000 - second as i32 - 8);
}

#[test]
fn relative_addresses_reach_two_gibibytes() {
    // The address of the only function is at 32.
    let at = |address: u64, section: u64| {
        let mut builder = EhFrameBuilder::new(PointerEncoding::PcRelative, Options::default());
        builder.add(address, &push_pop()).expect("it can be said");
        builder.finish(section)
    };
    let out_of_reach = |address, field| Err(DwarfError::OutOfReach { address, field });
    let (low, high) = (0x10_0000_0000, 0x10_8000_0000);
    assert!(at(high - 1, low - 32).is_ok());
    assert_eq!(at(high, low - 32), out_of_reach(high, low));
    assert!(at(low, high - 32).is_ok());
    assert_eq!(at(low, high - 31), out_of_reach(low, high + 1));
    assert_eq!(at(ADDRESS, 0), out_of_reach(ADDRESS, 32));
}

#[test]
fn functions_that_are_too_long() {
    let long = FrameLayout::leaf(0x8000_0000).expect("a valid layout");
    let mut builder = EhFrameBuilder::new(PointerEncoding::PcRelative, Options::default());
    let error = DwarfError::FunctionTooLong {
        code_len: 0x8000_0000,
    };
    assert_eq!(builder.add(0, &long), Err(error));
    assert_eq!(builder.section_len(), 4);
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
    assert_eq!(builder.add(0, &long), Ok(()));
}

#[test]
fn functions_behind_the_last_address() {
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
    let error = DwarfError::BeyondAddresses {
        address: u64::MAX - 3,
        code_len: 4,
    };
    assert_eq!(builder.add(u64::MAX - 3, &push_pop()), Err(error));
    assert_eq!(builder.add(u64::MAX - 4, &push_pop()), Ok(()));
}

#[test]
fn functions_that_overlap() {
    let at = |addresses: &[u64]| {
        let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
        for &address in addresses {
            builder.add(address, &push_pop()).expect("it can be said");
        }
        builder.finish(0).map(|_| ())
    };
    assert_eq!(at(&[100, 104, 96]), Ok(()));
    let overlap = |first, second| Err(DwarfError::Overlap { first, second });
    assert_eq!(at(&[100, 100]), overlap(100, 100));
    assert_eq!(at(&[100, 103]), overlap(100, 103));
    assert_eq!(at(&[103, 200, 100]), overlap(100, 103));
}

#[test]
fn errors_say_what_is_wrong() {
    let said = |error: DwarfError| error.to_string();
    assert_eq!(
        said(DwarfError::Overlap {
            first: 16,
            second: 17
        }),
        "the function at 0x10 reaches into the one at 0x11"
    );
    assert!(
        said(DwarfError::BeyondAddresses {
            address: 16,
            code_len: 4
        })
        .contains("0x10")
    );
    assert!(said(DwarfError::FunctionTooLong { code_len: 4 }).contains("4 bytes"));
    assert!(
        said(DwarfError::OutOfReach {
            address: 16,
            field: 32
        })
        .contains("0x20")
    );
    assert!(said(DwarfError::SectionTooLong).contains("2 GiB"));
}
