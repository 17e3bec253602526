//! From a layout to its `UNWIND_INFO`. Must not know where it will lie.

use alloc::vec::Vec;

use super::error::EncodeError;
use super::format;
use super::options::{Chain, Options};
use crate::unwind_info::{FrameLayout, Gpr, Op, Step};

/// The `UNWIND_INFO` of a function, in the shortest form: at least 8 bytes,
/// meant for an address that is a multiple of 4.
///
/// # Errors
/// [`TooManySlots`](EncodeError::TooManySlots), [`FlagConflict`](EncodeError::FlagConflict) (both kinds of options, or a further
/// region that does more than save), [`Empty`](EncodeError::Empty) and [`Unaligned`](EncodeError::Unaligned) of the
/// entry that a region is chained to, and [`Unsupported`](EncodeError::Unsupported) for
/// [`Op::PushReturn`].
pub fn encode(layout: &FrameLayout, options: &Options<'_>) -> Result<Vec<u8>, EncodeError> {
    if let Some(chain) = options.chain() {
        check_parent(chain)?;
    }
    let mut bytes = Vec::new();
    append(&mut bytes, layout, options)?;
    Ok(bytes)
}

/// Appends what [`encode`] returns; on an error, something or other. Does not look at the parent.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    layout: &FrameLayout,
    options: &Options<'_>,
) -> Result<(), EncodeError> {
    let mut frame = layout.frame_register();
    if let Some(chain) = options.chain() {
        check_region(layout, options)?;
        frame = chain.frame;
    }
    let flags = match (options.handler(), options.chain()) {
        (_, Some(_)) => format::CHAININFO,
        (Some(handler), None) => handler.flags(),
        (None, None) => 0,
    };
    let start = bytes.len();
    bytes.extend_from_slice(&[
        format::VERSION | flags << 3,
        layout.prologue_len(),
        0,
        frame.map_or(0, frame_byte),
    ]);
    // Room for the longest codes, of which each is written as a whole word.
    let first = bytes.len();
    let steps = layout.steps();
    bytes.resize(first + steps.len() * 3 * format::SLOT + size_of::<u64>(), 0);
    // Walkers undo from the first to the last: the last step comes first.
    let mut at = first;
    for &step in steps.iter().rev() {
        let code = code(step)?;
        bytes[at..][..size_of::<u64>()].copy_from_slice(&code.word.to_le_bytes());
        at += code.slots * format::SLOT;
    }
    let slots = (at - first) / format::SLOT;
    bytes[start + 2] = u8::try_from(slots).map_err(|_| EncodeError::TooManySlots { slots })?;
    bytes.truncate(first + format::padded(slots));
    if let Some(chain) = options.chain() {
        bytes.extend(chain.parent.to_bytes());
    } else if let Some(handler) = options.handler() {
        bytes.extend(handler.rva().to_le_bytes());
        bytes.extend(handler.data());
    }
    let least = start + format::MIN_LEN;
    if bytes.len() < least {
        bytes.resize(least, 0);
    }
    Ok(())
}

/// A further region only saves, and its function has the handler.
fn check_region(layout: &FrameLayout, options: &Options<'_>) -> Result<(), EncodeError> {
    if options.handler().is_some() {
        return Err(EncodeError::FlagConflict {
            why: "a handler; its function may have one",
        });
    }
    let saves = |op: Op| matches!(op, Op::SaveGpr { .. } | Op::SaveXmm { .. });
    if !layout.steps().iter().all(|step| saves(step.op)) {
        return Err(EncodeError::FlagConflict {
            why: "steps that are no saves; its frame is the one of its function",
        });
    }
    Ok(())
}

/// That there can be such an entry.
pub(super) fn check_parent(Chain { parent, .. }: Chain) -> Result<(), EncodeError> {
    if parent.begin >= parent.end {
        return Err(EncodeError::Empty {
            begin: parent.begin,
        });
    }
    if !parent.unwind.is_multiple_of(4) {
        return Err(EncodeError::Unaligned {
            address: parent.unwind.into(),
        });
    }
    Ok(())
}

/// The layout's rules leave offsets of 240 at most, in units of 16.
fn frame_byte((reg, offset): (Gpr, u16)) -> u8 {
    let units = u8::try_from(offset / 16).expect("a layout's frame offset is 240 at most");
    reg.number() | units << 4
}

/// A code, whose first byte is the lowest of the word; what is above its slots is 0.
struct Code {
    word: u64,
    slots: usize,
}

fn code(Step { end, op }: Step) -> Result<Code, EncodeError> {
    let head = |op: u8, info: u8| u16::from_le_bytes([end, op | info << 4]).into();
    let slot = |op, info| Code {
        word: head(op, info),
        slots: 1,
    };
    // The short form if the operand fits in it, in its units.
    let short_or_long = |short: (u8, u8), long: (u8, u8), unit: u32, operand: u32| {
        let units = operand / unit;
        if units <= u16::MAX.into() {
            Code {
                word: head(short.0, short.1) | u64::from(units) << 16,
                slots: 2,
            }
        } else {
            Code {
                word: head(long.0, long.1) | u64::from(operand) << 16,
                slots: 3,
            }
        }
    };
    let save = |reg: Gpr, offset| {
        let number = reg.number();
        let (short, long) = (format::SAVE_NONVOL, format::SAVE_NONVOL_FAR);
        short_or_long((short, number), (long, number), 8, offset)
    };
    Ok(match op {
        Op::Push(reg) => slot(format::PUSH_NONVOL, reg.number()),
        Op::Alloc(size @ ..=128) => {
            let units = u8::try_from(size / 8).expect("128 / 8 is 16");
            slot(format::ALLOC_SMALL, units - 1)
        }
        Op::Alloc(size) => {
            let large = format::ALLOC_LARGE;
            short_or_long((large, 0), (large, 1), 8, size)
        }
        Op::SetFrame { .. } => slot(format::SET_FPREG, 0),
        Op::SaveGpr { reg, offset } => save(reg, offset),
        // Loading RSP from memory is what changes the stack.
        Op::LoadSp { offset } => save(Gpr::Rsp, offset),
        Op::SaveXmm { reg, offset } => {
            let number = reg.number();
            let (short, long) = (format::SAVE_XMM128, format::SAVE_XMM128_FAR);
            short_or_long((short, number), (long, number), 16, offset)
        }
        Op::MachineFrame { error_code } => slot(format::PUSH_MACHFRAME, error_code.into()),
        Op::PushReturn => return Err(EncodeError::Unsupported { op }),
    })
}
