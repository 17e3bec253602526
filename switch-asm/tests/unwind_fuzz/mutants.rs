//! Wrong information about right functions: at how many points a walker goes wrong with it. If
//! it does so nowhere, the points prove nothing.

use std::fmt;

use switch_asm::unwind_info::dwarf::{Options, PointerEncoding};
use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Op, Step, winx64};

use crate::machine::Machine;
use crate::rng::Rng;
use crate::subject::Subject;
use crate::tally::random_subject;
use crate::walkers::{Rows, Windows};

/// Changes an `UNWIND_INFO`; `None` where there is nothing to change.
type Bytes = fn(&mut Vec<u8>) -> Option<()>;
/// Another layout for `.eh_frame`, and how it is written.
type Layout = fn(&FrameLayout) -> Option<(FrameLayout, Options)>;

enum How {
    Windows(Bytes),
    Dwarf(Layout),
}

struct Mutation {
    name: &'static str,
    how: How,
    /// No walk can see it: then none may.
    invisible: bool,
}

const fn windows(name: &'static str, bytes: Bytes) -> Mutation {
    Mutation {
        name,
        how: How::Windows(bytes),
        invisible: false,
    }
}

const fn dwarf(name: &'static str, layout: Layout) -> Mutation {
    Mutation {
        name,
        how: How::Dwarf(layout),
        invisible: false,
    }
}

const fn invisible(mutation: Mutation) -> Mutation {
    Mutation {
        name: mutation.name,
        how: mutation.how,
        invisible: true,
    }
}

