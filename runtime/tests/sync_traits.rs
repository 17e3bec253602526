//! What of `sisal::sync` may be sent, shared and unwound past, beside std's. Checked by the compiler: the tests run little.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use sisal::sync as ours;
use std::sync as stds;

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}
fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
fn shown<T: Debug + Display>() {}
fn default<T: Default + Debug>() {}
fn of_future<F: Future + Send>(future: F) -> F {
    future
}

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

type Pair = (Rc<()>, Cell<()>);

macro_rules! as_in {
    ($sync:ident) => {{
        use $sync::*;
        send::<Mutex<Cell<u32>>>();
        sync::<Mutex<Cell<u32>>>();
        is_not!(Mutex<Rc<()>>: Send)();
        is_not!(Mutex<Rc<()>>: Sync)();
        unwind_safe::<Mutex<Pair>>();
        unpin::<Mutex<u32>>();
        default::<Mutex<u32>>();
        sync::<MutexGuard<'static, u32>>();
        is_not!(MutexGuard<'static, Cell<u32>>: Sync)();
        is_not!(MutexGuard<'static, Rc<()>>: Send)();
        unwind_safe::<MutexGuard<'static, Pair>>();
        shown::<MutexGuard<'static, u32>>();

        send::<RwLock<Cell<u32>>>();
        sync::<RwLock<u32>>();
        is_not!(RwLock<Cell<u32>>: Sync)();
        is_not!(RwLock<Rc<()>>: Send)();
        unwind_safe::<RwLock<Pair>>();
        unpin::<RwLock<u32>>();
        default::<RwLock<u32>>();
        sync::<RwLockReadGuard<'static, u32>>();
        sync::<RwLockWriteGuard<'static, u32>>();
        is_not!(RwLockReadGuard<'static, Cell<u32>>: Send)();
        is_not!(RwLockReadGuard<'static, Cell<u32>>: Sync)();
        is_not!(RwLockWriteGuard<'static, Cell<u32>>: Send)();
        is_not!(RwLockWriteGuard<'static, Cell<u32>>: Sync)();
        unwind_safe::<RwLockReadGuard<'static, u32>>();
        unwind_safe::<RwLockWriteGuard<'static, Pair>>();
        shown::<RwLockReadGuard<'static, u32>>();
        shown::<RwLockWriteGuard<'static, u32>>();

        send::<Condvar>();
        sync::<Condvar>();
        unwind_safe::<Condvar>();
        unpin::<Condvar>();
        default::<Condvar>();
        send::<WaitTimeoutResult>();

        send::<Barrier>();
        sync::<Barrier>();
        unwind_safe::<Barrier>();
        unpin::<Barrier>();
        send::<BarrierWaitResult>();

        send::<Once>();
        sync::<Once>();
        unwind_safe::<Once>();
        unpin::<Once>();
        sync::<OnceLock<u32>>();
        send::<OnceLock<Cell<u32>>>();
        is_not!(OnceLock<Cell<u32>>: Sync)();
        is_not!(OnceLock<Rc<()>>: Send)();
        unwind_safe::<OnceLock<u32>>();
        default::<OnceLock<u32>>();
        sync::<LazyLock<u32, Cell<u32>>>();
        send::<LazyLock<Cell<u32>, Cell<u32>>>();
        is_not!(LazyLock<Cell<u32>>: Sync)();
        is_not!(LazyLock<u32, Rc<()>>: Sync)();
        is_not!(LazyLock<u32, Rc<()>>: Send)();
        unwind_safe::<LazyLock<u32>>();
        default::<LazyLock<u32>>();
    }};
}

#[test]
fn as_stds() {
    as_in!(ours);
    as_in!(stds);
}

/// Where ours go further: a guard is no thread's.
#[test]
fn guards_may_be_sent() {
    send::<ours::MutexGuard<'static, Cell<u32>>>();
    send::<ours::RwLockReadGuard<'static, u32>>();
    send::<ours::RwLockWriteGuard<'static, u32>>();
    is_not!(stds::MutexGuard<'static, u32>: Send)();
    let (mutex, lock, condvar) = (
        ours::Mutex::new(Cell::new(1)),
        ours::RwLock::new(1),
        ours::Condvar::new(),
    );
    drop(of_future(mutex.lock_async()));
    drop(of_future(lock.read_async()));
    drop(of_future(lock.write_async()));
    drop(of_future(condvar.wait_async(mutex.lock().unwrap())));
    drop(of_future(async {
        let guard = mutex.lock_async().await.unwrap();
        std::future::ready(()).await;
        guard.set(2);
    }));
    assert!(mutex.try_lock().is_ok());
}

/// A reader's guard of a longer life is one of a shorter, as std's.
#[test]
fn readers_are_covariant() {
    fn shorter<'a, 'b>(
        guard: ours::RwLockReadGuard<'a, &'static str>,
        _: &'b str,
    ) -> ours::RwLockReadGuard<'a, &'b str> {
        guard
    }
    let lock = ours::RwLock::new("static");
    let text = String::from("text");
    assert_eq!(*shorter(lock.read().unwrap(), &text), "static");
}
