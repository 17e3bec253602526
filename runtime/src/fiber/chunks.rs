//! Memory for records, in chunks that go back to the system when their last record is gone.
//!
//! Not the allocator's work, because it gives memory back from the end of its heap only: after a million
//! fibers one small allocation that outlives them, of anybody's, kept all of their records, 270 MB.
//!
//! A chunk is aligned to its size, so a block's address tells its chunk, and the chunk's header its scheduler. So a
//! block can be given back anywhere, and after its runtime's end: a scheduler lives as long as its last chunk. (So
//! the record in a block need not count it. That took an eighth of a spawn and join.)

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::regret::Regret;
use super::schedule::Schedule;

/// Bytes of a block: five cache lines, an odd number, so that what a switch touches, the first line, is spread
/// over all sets of the caches.
pub(super) const BLOCK: usize = 320;
/// Bytes of a chunk, and its alignment.
const CHUNK: usize = 256 * 1024;
/// The first block of a chunk is its links.
const BLOCKS: usize = CHUNK / BLOCK - 1;
const _: () = assert!(size_of::<Chunk>() <= BLOCK);

/// Empty chunks that a pool keeps for the next burst: 4 MiB,
const SPARE: usize = 16;
/// and at most so many more that were [regretted](super::regret): 28 MiB.
const MOST_REGRETTED: usize = 112;

/// A runtime's chunks.
#[derive(Default)]
pub(crate) struct Records(Mutex<State>);

/// 1. A chunk is in `partial`, at its `at`, or in `spare`, or all of its blocks are somebody's.
/// 2. Every chunk that is not unmapped is in the first two lists or has blocks that are somebody's.
struct State {
    /// Some of their blocks are somebody's, some are not.
    partial: Vec<NonNull<Chunk>>,
    /// None of their blocks is anybody's.
    spare: Vec<NonNull<Chunk>>,
    /// Chunks that were ever mapped.
    mapped: usize,
    regret: Regret,
    /// The runtime ends: no spare chunks, which would keep their scheduler.
    closed: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            partial: Vec::new(),
            spare: Vec::new(),
            mapped: 0,
            regret: Regret::new(MOST_REGRETTED, 0),
            closed: false,
        }
    }
}

// SAFETY: chunks are memory that any thread may use; `links` and free blocks are used under the lock only.
unsafe impl Send for State {}

/// The header of a chunk. Never borrowed as a whole: `owner` is read without the lock.
struct Chunk {
    owner: Arc<dyn Schedule>,
    links: Links,
}

/// Used under the lock only.
struct Links {
    /// Blocks that came back, linked through their first word.
    free: Option<NonNull<Free>>,
    /// Blocks from here on were never given out, and their memory not touched.
    untouched: usize,
    /// Blocks that are somebody's.
    used: usize,
    /// Its place in `State::partial`.
    at: usize,
}

struct Free {
    next: Option<NonNull<Free>>,
}

/// A block for a fiber of `owner`'s.
///
/// # Errors
/// There is no memory for another chunk.
pub(super) fn take_one(owner: &Arc<dyn Schedule>) -> io::Result<NonNull<u8>> {
    owner.records().0.lock().take(owner)
}

/// Adds up to `most` blocks to `blocks`, at least one.
///
/// # Errors
/// There is no memory for another chunk.
pub(super) fn take(
    owner: &Arc<dyn Schedule>,
    blocks: &mut Vec<NonNull<u8>>,
    most: usize,
) -> io::Result<()> {
    let mut state = owner.records().0.lock();
    blocks.push(state.take(owner)?);
    // If there is no memory for all, some will do.
    let more = (1..most).map_while(|_| state.take(owner).ok());
    blocks.extend(more);
    Ok(())
}

impl Records {
    /// From here on a chunk goes when its last block does. For whoever keeps the scheduler meanwhile.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        for chunk in std::mem::take(&mut state.spare) {
            // SAFETY: a spare chunk is nobody's, and its scheduler is kept.
            unsafe { unmap(chunk) };
        }
    }
}

/// Gives blocks back.
///
/// # Safety
/// Each came from [`take`] or [`take_one`], is given back once, and is not used again.
pub(super) unsafe fn give(blocks: impl IntoIterator<Item = NonNull<u8>>) {
    let mut blocks = blocks.into_iter();
    let mut next = blocks.next();
    while let Some(first) = next {
        // SAFETY: the chunk is mapped as long as one of its blocks is somebody's, and its owner does not change.
        let owner = unsafe { Arc::clone(&(*Chunk::of(first).as_ptr()).owner) };
        let mut state = owner.records().0.lock();
        while let Some(block) = next {
            let chunk = Chunk::of(block);
            // SAFETY: as above.
            if !Arc::ptr_eq(&owner, unsafe { &(*chunk.as_ptr()).owner }) {
                break;
            }
            // SAFETY: by contract; the lock is held.
            unsafe { state.give(chunk, block) };
            next = blocks.next();
        }
        // The lock is released first; then the owner may end.
    }
}

