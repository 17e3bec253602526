//! Functions that lie in several places, and chains that lead nowhere.

use switch_asm::unwind_info::winx64::{
    Context, DecodeError, Function, Handler, Image, Options, RuntimeFunction, Table, TableBuilder,
    WalkError, decode, virtual_unwind,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, Op};

use crate::goldens::{HANDLER, hex};
use crate::machine::Words;

const BASE: u64 = 0x40_0000;

/// Words from 0x1000 on, each with its own number.
fn numbered() -> Words {
    let words = (0..64).map(|index| (0x1000 + 8 * index, 0xa000 + index));
    Words {
        words: words.collect(),
        ..Words::default()
    }
}

fn save(reg: Gpr, offset: u32) -> FrameLayout {
    let builder = FrameLayout::builder().op(5, Op::SaveGpr { reg, offset });
    builder.code_len(0x20).finish().expect("a good layout")
}

/// A function at 0x2000 with a frame of 48 bytes, a region of it at 0x1000 (before it: distances are negative), a region of
/// that one at 0x3000.
fn three(frame: bool) -> Table {
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(5, Op::Alloc(48));
    let layout = if frame {
        layout.op(
            10,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 32,
            },
        )
    } else {
        layout
    };
    let layout = layout.code_len(0x20).finish().expect("a good layout");
    let mut builder = TableBuilder::new(BASE);
    let handler = Options::new().with_handler(Handler::new(HANDLER));
    let main = builder.add(BASE + 0x2000, &layout, &handler).expect("fits");
    let first = builder
        .add_chained(BASE + 0x1000, &save(Gpr::Rsi, 8), main)
        .expect("fits");
    builder
        .add_chained(BASE + 0x3000, &save(Gpr::Rdi, 16), first)
        .expect("fits");
    builder.finish(BASE + 0x8000).expect("good")
}

/// Steps out of `entry` at `pc`; what comes back is the caller and the handler.
fn step(
    image: &impl Image,
    entry: RuntimeFunction,
    pc: u32,
    context: Context,
) -> Result<(Context, Option<u32>), WalkError> {
    let code = [0x90; 0x20];
    let info = decode(image.unwind_info(entry.unwind).expect("there")).expect("good");
    let function = Function::new(&code, &info).within(entry.begin, image);
    let mut context = context;
    let unwound = virtual_unwind(&function, pc, &mut context, &numbered())?;
    Ok((context, unwound.handler.map(|handler| handler.rva())))
}

#[test]
fn a_region_undoes_what_its_function_did() {
    for frame in [false, true] {
        let table = three(frame);
        let at = |address, pc| {
            let mut context = Context::default();
            // With a frame register RSP is anywhere below.
            *context.gpr_mut(Gpr::Rsp) = if frame { 0x10 } else { 0x1000 };
            *context.gpr_mut(Gpr::Rbp) = 0x1020;
            *context.gpr_mut(Gpr::Rsi) = 1;
            *context.gpr_mut(Gpr::Rdi) = 2;
            let entry = table.function(BASE + address).expect("has one");
            let (caller, handler) = step(&table, entry, pc, context).expect("walks");
            assert_eq!(caller.gpr(Gpr::Rbp), 0xa006);
            assert_eq!(caller.rip, 0xa007);
            assert_eq!(caller.rsp(), 0x1040);
            // In a region all of the function's prologue has run.
            assert_eq!(handler, Some(HANDLER));
            (caller.gpr(Gpr::Rsi), caller.gpr(Gpr::Rdi))
        };
        assert_eq!(at(0x2000, 0x10), (1, 2));
        assert_eq!(at(0x1000, 4), (1, 2));
        assert_eq!(at(0x1000, 5), (0xa001, 2));
        assert_eq!(at(0x3000, 4), (0xa001, 2));
        assert_eq!(at(0x3000, 5), (0xa001, 0xa002));
    }
}

