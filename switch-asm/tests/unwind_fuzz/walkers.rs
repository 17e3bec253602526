//! Four walkers and what they read: ours and a peer's for each format.

use gimli::{
    BaseAddresses, CieOrFde, EhFrame, Encoding, EvaluationResult, Format, LittleEndian,
    RegisterRule, UnwindContext, UnwindSection, Value,
};
use pe_unwind_info::x86_64::{FunctionTableEntries, Register, UnwindState, XmmRegister};
use switch_asm::unwind_info::dwarf::{self, Column, EhFrameBuilder, PointerEncoding, Rule};
use switch_asm::unwind_info::winx64::{self, Function, Image, RuntimeFunction};
use switch_asm::unwind_info::{FrameLayout, Gpr};

use crate::machine::{CODE, Machine};
use crate::memory::Stacks;
use crate::subject::{Point, Registers};

/// The base of tables.
pub(crate) const BASE: u64 = CODE - 0x1000;
/// Where the only function and its information are, from there.
const FUNCTION: u32 = 0x1000;
const XDATA: u32 = 0x80_0000;
/// Where `.eh_frame` sections are read from.
const SECTION: u64 = CODE + 0x10_0000;

const RSP: usize = 4;

/// Dwarf's numbers of registers.
const RIP: u16 = 16;
const XMM0: u16 = 17;

/// Windows' information of one function.
pub(crate) struct Windows {
    pub(crate) xdata: Vec<u8>,
    pdata: [u8; 12],
}

impl Windows {
    pub(crate) fn new(xdata: Vec<u8>, code_len: usize) -> Windows {
        let entry = RuntimeFunction {
            begin: FUNCTION,
            end: FUNCTION + code_len as u32,
            unwind: XDATA,
        };
        Windows {
            xdata,
            pdata: entry.to_bytes(),
        }
    }

    pub(crate) fn ours(&self, code: &[u8], point: &Point<'_>) -> Option<Registers> {
        let info = winx64::decode(&self.xdata).ok()?;
        walk(&Function::new(code, &info), point.pc, point.machine)
    }

    /// What ours says besides: the frame base, and whether this is an epilogue.
    pub(crate) fn besides(&self, code: &[u8], point: &Point<'_>) -> Option<(u64, bool)> {
        let info = winx64::decode(&self.xdata).ok()?;
        let mut context = winx64::Context {
            gprs: point.machine.gprs,
            ..Default::default()
        };
        let function = Function::new(code, &info);
        let memory = &point.machine.stacks;
        let unwound = winx64::virtual_unwind(&function, point.pc, &mut context, memory).ok()?;
        Some((unwound.frame_base, unwound.in_epilogue))
    }

    pub(crate) fn peer(&self, code: &[u8], point: &Point<'_>) -> Option<Registers> {
        let bytes_at = |rva: u32| match rva {
            XDATA.. => self.xdata.get((rva - XDATA) as usize..),
            _ => code.get((rva - FUNCTION) as usize..),
        };
        peer(&self.pdata, bytes_at, FUNCTION + point.pc, point.machine)
    }
}

/// One step of our walker.
pub(crate) fn walk(function: &Function<'_>, pc: u32, machine: &Machine) -> Option<Registers> {
    let mut context = winx64::Context::default();
    (context.gprs, context.xmms) = (machine.gprs, machine.xmms);
    winx64::virtual_unwind(function, pc, &mut context, &machine.stacks).ok()?;
    Some(Registers {
        gprs: context.gprs,
        xmms: context.xmms,
        rip: context.rip,
    })
}

/// One step of ours in a region: `image` has its table.
pub(crate) fn walk_in(
    image: &winx64::Table,
    code: &[u8],
    rva: u32,
    machine: &Machine,
) -> Option<Registers> {
    let entry = image.function_at(rva)?;
    let info = winx64::decode(image.unwind_info(entry.unwind)?).ok()?;
    let at = entry.begin - FUNCTION;
    let own = &code[at as usize..(entry.end - FUNCTION) as usize];
    let function = Function::new(own, &info).within(entry.begin, image);
    walk(&function, rva - entry.begin, machine)
}

