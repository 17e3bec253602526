//! Functions whose caller is on another stack: a link in their frame leads to the
//! record that it left there.

use switch_asm::unwind_info::dwarf::{Options, PointerEncoding};
use switch_asm::unwind_info::{Abi, FrameLayout, Gpr, LayoutBuilder, Op, winx64};

use crate::body::Body;
use crate::machine::Machine;
use crate::memory::OTHER_TOP;
use crate::rng::Rng;
use crate::subject::{Entry, Kept, Registers, enter, run_code};
use crate::tally::{Answer, Tally};
use crate::walkers::{Rows, Windows};

/// A record and the frame that leads to it.
struct Base {
    ops: Vec<Op>,
    frame: Gpr,
    /// The frame register above the frame base, and the link.
    offset: u16,
    link: u32,
}

impl Base {
    fn random(rng: &mut Rng) -> Base {
        let kept = [Gpr::Rbx, Gpr::Rbp, Gpr::R13, Gpr::R14, Gpr::R15];
        let frame = rng.pick(&kept);
        let offset = 16 * rng.below(16) as u16;
        let mut ops: Vec<Op> = rng.some(&kept, 2).into_iter().map(Op::Push).collect();
        if rng.once_in(2) {
            ops.push(Op::Alloc(8 * (1 + rng.below(20))));
        }
        if rng.once_in(2) {
            ops.push(Op::PushReturn);
        }
        rng.shuffle(&mut ops);
        let link = 8 * rng.below(60);
        ops.push(Op::LoadSp { offset: link });
        ops.push(Op::SetFrame { reg: frame, offset });
        Base {
            ops,
            frame,
            offset,
            link,
        }
    }

    fn has_return(&self) -> bool {
        self.ops.contains(&Op::PushReturn)
    }

    /// Writes the record and the link. What comes back is whose it is.
    fn place(&self, machine: &mut Machine, rng: &mut Rng) -> Registers {
        let mut truth = Registers {
            gprs: machine.gprs,
            xmms: machine.xmms,
            rip: rng.word(),
        };
        let cfa = OTHER_TOP - 16 * u64::from(rng.below(64));
        truth.gprs[4] = cfa;
        let mut at = cfa;
        let mut put = |machine: &mut Machine, size: u32, value: u64| {
            at -= u64::from(size);
            machine.stacks.write(at, &value.to_le_bytes());
        };
        if !self.has_return() {
            put(machine, 8, truth.rip);
        }
        for &op in &self.ops {
            match op {
                Op::Push(reg) => {
                    let value = rng.word();
                    truth.gprs[usize::from(reg.number())] = value;
                    put(machine, 8, value);
                }
                Op::PushReturn => put(machine, 8, truth.rip),
                Op::Alloc(size) => put(machine, size, rng.word()),
                _ => {}
            }
        }
        let frame = machine.gprs[4] + 8 * u64::from(rng.below(20)) - 2048;
        machine.gprs[usize::from(self.frame.number())] = frame;
        if !truth_has(&self.ops, self.frame) {
            truth.gprs[usize::from(self.frame.number())] = frame;
        }
        let link = frame.wrapping_sub(self.offset.into()) + u64::from(self.link);
        machine.stacks.write(link, &at.to_le_bytes());
        machine.gprs[4] -= 4096;
        truth
    }
}

fn truth_has(ops: &[Op], reg: Gpr) -> bool {
    ops.contains(&Op::Push(reg))
}

pub(crate) fn random(seed: u64, points: u64) -> Tally {
    let mut machine = Machine::new();
    let mut tally = Tally::default();
    let mut seeds = Rng::new(seed);
    while tally.points < points {
        let seed = seeds.word();
        check(seed, &mut machine, &mut tally);
        tally.assembled += 1;
    }
    tally
}

fn check(seed: u64, machine: &mut Machine, tally: &mut Tally) {
    let rng = &mut Rng::new(seed);
    let base = Base::random(rng);
    let mut body = Body::spoils(base.ops.iter().copied(), Some(base.frame));
    body.moves = true;
    let mut code = vec![0x90];
    body.write(&mut code, rng);
    // Never comes back.
    code.extend([0x0f, 0x0b]);
    let add = |layout: LayoutBuilder, &op: &Op| layout.op(0, op);
    let layout = base.ops.iter().fold(FrameLayout::builder(), add);
    let layout = layout
        .code_len(code.len() as u32)
        .finish()
        .expect("is a layout");
    assert_eq!(layout.check_code(&code), Ok(()));

    let windows = winx64::encode(&layout, &winx64::Options::new());
    // Windows has no word for a return address that is not above everything.
    assert_eq!(windows.is_err(), base.has_return(), "{windows:?}");
    let windows = windows.ok().map(|xdata| Windows::new(xdata, code.len()));
    let gimli = Rows::gimli(&layout, Options::default(), PointerEncoding::Absolute);
    let rows = Rows::ours(&layout);
    let kept = Kept::by(Abi::SysV, layout.steps().iter().map(|step| step.op));
    enter(machine, rng, Entry::Call);
    let truth = base.place(machine, rng);
    let what = || format!("function {seed:#x} {:02x?} {layout:?}", code);
    run_code(&code, 0, machine, rng, &truth, &mut |point| {
        tally.point(point);
        let mut answer = |walker, found| {
            let answer = Answer {
                walker,
                found,
                fault: None,
                what: &what,
            };
            tally.answer(point, kept, answer);
        };
        answer("gimli", gimli.walk(point));
        answer("our rows", rows.walk(point));
        if let Some(windows) = &windows {
            answer("ours", windows.ours(&code, point));
            answer("peer", windows.peer(&code, point));
        }
    });
}
