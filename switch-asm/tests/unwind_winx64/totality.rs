//! No bytes make a reader or a walk panic, and what was written is read as it was meant.

use proptest::prelude::*;
use switch_asm::unwind_info::winx64::{
    Chain, Context, Function, Handler, Image, Memory, Options, RuntimeFunction, decode, encode,
    virtual_unwind,
};
use switch_asm::unwind_info::{FrameLayout, Op, Step};

use crate::frames::{Frame, Random};
use crate::goldens::goldens;

/// The same bytes wherever one asks.
struct Everywhere<'a>(&'a [u8]);

impl Image for Everywhere<'_> {
    fn unwind_info(&self, rva: u32) -> Option<&[u8]> {
        self.0.get(rva as usize % (self.0.len() + 1)..)
    }

    fn function_at(&self, rva: u32) -> Option<RuntimeFunction> {
        let (begin, end) = (rva & !0xff, rva | 0xff);
        let unwind = rva;
        Some(RuntimeFunction { begin, end, unwind })
    }
}

impl Memory for Everywhere<'_> {
    fn read_u64(&self, address: u64) -> Option<u64> {
        (!address.is_multiple_of(7)).then(|| address.wrapping_mul(0x9e37_79b9))
    }
}

/// Reads them, and walks if they can be read. Returns whether they can.
fn use_up(bytes: &[u8], code: &[u8], seed: u64) -> bool {
    let Ok(info) = decode(bytes) else {
        return false;
    };
    assert!(info.codes().count() <= 255);
    if let Some(handler) = info.handler() {
        assert!(handler.data().len() <= bytes.len() - 8);
        assert!(info.chain().is_none());
    }
    let mut random = Random(seed);
    let mut context = Context::default();
    context.gprs.fill_with(|| random.next());
    let image = Everywhere(bytes);
    for function in [
        Function::new(code, &info),
        Function::new(code, &info).within(random.next() as u32, &image),
    ] {
        for pc in [0, 1, random.below(300), random.next() as u32] {
            let mut context = context;
            let before = context;
            if virtual_unwind(&function, pc, &mut context, &image).is_err() {
                assert_eq!(context, before);
            }
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..600), code in proptest::collection::vec(any::<u8>(), 0..40), seed in any::<u64>()) {
        use_up(&bytes, &code, seed);
        // With a header that is good: more of them get further.
        let mut good = bytes;
        if let Some(first) = good.first_mut() {
            *first = 1 | (*first & 7) << 3;
        }
        use_up(&good, &code, seed);
    }

    #[test]
    fn good_bytes_can_be_changed(seed in any::<u64>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>()) {
        let mut random = Random(seed);
        let frame = Frame::random(&mut random);
        let (_, options) = some_options(&mut random);
        let Ok(mut bytes) = encode(&frame.layout, &options) else { return Ok(()) };
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        use_up(&bytes, &frame.code, seed);
        bytes.truncate(cut.index(bytes.len()));
        use_up(&bytes, &frame.code, seed);
    }

    #[test]
    fn what_was_written_is_read(seed in any::<u64>()) {
        there_and_back(seed);
    }
}

const DATA: [u8; 5] = [1, 2, 3, 4, 5];

/// Options, and the bytes behind the codes that they make.
fn some_options(random: &mut Random) -> (usize, Options<'static>) {
    let data = &DATA[..random.below(6) as usize];
    let handler = Handler::new(random.next() as u32).with_data(data);
    match random.below(4) {
        0 => (0, Options::new()),
        1 => (4 + data.len(), Options::new().with_handler(handler)),
        2 => (
            4 + data.len(),
            Options::new().with_handler(handler.only_for_unwinds()),
        ),
        _ => (
            4 + data.len(),
            Options::new().with_handler(handler.only_for_exceptions()),
        ),
    }
}

fn there_and_back(seed: u64) {
    let mut random = Random(seed);
    let layout = Frame::random(&mut random).layout;
    let (trailer, options) = some_options(&mut random);
    let bytes = encode(&layout, &options).expect("fits");
    let info = decode(&bytes).expect("good");
    let mut steps: Vec<Step> = info.codes().collect();
    steps.reverse();
    assert_eq!(steps, layout.steps());
    assert_eq!(info.prologue_len(), layout.prologue_len());
    assert_eq!(info.frame_register(), layout.frame_register());
    assert_eq!(info.handler(), options.handler());
    assert_eq!(info.chain(), None);
    // The length is what the codes need and no more.
    let slots = |step: &Step| match step.op {
        Op::Alloc(..=128) | Op::Push(_) | Op::SetFrame { .. } => 1,
        Op::Alloc(..=524_280) => 2,
        Op::SaveGpr { offset, .. } if offset <= 524_280 => 2,
        Op::SaveXmm { offset, .. } if offset <= 1_048_560 => 2,
        _ => 3,
    };
    let slots: usize = layout.steps().iter().map(slots).sum();
    assert_eq!(
        bytes.len(),
        (4 + 2 * slots.next_multiple_of(2) + trailer).max(8)
    );

    // Its saves alone, as a further region of such a frame.
    let saves = layout
        .steps()
        .iter()
        .filter(|step| matches!(step.op, Op::SaveGpr { .. } | Op::SaveXmm { .. }));
    let region = saves.fold(FrameLayout::builder(), |builder, step| {
        builder.op(step.end.into(), step.op)
    });
    let region = region.code_len(1000).finish().expect("a good layout");
    let parent = RuntimeFunction {
        begin: 5,
        end: 5 + layout.code_len(),
        unwind: random.next() as u32 & !3,
    };
    let chain = Options::new().with_chain(Chain::new(&layout, parent));
    let bytes = encode(&region, &chain).expect("fits");
    let info = decode(&bytes).expect("good");
    assert_eq!(info.chain(), Some(parent));
    assert_eq!(info.frame_register(), layout.frame_register());
    let mut steps: Vec<Step> = info.codes().collect();
    steps.reverse();
    assert_eq!(steps, region.steps());
}

#[test]
fn known_bytes_are_read_as_they_were_meant() {
    for golden in goldens() {
        let bytes = encode(&golden.layout, &golden.options).expect("fits");
        let info = decode(&bytes).expect(golden.name);
        let mut steps: Vec<Step> = info.codes().collect();
        steps.reverse();
        assert_eq!(steps, golden.layout.steps(), "{}", golden.name);
        assert_eq!(info.handler(), golden.options.handler());
        assert_eq!(
            info.chain(),
            golden.options.chain().map(|chain| chain.parent())
        );
        // Cut anywhere, or with any byte changed to any other.
        for len in 0..bytes.len() {
            use_up(&bytes[..len], &[0x90; 300], 1);
        }
        let mut readable = 0;
        for at in 0..bytes.len() {
            for byte in 0..=255 {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                readable += u32::from(use_up(&bytes, &[0x90; 300], u64::from(byte)));
            }
        }
        assert!(readable > 500, "{}: {readable}", golden.name);
    }
}
