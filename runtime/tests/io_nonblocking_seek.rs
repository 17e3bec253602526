//! `io::Nonblocking` over what can seek: positions are those of what was taken, whatever was read ahead.
//!
//! `SISAL_TEST_SEED` repeats a run of the random test.

mod common;

use std::future::{Future, poll_fn};
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use common::{runtime, watchdog};
use futures::io as futures_io;
use sisal::io::{Blocking, Nonblocking};
use tokio::io as tokio_io;

/// A file in memory, that the test sees too.
#[derive(Clone)]
struct File {
    shared: Arc<Mutex<Cursor<Vec<u8>>>>,
    random: Option<Random>,
    /// The next write or seek fails.
    fails: Arc<Mutex<Option<ErrorKind>>>,
}

impl File {
    fn new(bytes: impl Into<Vec<u8>>) -> File {
        File {
            shared: Arc::new(Mutex::new(Cursor::new(bytes.into()))),
            random: None,
            fails: Arc::default(),
        }
    }

    fn position(&self) -> u64 {
        self.shared.lock().unwrap().position()
    }

    fn contents(&self) -> Vec<u8> {
        self.shared.lock().unwrap().get_ref().clone()
    }

    fn step(&mut self, most: usize) -> io::Result<usize> {
        if let Some(kind) = self.fails.lock().unwrap().take() {
            return Err(kind.into());
        }
        let Some(random) = &mut self.random else {
            return Ok(most);
        };
        for _ in 0..random.below(4) {
            std::thread::yield_now();
        }
        Ok(match most {
            0 => 0,
            most => 1 + random.below(most),
        })
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.step(buf.len())?;
        self.shared.lock().unwrap().read(&mut buf[..most])
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let most = self.step(buf.len())?;
        self.shared.lock().unwrap().write(&buf[..most])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step(0).map(drop)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.step(0)?;
        self.shared.lock().unwrap().seek(to)
    }
}

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

    fn fork(&mut self) -> Random {
        Random(self.below(1 << 30) as u64 | 1)
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

type Both = Nonblocking<File>;

/// One face for both.
#[derive(Clone, Copy, PartialEq)]
enum Family {
    Tokio,
    Futures,
}

impl Family {
    async fn seek(self, file: &mut Both, to: SeekFrom) -> io::Result<u64> {
        match self {
            Family::Tokio => tokio_io::AsyncSeekExt::seek(file, to).await,
            Family::Futures => futures_io::AsyncSeekExt::seek(file, to).await,
        }
    }

    async fn read(self, file: &mut Both, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Family::Tokio => tokio_io::AsyncReadExt::read(file, buf).await,
            Family::Futures => futures_io::AsyncReadExt::read(file, buf).await,
        }
    }

    async fn write(self, file: &mut Both, buf: &[u8]) -> io::Result<usize> {
        match self {
            Family::Tokio => tokio_io::AsyncWriteExt::write(file, buf).await,
            Family::Futures => futures_io::AsyncWriteExt::write(file, buf).await,
        }
    }

    async fn flush(self, file: &mut Both) -> io::Result<()> {
        match self {
            Family::Tokio => tokio_io::AsyncWriteExt::flush(file).await,
            Family::Futures => futures_io::AsyncWriteExt::flush(file).await,
        }
    }

    /// Reads ahead, and takes so many of what is there, at the most.
    async fn take(self, file: &mut Both, most: usize) -> io::Result<Vec<u8>> {
        match self {
            Family::Tokio => {
                let taken = tokio_io::AsyncBufReadExt::fill_buf(file).await?;
                let taken = taken[..most.min(taken.len())].to_vec();
                tokio_io::AsyncBufRead::consume(Pin::new(file), taken.len());
                Ok(taken)
            }
            Family::Futures => {
                let taken = futures_io::AsyncBufReadExt::fill_buf(file).await?;
                let taken = taken[..most.min(taken.len())].to_vec();
                futures_io::AsyncBufRead::consume(Pin::new(file), taken.len());
                Ok(taken)
            }
        }
    }
}

