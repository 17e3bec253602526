//! What is taken for an epilogue, by its instructions, and what is not.

use switch_asm::unwind_info::Gpr;
use switch_asm::unwind_info::winx64::{
    Context, Function, Image, Memory, RuntimeFunction, Unwound, decode, virtual_unwind,
};

use crate::goldens::hex;

/// Every word holds its address.
struct Addresses;

impl Memory for Addresses {
    fn read_u64(&self, address: u64) -> Option<u64> {
        Some(address)
    }
}

const RSP: u64 = 0x10_0000;

/// Steps out of a function that consists of `code`, which begins with 16 `nop`s, from behind these.
/// Its information: `sub rsp, 40`, and perhaps a frame register.
fn step(frame: u8, code: &str) -> (Context, bool) {
    let info = [1, 4, 1, frame, 4, 0x42, 0, 0];
    let code = [vec![0x90; 16], hex(code)].concat();
    let mut context = Context::default();
    for reg in Gpr::ALL {
        *context.gpr_mut(reg) = 0xdead_0000 + u64::from(reg.number());
    }
    *context.gpr_mut(Gpr::Rsp) = RSP;
    *context.gpr_mut(Gpr::Rbp) = RSP + 0x1000;
    *context.gpr_mut(Gpr::R13) = RSP + 0x2000;
    let info = decode(&info).expect("good");
    let function = Function::new(&code, &info);
    let unwound = virtual_unwind(&function, 16, &mut context, &Addresses).expect("walks");
    (context, unwound.in_epilogue)
}

/// That it is an epilogue at whose end the return address is at `rip`.
#[track_caller]
fn is(frame: u8, code: &str, rip: u64) -> Context {
    let (context, in_epilogue) = step(frame, code);
    assert!(in_epilogue, "{code}");
    assert_eq!((context.rip, context.rsp()), (rip, rip + 8), "{code}");
    context
}

#[track_caller]
fn is_not(frame: u8, code: &str) {
    let (context, in_epilogue) = step(frame, code);
    assert!(!in_epilogue, "{code}");
    // The body's way out.
    assert_eq!(context.rip, RSP + 40, "{code}");
}

#[test]
fn it_ends_with_a_return() {
    is(0, "c3", RSP);
    is(0, "c2 10 00", RSP);
    is(0, "f3 c3", RSP);
    is(0, "f2 c3", RSP);
    is_not(0, "90 c3");
    is_not(0, "f3 90");
    is_not(0, "f2 90");
    is_not(0, "cc");
}

#[test]
fn it_ends_with_a_jump_out_of_the_function() {
    // To 1 byte before the function, to its end, to just inside.
    is(0, "e9 eaffffff", RSP);
    is(0, "e9 00000000", RSP);
    is_not(0, "e9 ffffffff");
    is(0, "eb ed", RSP);
    is(0, "eb 00", RSP);
    is_not(0, "eb ff");
    // To the second byte: a loop. To the first: it calls itself.
    is_not(0, "e9 ecffffff");
    is(0, "e9 ebffffff", RSP);
    is(0, "eb ee", RSP);
    is_not(0, "eb ef");
    is(0, "f2 e9 00000000", RSP);
}

#[test]
fn it_ends_with_a_jump_through_memory_or_a_marked_one() {
    is(0, "ff 25 01020304", RSP);
    is_not(0, "ff 24 25 01020304");
    is_not(0, "ff e0");
    // The prefix says that it leaves the function.
    is(0, "48 ff e0", RSP);
    is(0, "49 ff e3", RSP);
    is(0, "48 ff 20", RSP);
    is(0, "48 ff 60 08", RSP);
    is_not(0, "48 ff d0");
    is_not(0, "41 ff e3");
}

#[test]
fn it_begins_with_a_release() {
    is(0, "48 83 c4 28 c3", RSP + 40);
    is(0, "48 83 c4 80 c3", RSP - 128);
    is(0, "48 81 c4 00010000 c3", RSP + 256);
    is(0, "48 81 c4 00ffffff c3", RSP - 256);
    is_not(0, "48 83 c3 28 c3");
    is_not(0, "48 83 ec 28 c3");
    is_not(0, "83 c4 28 c3");
    // Only once, and only at the beginning.
    is_not(0, "48 83 c4 28 48 83 c4 28 c3");
    is_not(0, "58 48 83 c4 28 c3");
}

#[test]
fn a_release_may_come_from_the_frame_register() {
    const RBP: u8 = 5;
    const R13: u8 = 13;
    is(RBP, "48 8d 65 20 c3", RSP + 0x1020);
    is(RBP, "48 8d 65 f0 c3", RSP + 0xff0);
    is(RBP, "48 8d a5 00010000 c3", RSP + 0x1100);
    is(RBP, "48 8d a5 00ffffff c3", RSP + 0xf00);
    is(R13, "49 8d 65 20 c3", RSP + 0x2020);
    is(R13, "49 8d a5 00010000 c3", RSP + 0x2100);
    // From another register, or without one, or into another.
    for (frame, code) in [
        (RBP, "49 8d 65 20 c3"),
        (R13, "48 8d 65 20 c3"),
        (0, "48 8d 65 20 c3"),
        (0, "48 8d 60 20 c3"),
    ] {
        is_not(frame, code);
    }
    is_not(RBP, "48 8d 6d 20 c3");
    // Without a distance it is not recognised, nor is `leave`, nor `mov rsp, rbp`.
    is_not(RBP, "48 8d 24 24 c3");
    is_not(RBP, "c9 c3");
    is_not(RBP, "48 89 ec 5d c3");
}

