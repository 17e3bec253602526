//! Why and how far a fiber unwinds: what was asked of it, its `timeout`s, and the payload.
//!
//! An unwind has a target: the fiber's root (`CANCEL`), or a `timeout` whose deadline has passed. It begins
//! at a suspension point, in code that is not itself being unwound (S6).

use std::any::Any;
use std::cell::Cell;
use std::panic::resume_unwind;
use std::ptr;
use std::time::Instant;

use super::may_unwind::may_unwind_to;
use super::record::Header;
use super::running::Running;
use crate::current;

/// The payload of an unwind that Sisal starts.
pub(super) struct Unwind(Target);

/// Where an unwind ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Root,
    /// By its address and its deadline: a payload that user's code kept and raised again, after
    /// the `timeout` that it was for, fits no other.
    Frame(usize, Instant),
}

/// Starts an unwind. No panic hook runs.
pub(super) fn unwind_to(target: Target) -> ! {
    resume_unwind(Box::new(Unwind(target)))
}

/// A `timeout` that a fiber is inside of. Lives in that call's frame, and is linked there.
pub(crate) struct Frame<'a> {
    outer: Cell<*const Frame<'static>>,
    deadline: Instant,
    shield: u32,
    /// Whether the timer says so; the deadline is looked at too.
    fired: &'a dyn Fn() -> bool,
}

/// The list of a fiber's frames, innermost first.
pub(super) struct Frames(Cell<*const Frame<'static>>);

impl Frames {
    pub(super) fn new() -> Frames {
        Frames(Cell::new(ptr::null()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    fn iter(&self) -> impl Iterator<Item = &Frame<'_>> {
        let mut next = self.0.get();
        std::iter::from_fn(move || {
            // SAFETY: a frame in the list is live: `within` takes it out before it goes, and only
            // the fiber itself looks (rule 2 of the record).
            let frame = unsafe { next.as_ref() }?;
            next = frame.outer.get();
            Some(frame)
        })
    }

    fn remove(&self, frame: *const Frame<'static>) {
        // The first, unless a coroutine that was suspended inside a `timeout` comes back.
        let mut link = &self.0;
        while !ptr::eq(link.get(), frame) {
            // SAFETY: as in `iter`. The list ends behind `frame`, which is in it.
            link = &unsafe { &*link.get() }.outer;
        }
        // SAFETY: as above.
        link.set(unsafe { &*frame }.outer.get());
    }
}

impl Frame<'_> {
    fn has_passed(&self, now: Instant) -> bool {
        now >= self.deadline || (self.fired)()
    }

    fn target(&self) -> Target {
        Target::Frame(ptr::from_ref(self).addr(), self.deadline)
    }
}

impl Running {
    /// Runs `f` inside a `timeout`, whose timer is `fired` and wakes with `EXPIRED`. `f` contains
    /// every unwind. The payload of one, or `None` if it was meant for this `timeout`.
    pub(crate) fn within<R>(
        self,
        deadline: Instant,
        fired: &dyn Fn() -> bool,
        f: impl FnOnce() -> Result<R, Box<dyn Any + Send>>,
    ) -> Result<R, Option<Box<dyn Any + Send>>> {
        struct Linked<'a>(Running, &'a Frame<'a>);
        impl Drop for Linked<'_> {
            fn drop(&mut self) {
                let (running, frame) = (self.0.still(), self.1);
                let header = running.header();
                header.frames.remove(ptr::from_ref(frame).cast());
                if header.state.is_cut_short() {
                    // It may have been this frame's deadline, or an outer one's.
                    running.look_at_deadlines();
                }
            }
        }
        let header = self.header();
        let frame = Frame {
            outer: Cell::new(header.frames.0.get()),
            deadline,
            shield: header.shield.get(),
            fired,
        };
        header.frames.0.set(ptr::from_ref(&frame).cast());
        let linked = Linked(self, &frame);
        let result = f();
        drop(linked);
        result.map_err(|payload| match payload.downcast_ref::<Unwind>() {
            Some(Unwind(target)) if *target == frame.target() => None,
            _ => Some(payload),
        })
    }

    /// Sets `EXPIRED` if the deadline of a `timeout` has passed, and clears it otherwise.
    fn look_at_deadlines(self) {
        let header = self.header();
        // First, so that a timer that fires after the look leaves its bit.
        header.state.clear_expired();
        let now = Instant::now();
        if header.frames.iter().any(|frame| frame.has_passed(now)) {
            header.state.set_expired();
        }
    }

    /// Where everybody who asked this fiber to unwind wants that to end, the outermost first. Not what
    /// `depth` shields hold off.
    fn asked(self, depth: u32) -> Vec<Target> {
        let header = self.header();
        self.look_at_deadlines();
        let now = Instant::now();
        // What is outside of a shield has entered fewer of them.
        let inside = header.frames.iter().take_while(|f| f.shield == depth);
        let passed = inside.filter(|frame| frame.has_passed(now));
        let mut targets: Vec<_> = passed.map(Frame::target).collect();
        if header.state.is_cancelled() && depth == 0 {
            targets.push(Target::Root);
        }
        targets.reverse();
        targets
    }

    /// How far this fiber is to unwind now, if it was asked to, and neither `depth` shields nor an unwind
    /// that it is in holds that off (S6).
    #[cold]
    pub(crate) fn target(self, depth: u32, resumed: Resumed) -> Option<Target> {
        if cfg!(not(panic = "unwind")) {
            return None;
        }
        let asked = self.asked(depth);
        let may_begin = asked.iter().find(|t| self.may_unwind_to(**t, resumed));
        if may_begin.is_none() && !asked.is_empty() {
            current::defer_cancel();
        }
        may_begin.copied()
    }

    /// A suspension point of a fiber that was asked to unwind.
    #[cold]
    pub(super) fn unwind_unless_held_off(self, resumed: Resumed) {
        let header = self.header();
        let depth = header.shield.get();
        let mut target = self.target(depth, resumed);
        if target.is_some() && resumed == Resumed::Before && header.unwound.get() {
            // Code that catches it may do nothing else, in a loop: first the others have a turn.
            self.shielded(|| self.yield_now());
            target = self.target(depth, Resumed::JustNow);
        }
        if let Some(target) = target {
            header.unwound.set(true);
            unwind_to(target);
        }
    }

    /// Whether an unwind that begins here would come to `target`: no destructor lies between that is itself
    /// called by an unwind.
    fn may_unwind_to(self, target: Target, resumed: Resumed) -> bool {
        if !std::thread::panicking() {
            return true;
        }
        if resumed == Resumed::JustNow && !current::left_unwinding(self) {
            return true; // others of this worker do
        }
        match target {
            // Who else? And an unwind of its own is on its way to the root, or to a `catch_unwind`, or about to begin:
            // a panic hook runs, which the frames do not tell.
            Target::Root if !current::unwinding_beside(self) => false,
            Target::Root => may_unwind_to(self.header().root.get()),
            Target::Frame(address, _) => may_unwind_to(address),
        }
    }

    /// Whether this fiber is being unwound (S9).
    pub(crate) fn is_unwinding(self) -> bool {
        !self.may_unwind_to(Target::Root, Resumed::Before)
    }
}

/// What a fiber did since its worker switched to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// Nothing: it is what it was when it left.
    JustNow,
    /// It may have run user's code.
    Before,
}