#[test]
fn a_chain_needs_the_rest_of_the_image() {
    let table = three(false);
    let entry = table.function(BASE + 0x1000).expect("has one");
    let info = decode(table.unwind_info(entry.unwind).expect("there")).expect("good");
    let mut context = Context::default();
    let error = virtual_unwind(&Function::new(&[0x90], &info), 0, &mut context, &numbered());
    let rva = info.chain().expect("chained").unwind;
    assert_eq!(error, Err(WalkError::NoInfo { rva }));
    assert_eq!(context, Context::default());
}

/// Entry n's information is the n-th, and is chained to the next.
struct Links(Vec<Vec<u8>>);

impl Links {
    /// So many links, and at the end `last`.
    fn new(count: u32, last: &str) -> Links {
        let link = |index| {
            let mut bytes = hex("21000000");
            bytes.extend(Links::entry(index + 1).to_bytes());
            bytes
        };
        let mut all: Vec<Vec<u8>> = (0..count).map(link).collect();
        all.push(hex(last));
        Links(all)
    }

    const fn entry(index: u32) -> RuntimeFunction {
        RuntimeFunction {
            begin: 0x100 * index,
            end: 0x100 * index + 0x20,
            unwind: index,
        }
    }

    fn step(&self) -> Result<u64, WalkError> {
        let mut context = Context::default();
        *context.gpr_mut(Gpr::Rsp) = 0x1000;
        step(self, Links::entry(0), 0, context).map(|(caller, _)| caller.rip)
    }
}

impl Image for Links {
    fn unwind_info(&self, rva: u32) -> Option<&[u8]> {
        self.0.get(rva as usize).map(Vec::as_slice)
    }

    fn function_at(&self, rva: u32) -> Option<RuntimeFunction> {
        Some(Links::entry(rva / 0x100))
    }
}

#[test]
fn a_chain_has_32_links_at_most() {
    let last = "01000100 0042 0000";
    assert_eq!(Links::new(0, last).step(), Ok(0xa005));
    assert_eq!(Links::new(1, last).step(), Ok(0xa005));
    assert_eq!(Links::new(32, last).step(), Ok(0xa005));
    assert_eq!(Links::new(33, last).step(), Err(WalkError::ChainTooLong));
}

#[test]
fn a_ring_is_an_error() {
    let mut ring = Links::new(1, "");
    ring.0[1] = hex("21000000");
    ring.0[1].extend(Links::entry(0).to_bytes());
    assert_eq!(ring.step(), Err(WalkError::ChainTooLong));
    let mut own = Links::new(1, "");
    own.0[0].splice(4.., Links::entry(0).to_bytes());
    assert_eq!(own.step(), Err(WalkError::ChainTooLong));
}

#[test]
fn a_chain_that_leads_nowhere_is_an_error() {
    let short = Links::new(1, "01");
    assert_eq!(short.step(), Err(WalkError::Info(DecodeError::Short)));
    let other = Links::new(1, "02000000");
    let version = DecodeError::Version { version: 2 };
    assert_eq!(other.step(), Err(WalkError::Info(version)));
    let mut missing = Links::new(2, "");
    missing.0.truncate(2);
    assert_eq!(missing.step(), Err(WalkError::NoInfo { rva: 2 }));
    let text = WalkError::Info(version).to_string();
    assert!(text.contains("version 2"), "{text}");
}

/// What a jump leads to is looked up along chains too: a ring must not hold it up.
#[test]
fn a_ring_is_left_by_jumps() {
    let mut ring = Links::new(1, "");
    ring.0[1] = hex("21000000");
    ring.0[1].extend(Links::entry(1).to_bytes());
    let info = decode(&ring.0[0]).expect("good");
    let mut code = [0x90; 0x20];
    code[..5].copy_from_slice(&[0xe9, 0, 1, 0, 0]);
    let mut context = Context::default();
    *context.gpr_mut(Gpr::Rsp) = 0x1000;
    let function = Function::new(&code, &info).within(0, &ring);
    let unwound = virtual_unwind(&function, 0, &mut context, &numbered());
    assert!(unwound.expect("walks").in_epilogue);
    assert_eq!(context.rip, 0xa000);
}
