//! Living with tokio: its sockets, timers, channels and tasks inside fibers, fibers inside its tasks, its
//! runtime beside ours or in place of ours.

mod common;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, Gate, one_on_each_worker, panic_text, runtime, until, watchdog};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sisal::fiber::{JoinHandle, park, scope, sleep, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Handle, Runtime, block_on, unblock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn foreign(workers: usize) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name("foreign")
        .enable_all()
        .build()
        .unwrap()
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

#[test]
fn tokio_sockets_in_fibers() {
    const CLIENTS: u8 = 20;
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
            let addr = listener.local_addr().unwrap();
            let server = spawn(move || {
                let served: Vec<_> = (0..CLIENTS)
                    .map(|_| {
                        let (mut peer, _) = block_on(listener.accept()).unwrap();
                        spawn(move || {
                            let byte = block_on(peer.read_u8()).unwrap();
                            block_on(peer.write_u8(byte + 1)).unwrap();
                        })
                    })
                    .collect();
                served.into_iter().for_each(|fiber| fiber.join().unwrap());
            });
            let clients: Vec<_> = (0..CLIENTS)
                .map(|n| {
                    spawn(move || {
                        block_on(async {
                            let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
                            stream.write_u8(n).await.unwrap();
                            stream.read_u8().await.unwrap()
                        })
                    })
                })
                .collect();
            for (n, client) in (0..).zip(clients) {
                assert_eq!(client.join().unwrap(), n + 1);
            }
            server.join().unwrap();
        });
    }
}

#[test]
fn tokio_timers_in_fibers() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let before = Instant::now();
        block_on(tokio::time::sleep(Duration::from_millis(5)));
        assert!(before.elapsed() >= Duration::from_millis(5));
        let late = tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>());
        block_on(late).unwrap_err();
        let soon = tokio::time::timeout(Duration::from_secs(3600), async { 1 });
        assert_eq!(block_on(soon).unwrap(), 1);
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        let before = Instant::now();
        for _ in 0..4 {
            block_on(interval.tick());
        }
        assert!(before.elapsed() >= Duration::from_millis(3));
    });
}

/// A timer that was made on one worker, waited for on another.
#[test]
fn timers_and_sockets_may_be_waited_for_on_other_workers() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let (give, take) = std::sync::mpsc::channel();
        let take = std::sync::Mutex::new(take);
        one_on_each_worker(2, |n| {
            if n == 0 {
                let timer = Box::pin(tokio::time::sleep(Duration::from_millis(2)));
                let (near, far) = tokio::net::UnixStream::pair().unwrap();
                give.send((timer, near)).unwrap();
                block_on(async { { far }.write_u8(7).await }).unwrap();
                sleep(Duration::from_millis(5));
            } else {
                let (timer, mut near) = take.lock().unwrap().recv().unwrap();
                block_on(timer);
                assert_eq!(block_on(near.read_u8()).unwrap(), 7);
            }
        });
    });
}

#[test]
fn tokio_channels_between_fibers_and_tasks() {
    const MESSAGES: usize = 1000;
    let _watchdog = watchdog(60);
    let foreign = foreign(2);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (tx, mut rx) = tokio::sync::mpsc::channel(4);
            let by_fiber = tx.clone();
            let sender = spawn(move || {
                (0..MESSAGES).for_each(|n| block_on(by_fiber.send(n)).unwrap());
            });
            let by_task = tx.clone();
            tokio::spawn(async move {
                for n in 0..MESSAGES {
                    by_task.send(n).await.unwrap();
                }
            });
            foreign.spawn(async move {
                for n in 0..MESSAGES {
                    tx.send(n).await.unwrap();
                }
            });
            let mut sum = 0;
            while let Some(n) = block_on(rx.recv()) {
                sum += n;
            }
            assert_eq!(sum, 3 * MESSAGES * (MESSAGES - 1) / 2);
            sender.join().unwrap();

            let (tx, rx) = tokio::sync::oneshot::channel();
            foreign.spawn(async { tx.send("once").unwrap() });
            assert_eq!(block_on(rx), Ok("once"));

            let notify = Arc::new(tokio::sync::Notify::new());
            let notified = Arc::clone(&notify);
            let waiter = spawn(move || block_on(notified.notified()));
            foreign.spawn(async move { notify.notify_one() });
            waiter.join().unwrap();

            let mutex = Arc::new(tokio::sync::Mutex::new(0));
            let adders: Vec<_> = (0..10)
                .map(|_| {
                    let mutex = Arc::clone(&mutex);
                    spawn(move || {
                        let mut guard = block_on(mutex.lock());
                        let read = *guard;
                        yield_now();
                        *guard = read + 1;
                    })
                })
                .collect();
            adders.into_iter().for_each(|fiber| fiber.join().unwrap());
            assert_eq!(*block_on(mutex.lock()), 10);
        });
    }
}

