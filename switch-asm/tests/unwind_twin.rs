//! The trampolines' unwind information is written by hand, as directives of the assembler. `unwind_info` must
//! say the same of the same frames: in DWARF, row by row, for this program's; in Windows' format, byte by byte, for those
//! of a UEFI program.

use std::hint::black_box;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection, ObjectSymbol};
use switch_asm::arch::setup_trap_trampoline;
use switch_asm::stack::DefaultStack;
use switch_asm::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};
use switch_asm::unwind_info::winx64::{self, RuntimeFunction};
use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, Op};
use switch_asm::{Coroutine, CoroutineResult, on_stack};

/// One row: how the CFA is found, and where the registers are. Without addresses, which differ.
type Row = (String, Vec<(u16, String)>);

/// A `.eh_frame` section and where it lies.
struct Section<'a> {
    bytes: &'a [u8],
    address: u64,
}

impl Section<'_> {
    /// The row for each byte of the function at `address`.
    fn rows(&self, address: u64) -> Vec<Row> {
        let section = EhFrame::new(self.bytes, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(self.address);
        let fde = section
            .fde_for_address(&bases, address, EhFrame::cie_from_offset)
            .expect("the function has an entry");
        assert_eq!(fde.initial_address(), address);
        assert!(fde.is_signal_trampoline(), "gdb wants to be told");
        let mut context = UnwindContext::new();
        let mut table = fde.rows(&section, &bases, &mut context).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = table.next_row().unwrap() {
            let cfa = match row.cfa() {
                CfaRule::RegisterAndOffset { register, offset } => {
                    format!("r{} {offset:+}", register.0)
                }
                CfaRule::Expression(expression) => {
                    format!("{:x?}", expression.get(&section).unwrap().0.slice())
                }
            };
            let mut rules: Vec<_> = row
                .registers()
                .filter(|(_, rule)| {
                    !matches!(rule, RegisterRule::SameValue | RegisterRule::Undefined)
                })
                .map(|(register, rule)| (register.0, format!("{rule:?}")))
                .collect();
            rules.sort();
            let length = row.end_address() - row.start_address();
            rows.extend((0..length).map(|_| (cfa.clone(), rules.clone())));
        }
        assert_eq!(rows.len() as u64, fde.len());
        rows
    }
}

/// This program: its file, and the code of a function by the end of its name.
struct Program(Vec<u8>);

impl Program {
    fn this() -> Program {
        // Nobody links what nobody calls.
        let three =
            Coroutine::<(), (), _>::new(|_, ()| on_stack(DefaultStack::default(), || 3)).resume(());
        assert_eq!(three, CoroutineResult::Return(3));
        black_box(setup_trap_trampoline::<u8> as *const ());
        Program(std::fs::read("/proc/self/exe").unwrap())
    }

    fn file(&self) -> object::File<'_> {
        object::File::parse(&*self.0).unwrap()
    }

    fn function(&self, name: &str) -> (u64, Vec<u8>) {
        let file = self.file();
        let found: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.name().is_ok_and(|found| found.contains(name)))
            .collect();
        let [symbol] = &*found else {
            panic!("{} functions are called {name}", found.len());
        };
        let section = file.section_by_name(".text").unwrap();
        let rows = self.rows(symbol.address()).len();
        let code = section.data_range(symbol.address(), rows as u64).unwrap();
        (symbol.address(), code.unwrap().to_vec())
    }

    fn rows(&self, address: u64) -> Vec<Row> {
        let file = self.file();
        let section = file.section_by_name(".eh_frame").unwrap();
        let eh_frame = Section {
            bytes: section.data().unwrap(),
            address: section.address(),
        };
        eh_frame.rows(address)
    }
}

/// Behind `instruction`, which stands there once.
fn after(code: &[u8], instruction: &[u8]) -> u32 {
    let found: Vec<_> = code
        .windows(instruction.len())
        .enumerate()
        .filter(|(_, window)| *window == instruction)
        .map(|(at, _)| at + instruction.len())
        .collect();
    let &[end] = &*found else {
        panic!("{instruction:x?} stands there {} times", found.len());
    };
    u32::try_from(end).unwrap()
}

fn our_rows(layout: &FrameLayout) -> Vec<Row> {
    const AT: u64 = 0x1_0000;
    let options = Options::default().signal(true);
    let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, options);
    builder.add(AT, layout).unwrap();
    let bytes = builder.finish(0).unwrap();
    let section = Section {
        bytes: &bytes,
        address: 0,
    };
    section.rows(AT)
}

/// The frame at the base of a stack: RBP is pushed by the instruction that ends at `pushed`, and leads to the rest from `linked` on.
fn base(pushed: u32, linked: u32, code: &[u8]) -> FrameLayout {
    let frame = Op::SetFrame {
        reg: Gpr::Rbp,
        offset: 0,
    };
    FrameLayout::builder()
        .op(0, Op::Push(Gpr::Rbx))
        .op(0, Op::PushReturn)
        .op(pushed, Op::Push(Gpr::Rbp))
        .op(linked, Op::LoadSp { offset: 0 })
        .op(linked, frame)
        .code_len(u32::try_from(code.len()).unwrap())
        .finish()
        .unwrap()
}

