//! The numbers of the format.

/// The only version that is written or read here: 2 tells of epilogues, 3 of more registers.
pub(super) const VERSION: u8 = 1;

/// Flag: the handler is asked what to do about an exception.
pub(super) const EHANDLER: u8 = 1;
/// Flag: the handler is called when the frame is left by an unwind.
pub(super) const UHANDLER: u8 = 2;
/// Flag: the frame is the one of another function, whose entry follows the codes.
pub(super) const CHAININFO: u8 = 4;

pub(super) const PUSH_NONVOL: u8 = 0;
pub(super) const ALLOC_LARGE: u8 = 1;
pub(super) const ALLOC_SMALL: u8 = 2;
pub(super) const SET_FPREG: u8 = 3;
pub(super) const SAVE_NONVOL: u8 = 4;
pub(super) const SAVE_NONVOL_FAR: u8 = 5;
pub(super) const SAVE_XMM128: u8 = 8;
pub(super) const SAVE_XMM128_FAR: u8 = 9;
pub(super) const PUSH_MACHFRAME: u8 = 10;

/// Bytes of a slot; a code has one to three.
pub(super) const SLOT: usize = 2;
/// The slots that their count, a byte, can say.
pub(super) const MAX_SLOTS: usize = 255;
/// What is shorter is filled up: the smallest that the documentation knows.
pub(super) const MIN_LEN: usize = 8;
/// Bytes of a `RUNTIME_FUNCTION`.
pub(super) const RUNTIME_FUNCTION: usize = 12;

/// Bytes of so many slots and of the one that makes their number even.
pub(super) const fn padded(slots: usize) -> usize {
    SLOT * slots.next_multiple_of(2)
}
