//! The system calls about memory, each in one place. Must not decide anything.
//!
//! In unit tests each of them can be made to fail, and what is mapped is
//! counted.

use std::io;
use std::ptr;

/// Maps `len` bytes of private zero memory. Returns its lowest address.
pub(super) fn map(len: usize) -> io::Result<usize> {
    #[cfg(test)]
    super::faults::before("mmap", libc::ENOMEM)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new mapping, at an address that the kernel picks.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Whoever runs on this memory knows it by address only.
    let start = start.expose_provenance();
    #[cfg(test)]
    super::faults::mapped(start, len);
    Ok(start)
}

/// # Safety
///
/// The caller owns the range, and nobody uses it any more.
pub(super) unsafe fn unmap(start: usize, len: usize) -> io::Result<()> {
    #[cfg(test)]
    super::faults::before("munmap", libc::ENOMEM)?;
    // SAFETY: this function's contract.
    check(unsafe { libc::munmap(pointer(start), len) })?;
    #[cfg(test)]
    super::faults::unmapped(start, len);
    Ok(())
}

/// # Safety
///
/// The caller owns the range, and nobody needs what the advice gives up.
pub(super) unsafe fn advise(start: usize, len: usize, advice: libc::c_int) -> io::Result<()> {
    #[cfg(test)]
    super::faults::before("madvise", libc::EINVAL)?;
    // SAFETY: this function's contract.
    check(unsafe { libc::madvise(pointer(start), len, advice) })
}

/// # Safety
///
/// The caller owns the range, and nobody needs the access that it loses.
pub(super) unsafe fn protect(start: usize, len: usize, access: libc::c_int) -> io::Result<()> {
    #[cfg(test)]
    super::faults::before("mprotect", libc::ENOMEM)?;
    // SAFETY: this function's contract.
    check(unsafe { libc::mprotect(pointer(start), len, access) })
}

/// Asks for each page from `start` whether it is in memory: the lowest bit of
/// its byte in `pages`.
pub(super) fn resident(start: usize, len: usize, pages: &mut [u8]) -> io::Result<()> {
    #[cfg(test)]
    super::faults::before("mincore", libc::EAGAIN)?;
    assert!(len <= pages.len() * super::mapping::PAGE_SIZE);
    // SAFETY: writes a byte for each page, for which there is room.
    check(unsafe { libc::mincore(pointer(start), len, pages.as_mut_ptr()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An address as the system calls take it.
fn pointer(address: usize) -> *mut libc::c_void {
    ptr::with_exposed_provenance_mut(address)
}