impl State {
    fn take(&mut self, owner: &Arc<dyn Schedule>) -> io::Result<NonNull<u8>> {
        let chunk = match self.partial.last() {
            Some(&chunk) => chunk,
            None => self.add(owner)?,
        };
        // SAFETY: a chunk in the list is mapped and has a block that is nobody's; the lock is held by whoever
        // has `self`.
        let block = unsafe { Chunk::take(chunk) };
        // SAFETY: as above.
        if unsafe { (*chunk.as_ptr()).links.used } == BLOCKS {
            self.partial.pop();
        }
        Ok(block)
    }

    /// Adds a chunk to `partial`: a spare or a new one.
    #[cold]
    fn add(&mut self, owner: &Arc<dyn Schedule>) -> io::Result<NonNull<Chunk>> {
        let chunk = match self.spare.pop() {
            Some(chunk) => chunk,
            None => {
                let chunk = map(owner)?;
                self.mapped += 1;
                chunk
            }
        };
        self.insert(chunk);
        Ok(chunk)
    }

    fn insert(&mut self, chunk: NonNull<Chunk>) {
        // SAFETY: the caller's chunk is mapped; the lock is held by whoever has `self`.
        unsafe { (*chunk.as_ptr()).links.at = self.partial.len() };
        self.partial.push(chunk);
    }

    /// # Safety
    /// `block` is somebody's, who gives it back, and in `chunk`, which is one of these. The caller keeps the owner.
    unsafe fn give(&mut self, chunk: NonNull<Chunk>, block: NonNull<u8>) {
        // SAFETY: by contract; the lock is held by whoever has `self`.
        let links = unsafe { &mut (*chunk.as_ptr()).links };
        let free = block.cast::<Free>();
        // SAFETY: the block is nobody's from here on.
        unsafe { free.write(Free { next: links.free }) };
        links.free = Some(free);
        links.used -= 1;
        if links.used == BLOCKS - 1 {
            self.insert(chunk);
        }
        if links.used > 0 {
            return;
        }
        self.partial.swap_remove(links.at);
        if let Some(moved) = self.partial.get(links.at) {
            // SAFETY: chunks in the list are mapped, and this is not `chunk`.
            unsafe { (*moved.as_ptr()).links.at = links.at };
        }
        self.spare.push(chunk);
        // Two at a time at the most, so that this ends soon, and yet they become fewer.
        for _ in 0..2 {
            if self.spare.len() <= self.room() {
                break;
            }
            self.regret.gave_back(Instant::now());
            if let Some(chunk) = self.spare.pop() {
                // SAFETY: none of its blocks is anybody's, no list has it any more, and its owner is kept.
                unsafe { unmap(chunk) };
            }
        }
    }

    /// How many chunks may be spare.
    fn room(&mut self) -> usize {
        match self.closed {
            true => 0,
            false => SPARE + self.regret.learned(self.mapped, Instant::now()),
        }
    }
}

impl Chunk {
    fn of(block: NonNull<u8>) -> NonNull<Chunk> {
        let chunk = block.as_ptr().map_addr(|address| address & !(CHUNK - 1));
        // SAFETY: a chunk is not at address zero, and a block is never the first of its chunk.
        unsafe { NonNull::new_unchecked(chunk.cast()) }
    }

    /// # Safety
    /// The chunk is mapped, has a block that is nobody's, and the lock is held.
    unsafe fn take(chunk: NonNull<Chunk>) -> NonNull<u8> {
        // SAFETY: by contract.
        let links = unsafe { &mut (*chunk.as_ptr()).links };
        links.used += 1;
        match links.free {
            Some(free) => {
                // SAFETY: a block in the list holds a link.
                links.free = unsafe { free.read() }.next;
                free.cast()
            }
            None => {
                let offset = links.untouched * BLOCK;
                links.untouched += 1;
                // SAFETY: the list is empty and a block is there, so this one is within the chunk.
                unsafe { chunk.cast::<u8>().add(offset) }
            }
        }
    }
}

/// Maps a chunk of which no block is anybody's.
fn map(owner: &Arc<dyn Schedule>) -> io::Result<NonNull<Chunk>> {
    let len = 2 * CHUNK;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: new memory, where the kernel likes it.
    let start = unsafe { mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE)? };
    let before = start.addr().wrapping_neg() % CHUNK;
    let chunk = start.wrapping_byte_add(before);
    for (start, len) in [
        (start, before),
        (chunk.wrapping_byte_add(CHUNK), CHUNK - before),
    ] {
        if len > 0 {
            // SAFETY: part of what was just mapped, on one side of the chunk. If the kernel refuses, for want
            // of mappings, that part stays: it is not touched, so it costs addresses only.
            let _refused = unsafe { munmap(start, len) };
        }
    }
    let Some(chunk) = NonNull::new(chunk.cast::<Chunk>()) else {
        unreachable!("nothing is mapped at address zero");
    };
    // SAFETY: mapped, aligned, and large enough.
    unsafe {
        chunk.write(Chunk {
            owner: Arc::clone(owner),
            links: Links {
                free: None,
                untouched: 1,
                used: 0,
                at: 0,
            },
        });
    }
    Ok(chunk)
}