/// One step of the peer's.
pub(crate) fn peer<'m>(
    pdata: &[u8],
    bytes_at: impl FnMut(u32) -> Option<&'m [u8]> + 'm,
    rva: u32,
    machine: &Machine,
) -> Option<Registers> {
    let mut state = State {
        registers: Registers {
            gprs: machine.gprs,
            xmms: machine.xmms,
            rip: 0,
        },
        stacks: &machine.stacks,
    };
    let table = FunctionTableEntries::parse(pdata);
    state.registers.rip = table.unwind_frame(&mut state, bytes_at, rva)?;
    Some(state.registers)
}

struct State<'a> {
    registers: Registers,
    stacks: &'a Stacks,
}

impl UnwindState for State<'_> {
    fn read_register(&mut self, register: Register) -> u64 {
        self.registers.gprs[register as usize]
    }

    fn read_stack(&mut self, address: u64) -> Option<u64> {
        self.stacks.read(address).map(u64::from_le_bytes)
    }

    fn write_register(&mut self, register: Register, value: u64) {
        self.registers.gprs[register as usize] = value;
    }

    fn write_xmm_register(&mut self, register: XmmRegister, value: u128) {
        self.registers.xmms[register as usize] = value;
    }
}

/// How a row finds the CFA.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cfa {
    Register(u16, i64),
    /// An expression, in bytes.
    Expression(Vec<u8>),
    Link(u16, i64, u64),
}

#[derive(Clone, Debug)]
struct Row {
    start: u64,
    end: u64,
    cfa: Cfa,
    /// By DWARF's numbers, from the CFA.
    saved: Vec<(u16, i64)>,
}

/// A table of rows, whoever made it.
pub(crate) struct Rows(Vec<Row>);

impl Rows {
    /// What gimli reads in the section of one function.
    pub(crate) fn gimli(
        layout: &FrameLayout,
        options: dwarf::Options,
        encoding: PointerEncoding,
    ) -> Rows {
        let mut builder = EhFrameBuilder::new(encoding, options);
        // Not the first one of the section, and not its only one.
        let leaf = FrameLayout::leaf(16).expect("has code");
        let mut add = |address, layout| builder.add(address, layout).expect("fits in a section");
        add(CODE - 16, &leaf);
        add(CODE, layout);
        add(CODE + u64::from(layout.code_len()), &leaf);
        let section = builder.finish(SECTION).expect("is in reach");
        Rows(read(&section).expect("gimli reads the section"))
    }

    /// What the module itself says.
    pub(crate) fn ours(layout: &FrameLayout) -> Rows {
        let rows = dwarf::rows(layout).into_iter().map(|row| Row {
            start: CODE + u64::from(row.start),
            end: CODE + u64::from(row.end),
            cfa: match row.cfa {
                dwarf::CfaRule::Register { reg, offset } => {
                    Cfa::Register(reg.dwarf(), offset.cast_signed())
                }
                dwarf::CfaRule::Link {
                    reg,
                    offset,
                    record,
                } => Cfa::Link(reg.dwarf(), offset, record),
            },
            saved: row.rules.into_iter().filter_map(saved).collect(),
        });
        Rows(rows.collect())
    }

    pub(crate) fn walk(&self, point: &Point<'_>) -> Option<Registers> {
        // A return address is looked up by the call that it belongs to.
        let pc = CODE + u64::from(point.pc) - u64::from(point.returns);
        let row = self.0.iter().find(|row| row.start <= pc && pc < row.end)?;
        row.apply(point.machine)
    }
}

fn saved((column, rule): (Column, Rule)) -> Option<(u16, i64)> {
    match rule {
        Rule::At(offset) => Some((column.dwarf(), offset)),
        Rule::Undefined => None,
    }
}

