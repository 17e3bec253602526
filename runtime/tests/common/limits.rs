//! Limits of this process, and what it holds.

#![allow(dead_code, reason = "each test crate uses a part of it")]

/// Sets a limit of this process; returns what it was.
pub(crate) fn limit(resource: libc::__rlimit_resource_t, to: libc::rlim_t) -> libc::rlim_t {
    // SAFETY: plain calls with valid pointers.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        assert_eq!(libc::getrlimit(resource, &mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, to);
        assert_eq!(libc::setrlimit(resource, &limit), 0);
        before
    }
}

/// Bytes of address space that this process uses.
pub(crate) fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    // SAFETY: a plain call.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

pub(crate) fn threads() -> usize {
    entries("/proc/self/task")
}

pub(crate) fn descriptors() -> usize {
    entries("/proc/self/fd")
}

pub(crate) fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().count()
}
