//! A function under test, and its execution from every boundary's view.

use switch_asm::unwind_info::{Abi, Epilogue, EpilogueOp, EpilogueStep, FrameLayout, Gpr, Op};

use crate::machine::{CODE, Did, Machine};
use crate::memory::TOP;
use crate::rng::Rng;

/// Who enters a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Call,
    /// The processor, with or without an error code.
    Interrupt {
        error_code: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) abi: Abi,
    pub(crate) entry: Entry,
    pub(crate) code: Vec<u8>,
    pub(crate) layout: FrameLayout,
    /// How many ways there are to its end: so many of its `jne` may jump.
    pub(crate) ends: usize,
}

/// Registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) gprs: [u64; 16],
    pub(crate) xmms: [u128; 16],
    pub(crate) rip: u64,
}

/// Which registers a walk has to give back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) gprs: u16,
    pub(crate) xmms: u16,
}

impl Kept {
    pub(crate) fn by(abi: Abi, steps: impl Iterator<Item = Op>) -> Kept {
        let mut kept = Kept { gprs: 0, xmms: 0 };
        for reg in Gpr::ALL.into_iter().filter(|&reg| abi.keeps(reg)) {
            kept.gprs |= 1 << reg.number();
        }
        if abi == Abi::Win64 {
            kept.xmms = 0xffc0;
        }
        for op in steps {
            match op {
                Op::Push(reg) | Op::SaveGpr { reg, .. } => kept.gprs |= 1 << reg.number(),
                Op::SaveXmm { reg, .. } => kept.xmms |= 1 << reg.number(),
                _ => {}
            }
        }
        kept
    }

    /// Names what differs, if anything does.
    pub(crate) fn difference(self, found: &Registers, truth: &Registers) -> Option<String> {
        if found.rip != truth.rip {
            return Some(format!("rip {:#x}, is {:#x}", found.rip, truth.rip));
        }
        for reg in Gpr::ALL {
            let n = usize::from(reg.number());
            let (found, truth) = (found.gprs[n], truth.gprs[n]);
            if self.gprs & 1 << n != 0 && found != truth {
                return Some(format!("{reg:?} {found:#x}, is {truth:#x}"));
            }
        }
        for n in 0..16 {
            if self.xmms & 1 << n != 0 && found.xmms[n] != truth.xmms[n] {
                return Some(format!("xmm{n}"));
            }
        }
        None
    }
}

/// Between two instructions.
pub(crate) struct Point<'a> {
    /// From the start of the code.
    pub(crate) pc: u32,
    /// Whether that is where a call will return to; the callee runs.
    pub(crate) returns: bool,
    pub(crate) machine: &'a Machine,
    /// What a walk has to find.
    pub(crate) truth: &'a Registers,
}

impl Subject {
    pub(crate) fn kept(&self) -> Kept {
        Kept::by(self.abi, self.layout.steps().iter().map(|step| step.op))
    }

    /// How far below what the caller's RSP will be saves are counted from.
    pub(crate) fn base_depth(&self) -> u64 {
        let ops = self.layout.steps().iter().map(|step| step.op);
        let before = ops.take_while(|op| !matches!(op, Op::SetFrame { .. }));
        let moved = before.map(|op| match op {
            Op::Push(_) => 8,
            Op::Alloc(size) => size.into(),
            _ => 0,
        });
        8 + moved.sum::<u64>()
    }

    /// Whether RSP has gone up at `pc`, in an epilogue; `None` at its start.
    pub(crate) fn in_epilogue(&self, pc: u32) -> Option<bool> {
        let mut epilogues = self.layout.epilogues().iter();
        let here = |one: &&Epilogue| (one.start()..one.end()).contains(&pc);
        let Some(epilogue) = epilogues.find(here) else {
            return Some(false);
        };
        let moved = |step: &EpilogueStep| {
            matches!(step.op, EpilogueOp::Release | EpilogueOp::Pop(_)) && step.end <= pc
        };
        epilogue.steps().iter().any(moved).then_some(true)
    }

