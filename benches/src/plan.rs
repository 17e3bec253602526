//! How thoroughly a run measures, and with which programs.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::foreign::{Foreign, Program};
use crate::process::Process;
use crate::rows::{Scale, Work};
use crate::side::Side;
use crate::{Options, pin};

/// Many short rounds beat few long ones: an interruption spoils one round, and the median drops it.
pub(crate) struct Plan {
    program: PathBuf,
    all: bool,
    quick: bool,
    pub(crate) rounds: usize,
    /// What each side's part of a round should take.
    pub(crate) part: Duration,
    pub(crate) cpus: Vec<usize>,
    /// The programs in other languages by their names, or why there is none.
    foreign: BTreeMap<&'static str, Result<Program, String>>,
}

/// Who does a row.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    foreign: Option<&'static Foreign>,
}

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let (rounds, millis) = match (options.quick, options.all) {
            (true, _) => (3, 2),
            (false, true) => (15, 25),
            (false, false) => (25, 40),
        };
        Self {
            program: options
                .program()
                .expect("the system knows what it has started"),
            all: options.all,
            quick: options.quick,
            rounds: options.rounds.unwrap_or(rounds).max(1),
            part: Duration::from_millis(millis),
            cpus: pin::allowed(),
            foreign: BTreeMap::new(),
        }
    }

    /// Ours first, then the one it is judged by. The short table has nobody else.
    pub(crate) fn peers(&self, work: &Work) -> Vec<Peer> {
        let here = work.sides.iter().map(|&(name, _)| Peer {
            name,
            foreign: None,
        });
        let abroad = work.foreign.iter().map(|&(name, foreign)| Peer {
            name,
            foreign: Some(foreign),
        });
        let most = if self.all { usize::MAX } else { 2 };
        here.chain(abroad).take(most).collect()
    }

    /// Compiles what a row needs that is not there yet.
    pub(crate) fn prepare(&mut self, work: &Work, progress: &mut dyn FnMut(&str)) {
        for foreign in self.peers(work).into_iter().filter_map(|peer| peer.foreign) {
            self.foreign.entry(foreign.name).or_insert_with(|| {
                progress(&format!("the program of {}", foreign.name));
                // Beside the program that runs, where cargo's clean finds them.
                foreign.compile(&self.program.with_file_name("peers"))
            });
        }
    }

    /// What the programs that [`Plan::prepare`] has compiled say of themselves.
    pub(crate) fn versions(&self) -> impl Iterator<Item = String> {
        let compiled = self.foreign.values().filter_map(|it| it.as_ref().ok());
        compiled.map(|program| program.version.clone())
    }

    pub(crate) fn start(&self, work: &Work, peer: Peer, cpus: &[usize]) -> io::Result<Process> {
        let mut side = Side::new(work.name, peer.name, self.scale(work), cpus);
        if let Some(foreign) = peer.foreign {
            let compiled = self.foreign.get(foreign.name).expect("it is prepared");
            let compiled = compiled
                .as_ref()
                .map_err(|why| io::Error::other(why.as_str()))?;
            side = side.by(&compiled.path);
        }
        let mut arguments = vec!["side".to_owned()];
        arguments.extend(side.arguments());
        Ok(Process::start(&self.program, &arguments)?.0)
    }

    pub(crate) fn scale(&self, work: &Work) -> Scale {
        Scale {
            size: if self.quick { work.quick } else { work.size },
            workers: work.workers,
        }
    }
}
