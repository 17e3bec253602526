//! `fiber_local!` and `fiber::LocalKey`: `thread_local!` for fibers.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::thread;

use crate::current::{self, ThreadState};

/// Declares values of which each fiber has its own, as [`std::thread_local!`] does for threads.
///
/// The syntax is std's: any number of `static`s with attributes and visibility, each with an initialiser
/// that runs at the first use, or `const { .. }`. Each becomes a [`fiber::LocalKey`](crate::fiber::LocalKey).
///
/// Off a fiber (on a plain thread, and on a worker's own stack) a key is the thread's own
/// `thread_local!`, which the macro declares beside it: code ported from threads works there as it did. A
/// fiber never sees its thread's value, nor a thread its fibers'.
///
/// ```
/// use std::cell::{Cell, RefCell};
///
/// sisal::fiber_local! {
///     /// How many requests this fiber has served.
///     pub static SERVED: Cell<u32> = const { Cell::new(0) };
///
///     static NOTES: RefCell<Vec<String>> = RefCell::new(vec!["begun".to_owned()]);
/// }
///
/// sisal::run(|| {
///     SERVED.set(1);
///     sisal::fiber::spawn(|| {
///         assert_eq!(SERVED.get(), 0);
///         SERVED.set(10);
///     })
///     .join()
///     .unwrap();
///     assert_eq!(SERVED.get(), 1);
///     NOTES.with_borrow(|notes| assert_eq!(notes.len(), 1));
/// });
/// assert_eq!(SERVED.get(), 0); // the thread's own
/// ```
#[macro_export]
macro_rules! fiber_local {
    () => {};

    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::fiber::LocalKey<$t> = {
            ::std::thread_local! {
                static __SISAL_OF_THE_THREAD: $t = const $init;
            }
            $crate::fiber::LocalKey::__new(&__SISAL_OF_THE_THREAD, || const $init)
        };
        $($crate::fiber_local! { $($rest)* })?
    };

    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::fiber::LocalKey<$t> = {
            const __SISAL_INIT: fn() -> $t = || $init;
            ::std::thread_local! {
                static __SISAL_OF_THE_THREAD: $t = __SISAL_INIT();
            }
            $crate::fiber::LocalKey::__new(&__SISAL_OF_THE_THREAD, __SISAL_INIT)
        };
        $($crate::fiber_local! { $($rest)* })?
    };
}

/// A value of which each fiber has its own; declared by [`fiber_local!`](crate::fiber_local!). As
/// [`std::thread::LocalKey`].
///
/// # Initialisation
/// At the fiber's first use of the key. The initialiser may wait, spawn and use other keys. If it panics
/// the value stays uninitialised, and the next use runs it again. If it uses its own key, the value made
/// inside is replaced by the outer one.
///
/// # Destruction
/// At the end of the fiber, on its own stack, newest first, after everything of its closure was dropped, and
/// before [`join`](crate::fiber::JoinHandle::join) gives the result. (A result that nobody will ask for is
/// dropped before the values are.) Destructors may wait, spawn and use other keys; cancellation is
/// held off. A value that a destructor makes is destroyed too. A panic of a destructor goes no
/// further, and the other values are destroyed all the same; std aborts there.
///
/// A value is gone for its fiber once its destructor has begun. One without a destructor stays to the end.
///
/// A value need not be `Send`: a fiber stays on its thread, and so do its values.
///
/// # Off a fiber
/// The key is a `thread_local!` of the thread.
pub struct LocalKey<T: 'static> {
    of_the_thread: &'static thread::LocalKey<T>,
    init: fn() -> T,
}

/// The value of a [`LocalKey`] was destroyed, or is being destroyed. As [`std::thread::AccessError`].
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccessError;

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessError").finish()
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl std::error::Error for AccessError {}

#[cold]
#[track_caller]
fn refuse() -> ! {
    panic!("cannot access a fiber-local value during or after its destruction")
}