#[test]
fn futures_channels_and_streams_in_fibers() {
    use futures::{SinkExt, StreamExt};
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let (mut tx, mut rx) = futures::channel::mpsc::channel(1);
        let sender = spawn(move || {
            for n in 0..100 {
                block_on(tx.send(n)).unwrap();
            }
        });
        let mut all = Vec::new();
        while let Some(n) = block_on(rx.next()) {
            all.push(n);
        }
        assert!(all.into_iter().eq(0..100));
        sender.join().unwrap();
        let (tx, rx) = futures::channel::oneshot::channel();
        drop(spawn(move || tx.send(1)));
        assert_eq!(block_on(rx), Ok(1));
        // Many handles at once.
        let fibers = (0..50).map(|n| spawn(move || n));
        let sum: i32 = block_on(futures::future::join_all(fibers))
            .into_iter()
            .map(Result::unwrap)
            .sum();
        assert_eq!(sum, 1225);
        let unordered: futures::stream::FuturesUnordered<_> = (0..50)
            .map(|n| {
                spawn(move || {
                    yield_now();
                    n
                })
            })
            .collect();
        let sum = block_on(unordered.fold(0, async |sum, n| sum + n.unwrap()));
        assert_eq!(sum, 1225);
    });
}

#[test]
fn tokio_spawn_in_a_fiber_goes_to_its_worker() {
    let _watchdog = watchdog(60);
    let named = Runtime::builder().workers(2).thread_name("ours");
    named.build().unwrap().run(|| {
        one_on_each_worker(2, |_| {
            let here = thread::current().id();
            let task = tokio::spawn(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                thread::current().id()
            });
            assert_eq!(block_on(task).unwrap(), here);
            // What is not Send may stay here too.
            let local = std::rc::Rc::new(5);
            let task = tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                *local
            });
            assert_eq!(block_on(task).unwrap(), 5);
            assert!(thread_name().starts_with("ours-"));
        });
        // Panics, aborts, sets.
        let task = tokio::spawn(async { panic!("a task's own") });
        assert!(block_on(task).unwrap_err().is_panic());
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        assert!(block_on(task).unwrap_err().is_cancelled());
        let mut set = tokio::task::JoinSet::new();
        (0..10).for_each(|n| drop(set.spawn(async move { n })));
        let mut sum = 0;
        while let Some(n) = block_on(set.join_next()) {
            sum += n.unwrap();
        }
        assert_eq!(sum, 45);
    });
}

#[test]
fn tokio_file_and_name_calls_in_fibers() {
    let _watchdog = watchdog(60);
    let small = Runtime::builder().workers(1).max_blocking_threads(1);
    small.build().unwrap().run(|| {
        let text = block_on(tokio::fs::read_to_string("Cargo.toml")).unwrap();
        assert!(text.contains("[package]"));
        let found = block_on(tokio::net::lookup_host("127.0.0.1:80")).unwrap();
        assert_eq!(found.count(), 1);
        let sum = block_on(tokio::task::spawn_blocking(|| 1 + 1)).unwrap();
        assert_eq!(sum, 2);
    });
}

/// Promised to panic, as in a task: not to hang.
#[test]
fn tokios_own_blocking_calls_panic_in_a_fiber() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let handle = tokio::runtime::Handle::current();
        let text = panic_text(|| handle.block_on(async {}));
        assert!(text.contains("within a runtime"), "{text}");
        panic_text(|| tokio::task::block_in_place(|| ()));
        let (tx, mut rx) = tokio::sync::mpsc::channel::<()>(1);
        panic_text(|| rx.blocking_recv());
        panic_text(|| tx.blocking_send(()));
        // The fiber and its worker are as good as before.
        assert_eq!(spawn(|| block_on(async { 1 })).join().unwrap(), 1);
    });
}

