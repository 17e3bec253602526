//! Addresses by name, looked up off the workers.
//!
//! The trait is std's, so types that implement it for std work here. Its call may look up a name and block, but what
//! users implement need not be `Send`, and so may not be called on another thread. Only the types of std's that are names
//! do: they are told by their type, and go to the pool as a copy.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::resume_unwind;
use std::vec;

use tokio::task::JoinHandle;

use super::source;
use crate::block_on::block_on;
use crate::current::{self, ThreadState};
use crate::handle::Handle;
use crate::keep::keep;

/// Calls `f` with one address after the other until it succeeds.
///
/// # Errors
/// The lookup's; that of the last address; `InvalidInput` if there is none.
#[track_caller]
pub(super) fn each<A: ToSocketAddrs, R>(
    addr: A,
    mut f: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = None;
    for addr in addresses(&addr)? {
        match f(addr) {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| none("the name or list has no address")))
}

/// The first address.
///
/// # Errors
/// As for [`each`].
#[track_caller]
pub(super) fn first<A: ToSocketAddrs>(addr: A) -> io::Result<SocketAddr> {
    let first = addresses(&addr)?.next();
    first.ok_or_else(|| none("there is no address to send to"))
}

#[cold]
fn none(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

enum Addresses<I> {
    /// As the type of the address gave them.
    Given(I),
    /// From a name.
    Found(vec::IntoIter<SocketAddr>),
}

impl<I: Iterator<Item = SocketAddr>> Iterator for Addresses<I> {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        match self {
            Addresses::Given(addresses) => addresses.next(),
            Addresses::Found(addresses) => addresses.next(),
        }
    }
}

#[track_caller]
fn addresses<A: ToSocketAddrs>(addr: &A) -> io::Result<Addresses<A::Iter>> {
    if let Some(name) = Name::of(addr) {
        match current::state() {
            ThreadState::Fiber(_) => return Ok(Addresses::Found(look_up(name)?)),
            ThreadState::Worker => source::forbid_worker(),
            ThreadState::Plain => {}
        }
    }
    // What users implement stays on their thread: it need not be `Send`.
    Ok(Addresses::Given(addr.to_socket_addrs()?))
}

/// What only a lookup, or an error, can come of.
enum Name {
    Text(String),
    Host(String, u16),
}

impl Name {
    /// The name in an address, if it is of one of std's types for names and no address itself.
    fn of<A>(addr: &A) -> Option<Name> {
        if let Some(text) = text(addr) {
            let is_address = text.parse::<SocketAddr>().is_ok();
            return (!is_address).then(|| Name::Text(text.to_owned()));
        }
        let (host, port) = host(addr)?;
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        (!is_address).then(|| Name::Host(host.to_owned(), port))
    }
}

fn text<A>(addr: &A) -> Option<&str> {
    // SAFETY: the types have no lifetime but that of the borrow, and are covariant in it.
    unsafe {
        if let Some(text) = cast::<A, String>(addr) {
            return Some(text);
        }
        if let Some(text) = cast::<A, &str>(addr) {
            return Some(text);
        }
        if let Some(text) = cast::<A, &String>(addr) {
            return Some(text);
        }
        cast::<A, &&str>(addr).map(|text| **text)
    }
}

fn host<A>(addr: &A) -> Option<(&str, u16)> {
    // SAFETY: the types have no lifetime but that of the borrow, and are covariant in it.
    unsafe {
        if let Some((host, port)) = cast::<A, (&str, u16)>(addr) {
            return Some((host, *port));
        }
        if let Some((host, port)) = cast::<A, (String, u16)>(addr) {
            return Some((host, *port));
        }
        if let Some((host, port)) = cast::<A, &(&str, u16)>(addr) {
            return Some((host, *port));
        }
        cast::<A, &(String, u16)>(addr).map(|(host, port)| (host.as_str(), *port))
    }
}

/// `Any::downcast_ref` for types with a lifetime.
///
/// # Safety
/// `T` has no lifetime but `'a`, and is covariant in it.
unsafe fn cast<'a, A, T: 'a>(addr: &'a A) -> Option<&'a T> {
    if typeid::of::<A>() != typeid::of::<T>() {
        return None;
    }
    // SAFETY: the types are the same but for lifetimes. Those of `A` are `'a` or longer, since it is borrowed
    // for `'a`, and by the caller's promise may be shortened to it.
    Some(unsafe { &*(&raw const *addr).cast::<T>() })
}

/// Asks the system on a thread of the runtime's pool. The name goes there, nothing is lent: so the wait is a
/// suspension point, and a lookup that nobody waits for any more ends by itself, or is not begun.
#[track_caller]
fn look_up(name: Name) -> io::Result<vec::IntoIter<SocketAddr>> {
    let handle = Handle::current();
    let running = handle.blocking().count();
    let lookup = move || {
        let _running = running;
        match name {
            Name::Text(text) => text.to_socket_addrs(),
            Name::Host(host, port) => (host, port).to_socket_addrs(),
        }
    };
    let mut lookup = Lookup(keep(|| handle.blocking().run(lookup)));
    match block_on(&mut lookup.0) {
        Ok(addresses) => addresses,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(_) => Err(io::Error::other(
                "the runtime's blocking threads have shut down",
            )),
        },
    }
}

/// One that has not begun never does, if its wait was cut short.
struct Lookup<T>(JoinHandle<T>);

impl<T> Drop for Lookup<T> {
    fn drop(&mut self) {
        keep(|| self.0.abort());
    }
}
