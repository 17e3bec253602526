//! What may be sent and shared, and what may not. Checked by the compiler: the tests run nothing.

use std::cell::Cell;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use sisal::fiber::{
    self, AccessError, Fiber, FiberId, JoinError, JoinHandle, LocalKey, Scope, ScopedJoinHandle,
    Thread, ThreadId,
};
use sisal::net::{Incoming, TcpListener, TcpStream};
use sisal::time::Elapsed;
use sisal::{Builder, Handle, Runtime};

fn all<T: Send + Sync + Unpin + Debug + 'static>() {}
fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}

/// Does not compile if the type has the trait: then two implementations fit.
macro_rules! is_not {
    ($type:ty: $trait:ident) => {{
        trait Ambiguous<A> {
            fn name() {}
        }
        struct Has;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $trait> Ambiguous<Has> for T {}
        <$type as Ambiguous<_>>::name
    }};
}

#[test]
fn what_may_be_sent_and_shared() {
    all::<Runtime>();
    all::<Handle>();
    all::<Builder>();
    all::<fiber::Builder>();
    all::<Fiber>();
    all::<Thread>();
    all::<ThreadId>();
    all::<JoinError>();
    all::<JoinHandle<u32>>();
    all::<JoinHandle<Cell<u32>>>();
    all::<LocalKey<Cell<u32>>>();
    all::<LocalKey<Rc<u32>>>();
    all::<AccessError>();
    all::<TcpListener>();
    all::<TcpStream>();
    all::<Incoming<'static>>();
    send::<ScopedJoinHandle<'static, u32>>();
    sync::<ScopedJoinHandle<'static, Cell<u32>>>();
    sync::<Scope<'static, 'static>>();
    unwind_safe::<TcpStream>();
    unwind_safe::<TcpListener>();
    unwind_safe::<Runtime>();
    unwind_safe::<Handle>();
    unwind_safe::<Fiber>();
    unwind_safe::<JoinHandle<u32>>();
    unwind_safe::<JoinHandle<Cell<u32>>>();
    unwind_safe::<Elapsed>();
    all::<Elapsed>();
    fn id<T: Copy + Eq + Hash>() {}
    id::<FiberId>();
    fn future<F: Future<Output = fiber::Result<u32>>>() {}
    future::<JoinHandle<u32>>();
    fn error<E: std::error::Error>() {}
    error::<JoinError>();
    error::<Elapsed>();
    fn value<T: Copy + Eq>() {}
    value::<Elapsed>();
    fn clone<T: Clone>() {}
    clone::<Handle>();
    clone::<Builder>();
    clone::<Fiber>();
}

/// A result is handed over or dropped where the handle is (S2).
#[test]
fn what_may_not() {
    let _ = is_not!(JoinHandle<Rc<u32>>: Send);
    let _ = is_not!(JoinHandle<Rc<u32>>: Sync);
    let _ = is_not!(ScopedJoinHandle<'static, Rc<u32>>: Send);
    let _ = is_not!(ScopedJoinHandle<'static, Rc<u32>>: Sync);
    // One result, one handle.
    let _ = is_not!(JoinHandle<u32>: Clone);
    let _ = is_not!(ScopedJoinHandle<'static, u32>: Clone);
}
