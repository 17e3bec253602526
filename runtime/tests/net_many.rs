//! A thousand connections at once: tokio's clients, a fiber for each on two workers, every byte checked.

mod common_net;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common_net::{Rng, listener, pattern, runtime, seed, watchdog};
use sisal::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};

const CONNECTIONS: usize = 1_000;
const ROUNDS: usize = 4;

/// Accepts all of them and starts a fiber for each, which writes back what it reads until the end.
fn serve(listener: TcpListener) -> usize {
    let handlers: Vec<_> = listener
        .incoming()
        .take(CONNECTIONS)
        .map(|stream| {
            let stream = stream.unwrap();
            sisal::spawn(move || common_net::echo(stream, 3_000))
        })
        .collect();
    handlers
        .into_iter()
        .map(|handler| handler.join().unwrap())
        .sum()
}

/// What all clients share.
struct Clients {
    addr: SocketAddr,
    seed: u64,
    /// Fewer at a time than the listener's queue holds: a connection that finds it full waits a second.
    connecting: Semaphore,
    /// So that all are there before the first one speaks.
    connected: Barrier,
    bytes: AtomicUsize,
}

async fn client(number: usize, all: Arc<Clients>) {
    let seed = all.seed ^ (number as u64) << 20;
    let mut stream = {
        let _one = all.connecting.acquire().await.unwrap();
        tokio::net::TcpStream::connect(all.addr).await.unwrap()
    };
    all.connected.wait().await;
    let mut rng = Rng::new(seed);
    let mut place = 0;
    for _ in 0..ROUNDS {
        let said = pattern(seed, place, rng.range(1, 5_000));
        stream.write_all(&said).await.unwrap();
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert!(heard == said, "client {number} at {place}");
        place += said.len();
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    all.bytes.fetch_add(place, Ordering::Relaxed);
}

async fn clients(addr: SocketAddr, seed: u64) -> usize {
    let all = Arc::new(Clients {
        addr,
        seed,
        connecting: Semaphore::new(50),
        connected: Barrier::new(CONNECTIONS),
        bytes: AtomicUsize::new(0),
    });
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(client(number, all.clone())))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    all.bytes.load(Ordering::Relaxed)
}

#[test]
fn clients_on_a_runtime_of_their_own() {
    let seed = seed();
    let _dog = watchdog(format!("clients_on_a_runtime_of_their_own, seed {seed}"));
    let runtime = runtime(2);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let server = runtime.spawn(move || serve(listener));
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let said = tokio.block_on(clients(addr, seed));
    assert_eq!(server.join().unwrap(), said, "seed {seed}");
}

/// The clients are tasks of the worker that serves them.
#[test]
fn clients_on_the_same_worker() {
    let seed = seed();
    let _dog = watchdog(format!("clients_on_the_same_worker, seed {seed}"));
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    runtime(2).run(|| {
        let server = sisal::spawn(move || serve(listener));
        let said = sisal::block_on(clients(addr, seed));
        assert_eq!(server.join().unwrap(), said, "seed {seed}");
    });
}

/// The clients are fibers too.
#[test]
fn clients_in_fibers() {
    let seed = seed();
    let _dog = watchdog(format!("clients_in_fibers, seed {seed}"));
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    runtime(2).run(|| {
        let server = sisal::spawn(move || serve(listener));
        let said: usize = sisal::fiber::scope(|s| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|number| {
                    s.spawn(move || {
                        let mut stream = TcpStream::connect(addr).unwrap();
                        let seed = seed ^ (number as u64) << 20;
                        let mut rng = Rng::new(seed);
                        let mut place = 0;
                        for _ in 0..ROUNDS {
                            let said = pattern(seed, place, rng.range(1, 5_000));
                            stream.write_all(&said).unwrap();
                            let mut heard = vec![0; said.len()];
                            stream.read_exact(&mut heard).unwrap();
                            assert!(heard == said, "client {number} at {place}");
                            place += said.len();
                        }
                        place
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .sum()
        });
        assert_eq!(server.join().unwrap(), said, "seed {seed}");
    });
}
