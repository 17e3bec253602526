//! Echo between fibers, threads and tokio's tasks: every byte of large transfers comes back.

mod common_net;

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;

use common_net::{
    Place, byte_at, echo, expect_pattern, listener, pair, pattern, runtime, seed, send_pattern,
    watchdog,
};
use sisal::net::TcpStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOTAL: usize = 6 << 20;

/// A client of two parts, writing and reading the same stream, against an echo server.
fn echo_between(server: Place, client: Place) {
    let seed = seed();
    let _dog = watchdog(format!("echo {server:?} {client:?}, seed {seed}"));
    let runtime = runtime(2);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let served = server.start(&runtime, move || {
        let (stream, _) = listener.accept().unwrap();
        echo(stream, 40_000)
    });
    let stream = client.run(&runtime, move || TcpStream::connect(addr).unwrap());
    let writing = stream.try_clone().unwrap();
    let writer = client.start(&runtime, move || {
        send_pattern(&writing, seed, TOTAL, 100_000);
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let reader = client.start(&runtime, move || {
        expect_pattern(&stream, seed, TOTAL, 70_000);
        assert_eq!((&stream).read(&mut [0; 8]).unwrap(), 0, "then the end");
    });
    writer.join();
    reader.join();
    assert_eq!(served.join(), TOTAL);
}

#[test]
fn fiber_to_fiber() {
    echo_between(Place::Fiber, Place::Fiber);
}

#[test]
fn fiber_serves_thread() {
    echo_between(Place::Fiber, Place::Thread);
}

#[test]
fn thread_serves_fiber() {
    echo_between(Place::Thread, Place::Fiber);
}

#[test]
fn thread_to_thread() {
    echo_between(Place::Thread, Place::Thread);
}

/// tokio's socket, of any runtime of tokio's, against a fiber.
async fn tokio_client(addr: std::net::SocketAddr, seed: u64) {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let writer = tokio::spawn(async move {
        for start in (0..TOTAL).step_by(65_536) {
            let piece = pattern(seed, start, 65_536.min(TOTAL - start));
            writing.write_all(&piece).await.unwrap();
        }
        writing.shutdown().await.unwrap();
    });
    let mut place = 0;
    let mut buf = vec![0; 50_000];
    loop {
        let n = reading.read(&mut buf).await.unwrap();
        if n == 0 {
            break;
        }
        assert!(buf[..n] == pattern(seed, place, n)[..], "near {place}");
        place += n;
    }
    assert_eq!(place, TOTAL);
    writer.await.unwrap();
}

#[test]
fn fiber_serves_a_task_of_another_runtime() {
    let seed = seed();
    let _dog = watchdog(format!("tokio client, seed {seed}"));
    let runtime = runtime(2);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let served = runtime.spawn(move || echo(listener.accept().unwrap().0, 30_000));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(tokio_client(addr, seed));
    assert_eq!(served.join().unwrap(), TOTAL);
}

#[test]
fn fiber_serves_a_task_of_its_own_worker() {
    let seed = seed();
    let _dog = watchdog(format!("tokio client on the worker, seed {seed}"));
    let runtime = runtime(1);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    runtime.run(move || {
        let served = sisal::spawn(move || echo(listener.accept().unwrap().0, 30_000));
        sisal::block_on(async move {
            tokio::spawn(tokio_client(addr, seed)).await.unwrap();
        });
        assert_eq!(served.join().unwrap(), TOTAL);
    });
}

/// Pieces of many lengths, empty ones among them, both ways; more of them than a system call takes.
fn vectored(place: Place) {
    const PIECES: usize = 3_000;
    let seed = seed();
    let _dog = watchdog(format!("vectored {place:?}, seed {seed}"));
    let runtime = runtime(2);
    let (near, far) = pair();
    let lengths: Vec<usize> = (0..PIECES).map(|i| (i * 7) % 50).collect();
    let total: usize = lengths.iter().sum();
    let of_writer = lengths.clone();
    let writer = place.start(&runtime, move || {
        let mut sent = 0;
        while sent < total {
            // The pieces that are left, from `sent` on.
            let mut start = 0;
            let pieces: Vec<Vec<u8>> = of_writer
                .iter()
                .map(|len| {
                    let (from, to) = (start.max(sent), (start + len).max(sent));
                    start += len;
                    pattern(seed, from, to - from)
                })
                .collect();
            // As `write_all_vectored`: a call may take the empty ones only, and return 0.
            let left = pieces.iter().skip_while(|piece| piece.is_empty());
            let slices: Vec<_> = left.map(|piece| IoSlice::new(piece)).collect();
            let n = (&near).write_vectored(&slices).unwrap();
            assert!(n > 0);
            sent += n;
        }
        near
    });
    let reader = place.start(&runtime, move || {
        let mut got = 0;
        while got < total {
            let mut bufs: Vec<Vec<u8>> = lengths.iter().map(|len| vec![0; *len]).collect();
            let mut slices: Vec<_> = bufs.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
            let n = (&far).read_vectored(&mut slices).unwrap();
            assert!(n > 0, "the end at {got} of {total}");
            let read: Vec<u8> = bufs.concat();
            assert!(read[..n] == pattern(seed, got, n)[..], "near {got}");
            got += n;
        }
        far
    });
    let (near, far) = (writer.join(), reader.join());
    drop(near);
    assert_eq!((&far).read(&mut [0]).unwrap(), 0);
}

#[test]
fn vectored_in_fibers() {
    vectored(Place::Fiber);
}

#[test]
fn vectored_on_threads() {
    vectored(Place::Thread);
}

/// A read into more buffers than a system call takes does not count as short.
#[test]
fn vectored_read_leaves_the_rest_ready() {
    let _dog = watchdog("vectored_read_leaves_the_rest_ready");
    let (near, far) = pair();
    (&near).write_all(&pattern(3, 0, 5_000)).unwrap();
    runtime(1).run(|| {
        let mut all = Vec::new();
        while all.len() < 5_000 {
            let mut bytes = vec![[0u8; 1]; 2_000];
            let mut slices: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let n = (&far).read_vectored(&mut slices).unwrap();
            all.extend(bytes.iter().take(n).map(|b| b[0]));
        }
        assert_eq!(all, pattern(3, 0, 5_000));
    });
}

/// std's helpers over `Read` and `Write`, for `T` and `&T`.
#[test]
fn helpers_of_std() {
    let _dog = watchdog("helpers_of_std");
    let (mut near, mut far) = pair();
    runtime(2).run(|| {
        let writer = sisal::spawn(move || {
            io::copy(&mut &pattern(9, 0, 1 << 20)[..], &mut near).unwrap();
            near.write_all(b"tail").unwrap();
            writeln!(&near, " {}", 5).unwrap();
            near.flush().unwrap();
            (&near).flush().unwrap();
        });
        let mut head = vec![0; 1 << 20];
        far.read_exact(&mut head).unwrap();
        assert!((0..head.len()).all(|at| head[at] == byte_at(9, at)));
        let mut tail = String::new();
        io::BufReader::new(&far).read_to_string(&mut tail).unwrap();
        assert_eq!(tail, "tail 5\n");
        writer.join().unwrap();
    });
}