fn everywhere<F: Future<Output = ()>>(make: impl Fn(Family) -> F + Send + Sync) {
    let _watchdog = watchdog(60);
    let all = || {
        for family in [Family::Tokio, Family::Futures] {
            sisal::block_on(make(family));
        }
    };
    all();
    runtime(1).run(all);
}

/// `Current` is relative to what was taken; what was read ahead is forgotten.
#[test]
fn relative_to_what_was_taken() {
    everywhere(|family| async move {
        let shared = File::new("0123456789abcdef");
        let mut file = Nonblocking::new(shared.clone());
        assert_eq!(family.take(&mut file, 3).await.unwrap(), b"012");
        assert_eq!(shared.position(), 16, "read ahead");
        let mut buf = [0; 4];
        assert_eq!(family.read(&mut file, &mut buf).await.unwrap(), 4);
        assert_eq!(&buf, b"3456");
        let at = family.seek(&mut file, SeekFrom::Current(0)).await.unwrap();
        assert_eq!((at, shared.position()), (7, 7));
        assert_eq!(family.take(&mut file, 1).await.unwrap(), b"7");
        let at = family.seek(&mut file, SeekFrom::Current(-2)).await.unwrap();
        assert_eq!(at, 6);
        assert_eq!(family.take(&mut file, 2).await.unwrap(), b"67");
        let at = family.seek(&mut file, SeekFrom::End(-1)).await.unwrap();
        assert_eq!(at, 15);
        assert_eq!(family.take(&mut file, 9).await.unwrap(), b"f");
        assert_eq!(family.take(&mut file, 9).await.unwrap(), b"", "the end");
        let at = family.seek(&mut file, SeekFrom::Start(2)).await.unwrap();
        assert_eq!(at, 2);
        assert_eq!(family.take(&mut file, 1).await.unwrap(), b"2");
        // Further than a number goes, less what is ahead.
        let far = SeekFrom::Current(i64::MIN);
        assert!(family.seek(&mut file, far).await.is_err());
        let (back, ahead) = file.into_inner().await;
        assert!(back.position() == 3 && ahead.is_empty());
    });
}

/// One that fails changes nothing: what was read ahead is still there.
#[test]
fn a_seek_that_fails() {
    everywhere(|family| async move {
        let shared = File::new("0123456789");
        let mut file = Nonblocking::new(shared.clone());
        assert_eq!(family.take(&mut file, 2).await.unwrap(), b"01");
        let before = SeekFrom::Current(-3);
        let failed = family.seek(&mut file, before).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::InvalidInput);
        assert_eq!(family.take(&mut file, 2).await.unwrap(), b"23");
        *shared.fails.lock().unwrap() = Some(ErrorKind::TimedOut);
        let failed = family.seek(&mut file, before).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        assert_eq!(family.seek(&mut file, before).await.unwrap(), 1);
        assert_eq!(family.take(&mut file, 2).await.unwrap(), b"12");
    });
}

/// Writes come first. The error of one is the seek's, which then does not take place.
#[test]
fn writes_come_first() {
    everywhere(|family| async move {
        let shared = File::new("0123456789");
        let mut file = Nonblocking::new(shared.clone());
        assert_eq!(family.write(&mut file, b"abc").await.unwrap(), 3);
        let at = family.seek(&mut file, SeekFrom::Current(1)).await.unwrap();
        assert_eq!((at, &*shared.contents()), (4, &b"abc3456789"[..]));
        *shared.fails.lock().unwrap() = Some(ErrorKind::StorageFull);
        assert_eq!(family.write(&mut file, b"lost").await.unwrap(), 4);
        let to = SeekFrom::Start(0);
        let failed = family.seek(&mut file, to).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::StorageFull);
        assert_eq!(shared.position(), 4, "no step");
        assert_eq!(family.seek(&mut file, to).await.unwrap(), 0);
        family.flush(&mut file).await.unwrap();
    });
}

