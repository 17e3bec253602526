//! What the kernel says of this process's memory.

/// Bytes of this process.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages in memory.
    pub resident: u64,
    /// Page tables.
    pub tables: u64,
}

impl Memory {
    /// What is used at the moment.
    ///
    /// # Panics
    ///
    /// Without procfs.
    pub fn now() -> Memory {
        let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_whitespace().next());
            number
                .and_then(|n| n.parse().ok())
                .expect("a number of KiB")
        };
        Memory {
            resident: kib("VmRSS:") * 1024,
            tables: kib("VmPTE:") * 1024,
        }
    }

    /// Both together.
    pub fn total(&self) -> u64 {
        self.resident + self.tables
    }
}
