//! The client: many connections, each with one request under way, in one thread over epoll.

use std::io::{self, BufRead, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::Protocol;
use crate::pin;

/// Room for an answer.
const ANSWER: usize = 512;

/// A client for the driver: sent `REQUESTS MILLISECONDS`, it makes requests until one of the two is reached (0 is no
/// limit) and says what that took.
#[derive(Clone, Debug, clap::Args)]
pub struct Client {
    /// What is spoken
    protocol: Protocol,
    /// Where the server listens, on loopback
    port: u16,
    /// How many connections
    connections: usize,
    /// The processor to run on
    cpu: usize,
}

/// What a round took, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Round {
    pub(super) requests: u64,
    pub(super) elapsed: u64,
    /// The median latency, that of 99 %, and that of 99.9 % of the requests.
    pub(super) latencies: [u64; 3],
}

impl Round {
    fn line(&self) -> String {
        let [p50, p99, p999] = self.latencies;
        format!("{} {} {p50} {p99} {p999}", self.requests, self.elapsed)
    }

    pub(super) fn parse(line: &str) -> io::Result<Round> {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        match numbers.map_err(io::Error::other)?[..] {
            [requests, elapsed, p50, p99, p999] if requests > 0 => Ok(Round {
                requests,
                elapsed,
                latencies: [p50, p99, p999],
            }),
            _ => Err(io::Error::other(format!("no round: {line:?}"))),
        }
    }
}

/// As many descriptors as the system allows.
pub(super) fn raise_descriptors() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

impl Client {
    /// Answers lines until standard input ends.
    pub fn serve(&self) -> ExitCode {
        match self.answer() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{} client: {error}", self.protocol.name());
                ExitCode::FAILURE
            }
        }
    }

    fn answer(&self) -> io::Result<()> {
        raise_descriptors()?;
        pin::pin(&[self.cpu])?;
        let mut load = Load::connect(self.protocol, self.port, self.connections)?;
        // One request each, so that all are accepted and have what they need.
        load.round(self.connections as u64, Duration::ZERO)?;
        let mut out = io::stdout();
        writeln!(out, "ready")?;
        for line in io::stdin().lock().lines() {
            let line = line?;
            let (requests, millis) = line
                .split_once(' ')
                .ok_or_else(|| io::Error::other("two numbers are wanted"))?;
            let requests = requests.parse().map_err(io::Error::other)?;
            let millis = millis.parse().map_err(io::Error::other)?;
            let round = load.round(requests, Duration::from_millis(millis))?;
            writeln!(out, "{}", round.line())?;
        }
        Ok(())
    }
}

struct Load {
    protocol: Protocol,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Requests so far, over all rounds: their numbers.
    sent: u64,
    /// The request that is being sent.
    message: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    request: u64,
    since: Instant,
    /// Of the answer.
    received: usize,
    answer: [u8; ANSWER],
}

impl Load {
    fn connect(protocol: Protocol, port: u16, count: usize) -> io::Result<Load> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for place in 0..count {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(
                &epoll,
                &stream,
                EventData::new_u64(place as u64),
                EventFlags::IN,
            )?;
            connections.push(Connection {
                stream,
                request: 0,
                since: Instant::now(),
                received: 0,
                answer: [0; ANSWER],
            });
        }
        Ok(Load {
            protocol,
            epoll,
            connections,
            sent: 0,
            message: Vec::new(),
        })
    }

    /// Makes requests until so many have been sent or the time is over, and waits for what is under way.
    fn round(&mut self, most: u64, time: Duration) -> io::Result<Round> {
        let most = if most == 0 { u64::MAX } else { most };
        let mut latencies = Vec::new();
        let mut events = vec![
            Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0)
            };
            1024
        ];
        let start = Instant::now();
        let mut sent = 0;
        for place in 0..self.connections.len() {
            if sent < most {
                self.send(place)?;
                sent += 1;
            }
        }
        while (latencies.len() as u64) < sent {
            let ready = epoll::wait(&self.epoll, &mut events[..], None)?;
            let over = !time.is_zero() && start.elapsed() >= time;
            for event in &events[..ready] {
                let place = event.data.u64() as usize;
                let Some(latency) = self.connections[place].receive(self.protocol)? else {
                    continue;
                };
                latencies.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
                if sent < most && !over {
                    self.send(place)?;
                    sent += 1;
                }
            }
        }
        let elapsed = start.elapsed();
        latencies.sort_unstable();
        Ok(Round {
            requests: sent,
            elapsed: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            latencies: [500, 990, 999].map(|permille| at_permille(&latencies, permille)),
        })
    }

    fn send(&mut self, place: usize) -> io::Result<()> {
        self.protocol.request(self.sent, &mut self.message);
        self.connections[place].send(self.sent, &self.message)?;
        self.sent += 1;
        Ok(())
    }
}

impl Connection {
    fn send(&mut self, request: u64, message: &[u8]) -> io::Result<()> {
        self.request = request;
        self.received = 0;
        self.since = Instant::now();
        // So few bytes always fit: the answer to what was sent before has come.
        let sent = self.stream.write(message)?;
        if sent == message.len() {
            Ok(())
        } else {
            Err(io::Error::other("half a message was sent"))
        }
    }

    /// How long the request took, if the whole answer has come, and the right one.
    fn receive(&mut self, protocol: Protocol) -> io::Result<Option<Duration>> {
        match self.stream.read(&mut self.answer[self.received..]) {
            Ok(0) => return Err(io::Error::other("the server hung up, or said too much")),
            Ok(n) => self.received += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let latency = self.since.elapsed();
        let answered = protocol.is_answered(self.request, &self.answer[..self.received])?;
        Ok(answered.then_some(latency))
    }
}

/// The sorted value that so many thousandths do not exceed.
fn at_permille(sorted: &[u64], permille: usize) -> u64 {
    let place = (sorted.len() * permille).div_ceil(1000).max(1) - 1;
    sorted.get(place).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permilles_are_of_the_nearest_rank() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(at_permille(&sorted, 500), 500);
        assert_eq!(at_permille(&sorted, 999), 999);
        assert_eq!(at_permille(&[7], 999), 7);
    }

    #[test]
    fn a_round_is_read_as_it_was_written() {
        let round = Round {
            requests: 5,
            elapsed: 100,
            latencies: [1, 2, 3],
        };
        assert_eq!(Round::parse(&round.line()).unwrap(), round);
        assert!(Round::parse("0 1 2 3 4").is_err(), "nothing was done");
        assert!(Round::parse("5 1").is_err());
    }
}
