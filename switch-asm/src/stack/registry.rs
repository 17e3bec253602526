//! All stacks of this crate that are alive, by address: what a signal handler
//! asks. Must not know what a fault is.
//!
//! # Shape
//!
//! The address space is cut into chunks of 16 MiB. A table of two levels leads
//! from a chunk to the list of the grids that have memory in it. Large slabs
//! have chunks to themselves; small ones and single stacks share one, as many as
//! fit into 16 MiB. So a lookup takes a bounded number of steps, however many
//! stacks there are.
//!
//! # A reader never waits
//!
//! The reader is a signal handler: it may have interrupted a writer, on its own
//! thread. So:
//!
//! 1. Writers hold `WRITERS`; readers hold nothing.
//! 2. Tables and nodes are never freed and never leave their place. A node that
//!    is not needed is empty, and used again for the same chunk.
//! 3. A node has a version, odd while it is written. A reader skips a node that
//!    is odd or changes under it: it belongs to a grid whose making or unmaking
//!    is under way, so that no stack of it runs, and none of its guards is the
//!    one that somebody just met.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::boxed::Box;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::grid::{Grid, Verdict};

/// Addresses of user memory on x86_64, without five-level paging, which a
/// program has to ask for.
const ADDRESS_BITS: u32 = 47;
const CHUNK_BITS: u32 = 24;
const LEAF_BITS: u32 = 12;
const ROOT_BITS: u32 = ADDRESS_BITS - CHUNK_BITS - LEAF_BITS;

static ROOT: [AtomicPtr<Leaf>; 1 << ROOT_BITS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 1 << ROOT_BITS];
static WRITERS: Mutex<()> = Mutex::new(());

struct Leaf([AtomicPtr<Node>; 1 << LEAF_BITS]);

/// A grid, or nothing.
struct Node {
    /// Odd while the rest is written.
    version: AtomicUsize,
    start: AtomicUsize,
    stack_size: AtomicUsize,
    guard_size: AtomicUsize,
    /// Zero: nothing.
    count: AtomicUsize,
    /// Never changes.
    next: *const Node,
}

/// Makes the stacks of `grid` findable.
pub(super) fn insert(grid: &Grid) {
    let _writer = writer();
    for chunk in chunks(grid) {
        let list = list(chunk);
        match nodes(list).find(|node| node.is_empty()) {
            Some(node) => node.write(*grid),
            None => add(list, grid),
        }
    }
}

/// The opposite of [`insert`].
pub(super) fn remove(grid: &Grid) {
    let _writer = writer();
    for chunk in chunks(grid) {
        // No other live grid is the same.
        if let Some(node) = nodes(list(chunk)).find(|node| node.read() == Some(*grid)) {
            node.write(Grid { count: 0, ..*grid });
        }
    }
}

/// What `address` is. Takes no lock, allocates nothing: fit for a signal
/// handler.
pub(crate) fn locate(address: usize) -> Verdict {
    if address >> ADDRESS_BITS != 0 {
        return Verdict::Foreign;
    }
    let (root, leaf) = place(address >> CHUNK_BITS);
    // Acquire: pairs with the Release in `list`.
    let table = ROOT[root].load(Ordering::Acquire);
    // SAFETY: null or published, and never freed (rule 2).
    let Some(table) = (unsafe { table.as_ref() }) else {
        return Verdict::Foreign;
    };
    nodes(&table.0[leaf])
        .filter_map(Node::read)
        .map(|grid| grid.locate(address))
        .find(|verdict| *verdict != Verdict::Foreign)
        .unwrap_or(Verdict::Foreign)
}

fn writer() -> MutexGuard<'static, ()> {
    // A writer that panics leaves a node empty or odd, which readers skip.
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn chunks(grid: &Grid) -> std::ops::RangeInclusive<usize> {
    assert!(grid.count > 0 && grid.end() >> ADDRESS_BITS == 0);
    grid.start >> CHUNK_BITS..=(grid.end() - 1) >> CHUNK_BITS
}

fn place(chunk: usize) -> (usize, usize) {
    (chunk >> LEAF_BITS, chunk & ((1 << LEAF_BITS) - 1))
}

/// The list of a chunk, for a writer.
fn list(chunk: usize) -> &'static AtomicPtr<Node> {
    let (root, leaf) = place(chunk);
    let mut table = ROOT[root].load(Ordering::Acquire);
    if table.is_null() {
        // Not by way of the stack, which may be a small one.
        let layout = Layout::new::<Leaf>();
        // SAFETY: not of size zero; all zero is a table of null pointers.
        table = unsafe { alloc_zeroed(layout) }.cast();
        if table.is_null() {
            handle_alloc_error(layout);
        }
        // Release: pairs with the Acquire in `locate`. The lock keeps other
        // writers away.
        ROOT[root].store(table, Ordering::Release);
    }
    // SAFETY: never freed (rule 2).
    unsafe { &(*table).0[leaf] }
}

