//! What the numbers were measured on and with: the header of a report.
//!
//! Not here: anything that is measured.

use std::fmt;
use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// The machine, its system, and the versions of everybody in the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name for itself.
    pub cpu: String,
    /// Processors this process may use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The compiler of everything in the table.
    pub rustc: String,
    /// `name version` of each side.
    pub crates: Vec<String>,
    /// Built with optimisation; without it the numbers say nothing.
    pub optimised: bool,
}

impl Machine {
    /// The machine this process runs on.
    pub fn this() -> Self {
        Self {
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|info| cpu_model(&info))
                .unwrap_or_else(unknown),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            rustc: env!("BENCH_RUSTC").to_owned(),
            // One version for the whole workspace.
            crates: [concat!("sisal ", env!("CARGO_PKG_VERSION"))]
                .into_iter()
                .chain(env!("BENCH_PEERS").split(','))
                .map(str::to_owned)
                .collect(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}, {} usable, Linux {}",
            self.cpu, self.cpus, self.kernel
        )?;
        write!(f, "{}; {}", self.crates.join(", "), self.rustc)?;
        if !self.optimised {
            write!(f, "\nDebug build: these numbers say nothing.")?;
        }
        Ok(())
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// The name of the first processor that `/proc/cpuinfo` lists.
fn cpu_model(info: &str) -> Option<String> {
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    let (_, name) = line.split_once(':')?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_the_first_one_listed() {
        let info =
            "processor\t: 0\nmodel name\t: Some CPU @ 3.00GHz\n\nmodel name\t: Another CPU\n";
        assert_eq!(cpu_model(info).as_deref(), Some("Some CPU @ 3.00GHz"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }

    #[test]
    fn the_header_names_every_side() {
        let header = Machine::this().to_string();
        assert!(!header.contains("unknown"), "{header:?}");
        for name in ["sisal ", "tokio ", "corosensei ", "may ", "rustc "] {
            assert!(header.contains(name), "no {name:?} in {header:?}");
        }
        for named in Machine::this().crates {
            let (_, version) = named.split_once(' ').expect("a name and a version");
            assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{named}");
        }
    }
}
