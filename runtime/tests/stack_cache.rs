//! Which stack a fiber gets: the one that its worker used last, of its own size, and never one that another
//! fiber has.

mod common;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Count, one_on_each_worker, passes_in_child, reach, role, runtime, until, watchdog};
use sisal::fiber::{self, JoinHandle};

const KIB: usize = 1024;

/// Where the caller's frame is: the same in every fiber whose closure is the same, on the same stack.
#[inline(never)]
fn here() -> usize {
    let local = std::hint::black_box(0_u8);
    (&raw const local).addr()
}

/// A fiber that says on which stack it is.
fn one(size: Option<usize>) -> JoinHandle<usize> {
    let builder = match size {
        Some(size) => fiber::Builder::new().stack_size(size),
        None => fiber::Builder::new(),
    };
    builder.spawn(here).unwrap()
}

/// The same, and it stays there until it is unparked.
fn staying() -> JoinHandle<usize> {
    let there = Count::new();
    let told = there.clone();
    let fiber = fiber::spawn(move || {
        let here = here();
        told.add();
        fiber::park();
        here
    });
    until(|| there.get() == 1);
    fiber
}

#[test]
fn the_last_one_used_is_the_next_one_given() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let first = one(None).join().unwrap();
        for _ in 0..100 {
            assert_eq!(one(None).join().unwrap(), first);
        }

        let stay: Vec<_> = (0..5).map(|_| staying()).collect();
        // They end in this order.
        let mut ended = Vec::new();
        for handle in stay {
            handle.fiber().unpark();
            ended.push(handle.join().unwrap());
        }
        let distinct: HashSet<_> = ended.iter().collect();
        assert_eq!(distinct.len(), 5);
        let next = staying();
        let after = staying();
        for handle in [&next, &after] {
            handle.fiber().unpark();
        }
        assert_eq!(next.join().unwrap(), ended[4]);
        assert_eq!(after.join().unwrap(), ended[3]);
    });
}

#[test]
fn each_worker_has_its_own() {
    let _watchdog = watchdog(60);
    runtime(3).run(|| {
        let stacks = one_on_each_worker(3, |_| here());
        let distinct: HashSet<_> = stacks.iter().collect();
        assert_eq!(distinct.len(), 3);
    });
}

#[test]
fn sizes_do_not_mix() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let sizes = [Some(64 * KIB), None, Some(KIB * KIB), Some(100_000)];
        let stacks: Vec<_> = sizes.iter().map(|s| one(*s).join().unwrap()).collect();
        assert_eq!(stacks.iter().collect::<HashSet<_>>().len(), sizes.len());
        for _ in 0..3 {
            for (size, stack) in sizes.iter().zip(&stacks) {
                assert_eq!(one(*size).join().unwrap(), *stack, "{size:?}");
            }
        }
        // One class.
        assert_eq!(one(Some(110_000)).join().unwrap(), stacks[3]);
        assert_eq!(one(Some(256 * KIB)).join().unwrap(), stacks[1]);

        // As large as was asked for, whatever ran before.
        for size in [64 * KIB, 512 * KIB, KIB * KIB] {
            let builder = fiber::Builder::new().stack_size(size);
            let deep = builder.spawn(move || reach(size - 12 * KIB, &mut || {}));
            assert!(deep.unwrap().join().unwrap() >= size - 12 * KIB);
        }
    });
}

/// More sizes than a worker has caches for, more stacks than fit into one.
#[test]
fn more_than_the_caches_hold() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let ended = Count::new();
    for _ in 0..3 {
        let there = Count::new();
        runtime.run(|| {
            let fibers: Vec<_> = (1..=20)
                .flat_map(|size| std::iter::repeat_n(size * 32 * KIB, 40))
                .map(|size| {
                    let (there, ended) = (there.clone(), ended.clone());
                    let builder = fiber::Builder::new().stack_size(size);
                    let fiber = builder.spawn(move || {
                        there.add();
                        fiber::park();
                        ended.add();
                        here()
                    });
                    fiber.unwrap()
                })
                .collect();
            until(|| there.get() == 20 * 40);
            fibers.iter().for_each(|fiber| fiber.fiber().unpark());
            let stacks: HashSet<_> = fibers.into_iter().map(|f| f.join().unwrap()).collect();
            assert_eq!(stacks.len(), 20 * 40);
        });
    }
    assert_eq!(ended.get(), 3 * 20 * 40);
}