#[test]
fn fibers_from_an_async_main() {
    let _watchdog = watchdog(60);
    let ours = runtime(2);
    foreign(2).block_on(async {
        // On the default runtime, and on one of ours.
        assert_eq!(sisal::spawn(|| 6 * 7).await.unwrap(), 42);
        let fiber = ours.spawn(|| {
            sleep(Duration::from_millis(1));
            thread_name()
        });
        assert!(fiber.await.unwrap().starts_with("sisal-worker-"));
        let error = ours.spawn(|| panic!("blue")).await.unwrap_err();
        assert!(error.to_string().contains("blue"));
        // Many, in all orders, from several tasks.
        let tasks = (0..8).map(|n| {
            let handle = ours.handle().clone();
            tokio::spawn(async move {
                let fibers = (0..100).map(|m| {
                    handle.spawn(move || {
                        yield_now();
                        n * m
                    })
                });
                let all = futures::future::join_all(fibers).await;
                all.into_iter().map(Result::unwrap).sum::<usize>()
            })
        });
        let sums = futures::future::join_all(tasks).await;
        let total: usize = sums.into_iter().map(Result::unwrap).sum();
        assert_eq!(total, 28 * 4950);
        // A handle is a future like others: it may lose.
        let slow: JoinHandle<()> = ours.spawn(park);
        let fiber = slow.fiber().clone();
        let timeout = tokio::time::timeout(Duration::from_millis(2), slow);
        timeout.await.unwrap_err();
        fiber.unpark();
    });
}

#[test]
fn a_current_thread_runtime_may_await_fibers() {
    let _watchdog = watchdog(60);
    let foreign = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gate = Gate::new();
    let sum = foreign.block_on(async {
        let waits = gate.clone();
        let fiber = sisal::spawn(move || {
            block_on(waits);
            1
        });
        let opens = tokio::spawn(async move {
            while gate.polls() == 0 {
                tokio::task::yield_now().await;
            }
            gate.open();
            2
        });
        fiber.await.unwrap() + opens.await.unwrap()
    });
    assert_eq!(sum, 3);
}

/// With `Builder::tokio` the tasks of fibers are the other runtime's.
#[test]
fn with_a_runtime_of_the_users_tasks_go_there_and_outlive_ours() {
    let _watchdog = watchdog(60);
    let foreign = foreign(1);
    for workers in [1, 2] {
        let ours = Runtime::builder()
            .workers(workers)
            .tokio(foreign.handle().clone());
        let ours = ours.build().unwrap();
        let (gate, done) = (Gate::new(), Count::new());
        let task = ours.run(|| {
            let (gate, done) = (gate.clone(), done.clone());
            let name = block_on(tokio::spawn(async { thread_name() })).unwrap();
            assert_eq!(name, "foreign");
            let id = tokio::runtime::Handle::current().id();
            // Current after every wait.
            yield_now();
            sleep(Duration::from_millis(1));
            block_on(tokio::task::yield_now());
            assert_eq!(tokio::runtime::Handle::current().id(), id);
            tokio::spawn(async move {
                gate.await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                done.add();
                thread_name()
            })
        });
        assert_eq!(
            foreign.handle().id(),
            ours.run(|| tokio::runtime::Handle::current().id())
        );
        drop(ours);
        assert_eq!(done.get(), 0);
        gate.wait_polls(1);
        gate.open();
        assert_eq!(foreign.block_on(task).unwrap(), "foreign");
        assert_eq!(done.get(), 1);
    }
}

/// What Sisal itself waits for is served by its own reactor, whatever the other runtime has.
#[test]
fn with_a_runtime_of_the_users_without_drivers_our_own_waits_work() {
    let _watchdog = watchdog(60);
    let bare = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    for workers in [1, 2] {
        let ours = Runtime::builder()
            .workers(workers)
            .tokio(bare.handle().clone());
        ours.build().unwrap().run(|| {
            sleep(Duration::from_millis(2));
            sisal::fiber::park_timeout(Duration::from_millis(1));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let server = spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                sleep(Duration::from_millis(1));
                peer.write_all(b"x").unwrap();
            });
            let mut stream = TcpStream::connect(addr).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(3600)))
                .unwrap();
            stream.read_exact(&mut [0]).unwrap();
            server.join().unwrap();
            assert_eq!(unblock(|| 1), 1);
            assert_eq!(scope(|s| s.spawn(|| 2).join().unwrap()), 2);
            // The other runtime's timers are the other runtime's business.
            let text = panic_text(|| block_on(tokio::time::sleep(Duration::from_millis(1))));
            assert!(text.contains("timers are disabled"), "{text}");
        });
    }
}

