//! Walks of the stack, by the system and by us.

use std::cell::RefCell;

use switch_asm::unwind_info::Gpr;
use switch_asm::unwind_info::winx64::{Context, Function, Image, decode, virtual_unwind};

use crate::code::{COLD, INNER, KEPT, OUTER, cold, inner, outer};
use crate::region::Region;
use crate::system::{RawContext, Stack, backtrace, lookup};

thread_local! {
    /// What the callback saw.
    static SEEN: RefCell<(Vec<u64>, Option<RawContext>)> = const { RefCell::new((Vec::new(), None)) };
}

extern "C-unwind" fn look(_: usize) {
    let context = RawContext::here();
    SEEN.with(|seen| *seen.borrow_mut() = (backtrace(), Some(context)));
}

/// What the callback saw, from the frames of `region`, called from here. Walks can only be done while the frames are there.
#[inline(never)]
fn call_and_look(region: &Region) -> Vec<u64> {
    region.call(look, 0);
    SEEN.with(|seen| seen.borrow().0.clone())
}

fn lookup_at(region: &Region, offset: usize) -> Option<(usize, u64)> {
    lookup(region.address(offset)).map(|(entry, base)| (entry.begin as usize, base))
}

pub(crate) fn found() {
    let parts = [OUTER, INNER, COLD];
    let region = Region::new(None, &[]);
    for offset in parts {
        assert_eq!(
            lookup_at(&region, offset + 3),
            Some((offset, region.table.base))
        );
        assert_eq!(lookup_at(&region, offset - 1), None);
    }
    let addresses = parts.map(|offset| region.address(offset));
    drop(region);
    assert!(addresses.iter().all(|&address| lookup(address).is_none()));
    let region = Region::not_registered(None, &[]);
    assert!(
        parts
            .iter()
            .all(|&offset| lookup_at(&region, offset).is_none())
    );
}

/// From the callback to whoever called `outer`: each of the three parts once, in this order, then the caller.
pub(crate) fn every_frame() {
    let region = Region::new(None, &[]);
    let frames = call_and_look(&region);
    let at = frames
        .iter()
        .position(|&frame| region.part_of(frame).is_some());
    let at = at.expect("the callback was called from there");
    assert_eq!(region.part_of(frames[at]), Some(COLD));
    assert_eq!(region.part_of(frames[at + 1]), Some(OUTER));
    assert_eq!(region.part_of(frames[at + 2]), None);
    let (own, base) =
        lookup(call_and_look as *const () as u64).expect("Rust's functions have entries");
    let mut callers = frames[at + 2..]
        .iter()
        .filter_map(|frame| u32::try_from(frame.checked_sub(base)?).ok());
    assert!(callers.any(|frame| own.contains(frame)), "{frames:x?}");
}

thread_local! {
    static WALKED: RefCell<Vec<(u64, Context)>> = const { RefCell::new(Vec::new()) };
}

/// Walks as far as there are entries.
extern "C-unwind" fn walk(_: usize) {
    let mut context = RawContext::here();
    let mut found = Vec::new();
    while context.rip() != 0 && found.len() < 40 {
        found.push((context.rip(), context.registers()));
        if context.step().is_none() {
            break;
        }
    }
    WALKED.with(|walked| *walked.borrow_mut() = found);
}

fn walked(region: &Region) -> Vec<(u64, Context)> {
    region.call(walk, 0);
    WALKED.with(RefCell::take)
}

/// The registers with which a walk arrives in the part that begins at `offset`.
fn arrived(region: &Region, walked: &[(u64, Context)], offset: usize) -> Context {
    let mut there = walked
        .iter()
        .filter(|(rip, _)| region.part_of(*rip) == Some(offset));
    let (_, context) = there.next().expect("the walk gets there");
    assert!(there.next().is_none());
    *context
}

pub(crate) fn is_kept(context: &Context) {
    let gprs = [Gpr::Rbx, Gpr::Rsi, Gpr::Rdi, Gpr::R12].map(|reg| context.gpr(reg));
    assert_eq!(gprs, KEPT);
    assert_eq!(
        [context.xmms[6], context.xmms[7]],
        [KEPT[0], KEPT[1]].map(u128::from)
    );
}

pub(crate) fn registers() {
    let region = Region::new(None, &[]);
    let walked = walked(&region);
    let inside = arrived(&region, &walked, COLD);
    assert_eq!(inside.gpr(Gpr::Rbx), 0);
    assert_eq!(inside.gpr(Gpr::R12), 0);
    assert_eq!(inside.xmms[7], 0);
    is_kept(&arrived(&region, &walked, OUTER));
}

extern "C-unwind" fn walk_ours(region: usize) {
    // SAFETY: that is what `ours` passes.
    let region = unsafe { &*(region as *const Region) };
    let mut context = RawContext::here();
    let mut steps = 0;
    while steps < 3 && context.rip() != 0 {
        let Some(offset) = region.part_of(context.rip()) else {
            assert!(steps == 0 || steps == 2);
            if steps == 2 {
                break;
            }
            context.step();
            continue;
        };
        let (code, _) = match offset {
            OUTER => outer(),
            INNER => inner(),
            _ => cold(),
        };
        let entry = region
            .table
            .function(context.rip())
            .expect("it is in the region");
        let info = decode(region.table.unwind_info(entry.unwind).expect("there")).expect("good");
        let function = Function::new(&code, &info).within(entry.begin, &region.table);
        let pc = u32::try_from(context.rip() - region.address(offset)).expect("near");
        let mut ours = context.registers();
        virtual_unwind(&function, pc, &mut ours, &Stack).expect("walks");
        context.step();
        assert_eq!(ours, context.registers());
        steps += 1;
    }
    assert_eq!(steps, 2);
}

pub(crate) fn ours() {
    let region = Region::new(None, &[]);
    region.call(walk_ours, &raw const region as usize);
}

/// The negative control: a walk that gets as far without a table would say nothing about tables. Only ours ends there. The
/// system's takes the part for a leaf, follows what lies on the stack, and may fault.
pub(crate) fn not_registered() {
    let region = Region::not_registered(None, &[]);
    let walked = walked(&region);
    let last = walked.last().expect("it begins");
    assert_eq!(region.part_of(last.0), Some(COLD));
}