/// Fibers of many sizes on several workers say which stack they are on, and leave something there.
#[test]
fn no_stack_has_two_fibers() {
    static IN_USE: Mutex<Option<HashSet<usize>>> = Mutex::new(None);
    static RANDOM: AtomicU64 = AtomicU64::new(0);

    #[inline(never)]
    fn live(number: u64) {
        let mine = std::hint::black_box([number; 64]);
        let at = mine.as_ptr().addr();
        // Two locals of two live fibers cannot be at one address unless they share a stack.
        let new = IN_USE.lock().unwrap().as_mut().unwrap().insert(at);
        assert!(new, "two fibers at {at:#x}");
        for _ in 0..random() % 4 {
            fiber::yield_now();
        }
        if random().is_multiple_of(8) {
            reach(20 * KIB, &mut fiber::yield_now);
        }
        assert_eq!(std::hint::black_box(&mine), &[number; 64]);
        assert!(IN_USE.lock().unwrap().as_mut().unwrap().remove(&at));
    }

    fn random() -> u64 {
        let mut x = RANDOM.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    let _watchdog = watchdog(240);
    let seed = u64::from(std::process::id());
    println!("seed: {seed}");
    RANDOM.store(seed, Ordering::Relaxed);
    *IN_USE.lock().unwrap() = Some(HashSet::new());
    let runtime = runtime(3);
    for burst in 0..30 {
        runtime.run(|| {
            let fibers: Vec<_> = (0..400)
                .map(|n| {
                    let sizes = [None, None, Some(64 * KIB), Some(300_000)];
                    let builder = match sizes[random() as usize % sizes.len()] {
                        Some(size) => fiber::Builder::new().stack_size(size),
                        None => fiber::Builder::new(),
                    };
                    builder.spawn(move || live(burst * 1000 + n)).unwrap()
                })
                .collect();
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        });
    }
    assert!(IN_USE.lock().unwrap().as_ref().unwrap().is_empty());
}

/// No room for more: those that have no stack end with an error, the rest go on, and later there is room again.
#[test]
fn without_room_for_a_stack() {
    let _watchdog = watchdog(120);
    if role().is_none() {
        return passes_in_child("without_room_for_a_stack", "limited", &[]);
    }
    let runtime = runtime(2);
    // So that what else is needed is there.
    runtime.run(|| one(None).join().unwrap());
    limit_address_space(1 << 30);
    let (made, dropped, ran) = (Count::new(), Count::new(), Count::new());
    runtime.run(|| {
        let fibers: Vec<_> = (0..200)
            .map(|_| {
                made.add();
                let (guard, ran) = (dropped.on_drop(), ran.clone());
                let builder = fiber::Builder::new().stack_size(16 << 20);
                let fiber = builder.spawn(move || {
                    let _guard = guard;
                    ran.add();
                    fiber::park();
                });
                fiber.unwrap()
            })
            .collect();
        until(|| ran.get() + dropped.get() == 200);
        fibers.iter().for_each(|fiber| fiber.fiber().unpark());
        let results: Vec<_> = fibers.into_iter().map(JoinHandle::join).collect();
        let refused = results.iter().filter(|result| result.is_err()).count();
        println!("{refused} of 200 refused");
        assert!((100..200).contains(&refused), "{refused}");
        assert_eq!(ran.get(), 200 - refused);
        assert_eq!((made.get(), dropped.get()), (200, 200));
        for error in results.into_iter().filter_map(Result::err) {
            let text = error.to_string();
            assert!(!error.is_panic() && !error.is_cancelled());
            for part in ["could not start", "cannot map", "`ulimit -v`", file!()] {
                assert!(text.contains(part), "no {part} in: {text}");
            }
        }
        // There is room again.
        let builder = fiber::Builder::new().stack_size(16 << 20);
        builder.spawn(|| ()).unwrap().join().unwrap();
    });
}

/// Leaves so many bytes.
fn limit_address_space(left: u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let limit = libc::rlimit {
        rlim_cur: kib * 1024 + left,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads one value of the right type.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
}