const ALL: &[Mutation] = &[
    windows("SAVE_NONVOL: offset + 8", |info| {
        each(info, 4, |slot| add(&mut slot[2..4], 1))
    }),
    windows("SAVE_NONVOL: offset in units of 16", |info| {
        each(info, 4, |slot| {
            let units = u16::from_le_bytes([slot[2], slot[3]]);
            slot[2..4].copy_from_slice(&(units / 2).to_le_bytes());
        })
    }),
    windows("SAVE_XMM128: offset + 16", |info| {
        each(info, 8, |slot| add(&mut slot[2..4], 1))
    }),
    windows("SAVE_XMM128: the next register", |info| {
        each(info, 8, |slot| slot[1] = slot[1].wrapping_add(0x10))
    }),
    windows("ALLOC_SMALL: size + 8", |info| {
        each(info, 2, |slot| slot[1] = slot[1].wrapping_add(0x10))
    }),
    windows("ALLOC_LARGE: size + 8", |info| {
        each(info, 1, |slot| add(&mut slot[2..4], 1))
    }),
    windows("PUSH_NONVOL: the next register", |info| {
        each(info, 0, |slot| slot[1] = slot[1].wrapping_add(0x10))
    }),
    windows("pushes in the opposite order", |info| reverse_pushes(info)),
    windows("frame offset + 16", |info| {
        framed(info)?;
        info[3] = info[3].wrapping_add(0x10);
        Some(())
    }),
    windows("frame offset 0", |info| {
        framed(info)?;
        let before = info[3];
        info[3] &= 0xf;
        (before != info[3]).then_some(())
    }),
    windows("no frame register", |info| {
        framed(info)?;
        info[3] = 0;
        Some(())
    }),
    windows("the next frame register", |info| {
        framed(info)?;
        info[3] = info[3] & 0xf0 | info[3].wrapping_add(1) & 0xf;
        Some(())
    }),
    windows("SET_FPREG left out", |info| {
        leave_out(info, |info, at| info[at + 1] & 0xf == 3)
    }),
    windows("the last step left out", |info| {
        leave_out(info, |_, at| at == 4)
    }),
    windows("steps in the order of execution", |info| {
        let slots = ops(info);
        if slots.len() < 2 {
            return None;
        }
        let mut turned = Vec::new();
        for &(at, len) in slots.iter().rev() {
            turned.extend_from_slice(&info[at..at + len]);
        }
        let same = info[4..4 + turned.len()] == turned[..];
        info[4..4 + turned.len()].copy_from_slice(&turned);
        (!same).then_some(())
    }),
    windows("the first step's offset + 1", |info| {
        let &(at, _) = ops(info).last()?;
        info[at] = info[at].checked_add(1)?;
        Some(())
    }),
    windows("the last step's offset + 1", |info| {
        let &(at, _) = ops(info).first()?;
        info[at] = info[at].checked_add(1)?;
        Some(())
    }),
    windows("all offsets + 1", |info| {
        let slots = ops(info);
        for &(at, _) in &slots {
            info[at] = info[at].checked_add(1)?;
        }
        (!slots.is_empty()).then_some(())
    }),
    windows("PUSH_MACHFRAME: the other kind", |info| {
        each(info, 10, |slot| slot[1] ^= 0x10)
    }),
    // Within an instruction there is no boundary.
    invisible(windows("SET_FPREG, ALLOC_LARGE: offset - 1", |info| {
        let large = ops(info)
            .into_iter()
            .filter(|&(at, _)| matches!(info[at + 1] & 0xf, 1 | 3))
            .map(|(at, _)| at);
        let large: Vec<usize> = large.collect();
        for &at in &large {
            info[at] -= 1;
        }
        // Those of the same offset that come after it in execution have to stay there.
        (!large.is_empty()).then_some(())
    })),
    // Handlers alone hang on it, and there are none here.
    invisible(windows("size of prologue 0", |info| {
        (std::mem::take(&mut info[1]) != 0).then_some(())
    })),
    dwarf("prologue: all offsets + 1", |layout| {
        let steps = map(layout, |step| Step {
            end: step.end + u8::from(step.end > 0),
            ..step
        });
        build(layout, steps, 1, layout.epilogues())
    }),
    dwarf("prologue: the last offset + 1", |layout| {
        let mut steps = layout.steps().to_vec();
        let last = steps.last_mut().filter(|step| step.end > 0)?;
        last.end = last.end.checked_add(1)?;
        build(layout, steps, 1, layout.epilogues())
    }),
    dwarf("saves 8 further", |layout| {
        change(layout, |op| match op {
            Op::SaveGpr { reg, offset } => Op::SaveGpr {
                reg,
                offset: offset + 8,
            },
            op => op,
        })
    }),
    dwarf("SSE saves 16 further", |layout| {
        change(layout, |op| match op {
            Op::SaveXmm { reg, offset } => Op::SaveXmm {
                reg,
                offset: offset + 16,
            },
            op => op,
        })
    }),
    dwarf("no SSE rules", |layout| {
        let saves = |step: &Step| matches!(step.op, Op::SaveXmm { .. });
        let any = layout.steps().iter().any(saves);
        any.then(|| (layout.clone(), Options::default()))
    }),
    dwarf("allocations 8 larger", |layout| {
        change(layout, |op| match op {
            Op::Alloc(size) => Op::Alloc(size + 8),
            op => op,
        })
    }),
    dwarf("frame offset + 16", |layout| {
        change(layout, |op| match op {
            Op::SetFrame { reg, offset } => Op::SetFrame {
                reg,
                offset: offset + 16,
            },
            op => op,
        })
    }),
    dwarf("no frame register", |layout| {
        layout.frame_register()?;
        let mut steps = layout.steps().to_vec();
        steps.retain(|step| !matches!(step.op, Op::SetFrame { .. }));
        build(layout, steps, 0, layout.epilogues())
    }),
    dwarf("no epilogues", |layout| {
        let any = layout.epilogues().iter().any(|one| !one.steps().is_empty());
        any.then(|| {
            (
                layout.clone(),
                Options::default().xmm(true).epilogues(false),
            )
        })
    }),
    dwarf("epilogues: no reloads", |layout| {
        epilogues(layout, |_, op, end| match op {
            EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_) => None,
            _ => Some(end),
        })
    }),
    dwarf("epilogues: reloads all in the first bytes", |layout| {
        epilogues(layout, |epilogue, op, end| match op {
            EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_) => {
                let before = epilogue.steps().iter().filter(|step| step.end < end);
                Some(epilogue.start() + 1 + before.count() as u32)
            }
            _ => Some(end),
        })
    }),
    dwarf("epilogues: pops one byte late", |layout| {
        epilogues(layout, |epilogue, op, end| match op {
            EpilogueOp::Pop(_) => Some((end + 1).min(epilogue.end())),
            _ => Some(end),
        })
    }),
    dwarf("epilogues: all one byte early", |layout| {
        epilogues(layout, |epilogue, _, end| {
            Some((end - 1).max(epilogue.start()))
        })
    }),
    dwarf("epilogues: the last one only", |layout| {
        let [_, .., last] = layout.epilogues() else {
            return None;
        };
        build(
            layout,
            layout.steps().to_vec(),
            0,
            std::slice::from_ref(last),
        )
    }),
];

