//! Model of a claim: one at a time has the place, and finds it as the one before left it.

use std::sync::Arc;

use super::{Direction, Places};
use crate::loom_support::{cell::UnsafeCell, explore, thread};

/// tokio has a lock around its place; here it has none, so that two holders at once would be a race.
struct Registration {
    places: Places,
    place: UnsafeCell<u32>,
}

// SAFETY: the cell is what the model is about.
unsafe impl Sync for Registration {}

#[test]
fn loom_place_has_one_holder() {
    explore(5, || {
        let registration = Arc::new(Registration {
            places: Places::new(),
            place: UnsafeCell::new(0),
        });
        let wait = |registration: Arc<Registration>| {
            move || {
                let Some(claim) = registration.places.claim(Direction::Read) else {
                    return 0;
                };
                // SAFETY: whoever has the claim is alone with the place.
                registration.place.with_mut(|place| unsafe { *place += 1 });
                drop(claim);
                1
            }
        };
        let other = thread::spawn(wait(Arc::clone(&registration)));
        let mut waited = wait(Arc::clone(&registration))();
        // The other direction is nobody's.
        assert!(registration.places.claim(Direction::Write).is_some());
        waited += other.join().unwrap();
        assert!(waited >= 1, "one of the two was first");
        // Both are over, so it is free.
        waited += wait(Arc::clone(&registration))();
        // SAFETY: as above.
        let left = registration.place.with(|place| unsafe { *place });
        assert_eq!(left, waited);
    });
}
