//! Where everything in a frame is. Must not know instructions.
//!
//! From the top of the frame down:
//!
//! ```text
//!   return address
//!   pushed registers
//!   locals               ]
//!   saved SSE registers  ] `upper`
//!   saved registers      ]
//!   callees' arguments   ]
//!                            <- frame base, RSP after the prologue
//! ```
//!
//! A chain whose RSP moves is the exception. Nothing below the frame base can be described, the frame register may be 240
//! bytes above it at most, and must lead to the caller's `rbp`:
//!
//! ```text
//!   return address
//!   caller's rbp             <- rbp
//!   other pushed registers
//!   saved SSE registers  ] `upper`
//!   saved registers      ]
//!                            <- frame base
//!   locals               ] `lower`
//!   callees' arguments   ]
//!                            <- RSP after the prologue
//! ```

use alloc::vec::Vec;

use super::super::reg::{Abi, Gpr, Xmm};
use super::error::EmitError;
use super::spec::{Frame, Probe, PrologueSpec};

/// The unit in which stacks are guarded.
pub(super) const PAGE: u32 = 4096;

/// What a callee on Windows may use above its return address.
const HOME: u64 = 32;

#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// In the order of execution.
    pub(super) pushes: Vec<Gpr>,
    /// `mov rbp, rsp` after the first push, which nobody is told of.
    pub(super) silent_chain: bool,
    /// Allocated before the frame register is set.
    pub(super) upper: u32,
    /// What unwinders know as the frame register, and where it is above the frame base.
    pub(super) frame: Option<(Gpr, u16)>,
    /// Allocated after it is set.
    pub(super) lower: u32,
    /// Where, from the frame base.
    pub(super) stores: Vec<(Gpr, u32)>,
    pub(super) xmms: Vec<(Xmm, u32)>,
    /// Where, from RSP after the prologue.
    pub(super) locals: u32,
    /// How the pages are touched; `None` also if there is no need.
    pub(super) probe: Probe,
}

/// Areas, from the bottom up.
struct Areas(u64);

impl Areas {
    fn take(&mut self, size: u64, align: u64) -> u64 {
        let at = self.0.next_multiple_of(align);
        self.0 = at + size;
        at
    }
}

impl Plan {
    pub(super) fn new(spec: &PrologueSpec) -> Result<Plan, EmitError> {
        check_saves(spec)?;
        if !matches!(spec.align, 1 | 2 | 4 | 8 | 16) {
            return Err(EmitError::BadAlignment { align: spec.align });
        }
        if spec.dynamic && spec.frame == Frame::None {
            return Err(EmitError::NoFrameRegister);
        }
        let mut plan = Plan {
            pushes: pushes(spec),
            silent_chain: spec.frame == Frame::Chain && !spec.dynamic,
            upper: 0,
            frame: None,
            lower: 0,
            stores: Vec::new(),
            xmms: Vec::new(),
            locals: 0,
            probe: spec.probe,
        };
        if spec.frame == Frame::Chain && spec.dynamic {
            plan.moving_chain(spec)?;
        } else {
            plan.plain(spec)?;
        }
        if plan.size() < PAGE {
            plan.probe = Probe::None;
        } else if plan.probe == Probe::None && spec.abi == Abi::Win64 {
            return Err(EmitError::NoProbe { size: plan.size() });
        }
        // A probe comes before the stores.
        let used: &[Gpr] = match plan.probe {
            Probe::None => &[],
            Probe::Inline => &[Gpr::R11],
            Probe::Call | Probe::CallAt(_) => &[Gpr::Rax, Gpr::R10, Gpr::R11],
        };
        if let Some(&reg) = spec.stores.iter().find(|reg| used.contains(reg)) {
            return Err(EmitError::BadSave { reg });
        }
        Ok(plan)
    }

    /// Bytes allocated, pushes not counted.
    pub(super) fn size(&self) -> u32 {
        self.upper + self.lower
    }

