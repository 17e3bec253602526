//! A value across a switch: in the register when it fits, else by its address.
//! Must not know what is switched, or when.
//!
//! The sender's frame stays in place while the receiver runs, so an address of
//! a local of the sender is good until the receiver switches back. The receiver
//! therefore decodes before it does anything else. Nothing allocates.

use core::arch::asm;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr;

/// The one register of payload that a switch carries in each direction.
///
/// A runtime that uses [`arch`](crate::arch) directly puts what it likes in it:
/// a small number, or a pointer to something that outlives the switch.
pub type EncodedValue = usize;

/// Whether values of type `T` travel in the register itself.
const fn fits<T>() -> bool {
    size_of::<T>() <= size_of::<EncodedValue>()
}

/// Encodes `value`, which now belongs to whoever decodes it.
///
/// # Safety
///
/// The result is decoded at most once, as the same `T`, and before `value` is
/// moved or its frame is left. The caller does not use `value` again.
#[inline(always)]
pub(crate) unsafe fn encode<T>(value: &mut ManuallyDrop<T>) -> EncodedValue {
    if size_of::<T>() == 0 {
        return 0;
    }
    if !fits::<T>() {
        return ptr::from_mut(value).expose_provenance();
    }
    let mut word = MaybeUninit::<EncodedValue>::uninit();
    // SAFETY: `T` is no larger than `word` and the write is unaligned; the copy
    // in `value` is not used again (this function's contract).
    unsafe {
        word.as_mut_ptr()
            .cast::<T>()
            .write_unaligned(ManuallyDrop::take(value))
    };
    let frozen: EncodedValue;
    // SAFETY: no instructions. An output of an assembly block is initialised
    // and an integer, whatever padding or provenance the input had.
    unsafe {
        asm!("/* {0} */", inlateout(reg) word => frozen, options(pure, nomem, nostack, preserves_flags))
    };
    frozen
}

/// Takes a value out of what [`encode`] made.
///
/// # Safety
///
/// `word` comes from `encode::<T>`, was not decoded before, and the encoded
/// value has not moved since.
#[inline(always)]
pub(crate) unsafe fn decode<T>(word: EncodedValue) -> T {
    if !fits::<T>() {
        // SAFETY: `word` is the exposed address of a live `T` that nobody else
        // will use (this function's contract).
        return unsafe { ptr::with_exposed_provenance::<T>(word).read() };
    }
    let thawed: MaybeUninit<EncodedValue>;
    // SAFETY: no instructions. The block may pick the provenance exposed by the
    // block in `encode`, so that pointers inside `T` are pointers again.
    unsafe {
        asm!("/* {0} */", inlateout(reg) word => thawed, options(pure, nomem, nostack, preserves_flags))
    };
    // SAFETY: the first `size_of::<T>()` bytes are those of a valid `T` that
    // nobody else will use (this function's contract).
    unsafe { thawed.as_ptr().cast::<T>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T>(value: T) -> T {
        let mut value = ManuallyDrop::new(value);
        // SAFETY: decoded once, as the same type, while `value` stays in place.
        unsafe { decode(encode(&mut value)) }
    }

    #[test]
    fn every_size_and_padding_survives() {
        round_trip(());
        assert_eq!(round_trip(7_u8), 7);
        assert_eq!(round_trip(usize::MAX), usize::MAX);
        assert_eq!(round_trip((1_u8, 2_u32)), (1, 2));
        assert_eq!(round_trip([3_u8; 7]), [3; 7]);
        assert_eq!(round_trip([u64::MAX; 9]), [u64::MAX; 9]);
    }

    #[test]
    fn a_reference_still_points_at_its_referent() {
        let text = [1_u8, 2, 3];
        assert_eq!(*round_trip(&text), text);
        assert_eq!(round_trip(&text[..]), text);
    }

    #[test]
    fn zero_sized_values_need_no_alignment() {
        #[derive(Debug, PartialEq)]
        #[repr(align(64))]
        struct Aligned;
        assert_eq!(round_trip(Aligned), Aligned);
    }
}
