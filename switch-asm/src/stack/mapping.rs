//! A range of pages from the operating system. Must not know about guards.

use std::io;
use std::ptr;

/// x86_64 has no other base page size.
pub(super) const PAGE_SIZE: usize = 4096;

/// Private anonymous memory, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: usize,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes, a multiple of the page size. The memory is zero,
    /// writable, and not accounted for until it is touched.
    pub(super) fn new(len: usize) -> io::Result<Mapping> {
        debug_assert!(len.is_multiple_of(PAGE_SIZE) && len > 0);
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
            let error = io::Error::last_os_error();
            return Err(io::Error::new(
                error.kind(),
                std::format!(
                    "cannot map {len} bytes for stacks: {error} \
                     (limits: `ulimit -v`, sysctl vm.overcommit_memory)"
                ),
            ));
        }
        // Whoever runs on this memory knows it by address only.
        Ok(Mapping {
            start: start.expose_provenance(),
            len,
        })
    }

    /// The lowest address.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// The first address past the end.
    pub(super) fn end(&self) -> usize {
        self.start + self.len
    }

    /// Keeps the kernel from backing a touched page with a huge one, which would
    /// commit 2 MiB to a stack that uses one page.
    pub(super) fn no_huge_pages(&self) {
        // SAFETY: advice about memory that we own, which changes no content. It
        // fails only on kernels that have no huge pages to keep away.
        unsafe { libc::madvise(pointer(self.start), self.len, libc::MADV_NOHUGEPAGE) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; stacks on it keep it alive.
        let result = unsafe { libc::munmap(pointer(self.start), self.len) };
        debug_assert_eq!(result, 0, "munmap: {}", io::Error::last_os_error());
    }
}

/// An address as the system calls take it.
pub(super) fn pointer(address: usize) -> *mut libc::c_void {
    ptr::with_exposed_provenance_mut(address)
}

/// `size` rounded up to whole pages, or the reason why not.
pub(super) fn whole_pages(size: usize) -> io::Result<usize> {
    size.checked_next_multiple_of(PAGE_SIZE)
        .ok_or_else(|| too_much("size"))
}

/// The error of a size computation that overflowed.
pub(super) fn too_much(what: &str) -> io::Error {
    invalid(std::format!(
        "the {what} of a stack exceeds the address space"
    ))
}

/// The error for a size that makes no sense.
pub(super) fn invalid(text: impl Into<std::string::String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}