/// # Safety
/// The chunk is mapped, none of its blocks is anybody's, no list has it, and the caller keeps its owner.
unsafe fn unmap(chunk: NonNull<Chunk>) {
    // SAFETY: the header is not used after this.
    drop(unsafe { ptr::read(&raw const (*chunk.as_ptr()).owner) });
    // SAFETY: nobody uses it. If the kernel refuses, for want of mappings, it stays; nothing better can be done.
    let _refused = unsafe { munmap(chunk.as_ptr().cast(), CHUNK) };
}

#[cfg(all(test, not(sisal_loom), not(miri)))]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::fiber::FiberPtr;

    #[derive(Default)]
    struct Owner(Records);

    impl Schedule for Owner {
        fn schedule(&self, _: FiberPtr) {
            unreachable!()
        }
        fn records(&self) -> &Records {
            &self.0
        }
    }

    fn owner() -> Arc<dyn Schedule> {
        Arc::new(Owner::default())
    }

    fn take(owner: &Arc<dyn Schedule>, most: usize) -> Vec<NonNull<u8>> {
        let mut blocks = Vec::new();
        super::take(owner, &mut blocks, most).unwrap();
        blocks
    }

    fn chunks(owner: &Arc<dyn Schedule>) -> (usize, usize) {
        let state = owner.records().0.lock();
        (state.partial.len(), state.spare.len())
    }

    /// Nobody but its chunks keeps it; none does after its end.
    fn end(owner: Arc<dyn Schedule>) {
        owner.records().close();
        let left = Arc::downgrade(&owner);
        drop(owner);
        assert!(left.upgrade().is_none());
    }

    #[test]
    fn blocks_are_apart_and_hold_what_is_written() {
        let records = owner();
        let blocks = take(&records, 3 * BLOCKS);
        assert_eq!(blocks.len(), 3 * BLOCKS);
        for (n, block) in (0_u64..).zip(&blocks) {
            // SAFETY: a block of ours, of that many bytes.
            unsafe { block.cast::<[u64; BLOCK / 8]>().write([n; BLOCK / 8]) };
        }
        for (n, block) in (0_u64..).zip(&blocks) {
            // SAFETY: as above.
            let read = unsafe { block.cast::<[u64; BLOCK / 8]>().read() };
            assert_eq!(read, [n; BLOCK / 8]);
        }
        assert_eq!(blocks.iter().collect::<HashSet<_>>().len(), 3 * BLOCKS);
        // SAFETY: not used again.
        unsafe { give(blocks) };
        assert_eq!(chunks(&records), (0, 3));
        end(records);
    }

    #[test]
    fn in_any_order_all_chunks_come_back() {
        let records = owner();
        let mut blocks = take(&records, (SPARE + 9) * BLOCKS);
        for seed in 1_u64.. {
            // Every other one of an order that is not theirs.
            let len = blocks.len() as u64;
            blocks.sort_by_key(|block| block.addr().get() as u64 * (2 * seed + 1) % 1_000_003);
            // SAFETY: not used again.
            unsafe { give(blocks.drain(len as usize / 2..)) };
            if blocks.is_empty() {
                break;
            }
            let (partial, spare) = chunks(&records);
            assert!(partial * BLOCKS >= blocks.len() && spare <= SPARE);
            if seed < 4 {
                blocks.extend(take(&records, 1000));
            }
        }
        assert_eq!(chunks(&records), (0, SPARE));
        end(records);
    }

    /// Else a program whose fibers come in bursts maps and faults in all of their records for each.
    #[test]
    fn bursts_keep_their_chunks() {
        let records = owner();
        for burst in 0..3 {
            let blocks = take(&records, 40 * BLOCKS);
            // SAFETY: not used again.
            unsafe { give(blocks) };
            let spare = chunks(&records).1;
            assert_eq!(spare, if burst == 0 { SPARE } else { 40 }, "burst {burst}");
        }
        end(records);
    }

    #[test]
    fn blocks_outlive_their_runtime() {
        let (a, b) = (owner(), owner());
        let left = Arc::downgrade(&a);
        let mut mixed = take(&a, 5);
        mixed.extend(take(&b, 5));
        mixed.swap(1, 7);
        a.records().close();
        drop(a);
        assert!(left.upgrade().is_some());
        // SAFETY: not used again.
        unsafe { give(mixed) };
        assert!(left.upgrade().is_none(), "the last chunk keeps it");
        assert_eq!(chunks(&b), (0, 1));
        end(b);
    }
}
