//! Pages that fault: what a stack overflow runs into. Must not know what they
//! guard.
//!
//! Two ways, tried in this order:
//! - `MADV_GUARD_INSTALL` (Linux 6.13) marks page table entries. The mapping
//!   stays one mapping, so a million guards need no more than one, and
//!   `MADV_DONTNEED` leaves them in place.
//! - `mprotect(PROT_NONE)` splits the mapping in up to three. The default
//!   `vm.max_map_count` of 65,530 allows for 32,753 stacks.
//!
//! If neither works there is no stack: a guard is never left out.

use std::io;

use super::mapping::PAGE_SIZE;
use super::sys;

/// `linux/mman.h`. Kernels before 6.13 answer `EINVAL`, newer ones too if the
/// memory is locked (`mlockall`).
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// How guards are put in. A value, so that tests can have an older kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guards {
    advice: libc::c_int,
    protection: libc::c_int,
}

impl Guards {
    /// Tries the cheap way first.
    pub(super) const fn new() -> Guards {
        Guards {
            advice: MADV_GUARD_INSTALL,
            protection: libc::PROT_NONE,
        }
    }

    /// Behaves as on a kernel that does not know `MADV_GUARD_INSTALL`.
    #[cfg(test)]
    pub(super) const fn protect_only() -> Guards {
        Guards {
            advice: libc::c_int::MAX,
            ..Guards::new()
        }
    }

    /// Behaves as on a kernel that refuses both.
    #[cfg(test)]
    pub(super) const fn refused() -> Guards {
        Guards {
            advice: libc::c_int::MAX,
            protection: libc::c_int::MAX,
        }
    }

    /// Makes every access to `len` bytes from `start` fault, for good.
    ///
    /// # Errors
    ///
    /// What `mprotect` said. If that is a lack of mappings, the text names the
    /// limit and how to raise it.
    ///
    /// # Safety
    ///
    /// The range is whole pages of a mapping that the caller owns, and nobody
    /// needs its content.
    pub(super) unsafe fn install(self, start: usize, len: usize) -> io::Result<()> {
        debug_assert!(start.is_multiple_of(PAGE_SIZE) && len.is_multiple_of(PAGE_SIZE));
        debug_assert!(len > 0);
        // SAFETY: the caller owns the range and does not need its content.
        if unsafe { sys::advise(start, len, self.advice) }.is_ok() {
            return Ok(());
        }
        // Whatever the reason (not known, not allowed, locked): the old way.
        // SAFETY: as above.
        unsafe { sys::protect(start, len, self.protection) }.map_err(explain)
    }
}

/// Says what to do about it.
fn explain(error: io::Error) -> io::Error {
    let text = if error.raw_os_error() == Some(libc::ENOMEM) {
        std::format!(
            "cannot guard a stack: {error}: the process has as many memory mappings as \
             vm.max_map_count allows; raise it (`sysctl -w vm.max_map_count=1048576`) or use \
             Linux 6.13 or later, where a guard needs no mapping of its own"
        )
    } else {
        std::format!("cannot guard a stack: {error}")
    };
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::stack::mapping::Mapping;

    /// Whether the kernel can read the byte: it answers with an error where we
    /// would die.
    fn is_readable(address: usize) -> bool {
        let mut pipe = [0; 2];
        // SAFETY: room for two descriptors, which are then ours; `write` only
        // reads the address, in the kernel.
        unsafe {
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let written = libc::write(pipe[1], std::ptr::without_provenance(address), 1);
            libc::close(pipe[0]);
            libc::close(pipe[1]);
            written == 1
        }
    }

    /// How many mappings cover the range.
    fn mappings(start: usize, end: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
        let ranges = maps
            .lines()
            .filter_map(|line| line.split(' ').next()?.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16).expect("an address");
        ranges
            .filter(|&(low, high)| hex(low) < end && hex(high) > start)
            .count()
    }

    fn guards_exactly_the_page(guards: Guards) -> usize {
        let mapping = Mapping::new(3 * PAGE_SIZE).expect("three pages");
        let guard = mapping.start().get() + PAGE_SIZE;
        assert!(is_readable(guard));
        // SAFETY: a page of an unused mapping.
        unsafe { guards.install(guard, PAGE_SIZE) }.expect("one guard");
        assert!(is_readable(guard - 1));
        assert!(!is_readable(guard));
        assert!(!is_readable(guard + PAGE_SIZE - 1));
        assert!(is_readable(guard + PAGE_SIZE));
        mappings(guard - PAGE_SIZE, guard + 2 * PAGE_SIZE)
    }

    #[test]
    fn the_way_of_this_kernel() {
        guards_exactly_the_page(Guards::new());
    }

    #[test]
    fn the_way_of_an_older_kernel() {
        let split = guards_exactly_the_page(Guards::protect_only());
        assert_eq!(split, 3, "it did not take the old way");
    }

    #[test]
    fn a_refusal_is_an_error() {
        // SAFETY: nothing can be mapped up there, so nothing changes.
        let error = unsafe { Guards::new().install(usize::MAX & !(PAGE_SIZE - 1), PAGE_SIZE) };
        let text = error.expect_err("not our memory").to_string();
        assert!(text.starts_with("cannot guard a stack"), "{text}");
    }

    #[test]
    fn a_lack_of_mappings_is_explained() {
        let error = explain(io::Error::from_raw_os_error(libc::ENOMEM));
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        let text = error.to_string();
        assert!(
            text.contains("vm.max_map_count") && text.contains("sysctl -w"),
            "{text}"
        );
    }
}
