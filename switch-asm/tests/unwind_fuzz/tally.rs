//! Asks the walkers, and counts.

use std::collections::BTreeMap;
use std::fmt;

use switch_asm::unwind_info::dwarf::{Options, PointerEncoding};
use switch_asm::unwind_info::winx64;

use crate::faults::{Fault, Faults};
use crate::machine::Machine;
use crate::mutants::ops;
use crate::rng::Rng;
use crate::subject::{Entry, Kept, Point, Registers, Subject};
use crate::walkers::{Rows, Windows};
use crate::{assembled, emitted};

/// Failures of which all is told.
const TOLD: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) points: u64,
    returns: u64,
    pub(crate) emitted: u64,
    pub(crate) assembled: u64,
    pub(crate) interrupted: u64,
    /// Random choices of which no function can be made.
    pub(crate) impossible: u64,
    failures: u64,
    told: Vec<String>,
    excluded: BTreeMap<Fault, u64>,
    /// Codes that `UNWIND_INFO`s had, by their number; 11 is the longer kind of 1.
    forms: [u64; 12],
}

/// One walker's answer at a point.
pub(crate) struct Answer<'a> {
    pub(crate) walker: &'static str,
    pub(crate) found: Option<Registers>,
    /// Where it is the peer's for Windows: its fault there.
    pub(crate) fault: Option<Fault>,
    pub(crate) what: &'a dyn Fn() -> String,
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
        for (mine, theirs) in self.forms.iter_mut().zip(other.forms) {
            *mine += theirs;
        }
        for (fault, count) in other.excluded {
            *self.excluded.entry(fault).or_default() += count;
        }
    }

    pub(crate) fn assert_clean(&self) {
        for told in &self.told {
            eprintln!("{told}");
        }
        assert_eq!(self.failures, 0, "points where a walker was wrong");
        assert!(self.points > 0);
    }

    /// All there are, but those of epilogues, which no version 1 has.
    pub(crate) fn assert_all_forms(&self) {
        let missing = |&form: &usize| !matches!(form, 6 | 7) && self.forms[form] == 0;
        let missing: Vec<usize> = (0..12).filter(missing).collect();
        assert!(missing.is_empty(), "no code of the forms {missing:?}");
    }

    pub(crate) fn point(&mut self, point: &Point<'_>) {
        self.points += 1;
        self.returns += u64::from(point.returns);
    }

    pub(crate) fn answer(&mut self, point: &Point<'_>, kept: Kept, answer: Answer<'_>) {
        let wrong = match answer.found {
            Some(found) => kept.difference(&found, point.truth),
            None => Some("no step".into()),
        };
        let Some(wrong) = wrong else { return };
        if let Some(fault) = answer.fault {
            *self.excluded.entry(fault).or_default() += 1;
            return;
        }
        let (walker, pc, returns) = (answer.walker, point.pc, point.returns);
        self.fail(|| {
            let what = (answer.what)();
            format!("{walker} at {pc} (a return address: {returns}): {wrong}\n{what}")
        });
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
        )?;
        if self.forms != [0; 12] {
            write!(f, "; codes by form: {:?}", self.forms)?;
        }
        Ok(())
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
    for (at, len) in ops(&windows.xdata) {
        let form = usize::from(windows.xdata[at + 1] & 0xf);
        tally.forms[if form == 1 && len == 6 { 11 } else { form }] += 1;
    }
    let encoding = match rng.below(2) {
        0 => PointerEncoding::Absolute,
        _ => PointerEncoding::PcRelative,
    };
    let gimli = Rows::gimli(&subject.layout, Options::default().xmm(true), encoding);
    let rows = Rows::ours(&subject.layout);
    let faults = Faults::new(&subject.code, subject.layout.epilogues());
    let kept = subject.kept();
    let what = || describe(subject, seed);
    subject.run(machine, rng, |point| {
        tally.point(point);
        let fault = faults.at(point.pc);
        let all = [
            ("ours", windows.ours(&subject.code, point), None),
            ("gimli", gimli.walk(point), None),
            ("our rows", rows.walk(point), None),
            ("peer", windows.peer(&subject.code, point), fault),
        ];
        for (walker, found, fault) in all {
            let answer = Answer {
                walker,
                found,
                fault,
                what: &what,
            };
            tally.answer(point, kept, answer);
        }
        if subject.entry == Entry::Call {
            check_base(subject, &windows, point, tally, &what);
        }
    });
}

/// The frame base is what handlers get, in the body; and an epilogue is known to be one.
fn check_base(
    subject: &Subject,
    windows: &Windows,
    point: &Point<'_>,
    tally: &mut Tally,
    what: &dyn Fn() -> String,
) {
    let Some((base, in_epilogue)) = windows.besides(&subject.code, point) else {
        return;
    };
    let truth = subject.in_epilogue(point.pc);
    let in_body = point.pc >= subject.layout.prologue_len().into() && truth == Some(false);
    let right = point.truth.gprs[4] - subject.base_depth();
    if in_body && base != right || truth.is_some_and(|truth| truth != in_epilogue) {
        let pc = point.pc;
        tally.fail(|| format!("at {pc}: frame base {base:#x}, is {right:#x}; in an epilogue: {in_epilogue}, is {truth:?}\n{}", what()));
    }
}

fn describe(subject: &Subject, seed: u64) -> String {
    let code: String = subject.code.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "function {seed:#x}, {:?}, code {code}\n{:?}",
        subject.abi, subject.layout
    )
}
