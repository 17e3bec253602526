//! Random frames: a prologue of which only the ends of the instructions are real, a body, epilogues that are real code.

use switch_asm::unwind_info::{Abi, Epilogue, EpilogueOp, FrameLayout, Gpr, Op};

use crate::goldens::xmm;

/// SplitMix64.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.next() % u64::from(n)).expect("below a u32")
    }

    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }
}

/// Which moments of a function there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So many steps of the prologue are done.
    Prologue(usize),
    Body,
    /// All that was saved is back, and so many steps of the epilogue are done: the release, pops.
    Epilogue(usize),
}

pub(crate) struct Frame {
    pub(crate) layout: FrameLayout,
    pub(crate) code: Vec<u8>,
    /// The instructions, and when they are reached.
    pub(crate) points: Vec<(u32, Moment)>,
    /// Steps that undo, in an epilogue.
    pub(crate) undo: Vec<EpilogueOp>,
    /// Whether RSP may go further down in the body.
    pub(crate) dynamic: bool,
}

const NOP: u8 = 0x90;

fn steps(random: &mut Random) -> Vec<Op> {
    let mut regs: Vec<Gpr> = Gpr::ALL
        .into_iter()
        .filter(|&reg| reg != Gpr::Rsp)
        .collect();
    let mut take = |random: &mut Random| regs.swap_remove(random.next() as usize % regs.len());
    let mut ops = Vec::new();
    let pushes: Vec<Gpr> = (0..random.below(6)).map(|_| take(random)).collect();
    ops.extend(pushes.iter().map(|&reg| Op::Push(reg)));
    let mut size = 0;
    let mut alloc = |random: &mut Random, ops: &mut Vec<Op>| {
        let most = random.pick(&[16, 16, 31, 200, 70_000]);
        let bytes = 8 * (1 + random.below(most));
        size += bytes;
        ops.push(Op::Alloc(bytes));
        size
    };
    let mut allocated = 0;
    for _ in 0..random.pick(&[0, 1, 1, 1, 2]) {
        allocated = alloc(random, &mut ops);
    }
    let leads = |&reg: &Gpr| Abi::Win64.keeps(reg) && reg != Gpr::R12;
    let frame = pushes
        .iter()
        .copied()
        .find(leads)
        .filter(|_| random.one_in(2));
    let reach = allocated + 8 * u32::try_from(pushes.len()).expect("few");
    if let Some(reg) = frame {
        let offset = 16 * random.below(reach.min(240) / 16 + 1);
        let offset = u16::try_from(offset).expect("240 at most");
        ops.push(Op::SetFrame { reg, offset });
    }
    // Room of its own for each: from the frame base up, within what was allocated.
    let mut free = 0;
    for number in 0..16 {
        if random.one_in(8) && free + 16 <= allocated {
            let (reg, offset) = (xmm(number), free);
            ops.push(Op::SaveXmm { reg, offset });
            free += 16 * (1 + random.below(2));
        }
    }
    for _ in 0..random.below(4) {
        if free + 8 <= allocated {
            let (reg, offset) = (take(random), free);
            ops.push(Op::SaveGpr { reg, offset });
            free += 8 * (1 + random.below(3));
        }
    }
    // Or in the caller's home area, above the return address.
    if random.one_in(3) {
        let (reg, offset) = (take(random), reach + 8 + 8 * random.below(4));
        ops.push(Op::SaveGpr { reg, offset });
    }
    if frame.is_some() && random.one_in(3) {
        alloc(random, &mut ops);
    }
    ops
}

/// `add rsp, n` or `lea rsp, [reg + n]`, in the short form if it fits and `random` likes it.
fn release(random: &mut Random, reg: Option<Gpr>, n: i32) -> Vec<u8> {
    let short = i8::try_from(n).ok().filter(|_| !random.one_in(4));
    let mut code = match reg {
        None if short.is_some() => vec![0x48, 0x83, 0xc4],
        None => vec![0x48, 0x81, 0xc4],
        Some(reg) => {
            let form = if short.is_some() { 0x60 } else { 0xa0 };
            vec![0x48 | reg.number() >> 3, 0x8d, form | reg.number() & 7]
        }
    };
    match short {
        Some(n) => code.extend(n.to_le_bytes()),
        None => code.extend(n.to_le_bytes()),
    }
    code
}

fn pop(reg: Gpr) -> Vec<u8> {
    match reg.number() {
        number @ 0..8 => vec![0x58 | number],
        number => vec![0x41, 0x58 | number & 7],
    }
}