    fn plain(&mut self, spec: &PrologueSpec) -> Result<(), EmitError> {
        let mut areas = Areas(0);
        areas.take(arguments(spec), 1);
        self.place_saves(spec, &mut areas);
        let locals = areas.take(spec.locals.into(), spec.align.into());
        let aligned =
            spec.calls.is_some() || spec.dynamic || !spec.xmms.is_empty() || spec.align == 16;
        // At entry RSP is 8 off a multiple of 16.
        let above = 8 + 8 * self.pushes.len() as u64;
        let depth = (above + areas.0).next_multiple_of(if aligned { 16 } else { 8 });
        self.upper = size(depth - above)?;
        self.locals = size(locals)?;
        if let Frame::At { reg, offset } = spec.frame {
            if !offset.is_multiple_of(16) || offset > 240 || u64::from(offset) > depth {
                return Err(EmitError::BadFrameOffset {
                    offset: offset.into(),
                });
            }
            self.frame = Some((reg, offset));
        }
        Ok(())
    }

    fn moving_chain(&mut self, spec: &PrologueSpec) -> Result<(), EmitError> {
        let mut upper = Areas(0);
        self.place_saves(spec, &mut upper);
        // All that is pushed after `rbp`.
        let others = 8 * (self.pushes.len() as u64 - 1);
        let offset = (others + upper.0).next_multiple_of(16);
        self.upper = size(offset - others)?;
        if offset > 240 {
            return Err(EmitError::BadFrameOffset {
                offset: offset as u32,
            });
        }
        self.frame = Some((Gpr::Rbp, offset as u16));
        let mut lower = Areas(0);
        lower.take(arguments(spec), 1);
        self.locals = size(lower.take(spec.locals.into(), spec.align.into()))?;
        // `rbp` is a multiple of 16, and so is the frame base.
        let lower = lower.0.next_multiple_of(16);
        size(lower + u64::from(self.upper))?;
        self.lower = size(lower)?;
        Ok(())
    }

    fn place_saves(&mut self, spec: &PrologueSpec, areas: &mut Areas) {
        // Sums of what fits in registers: no save is near 4 GiB unless the callees' arguments are, which
        // `size` finds.
        for &reg in &spec.stores {
            self.stores.push((reg, areas.take(8, 8) as u32));
        }
        for &reg in &spec.xmms {
            self.xmms.push((reg, areas.take(16, 16) as u32));
        }
    }
}

/// Bytes for the arguments of callees.
fn arguments(spec: &PrologueSpec) -> u64 {
    let home = match spec.abi {
        Abi::SysV => 0,
        Abi::Win64 => HOME,
    };
    spec.calls.map_or(0, |stack| home + u64::from(stack))
}

/// What an instruction can say: sizes are signed there. A page less, so that what lies above can be said too.
fn size(size: u64) -> Result<u32, EmitError> {
    match i32::try_from(size + u64::from(PAGE)) {
        Ok(_) => Ok(size as u32),
        Err(_) => Err(EmitError::FrameTooLarge { size }),
    }
}

/// The frame register first, unless its place was said. A chain has no choice.
fn pushes(spec: &PrologueSpec) -> Vec<Gpr> {
    let mut pushes = spec.pushes.clone();
    match spec.frame {
        Frame::None => {}
        Frame::Chain => {
            pushes.retain(|&reg| reg != Gpr::Rbp);
            pushes.insert(0, Gpr::Rbp);
        }
        Frame::At { reg, .. } if pushes.contains(&reg) => {}
        Frame::At { reg, .. } => pushes.insert(0, reg),
    }
    pushes
}

fn check_saves(spec: &PrologueSpec) -> Result<(), EmitError> {
    let frame = match spec.frame {
        Frame::None => None,
        Frame::Chain => Some(Gpr::Rbp),
        Frame::At { reg, .. } => {
            if !spec.abi.keeps(reg) || matches!(reg, Gpr::Rsp | Gpr::R12) {
                return Err(EmitError::BadFrameRegister { reg });
            }
            Some(reg)
        }
    };
    let mut seen = 0_u16;
    for &reg in spec.pushes.iter().chain(&spec.stores) {
        if reg == Gpr::Rsp || Some(reg) == frame && spec.stores.contains(&reg) {
            return Err(EmitError::BadSave { reg });
        }
        let bit = 1 << reg.number();
        if seen & bit != 0 {
            return Err(EmitError::SavedTwice { reg });
        }
        seen |= bit;
    }
    let mut seen = 0_u16;
    for &reg in &spec.xmms {
        let bit = 1 << reg.number();
        if seen & bit != 0 {
            return Err(EmitError::XmmSavedTwice { reg });
        }
        seen |= bit;
    }
    Ok(())
}
