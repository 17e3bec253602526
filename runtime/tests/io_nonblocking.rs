//! `io::Nonblocking`: blocking readers and writers as async ones, through the pool.

mod common;

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;

use common::{Count, panic_text, runtime, until, watchdog};
use sisal::io::Nonblocking;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Reads what it is sent, one message at a time, and blocks meanwhile; 0xff is an error, an empty message the end.
struct Messages(mpsc::Receiver<Vec<u8>>, Count);

impl Read for Messages {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1.add();
        let Ok(message) = self.0.recv() else {
            return Ok(0);
        };
        if message == [0xff] {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if message == [0xfe] {
            return Err(ErrorKind::Interrupted.into());
        }
        if message == [0xfd] {
            panic!("the reader panics");
        }
        buf[..message.len()].copy_from_slice(&message);
        Ok(message.len())
    }
}

/// Takes what is written, a piece at a time.
#[derive(Clone, Default)]
struct Sink {
    all: Arc<Mutex<Vec<u8>>>,
    flushes: Count,
    fails: Arc<Mutex<Option<ErrorKind>>>,
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Some(kind) = self.fails.lock().unwrap().take() {
            return Err(kind.into());
        }
        let n = buf.len().min(1000);
        self.all.lock().unwrap().extend_from_slice(&buf[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes.add();
        match self.fails.lock().unwrap().take() {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

fn messages() -> (mpsc::Sender<Vec<u8>>, Count, Nonblocking<Messages>) {
    let (send, receive) = mpsc::channel();
    let reads = Count::new();
    (
        send,
        reads.clone(),
        Nonblocking::new(Messages(receive, reads)),
    )
}

/// Polls a read once; `None` if it is pending.
async fn once(from: &mut Nonblocking<Messages>, buf: &mut [u8]) -> Option<io::Result<usize>> {
    let mut read = std::pin::pin!(from.read(buf));
    poll_fn(|cx| match read.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Every place that async code runs in.
fn everywhere<F: Future<Output = ()> + Send + 'static>(make: impl Fn() -> F) {
    let runtime = runtime(1);
    let (in_fiber, in_task) = (make(), make());
    runtime.run(|| sisal::block_on(in_fiber));
    runtime.run(|| sisal::block_on(async { tokio::spawn(in_task).await.unwrap() }));
    futures::executor::block_on(make());
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(make());
}

#[test]
fn reads() {
    let _watchdog = watchdog(60);
    everywhere(|| async {
        let (send, reads, mut from) = messages();
        let mut buf = [0; 8];
        send.send(b"first".to_vec()).unwrap();
        assert_eq!(from.read(&mut buf).await.unwrap(), 5);
        assert_eq!(&buf[..5], b"first");
        assert_eq!(from.read(&mut []).await.unwrap(), 0, "nothing is asked for");
        assert_eq!(reads.get(), 1);
        // As a signal does it: tried again there.
        send.send(vec![0xfe]).unwrap();
        send.send(b"second".to_vec()).unwrap();
        assert_eq!(from.read(&mut buf).await.unwrap(), 6);
        assert_eq!(reads.get(), 3);
        send.send(vec![0xff]).unwrap();
        let error = from.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        send.send(b"after it".to_vec()).unwrap();
        drop(send);
        let mut rest = String::new();
        from.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "after it");
    });
}

/// A read that is dropped loses nothing: neither bytes, nor an error, nor the end.
#[test]
fn a_dropped_read_loses_nothing() {
    let _watchdog = watchdog(60);
    everywhere(|| async {
        let (send, reads, mut from) = messages();
        let mut buf = [0; 8];
        assert!(once(&mut from, &mut buf).await.is_none());
        until_thread(|| reads.get() == 1);
        send.send(b"eightlet".to_vec()).unwrap();
        // Smaller pieces than what was asked for first.
        for piece in [b"eig", b"htl"] {
            let mut buf = [0; 3];
            assert_eq!(from.read(&mut buf).await.unwrap(), 3);
            assert_eq!(&buf, piece);
        }
        assert_eq!(from.read(&mut buf).await.unwrap(), 2);
        assert_eq!(&buf[..2], b"et");
        assert_eq!(reads.get(), 1, "one read of the reader for all");

        assert!(once(&mut from, &mut buf).await.is_none());
        send.send(vec![0xff]).unwrap();
        let error = from.read(&mut buf).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(once(&mut from, &mut buf).await.is_none());
        drop(send);
        assert_eq!(from.read(&mut buf).await.unwrap(), 0);
        // Into whose hands it comes.
        let (send, _, mut from) = messages();
        assert!(once(&mut from, &mut buf).await.is_none());
        send.send(b"unread".to_vec()).unwrap();
        let (_messages, unread) = from.into_inner().await;
        assert_eq!(unread, b"unread");
    });
}

fn until_thread(condition: impl Fn() -> bool) {
    common::until_thread(condition);
}

#[test]
fn writes() {
    let _watchdog = watchdog(60);
    everywhere(|| async {
        let sink = Sink::default();
        let mut to = Nonblocking::new(sink.clone());
        let text: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        to.write_all(&text).await.unwrap();
        to.flush().await.unwrap();
        assert!(*sink.all.lock().unwrap() == text);
        assert_eq!(sink.flushes.get(), 1);
        to.flush().await.unwrap();
        assert_eq!(sink.flushes.get(), 1, "there is nothing to flush");
        assert_eq!(to.write(&[]).await.unwrap(), 0);
        // Done when it returns, though nobody waits for it, nor flushes.
        assert_eq!(to.write(b"the last").await.unwrap(), 8);
        drop(to);
        until_thread(|| sink.all.lock().unwrap().ends_with(b"the last"));

        let mut to = Nonblocking::new(sink.clone());
        to.write_all(b"!").await.unwrap();
        to.shutdown().await.unwrap();
        assert_eq!(sink.flushes.get(), 2);
        let (back, unread) = to.into_inner().await;
        assert!(Arc::ptr_eq(&back.all, &sink.all) && unread.is_empty());
    });
}

/// An error comes out once: of the next write, of a flush, of a shutdown.
#[test]
fn errors_of_writes() {
    let _watchdog = watchdog(60);
    everywhere(|| async {
        let sink = Sink::default();
        let mut to = Nonblocking::new(sink.clone());
        let fail = |kind| *sink.fails.lock().unwrap() = Some(kind);
        fail(ErrorKind::StorageFull);
        assert_eq!(to.write(b"lost").await.unwrap(), 4);
        assert_eq!(
            to.write(b"x").await.unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        assert_eq!(to.write(b"kept").await.unwrap(), 4);
        to.flush().await.unwrap();
        fail(ErrorKind::BrokenPipe);
        to.write_all(b"lost").await.unwrap();
        assert_eq!(to.flush().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        to.write_all(b" too").await.unwrap();
        to.flush().await.unwrap();
        // Of the flush itself.
        to.write_all(b"!").await.unwrap();
        until_thread(|| sink.all.lock().unwrap().ends_with(b"!"));
        fail(ErrorKind::TimedOut);
        assert_eq!(to.shutdown().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(*sink.all.lock().unwrap(), b"kept too!");
    });
}

/// Reads and writes of one value come one after another, and neither takes the other's result.
#[test]
fn both_ways() {
    let _watchdog = watchdog(60);
    struct Both(Messages, Sink);
    impl Read for Both {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl Write for Both {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.1.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.1.flush()
        }
    }
    everywhere(|| async {
        let ((send, receive), sink, reads) = (mpsc::channel(), Sink::default(), Count::new());
        let mut both = Nonblocking::new(Both(Messages(receive, reads.clone()), sink.clone()));
        let mut buf = [0; 4];
        {
            let mut read = std::pin::pin!(both.read(&mut buf));
            let pending = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
            assert!(pending);
        }
        send.send(b"abcd".to_vec()).unwrap();
        both.write_all(b"written").await.unwrap();
        // What was read before the write is given, and then it is not the end.
        assert_eq!(both.read(&mut buf[..2]).await.unwrap(), 2);
        both.flush().await.unwrap();
        assert_eq!(both.read(&mut buf[2..]).await.unwrap(), 2);
        assert_eq!((&buf, reads.get()), (b"abcd", 1));
        send.send(b"more".to_vec()).unwrap();
        assert_eq!(both.read(&mut buf).await.unwrap(), 4);
        assert_eq!(&buf, b"more");
        // An error of the write is the write's, and not the read's.
        *sink.fails.lock().unwrap() = Some(ErrorKind::BrokenPipe);
        both.write_all(b"lost").await.unwrap();
        send.send(b"even".to_vec()).unwrap();
        assert_eq!(both.read(&mut buf).await.unwrap(), 4);
        assert_eq!(
            both.flush().await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        assert_eq!(*sink.all.lock().unwrap(), b"written");
    });
}

/// It comes to who awaits, and the reader may be used again.
#[test]
fn a_panic_of_the_reader() {
    let _watchdog = watchdog(60);
    let (send, _, mut from) = messages();
    let mut buf = [0; 8];
    send.send(vec![0xfd]).unwrap();
    let text = panic_text(|| futures::executor::block_on(from.read(&mut buf)));
    assert_eq!(text, "the reader panics");
    send.send(b"again".to_vec()).unwrap();
    assert_eq!(futures::executor::block_on(from.read(&mut buf)).unwrap(), 5);
}

#[test]
fn futures_traits() {
    use futures::io::{AsyncReadExt, AsyncWriteExt};
    let _watchdog = watchdog(60);
    everywhere(|| async {
        let (send, _, mut from) = messages();
        send.send(b"text".to_vec()).unwrap();
        drop(send);
        let mut text = String::new();
        AsyncReadExt::read_to_string(&mut from, &mut text)
            .await
            .unwrap();
        assert_eq!(text, "text");
        let sink = Sink::default();
        let mut to = Nonblocking::new(sink.clone());
        AsyncWriteExt::write_all(&mut to, b"out").await.unwrap();
        AsyncWriteExt::close(&mut to).await.unwrap();
        assert_eq!(
            (&**sink.all.lock().unwrap(), sink.flushes.get()),
            (&b"out"[..], 1)
        );
    });
}

/// The worker goes on while the reader blocks; one that is dropped then goes when it is through.
#[test]
fn it_is_dropped_when_it_is_through() {
    let _watchdog = watchdog(60);
    struct Held(Messages, #[allow(dead_code)] common::OnDrop);
    impl Read for Held {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    let runtime = runtime(1);
    let (send, receive) = mpsc::channel();
    let (reads, drops) = (Count::new(), Count::new());
    let held = Held(Messages(receive, reads.clone()), drops.on_drop());
    let fiber = runtime.spawn(move || {
        let mut from = Nonblocking::new(held);
        sisal::block_on(from.read(&mut [0; 8])).unwrap()
    });
    until(|| reads.get() == 1);
    fiber.cancel();
    assert!(
        fiber.join().unwrap_err().is_cancelled(),
        "though the reader blocks"
    );
    assert_eq!(drops.get(), 0);
    send.send(b"x".to_vec()).unwrap();
    until(|| drops.get() == 1);
    // And both ways round.
    let back = runtime.run(|| {
        let (send, receive) = mpsc::channel();
        let from = Nonblocking::new(Messages(receive, Count::new()));
        let mut blocking = sisal::io::Blocking::tokio(from);
        send.send(b"round".to_vec()).unwrap();
        drop(send);
        let mut text = String::new();
        blocking.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(back, "round");
}

/// A runtime that has ended takes no more work: that is an error, and nothing hangs.
#[test]
fn a_pool_that_is_gone() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (results, done) = mpsc::channel();
    let task = async move {
        struct Late(
            Option<Nonblocking<Messages>>,
            mpsc::Sender<io::Result<Vec<u8>>>,
        );
        impl Drop for Late {
            fn drop(&mut self) {
                // The worker's tasks are dropped after its fibers, and before its pool is.
                let mut from = self.0.take().unwrap();
                let mut buf = [0; 4];
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                let read = {
                    let mut read = std::pin::pin!(from.read(&mut buf));
                    loop {
                        if let Poll::Ready(read) = Pin::new(&mut read).poll(&mut cx) {
                            break read;
                        }
                        std::thread::yield_now();
                    }
                };
                let _ = self.1.send(read.map(|read| buf[..read].to_vec()));
            }
        }
        let (send, _, from) = messages();
        send.send(b"late".to_vec()).unwrap();
        let _late = Late(Some(from), results);
        std::future::pending::<()>().await;
    };
    runtime.run(|| {
        tokio::spawn(task);
        common::settle();
    });
    drop(runtime);
    // Either is right; what counts is that there is one.
    match done.recv().unwrap() {
        Ok(read) => assert_eq!(read, b"late"),
        Err(error) => assert!(error.to_string().contains("shut down"), "{error}"),
    }
}

/// Halves of a `split` are tasks of their own: both are told.
#[test]
fn a_reader_and_a_writer_that_wait_are_both_woken() {
    struct Wakes(Count);
    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.add();
        }
    }
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    let _watchdog = watchdog(60);
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut stream = Nonblocking::new(ours);
    let counts = [Count::new(), Count::new()];
    let [reader, writer] =
        [0, 1].map(|n| std::task::Waker::from(Arc::new(Wakes(counts[n].clone()))));
    let (mut bytes, mut buf) = ([0; 8], std::task::Context::from_waker(&reader));
    let mut into = ReadBuf::new(&mut bytes);
    assert!(
        Pin::new(&mut stream)
            .poll_read(&mut buf, &mut into)
            .is_pending()
    );
    let mut cx = std::task::Context::from_waker(&writer);
    assert!(
        Pin::new(&mut stream)
            .poll_write(&mut cx, b"hi")
            .is_pending()
    );
    theirs.write_all(b"yo").unwrap();
    until_thread(|| counts.iter().all(|count| count.get() > 0));
}
