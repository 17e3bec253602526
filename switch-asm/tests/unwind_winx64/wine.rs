//! Wine's `RtlVirtualUnwind` says the same as ours, where Wine is installed.
//!
//! Every word of the stack is the address of another word: wherever a walk reads, what it finds tells where, and leads on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use switch_asm::unwind_info::winx64::{
    Context, Function, Handler, Image, Memory, Options, Table, TableBuilder, Unwound, WalkError,
    decode, virtual_unwind,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, LayoutBuilder, Op};

use crate::cranelift;
use crate::frames::{Frame, Moment, Random};
use crate::goldens::{HANDLER, goldens, hex};
use crate::llvm::{folder, is_there, run};

/// Where the program has these too.
const IMAGE: u64 = 0x1_8000_0000;
const XDATA: u64 = IMAGE + 0x8000;
const STACK: u64 = 0x2_0000_0000;
const WORDS: u64 = 1 << 20;

struct Stack;

impl Memory for Stack {
    fn read_u64(&self, address: u64) -> Option<u64> {
        let index = address.checked_sub(STACK)? / 8;
        assert!(address.is_multiple_of(8), "{address:#x}");
        (index < WORDS).then(|| STACK + 8 * (index.wrapping_mul(0x3_7b15) + 0x1234) % (8 * WORDS))
    }
}

/// The cases, as the program reads them.
#[derive(Default)]
struct Cases {
    bytes: Vec<u8>,
    count: u32,
    /// What each is, for who looks at one that differs.
    what: Vec<String>,
    /// Which led out of the stack, so that there is nothing to compare.
    out: u32,
    in_epilogue: u32,
    handled: u32,
    chained: u32,
}

impl Cases {
    fn words(&mut self, words: impl IntoIterator<Item = u64>) {
        self.bytes
            .extend(words.into_iter().flat_map(u64::to_le_bytes));
    }

    fn registers(&mut self, context: &Context) {
        self.words(context.gprs);
        self.words([context.rip]);
        self.words(
            context
                .xmms
                .iter()
                .flat_map(|&xmm| [xmm as u64, (xmm >> 64) as u64]),
        );
    }

    /// A walk from `pc` in the function at `address`.
    fn add(&mut self, table: &Table, address: u64, code: &[u8], pc: u32, context: Context) {
        let entry = table.function(address).expect("has one");
        let info = decode(table.unwind_info(entry.unwind).expect("there")).expect("good");
        let function = Function::new(code, &info).within(entry.begin, table);
        let mut caller = context;
        let unwound = match virtual_unwind(&function, pc, &mut caller, &Stack) {
            Ok(unwound) => unwound,
            Err(WalkError::Memory { .. }) => return self.out += 1,
            Err(error) => panic!("{error}"),
        };
        let Unwound {
            frame_base,
            handler,
            in_epilogue,
            ..
        } = unwound;
        let handler = handler.map_or(0, |handler| handler.rva());
        let len = |bytes: &[u8]| u64::try_from(bytes.len()).expect("short");
        self.words(
            [
                entry.begin,
                entry.end,
                entry.unwind,
                pc,
                in_epilogue.into(),
                handler,
            ]
            .map(u64::from),
        );
        self.words([frame_base, len(code), len(&table.xdata)]);
        self.registers(&context);
        self.registers(&caller);
        self.bytes.extend(code);
        self.bytes.extend(&table.xdata);
        self.count += 1;
        let codes: Vec<_> = info.codes().map(|step| (step.end, step.op)).collect();
        self.what.push(format!(
            "at {pc} of {entry:x?}, prologue {}: {codes:?}",
            info.prologue_len()
        ));
        self.in_epilogue += u32::from(in_epilogue);
        self.handled += u32::from(handler != 0);
        self.chained += u32::from(info.chain().is_some());
    }
}

/// Registers of which each is an address in the stack, RSP far from its ends and aligned.
fn registers(random: &mut Random, frame: Option<(Gpr, u16)>) -> Context {
    let mut context = Context::default();
    context
        .gprs
        .fill_with(|| STACK + 8 * (random.next() % WORDS));
    context
        .xmms
        .fill_with(|| u128::from(random.next()) << 64 | u128::from(random.next()));
    let base = STACK + 0x10_0000 + 16 * u64::from(random.below(1000));
    *context.gpr_mut(Gpr::Rsp) = base;
    if let Some((reg, offset)) = frame {
        *context.gpr_mut(reg) = base + u64::from(offset);
        *context.gpr_mut(Gpr::Rsp) -= 16 * u64::from(random.below(100));
    }
    context
}

