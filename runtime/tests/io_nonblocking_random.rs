//! `io::Nonblocking` against a model: random pieces, random polls that are dropped, random pauses of the pool's thread.
//!
//! `SISAL_TEST_SEED` repeats a run.

mod common;

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use common::{runtime, watchdog};
use sisal::io::Nonblocking;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// xorshift64*.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }
}

fn seed() -> u64 {
    let given = std::env::var("SISAL_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        now.as_nanos() as u64 | 1
    });
    println!("SISAL_TEST_SEED={seed}");
    seed
}

/// Bytes that say where they are, with errors and short reads in between, and what was written.
struct Both {
    random: Random,
    at: usize,
    len: usize,
    errors: usize,
    written: Arc<Mutex<Vec<u8>>>,
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

impl Both {
    fn pause(&mut self) {
        for _ in 0..self.random.below(4) {
            std::thread::yield_now();
        }
    }
}

impl Read for Both {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.pause();
        match self.random.below(10) {
            0 => return Err(ErrorKind::Interrupted.into()),
            1 => {
                self.errors += 1;
                return Err(ErrorKind::TimedOut.into());
            }
            _ => {}
        }
        let most = buf.len().min(self.len - self.at);
        let n = if most == 0 {
            0
        } else {
            1 + self.random.below(most)
        };
        for (n, to) in buf[..n].iter_mut().enumerate() {
            *to = byte(self.at + n);
        }
        self.at += n;
        Ok(n)
    }
}

impl Write for Both {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.pause();
        let n = 1 + self.random.below(buf.len());
        self.written.lock().unwrap().extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Polls so many times, and drops it then: `None`.
async fn at_most<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        left -= 1;
        match left {
            0 => Poll::Ready(None),
            _ => Poll::Pending,
        }
    })
    .await
}

async fn one_run(mut random: Random) {
    let len = 1 + random.below(5000);
    let written = Arc::default();
    let mut both = Nonblocking::new(Both {
        random: Random(random.0 ^ 0x5DEECE66D | 1),
        at: 0,
        len,
        errors: 0,
        written: Arc::clone(&written),
    });
    let (mut got, mut sent, mut errors) = (Vec::new(), Vec::new(), 0);
    let mut buf = vec![0; 400];
    loop {
        let polls = if random.below(3) == 0 {
            1 + random.below(2)
        } else {
            usize::MAX
        };
        if random.below(4) == 0 {
            let piece: Vec<u8> = (0..1 + random.below(300))
                .map(|_| random.below(256) as u8)
                .collect();
            // A write that is dropped before it returns has taken nothing.
            if let Some(n) = at_most(polls, both.write(&piece)).await {
                sent.extend_from_slice(&piece[..n.unwrap()]);
            }
            continue;
        }
        if random.below(20) == 0 {
            at_most(polls, both.flush()).await.transpose().unwrap();
            continue;
        }
        let most = 1 + random.below(buf.len());
        match at_most(polls, both.read(&mut buf[..most])).await {
            None => {}
            Some(Ok(0)) => break,
            Some(Ok(n)) => got.extend_from_slice(&buf[..n]),
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                errors += 1;
            }
        }
    }
    both.flush().await.unwrap();
    assert_eq!(got.len(), len);
    assert!(
        got.iter().enumerate().all(|(at, b)| *b == byte(at)),
        "in order"
    );
    assert!(*written.lock().unwrap() == sent);
    let (both, unread) = both.into_inner().await;
    assert_eq!((both.errors, unread.len()), (errors, 0));
}

#[test]
fn no_byte_is_lost_or_doubled() {
    let _watchdog = watchdog(120);
    let mut random = Random(seed());
    let runtime = runtime(2);
    for _ in 0..60 {
        let (a, b) = (
            Random(random.below(1 << 30) as u64 | 1),
            Random(random.below(1 << 30) as u64 | 1),
        );
        runtime.run(|| {
            sisal::fiber::scope(|s| {
                s.spawn(|| sisal::block_on(one_run(a)));
                s.spawn(|| sisal::block_on(async { tokio::spawn(one_run(b)).await.unwrap() }));
            });
        });
    }
}
