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
    bytes.extend([
        format::VERSION | flags << 3,
        layout.prologue_len(),
        0,
        frame.map_or(0, frame_byte),
    ]);
    // Walkers undo from the first to the last: the last step comes first.
    for &step in layout.steps().iter().rev() {
        code(bytes, step)?;
    }
    let slots = (bytes.len() - start - format::HEADER) / format::SLOT;
    bytes[start + 2] = u8::try_from(slots).map_err(|_| EncodeError::TooManySlots { slots })?;
    bytes.resize(start + format::HEADER + format::padded(slots), 0);
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

fn code(bytes: &mut Vec<u8>, Step { end, op }: Step) -> Result<(), EncodeError> {
    let mut slot = |op: u8, info: u8| bytes.extend([end, op | info << 4]);
    match op {
        Op::Push(reg) => slot(format::PUSH_NONVOL, reg.number()),
        Op::Alloc(size @ ..=128) => {
            let units = u8::try_from(size / 8).expect("128 / 8 is 16");
            slot(format::ALLOC_SMALL, units - 1);
        }
        Op::Alloc(size) => match u16::try_from(size / 8) {
            Ok(units) => {
                slot(format::ALLOC_LARGE, 0);
                bytes.extend(units.to_le_bytes());
            }
            Err(_) => {
                slot(format::ALLOC_LARGE, 1);
                bytes.extend(size.to_le_bytes());
            }
        },
        Op::SetFrame { .. } => slot(format::SET_FPREG, 0),
        Op::SaveGpr { reg, offset } => save(bytes, end, Place::gpr(reg), offset),
        // Loading RSP from memory is what changes the stack.
        Op::LoadSp { offset } => save(bytes, end, Place::gpr(Gpr::Rsp), offset),
        Op::SaveXmm { reg, offset } => save(bytes, end, Place::xmm(reg.number()), offset),
        Op::MachineFrame { error_code } => slot(format::PUSH_MACHFRAME, error_code.into()),
        Op::PushReturn => return Err(EncodeError::Unsupported { op }),
    }
    Ok(())
}

/// How a kind of register's save is written.
struct Place {
    near: u8,
    far: u8,
    scale: u32,
    number: u8,
}

impl Place {
    const fn gpr(reg: Gpr) -> Place {
        Place {
            near: format::SAVE_NONVOL,
            far: format::SAVE_NONVOL_FAR,
            scale: 8,
            number: reg.number(),
        }
    }

    const fn xmm(number: u8) -> Place {
        Place {
            near: format::SAVE_XMM128,
            far: format::SAVE_XMM128_FAR,
            scale: 16,
            number,
        }
    }
}

fn save(bytes: &mut Vec<u8>, end: u8, place: Place, offset: u32) {
    match u16::try_from(offset / place.scale) {
        Ok(units) => {
            bytes.extend([end, place.near | place.number << 4]);
            bytes.extend(units.to_le_bytes());
        }
        Err(_) => {
            bytes.extend([end, place.far | place.number << 4]);
            bytes.extend(offset.to_le_bytes());
        }
    }
}