fn called(cases: &mut Cases, random: &mut Random) {
    // Wine 8 takes no jump for the end of an epilogue, nor a `repne ret`, and adds what `ret n` says, which Windows does not.
    let frame = Frame::returning(random);
    let address = IMAGE + 0x1000;
    // Where there is nothing to undo, newer Windows and Wine do not look for an epilogue: then the handler would be asked.
    let options = match random.below(4) {
        _ if frame.layout.is_leaf() => Options::new(),
        0 => Options::new(),
        _ => Options::new().with_handler(Handler::new(HANDLER)),
    };
    let mut builder = TableBuilder::new(IMAGE);
    let id = builder.add(address, &frame.layout, &options).expect("fits");
    // Where it saves, in half of the cases also elsewhere; or the region is elsewhere and saves nothing.
    let saves = frame
        .layout
        .steps()
        .iter()
        .filter(|step| matches!(step.op, Op::SaveGpr { .. } | Op::SaveXmm { .. }));
    let region = saves.fold(FrameLayout::builder(), |builder, step| {
        builder.op(step.end.into(), step.op)
    });
    let region = region.code_len(0x200).finish().expect("a good layout");
    let elsewhere = IMAGE + random.pick(&[0x800, 0x3000]);
    builder.add_chained(elsewhere, &region, id).expect("fits");
    let table = builder.finish(XDATA).expect("good");
    if table.function(address).is_none() {
        return;
    }
    for &(pc, moment) in &frame.points {
        let mut context = registers(random, frame.layout.frame_register());
        // Before the frame register is set it is something else.
        if let Moment::Prologue(_) = moment {
            *context.gpr_mut(Gpr::Rsp) &= !0xf;
        }
        cases.add(&table, address, &frame.code, pc, context);
    }
    let code = vec![0x90; 0x200];
    for _ in 0..3 {
        let context = registers(random, frame.layout.frame_register());
        cases.add(&table, elsewhere, &code, random.below(0x200), context);
    }
}

/// From everywhere in a function of `nop`s.
fn everywhere(cases: &mut Cases, random: &mut Random, layout: &FrameLayout) {
    let address = IMAGE + 0x1000;
    let mut builder = TableBuilder::new(IMAGE);
    // With a handler a function that saves nothing has an entry too.
    let options = Options::new().with_handler(Handler::new(HANDLER));
    builder.add(address, layout, &options).expect("fits");
    let table = builder.finish(XDATA).expect("good");
    let code = vec![0x90; layout.code_len() as usize];
    for pc in 0..layout.code_len().min(u32::from(layout.prologue_len()) + 3) {
        let context = registers(random, layout.frame_register());
        cases.add(&table, address, &code, pc, context);
    }
}

fn ops(ops: &[Op]) -> FrameLayout {
    let add = |builder: LayoutBuilder, (end, &op): (u32, &Op)| builder.op(end, op);
    let builder = (0..).zip(ops).fold(FrameLayout::builder(), add);
    builder.code_len(0x40).finish().expect("a good layout")
}

/// The base of a fiber: what it was resumed from is elsewhere. All of it is there from the first instruction on; where the frame
/// register is not yet one Wine 8 counts from it nonetheless.
fn base(random: &mut Random) -> FrameLayout {
    let mut all = vec![
        Op::Push(Gpr::Rbx),
        Op::Alloc(8),
        Op::Push(Gpr::R15),
        Op::Alloc(8 + 8 * random.below(9)),
    ];
    all.truncate(random.below(5) as usize);
    let reg = random.pick(&[Gpr::Rbp, Gpr::Rsi, Gpr::R13]);
    let (offset, load) = (random.pick(&[0, 16, 240]), 8 * random.below(9));
    all.extend([Op::LoadSp { offset: load }, Op::SetFrame { reg, offset }]);
    let builder = all
        .iter()
        .fold(FrameLayout::builder(), |builder, &op| builder.op(0, op));
    builder.code_len(0x40).finish().expect("a good layout")
}

