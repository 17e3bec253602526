//! Rounds: the servers of a protocol alternate, each with its own client; what each took.

use std::io;
use std::path::{Path, PathBuf};

use super::Protocol;
use super::client::Round;
use super::counts::Counter;
use crate::process::Process;
use crate::{Figure, Missing, Options, Row, Spread, pin};

/// What is told of a round: name, and the figure from the round and the server's CPU time of it.
type Measure = (&'static str, fn(&Round, u64) -> f64);

const MEASURES: [Measure; 5] = [
    ("time per request", |round, _| {
        round.elapsed as f64 / round.requests as f64
    }),
    ("p50", |round, _| round.latencies[0] as f64),
    ("p99", |round, _| round.latencies[1] as f64),
    ("p99.9", |round, _| round.latencies[2] as f64),
    ("server CPU per request", |round, cpu| {
        cpu as f64 / round.requests as f64
    }),
];

/// Measures a protocol, each number of connections; rows of a report.
///
/// # Errors
///
/// If there are not two processors, or if our own server failed. A peer that fails is reported as missing.
pub fn rows(
    protocol: Protocol,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Vec<Row>> {
    let mut rows = times(protocol, options, progress)?;
    rows.extend(counts(protocol, options, progress)?);
    // By what is measured, so that curves over connections come out.
    rows.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(rows)
}

/// Those of [`rows`] that are timed: time, latencies, CPU.
///
/// # Errors
///
/// As [`rows`].
pub fn times(
    protocol: Protocol,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Vec<Row>> {
    let (program, cpus) = place(options)?;
    let mut rows = Vec::new();
    for &connections in sizes(protocol, options) {
        progress(&format!("{}, connections: {connections}", protocol.name()));
        rows.extend(timed(protocol, options, &program, connections, cpus)?);
    }
    Ok(rows)
}

/// Those of [`rows`] that are counted: system calls and instructions.
fn counts(
    protocol: Protocol,
    options: &Options,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Vec<Row>> {
    let (program, cpus) = place(options)?;
    let mut rows = Vec::new();
    // Callgrind makes servers a hundred times slower.
    let most = if options.quick { 1 } else { 1_000 };
    let sizes = sizes(protocol, options).iter();
    for &connections in sizes.filter(|connections| **connections <= most) {
        let requests = if options.quick {
            100
        } else {
            (10 * connections).max(4_000)
        };
        for counter in [Counter::SystemCalls, Counter::Instructions] {
            let (name, unit) = (protocol.name(), counter.unit());
            progress(&format!("{unit} of {name}, connections: {connections}"));
            rows.push(counted(
                protocol,
                counter,
                &program,
                connections,
                requests,
                cpus,
            ));
        }
    }
    Ok(rows)
}

fn sizes(protocol: Protocol, options: &Options) -> &'static [u64] {
    if options.quick {
        &[1, 20]
    } else {
        protocol.sizes()
    }
}

/// The program that serves and asks, and the processors for the client and the server.
fn place(options: &Options) -> io::Result<(PathBuf, [usize; 2])> {
    let allowed = pin::allowed();
    match pin::choose(&allowed, 2) {
        Some(&[client, server]) => Ok((options.program()?, [client, server])),
        _ => Err(io::Error::other("server and client need 2 processors")),
    }
}

pub(super) fn server_arguments(protocol: Protocol, peer: &str, cpus: [usize; 2]) -> Vec<String> {
    vec![
        "server".into(),
        protocol.name().into(),
        peer.into(),
        cpus[1].to_string(),
    ]
}

pub(super) fn client(
    program: &Path,
    protocol: Protocol,
    port: &str,
    connections: u64,
    cpus: [usize; 2],
) -> io::Result<Process> {
    let arguments = [
        "client".into(),
        protocol.name().into(),
        port.into(),
        connections.to_string(),
        cpus[0].to_string(),
    ];
    Ok(Process::start(program, &arguments)?.0)
}

/// A server and its client, until one of them fails.
struct Pair {
    peer: &'static str,
    processes: io::Result<(Process, Process)>,
    /// What each round took, and the server's CPU time of it.
    samples: Vec<(Round, u64)>,
}

impl Pair {
    fn round(&mut self, millis: u64) -> Option<(Round, u64)> {
        let (server, client) = self.processes.as_mut().ok()?;
        let mut measured = || {
            let before = server.ask(0)?;
            let round = Round::parse(&client.tell(&format!("0 {millis}"))?)?;
            Ok((round, server.ask(0)? - before))
        };
        match measured() {
            Ok(measured) => Some(measured),
            Err(error) => {
                self.processes = Err(error);
                None
            }
        }
    }
}

fn timed(
    protocol: Protocol,
    options: &Options,
    program: &Path,
    connections: u64,
    cpus: [usize; 2],
) -> io::Result<Vec<Row>> {
    let start = |peer| {
        let arguments = server_arguments(protocol, peer, cpus);
        let (server, port) = Process::start(program, &arguments)?;
        Ok((server, client(program, protocol, &port, connections, cpus)?))
    };
    let mut pairs: Vec<Pair> = protocol
        .servers()
        .iter()
        .map(|&(peer, _)| Pair {
            peer,
            processes: start(peer),
            samples: Vec::new(),
        })
        .collect();
    let millis = if options.quick { 20 } else { 250 };
    let rounds = options
        .rounds
        .unwrap_or(if options.quick { 3 } else { 15 })
        .max(1);
    // The first is the warm-up.
    for number in 0..=rounds {
        for pair in &mut pairs {
            let measured = pair.round(millis);
            pair.samples.extend(measured.filter(|_| number > 0));
        }
    }

    let (mut through, mut missing) = (Vec::new(), Vec::new());
    for pair in pairs {
        match pair.processes {
            Ok(_) => through.push((pair.peer, pair.samples)),
            Err(error) if through.is_empty() => return Err(error),
            Err(error) => missing.push(Missing {
                peer: pair.peer.to_owned(),
                why: error.to_string(),
            }),
        }
    }
    let rows = MEASURES.iter().map(|(measure, of)| {
        let values = |rounds: &[(Round, u64)]| -> Vec<f64> {
            rounds.iter().map(|(round, cpu)| of(round, *cpu)).collect()
        };
        let ours = values(&through[0].1);
        let figures = through.iter().map(|(peer, samples)| {
            let theirs = values(samples);
            let ratios: Vec<f64> = ours
                .iter()
                .zip(&theirs)
                .map(|(our, their)| our / their)
                .collect();
            Figure {
                peer: (*peer).to_owned(),
                value: Spread::of(&theirs),
                ratio: Spread::of(&ratios),
                operations: samples.iter().map(|(round, _)| round.requests).sum::<u64>()
                    / rounds as u64,
            }
        });
        Row {
            rounds,
            figures: figures.collect(),
            missing: missing.clone(),
            ..blank(protocol, measure, "ns", connections)
        }
    });
    Ok(rows.collect())
}

fn counted(
    protocol: Protocol,
    counter: Counter,
    program: &Path,
    connections: u64,
    requests: u64,
    cpus: [usize; 2],
) -> Row {
    let (mut figures, mut missing): (Vec<Figure>, Vec<Missing>) = (Vec::new(), Vec::new());
    for (peer, _) in protocol.servers() {
        match counter.count(program, protocol, peer, connections, requests, cpus) {
            Ok(each) => {
                let ours = figures.first().map_or(each, |figure| figure.value.median);
                figures.push(Figure {
                    peer: (*peer).to_owned(),
                    value: Spread::of(&[each]),
                    ratio: Spread::of(&[ours / each]),
                    operations: requests,
                });
            }
            Err(error) => missing.push(Missing {
                peer: (*peer).to_owned(),
                why: error.to_string(),
            }),
        }
    }
    let measure = format!("{} per request", counter.unit());
    Row {
        rounds: 1,
        figures,
        missing,
        ..blank(protocol, &measure, counter.unit(), connections)
    }
}

/// A row without figures.
fn blank(protocol: Protocol, measure: &str, unit: &str, connections: u64) -> Row {
    let name = protocol.name();
    Row {
        name: match connections {
            1 => format!("{name}, 1 connection: {measure}"),
            _ => format!("{name}, {connections} connections: {measure}"),
        },
        group: format!("{name}: {measure}"),
        size: connections,
        unit: unit.to_owned(),
        operation: "a request".to_owned(),
        rounds: 0,
        note: Some(protocol.note().to_owned()),
        short: false,
        figures: Vec::new(),
        missing: Vec::new(),
    }
}
