//! Many registrations, dropped in the order that is cheap. Must not know what they are.

use alloc::vec::Vec;
use core::ops::Index;

/// [`CodeRegion`](super::CodeRegion)s or [`Registration`](super::Registration)s that live until all of them go; then the newest goes first.
///
/// libgcc up to version 12 keeps what is registered in a list with the newest at its head, and looks for what is to be forgotten from there. A
/// `Vec` drops its oldest element first, which takes time that grows with the square of their number: seconds for some ten thousand.
///
/// ```
/// use switch_asm::unwind_info::{CodeRegion, FrameLayout, NewestFirst};
///
/// let mut regions = NewestFirst::new();
/// for _ in 0..3 {
///     let mut region = CodeRegion::builder(16)?;
///     region.push(&[0xc3], &FrameLayout::leaf(1)?)?;
///     regions.push(region.seal()?);
/// }
/// assert_eq!(regions.len(), 3);
/// assert_eq!(regions[1].len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NewestFirst<T>(Vec<T>);

impl<T> NewestFirst<T> {
    /// None yet.
    pub const fn new() -> NewestFirst<T> {
        NewestFirst(Vec::new())
    }

    /// Adds the newest. Returns its number: 0 for the first.
    pub fn push(&mut self, newest: T) -> usize {
        self.0.push(newest);
        self.0.len() - 1
    }

    /// Takes the newest out.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// The one with this number.
    pub fn get(&self, number: usize) -> Option<&T> {
        self.0.get(number)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> Default for NewestFirst<T> {
    fn default() -> NewestFirst<T> {
        NewestFirst::new()
    }
}

impl<T> Index<usize> for NewestFirst<T> {
    type Output = T;

    /// # Panics
    /// If there is none with this number.
    fn index(&self, number: usize) -> &T {
        &self.0[number]
    }
}

impl<T> Drop for NewestFirst<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use super::*;

    #[test]
    fn the_newest_goes_first() {
        struct Noted<'a>(u32, &'a RefCell<Vec<u32>>);
        impl Drop for Noted<'_> {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        let order = RefCell::new(Vec::new());
        let mut all = NewestFirst::new();
        for number in 0..4 {
            assert_eq!(all.push(Noted(number, &order)), number as usize);
        }
        assert_eq!(all.get(2).unwrap().0, 2);
        assert_eq!(all[0].0, 0);
        assert!(all.get(4).is_none());
        drop(all.pop());
        assert_eq!(all.len(), 3);
        drop(all);
        assert_eq!(*order.borrow(), [3, 2, 1, 0]);
    }
}
