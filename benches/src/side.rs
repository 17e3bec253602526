//! One side of a row in its own process: reads how many units to do, line by line, and answers what they took.
//!
//! The same lines are spoken by the peers in other languages, `peers/`.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use crate::pin;
use crate::rows::{self, Scale};

/// What a side is told on its command line. The driver starts its own program again with these.
#[derive(Clone, Debug, clap::Args)]
pub struct Side {
    /// Name of the row
    row: String,
    /// Name of the peer
    peer: String,
    /// How many fibers, sleepers, leaves
    size: u64,
    /// Threads that run fibers
    workers: usize,
    /// Processors to run on
    #[arg(value_delimiter = ',')]
    cpus: Vec<usize>,
}

impl Side {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        vec![
            self.row.clone(),
            self.peer.clone(),
            self.size.to_string(),
            self.workers.to_string(),
            cpus.join(","),
        ]
    }

    pub(crate) fn new(row: &str, peer: &str, scale: Scale, cpus: &[usize]) -> Side {
        Side {
            row: row.to_owned(),
            peer: peer.to_owned(),
            size: scale.size,
            workers: scale.workers,
            cpus: cpus.to_vec(),
        }
    }

    /// Does what standard input asks for until it ends.
    ///
    /// # Panics
    ///
    /// If the work was not done, or the system refuses a thread or a stack: the driver sees the process end.
    pub fn serve(&self) -> ExitCode {
        match self.answer() {
            // Not by returning: some peers wait for ever for their own threads.
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("{}, {}: {error}", self.row, self.peer);
                ExitCode::FAILURE
            }
        }
    }

    fn answer(&self) -> io::Result<()> {
        let find = || {
            let work = rows::ALL
                .iter()
                .copied()
                .flatten()
                .find(|work| work.name == self.row)?;
            let side = work.sides.iter().find(|(peer, _)| *peer == self.peer)?;
            Some(side.1)
        };
        let make = find().ok_or_else(|| io::Error::other("no such row or peer"))?;
        pin::pin(&self.cpus)?;
        let mut side = make(Scale {
            size: self.size,
            workers: self.workers,
        });

        let mut out = io::stdout();
        writeln!(out, "ready")?;
        for line in io::stdin().lock().lines() {
            let units = line?.parse().map_err(io::Error::other)?;
            writeln!(out, "{}", side(units))?;
        }
        Ok(())
    }
}
