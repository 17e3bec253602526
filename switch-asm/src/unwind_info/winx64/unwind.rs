//! One step of a walk: from a function's registers to its caller's.
//!
//! The algorithm is that of `RtlVirtualUnwind`, by Microsoft's documentation and the published walker of .NET
//! (dotnet/runtime, `unwinder/amd64/unwinder.cpp`).

use core::fmt;

use super::context::{Context, Memory};
use super::decode::{DecodeError, decode};
use super::function::Function;
use super::handler::Handler;
use super::info::UnwindInfo;
use super::tail::Tail;
use crate::unwind_info::{Gpr, Op};

/// Links of a chain that a walk follows. What has more is taken for a cycle.
pub(super) const MAX_LINKS: u32 = 32;

/// What a step of a walk has found out besides the caller's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unwound<'a> {
    /// The frame base, which Windows calls *establisher frame* and gives to handlers. Not
    /// meaningful in a prologue or an epilogue.
    pub frame_base: u64,
    /// The routine to ask about an exception: none in a prologue or an epilogue.
    pub handler: Option<Handler<'a>>,
    /// Whether the function was in an epilogue, by its instructions.
    pub in_epilogue: bool,
    /// Whether an interrupt led here: then the new RIP is not a return address.
    pub machine_frame: bool,
}

/// Makes of the registers in `function` those of its caller, as
/// `RtlVirtualUnwind` does. Stands at `pc`, counted from its first byte: that of
/// a fault or of a return address.
///
/// Runs on any system, for any memory. Does not allocate. `rip` in `context` is only
/// written.
///
/// # Errors
/// [`WalkError`]; `context` is then as it was.
///
/// ```
/// use switch_asm::unwind_info::winx64::{Context, Function, Memory, Options, decode, encode, virtual_unwind};
/// use switch_asm::unwind_info::{FrameLayout, Gpr, Op};
///
/// /// A stack, from this address on.
/// struct Words(u64, Vec<u64>);
/// impl Memory for Words {
///     fn read_u64(&self, address: u64) -> Option<u64> {
///         let offset = address.checked_sub(self.0).filter(|n| n % 8 == 0)?;
///         self.1.get(usize::try_from(offset / 8).ok()?).copied()
///     }
/// }
///
/// // push rbx; sub rsp, 16; nop; add rsp, 16; pop rbx; ret
/// let code = [0x53, 0x48, 0x83, 0xec, 0x10, 0x90, 0x48, 0x83, 0xc4, 0x10, 0x5b, 0xc3];
/// let layout = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx)).op(5, Op::Alloc(16)).code_len(12).finish()?;
/// let bytes = encode(&layout, &Options::new())?;
///
/// let stack = Words(0x7000, vec![0, 0, 11, 0x1234]);
/// let mut context = Context::default();
/// *context.gpr_mut(Gpr::Rsp) = 0x7000;
/// virtual_unwind(&Function::new(&code, &decode(&bytes)?), 5, &mut context, &stack)?;
/// assert_eq!(context.gpr(Gpr::Rbx), 11);
/// assert_eq!(context.rip, 0x1234);
/// assert_eq!(context.rsp(), 0x7020);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn virtual_unwind<'a>(
    function: &Function<'a>,
    pc: u32,
    context: &mut Context,
    memory: &(impl Memory + ?Sized),
) -> Result<Unwound<'a>, WalkError> {
    let at = usize::try_from(pc)
        .ok()
        .filter(|&at| at < function.code.len())
        .ok_or(WalkError::PcOutside { pc })?;
    let mut walk = Walk {
        // The base of what was saved is the same for all codes of a chain, and is asked for before any is undone.
        frame_base: frame_base(function.info, pc, context),
        context: *context,
        memory,
    };
    let mut unwound = Unwound {
        frame_base: walk.frame_base,
        handler: None,
        in_epilogue: false,
        machine_frame: false,
    };
    if let Some(tail) = Tail::at(function, at) {
        unwound.in_epilogue = true;
        walk.finish(tail)?;
    } else {
        (unwound.handler, unwound.machine_frame) = walk.undo_all(function, pc)?;
    }
    *context = walk.context;
    Ok(unwound)
}

/// The step out of a function without an entry, which has moved no stack pointer
/// and saved nothing: returns from it.
///
/// # Errors
/// [`WalkError::Memory`]; `context` is then as it was.
pub fn unwind_leaf(
    context: &mut Context,
    memory: &(impl Memory + ?Sized),
) -> Result<(), WalkError> {
    let mut walk = Walk {
        frame_base: context.rsp(),
        context: *context,
        memory,
    };
    walk.context.rip = walk.pop()?;
    *context = walk.context;
    Ok(())
}

/// What saves are counted from.
fn frame_base(info: &UnwindInfo<'_>, pc: u32, context: &Context) -> u64 {
    let Some((reg, offset)) = info.frame_register() else {
        return context.rsp();
    };
    let is_set = || {
        let mut codes = info.codes();
        codes
            .find(|step| matches!(step.op, Op::SetFrame { .. }))
            .is_some_and(|step| pc >= step.end.into())
    };
    if pc >= info.prologue_len().into() || info.chain().is_some() || is_set() {
        context.gpr(reg).wrapping_sub(offset.into())
    } else {
        context.rsp()
    }
}