/// Puts a new node first.
fn add(list: &AtomicPtr<Node>, grid: &Grid) {
    let node = Box::leak(Box::new(Node {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(grid.start),
        stack_size: AtomicUsize::new(grid.stack_size),
        guard_size: AtomicUsize::new(grid.guard_size),
        count: AtomicUsize::new(grid.count),
        next: list.load(Ordering::Relaxed),
    }));
    // Release: pairs with the Acquire in `nodes`.
    list.store(node, Ordering::Release);
}

fn nodes(list: &AtomicPtr<Node>) -> impl Iterator<Item = &'static Node> {
    // Acquire: pairs with the Release in `add`.
    let mut next = list.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: null or published, and never freed (rule 2).
        let node: &'static Node = unsafe { next.as_ref() }?;
        next = node.next;
        Some(node)
    })
}

impl Node {
    /// For a writer.
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// For a writer.
    fn write(&self, grid: Grid) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version | 1, Ordering::Relaxed);
        // Release: whoever sees a field below sees the odd version. Pairs with
        // the Acquire fence in `read`.
        fence(Ordering::Release);
        self.start.store(grid.start, Ordering::Relaxed);
        self.stack_size.store(grid.stack_size, Ordering::Relaxed);
        self.guard_size.store(grid.guard_size, Ordering::Relaxed);
        self.count.store(grid.count, Ordering::Relaxed);
        // Release: pairs with the first load in `read`.
        self.version
            .store((version | 1).wrapping_add(1), Ordering::Release);
    }

    /// The grid, unless there is none or it is being written.
    fn read(&self) -> Option<Grid> {
        // Acquire: pairs with the last store in `write`.
        let before = self.version.load(Ordering::Acquire);
        let grid = Grid {
            start: self.start.load(Ordering::Relaxed),
            stack_size: self.stack_size.load(Ordering::Relaxed),
            guard_size: self.guard_size.load(Ordering::Relaxed),
            count: self.count.load(Ordering::Relaxed),
        };
        // Acquire: pairs with the Release fence in `write`.
        fence(Ordering::Acquire);
        let after = self.version.load(Ordering::Relaxed);
        (before == after && before & 1 == 0 && grid.count != 0).then_some(grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far from what the kernel hands out.
    const FAR: usize = 0x1234 << 24;

    fn grid(start: usize, count: usize) -> Grid {
        Grid {
            start,
            stack_size: 0x4000,
            guard_size: 0x1000,
            count,
        }
    }

    #[test]
    fn found_as_long_as_registered() {
        let one = grid(FAR + 0x1000, 3);
        let two = grid(one.end(), 5000);
        for _ in 0..3 {
            insert(&one);
            insert(&two);
            for index in [0, 2] {
                let guard = one.limit(index).get();
                assert_eq!(locate(guard), one.locate(guard));
                assert!(matches!(locate(guard), Verdict::Guard(_)));
            }
            for index in [0, 1, 3000, 4999] {
                let guard = two.limit(index).get() + 0xfff;
                assert_eq!(locate(guard), two.locate(guard));
                assert!(matches!(locate(guard), Verdict::Guard(_)));
                assert!(matches!(locate(guard + 1), Verdict::Inside(_)));
            }
            assert_eq!(locate(two.end()), Verdict::Foreign);
            remove(&one);
            remove(&two);
            assert_eq!(locate(one.start), Verdict::Foreign);
            assert_eq!(locate(two.start), Verdict::Foreign);
        }
    }

    #[test]
    fn nodes_are_used_again() {
        let chunk = (FAR >> CHUNK_BITS) + 100;
        for n in 0..50 {
            let grid = grid((chunk << CHUNK_BITS) + n * 0x1000, 1);
            insert(&grid);
            remove(&grid);
        }
        assert_eq!(nodes(list(chunk)).count(), 1);
    }

    #[test]
    fn a_node_that_is_written_is_skipped() {
        let grid = grid(FAR + (200 << CHUNK_BITS), 1);
        insert(&grid);
        let node = nodes(list(grid.start >> CHUNK_BITS))
            .next()
            .expect("it is there");
        node.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(locate(grid.start), Verdict::Foreign);
        node.version.fetch_add(1, Ordering::Relaxed);
        assert!(matches!(locate(grid.start), Verdict::Guard(_)));
    }

    #[test]
    fn no_address_is_out_of_range() {
        for address in [0, 1, usize::MAX, 1 << 47, (1 << 47) - 1, 1 << 63] {
            assert_eq!(locate(address), Verdict::Foreign);
        }
    }

    #[test]
    fn readers_beside_writers() {
        let stays = grid(FAR + (300 << CHUNK_BITS), 4);
        insert(&stays);
        std::thread::scope(|scope| {
            for n in 1..3 {
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let grid = grid(stays.start + n * 0x10_0000, 2);
                        insert(&grid);
                        remove(&grid);
                    }
                });
            }
            for _ in 0..20_000 {
                assert!(matches!(locate(stays.start), Verdict::Guard(_)));
                // Either nothing or whole.
                let other = grid(stays.start + 0x10_0000, 2);
                let verdict = locate(other.start);
                assert!(verdict == Verdict::Foreign || verdict == other.locate(other.start));
            }
        });
    }
}
