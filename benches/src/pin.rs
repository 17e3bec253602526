//! Which processors a side may use.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}

/// The last ones of `allowed`: interrupts favour the first.
pub(crate) fn choose(allowed: &[usize], count: usize) -> Option<&[usize]> {
    allowed
        .len()
        .checked_sub(count)
        .map(|from| &allowed[from..])
}

/// Pins the calling thread, and what it will spawn.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_chosen() {
        assert_eq!(choose(&[0, 2, 5], 2), Some(&[2, 5][..]));
        assert_eq!(choose(&[3], 1), Some(&[3][..]));
        assert_eq!(choose(&[3], 2), None);
    }

    #[test]
    fn a_pinned_thread_is_allowed_that_processor_only() {
        let pinned = std::thread::spawn(|| {
            let last = *allowed().last().expect("there is a processor");
            pin(&[last]).expect("it is allowed");
            (last, allowed())
        });
        let (last, now) = pinned.join().expect("the thread ends");
        assert_eq!(now, [last]);
    }
}