/// Offset and length of each op's slots.
pub(crate) fn ops(info: &[u8]) -> Vec<(usize, usize)> {
    let end = 4 + 2 * usize::from(info[2]);
    let mut at = 4;
    let mut ops = Vec::new();
    while at < end {
        let slots = match info[at + 1] & 0xf {
            1 => 2 + usize::from(info[at + 1] >> 4),
            4 | 8 => 2,
            5 | 9 => 3,
            _ => 1,
        };
        ops.push((at, 2 * slots));
        at += 2 * slots;
    }
    ops
}

fn each(info: &mut [u8], op: u8, change: impl Fn(&mut [u8])) -> Option<()> {
    let mut any = None;
    for (at, len) in ops(info) {
        if info[at + 1] & 0xf == op {
            change(&mut info[at..at + len]);
            any = Some(());
        }
    }
    any
}

fn add(units: &mut [u8], by: u16) {
    let sum = u16::from_le_bytes([units[0], units[1]]).wrapping_add(by);
    units.copy_from_slice(&sum.to_le_bytes());
}

fn framed(info: &[u8]) -> Option<()> {
    (info[3] & 0xf != 0).then_some(())
}

fn reverse_pushes(info: &mut [u8]) -> Option<()> {
    let pushes = ops(info)
        .into_iter()
        .filter(|&(at, _)| info[at + 1] & 0xf == 0);
    let at: Vec<usize> = pushes.map(|(at, _)| at + 1).collect();
    let mut codes: Vec<u8> = at.iter().map(|&at| info[at]).collect();
    codes.reverse();
    for (at, code) in at.iter().zip(&codes) {
        info[*at] = *code;
    }
    (at.len() > 1).then_some(())
}

fn leave_out(info: &mut Vec<u8>, which: impl Fn(&[u8], usize) -> bool) -> Option<()> {
    let (at, len) = ops(info).into_iter().find(|&(at, _)| which(info, at))?;
    info.drain(at..at + len);
    info[2] -= (len / 2) as u8;
    info.resize(info.len() + len, 0);
    Some(())
}

type Mutant = Option<(FrameLayout, Options)>;

fn map(layout: &FrameLayout, one: impl Fn(Step) -> Step) -> Vec<Step> {
    layout.steps().iter().map(|&step| one(step)).collect()
}

/// A layout that is none is no mutant.
fn build(layout: &FrameLayout, steps: Vec<Step>, longer: u32, ends: &[Epilogue]) -> Mutant {
    if steps == layout.steps() && ends == layout.epilogues() {
        return None;
    }
    let mut builder = FrameLayout::builder()
        .prologue_len(u32::from(layout.prologue_len()) + longer)
        .code_len(layout.code_len());
    for step in steps {
        builder = builder.op(step.end.into(), step.op);
    }
    for epilogue in ends {
        builder = builder.epilogue(epilogue.clone());
    }
    Some((builder.finish().ok()?, Options::default().xmm(true)))
}

