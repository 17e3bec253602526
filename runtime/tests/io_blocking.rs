//! `io::Blocking`: async readers and writers, of both families, as blocking ones.

mod common;
mod common_io;

use std::io::{self, BufRead, Cursor, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{Count, panic_text, runtime, settle, until, watchdog};
use common_io::on_worker;
use sisal::io::Blocking;
use sisal::{fiber, timeout};
use tokio::io::ReadBuf;

/// One async pipe for both families: what was written is there to read, in pieces of at most `piece` bytes.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    piece: usize,
    room: usize,
    closed: bool,
    flushed: usize,
    polls: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(piece: usize, room: usize) -> Pipe {
        let pipe = Pipe::default();
        (pipe.state().piece, pipe.state().room) = (piece, room);
        pipe
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        state.polls += 1;
        if state.bytes.is_empty() && !state.closed {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = state.bytes.len().min(buf.len()).min(state.piece);
        buf[..n].copy_from_slice(&state.bytes[..n]);
        state.bytes.drain(..n);
        wake(&mut state.writer);
        Poll::Ready(Ok(n))
    }

    fn write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        state.polls += 1;
        if state.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let n = buf
            .len()
            .min(state.room - state.bytes.len())
            .min(state.piece);
        if n == 0 && !buf.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.bytes.extend_from_slice(&buf[..n]);
        wake(&mut state.reader);
        Poll::Ready(Ok(n))
    }

    fn flush(&self) -> Poll<io::Result<()>> {
        self.state().flushed += 1;
        Poll::Ready(Ok(()))
    }

    fn close(&self) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.closed = true;
        wake(&mut state.reader);
        Poll::Ready(Ok(()))
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

type Polled<T> = Poll<io::Result<T>>;

impl tokio::io::AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Polled<()> {
        self.read(cx, buf.initialize_unfilled())
            .map_ok(|n| buf.advance(n))
    }
}

impl tokio::io::AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        self.write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<()> {
        self.flush()
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<()> {
        self.close()
    }
}

impl futures::io::AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Polled<usize> {
        self.read(cx, buf)
    }
}

impl futures::io::AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Polled<usize> {
        self.write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<()> {
        self.flush()
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled<()> {
        self.close()
    }
}

/// Bytes go through a pipe that is full most of the time, between whoever `spawn` makes.
fn through_a_pipe<R: Read, W: Write + Send + 'static>(
    mut reader: R,
    mut writer: W,
    end: impl FnOnce(W) + Send + 'static,
) {
    let text: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = text.clone();
    let writes = fiber::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.flush().unwrap();
        end(writer);
    });
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == text, "every byte, in order");
    writes.join().unwrap();
}

#[test]
fn tokios_traits() {
    let _watchdog = watchdog(60);
    let all = || {
        let pipe = Pipe::new(70, 100);
        let ends = [Blocking::tokio(pipe.clone()), Blocking::tokio(pipe.clone())];
        let [reader, writer] = ends;
        through_a_pipe(reader, writer, |mut writer| writer.shutdown().unwrap());
        assert_eq!(pipe.state().flushed, 1);
        let mut after = Blocking::tokio(pipe);
        assert_eq!(after.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    };
    all(); // on a thread
    runtime(1).run(all);
    runtime(4).run(all);
}

#[test]
fn futures_traits() {
    let _watchdog = watchdog(60);
    let all = || {
        let pipe = Pipe::new(70, 100);
        let ends = [
            Blocking::futures(pipe.clone()),
            Blocking::futures(pipe.clone()),
        ];
        let [reader, writer] = ends;
        through_a_pipe(reader, writer, |mut writer| writer.close().unwrap());
        assert_eq!(pipe.state().flushed, 1);
        let mut after = Blocking::futures(pipe);
        assert_eq!(after.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    };
    all();
    runtime(1).run(all);
    runtime(4).run(all);
}

/// `BufRead` and `Seek` of both, and vectors.
#[test]
fn lines_and_positions() {
    let _watchdog = watchdog(60);
    fn lines(mut read: impl BufRead) {
        let mut line = String::new();
        assert_eq!(read.read_line(&mut line).unwrap(), 4);
        assert_eq!(read.fill_buf().unwrap()[0], b't');
        read.consume(1);
        let rest: Vec<String> = read.by_ref().lines().map(Result::unwrap).collect();
        assert_eq!(
            (line.as_str(), rest),
            ("one\n", vec!["wo".into(), String::new(), "four".into()])
        );
        assert!(read.fill_buf().unwrap().is_empty(), "at the end");
        assert_eq!(read.read(&mut [0; 4]).unwrap(), 0);
    }
    fn seeks(mut file: impl Read + Write + Seek) {
        assert_eq!(file.seek(SeekFrom::End(-2)).unwrap(), 8);
        assert_eq!(file.write(b"xyz").unwrap(), 2);
        file.rewind().unwrap();
        assert_eq!(file.stream_position().unwrap(), 0);
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "01234567xy");
        assert!(file.seek(SeekFrom::Current(-100)).is_err());
    }
    let all = || {
        let text = &b"one\ntwo\n\nfour"[..];
        lines(Blocking::tokio(tokio::io::BufReader::with_capacity(
            3, text,
        )));
        lines(Blocking::futures(futures::io::BufReader::with_capacity(
            3, text,
        )));
        let mut room = *b"0123456789";
        seeks(Blocking::tokio(Cursor::new(&mut room[..])));
        let mut room = *b"0123456789";
        seeks(Blocking::futures(futures::io::Cursor::new(&mut room[..])));

        let (mut one, mut two) = ([0; 2], [0; 3]);
        let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        let mut read = Blocking::futures(futures::io::Cursor::new(b"abcdef"));
        assert_eq!(read.read_vectored(&mut bufs).unwrap(), 5);
        assert_eq!((&one, &two), (b"ab", b"cde"));
        let bufs = [IoSlice::new(b"gh"), IoSlice::new(b"i")];
        let mut write = Blocking::tokio(Vec::new());
        assert_eq!(write.write_vectored(&bufs).unwrap(), 3);
        assert_eq!(write.into_inner(), b"ghi");
        let mut write = Blocking::futures(Vec::new());
        assert_eq!(write.write_vectored(&bufs).unwrap(), 3);
        assert_eq!(write.get_ref(), b"ghi");
    };
    all();
    runtime(1).run(all);
}

/// A read that is cut short has taken nothing: the next one gets every byte. Polls are counted: none is in vain.
#[test]
fn a_cut_read_takes_nothing() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pipe = Pipe::new(100, 100);
        let mut reader = Blocking::tokio(pipe.clone());
        let mut buf = [0; 8];
        let cut = timeout(Duration::from_millis(2), || reader.read(&mut buf));
        assert!(cut.is_err());
        assert_eq!(pipe.state().polls, 1);

        let begun = Count::new();
        let theirs = begun.clone();
        let mut other = Blocking::futures(pipe.clone());
        let waits = fiber::spawn(move || {
            theirs.add();
            other.read(&mut [0; 8])
        });
        until(|| begun.get() == 1);
        settle();
        waits.cancel();
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(pipe.state().polls, 2);

        Blocking::tokio(pipe.clone()).write_all(b"whole").unwrap();
        assert_eq!(reader.read(&mut buf).unwrap(), 5);
        assert_eq!(&buf[..5], b"whole");
        assert_eq!(pipe.state().polls, 4);
    });
}

