//! Rounds of echo: servers alternate, each with its own client; what each took.

use std::io;
use std::path::Path;

use super::client::Round;
use super::counts::Counter;
use super::server::PEERS;
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

const NOTE: &str = "64 bytes to and fro, each connection with one request under way; server and client on a processor each";

/// Measures echo, each number of connections; rows of a report.
pub fn rows(options: &Options, progress: &mut dyn FnMut(&str)) -> io::Result<Vec<Row>> {
    let program = options.program()?;
    let allowed = pin::allowed();
    let Some(cpus) = pin::choose(&allowed, 2) else {
        return Err(io::Error::other("echo needs 2 processors"));
    };
    let sizes: &[u64] = if options.quick {
        &[1, 20]
    } else {
        &[1, 50, 1_000, 10_000]
    };
    let mut rows = Vec::new();
    for &connections in sizes {
        progress(&format!("echo, {connections} connections"));
        rows.extend(timed(options, &program, connections, cpus)?);
        // Callgrind makes servers a hundred times slower.
        if connections <= if options.quick { 1 } else { 1_000 } {
            let requests = if options.quick {
                100
            } else {
                (10 * connections).max(4_000)
            };
            for counter in [Counter::SystemCalls, Counter::Instructions] {
                rows.push(counted(counter, &program, connections, requests, cpus));
            }
        }
    }
    // By what is measured, so that curves over connections come out.
    rows.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(rows)
}

pub(super) fn server_arguments(peer: &str, cpus: &[usize]) -> Vec<String> {
    vec!["echo-server".into(), peer.into(), cpus[1].to_string()]
}

pub(super) fn client(
    program: &Path,
    port: &str,
    connections: u64,
    cpus: &[usize],
) -> io::Result<Process> {
    let arguments = [
        "echo-client".into(),
        port.into(),
        connections.to_string(),
        cpus[0].to_string(),
    ];
    Ok(Process::start(program, &arguments)?.0)
}

fn timed(
    options: &Options,
    program: &Path,
    connections: u64,
    cpus: &[usize],
) -> io::Result<Vec<Row>> {
    let mut pairs = Vec::new();
    for peer in PEERS {
        let (server, port) = Process::start(program, &server_arguments(peer, cpus))?;
        pairs.push((server, client(program, &port, connections, cpus)?));
    }
    let millis = if options.quick { 20 } else { 250 };
    let rounds = options
        .rounds
        .unwrap_or(if options.quick { 3 } else { 15 })
        .max(1);
    let mut samples = vec![Vec::new(); pairs.len()];
    // The first is the warm-up.
    for number in 0..=rounds {
        for (place, (server, client)) in pairs.iter_mut().enumerate() {
            let before = server.ask(0)?;
            let round = Round::parse(&client.tell(&format!("0 {millis}"))?)?;
            let cpu = server.ask(0)? - before;
            if number > 0 {
                samples[place].push((round, cpu));
            }
        }
    }
    let rows = MEASURES.iter().map(|(measure, of)| {
        let values: Vec<Vec<f64>> = samples
            .iter()
            .map(|rounds| rounds.iter().map(|(round, cpu)| of(round, *cpu)).collect())
            .collect();
        let figures = PEERS
            .iter()
            .zip(&values)
            .enumerate()
            .map(|(place, (peer, theirs))| {
                let ratios: Vec<f64> = values[0]
                    .iter()
                    .zip(theirs)
                    .map(|(our, their)| our / their)
                    .collect();
                Figure {
                    peer: (*peer).to_owned(),
                    value: Spread::of(theirs),
                    ratio: Spread::of(&ratios),
                    operations: samples[place]
                        .iter()
                        .map(|(round, _)| round.requests)
                        .sum::<u64>()
                        / rounds as u64,
                }
            });
        row(
            measure,
            "ns",
            connections,
            rounds,
            figures.collect(),
            Vec::new(),
        )
    });
    Ok(rows.collect())
}

fn counted(
    counter: Counter,
    program: &Path,
    connections: u64,
    requests: u64,
    cpus: &[usize],
) -> Row {
    let (mut figures, mut missing): (Vec<Figure>, Vec<Missing>) = (Vec::new(), Vec::new());
    for peer in PEERS {
        match counter.count(program, peer, connections, requests, cpus) {
            Ok(each) => {
                let ours = figures.first().map_or(each, |figure| figure.value.median);
                figures.push(Figure {
                    peer: peer.to_owned(),
                    value: Spread::of(&[each]),
                    ratio: Spread::of(&[ours / each]),
                    operations: requests,
                });
            }
            Err(error) => missing.push(Missing {
                peer: peer.to_owned(),
                why: error.to_string(),
            }),
        }
    }
    row(
        &format!("{} per request", counter.unit()),
        counter.unit(),
        connections,
        1,
        figures,
        missing,
    )
}

fn row(
    measure: &str,
    unit: &str,
    connections: u64,
    rounds: usize,
    figures: Vec<Figure>,
    missing: Vec<Missing>,
) -> Row {
    Row {
        name: match connections {
            1 => format!("echo, 1 connection: {measure}"),
            _ => format!("echo, {connections} connections: {measure}"),
        },
        group: format!("echo: {measure}"),
        size: connections,
        unit: unit.to_owned(),
        operation: "a request".to_owned(),
        rounds,
        note: Some(NOTE.to_owned()),
        short: false,
        figures,
        missing,
    }
}
