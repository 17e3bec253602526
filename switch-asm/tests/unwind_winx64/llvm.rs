//! LLVM reads what we wrote as we meant it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use switch_asm::unwind_info::winx64::{Options, encode};
use switch_asm::unwind_info::{FrameLayout, Op, Step};

use crate::frames::{Frame, Random};
use crate::goldens::goldens;

/// A folder of one test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

/// Whether a program can be started; if not, says so.
pub(crate) fn is_there(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        println!("skipped: {program} is not installed");
    }
    there
}

/// Runs it to its end; what it prints.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().expect("starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {stdout}\n{stderr}");
    // LLVM succeeds with that on its lips.
    assert!(!stderr.contains("corrupt"), "{command:?}: {stderr}");
    stdout
}

fn code(&Step { end, op }: &Step) -> String {
    let name = |reg: &dyn std::fmt::Debug| format!("{reg:?}").to_uppercase();
    let text = match op {
        Op::Push(reg) => format!("PUSH_NONVOL reg={}", name(&reg)),
        Op::Alloc(size @ ..=128) => format!("ALLOC_SMALL size={size}"),
        Op::Alloc(size) => format!("ALLOC_LARGE size={size}"),
        Op::SetFrame { reg, offset } => {
            format!("SET_FPREG reg={}, offset=0x{offset:X}", name(&reg))
        }
        Op::SaveGpr { reg, offset } if offset > 524_280 => {
            format!("SAVE_NONVOL_FAR reg={}, offset=0x{offset:X}", name(&reg))
        }
        Op::SaveGpr { reg, offset } => {
            format!("SAVE_NONVOL reg={}, offset=0x{offset:X}", name(&reg))
        }
        Op::SaveXmm { reg, offset } if offset > 1_048_560 => {
            format!("SAVE_XMM128_FAR reg={}, offset=0x{offset:X}", name(&reg))
        }
        Op::SaveXmm { reg, offset } => {
            format!("SAVE_XMM128 reg={}, offset=0x{offset:X}", name(&reg))
        }
        Op::LoadSp { offset } => format!("SAVE_NONVOL reg=RSP, offset=0x{offset:X}"),
        Op::MachineFrame { error_code } => {
            let code = if error_code { "yes" } else { "no" };
            format!("PUSH_MACHFRAME errcode={code}")
        }
        Op::PushReturn => unreachable!("cannot be encoded"),
    };
    format!("0x{end:02X}: {text}")
}

/// The lines in which LLVM says it, without those that differ from version to version.
fn meant(layout: &FrameLayout, options: &Options<'_>) -> Vec<String> {
    let mut lines = vec![
        "Version: 1".to_owned(),
        format!("PrologSize: {}", layout.prologue_len()),
    ];
    if options
        .handler()
        .is_some_and(|handler| handler.is_for_exceptions())
    {
        lines.push("ExceptionHandler (0x1)".to_owned());
    }
    if options
        .handler()
        .is_some_and(|handler| handler.is_for_unwinds())
    {
        lines.push("TerminateHandler (0x2)".to_owned());
    }
    match layout.frame_register() {
        Some((reg, offset)) => {
            let name = format!("{reg:?}").to_uppercase();
            lines.push(format!("FrameRegister: {name} (0x{:X})", reg.number()));
            lines.push(format!("FrameOffset: 0x{:X}", offset / 16));
        }
        None => lines.extend(["FrameRegister: -".to_owned(), "FrameOffset: -".to_owned()]),
    }
    lines.extend(layout.steps().iter().rev().map(code));
    if let Some(handler) = options.handler() {
        lines.push(format!("Handler: (0x{:X})", handler.rva()));
    }
    if let Some(chain) = options.chain() {
        let parent = chain.parent();
        lines.push("ChainInfo (0x4)".to_owned());
        lines.push(format!("StartAddress: (0x{:X})", parent.begin));
        lines.push(format!("EndAddress: (0x{:X})", parent.end));
        lines.push(format!("UnwindInfoAddress: (0x{:X})", parent.unwind));
    }
    lines
}

/// What LLVM says of each function, line by line.
fn said(text: &str) -> Vec<Vec<&str>> {
    let blocks = text.split("RuntimeFunction {").skip(1);
    blocks
        .map(|block| block.lines().map(str::trim).collect())
        .collect()
}

#[test]
fn it_reads_what_was_meant() {
    if !is_there("clang") || !is_there("llvm-readobj") {
        return;
    }
    let mut all: Vec<_> = goldens()
        .into_iter()
        .map(|golden| (golden.layout, golden.options))
        .collect();
    let known = all.len();
    let frames = (0..300).map(|seed| Frame::random(&mut Random(seed)).layout);
    all.extend(frames.map(|layout| (layout, Options::new())));

    let mut text = ".text\nf: .zero 16\nf_end:\n".to_owned();
    let (mut xdata, mut pdata) = (String::new(), String::new());
    for (index, (layout, options)) in all.iter().enumerate() {
        let bytes = encode(layout, options).expect("fits");
        let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
        writeln!(xdata, ".p2align 2\nu{index}: .byte {}", bytes.join(",")).expect("a string");
        writeln!(pdata, ".rva f\n.rva f_end\n.rva u{index}").expect("a string");
    }
    write!(
        text,
        ".section .xdata,\"dr\"\n{xdata}.section .pdata,\"dr\"\n{pdata}"
    )
    .expect("a string");
    let folder = folder("unwind-llvm");
    let (source, object) = (folder.join("tables.s"), folder.join("tables.obj"));
    fs::write(&source, text).expect("can be written");
    let mut clang = Command::new("clang");
    run(clang
        .args(["--target=x86_64-pc-windows-msvc", "-c", "-o"])
        .arg(&object)
        .arg(&source));
    let text = run(Command::new("llvm-readobj").arg("--unwind").arg(&object));

    let said = said(&text);
    assert_eq!(said.len(), all.len(), "{text}");
    let mut codes = 0;
    for ((layout, options), said) in all.iter().zip(&said) {
        // The lines of its codes, all of them and in this order; the others anywhere.
        let is_code = |line: &&str| line.starts_with("0x");
        let said_codes: Vec<&str> = said.iter().copied().filter(is_code).collect();
        let meant_codes: Vec<String> = layout.steps().iter().rev().map(code).collect();
        assert_eq!(said_codes, meant_codes, "{layout:?}");
        codes += said_codes.len();
        for line in meant(layout, options) {
            // A further region's frame register is its function's: here it has none.
            assert!(said.contains(&line.as_str()), "{line}: {said:#?}");
        }
    }
    println!(
        "{known} known and {} random layouts, {codes} codes",
        all.len() - known
    );
    assert!(codes > 1000, "{codes}");
}