const MOV_RBP_RSI: &[u8] = &[0x48, 0x89, 0xf5];
const MOV_RBP_RSP: &[u8] = &[0x48, 0x89, 0xe5];
const MOV_RSP_RBP: &[u8] = &[0x48, 0x89, 0xec];

#[test]
fn rows_at_the_base_of_a_stack() {
    let program = Program::this();
    let (address, code) = program.function("stack_init_trampoline");
    let linked = after(&code, MOV_RBP_RSI);
    // The resume pushed RBX, then called; the trampoline pushes RBP, and then only RBP leads to all that.
    let layout = base(1, linked, &code);
    assert_eq!(our_rows(&layout), program.rows(address));
}

#[test]
fn rows_of_a_call_on_another_stack() {
    let program = Program::this();
    let (address, code) = program.function("stack_call_trampoline");
    let back = after(&code, MOV_RSP_RBP);
    let end = u32::try_from(code.len()).unwrap();
    let layout = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(
            after(&code, MOV_RBP_RSP),
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 0,
            },
        )
        .code_len(end)
        .epilogue(
            Epilogue::new(back - 3, end)
                .step(back, EpilogueOp::Release)
                .step(back + 1, EpilogueOp::Pop(Gpr::Rbp)),
        )
        .finish()
        .unwrap();
    assert_eq!(our_rows(&layout), program.rows(address));
}

#[test]
fn rows_of_a_stack_that_faulted() {
    let program = Program::this();
    let (address, code) = program.function("stack_trap_trampoline");
    let layout = base(0, 0, &code);
    assert_eq!(our_rows(&layout), program.rows(address));
}

#[test]
fn another_frame_is_told_from_it() {
    let program = Program::this();
    let (address, code) = program.function("stack_init_trampoline");
    let linked = after(&code, MOV_RBP_RSI);
    let layout = base(1, linked + 1, &code);
    let (ours, theirs) = (our_rows(&layout), program.rows(address));
    let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
    assert_eq!(differ, 1, "one row begins one byte later");
}

/// `layout`'s `UNWIND_INFO`.
fn xdata(layout: &FrameLayout) -> Vec<u8> {
    winx64::encode(layout, &winx64::Options::new()).unwrap()
}

#[test]
fn bytes_in_a_uefi_program() {
    let Some(path) = std::env::var_os("SWITCH_ASM_UEFI_PROGRAM") else {
        println!("skipped: SWITCH_ASM_UEFI_PROGRAM names no UEFI program; .ci/uefi.sh builds one");
        return;
    };
    let bytes = std::fs::read(path).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let base = file.relative_address_base();
    let at = |rva: u32| {
        let address = base + u64::from(rva);
        let holds = |start: u64, size: u64| (start..start + size).contains(&address);
        let section = file.sections().find(|s| holds(s.address(), s.size()));
        let section = section.expect("it lies in the program");
        &section.data().unwrap()[usize::try_from(address - section.address()).unwrap()..]
    };
    let pdata = file.section_by_name(".pdata").unwrap().data().unwrap();
    let functions: Vec<RuntimeFunction> = pdata
        .chunks_exact(12)
        .map(|entry| RuntimeFunction::from_bytes(entry.try_into().unwrap()))
        .filter(|function| function.begin != 0)
        .collect();
    println!("{} functions", functions.len());
    let all_with = |wanted: &[u8]| -> Vec<RuntimeFunction> {
        let matches = |f: &&RuntimeFunction| at(f.unwind).starts_with(wanted);
        functions.iter().filter(matches).copied().collect()
    };

    // The first half, on the parent's stack. Windows pops a return address last: the resume pushed it twice.
    let first = FrameLayout::builder()
        .op(0, Op::Push(Gpr::Rbx))
        .op(0, Op::Alloc(8))
        .op(1, Op::Push(Gpr::Rbp))
        .code_len(20)
        .finish()
        .unwrap();
    // The second, from which only RBP leads back.
    let second = FrameLayout::builder()
        .op(0, Op::Push(Gpr::Rbx))
        .op(0, Op::Alloc(8))
        .op(0, Op::Push(Gpr::Rbp))
        .op(0, Op::LoadSp { offset: 0 })
        .op(
            0,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 0,
            },
        )
        .code_len(20)
        .finish()
        .unwrap();
    // It is followed by that of the trampoline for traps, which has no first half.
    let bases = all_with(&xdata(&second));
    let wanted = xdata(&first);
    let is_linked = |base: &&RuntimeFunction| {
        functions
            .iter()
            .any(|f| f.end == base.begin && at(f.unwind).starts_with(&wanted))
    };
    assert_eq!(bases.iter().filter(is_linked).count(), 1);
    assert_eq!(bases.len(), 2);

    let call = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(
            4,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 0,
            },
        )
        .code_len(20)
        .finish()
        .unwrap();
    assert!(
        !all_with(&xdata(&call)).is_empty(),
        "a call on another stack"
    );
}
