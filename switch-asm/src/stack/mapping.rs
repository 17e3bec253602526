//! A range of pages from the operating system. Must not know about guards.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::vec::Vec;

use super::{StackPointer, sys};

/// x86_64 has no other base page size.
pub(super) const PAGE_SIZE: usize = 4096;

/// Private anonymous memory, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: StackPointer,
    end: StackPointer,
}

impl Mapping {
    /// Maps `len` bytes, a multiple of the page size. The memory is zero,
    /// writable, and not accounted for until it is touched.
    pub(super) fn new(len: usize) -> io::Result<Mapping> {
        debug_assert!(len.is_multiple_of(PAGE_SIZE) && len > 0);
        // Relaxed: only a hint; the lock orders the rest.
        if ANY_STUCK.load(Ordering::Relaxed) {
            retry_stuck();
        }
        match sys::map(len) {
            Ok(start) => Ok(Mapping {
                start: StackPointer::new(start).expect("nothing is mapped at address zero"),
                end: StackPointer::new(start + len).expect("it does not wrap around"),
            }),
            Err(error) => Err(io::Error::new(
                error.kind(),
                std::format!(
                    "cannot map {len} bytes for stacks: {error} (limits: `ulimit -v`, sysctl \
                     vm.overcommit_memory, sysctl vm.max_map_count)"
                ),
            )),
        }
    }

    /// The lowest address.
    #[inline]
    pub(super) fn start(&self) -> StackPointer {
        self.start
    }

    /// The first address past the end.
    #[inline]
    pub(super) fn end(&self) -> StackPointer {
        self.end
    }

    fn len(&self) -> usize {
        self.end.get() - self.start.get()
    }

    /// Keeps the kernel from backing a touched page with a huge one, which would
    /// commit 2 MiB to a stack that uses one page.
    pub(super) fn no_huge_pages(&self) {
        // It fails only on kernels that have no huge pages to keep away.
        // SAFETY: advice about memory that we own, which changes no content.
        let _ = unsafe { sys::advise(self.start.get(), self.len(), libc::MADV_NOHUGEPAGE) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; stacks on it keep it alive.
        if unsafe { sys::unmap(self.start.get(), self.len()) }.is_err() {
            stuck(self.start.get(), self.len());
        }
    }
}

/// Ranges that are nobody's and could not be unmapped. The kernel joins
/// neighbouring mappings, so that to unmap one may take a mapping *more*, which
/// vm.max_map_count may not allow at the moment.
static STUCK: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());
static ANY_STUCK: AtomicBool = AtomicBool::new(false);

#[cold]
fn stuck(start: usize, len: usize) {
    // The address range stays, the memory goes. Nothing more can be done if
    // even that fails.
    // SAFETY: nobody uses it any more.
    let _ = unsafe { sys::advise(start, len, libc::MADV_DONTNEED) };
    let mut stuck = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
    stuck.push((start, len));
    ANY_STUCK.store(true, Ordering::Relaxed);
}

#[cold]
fn retry_stuck() {
    let mut stuck = STUCK.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: nobody uses what is in this list.
    stuck.retain(|&(start, len)| unsafe { sys::unmap(start, len) }.is_err());
    ANY_STUCK.store(!stuck.is_empty(), Ordering::Relaxed);
}

/// Pages that one question to the kernel is about.
const WINDOW: usize = 128;

/// How many of the highest pages of `start..end`, 128 at the most, are in memory.
///
/// # Errors
///
/// If the kernel cannot tell.
pub(super) fn resident_below(start: usize, end: usize) -> io::Result<usize> {
    let start = start.max(end.saturating_sub(WINDOW * PAGE_SIZE));
    if start >= end {
        return Ok(0);
    }
    let mut pages = [0_u8; WINDOW];
    ask(start, end - start, &mut pages)?;
    Ok(pages.iter().filter(|&page| page & 1 == 1).count())
}

/// [`sys::resident`] with a text for its error.
fn ask(start: usize, len: usize, pages: &mut [u8]) -> io::Result<()> {
    sys::resident(start, len, pages).map_err(|error| {
        io::Error::new(
            error.kind(),
            std::format!("cannot ask which pages of a stack are in memory: {error}"),
        )
    })
}

/// How many bytes of `start..end`, counted from the end down to the lowest page
/// that is in memory.
///
/// Memory that was never touched is not. Memory that was swapped out counts as
/// untouched.
///
/// # Errors
///
/// If the kernel cannot tell.
pub(super) fn high_water(start: usize, end: usize) -> io::Result<usize> {
    let top = end.next_multiple_of(PAGE_SIZE);
    let mut window = start;
    while window < top {
        let len = (top - window).min(WINDOW * PAGE_SIZE);
        let mut pages = [0_u8; WINDOW];
        ask(window, len, &mut pages)?;
        let touched = pages[..len / PAGE_SIZE]
            .iter()
            .position(|page| page & 1 == 1);
        if let Some(page) = touched {
            return Ok(end.saturating_sub(window + page * PAGE_SIZE));
        }
        window += len;
    }
    Ok(0)
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