/// What is always ready does not keep its worker for itself, and its loop can be ended.
#[test]
fn what_is_ready_lets_others_run() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let reads = fiber::spawn(|| {
            let mut zeros = Blocking::futures(futures::io::repeat(0));
            loop {
                zeros.read_exact(&mut [1]).unwrap();
            }
        });
        settle();
        reads.cancel();
        let ended: Result<(), _> = reads.join();
        assert!(ended.unwrap_err().is_cancelled());
    });
}

/// tokio's own sockets and pipes, of a fiber's worker.
#[test]
fn tokios_sockets() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let listener = sisal::block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = fiber::spawn(move || {
            let (peer, _) = sisal::block_on(listener.accept()).unwrap();
            let mut peer = Blocking::tokio(peer);
            let mut asked = String::new();
            peer.read_to_string(&mut asked).unwrap();
            peer.write_all(asked.to_uppercase().as_bytes()).unwrap();
        });
        let peer = sisal::block_on(tokio::net::TcpStream::connect(addr)).unwrap();
        let mut peer = Blocking::tokio(peer);
        peer.write_all(b"hello").unwrap();
        peer.shutdown().unwrap();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
        server.join().unwrap();
    });
}

#[test]
fn on_a_workers_own_stack_it_panics() {
    let _watchdog = watchdog(60);
    on_worker(|| {
        let pipe = Pipe::new(9, 9);
        let (mut tokio, mut futures) = (
            Blocking::tokio(pipe.clone()),
            Blocking::futures(pipe.clone()),
        );
        let mut lines = Blocking::tokio(&b"text"[..]);
        let mut seeks = Blocking::tokio(Cursor::new(b"text"));
        let texts = [
            panic_text(|| tokio.read(&mut [0])),
            panic_text(|| tokio.write(b"x")),
            panic_text(|| tokio.flush()),
            panic_text(|| tokio.shutdown()),
            panic_text(|| futures.read(&mut [0])),
            panic_text(|| futures.write(b"x")),
            panic_text(|| futures.flush()),
            panic_text(|| futures.close()),
            panic_text(|| lines.fill_buf().map(drop)),
            panic_text(|| seeks.seek(SeekFrom::Start(1))),
        ];
        for text in texts {
            assert!(
                text.contains("`io::Blocking`") && text.contains("await the value"),
                "{text}"
            );
        }
        assert_eq!(pipe.state().polls, 0);
    });
}

#[test]
fn it_is_what_it_holds() {
    fn all<T: Send + Sync + Unpin + Clone + std::fmt::Debug>(value: &T) -> String {
        format!("{:?}", value.clone())
    }
    assert_eq!(all(&Blocking::tokio(7)), "Blocking(7)");
    assert_eq!(all(&Blocking::futures("x")), "Blocking(\"x\")");
    let mut held = Blocking::tokio(1);
    *held.get_mut() += 1;
    assert_eq!((*held.get_ref(), held.into_inner()), (2, 2));
}
