//! A new record's header.

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

use super::{FiberPtr, Header, Seed, Vtable};
use switch_asm::arch::ApartFrame;

use crate::fiber::block::{self, Blocks};
use crate::fiber::locals::Locals;
use crate::fiber::span::Entered;
use crate::fiber::state::State;
use crate::fiber::timers::{TimerPlace, TimerTimes};
use crate::fiber::unwind::Frames;
use crate::shim::{AtomicPtr, AtomicU32, AtomicUsize};

/// The first half of a record: memory for it, its header written. The rest is [`filled in`](super::FiberRef::fill). (No type of
/// the user's is in here, so that this is one function, and writes the header where it stays.)
#[inline]
pub(crate) fn plant(seed: Seed<'_>, blocks: Option<&Blocks>, vtable: &'static Vtable) -> FiberPtr {
    let (record, scheduler) = block::allocate(vtable.layout, &seed.scheduler, blocks);
    let record = record.cast::<Header>();
    let header = Header {
        state: match seed.hooked {
            true => State::hooked(),
            false => State::new(),
        },
        home: AtomicU32::new(u32::MAX),
        sp: Cell::new(None),
        link: ApartFrame::new(),
        pending: Cell::new(0),
        depth: Cell::new(0),
        shield: Cell::new(0),
        ready_ops: Cell::new(0),
        next: AtomicPtr::new(std::ptr::null_mut()),
        refs: AtomicUsize::new(2),
        vtable,
        stack: Cell::new(MaybeUninit::uninit()),
        base: Cell::new(None),
        bound_at: Cell::new(u32::MAX),
        timer_at: TimerPlace::new(),
        timer: TimerTimes::new(),
        frames: Frames::new(),
        root: Cell::new(0),
        left_unwinding: Cell::new(0),
        unwound: Cell::new(false),
        scheduler,
        join_waker: UnsafeCell::new(None),
        id: seed.id,
        spawned_at: seed.spawned_at,
        entered: Entered::default(),
        extra: seed.extra,
        locals: Locals::new(),
    };
    // SAFETY: allocated just now for a record, whose header is its beginning.
    unsafe { record.write(header) };
    FiberPtr(record)
}
