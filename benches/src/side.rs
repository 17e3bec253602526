//! One side of a row in its own process: reads how many units to do, line by line, and answers what they took.
//!
//! The same lines are spoken by the peers in other languages, `peers/`: a program that is started as `PROGRAM ROW SIZE
//! WORKERS` says `ready`; then for each line of standard input, a number of units, it does them, checks that they were
//! done, and answers with what they took, nanoseconds or bytes. It ends when its input does. Started as `PROGRAM version`
//! it says what it was compiled with.

use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

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
    /// Becomes this program once it is pinned: a peer in another language
    #[arg(long)]
    program: Option<PathBuf>,
}

impl Side {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let cpus: Vec<String> = self.cpus.iter().map(usize::to_string).collect();
        let mut arguments = vec![
            self.row.clone(),
            self.peer.clone(),
            self.size.to_string(),
            self.workers.to_string(),
            cpus.join(","),
        ];
        if let Some(program) = &self.program {
            arguments.extend(["--program".to_owned(), program.display().to_string()]);
        }
        arguments
    }

    pub(crate) fn new(row: &str, peer: &str, scale: Scale, cpus: &[usize]) -> Side {
        Side {
            row: row.to_owned(),
            peer: peer.to_owned(),
            size: scale.size,
            workers: scale.workers,
            cpus: cpus.to_vec(),
            program: None,
        }
    }

    /// The same by another program.
    pub(crate) fn by(self, program: &Path) -> Side {
        Side {
            program: Some(program.to_owned()),
            ..self
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
        pin::pin(&self.cpus)?;
        if let Some(program) = &self.program {
            let (size, workers) = (self.size.to_string(), self.workers.to_string());
            return Err(Command::new(program)
                .args([&self.row, &size, &workers])
                .exec());
        }
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
