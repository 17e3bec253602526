//! Accepts connections, gives each a fiber, and stops in good order.
//!
//! Knows nothing of HTTP but the one function that serves a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::connection;
use super::files::Root;
use super::options::Limits;
use super::registry::{Registered, Registry};
use super::rt::fiber;
use super::rt::net::{TcpListener, TcpStream};

/// Connections above the limit that are told so; those above this are closed without a word.
const LOBBY: usize = 64;

/// How many clients may wait for `accept`.
const BACKLOG: i32 = 4096;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What every connection needs to know.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) root: Root,
    pub(crate) limits: Limits,
}

/// A server that listens already and serves once it is `run`.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
}

/// Stops a server, from any thread or fiber, any number of times.
#[derive(Clone, Debug)]
pub(crate) struct StopHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    listener: TcpListener,
    site: Site,
    registry: Arc<Registry>,
    hurry: Notify,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, root: Root, limits: Limits) -> Server {
        // Listening anew sets the queue alone. The usual 128 is soon full when a thousand clients
        // come at once, and each that finds it full tries again a second later. The kernel lowers
        // this to its own limit.
        if let Err(error) = rustix::net::listen(&listener, BACKLOG) {
            tracing::debug!(%error, "the queue of the listener keeps its length");
        }
        Server {
            shared: Arc::new(Shared {
                listener,
                site: Site { root, limits },
                registry: Arc::default(),
                hurry: Notify::new(),
            }),
        }
    }

    pub(crate) fn stop_handle(&self) -> StopHandle {
        StopHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Serves files until stopped; says how many connections had to be cut then.
    pub(crate) fn run(self) -> usize {
        self.run_with(connection::serve)
    }

    /// As `run`, with another way to serve a connection.
    fn run_with<F>(self, serve: F) -> usize
    where
        F: Fn(&Registered, &Site) -> io::Result<()> + Copy + Send + 'static,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.shared.listener.accept() {
                _ if self.shared.registry.is_stopping() => break,
                Ok((stream, peer)) => match self.admit(stream, peer, serve) {
                    Ok(()) => pause = FIRST_PAUSE,
                    Err(error) => {
                        back_off(&error, "cannot start a fiber for a connection", &mut pause)
                    }
                },
                Err(error) if is_about_one_connection(&error) => {}
                // Out of descriptors or memory: connections end and give some back. Exiting would
                // help nobody.
                Err(error) => back_off(&error, "cannot accept", &mut pause),
            }
        }
        self.drain()
    }

    fn admit<F>(&self, stream: TcpStream, peer: SocketAddr, serve: F) -> io::Result<()>
    where
        F: Fn(&Registered, &Site) -> io::Result<()> + Send + 'static,
    {
        let Some(link) = self.shared.registry.register(stream, peer) else {
            return Ok(());
        };
        let limit = self.shared.site.limits.max_connections;
        if link.others >= limit.saturating_add(LOBBY) {
            return Ok(());
        }
        let full = link.others >= limit;
        let shared = Arc::clone(&self.shared);
        let fiber = fiber::Builder::new()
            .name(format!("connection from {peer}"))
            .spawn(move || {
                let served = match full {
                    true => connection::turn_away(&link, &shared.site),
                    false => serve(&link, &shared.site),
                };
                if let Err(error) = served {
                    tracing::debug!(%peer, %error, "a client is gone");
                }
            })?;
        // Nobody joins it, so the runtime logs its panic, by name. Its entry leaves the registry
        // when the fiber ends, however it ends.
        drop(fiber);
        Ok(())
    }

    /// Lets requests in flight end, for as long as the limits say, and cuts what is left.
    fn drain(self) -> usize {
        let registry = &self.shared.registry;
        let limit = self.shared.site.limits.drain_timeout;
        super::rt::block_on(async {
            tokio::select! {
                () = registry.empty() => {}
                () = self.shared.hurry.notified() => {}
                () = tokio::time::sleep(limit) => {}
            }
        });
        registry.cut()
    }
}

impl StopHandle {
    /// No new connections, idle ones end now, requests in flight are answered.
    pub(crate) fn stop(&self) {
        self.shared.registry.stop();
        // Wakes `accept`, which fails from now on. A listener that is shut already is no trouble.
        let _ = rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both);
    }

    /// As `stop`, without waiting for anything in flight.
    pub(crate) fn stop_now(&self) {
        self.stop();
        self.shared.hurry.notify_one();
    }
}

fn back_off(error: &io::Error, what: &str, pause: &mut Duration) {
    tracing::warn!(%error, ?pause, "{what}");
    fiber::sleep(*pause);
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

/// The connection was gone before we took it, or a signal came: the next `accept` may well succeed.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net;

    use super::super::rt::Runtime;
    use super::*;

    /// Answers one byte, unless that byte is bad.
    fn one_byte(link: &Registered, _: &Site) -> io::Result<()> {
        let mut byte = [0];
        (&link.stream).read_exact(&mut byte)?;
        assert_ne!(byte, *b"!", "this byte is bad");
        (&link.stream).write_all(&byte)
    }

    fn ask(addr: SocketAddr, byte: u8) -> Vec<u8> {
        let mut stream = net::TcpStream::connect(addr).unwrap();
        stream.write_all(&[byte]).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    #[test]
    fn a_panic_ends_its_connection_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let root = Root::open(&std::env::temp_dir()).unwrap();
        let server = Server::new(listener, root, Limits::default());
        let stop = server.stop_handle();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| runtime.run(|| server.run_with(one_byte)));
            for _ in 0..3 {
                assert_eq!(ask(addr, b'a'), b"a");
                assert_eq!(ask(addr, b'!'), b"");
            }
            assert_eq!(ask(addr, b'b'), b"b");
            stop.stop();
            // None is left: a connection that panicked is off the list too.
            assert_eq!(server.join().unwrap(), 0);
        });
    }

    #[test]
    fn a_server_may_be_stopped_before_it_runs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let root = Root::open(&std::env::temp_dir()).unwrap();
        let server = Server::new(listener, root, Limits::default());
        let stop = server.stop_handle();
        stop.stop();
        stop.stop_now();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        assert_eq!(runtime.run(|| server.run()), 0);
    }
}
