//! A region of code that is still being written. Must not know how it is
//! described.

use alloc::vec::Vec;
use core::slice;

use super::error::RegisterError;
use super::os::{Descriptions, Pages};
use super::region::CodeRegion;
use crate::unwind_info::FrameLayout;

/// Functions begin at multiples of this.
const ALIGN: usize = 16;
/// `int3`, between functions.
const FILLER: u8 = 0xcc;

/// A [`CodeRegion`] that is being written; its memory is not executable yet.
#[derive(Debug)]
pub struct RegionBuilder {
    pages: Pages,
    capacity: usize,
    used: usize,
    /// Offsets of the functions.
    functions: Vec<usize>,
    descriptions: Descriptions,
}

impl RegionBuilder {
    pub(super) fn new(capacity: usize) -> Result<RegionBuilder, RegisterError> {
        let pages = Pages::map(capacity)?;
        let descriptions = Descriptions::new(&pages);
        Ok(RegionBuilder {
            pages,
            capacity,
            used: 0,
            functions: Vec::new(),
            descriptions,
        })
    }

    /// Where the next function will begin: code that has addresses in it may need that. Functions do not move.
    pub fn next_address(&self) -> *const u8 {
        self.pages.start().as_ptr().wrapping_add(self.next())
    }

    /// Behind a filler at least: a return address at the end of a function belongs to no other.
    fn next(&self) -> usize {
        match self.used {
            0 => 0,
            used => (used + 1).next_multiple_of(ALIGN),
        }
    }

    /// Adds a function, at [`next_address`](Self::next_address). Returns its number: 0 for the first.
    ///
    /// # Errors
    /// [`CodeLen`](RegisterError::CodeLen), [`Full`](RegisterError::Full), or what cannot be described. The region is
    /// then as it was.
    pub fn push(&mut self, code: &[u8], layout: &FrameLayout) -> Result<usize, RegisterError> {
        if usize::try_from(layout.code_len()) != Ok(code.len()) {
            return Err(RegisterError::CodeLen {
                code: code.len(),
                layout: layout.code_len(),
            });
        }
        let begin = self.next();
        let left = self.capacity.saturating_sub(begin);
        if code.len() > left {
            let needed = code.len();
            return Err(RegisterError::Full { needed, left });
        }
        let address = self.next_address().addr() as u64;
        self.descriptions.add(address, layout)?;
        // SAFETY: up to `capacity` the memory is ours, initialised and writable, and nobody else has a reference.
        let memory =
            unsafe { slice::from_raw_parts_mut(self.pages.start().as_ptr(), begin + code.len()) };
        memory[self.used..begin].fill(FILLER);
        memory[begin..].copy_from_slice(code);
        self.used = begin + code.len();
        self.functions.push(begin);
        Ok(self.functions.len() - 1)
    }

    /// Makes the memory executable, no longer writable, and registers all functions: once, for the whole region.
    ///
    /// # Errors
    /// [`Memory`](RegisterError::Memory), [`Unsupported`](RegisterError::Unsupported), and what cannot be described. On Windows
    /// [`Refused`](RegisterError::Refused) too, and [`Full`](RegisterError::Full) if the descriptions of many small functions take more than twice the capacity. The code is
    /// lost then.
    pub fn seal(mut self) -> Result<CodeRegion, RegisterError> {
        // SAFETY: `CodeRegion` owns the code, keeps it as it is, and drops it after the registration. That it is what
        // its layouts say, and that nobody walks through it any more at that time, whoever calls it has promised.
        let registration = unsafe { self.descriptions.seal(&mut self.pages, self.used)? };
        Ok(CodeRegion::new(registration, self.pages, self.functions))
    }
}
