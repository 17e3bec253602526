//! Asks the walkers, and counts.

use std::collections::BTreeMap;
use std::fmt;

use switch_asm::unwind_info::dwarf::{Options, PointerEncoding};
use switch_asm::unwind_info::winx64;

use crate::faults::{Fault, Faults};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::subject::{Entry, Registers, Subject};
use crate::walkers::{Rows, Windows};
use crate::{assembled, emitted};

/// Failures of which all is told.
const TOLD: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) points: u64,
    returns: u64,
    emitted: u64,
    assembled: u64,
    interrupted: u64,
    /// Random choices of which no function can be made.
    impossible: u64,
    failures: u64,
    told: Vec<String>,
    excluded: BTreeMap<Fault, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.points += other.points;
        self.returns += other.returns;
        self.emitted += other.emitted;
        self.assembled += other.assembled;
        self.interrupted += other.interrupted;
        self.impossible += other.impossible;
        self.failures += other.failures;
        self.told.extend(other.told);
        for (fault, count) in other.excluded {
            *self.excluded.entry(fault).or_default() += count;
        }
    }

    pub(crate) fn assert_clean(&self) {
        for told in &self.told {
            eprintln!("{told}");
        }
        assert_eq!(self.failures, 0, "points where a walker was wrong");
        assert!(self.emitted > 0 && self.assembled > 0 && self.interrupted > 0);
    }

    fn fail(&mut self, told: impl FnOnce() -> String) {
        self.failures += 1;
        if self.told.len() < TOLD {
            self.told.push(told());
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} points, {} failures; {} of them return addresses; {} functions written by the module, {} by hand, \
             {} of interrupts; {} impossible ones; excluded for pe-unwind-info: {:?}",
            self.points,
            self.failures,
            self.returns,
            self.emitted,
            self.assembled,
            self.interrupted,
            self.impossible,
            self.excluded,
        )
    }
}

pub(crate) fn random_subject(rng: &mut Rng) -> Option<(Subject, bool)> {
    if rng.once_in(2) {
        Some((emitted::subject(rng).ok()?, true))
    } else {
        Some((assembled::subject(rng).ok()?, false))
    }
}

/// Random functions until there were so many points.
pub(crate) fn random_functions(seed: u64, points: u64) -> Tally {
    let mut machine = Machine::new();
    let mut tally = Tally::default();
    // Each function has a seed of its own, so that one can be made alone.
    let mut seeds = Rng::new(seed);
    while tally.points < points {
        let seed = seeds.word();
        let mut rng = Rng::new(seed);
        let Some((subject, emitted)) = random_subject(&mut rng) else {
            tally.impossible += 1;
            continue;
        };
        tally.emitted += u64::from(emitted);
        tally.assembled += u64::from(!emitted);
        tally.interrupted += u64::from(subject.entry != Entry::Call);
        check(&subject, seed, &mut machine, &mut rng, &mut tally);
    }
    tally
}

fn check(subject: &Subject, seed: u64, machine: &mut Machine, rng: &mut Rng, tally: &mut Tally) {
    if let Err(mismatch) = subject.layout.check_code(&subject.code) {
        tally.fail(|| format!("{mismatch}: {}", describe(subject, seed)));
    }
    let xdata = winx64::encode(&subject.layout, &winx64::Options::new());
    let windows = Windows::new(xdata.expect("can be encoded"), subject.code.len());
    let encoding = match rng.below(2) {
        0 => PointerEncoding::Absolute,
        _ => PointerEncoding::PcRelative,
    };
    let gimli = Rows::gimli(&subject.layout, Options::default().xmm(true), encoding);
    let rows = Rows::ours(&subject.layout);
    let faults = Faults::of(subject);
    let kept = subject.kept();
    subject.run(machine, rng, |point| {
        tally.points += 1;
        tally.returns += u64::from(point.returns);
        let wrong = |found: Option<Registers>| match found {
            Some(found) => kept.difference(&found, point.truth),
            None => Some("no step".into()),
        };
        let all = [
            ("ours", windows.ours(&subject.code, point)),
            ("gimli", gimli.walk(point)),
            ("our rows", rows.walk(point)),
            ("pe-unwind-info", windows.peer(&subject.code, point)),
        ];
        for (walker, found) in all {
            let Some(wrong) = wrong(found) else { continue };
            if walker == "pe-unwind-info"
                && let Some(fault) = faults.at(point.pc)
            {
                *tally.excluded.entry(fault).or_default() += 1;
                continue;
            }
            let (pc, returns) = (point.pc, point.returns);
            tally.fail(|| {
                let what = describe(subject, seed);
                format!("{walker} at {pc} (a return address: {returns}): {wrong}\n{what}")
            });
        }
    });
}

fn describe(subject: &Subject, seed: u64) -> String {
    let code: String = subject.code.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "function {seed:#x}, {:?}, code {code}\n{:?}",
        subject.abi, subject.layout
    )
}
