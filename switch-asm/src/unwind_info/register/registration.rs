//! A section that the unwinder knows, as long as this lives. Must not know how
//! it is told, nor where the code is.

use alloc::vec::Vec;

use super::error::RegisterError;
use super::os;

/// Unwind information that this process's unwinder uses, until it is dropped. Owns the section.
///
/// [`CodeRegion`](super::CodeRegion) has one and keeps its contract; this is for code in
/// memory of one's own.
///
/// One for a whole region of code, not one per function: libgcc up to version 12 keeps them in a list, and sorts into
/// it at the first walk after each registration. With 10,000 and more that takes from
/// a tenth of a second to many. (From version 13 on it has a tree of the sections' ranges.) Whoever has thousands all the same should drop them newest first: [`NewestFirst`](super::NewestFirst).
#[derive(Debug)]
#[must_use = "dropped, it is registered no more"]
pub struct Registration {
    _registered: os::Registered,
}

// It moves between threads: unwinders lock their lists.
const _: () = {
    const fn check<T: Send + Sync>() {}
    check::<Registration>();
};

impl Registration {
    /// Registers an `.eh_frame` section: what [`EhFrameBuilder`] makes with
    /// [`Absolute`] addresses. One without functions is fine.
    ///
    /// # Errors
    /// [`RegisterError::BadSection`] if it is not complete, [`RegisterError::Unsupported`] where unwinders read
    /// something else: on Windows, and with versions of LLVM's libunwind from before 2021.
    ///
    /// # Safety
    /// Until the registration has been dropped:
    /// - the section describes the code that lies at its addresses;
    /// - that code stays mapped and unchanged;
    /// - between the first and the last of its functions there is no code that another section describes: unwinders
    ///   may look sections up by that range.
    ///
    /// When it is dropped, nobody walks through that code, nor will: no thread has a frame of it
    /// on its stack, nor has a suspended fiber, since dropping that unwinds it. The code is unmapped after that, not before.
    ///
    /// [`EhFrameBuilder`]: crate::unwind_info::dwarf::EhFrameBuilder
    /// [`Absolute`]: crate::unwind_info::dwarf::PointerEncoding::Absolute
    pub unsafe fn eh_frame(section: Vec<u8>) -> Result<Registration, RegisterError> {
        complete(&section)?;
        // SAFETY: complete; the rest is this function's contract.
        let registered = unsafe { os::Registered::eh_frame(section) }?;
        Ok(Registration {
            _registered: registered,
        })
    }

    /// Registers a function table with `RtlAddFunctionTable`. An empty one is fine.
    ///
    /// # Errors
    /// [`RegisterError::Refused`].
    ///
    /// # Safety
    /// That of [`eh_frame`](Self::eh_frame); also, the table's `xdata` lies at its address and stays there unchanged.
    #[cfg(all(windows, target_arch = "x86_64"))]
    pub unsafe fn function_table(
        table: crate::unwind_info::winx64::Table,
    ) -> Result<Registration, RegisterError> {
        // SAFETY: this function's contract.
        let registered = unsafe { os::Registered::function_table(table) }?;
        Ok(Registration {
            _registered: registered,
        })
    }
}

/// That records lead from the first byte to a length of zero, the last four bytes.
fn complete(section: &[u8]) -> Result<(), RegisterError> {
    let mut at = 0;
    loop {
        let bad = RegisterError::BadSection { at };
        let Some(len) = section.get(at..).and_then(|rest| rest.first_chunk()) else {
            return Err(bad);
        };
        match u32::from_le_bytes(*len) as usize {
            0 if at + 4 == section.len() => return Ok(()),
            0 => return Err(bad),
            len if 4 + len <= section.len() - at => at += 4 + len,
            _ => return Err(bad),
        }
    }
}