fn change(layout: &FrameLayout, op: impl Fn(Op) -> Op) -> Mutant {
    let steps = map(layout, |step| Step {
        op: op(step.op),
        ..step
    });
    build(layout, steps, 0, layout.epilogues())
}

fn epilogues(
    layout: &FrameLayout,
    end: impl Fn(&Epilogue, EpilogueOp, u32) -> Option<u32>,
) -> Mutant {
    let one = |epilogue: &Epilogue| {
        let mut changed = Epilogue::new(epilogue.start(), epilogue.end());
        for step in epilogue.steps() {
            if let Some(end) = end(epilogue, step.op, step.end) {
                changed = changed.step(end, step.op);
            }
        }
        changed
    };
    let ends: Vec<Epilogue> = layout.epilogues().iter().map(one).collect();
    build(layout, layout.steps().to_vec(), 0, &ends)
}

/// A mutation's information about one function.
enum Told {
    Windows(Windows),
    Dwarf(Rows),
}

impl How {
    fn of(&self, subject: &Subject) -> Option<Told> {
        match self {
            How::Windows(change) => {
                let mut info = winx64::encode(&subject.layout, &winx64::Options::new())
                    .expect("can be encoded");
                change(&mut info)?;
                Some(Told::Windows(Windows::new(info, subject.code.len())))
            }
            How::Dwarf(change) => {
                let (layout, options) = change(&subject.layout)?;
                let rows = Rows::gimli(&layout, options, PointerEncoding::Absolute);
                Some(Told::Dwarf(rows))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    points: u64,
    /// Functions that could be mutated, points of theirs, and points at which the walk went wrong.
    rows: Vec<[u64; 3]>,
}

impl Table {
    pub(crate) fn assert_caught(&self) {
        for (mutation, &[functions, _, failing]) in ALL.iter().zip(&self.rows) {
            assert!(functions > 0, "{}: in no function", mutation.name);
            assert_eq!(
                failing == 0,
                mutation.invisible,
                "{}: {failing} points",
                mutation.name
            );
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "of {} points", self.points)?;
        for (mutation, [functions, points, failing]) in ALL.iter().zip(&self.rows) {
            let format = match mutation.how {
                How::Windows(_) => "Windows",
                How::Dwarf(_) => "DWARF",
            };
            let seen = if mutation.invisible {
                ", as it must"
            } else {
                ""
            };
            writeln!(
                f,
                "  {format}: {}: {failing} of {points} points wrong in {functions} functions{seen}",
                mutation.name,
            )?;
        }
        Ok(())
    }
}

pub(crate) fn all(seed: u64, points: u64) -> Table {
    let mut table = Table {
        points: 0,
        rows: vec![[0; 3]; ALL.len()],
    };
    let mut machine = Machine::new();
    let mut rng = Rng::new(seed);
    while table.points < points {
        let Some((subject, _)) = random_subject(&mut rng) else {
            continue;
        };
        let mutants: Vec<Option<Told>> = ALL.iter().map(|one| one.how.of(&subject)).collect();
        for (row, mutant) in table.rows.iter_mut().zip(&mutants) {
            row[0] += u64::from(mutant.is_some());
        }
        let kept = subject.kept();
        subject.run(&mut machine, &mut rng, |point| {
            table.points += 1;
            for (row, mutant) in table.rows.iter_mut().zip(&mutants) {
                let found = match mutant {
                    None => continue,
                    Some(Told::Windows(windows)) => windows.ours(&subject.code, point),
                    Some(Told::Dwarf(rows)) => rows.walk(point),
                };
                let wrong = |found| kept.difference(&found, point.truth).is_some();
                row[1] += 1;
                row[2] += u64::from(found.is_none_or(wrong));
            }
        });
    }
    table
}