struct Walk<'m, M: ?Sized> {
    context: Context,
    memory: &'m M,
    frame_base: u64,
}

impl<M: Memory + ?Sized> Walk<'_, M> {
    /// Does what the epilogue would have done.
    fn finish(&mut self, tail: Tail<'_>) -> Result<(), WalkError> {
        if let Some((base, distance)) = tail.release {
            let from = self.context.gpr(base);
            *self.rsp() = from.wrapping_add_signed(distance.into());
        }
        for reg in tail.pops() {
            self.pop_into(reg)?;
        }
        self.context.rip = self.pop()?;
        Ok(())
    }

    /// Undoes the codes of the function and of all it is chained to, and returns. What comes back is the handler to ask and
    /// whether there was a machine frame.
    fn undo_all<'a>(
        &mut self,
        function: &Function<'a>,
        pc: u32,
    ) -> Result<(Option<Handler<'a>>, bool), WalkError> {
        let mut info = function.info.clone();
        let mut offset = pc;
        let mut links = 0;
        loop {
            let mut machine_frame = false;
            for step in info.codes() {
                if offset >= step.end.into() {
                    self.undo(step.op)?;
                    machine_frame |= matches!(step.op, Op::MachineFrame { .. });
                }
            }
            let Some(parent) = info.chain() else {
                if !machine_frame {
                    self.context.rip = self.pop()?;
                }
                let in_body = offset >= info.prologue_len().into();
                return Ok((info.handler().filter(|_| in_body), machine_frame));
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(WalkError::ChainTooLong);
            }
            let no_info = WalkError::NoInfo { rva: parent.unwind };
            let image = function.image.ok_or(no_info)?;
            info = decode(image.unwind_info(parent.unwind).ok_or(no_info)?)?;
            // From elsewhere all of the parent's prologue has run: a negative distance is a large one.
            offset = function.begin.wrapping_add(pc).wrapping_sub(parent.begin);
        }
    }

    fn undo(&mut self, op: Op) -> Result<(), WalkError> {
        match op {
            Op::Push(reg) => self.pop_into(reg)?,
            Op::Alloc(size) => *self.rsp() = self.context.rsp().wrapping_add(size.into()),
            Op::SetFrame { reg, offset } => {
                *self.rsp() = self.context.gpr(reg).wrapping_sub(offset.into());
            }
            Op::SaveGpr { reg, offset } => *self.context.gpr_mut(reg) = self.saved(offset)?,
            Op::LoadSp { offset } => *self.rsp() = self.saved(offset)?,
            Op::SaveXmm { reg, offset } => {
                let address = self.frame_base.wrapping_add(offset.into());
                let value = self.memory.read_u128(address);
                self.context.xmms[usize::from(reg.number())] =
                    value.ok_or(WalkError::Memory { address })?;
            }
            Op::MachineFrame { error_code } => {
                let frame = self.context.rsp().wrapping_add(8 * u64::from(error_code));
                self.context.rip = self.read(frame)?;
                *self.rsp() = self.read(frame.wrapping_add(24))?;
            }
            // Is in no information that was decoded.
            Op::PushReturn => {}
        }
        Ok(())
    }

    fn rsp(&mut self) -> &mut u64 {
        self.context.gpr_mut(Gpr::Rsp)
    }

    fn read(&self, address: u64) -> Result<u64, WalkError> {
        let value = self.memory.read_u64(address);
        value.ok_or(WalkError::Memory { address })
    }

    fn saved(&self, offset: u32) -> Result<u64, WalkError> {
        self.read(self.frame_base.wrapping_add(offset.into()))
    }

    fn pop(&mut self) -> Result<u64, WalkError> {
        let value = self.read(self.context.rsp())?;
        *self.rsp() = self.context.rsp().wrapping_add(8);
        Ok(value)
    }

    /// `pop rsp` moves up what it has read, in information that somebody else wrote.
    fn pop_into(&mut self, reg: Gpr) -> Result<(), WalkError> {
        *self.context.gpr_mut(reg) = self.read(self.context.rsp())?;
        *self.rsp() = self.context.rsp().wrapping_add(8);
        Ok(())
    }
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalkError {
    /// Memory that cannot be read.
    Memory {
        /// Its address.
        address: u64,
    },
    /// A chain of more than 32 links, or a ring.
    ChainTooLong,
    /// A chain leads to information that the function's image does not have, or the function has no image.
    NoInfo {
        /// Where it should be, counted from the base.
        rva: u32,
    },
    /// A chain leads to what is no `UNWIND_INFO`.
    Info(DecodeError),
    /// The function does not go that far.
    PcOutside {
        /// Counted from its first byte.
        pc: u32,
    },
}

impl From<DecodeError> for WalkError {
    fn from(error: DecodeError) -> WalkError {
        WalkError::Info(error)
    }
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use WalkError as E;
        match *self {
            E::Memory { address } => write!(f, "the memory at {address:#x} cannot be read"),
            E::ChainTooLong => write!(f, "a chain of more than {MAX_LINKS} links"),
            E::NoInfo { rva } => write!(f, "no unwind information at {rva:#x} in the image"),
            E::Info(error) => error.fmt(f),
            E::PcOutside { pc } => write!(f, "{pc:#x} is behind the end of the function"),
        }
    }
}

impl core::error::Error for WalkError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            WalkError::Info(error) => Some(error),
            _ => None,
        }
    }
}
