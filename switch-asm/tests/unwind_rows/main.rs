//! At every byte of any function, `gimli` reads from the section what
//! [`rows`] says, and that finds what the caller had in its registers.
//!
//! Files: `layouts` makes functions up, `machine` runs their prologues and epilogues.

mod layouts;
mod machine;

use std::collections::BTreeSet;

use gimli::{BaseAddresses, EhFrame, LittleEndian, Operation, UnwindContext, UnwindSection};
use proptest::prelude::*;
use switch_asm::unwind_info::dwarf::{
    CfaRule, Column, EhFrameBuilder, Options, PointerEncoding, Row, Rule, rows,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, Xmm};

use layouts::layouts;
use machine::Machine;

const SECTION: u64 = 0x40_0000;
const FUNCTION: u64 = 0x50_0000;

/// All that a row can have a rule for.
fn columns() -> impl Iterator<Item = Column> {
    let xmms = (0..16).map(|n| Column::Xmm(Xmm::new(n).expect("there is one")));
    let gprs = Gpr::ALL.into_iter().map(Column::Gpr);
    gprs.chain([Column::Rip]).chain(xmms)
}

fn column(register: gimli::Register) -> Column {
    columns()
        .find(|column| column.dwarf() == register.0)
        .expect("one of ours")
}

/// What `gimli` reads of the only function, row by row, and whether it is a signal's.
fn read(section: &[u8]) -> (Vec<Row>, bool) {
    let mut eh_frame = EhFrame::new(section, LittleEndian);
    eh_frame.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(SECTION);
    let entry = eh_frame
        .fde_for_address(&bases, FUNCTION, EhFrame::cie_from_offset)
        .expect("the function");
    let mut context = UnwindContext::new();
    let mut table = entry
        .rows(&eh_frame, &bases, &mut context)
        .expect("a table");
    let mut found = Vec::new();
    while let Some(row) = table.next_row().expect("a row") {
        let cfa = match row.cfa() {
            gimli::CfaRule::RegisterAndOffset { register, offset } => {
                let Column::Gpr(reg) = column(*register) else {
                    panic!("not a register")
                };
                let offset = u64::try_from(*offset).expect("upwards");
                CfaRule::Register { reg, offset }
            }
            gimli::CfaRule::Expression(expression) => {
                let expression = expression.get(&eh_frame).expect("in the section");
                link(expression, entry.cie().encoding())
            }
        };
        let mut rules: Vec<_> = row
            .registers()
            .map(|(register, rule)| match rule {
                gimli::RegisterRule::Offset(offset) => (column(*register), Rule::At(*offset)),
                gimli::RegisterRule::Undefined => (column(*register), Rule::Undefined),
                other => panic!("{other:?} for {register:?}"),
            })
            .collect();
        rules.sort_by_key(|rule| rule.0);
        let at = |address: u64| u32::try_from(address - FUNCTION).expect("in the function");
        found.push(Row {
            start: at(row.start_address()),
            end: at(row.end_address()),
            cfa,
            rules,
        });
    }
    (found, entry.is_signal_trampoline())
}

fn link(
    expression: gimli::Expression<gimli::EndianSlice<'_, LittleEndian>>,
    encoding: gimli::Encoding,
) -> CfaRule {
    let mut operations = expression.operations(encoding);
    let mut next = || operations.next().expect("an operation");
    let Some(Operation::RegisterOffset {
        register, offset, ..
    }) = next()
    else {
        panic!("not from a register")
    };
    assert!(matches!(next(), Some(Operation::Deref { size: 8, .. })));
    let Some(Operation::PlusConstant { value: record }) = next() else {
        panic!("no record")
    };
    assert_eq!(next(), None);
    let Column::Gpr(reg) = column(register) else {
        panic!("not a register")
    };
    CfaRule::Link {
        reg,
        offset,
        record,
    }
}

fn section(layout: &FrameLayout, encoding: PointerEncoding, options: Options) -> Vec<u8> {
    let mut builder = EhFrameBuilder::new(encoding, options);
    // Others around it.
    let leaf = FrameLayout::leaf(16).expect("a valid layout");
    builder.add(FUNCTION - 16, &leaf).expect("it can be said");
    builder.add(FUNCTION, layout).expect("it can be said");
    let behind = FUNCTION + u64::from(layout.code_len());
    builder.add(behind, &leaf).expect("it can be said");
    builder.finish(SECTION).expect("no two overlap")
}

