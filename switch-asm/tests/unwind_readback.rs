//! readelf and llvm-dwarfdump read our sections and find the rows that we say.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;

use switch_asm::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};
use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, Op, Xmm};

fn functions() -> [FrameLayout; 3] {
    let framed = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(8, Op::Alloc(256))
        .op(
            16,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 240,
            },
        )
        .op(
            23,
            Op::SaveXmm {
                reg: Xmm::new(6).expect("there is one"),
                offset: 32,
            },
        )
        .op(
            27,
            Op::SaveGpr {
                reg: Gpr::Rbx,
                offset: 304,
            },
        )
        .epilogue(
            Epilogue::new(30, 36)
                .step(34, EpilogueOp::Release)
                .step(35, EpilogueOp::Pop(Gpr::Rbp)),
        )
        .code_len(40);
    let base = FrameLayout::builder()
        .op(0, Op::Push(Gpr::Rbx))
        .op(0, Op::PushReturn)
        .op(0, Op::Push(Gpr::Rbp))
        .op(0, Op::LoadSp { offset: 0 })
        .op(
            0,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 0,
            },
        )
        .code_len(8);
    let interrupt = FrameLayout::builder()
        .op(0, Op::MachineFrame { error_code: true })
        .op(1, Op::Push(Gpr::Rax))
        .code_len(8);
    [framed, base, interrupt].map(|builder| builder.finish().expect("a valid layout"))
}

/// The output of a program, or `None` if it is not here.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not here");
            return None;
        }
        Err(error) => panic!("{program}: {error}"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program}: {}",
        text(&output.stderr)
    );
    // Warnings would be there.
    assert_eq!(text(&output.stderr), "", "{program}");
    Some(text(&output.stdout))
}

/// An object file with the section, or `None` without objcopy.
fn object(name: &str, encoding: PointerEncoding) -> Option<PathBuf> {
    let mut builder = EhFrameBuilder::new(encoding, Options::default().xmm(true));
    for (at, layout) in (0x1000..).step_by(0x100).zip(functions()) {
        builder.add(at, &layout).expect("it can be said");
    }
    // Object files have no addresses: their sections are all at 0.
    let section = builder.finish(0).expect("no two overlap");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (bytes, object) = (
        folder.join(format!("{name}.bin")),
        folder.join(format!("{name}.o")),
    );
    std::fs::write(&bytes, section).expect("written");
    let arguments = ["-I", "binary", "-O", "elf64-x86-64", "--rename-section"];
    let flags = ".data=.eh_frame,alloc,readonly,data,contents";
    let files = [bytes.to_str(), object.to_str()].map(|path| path.expect("in UTF-8"));
    run("objcopy", &[&arguments[..], &[flags], &files].concat())?;
    Some(object)
}

/// That these occur in `text`, in this order, whatever the spaces.
fn in_order(text: &str, lines: &[&str]) {
    let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = &squeezed[..];
    for line in lines {
        let Some(at) = rest.find(line) else {
            panic!("{line} is missing or misplaced:\n{text}")
        };
        rest = &rest[at + line.len()..];
    }
}

fn readelf(name: &str, encoding: PointerEncoding) {
    let Some(object) = object(name, encoding) else {
        return;
    };
    let arguments = [
        "--debug-dump=frames-interp",
        object.to_str().expect("in UTF-8"),
    ];
    let Some(text) = run("readelf", &arguments) else {
        return;
    };
    in_order(
        &text,
        &[
            "\"zR\" cf=1 df=-8 ra=16",
            "pc=0000000000001000..0000000000001028",
            "0000000000001000 rsp+8 u u c-8 u",
            "0000000000001001 rsp+16 u c-16 c-8 u",
            "0000000000001008 rsp+272 u c-16 c-8 u",
            "0000000000001010 rbp+32 u c-16 c-8 u",
            "0000000000001017 rbp+32 u c-16 c-8 c-240",
            "000000000000101b rbp+32 c+32 c-16 c-8 c-240",
            "0000000000001022 rsp+16 c+32 c-16 c-8 c-240",
            "0000000000001023 rsp+8 c+32 u c-8 c-240",
            "0000000000001024 rbp+32 c+32 c-16 c-8 c-240",
            "\"zRS\" cf=1 df=-8 ra=16",
            "pc=0000000000001100..0000000000001108",
            "0000000000001100 exp c-8 c-24 c-16",
            "pc=0000000000001200..0000000000001208",
            "0000000000001200 rsp+48 u c-16 c-40",
            "0000000000001201 rsp+56 c-56 c-16 c-40",
        ],
    );
}

#[test]
fn readelf_reads_absolute_addresses() {
    readelf("readelf_absolute", PointerEncoding::Absolute);
}

#[test]
fn readelf_reads_relative_addresses() {
    readelf("readelf_relative", PointerEncoding::PcRelative);
}

#[test]
fn llvm_reads_it() {
    let Some(object) = object("llvm", PointerEncoding::Absolute) else {
        return;
    };
    let arguments = ["--eh-frame", object.to_str().expect("in UTF-8")];
    let Some(text) = run("llvm-dwarfdump", &arguments) else {
        return;
    };
    in_order(
        &text,
        &[
            "Augmentation: \"zR\"",
            "pc=00001000...00001028",
            "0x1000: CFA=RSP+8: RIP=[CFA-8]",
            "0x1001: CFA=RSP+16: RBP=[CFA-16], RIP=[CFA-8]",
            "0x1010: CFA=RBP+32: RBP=[CFA-16], RIP=[CFA-8]",
            "0x101b: CFA=RBP+32: RBX=[CFA+32], RBP=[CFA-16], RIP=[CFA-8], XMM6=[CFA-240]",
            "0x1023: CFA=RSP+8: RBX=[CFA+32], RIP=[CFA-8], XMM6=[CFA-240]",
            // LLVM 14 prints another CFA here: it forgets to restore that.
            "0x1024: CFA=",
            "RBX=[CFA+32], RBP=[CFA-16], RIP=[CFA-8], XMM6=[CFA-240]",
            "Augmentation: \"zRS\"",
            "DW_OP_breg6 RBP+0, DW_OP_deref, DW_OP_plus_uconst 0x18: RBX=[CFA-8], RBP=[CFA-24], RIP=[CFA-16]",
            "0x1201: CFA=RSP+56: RAX=[CFA-56], RSP=[CFA-16], RIP=[CFA-40]",
        ],
    );
}
