//! Function tables: order, ranges, what is kept once.

use std::collections::HashMap;

use switch_asm::unwind_info::winx64::{
    Chain, EncodeError, Handler, Image, Options, RuntimeFunction, Table, TableBuilder, decode,
    encode,
};
use switch_asm::unwind_info::{FrameLayout, Gpr, Op};

use crate::goldens::{HANDLER, xmm};

const BASE: u64 = 0x7fff_0000_0000;
const XDATA: u64 = BASE + 0x10_0000;

fn frame(size: u32, code_len: u32) -> FrameLayout {
    let builder = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx));
    let builder = builder.op(8, Op::Alloc(size)).code_len(code_len);
    builder.finish().expect("a good layout")
}

fn leaf(code_len: u32) -> FrameLayout {
    FrameLayout::leaf(code_len).expect("has code")
}

/// Every entry and its bytes, up to the end of all.
fn of(table: &Table) -> Vec<(u32, u32, Vec<u8>)> {
    let bytes = |entry: &RuntimeFunction| table.unwind_info(entry.unwind).expect("there").to_vec();
    let all = table.pdata.iter();
    all.map(|entry| (entry.begin, entry.end, bytes(entry)))
        .collect()
}

#[test]
fn entries_come_in_the_order_of_addresses() {
    let mut builder = TableBuilder::new(BASE);
    for (address, size) in [(0x3000, 8), (0x1000, 16), (0x2000, 24)] {
        builder
            .add(BASE + address, &frame(size, 0x40), &Options::new())
            .expect("fits");
    }
    let table = builder.finish(XDATA).expect("good");
    let found = of(&table);
    let expected = [(0x1000, 16), (0x2000, 24), (0x3000, 8)];
    assert_eq!(found.len(), 3);
    for ((begin, end, bytes), (address, size)) in found.iter().zip(expected) {
        assert_eq!((*begin, *end), (address, address + 0x40));
        let own = encode(&frame(size, 0x40), &Options::new()).expect("fits");
        assert!(bytes.starts_with(&own));
    }
    assert!(table.pdata.iter().all(|entry| entry.unwind % 4 == 0));
}

#[test]
fn equal_frames_have_one_description() {
    let mut builder = TableBuilder::new(BASE);
    let mut sizes = HashMap::new();
    for index in 0..1000_u32 {
        let size = 8 + 8 * (index % 7);
        // The code's length is not part of it.
        let layout = frame(size, 0x20 + index % 3);
        builder
            .add(BASE + u64::from(0x40 * index), &layout, &Options::new())
            .expect("fits");
        *sizes.entry(size).or_insert(0) += 1;
    }
    let table = builder.finish(XDATA).expect("good");
    assert_eq!(table.pdata.len(), 1000);
    assert_eq!(table.xdata.len(), 8 * sizes.len());
    for (index, entry) in (0_u32..).zip(&table.pdata) {
        let info = decode(table.unwind_info(entry.unwind).expect("there")).expect("good");
        assert_eq!(
            info.codes().next().map(|step| step.op),
            Some(Op::Alloc(8 + 8 * (index % 7)))
        );
    }
}

#[test]
fn many_different_frames_are_kept_apart() {
    let mut builder = TableBuilder::new(BASE);
    for index in 0..5000_u32 {
        let size = 8 + 8 * index;
        let data = index.to_le_bytes();
        // Data of other lengths than a multiple of 4 too.
        let handler = Handler::new(HANDLER).with_data(&data[..(index % 4) as usize]);
        let options = Options::new().with_handler(handler);
        let at = BASE + 0x40_0000 + u64::from(0x40 * index);
        builder.add(at, &frame(size, 0x40), &options).expect("fits");
    }
    let table = builder.finish(XDATA).expect("good");
    for (index, entry) in (0_u32..).zip(&table.pdata) {
        assert_eq!(entry.unwind % 4, 0);
        let info = decode(table.unwind_info(entry.unwind).expect("there")).expect("good");
        assert_eq!(
            info.codes().next().map(|step| step.op),
            Some(Op::Alloc(8 + 8 * index))
        );
        let data = info.handler().expect("has one").data();
        let own = &index.to_le_bytes()[..(index % 4) as usize];
        assert!(data.starts_with(own));
    }
}

#[test]
fn leaves_have_no_entry_unless_they_need_one() {
    let mut builder = TableBuilder::new(BASE);
    let plain = builder
        .add(BASE, &leaf(0x10), &Options::new())
        .expect("fits");
    let handled = Options::new().with_handler(Handler::new(HANDLER));
    builder
        .add(BASE + 0x10, &leaf(0x10), &handled)
        .expect("fits");
    let table = builder.clone().finish(XDATA).expect("good");
    assert_eq!(table.pdata.len(), 1);
    assert_eq!(table.pdata[0].begin, 0x10);
    assert_eq!(table.function(BASE + 0xf), None);
    // With a further region elsewhere the leaf must be found from there.
    builder
        .add_chained(BASE + 0x1000, &leaf(0x10), plain)
        .expect("fits");
    let table = builder.finish(XDATA).expect("good");
    assert_eq!(table.pdata.len(), 3);
    let region = table.function(BASE + 0x1000).expect("has one");
    let info = decode(table.unwind_info(region.unwind).expect("there")).expect("good");
    assert_eq!(info.chain(), table.function(BASE));
}