fn interrupt(random: &mut Random) -> FrameLayout {
    let mut all = vec![Op::MachineFrame {
        error_code: random.one_in(2),
    }];
    let regs = [Gpr::Rax, Gpr::Rcx, Gpr::Rbp, Gpr::R11, Gpr::R15];
    all.extend(
        regs.iter()
            .take(random.below(6) as usize)
            .map(|&reg| Op::Push(reg)),
    );
    all.push(Op::Alloc(8 + 8 * random.below(40)));
    if random.one_in(2) {
        let (reg, offset) = (Gpr::Rbx, 0);
        all.push(Op::SaveGpr { reg, offset });
    }
    ops(&all)
}

/// Cranelift's bytes are in no table of ours.
fn cranelift(cases: &mut Cases, random: &mut Random, bytes: &str, layout: &FrameLayout) {
    let address = IMAGE + 0x1000;
    let mut builder = TableBuilder::new(IMAGE);
    builder.add(address, layout, &Options::new()).expect("fits");
    let mut table = builder.finish(XDATA).expect("good");
    let mut context = registers(random, None);
    *context.gpr_mut(Gpr::Rbp) = context.rsp() + layout.frame_size() - 8;
    cases.add(&table, address, &[0x90; 0x40], 0x30, context);
    table.xdata = hex(bytes);
    cases.add(&table, address, &[0x90; 0x40], 0x30, context);
}

fn compiled() -> Option<PathBuf> {
    let compiler = "x86_64-w64-mingw32-gcc";
    if !is_there(compiler) || !is_there("wine") {
        return None;
    }
    let program = folder("unwind-wine").join("vunw.exe");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wine/vunw.c");
    let mut gcc = Command::new(compiler);
    run(gcc
        .args([
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fno-strict-aliasing",
            "-o",
        ])
        .arg(&program)
        .arg(source));
    Some(program)
}

/// Wine, with a home of its own and without pictures.
fn wine(program: &PathBuf, cases: &[u8]) -> std::process::Output {
    let folder = folder("unwind-wine");
    fs::write(folder.join("cases.bin"), cases).expect("can be written");
    Command::new("wine")
        .arg(program)
        .arg("cases.bin")
        .current_dir(&folder)
        .env("WINEPREFIX", folder.join("prefix"))
        .env("WINEDEBUG", "-all")
        .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
        .output()
        .expect("starts")
}

#[test]
fn it_walks_as_wine_does() {
    let Some(program) = compiled() else { return };
    let mut random = Random(1);
    let mut cases = Cases::default();
    for golden in goldens() {
        if golden.options.chain().is_none() {
            everywhere(&mut cases, &mut random, &golden.layout);
        }
    }
    let known = cases.count;
    cranelift(
        &mut cases,
        &mut random,
        cranelift::CRANELIFT,
        &cranelift::small(),
    );
    cranelift(
        &mut cases,
        &mut random,
        cranelift::CRANELIFT_LARGE,
        &cranelift::large(),
    );
    while cases.count < 12_000 {
        for _ in 0..10 {
            called(&mut cases, &mut random);
        }
        let layout = base(&mut random);
        everywhere(&mut cases, &mut random, &layout);
        let layout = interrupt(&mut random);
        everywhere(&mut cases, &mut random, &layout);
    }
    println!(
        "{} points, {known} in known frames, {} in epilogues, {} in chained regions, {} with a handler; {} led out of the stack",
        cases.count, cases.in_epilogue, cases.chained, cases.handled, cases.out
    );
    let output = wine(&program, &cases.bytes);
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    for (index, what) in cases.what.iter().enumerate() {
        if text.contains(&format!("point {index}:")) {
            println!("point {index} is {what}");
        }
    }
    assert!(output.status.success());
    assert!(text.contains(&format!("{} points agree", cases.count)));

    // And it does compare: a caller's register that is another.
    let mut one = Cases::default();
    everywhere(
        &mut one,
        &mut random,
        &ops(&[Op::Push(Gpr::Rbx), Op::Alloc(8)]),
    );
    let caller = 9 * 8 + 49 * 8;
    one.bytes[caller + 8 * 3] ^= 1;
    let output = wine(&program, &one.bytes);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(text.contains("rbx"), "{text}");
}