/// A `ret` or a jump out of a function, at `at`.
fn leave(random: &mut Random, at: usize) -> Vec<u8> {
    let at = i32::try_from(at).expect("a short function");
    let to_before = |len: i32| -(at + len) - 1;
    match random.below(11) {
        0 => vec![0xc2, 0x10, 0],
        1 => vec![0xf3, 0xc3],
        2 => vec![0xf2, 0xc3],
        3 => [vec![0xe9], to_before(5).to_le_bytes().to_vec()].concat(),
        // To its own start.
        4 => [vec![0xe9], (-(at + 5)).to_le_bytes().to_vec()].concat(),
        5 => match i8::try_from(to_before(2)) {
            Ok(n) => vec![0xeb, n.to_le_bytes()[0]],
            Err(_) => vec![0xc3],
        },
        6 => vec![0xff, 0x25, 1, 2, 3, 4],
        // jmp rax, as tail calls have it.
        7 => vec![0x48, 0xff, 0xe0],
        _ => vec![0xc3],
    }
}

impl Frame {
    /// Left by any instruction that ends an epilogue.
    pub(crate) fn random(random: &mut Random) -> Frame {
        Frame::left_by(random, leave)
    }

    /// Left by `ret` only.
    pub(crate) fn returning(random: &mut Random) -> Frame {
        let returns: [&[u8]; 4] = [&[0xc3], &[0xc3], &[0xf3, 0xc3], &[0xc2, 0, 0]];
        Frame::left_by(random, |random, _| random.pick(&returns).to_vec())
    }

    fn left_by(random: &mut Random, leave: impl Fn(&mut Random, usize) -> Vec<u8>) -> Frame {
        let ops = steps(random);
        let mut builder = FrameLayout::builder();
        let mut points = vec![(0, Moment::Prologue(0))];
        let mut end = 0;
        let most = 250 / u32::try_from(ops.len() + 1).expect("few");
        for (done, &op) in (1..).zip(&ops) {
            end += 1 + random.below(most.min(9));
            builder = builder.op(end, op);
            points.push((end, Moment::Prologue(done)));
        }
        if random.one_in(4) {
            // A probe, or whatever.
            end += random.below(5);
            builder = builder.prologue_len(end);
        }
        let mut code = vec![NOP; end as usize];
        let frame = ops.iter().find_map(|&op| match op {
            Op::SetFrame { reg, offset } => Some((reg, offset)),
            _ => None,
        });
        let mut undo = Vec::new();
        // Up to the pushes: from RSP, or from the frame register.
        let before_frame = ops
            .iter()
            .take_while(|op| frame.is_none() || !matches!(op, Op::SetFrame { .. }));
        let allocated: u32 = before_frame
            .map(|op| if let Op::Alloc(size) = op { *size } else { 0 })
            .sum();
        if frame.is_some() || allocated != 0 {
            undo.push(EpilogueOp::Release);
        }
        let pushes = ops.iter().rev().filter_map(|&op| match op {
            Op::Push(reg) => Some(EpilogueOp::Pop(reg)),
            _ => None,
        });
        undo.extend(pushes);
        for _ in 0..1 + random.below(2) {
            for _ in 0..1 + random.below(6) {
                points.push((len(&code), Moment::Body));
                code.push(NOP);
            }
            let mut epilogue = Epilogue::new(len(&code), 0);
            let mut steps = Vec::new();
            for (done, &op) in undo.iter().enumerate() {
                points.push((len(&code), Moment::Epilogue(done)));
                code.extend(match op {
                    EpilogueOp::Pop(reg) => pop(reg),
                    _ => {
                        let offset = frame.map_or(0, |(_, offset)| i64::from(offset));
                        let distance = i32::try_from(i64::from(allocated) - offset).expect("near");
                        release(random, frame.map(|(reg, _)| reg), distance)
                    }
                });
                steps.push((len(&code), op));
            }
            points.push((len(&code), Moment::Epilogue(undo.len())));
            let start = epilogue.start();
            let leave = leave(random, code.len());
            code.extend(leave);
            epilogue = Epilogue::new(start, len(&code));
            for (end, op) in steps {
                epilogue = epilogue.step(end, op);
            }
            builder = builder.epilogue(epilogue);
        }
        let layout = builder.code_len(len(&code)).finish();
        let layout = layout.unwrap_or_else(|error| panic!("{ops:?}: {error}"));
        Frame {
            layout,
            code,
            points,
            undo,
            dynamic: frame.is_some(),
        }
    }
}

fn len(code: &[u8]) -> u32 {
    u32::try_from(code.len()).expect("a short function")
}
