//! The connections that are open now, and how they learn that the server stops.
//!
//! Knows nothing of HTTP. Stopping is a race between a connection that falls idle and the one who
//! stops the server: the connection stores `idle` and then loads `stopping`, the stopper stores
//! `stopping` and then loads `idle`. Both are sequentially consistent, so at least one sees the
//! other and no idle connection is left waiting.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::rt::net::TcpStream;

/// One open connection, shared by the fiber that serves it and the registry that may end it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    idle: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    stopping: AtomicBool,
    links: Mutex<Links>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Links {
    next: u64,
    open: HashMap<u64, Arc<Link>>,
}

/// A connection's entry; dropping it takes the connection off the list, also when its fiber panics.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    link: Arc<Link>,
    id: u64,
    /// How many connections were open before this one.
    pub(crate) others: usize,
}

impl Registry {
    /// `None` once the server stops; the connection is closed then.
    pub(crate) fn register(
        self: &Arc<Registry>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<Registered> {
        let link = Arc::new(Link {
            stream,
            peer,
            idle: AtomicBool::new(false),
        });
        let mut links = self.links();
        // Under the lock that `stop` takes after it has set the flag: it sees this link, or we see
        // the flag.
        if self.is_stopping() {
            return None;
        }
        let others = links.open.len();
        let id = links.next;
        links.next += 1;
        links.open.insert(id, Arc::clone(&link));
        drop(links);
        Some(Registered {
            registry: Arc::clone(self),
            link,
            id,
            others,
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends idle connections and lets busy ones know that their request is the last.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for link in self.open() {
            if link.idle.load(Ordering::SeqCst) {
                // Only the reading side: a request that has just arrived is still read and
                // answered.
                link.shut(Shutdown::Read);
            }
        }
    }

    /// Cuts every connection; says how many there were.
    pub(crate) fn cut(&self) -> usize {
        let open = self.open();
        for link in &open {
            link.shut(Shutdown::Both);
        }
        open.len()
    }

    /// Waits until the last connection is gone. One caller at a time.
    pub(crate) async fn empty(&self) {
        while !self.links().open.is_empty() {
            // A permit is stored if the last one leaves between the check and the wait.
            self.emptied.notified().await;
        }
    }

    /// A copy, so that no socket is touched under the lock.
    fn open(&self) -> Vec<Arc<Link>> {
        self.links().open.values().cloned().collect()
    }

    /// The lock is held for a few instructions and never across a wait, so std's is the right one.
    /// No user code runs under it; poison would mean a panic in the allocator.
    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registered {
    /// Declares the connection idle: it may be ended at any moment. False if the server stops
    /// already.
    pub(crate) fn rest(&self) -> bool {
        self.link.idle.store(true, Ordering::SeqCst);
        !self.registry.is_stopping()
    }

    /// Declares a request begun: it will be answered, server stopping or not.
    pub(crate) fn begin(&self) {
        // A stopper that still sees `idle` only shuts the reading side, which what was read already
        // survives.
        self.link.idle.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.registry.is_stopping()
    }
}

impl Deref for Registered {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut links = self.registry.links();
        // Never the last reference, `self.link` is another: nothing is closed under the lock.
        links.open.remove(&self.id);
        let empty = links.open.is_empty();
        drop(links);
        if empty {
            self.registry.emptied.notify_one();
        }
    }
}

impl Link {
    fn shut(&self, how: Shutdown) {
        match self.stream.shutdown(how) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                tracing::debug!(peer = %self.peer, %error, "cannot shut down a connection");
            }
            _ => {}
        }
    }
}
