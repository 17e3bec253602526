//! Many stacks in one mapping: taking, giving back, colours, sizes, errors.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::collections::HashSet;
use std::io::ErrorKind;

use switch_asm::stack::{MIN_STACK_SIZE, STACK_ALIGNMENT, Slab, SlabStack, Stack};
use switch_asm::{Coroutine, CoroutineResult};

const KIB: usize = 1024;
const PAGE: usize = 4096;

fn take(slab: &Slab) -> SlabStack {
    slab.take().expect("a guard").expect("a free stack")
}

#[test]
fn all_of_them_and_no_more() {
    let slab = Slab::new(16 * KIB, PAGE, 10).expect("a slab");
    assert!(slab.is_idle());
    let stacks: Vec<_> = (0..slab.capacity()).map(|_| take(&slab)).collect();
    assert!(!slab.is_idle());
    assert!(slab.take().expect("no error").is_none());

    let mut ranges: Vec<_> = stacks
        .iter()
        .map(|s| s.limit().get()..s.base().get())
        .collect();
    ranges.sort_by_key(|range| range.start);
    assert!(
        ranges.windows(2).all(|pair| pair[0].end <= pair[1].start),
        "{ranges:?}"
    );
    drop(stacks);
    assert!(slab.is_idle());
}

#[test]
fn the_last_one_back_is_the_first_one_out() {
    let slab = Slab::new(16 * KIB, PAGE, 10).expect("a slab");
    let (a, b) = (take(&slab), take(&slab));
    let (at_a, at_b) = (a.base(), b.base());
    drop(a);
    drop(b);
    assert_eq!(take(&slab).base(), at_b);
    let (first, second) = (take(&slab), take(&slab));
    assert_eq!((first.base(), second.base()), (at_b, at_a));
    assert!(!slab.is_idle());
}

#[test]
fn a_coroutine_on_each() {
    let slab = Slab::new(16 * KIB, PAGE, 200).expect("a slab");
    for _ in 0..2 {
        let mut coroutines: Vec<_> = (0..200_u32)
            .map(|i| {
                Coroutine::<u32, u32, u32, _>::with_stack(take(&slab), move |yielder, n| {
                    yielder.suspend(n + i) * i
                })
            })
            .collect();
        for (i, coroutine) in (0..).zip(&mut coroutines) {
            assert_eq!(coroutine.resume(1), CoroutineResult::Yield(1 + i));
        }
        for (i, coroutine) in (0..).zip(&mut coroutines) {
            assert_eq!(coroutine.resume(2), CoroutineResult::Return(2 * i));
        }
    }
    assert!(slab.is_idle());
}

#[test]
fn bases_are_coloured() {
    let slab = Slab::new(16 * KIB, PAGE, 64).expect("a slab");
    let stacks: Vec<_> = (0..64).map(|_| take(&slab)).collect();
    let colour = |s: &SlabStack| s.base().get().wrapping_neg() % PAGE;
    assert!(
        stacks
            .iter()
            .all(|s| s.base().get().is_multiple_of(STACK_ALIGNMENT))
    );
    assert!(stacks.iter().all(|s| colour(s) <= 512));
    assert!(
        stacks
            .windows(2)
            .all(|pair| colour(&pair[0]) != colour(&pair[1]))
    );
    let lines: HashSet<_> = stacks.iter().map(|s| colour(s) / 64).collect();
    assert!(lines.len() >= 4, "{lines:?}");
}

#[test]
fn a_stack_of_one_page_keeps_all_of_it() {
    let slab = Slab::new(MIN_STACK_SIZE, PAGE, 16).expect("a slab");
    for _ in 0..16 {
        let stack = std::mem::ManuallyDrop::new(take(&slab));
        assert_eq!(
            stack.base().get() - stack.limit().get(),
            MIN_STACK_SIZE + PAGE
        );
    }
}

#[test]
fn stacks_outlive_the_handle() {
    let slab = Slab::new(16 * KIB, PAGE, 2).expect("a slab");
    let clone = slab.clone();
    let stack = take(&slab);
    drop(slab);
    assert!(!clone.is_idle());
    drop(clone);
    let mut coroutine = Coroutine::<(), (), usize, _>::with_stack(stack, |_, ()| {
        std::hint::black_box([3_u8; 4096])
            .iter()
            .map(|&b| usize::from(b))
            .sum()
    });
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(3 * 4096));
}

#[test]
fn stacks_go_to_other_threads_and_back() {
    let slab = Slab::new(16 * KIB, PAGE, 8).expect("a slab");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..200_u64 {
                    let mut coroutine =
                        Coroutine::<u64, (), u64, _>::with_stack(take(&slab), |_, n| n + 1);
                    assert_eq!(coroutine.resume(n), CoroutineResult::Return(n + 1));
                    let stack = coroutine.into_stack();
                    std::thread::spawn(move || drop(stack))
                        .join()
                        .expect("no panic");
                }
            });
        }
    });
    assert!(slab.is_idle());
}

#[test]
fn discarding_zeroes_the_deep_part_and_keeps_the_rest() {
    let slab = Slab::new(64 * KIB, PAGE, 2).expect("a slab");
    let stack = take(&slab);
    let (top, bottom) = (stack.base().get() - 8, stack.limit().get() + PAGE);
    let word = |address| std::ptr::with_exposed_provenance_mut::<u64>(address);
    // SAFETY: words of a stack that is ours and that nothing runs on.
    unsafe {
        word(top).write(1);
        word(bottom).write(2);
        stack.discard_below(PAGE).expect("unlocked memory");
        assert_eq!((word(top).read(), word(bottom).read()), (1, 0));
        stack.discard_below(usize::MAX).expect("nothing to do");
        assert_eq!(word(top).read(), 1);
    }
}

#[test]
fn sizes_are_whole_pages() {
    let slab = Slab::new(5000, 1, 1).expect("a slab");
    assert_eq!(
        (slab.stack_size(), slab.guard_size(), slab.capacity()),
        (8192, 4096, 1)
    );
}

#[test]
fn sizes_without_sense_are_errors() {
    let cases = [
        (0, PAGE, 1, "at least 4096 bytes, not 0"),
        (MIN_STACK_SIZE - 1, PAGE, 1, "at least 4096 bytes, not 4095"),
        (16 * KIB, 0, 1, "needs a guard"),
        (16 * KIB, PAGE, 0, "zero stacks"),
        (usize::MAX, PAGE, 1, "exceeds the address space"),
        (16 * KIB, usize::MAX, 1, "exceeds the address space"),
        (1 << 40, PAGE, 1 << 30, "exceeds the address space"),
        (16 * KIB, PAGE, usize::MAX, "exceeds the address space"),
    ];
    for (stack_size, guard_size, count, text) in cases {
        let error = Slab::new(stack_size, guard_size, count).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(text), "{error} / {text}");
    }
}

#[test]
fn more_than_the_kernel_has_is_an_error() {
    let error = Slab::new(1 << 40, PAGE, 1000).expect_err("a thousand times 1 TiB");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains("cannot map"), "{error}");
}

#[test]
fn slabs_and_stacks_are_send_and_sync() {
    fn check<T: Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Slab>();
    check::<SlabStack>();
}