    /// Executes the function, once for each of its ends.
    pub(crate) fn run(&self, machine: &mut Machine, rng: &mut Rng, mut at: impl FnMut(&Point<'_>)) {
        let prologue = self.layout.prologue_len().into();
        for end in 0..self.ends {
            machine.skips = end;
            let truth = enter(machine, rng, self.entry);
            let entry_rsp = machine.rsp();
            let left = run_code(&self.code, prologue, machine, rng, &truth, &mut at);
            if self.entry == Entry::Call {
                // The code itself keeps what it has to: or nothing here means anything.
                let mut found = left;
                let popped = found.gprs[4].wrapping_sub(entry_rsp);
                let returned = found.rip == truth.rip;
                assert!(
                    returned && popped >= 8 || popped == 0,
                    "rsp is off by {popped}"
                );
                (found.rip, found.gprs[4]) = (truth.rip, truth.gprs[4]);
                let difference = self.kept().difference(&found, &truth);
                assert_eq!(difference, None, "{:02x?}\n{:?}", self.code, self.layout);
            }
        }
    }
}

/// New registers, and RSP as a caller or the processor leaves it. What comes back is whom it has to return to.
pub(crate) fn enter(machine: &mut Machine, rng: &mut Rng, entry: Entry) -> Registers {
    machine.gprs = std::array::from_fn(|_| rng.word());
    machine.xmms = std::array::from_fn(|_| u128::from(rng.word()) << 64 | u128::from(rng.word()));
    machine.rip = CODE;
    let caller = TOP - 16 * u64::from(rng.below(64));
    let mut truth = Registers {
        gprs: machine.gprs,
        xmms: machine.xmms,
        rip: rng.word(),
    };
    let mut rsp = caller;
    let mut push = |machine: &mut Machine, value: u64| {
        rsp -= 8;
        machine.stacks.write(rsp, &value.to_le_bytes());
    };
    match entry {
        Entry::Call => {
            push(machine, truth.rip);
            truth.gprs[4] = caller;
        }
        Entry::Interrupt { error_code } => {
            truth.gprs[4] = rng.word();
            // SS, RSP, RFLAGS, CS, RIP.
            for value in [rng.word(), truth.gprs[4], rng.word(), rng.word(), truth.rip] {
                push(machine, value);
            }
            if error_code {
                push(machine, rng.word());
            }
        }
    }
    machine.gprs[4] = rsp;
    truth
}

/// Executes `code` from where the machine stands until it leaves it. What is called in the prologue touches
/// pages.
pub(crate) fn run_code(
    code: &[u8],
    prologue: u32,
    machine: &mut Machine,
    rng: &mut Rng,
    truth: &Registers,
    at: &mut impl FnMut(&Point<'_>),
) -> Registers {
    let mut seen = vec![false; code.len()];
    let mut before = machine.rsp();
    loop {
        let pc = (machine.rip - CODE) as u32;
        // Nothing below RSP is safe: not what was saved there either, once RSP went up.
        let rsp = machine.rsp();
        machine
            .stacks
            .spoil((rsp - 256).min(before), rsp, rng.word() as u8);
        before = rsp;
        let first = !std::mem::replace(&mut seen[pc as usize], true);
        let mut tell = |machine: &Machine, pc, returns| {
            at(&Point {
                pc,
                returns,
                machine,
                truth,
            });
        };
        if first {
            tell(machine, pc, false);
        }
        match machine.step(code) {
            Did::Step => {}
            Did::Call => {
                if first {
                    tell(machine, (machine.rip - CODE) as u32, true);
                }
                // What no function keeps, and what a probe does not.
                let volatile: &[usize] = match pc < prologue {
                    true => &[10, 11],
                    false => &[0, 1, 2, 8, 9, 10, 11],
                };
                for &volatile in volatile {
                    machine.gprs[volatile] = rng.word();
                }
            }
            Did::Leave => {
                return Registers {
                    gprs: machine.gprs,
                    xmms: machine.xmms,
                    rip: machine.rip,
                };
            }
        }
    }
}