/// Which fibers of a worker left their stacks in mid-unwind (S9).
///
/// `std::thread::panicking` counts for a thread, not for a fiber. A fiber that leaves while it is
/// true is marked: it is being unwound, or it ran beside one that was, and may be. When it is false no
/// fiber of the worker is, and all marks go.
pub(crate) struct Unwinding {
    marked: Cell<u32>,
    /// A mark is this number; another makes all marks old.
    mark: Cell<u32>,
}

impl Unwinding {
    pub(crate) fn new() -> Unwinding {
        Unwinding {
            marked: Cell::new(0),
            mark: Cell::new(1),
        }
    }

    /// Worker, after each switch: whether to call [`left`](Self::left).
    #[inline]
    pub(crate) fn concerns(&self) -> bool {
        // A relaxed load of std's, which is 0 while no thread panics.
        std::thread::panicking() || self.marked.get() > 0
    }

    /// Worker: `fiber` has left its stack, for good if `ended`. True: no fiber of this worker is in
    /// mid-unwind any more.
    #[cold]
    pub(crate) fn left(&self, fiber: &Header, ended: bool) -> bool {
        if !std::thread::panicking() {
            self.marked.set(0);
            // 0 is no mark. After 2^32 rounds an old mark may look new: it errs to the safe side.
            self.mark.set(self.mark.get().checked_add(1).unwrap_or(1));
            return true;
        }
        match (self.has_marked(fiber), ended) {
            (false, false) => {
                fiber.left_unwinding.set(self.mark.get());
                self.marked.set(self.marked.get() + 1);
            }
            (true, true) => {
                fiber.left_unwinding.set(0);
                self.marked.set(self.marked.get() - 1);
            }
            _ => {}
        }
        false
    }

    pub(crate) fn has_marked(&self, fiber: &Header) -> bool {
        fiber.left_unwinding.get() == self.mark.get()
    }

    pub(crate) fn has_marks(&self) -> bool {
        self.marked.get() > 0
    }

    /// Whether another fiber of this worker than the running one may be in mid-unwind.
    pub(crate) fn beside(&self, running: &Header) -> bool {
        self.marked.get() > u32::from(self.has_marked(running))
    }
}