#[test]
fn an_empty_table_is_one() {
    let table = TableBuilder::new(BASE).finish(XDATA).expect("good");
    assert_eq!((table.pdata.len(), table.xdata.len()), (0, 0));
    assert_eq!(table.function(BASE), None);
}

#[test]
fn functions_do_not_overlap() {
    let two = |first: (u64, u32), second: (u64, u32)| {
        let mut builder = TableBuilder::new(BASE);
        for (address, len) in [first, second] {
            builder
                .add(BASE + address, &frame(8, len), &Options::new())
                .expect("fits");
        }
        builder.finish(XDATA).map(|table| table.pdata.len())
    };
    assert_eq!(two((0, 16), (16, 16)), Ok(2));
    assert_eq!(two((16, 16), (0, 16)), Ok(2));
    let overlap = |address| {
        Err(EncodeError::Overlap {
            address: BASE + address,
        })
    };
    assert_eq!(two((0, 17), (16, 16)), overlap(16));
    assert_eq!(two((16, 16), (0, 17)), overlap(16));
    assert_eq!(two((0, 16), (0, 16)), overlap(0));
    // A leaf has no entry, but a place.
    let mut builder = TableBuilder::new(BASE);
    builder.add(BASE, &leaf(17), &Options::new()).expect("fits");
    builder
        .add(BASE + 16, &frame(8, 16), &Options::new())
        .expect("fits");
    assert_eq!(
        builder.finish(XDATA),
        Err(EncodeError::Overlap { address: BASE + 16 })
    );
}

#[test]
fn everything_is_in_the_4_gib_from_the_base_on() {
    let out = |address| EncodeError::RvaRange {
        address,
        base: BASE,
    };
    let add = |address, len| {
        let mut builder = TableBuilder::new(BASE);
        builder
            .add(address, &frame(8, len), &Options::new())
            .map(|_| ())
    };
    const GIB4: u64 = 1 << 32;
    assert_eq!(add(BASE, 16), Ok(()));
    assert_eq!(add(BASE - 1, 16), Err(out(BASE - 1)));
    // The end is an RVA too: 4 GiB is none.
    assert_eq!(add(BASE + GIB4 - 17, 16), Ok(()));
    assert_eq!(add(BASE + GIB4 - 16, 16), Err(out(BASE + GIB4)));
    assert_eq!(add(BASE + GIB4, 16), Err(out(BASE + GIB4)));
    assert_eq!(add(0, 16), Err(out(0)));
    assert_eq!(add(u64::MAX, 16), Err(out(u64::MAX)));

    let mut builder = TableBuilder::new(BASE);
    builder
        .add(BASE, &frame(8, 16), &Options::new())
        .expect("fits");
    assert_eq!(builder.bytes_at(BASE), Ok(8));
    assert_eq!(builder.bytes_at(BASE + GIB4 - 12), Ok(8));
    assert_eq!(builder.bytes_at(BASE + GIB4 - 8), Err(out(BASE + GIB4)));
    assert_eq!(builder.bytes_at(BASE + GIB4), Err(out(BASE + GIB4)));
    assert_eq!(builder.bytes_at(BASE - 4), Err(out(BASE - 4)));
    let unaligned = |address| Err(EncodeError::Unaligned { address });
    assert_eq!(builder.bytes_at(XDATA + 2), unaligned(XDATA + 2));
    let odd = TableBuilder::new(BASE + 1).finish(XDATA).map(|_| 0);
    assert_eq!(odd, unaligned(BASE + 1));
}

trait BytesAt {
    fn bytes_at(&self, xdata: u64) -> Result<usize, EncodeError>;
}

impl BytesAt for TableBuilder {
    fn bytes_at(&self, xdata: u64) -> Result<usize, EncodeError> {
        self.clone().finish(xdata).map(|table| table.xdata.len())
    }
}

#[test]
fn a_function_that_is_refused_leaves_nothing() {
    let mut builder = TableBuilder::new(BASE);
    let large = (0..90).fold(FrameLayout::builder(), |builder, _| {
        builder.op(0, Op::Alloc(524_288))
    });
    let large = large.code_len(9).finish().expect("a good layout");
    let error = builder.add(BASE, &large, &Options::new());
    assert_eq!(error, Err(EncodeError::TooManySlots { slots: 270 }));
    builder
        .add(BASE, &frame(8, 16), &Options::new())
        .expect("fits");
    let table = builder.finish(XDATA).expect("good");
    assert_eq!((table.pdata.len(), table.xdata.len()), (1, 8));
}