fn row_at(rows: &[Row], offset: u32) -> &Row {
    let mut found = rows
        .iter()
        .filter(|row| (row.start..row.end).contains(&offset));
    let row = found.next().expect("a row for each byte");
    assert_eq!(found.next(), None);
    row
}

/// Without the rows of `gimli`'s that change nothing.
fn joined(rows: Vec<Row>) -> Vec<Row> {
    let mut joined: Vec<Row> = Vec::new();
    for row in rows.into_iter().filter(|row| row.start < row.end) {
        match joined.last_mut() {
            Some(last) if (last.end, last.cfa, &last.rules) == (row.start, row.cfa, &row.rules) => {
                last.end = row.end;
            }
            _ => joined.push(row),
        }
    }
    joined
}

/// What `rows` promises of neighbours.
fn check_borders(rows: &[Row], code_len: u32) -> Result<(), TestCaseError> {
    prop_assert_eq!(rows[0].start, 0);
    prop_assert_eq!(rows[rows.len() - 1].end, code_len);
    for pair in rows.windows(2) {
        prop_assert_eq!(pair[0].end, pair[1].start);
        prop_assert!(pair[0].cfa != pair[1].cfa || pair[0].rules != pair[1].rules);
    }
    Ok(())
}

/// Where something may be different from the byte before, and the last byte.
fn places(layout: &FrameLayout, rows: &[Row]) -> BTreeSet<u32> {
    let steps = layout.steps().iter().map(|step| u32::from(step.end));
    let undone = layout.epilogues().iter().flat_map(|epilogue| {
        let ends = epilogue.steps().iter().map(|step| step.end);
        ends.chain([epilogue.start(), epilogue.end()])
    });
    let rows = rows.iter().flat_map(|row| [row.start, row.end - 1]);
    let all = steps.chain(undone).chain(rows);
    all.filter(|&at| at < layout.code_len()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn gimli_reads_the_rows(layout in layouts(), relative: bool, signal: bool) {
        let encoding = if relative { PointerEncoding::PcRelative } else { PointerEncoding::Absolute };
        let options = Options::default().xmm(true).signal(signal);
        let (theirs, is_signal) = read(&section(&layout, encoding, options));
        check_borders(&rows(&layout), layout.code_len())?;
        prop_assert_eq!(rows(&layout), joined(theirs));
        let (base, interrupt) = layouts::kind(&layout);
        prop_assert_eq!(is_signal, signal || base || interrupt);
    }

    #[test]
    fn options_leave_out_what_they_say(layout in layouts()) {
        let mut without = rows(&layout);
        for row in &mut without {
            row.rules.retain(|(column, _)| !matches!(column, Column::Xmm(_)));
        }
        let (theirs, _) = read(&section(&layout, PointerEncoding::Absolute, Options::default()));
        prop_assert_eq!(joined(without), joined(theirs));
        let options = Options::default().xmm(true).epilogues(false);
        let (theirs, _) = read(&section(&layout, PointerEncoding::Absolute, options));
        prop_assert_eq!(rows(&layouts::without_epilogues(&layout)), joined(theirs));
    }

    #[test]
    fn rows_find_what_the_caller_had(layout in layouts()) {
        let table = rows(&layout);
        let mut machine = Machine::new(&layout);
        for offset in places(&layout, &table) {
            machine.arrive(offset);
            machine.check(row_at(&table, offset)).map_err(|why| {
                TestCaseError::fail(format!("at {offset}: {why}"))
            })?;
        }
        prop_assert_eq!(machine.left(), 0);
    }
}

/// What is looked for is there: the tests above would pass if `layouts` made leaves only.
#[test]
fn all_kinds_are_made() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut bases, mut interrupts, mut far, mut home) = (0, 0, 0, 0);
    let (mut epilogues, mut framed) = (0, 0);
    for _ in 0..500 {
        let layout = layouts().new_tree(&mut runner).expect("a layout").current();
        let (base, interrupt) = layouts::kind(&layout);
        bases += u32::from(base);
        interrupts += u32::from(interrupt);
        framed += u32::from(layout.frame_register().is_some());
        epilogues += layout.epilogues().len();
        for row in rows(&layout) {
            far += u32::from(row.end - row.start > 0x100);
            home += u32::from(
                row.rules
                    .iter()
                    .any(|rule| matches!(rule.1, Rule::At(at) if at > 0)),
            );
        }
    }
    println!("{bases} {interrupts} {far} {home} {epilogues} {framed}");
    assert!(bases > 20 && interrupts > 20 && far > 20 && home > 20);
    assert!(epilogues > 200 && framed > 100);
}
