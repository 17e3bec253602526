//! The values that a fiber has of its `fiber_local!`s.
//!
//! Its worker's only (rule 2 of `record.rs`), so nothing here is shared between threads. No user's code
//! is called while the map is in use: an initialiser or a destructor may park, and may come back here
//! for other keys.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use super::body::drop_contained;

/// A fiber's values by key, the address of a `LocalKey`. Nothing is allocated before the first.
pub(crate) struct Locals(Cell<Option<Box<Map>>>);

#[derive(Default)]
struct Map {
    /// Sorted by key. `None`: it was destroyed, and is not made again.
    ///
    /// Counted, because whoever is inside `with` keeps a value: it may be on the stack of a coroutine
    /// that was suspended there, and goes on in another fiber when this one is gone.
    values: Vec<(usize, Option<Rc<dyn Any>>)>,
    /// Keys of the values that have destructors, oldest first.
    to_destroy: Vec<usize>,
}

/// The value was destroyed, or is being destroyed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Destroyed;

impl Locals {
    pub(super) fn new() -> Locals {
        Locals(Cell::new(None))
    }

    #[inline]
    pub(super) fn is_empty(&mut self) -> bool {
        self.0.get_mut().is_none()
    }

    /// The value of `key`, made by `init` if there is none.
    pub(crate) fn get_or_init<T: 'static>(
        &self,
        key: usize,
        init: impl FnOnce() -> T,
    ) -> Result<Rc<T>, Destroyed> {
        if let Some(value) = self.find(key) {
            return value.map(downcast).ok_or(Destroyed);
        }
        // May park, panic, make other values, and even make this one.
        let value = Rc::new(init());
        let replaced = self.edit(|map| map.insert(key, &value))?;
        // If it did make this one: the outer value takes its place, as std's does.
        drop(replaced);
        Ok(value)
    }

    /// `Some(None)`: it was destroyed.
    fn find(&self, key: usize) -> Option<Option<Rc<dyn Any>>> {
        let map = self.0.take()?;
        let found = match map.search(key) {
            Ok(at) => Some(map.values[at].1.clone()),
            Err(_) => None,
        };
        self.0.set(Some(map));
        found
    }

    /// `edit` calls no user's code.
    fn edit<R>(&self, edit: impl FnOnce(&mut Map) -> R) -> R {
        let mut map = self.0.take().unwrap_or_default();
        let result = edit(&mut map);
        self.0.set(Some(map));
        result
    }

    /// Destroys what has a destructor, newest first, and what the destructors make anew.
    #[inline]
    pub(super) fn destroy(&self) {
        if self.has_map() {
            self.destroy_all();
        }
    }

    /// Not by a look at what is taken out: that would be put back, or dropped, if there was none too.
    #[inline]
    fn has_map(&self) -> bool {
        // SAFETY: a look that no other use of the cell comes between: it is one thread's.
        unsafe { &*self.0.as_ptr() }.is_some()
    }

    #[cold]
    fn destroy_all(&self) {
        while let Some(value) = self.edit(Map::take_newest) {
            drop_contained(value);
        }
    }

    /// The fiber's stack is retired: its frames may use what these values point to, so nothing is destroyed.
    pub(super) fn leak(&self) {
        std::mem::forget(self.0.take());
    }

    /// The last of the fiber: destroys what is left, and gives back the memory.
    #[inline]
    pub(super) fn free(&self) {
        if self.has_map() {
            self.destroy_all();
            // What has no destructor, and no user's code with it.
            drop(self.0.take());
        }
    }
}

impl Drop for Locals {
    /// Whoever frees a record may be on any thread. The fiber's end left nothing here; the values of a
    /// fiber that never came to its end (a retired stack) are not this thread's to drop (S11).
    fn drop(&mut self) {
        self.leak();
    }
}

impl Map {
    fn search(&self, key: usize) -> Result<usize, usize> {
        self.values.binary_search_by_key(&key, |entry| entry.0)
    }

    /// What it takes the place of.
    fn insert<T: 'static>(
        &mut self,
        key: usize,
        value: &Rc<T>,
    ) -> Result<Option<Rc<dyn Any>>, Destroyed> {
        let new: Rc<dyn Any> = Rc::<T>::clone(value);
        match self.search(key) {
            Ok(at) => match &mut self.values[at].1 {
                Some(old) => Ok(Some(std::mem::replace(old, new))),
                None => Err(Destroyed),
            },
            Err(at) => {
                self.values.insert(at, (key, Some(new)));
                if std::mem::needs_drop::<T>() {
                    self.to_destroy.push(key);
                }
                Ok(None)
            }
        }
    }

    /// The newest value that has a destructor; from here on it counts as destroyed.
    fn take_newest(&mut self) -> Option<Rc<dyn Any>> {
        let key = self.to_destroy.pop()?;
        let at = self.search(key).ok()?;
        self.values[at].1.take()
    }
}

fn downcast<T: 'static>(value: Rc<dyn Any>) -> Rc<T> {
    match value.downcast() {
        Ok(value) => value,
        Err(_) => unreachable!("a key is one `static` of one type"),
    }
}

#[cfg(all(test, not(sisal_loom)))]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Says its number when it is dropped.
    struct Said(usize, Rc<RefCell<Vec<usize>>>);

    impl Drop for Said {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.0);
        }
    }

    #[test]
    fn a_value_is_found_under_its_key_whatever_the_order() {
        let locals = Locals::new();
        let keys = [7, 3, 9, 1, 8, 2];
        for key in keys {
            assert_eq!(*locals.get_or_init(key, || key * 10).unwrap(), key * 10);
        }
        for key in keys {
            let again = locals.get_or_init(key, || -> usize { unreachable!() });
            assert_eq!(*again.unwrap(), key * 10);
        }
        locals.free();
    }

    #[test]
    fn destructors_run_newest_first_and_once() {
        let said = Rc::new(RefCell::new(Vec::new()));
        let locals = Locals::new();
        for key in [5, 2, 9] {
            let value = || Said(key, Rc::clone(&said));
            assert!(locals.get_or_init(key, value).is_ok());
        }
        locals.get_or_init(1, || 1_u8).unwrap();
        locals.destroy();
        assert_eq!(*said.borrow(), [9, 2, 5]);
        let again = locals.get_or_init(2, || Said(0, Rc::clone(&said)));
        assert_eq!(again.map(|_| ()), Err(Destroyed));
        // A value without a destructor is there to the last.
        assert_eq!(*locals.get_or_init(1, || 2_u8).unwrap(), 1);
        locals.free();
        locals.free();
        assert_eq!(said.borrow().len(), 3);
    }

    #[test]
    fn a_value_in_use_outlives_its_fiber() {
        let said = Rc::new(RefCell::new(Vec::new()));
        let locals = Locals::new();
        let used = locals.get_or_init(1, || Said(1, Rc::clone(&said))).unwrap();
        locals.free();
        drop(locals);
        assert!(said.borrow().is_empty());
        drop(used);
        assert_eq!(*said.borrow(), [1]);
    }

    #[test]
    fn a_value_made_twice_is_the_outer_one() {
        let said = Rc::new(RefCell::new(Vec::new()));
        let locals = Locals::new();
        let make = |n| Said(n, Rc::clone(&said));
        let outer = locals.get_or_init(1, || {
            let inner = locals.get_or_init(1, || make(1)).unwrap();
            assert_eq!(inner.0, 1);
            make(2)
        });
        assert_eq!(*said.borrow(), [1]);
        assert_eq!(outer.unwrap().0, 2);
        locals.free();
        assert_eq!(*said.borrow(), [1, 2]);
    }
}