impl<T: 'static> LocalKey<T> {
    /// For `fiber_local!`.
    #[doc(hidden)]
    pub const fn __new(
        of_the_thread: &'static thread::LocalKey<T>,
        init: fn() -> T,
    ) -> LocalKey<T> {
        LocalKey {
            of_the_thread,
            init,
        }
    }

    /// Calls `f` with the fiber's value, which is initialised if this is the first use.
    ///
    /// `f` may wait; other fibers have values of their own.
    ///
    /// # Panics
    /// If the value was destroyed, or is being destroyed. If the initialiser or `f` do.
    ///
    /// ```
    /// sisal::fiber_local!(static NAME: String = String::from("nameless"));
    /// assert_eq!(sisal::run(|| NAME.with(|name| name.len())), 8);
    /// ```
    #[track_caller]
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.try_with(f) {
            Ok(result) => result,
            Err(AccessError) => refuse(),
        }
    }

    /// [`with`](Self::with) that gives an error where that panics.
    ///
    /// # Errors
    /// [`AccessError`] if the value was destroyed, or is being destroyed.
    ///
    /// # Panics
    /// If the initialiser or `f` do.
    ///
    /// ```
    /// sisal::fiber_local!(static NUMBER: u32 = 5);
    /// assert_eq!(sisal::run(|| NUMBER.try_with(|n| n + 1)), Ok(6));
    /// ```
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        match self.of_this_fiber(self.init)? {
            Some(value) => Ok(f(&value)),
            None => self.of_the_thread.try_with(f).map_err(|_| AccessError),
        }
    }

    /// The fiber's value, made by `init` if there is none; `None` off a fiber.
    fn of_this_fiber(
        &'static self,
        init: impl FnOnce() -> T,
    ) -> Result<Option<Rc<T>>, AccessError> {
        let ThreadState::Fiber(running) = current::state() else {
            return Ok(None);
        };
        let init = || {
            let value = init();
            // It was anybody's code.
            running.still();
            value
        };
        let key = std::ptr::from_ref(self).addr();
        match running.header().locals.get_or_init(key, init) {
            Ok(value) => Ok(Some(value)),
            Err(crate::fiber::Destroyed) => Err(AccessError),
        }
    }

    /// The fiber's value, which is `value` if there was none; else `value` is given back with it. `None` off
    /// a fiber.
    #[track_caller]
    fn of_this_fiber_or(&'static self, value: T) -> (Option<Rc<T>>, Option<T>) {
        let mut value = Some(value);
        let taken = || match value.take() {
            Some(value) => value,
            None => unreachable!("an initialiser runs once"),
        };
        match self.of_this_fiber(taken) {
            Ok(found) => (found, value),
            Err(AccessError) => refuse(),
        }
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value. If this is the first use, the initialiser does not run.
    ///
    /// # Panics
    /// If the value was destroyed, or is being destroyed.
    ///
    /// ```
    /// use std::cell::Cell;
    /// sisal::fiber_local!(static LEVEL: Cell<u32> = panic!("no level yet"));
    /// sisal::run(|| {
    ///     LEVEL.set(3);
    ///     assert_eq!(LEVEL.get(), 3);
    /// });
    /// ```
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match self.of_this_fiber_or(Cell::new(value)) {
            (Some(_), None) => {}
            (Some(found), Some(value)) => found.set(value.into_inner()),
            (None, Some(value)) => self.of_the_thread.set(value.into_inner()),
            (None, None) => unreachable!("given back"),
        }
    }

    /// A copy of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value, and leaves `T::default()`.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value, and returns what it was.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with a shared borrow of the value.
    ///
    /// # Panics
    /// If the value is mutably borrowed. As [`with`](Self::with).
    ///
    /// ```
    /// use std::cell::RefCell;
    /// sisal::fiber_local!(static WORDS: RefCell<Vec<&'static str>> = RefCell::default());
    /// sisal::run(|| {
    ///     WORDS.with_borrow_mut(|words| words.push("one"));
    ///     assert_eq!(WORDS.with_borrow(|words| words.len()), 1);
    /// });
    /// ```
    #[track_caller]
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with a mutable borrow of the value.
    ///
    /// # Panics
    /// If the value is borrowed. As [`with`](Self::with).
    #[track_caller]
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value. If this is the first use, the initialiser does not run.
    ///
    /// # Panics
    /// If the value is borrowed, was destroyed, or is being destroyed.
    #[track_caller]
    pub fn set(&'static self, value: T) {
        match self.of_this_fiber_or(RefCell::new(value)) {
            (Some(_), None) => {}
            (Some(found), Some(value)) => *found.borrow_mut() = value.into_inner(),
            (None, Some(value)) => self.of_the_thread.set(value.into_inner()),
            (None, None) => unreachable!("given back"),
        }
    }

    /// Takes the value, and leaves `T::default()`.
    ///
    /// # Panics
    /// If the value is borrowed. As [`with`](Self::with).
    #[track_caller]
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value, and returns what it was.
    ///
    /// # Panics
    /// If the value is borrowed. As [`with`](Self::with).
    #[track_caller]
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