/// futures' way to ask again for the same is the same seek; tokio's is the next one.
#[test]
fn a_seek_that_is_dropped() {
    let _watchdog = watchdog(60);
    let by_three = SeekFrom::Current(3);
    for (family, at) in [(Family::Tokio, 6), (Family::Futures, 3)] {
        let shared = File::new("0123456789");
        let mut file = Nonblocking::new(shared.clone());
        let mut cx = Context::from_waker(Waker::noop());
        let hold = shared.shared.lock().unwrap();
        assert!(
            pin!(family.seek(&mut file, by_three))
                .poll(&mut cx)
                .is_pending()
        );
        drop(hold);
        assert_eq!(
            sisal::block_on(family.seek(&mut file, by_three)).unwrap(),
            at
        );
        assert_eq!(shared.position(), at);
        // Another one, or another operation, is not that one.
        let hold = shared.shared.lock().unwrap();
        assert!(
            pin!(family.seek(&mut file, SeekFrom::Start(1)))
                .poll(&mut cx)
                .is_pending()
        );
        drop(hold);
        sisal::block_on(async {
            assert_eq!(family.take(&mut file, 1).await.unwrap(), b"1");
            let at = family.seek(&mut file, SeekFrom::Start(1)).await.unwrap();
            assert_eq!(at, 1);
            assert_eq!(family.take(&mut file, 1).await.unwrap(), b"1");
        });
    }
}

/// tokio's two steps by hand.
#[test]
fn the_steps_of_tokios_seek() {
    use tokio::io::AsyncSeek;
    let _watchdog = watchdog(60);
    let shared = File::new("0123456789");
    let mut file = Nonblocking::new(shared.clone());
    let complete =
        |file: &mut Both| sisal::block_on(poll_fn(|cx| Pin::new(&mut *file).poll_complete(cx)));
    // Without one it is ready.
    complete(&mut file).unwrap();
    let hold = shared.shared.lock().unwrap();
    Pin::new(&mut file).start_seek(SeekFrom::Start(4)).unwrap();
    let again = Pin::new(&mut file).start_seek(SeekFrom::Start(5));
    assert!(again.unwrap_err().to_string().contains("`poll_complete`"));
    drop(hold);
    assert_eq!(complete(&mut file).unwrap(), 4);
    // Begun and left, it takes place.
    Pin::new(&mut file).start_seek(SeekFrom::End(-1)).unwrap();
    let mut one = [0];
    assert_eq!(
        sisal::block_on(Family::Tokio.read(&mut file, &mut one)).unwrap(),
        1
    );
    assert_eq!(&one, b"9");
}

#[test]
#[should_panic(expected = "consumed 4 of 3 bytes")]
fn who_takes_more_than_there_is() {
    let mut file = Nonblocking::new(File::new("012"));
    assert_eq!(
        sisal::block_on(tokio_io::AsyncBufReadExt::fill_buf(&mut file)).unwrap(),
        b"012"
    );
    tokio_io::AsyncBufRead::consume(Pin::new(&mut file), 4);
}

/// There and back: `Blocking` over it is `Read`, `Write`, `Seek` and `BufRead` again.
#[test]
fn blocking_over_it() {
    use std::io::BufRead;
    let _watchdog = watchdog(60);
    fn all(mut file: impl BufRead + Write + Seek) {
        let mut line = String::new();
        file.read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        assert_eq!(file.stream_position().unwrap(), 4);
        file.write_all(b"TWO").unwrap();
        file.seek(SeekFrom::Current(-2)).unwrap();
        line.clear();
        file.read_line(&mut line).unwrap();
        assert_eq!(line, "WO\n");
        file.seek_relative(-4).unwrap();
        let rest: Vec<String> = file.lines().map(Result::unwrap).collect();
        assert_eq!(rest, ["TWO", "three"]);
    }
    let twice = || {
        let file = || Nonblocking::new(File::new("one\ntwo\nthree"));
        all(Blocking::tokio(file()));
        all(Blocking::futures(file()));
    };
    twice();
    runtime(1).run(twice);
}

