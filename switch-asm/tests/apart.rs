//! Stacks whose base frame is apart: they switch, walk and end as others do, and nothing but their own frames is on them.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::backtrace::Backtrace;

use switch_asm::arch::{self, ApartFrame, EncodedValue, SavedRegs};
use switch_asm::stack::{DefaultStack, Stack, StackPointer};

/// Sends back its argument plus the object, until it is sent zero.
///
/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn adder(
    mut arg: EncodedValue,
    link: &mut StackPointer,
    step: *mut usize,
) -> ! {
    // SAFETY: we own the object and are on our own stack.
    unsafe {
        let step = step.read();
        while arg != 0 {
            arg = arch::switch_yield(arg + step, link);
        }
        arch::switch_and_reset(99, link)
    }
}

#[test]
fn two_take_turns_and_end() {
    let stacks = [(); 2].map(|()| DefaultStack::new(64 * 1024).expect("a stack"));
    let frames = [const { ApartFrame::new() }; 2];
    // Twice: a stack that ended is as good as new, and so is its frame.
    for step in [3, 4] {
        // SAFETY: the stacks and frames are ours, and each of `sps` is always where its stack waits.
        unsafe {
            let mut sps =
                [0, 1].map(|at| arch::init_stack_apart(&stacks[at], &frames[at], adder, step + at));
            for n in 1..1000 {
                for at in [0, 1] {
                    let (sum, next) = arch::switch_and_link(n, sps[at], frames[at].end());
                    assert_eq!(sum, n + step + at);
                    sps[at] = next.expect("it is suspended");
                }
            }
            for at in [0, 1] {
                let end = arch::switch_and_link(0, sps[at], frames[at].end());
                assert_eq!(end, (99, None));
            }
        }
    }
}

#[test]
fn a_frame_of_no_stack_may_be_sent() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&ApartFrame::new());
}

#[test]
fn the_object_is_at_the_base() {
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let frame = ApartFrame::new();
    // SAFETY: the stack and the frame are ours; it is never resumed, and its object needs no destructor.
    let SavedRegs { rsp, .. } = unsafe {
        let sp = arch::init_stack_apart(&stack, &frame, adder, 3);
        arch::saved_regs(sp)
    };
    assert_eq!(rsp + 16, stack.base().get(), "nothing is above it");
    assert_eq!(
        frame.parent_link().addr() + arch::PARENT_LINK_OFFSET,
        frame.end().get()
    );
}

#[test]
fn an_object_that_never_ran_is_dropped_in_place() {
    /// # Safety
    ///
    /// An `InitialFunc` that is never called.
    unsafe extern "C-unwind" fn never(_: usize, _: &mut StackPointer, _: *mut Box<u32>) -> ! {
        unreachable!()
    }
    /// # Safety
    ///
    /// Points to a box that is not used again.
    unsafe fn drop_it(object: *mut u8) {
        // SAFETY: this function's contract.
        let boxed = unsafe { object.cast::<Box<u32>>().read() };
        assert_eq!(*boxed, 7);
    }
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let frame = ApartFrame::new();
    // SAFETY: the stack and the frame are ours, and never run.
    unsafe {
        let sp = arch::init_stack_apart(&stack, &frame, never, Box::new(7));
        arch::drop_initial_obj(stack.base(), sp, drop_it);
    }
}

/// Two backtraces, by the address of a place for each.
///
/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn walker(
    mut place: EncodedValue,
    link: &mut StackPointer,
    _: *mut (),
) -> ! {
    // SAFETY: the test waits, and gave us the place; we are on our own stack.
    unsafe {
        loop {
            let trace = Backtrace::force_capture().to_string();
            *std::ptr::with_exposed_provenance_mut::<String>(place) = trace;
            place = arch::switch_yield(0, link);
        }
    }
}

/// # Safety
///
/// `sp` is where the stack with this frame waits.
#[inline(never)]
unsafe fn the_first_resumer(sp: StackPointer, frame: &ApartFrame, place: usize) -> StackPointer {
    // SAFETY: this function's contract.
    let (_, sp) = unsafe { arch::switch_and_link(place, sp, frame.end()) };
    std::hint::black_box(sp.expect("it is suspended"))
}

/// # Safety
///
/// As above.
#[inline(never)]
unsafe fn the_second_resumer(sp: StackPointer, frame: &ApartFrame, place: usize) -> StackPointer {
    // SAFETY: this function's contract.
    let (_, sp) = unsafe { arch::switch_and_link(place, sp, frame.end()) };
    std::hint::black_box(sp.expect("it is suspended"))
}

#[test]
fn a_walk_goes_on_in_whoever_resumed_it() {
    let stack = DefaultStack::new(256 * 1024).expect("a stack");
    // On the heap: neither above nor below either stack for certain.
    let frame = Box::new(ApartFrame::new());
    let mut traces = [String::new(), String::new()];
    let places = traces
        .each_mut()
        .map(|trace| (&raw mut *trace).expose_provenance());
    // SAFETY: the stack and the frame are ours, and `sp` is where it waits. It owns nothing that needs a destructor.
    unsafe {
        let sp = arch::init_stack_apart(&stack, &frame, walker, ());
        let sp = the_first_resumer(sp, &frame, places[0]);
        the_second_resumer(sp, &frame, places[1]);
    }
    let here = "a_walk_goes_on_in_whoever_resumed_it";
    for (trace, resumer) in traces
        .iter()
        .zip(["the_first_resumer", "the_second_resumer"])
    {
        let mut rest = trace.as_str();
        for name in ["walker", "stack_init_trampoline", resumer, here] {
            let at = rest
                .find(name)
                .unwrap_or_else(|| panic!("{name} is missing or misplaced:\n{trace}"));
            rest = &rest[at + name.len()..];
        }
    }
}

/// Follows the frame pointers, and notes the first return addresses.
///
/// # Safety
///
/// An `InitialFunc`.
unsafe extern "C-unwind" fn chained(place: EncodedValue, link: &mut StackPointer, _: *mut ()) -> ! {
    let link = &raw mut *link;
    // SAFETY: the test waits, and gave us the place. While this stack runs the link is the address of a frame record of whoever
    // resumed it: RBP, then RIP.
    unsafe {
        let record = link.cast::<*const [usize; 2]>().read();
        *std::ptr::with_exposed_provenance_mut::<usize>(place) = (*record)[1];
        arch::switch_and_reset(0, link)
    }
}

#[test]
fn the_link_leads_to_the_resumers_frame() {
    #[inline(never)]
    fn resumer(sp: StackPointer, frame: &ApartFrame, place: usize) -> usize {
        // SAFETY: called with what was made ready below.
        let (value, _) = unsafe { arch::switch_and_link(place, sp, frame.end()) };
        std::hint::black_box(value)
    }
    let stack = DefaultStack::new(64 * 1024).expect("a stack");
    let frame = ApartFrame::new();
    let mut address = 0_usize;
    // SAFETY: the stack and the frame are ours.
    let sp = unsafe { arch::init_stack_apart(&stack, &frame, chained, ()) };
    resumer(sp, &frame, (&raw mut address).expose_provenance());
    let start = resumer as *const () as usize;
    assert!((start..start + 4096).contains(&address), "{address:#x}");
}