#[test]
fn regions_are_chained_to_their_function() {
    let save = |reg, offset| {
        let builder = FrameLayout::builder().op(5, Op::SaveGpr { reg, offset });
        builder.code_len(0x20).finish().expect("a good layout")
    };
    let framed = FrameLayout::builder()
        .op(1, Op::Push(Gpr::Rbp))
        .op(5, Op::Alloc(96));
    let framed = framed
        .op(
            10,
            Op::SetFrame {
                reg: Gpr::Rbp,
                offset: 48,
            },
        )
        .code_len(0x40);
    let framed = framed.finish().expect("a good layout");

    let mut builder = TableBuilder::new(BASE);
    // Something before, so that nothing begins at 0.
    builder
        .add(BASE + 0x100, &frame(64, 0x40), &Options::new())
        .expect("fits");
    let main = builder
        .add(BASE + 0x2000, &framed, &Options::new())
        .expect("fits");
    let first = builder
        .add_chained(BASE + 0x1000, &save(Gpr::Rsi, 32), main)
        .expect("fits");
    builder
        .add_chained(BASE + 0x3000, &save(Gpr::Rdi, 40), first)
        .expect("fits");
    // An equal one of the same parent is described once.
    builder
        .add_chained(BASE + 0x4000, &save(Gpr::Rsi, 32), main)
        .expect("fits");
    let table = builder.finish(XDATA).expect("good");

    let entry = |address| table.function(BASE + address).expect("has one");
    let info = |address: u64| {
        decode(table.unwind_info(entry(address).unwind).expect("there")).expect("good")
    };
    assert_eq!(info(0x1000).chain(), Some(entry(0x2000)));
    assert_eq!(info(0x3000).chain(), Some(entry(0x1000)));
    assert_eq!(entry(0x4000).unwind, entry(0x1000).unwind);
    for address in [0x1000, 0x2000, 0x3000] {
        assert_eq!(info(address).frame_register(), Some((Gpr::Rbp, 48)));
    }
    // As if it had been said by hand.
    let chain = Chain::new(&framed, entry(0x2000));
    let by_hand = encode(&save(Gpr::Rsi, 32), &Options::new().with_chain(chain)).expect("fits");
    assert!(
        table
            .unwind_info(entry(0x1000).unwind)
            .expect("there")
            .starts_with(&by_hand)
    );
}

/// A link that is an RVA already is not taken for one that has yet to become one.
#[test]
fn links_to_other_tables_stay() {
    let (code, xdata) = (0x1000, 0x8000);
    let parent = frame(64, 0x40);
    let save = FrameLayout::builder().op(
        5,
        Op::SaveXmm {
            reg: xmm(6),
            offset: 16,
        },
    );
    let save = save.code_len(0x20).finish().expect("a good layout");
    let mut builder = TableBuilder::new(BASE);
    let id = builder
        .add(BASE + code, &parent, &Options::new())
        .expect("fits");
    let theirs = RuntimeFunction {
        begin: 0x1000,
        end: 0x1040,
        unwind: 0,
    };
    let by_hand = Options::new().with_chain(Chain::new(&parent, theirs));
    builder.add(BASE + 0x2000, &save, &by_hand).expect("fits");
    builder.add_chained(BASE + 0x3000, &save, id).expect("fits");
    builder.add(BASE + 0x4000, &save, &by_hand).expect("fits");
    let table = builder.finish(BASE + xdata).expect("good");
    let chain = |address| {
        let entry = table.function(BASE + address).expect("has one");
        decode(table.unwind_info(entry.unwind).expect("there"))
            .expect("good")
            .chain()
    };
    assert_eq!(chain(0x2000), Some(theirs));
    assert_eq!(chain(0x4000), Some(theirs));
    assert_eq!(chain(0x3000), table.function(BASE + code));
}

#[test]
fn a_function_of_another_table_is_no_parent() {
    let mut other = TableBuilder::new(BASE);
    other
        .add(BASE, &frame(8, 16), &Options::new())
        .expect("fits");
    let second = other
        .add(BASE + 16, &frame(8, 16), &Options::new())
        .expect("fits");
    let mut builder = TableBuilder::new(BASE);
    let error = builder.add_chained(BASE, &leaf(16), second);
    assert_eq!(error, Err(EncodeError::NoSuchFunction));
}

#[test]
fn addresses_find_their_function() {
    let mut builder = TableBuilder::new(BASE);
    for index in 0..100 {
        builder
            .add(BASE + 0x100 * index, &frame(8, 0x80), &Options::new())
            .expect("fits");
    }
    let table = builder.finish(XDATA).expect("good");
    for index in 0..100 {
        let begin = 0x100 * index;
        for within in [0, 1, 0x7f] {
            let found = table.function(BASE + begin + within).expect("has one");
            assert_eq!(u64::from(found.begin), begin);
        }
        assert_eq!(table.function(BASE + begin + 0x80), None);
        assert_eq!(table.function(BASE + begin + 0xff), None);
    }
    assert_eq!(table.function(BASE - 1), None);
    assert_eq!(table.function(BASE + (1 << 32)), None);
    assert_eq!(table.unwind_info(0), None);
    assert_eq!(table.unwind_info(u32::MAX), None);
}