fn read(section: &[u8]) -> gimli::Result<Vec<Row>> {
    let mut frame = EhFrame::new(section, LittleEndian);
    frame.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(SECTION);
    let mut context = UnwindContext::new();
    let mut all = Vec::new();
    let mut entries = frame.entries(&bases);
    while let Some(entry) = entries.next()? {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial.parse(EhFrame::cie_from_offset)?;
        let mut rows = fde.rows(&frame, &bases, &mut context)?;
        while let Some(row) = rows.next_row()? {
            let cfa = match row.cfa() {
                gimli::CfaRule::RegisterAndOffset { register, offset } => {
                    Cfa::Register(register.0, *offset)
                }
                gimli::CfaRule::Expression(expression) => {
                    Cfa::Expression(expression.get(&frame)?.0.slice().to_vec())
                }
            };
            let saved = row.registers().filter_map(|(register, rule)| match rule {
                RegisterRule::Offset(offset) => Some((register.0, *offset)),
                RegisterRule::Undefined => None,
                other => panic!("{other:?}"),
            });
            all.push(Row {
                start: row.start_address(),
                end: row.end_address(),
                cfa,
                saved: saved.collect(),
            });
        }
    }
    Ok(all)
}

impl Row {
    fn apply(&self, machine: &Machine) -> Option<Registers> {
        let word = |address: u64| machine.stacks.read(address).map(u64::from_le_bytes);
        let register = |dwarf: u16| machine.gprs[by_dwarf(dwarf)];
        let cfa = match &self.cfa {
            Cfa::Register(reg, offset) => register(*reg).wrapping_add_signed(*offset),
            Cfa::Link(reg, offset, record) => {
                word(register(*reg).wrapping_add_signed(*offset))?.wrapping_add(*record)
            }
            Cfa::Expression(bytes) => evaluate(bytes, machine)?,
        };
        let mut found = Registers {
            gprs: machine.gprs,
            xmms: machine.xmms,
            rip: 0,
        };
        found.gprs[RSP] = cfa;
        for &(column, offset) in &self.saved {
            let address = cfa.wrapping_add_signed(offset);
            match column {
                RIP => found.rip = word(address)?,
                XMM0.. => {
                    let value = machine.stacks.read(address).map(u128::from_le_bytes);
                    found.xmms[usize::from(column - XMM0)] = value?;
                }
                _ => found.gprs[by_dwarf(column)] = word(address)?,
            }
        }
        Some(found)
    }
}

fn by_dwarf(dwarf: u16) -> usize {
    let reg = Gpr::ALL.into_iter().find(|reg| reg.dwarf() == dwarf);
    reg.expect("a general-purpose register").number().into()
}

fn evaluate(bytes: &[u8], machine: &Machine) -> Option<u64> {
    let encoding = Encoding {
        address_size: 8,
        format: Format::Dwarf32,
        version: 5,
    };
    let expression = gimli::Expression(gimli::EndianSlice::new(bytes, LittleEndian));
    let mut evaluation = expression.evaluation(encoding);
    let mut result = evaluation.evaluate().ok()?;
    loop {
        result = match result {
            EvaluationResult::Complete => break,
            EvaluationResult::RequiresRegister { register, .. } => {
                let value = machine.gprs[by_dwarf(register.0)];
                evaluation
                    .resume_with_register(Value::Generic(value))
                    .ok()?
            }
            EvaluationResult::RequiresMemory { address, .. } => {
                let value = machine.stacks.read(address).map(u64::from_le_bytes)?;
                evaluation.resume_with_memory(Value::Generic(value)).ok()?
            }
            other => panic!("{other:?}"),
        };
    }
    match evaluation.result()[0].location {
        gimli::Location::Address { address } => Some(address),
        ref other => panic!("{other:?}"),
    }
}