/// Windows' walker skips the wrong number of bytes; what looks like a distance is the next instruction.
#[test]
fn r12_as_the_frame_register_is_not_understood() {
    // lea rsp, [r12 + 0x20]: the 0x24 is taken for the distance, and 0x20 for the next instruction.
    is_not(12, "49 8d 64 24 20 c3");
    // Where the distance looks like a pop of rbx, the walk goes wrong.
    let context = is(12, "49 8d 64 24 5b c3", 0xdead_000c + 0x24 + 8);
    assert_eq!(context.gpr(Gpr::Rbx), 0xdead_000c + 0x24);
}

#[test]
fn pops_follow() {
    let context = is(0, "5b 41 5c 5d c3", RSP + 24);
    assert_eq!(context.gpr(Gpr::Rbx), RSP);
    assert_eq!(context.gpr(Gpr::R12), RSP + 8);
    assert_eq!(context.gpr(Gpr::Rbp), RSP + 16);
    let context = is(0, "48 83 c4 28 41 5f 40 5e 5f f2 c3", RSP + 40 + 24);
    assert_eq!(context.gpr(Gpr::R15), RSP + 40);
    assert_eq!(context.gpr(Gpr::Rsi), RSP + 48);
    assert_eq!(context.gpr(Gpr::Rdi), RSP + 56);
    is_not(0, "5b 90 c3");
    is_not(0, "53 c3");
    is_not(0, "41 90 c3");
}

#[test]
fn it_is_within_the_function() {
    for cut in [
        "48",
        "48 83",
        "48 83 c4",
        "48 83 c4 28",
        "48 81 c4 00010000",
        "5b",
        "41",
        "f2",
        "f3",
        "e9",
        "e9 000000",
        "eb",
        "ff",
        "48 ff",
    ] {
        let (context, in_epilogue) = step(0, cut);
        assert!(!in_epilogue, "{cut}");
        assert_eq!(context.rip, RSP + 40);
    }
}

/// Three regions: a function, a further region of it, another function.
struct Regions {
    infos: [Vec<u8>; 3],
}

const ENTRIES: [RuntimeFunction; 3] = [
    RuntimeFunction {
        begin: 0x1000,
        end: 0x1100,
        unwind: 0,
    },
    RuntimeFunction {
        begin: 0x2000,
        end: 0x2100,
        unwind: 1,
    },
    RuntimeFunction {
        begin: 0x3000,
        end: 0x3100,
        unwind: 2,
    },
];

impl Image for Regions {
    fn unwind_info(&self, rva: u32) -> Option<&[u8]> {
        self.infos.get(rva as usize).map(Vec::as_slice)
    }

    fn function_at(&self, rva: u32) -> Option<RuntimeFunction> {
        ENTRIES.into_iter().find(|entry| entry.contains(rva))
    }
}

/// A jump to another region of the same function does not leave it; one to its start does.
#[test]
fn jumps_between_regions_of_a_function_are_none() {
    let mut chained = hex("21000000");
    chained.extend(ENTRIES[0].to_bytes());
    let plain = hex("01040100 0442 0000");
    let image = Regions {
        infos: [plain.clone(), chained.clone(), plain],
    };
    let jump = |from: usize, to: i32| {
        let begin = ENTRIES[from].begin;
        let mut code = vec![0x90; 0x100];
        let distance = to - begin.cast_signed() - 0x15;
        code[0x10..0x15].copy_from_slice(&[&[0xe9], &distance.to_le_bytes()[..]].concat());
        let info = decode(&image.infos[from]).expect("good");
        let mut context = Context::default();
        *context.gpr_mut(Gpr::Rsp) = RSP;
        let function = Function::new(&code, &info).within(begin, &image);
        virtual_unwind(&function, 0x10, &mut context, &Addresses)
            .map(|Unwound { in_epilogue, .. }| in_epilogue)
            .expect("walks")
    };
    // From the function and from its region: to both, to the other function, to where nobody is.
    assert!(!jump(0, 0x2000));
    assert!(!jump(0, 0x2080));
    assert!(!jump(0, 0x1080));
    assert!(jump(0, 0x1000));
    assert!(jump(0, 0x3000));
    assert!(jump(0, 0x3080));
    assert!(jump(0, 0x5000));
    assert!(jump(0, -0x1000));
    assert!(!jump(1, 0x1080));
    assert!(jump(1, 0x1000));
    assert!(!jump(1, 0x2000));
    assert!(!jump(1, 0x2080));
    assert!(jump(1, 0x3000));
    assert!(jump(2, 0x1000));
    assert!(jump(2, 0x2000));
}
