//! `fiber_local!` does what `thread_local!` does: std's own tests and examples, with fibers for threads,
//! and the same code over both where the two can be compared.

mod common;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use common::{panic_text, runtime, watchdog};
use sisal::fiber::{self, LocalKey};
use sisal::fiber_local;

#[test]
fn smoke_no_dtor() {
    fiber_local!(static FOO: Cell<i32> = Cell::new(1));
    fiber_local!(static FOO2: Cell<i32> = const { Cell::new(1) });
    fn run(key: &'static LocalKey<Cell<i32>>) {
        key.with(|f| {
            assert_eq!(f.get(), 1);
            f.set(2);
        });
        let other = fiber::spawn(move || key.with(|f| assert_eq!(f.get(), 1)));
        other.join().unwrap();
        key.with(|f| assert_eq!(f.get(), 2));
    }
    runtime(1).run(|| {
        run(&FOO);
        run(&FOO2);
    });
    // And on a thread.
    run(&FOO);
    run(&FOO2);
}

#[test]
fn states() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Foo(&'static LocalKey<Foo>);
    impl Drop for Foo {
        fn drop(&mut self) {
            assert!(self.0.try_with(|_| ()).is_err());
            SEEN.fetch_add(1, Ordering::Relaxed);
        }
    }
    fiber_local!(static FOO: Foo = Foo(&FOO));
    fiber_local!(static FOO2: Foo = const { Foo(&FOO2) });
    fn run(foo: &'static LocalKey<Foo>) {
        let fiber = fiber::spawn(move || assert!(foo.try_with(|_| ()).is_ok()));
        fiber.join().unwrap();
    }
    run(&FOO);
    run(&FOO2);
    assert_eq!(SEEN.load(Ordering::Relaxed), 2);
}

#[test]
fn circular() {
    type Key<T> = &'static LocalKey<RefCell<Option<T>>>;
    struct S1(Key<S1>, Key<S2>);
    struct S2(Key<S1>, Key<S2>);
    fiber_local!(static K1: RefCell<Option<S1>> = RefCell::new(None));
    fiber_local!(static K2: RefCell<Option<S2>> = RefCell::new(None));
    fiber_local!(static K3: RefCell<Option<S1>> = const { RefCell::new(None) });
    fiber_local!(static K4: RefCell<Option<S2>> = const { RefCell::new(None) });
    static HITS: AtomicUsize = AtomicUsize::new(0);
    /// A failed assertion in a destructor goes no further, so failures are counted.
    static WRONG: AtomicUsize = AtomicUsize::new(0);
    fn check(right: bool) {
        WRONG.fetch_add(usize::from(!right), Ordering::Relaxed);
    }
    impl Drop for S1 {
        fn drop(&mut self) {
            let hit = HITS.fetch_add(1, Ordering::Relaxed) + 1;
            if self.1.try_with(|_| ()).is_err() {
                check(hit == 3);
            } else if hit == 1 {
                self.1.with(|s| *s.borrow_mut() = Some(S2(self.0, self.1)));
            } else {
                check(hit == 3);
            }
        }
    }
    impl Drop for S2 {
        fn drop(&mut self) {
            let hit = HITS.fetch_add(1, Ordering::Relaxed) + 1;
            check(self.0.try_with(|_| ()).is_ok());
            check(hit == 2);
            self.0.with(|s| *s.borrow_mut() = Some(S1(self.0, self.1)));
        }
    }
    fiber::spawn(|| drop(S1(&K1, &K2))).join().unwrap();
    assert_eq!(HITS.swap(0, Ordering::Relaxed), 3);
    fiber::spawn(|| drop(S1(&K3, &K4))).join().unwrap();
    assert_eq!(HITS.load(Ordering::Relaxed), 3);
    assert_eq!(WRONG.load(Ordering::Relaxed), 0);
}