/// The other runtime ends first: fibers go on, with what is theirs.
#[test]
fn with_a_runtime_of_the_users_that_ends_fibers_go_on() {
    let _watchdog = watchdog(60);
    let foreign = foreign(1);
    let ours = Runtime::builder()
        .workers(1)
        .tokio(foreign.handle().clone());
    let ours = ours.build().unwrap();
    let (gone, begun) = (Count::new(), Count::new());
    let fiber = ours.spawn({
        let (gone, begun) = (gone.clone(), begun.clone());
        move || {
            let never = tokio::spawn(std::future::pending::<()>());
            begun.add();
            assert!(block_on(never).unwrap_err().is_cancelled());
            until(|| gone.get() == 1);
            sleep(Duration::from_millis(1));
            let late = tokio::spawn(async {});
            assert!(block_on(late).unwrap_err().is_cancelled());
            3
        }
    });
    until(|| begun.get() == 1);
    drop(foreign);
    gone.add();
    assert_eq!(fiber.join().unwrap(), 3);
    assert_eq!(ours.run(|| 4), 4);
}

#[test]
fn a_runtime_may_be_entered_around_what_needs_it() {
    let _watchdog = watchdog(60);
    let foreign = foreign(1);
    runtime(1).run(|| {
        let own = tokio::runtime::Handle::current().id();
        let task = {
            let _entered = foreign.enter();
            // No wait in here.
            tokio::spawn(async { thread_name() })
        };
        assert_eq!(block_on(task).unwrap(), "foreign");
        assert_eq!(tokio::runtime::Handle::current().id(), own);
    });
}

/// A real client over tokio's sockets, in a fiber; the server is blocking-style code.
#[test]
fn a_hyper_client_in_a_fiber() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            let server = spawn(move || {
                let (mut peer, _) = listener.accept().unwrap();
                for n in 1..=3 {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        peer.read_exact(&mut byte).unwrap();
                        request.push(byte[0]);
                    }
                    let request = String::from_utf8(request).unwrap();
                    assert!(
                        request.starts_with(&format!("GET /{n} HTTP/1.1")),
                        "{request}"
                    );
                    let body = format!("page {n}");
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    peer.write_all((head + &body).as_bytes()).unwrap();
                }
            });
            let stream = block_on(tokio::net::TcpStream::connect(addr)).unwrap();
            let (mut sender, connection) =
                block_on(hyper::client::conn::http1::handshake(TokioIo::new(stream))).unwrap();
            // The connection is an async task of this worker's.
            let driver = tokio::spawn(connection);
            for n in 1..=3 {
                let request = Request::get(format!("/{n}"))
                    .header("host", "localhost")
                    .body(Empty::<Bytes>::new())
                    .unwrap();
                let response = block_on(sender.send_request(request)).unwrap();
                assert_eq!(response.status(), 200);
                let body = block_on(response.into_body().collect()).unwrap().to_bytes();
                assert_eq!(body, format!("page {n}"));
            }
            drop(sender);
            block_on(driver).unwrap().unwrap();
            server.join().unwrap();
        });
    }
}

/// hyper's server as async tasks on a worker, each of whose requests is served by a fiber.
#[test]
fn a_hyper_server_whose_requests_are_fibers() {
    use http_body_util::Full;
    use hyper::service::service_fn;
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let listener = block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serve = service_fn(async |request: Request<hyper::body::Incoming>| {
                    let path = request.uri().path().to_owned();
                    let fiber = sisal::spawn(move || {
                        sleep(Duration::from_millis(1));
                        unblock(|| path.to_uppercase())
                    });
                    let body = Full::new(Bytes::from(fiber.await.unwrap()));
                    Ok::<_, Infallible>(hyper::Response::new(body))
                });
                tokio::task::spawn_local(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve),
                );
            }
        });
        let clients: Vec<_> = (0..20)
            .map(|n| {
                spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    let request = format!("GET /a{n} HTTP/1.1\r\nconnection: close\r\n\r\n");
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut response = String::new();
                    stream.read_to_string(&mut response).unwrap();
                    assert!(response.ends_with(&format!("/A{n}")), "{response}");
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        server.abort();
    });
}

#[test]
fn handles_find_their_runtime_in_every_context() {
    let _watchdog = watchdog(60);
    let named = Runtime::builder().workers(1).thread_name("found");
    let ours = named.build().unwrap();
    let name = |handle: Handle| handle.run(thread_name);
    assert_eq!(ours.run(|| name(Handle::current())), "found-0");
    let from_task = ours.run(|| {
        let task = tokio::spawn(async { Handle::current().spawn(thread_name).await.unwrap() });
        block_on(task).unwrap()
    });
    assert_eq!(from_task, "found-0");
    assert!(Handle::try_current().is_none());
    let text = format!("{:?} {:?}", ours, ours.handle());
    assert!(text.contains("found"), "{text}");
}