/// Against a `Vec` and a position: reads, read-ahead, seeks and writes in any order, some of them dropped, some failing.
async fn one_run(family: Family, mut random: Random) {
    let mut model: Vec<u8> = (0..random.below(500)).map(|at| at as u8).collect();
    let mut at = 0;
    let mut shared = File::new(model.clone());
    shared.random = Some(random.fork());
    let mut file = Nonblocking::new(shared.clone());
    for _ in 0..60 {
        let polls = match random.below(3) {
            0 => 1 + random.below(2),
            _ => usize::MAX,
        };
        let from = at.min(model.len());
        match random.below(8) {
            0..2 => {
                let mut buf = [0; 60];
                let most = 1 + random.below(buf.len());
                let read = at_most(polls, family.read(&mut file, &mut buf[..most])).await;
                if let Some(read) = read {
                    let read = read.unwrap();
                    assert!(read > 0 || from == model.len());
                    assert_eq!(buf[..read], model[from..][..read]);
                    at += read;
                }
            }
            2..4 => {
                let most = 1 + random.below(60);
                if let Some(taken) = at_most(polls, family.take(&mut file, most)).await {
                    let taken = taken.unwrap();
                    assert!(!taken.is_empty() || from == model.len());
                    assert_eq!(taken, model[from..][..taken.len()]);
                    at += taken.len();
                }
            }
            4 => {
                // Where it is, for a write goes there.
                let here = family.seek(&mut file, SeekFrom::Current(0)).await;
                assert_eq!(here.unwrap(), at as u64);
                let piece = vec![random.below(256) as u8; 1 + random.below(40)];
                let fails = random.below(4) == 0;
                if fails {
                    *shared.fails.lock().unwrap() = Some(ErrorKind::StorageFull);
                }
                let wrote = family.write(&mut file, &piece).await.unwrap();
                assert_eq!(wrote, piece.len());
                if fails {
                    let failed = match random.below(3) {
                        0 => family.flush(&mut file).await,
                        1 => family.write(&mut file, b"x").await.map(drop),
                        _ => family.seek(&mut file, SeekFrom::Start(0)).await.map(drop),
                    };
                    assert_eq!(failed.unwrap_err().kind(), ErrorKind::StorageFull);
                    continue;
                }
                let mut place = Cursor::new(&mut model);
                place.set_position(at as u64);
                place.write_all(&piece).unwrap();
                at += wrote;
            }
            _ => {
                let by = random.below(300) as i64 - 100;
                let to = match random.below(3) {
                    0 => SeekFrom::Start(random.below(600) as u64),
                    1 => SeekFrom::End(by),
                    _ => SeekFrom::Current(by),
                };
                let mut place = Cursor::new(&model);
                place.set_position(at as u64);
                let expected = place.seek(to).ok();
                match at_most(polls, family.seek(&mut file, to)).await {
                    Some(sought) => assert_eq!(sought.ok(), expected),
                    // It has begun or not. If it failed tokio's next one says so.
                    None => {
                        let mut here = family.seek(&mut file, SeekFrom::Current(0)).await;
                        if here.is_err() && family == Family::Tokio && expected.is_none() {
                            here = family.seek(&mut file, SeekFrom::Current(0)).await;
                        }
                        let here = here.unwrap();
                        assert!(here == at as u64 || Some(here) == expected, "{here}");
                        at = here as usize;
                        continue;
                    }
                }
                at = expected.map_or(at, |at| at as usize);
            }
        }
    }
    family.flush(&mut file).await.unwrap();
    let here = family.seek(&mut file, SeekFrom::Current(0)).await;
    assert_eq!(here.unwrap(), at as u64);
    assert_eq!(shared.contents(), model);
}

#[test]
fn any_order_of_operations() {
    let _watchdog = watchdog(120);
    let given = std::env::var("SISAL_TEST_SEED").ok();
    let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        now.as_nanos() as u64 | 1
    });
    println!("SISAL_TEST_SEED={seed}");
    let mut random = Random(seed);
    let runtime = runtime(2);
    for _ in 0..40 {
        let (a, b) = (random.fork(), random.fork());
        runtime.run(|| {
            sisal::fiber::scope(|s| {
                s.spawn(|| sisal::block_on(one_run(Family::Tokio, a)));
                s.spawn(|| {
                    let task = one_run(Family::Futures, b);
                    sisal::block_on(async { tokio::spawn(task).await.unwrap() });
                });
            });
        });
    }
}