#[test]
fn self_referential() {
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    struct S1(&'static LocalKey<RefCell<Option<S1>>>);
    fiber_local!(static K1: RefCell<Option<S1>> = RefCell::new(None));
    fiber_local!(static K2: RefCell<Option<S1>> = const { RefCell::new(None) });
    impl Drop for S1 {
        fn drop(&mut self) {
            let refused = self.0.try_with(|_| ()).is_err();
            REFUSED.fetch_add(usize::from(refused), Ordering::Relaxed);
        }
    }
    for key in [&K1, &K2] {
        let fiber = fiber::spawn(move || key.with(|s| *s.borrow_mut() = Some(S1(key))));
        fiber.join().unwrap();
    }
    assert_eq!(REFUSED.load(Ordering::Relaxed), 2);
}

#[test]
fn dtors_in_dtors_in_dtors() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct First(&'static LocalKey<RefCell<Option<Last>>>);
    impl Drop for First {
        fn drop(&mut self) {
            let _ = self.0.try_with(|s| *s.borrow_mut() = Some(Last));
        }
    }
    fiber_local!(static K1: RefCell<Option<First>> = RefCell::new(None));
    fiber_local!(static K2: RefCell<Option<Last>> = RefCell::new(None));
    fiber_local!(static C1: RefCell<Option<First>> = const { RefCell::new(None) });
    fiber_local!(static C2: RefCell<Option<Last>> = const { RefCell::new(None) });
    for (first, last) in [(&K1, &K2), (&C1, &C2)] {
        let fiber = fiber::spawn(move || first.with(|s| *s.borrow_mut() = Some(First(last))));
        fiber.join().unwrap();
    }
    assert_eq!(DROPS.load(Ordering::Relaxed), 2);
}

/// As std's, which says why: whoever joined must find the fiber past its destructors.
#[test]
fn join_orders_after_destructors() {
    const FRESH: u8 = 0;
    const SECOND_LAUNCHED: u8 = 1;
    const FIRST_WAITING: u8 = 2;
    const RENDEZVOUS: u8 = 3;
    const SECOND_JOINED: u8 = 4;
    static STATE: AtomicU8 = AtomicU8::new(FRESH);
    static LATE: AtomicUsize = AtomicUsize::new(0);
    struct OnDrop;
    impl Drop for OnDrop {
        fn drop(&mut self) {
            let mut state = STATE.swap(FIRST_WAITING, Ordering::Relaxed);
            while state != RENDEZVOUS {
                if state == SECOND_JOINED {
                    LATE.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                fiber::yield_now();
                state = STATE.load(Ordering::Relaxed);
            }
        }
    }
    fiber_local!(static ON_DROP: OnDrop = OnDrop);
    let _watchdog = watchdog(60);
    for workers in [1, 2].repeat(5) {
        STATE.store(FRESH, Ordering::Relaxed);
        let runtime = runtime(workers);
        let first = runtime.spawn(|| {
            ON_DROP.with(|_| {});
            common::until(|| STATE.load(Ordering::Relaxed) == SECOND_LAUNCHED);
        });
        let second = runtime.spawn(move || {
            assert_eq!(STATE.swap(SECOND_LAUNCHED, Ordering::Relaxed), FRESH);
            first.join().unwrap();
            assert_eq!(STATE.swap(SECOND_JOINED, Ordering::Relaxed), RENDEZVOUS);
        });
        let exchange = || {
            STATE
                .compare_exchange(
                    FIRST_WAITING,
                    RENDEZVOUS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
        };
        common::until(|| exchange() || second.is_finished());
        second.join().unwrap();
    }
    assert_eq!(LATE.load(Ordering::Relaxed), 0);
}

#[test]
fn current_in_a_destructor() {
    /// Goes through one round of destruction first.
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            RETRIEVE.with(|_| {});
        }
    }
    struct RetrieveName;
    impl Drop for RetrieveName {
        fn drop(&mut self) {
            *NAME.lock().unwrap() = fiber::current().name().map(str::to_owned);
        }
    }
    static NAME: Mutex<Option<String>> = Mutex::new(None);
    fiber_local! {
        static AGAIN: Again = const { Again };
        static RETRIEVE: RetrieveName = const { RetrieveName };
    }
    let named = fiber::Builder::new().name("test".to_owned());
    let fiber = named.spawn(|| AGAIN.with(|_| {})).unwrap();
    fiber.join().unwrap();
    assert_eq!(NAME.lock().unwrap().as_deref(), Some("test"));
}

#[test]
fn dynamic() {
    fn square(i: i32) -> i32 {
        i * i
    }
    fn map() -> RefCell<HashMap<i32, i32>> {
        RefCell::new(HashMap::from([(1, 2)]))
    }
    fiber_local!(static FOO: i32 = square(3));
    fiber_local!(static MAP: RefCell<HashMap<i32, i32>> = map());
    fiber_local!(static VEC: RefCell<Vec<u32>> = RefCell::new(vec![1, 2, 3]));
    let all = || {
        FOO.with(|f| assert_eq!(*f, 9));
        MAP.with(|map| assert_eq!(map.borrow()[&1], 2));
        VEC.with(|vec| {
            assert_eq!(vec.borrow().len(), 3);
            vec.borrow_mut().push(4);
            assert_eq!(vec.borrow()[3], 4);
        });
    };
    sisal::run(all);
    all();
}

/// What is written into `thread_local!` can be written into `fiber_local!`.
mod syntax {
    use super::*;

    fiber_local! {}
    fiber_local!(static NO_SEMICOLON: u8 = 1);
    fiber_local!(pub(crate) static CONST_NO_SEMICOLON: u8 = const { 2 });
    fiber_local! {
        /// Documented.
        pub static FOO: Cell<u32> = const { Cell::new(1) };

        /// Two
        /// attributes.
        #[allow(dead_code)]
        #[cfg(test)]
        pub(super) static BAR: RefCell<Vec<f32>> = RefCell::new(vec![1.0, 2.0]);
        #[cfg(any())]
        static GONE: NoSuchType = const { no_such_function() };
        static BLOCK: Vec<(u8, &'static str)> = { let one = 1; vec![(one, "one")] };
        static DYN: Box<dyn Fn(u8) -> u8> = Box::new(|x| x + 1);
        static ELIDED: &str = const { "elided" };
        #[allow(non_upper_case_globals)]
        static lower: [u8; 3] = [0; 3];
    }

    #[test]
    fn it_parses() {
        let all = || {
            assert_eq!(
                (NO_SEMICOLON.with(|x| *x), CONST_NO_SEMICOLON.with(|x| *x)),
                (1, 2)
            );
            assert_eq!(FOO.get(), 1);
            BAR.with_borrow(|v| assert_eq!(v[1], 2.0));
            assert_eq!(BLOCK.with(|v| v[0]), (1, "one"));
            assert_eq!(DYN.with(|f| f(1)), 2);
            assert_eq!(ELIDED.with(|s| s.len()), 6);
            assert_eq!(lower.with(|a| a.len()), 3);
            assert_eq!(format!("{FOO:?}"), "LocalKey { .. }");
        };
        all();
        sisal::run(all);
    }
}

/// The same code over both macros: what std documents of each method.
macro_rules! methods {
    ($declare:ident) => {{
        $declare! {
            static X: Cell<i32> = panic!("!");
            static ONE: Cell<i32> = const { Cell::new(1) };
            static SOME: Cell<Option<i32>> = const { Cell::new(Some(1)) };
            static VEC: RefCell<Vec<i32>> = RefCell::new(Vec::new());
            static UNSET: RefCell<Vec<i32>> = panic!("!");
        }
        // Calling X.get() here would result in a panic.
        assert_eq!(panic_text(|| X.get()), "!");
        X.set(123);
        assert_eq!(X.get(), 123);
        X.set(124);
        assert_eq!((X.replace(5), X.get()), (124, 5));

        assert_eq!(ONE.get(), 1);
        assert_eq!(ONE.replace(2), 1);
        assert_eq!(ONE.replace(3), 2);
        assert_eq!((SOME.take(), SOME.take()), (Some(1), None));

        VEC.with_borrow_mut(|v| v.push(3));
        VEC.with_borrow(|v| assert_eq!(*v, [3]));
        assert_eq!(
            (VEC.replace(vec![1, 2, 3]), VEC.take()),
            (vec![3], vec![1, 2, 3])
        );
        assert!(VEC.take().is_empty());

        assert_eq!(panic_text(|| UNSET.take()), "!");
        UNSET.set(vec![1, 2, 3]);
        UNSET.set(vec![4]);
        UNSET.with_borrow(|v| assert_eq!(*v, [4]));

        let clashes = [
            panic_text(|| UNSET.with_borrow(|_| UNSET.with_borrow_mut(|_| ()))),
            panic_text(|| UNSET.with_borrow_mut(|_| UNSET.with_borrow(|_| ()))),
            panic_text(|| UNSET.with_borrow(|_| UNSET.set(vec![]))),
            panic_text(|| UNSET.with_borrow(|_| drop(UNSET.take()))),
            panic_text(|| UNSET.with_borrow(|_| drop(UNSET.replace(vec![])))),
        ];
        clashes
    }};
}

#[test]
fn the_methods_are_stds() {
    let fibers = || methods!(fiber_local);
    let on_a_thread = methods!(thread_local);
    assert_eq!(on_a_thread, fibers());
    assert_eq!(on_a_thread, sisal::run(fibers));
}

#[test]
fn the_error_reads_as_stds() {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct OfThread;
    impl Drop for OfThread {
        fn drop(&mut self) {
            let error = THREADS.try_with(|_| ()).unwrap_err();
            SAID.lock().unwrap().push(format!("{error} {error:?}"));
        }
    }
    struct OfFiber;
    impl Drop for OfFiber {
        fn drop(&mut self) {
            let error = FIBERS.try_with(|_| ()).unwrap_err();
            fn is_error<E: std::error::Error + Copy + Eq + Send + Sync>(_: E) {}
            is_error(error);
            SAID.lock().unwrap().push(format!("{error} {error:?}"));
        }
    }
    thread_local!(static THREADS: OfThread = const { OfThread });
    fiber_local!(static FIBERS: OfFiber = const { OfFiber });
    let thread = std::thread::spawn(|| {
        THREADS.with(|_| ());
        // Its own value is a thread's, and goes as one does.
        FIBERS.with(|_| ());
    });
    thread.join().unwrap();
    fiber::spawn(|| FIBERS.with(|_| ())).join().unwrap();
    assert_eq!(*SAID.lock().unwrap(), ["already destroyed AccessError"; 3]);
}
