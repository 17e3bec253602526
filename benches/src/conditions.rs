//! When a run was made, and how quiet the machine was.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What happened around the figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// Day of the run, UTC.
    pub date: String,
    /// The processors' frequency governor, if the kernel has one.
    pub governor: String,
    /// Processes that wanted to run, averaged over a minute, before the run and after it.
    pub load: [f64; 2],
    /// Percent of the processors' time that the machine below took for others.
    pub stolen: f64,
    /// Percent of the processors' time that was not idle.
    pub busy: f64,
    /// A quick run, with small sizes: it shows that every row works.
    pub quick: bool,
}

/// Taken before the run.
pub(crate) struct Before {
    load: f64,
    ticks: Ticks,
}

impl Before {
    pub(crate) fn now() -> Before {
        Before {
            load: load(),
            ticks: Ticks::now(),
        }
    }

    pub(crate) fn until_now(&self, quick: bool) -> Conditions {
        let ticks = Ticks::now();
        let all = (ticks.all - self.ticks.all).max(1.0);
        Conditions {
            date: today(),
            governor: fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .map_or_else(|_| "none visible".to_owned(), |name| name.trim().to_owned()),
            load: [self.load, load()],
            stolen: 100.0 * (ticks.stolen - self.ticks.stolen) / all,
            busy: 100.0 * (1.0 - (ticks.idle - self.ticks.idle) / all),
            quick,
        }
    }
}

/// Of all processors, since the start of the machine.
#[derive(Default)]
struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
}

impl Ticks {
    fn now() -> Ticks {
        fs::read_to_string("/proc/stat").map_or_else(|_| Ticks::default(), |stat| Ticks::of(&stat))
    }

    /// proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    fn of(stat: &str) -> Ticks {
        let first = stat.lines().next().unwrap_or("");
        let ticks: Vec<f64> = first
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|field| field.parse().ok())
            .collect();
        let at = |place: usize| ticks.get(place).copied().unwrap_or(0.0);
        Ticks {
            all: ticks.iter().sum(),
            idle: at(3) + at(4),
            stolen: at(7),
        }
    }
}

fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = load.split_whitespace().next();
    first.and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn today() -> String {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    date.ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |date| date.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_by_their_columns() {
        let ticks = Ticks::of("cpu  10 1 5 70 4 0 2 8 3 3\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        assert_eq!((ticks.all, ticks.idle, ticks.stolen), (100.0, 74.0, 8.0));
    }

    #[test]
    fn this_run_has_a_date() {
        let conditions = Before::now().until_now(true);
        assert_eq!(conditions.date.len(), "2026-01-01".len(), "{conditions:?}");
        assert!((0.0..=100.0).contains(&conditions.busy), "{conditions:?}");
    }
}
