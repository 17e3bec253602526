//! Panics that pass the frames.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

use switch_asm::unwind_info::Gpr;
use switch_asm::unwind_info::winx64::Context;

use crate::code::OUTER;
use crate::region::Region;
use crate::system::RawContext;
use crate::walks::is_kept;

pub(crate) const TEXT: &str = "through two frames and a half";

extern "C-unwind" fn panics(_: usize) {
    panic_any(TEXT);
}

/// Adds to a list when it is dropped.
struct Guard<'a>(&'a RefCell<Vec<&'static str>>, &'static str);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[inline(never)]
fn call<'a>(
    region: &Region,
    dropped: &'a RefCell<Vec<&'static str>>,
    name: &'static str,
) -> Guard<'a> {
    let guard = Guard(dropped, name);
    region.call(panics, 0);
    guard
}

pub(crate) fn passes() {
    let region = Region::new(None, &[]);
    let dropped = RefCell::new(Vec::new());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _outside = Guard(&dropped, "outside");
        call(&region, &dropped, "the caller");
    }));
    let payload = caught.expect_err("it panics");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&TEXT));
    assert_eq!(*dropped.borrow(), ["the caller", "outside"]);
}

/// What the system told the handler: registers, frame base, its own data, the function.
struct Told {
    context: Context,
    frame: u64,
    data: [u8; 4],
    pc: u64,
}

thread_local! {
    static TOLD: RefCell<Vec<Told>> = const { RefCell::new(Vec::new()) };
}

const DATA: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];
const CONTINUE_SEARCH: i32 = 1;
const UNWINDING: u32 = 2;

/// Asked about `outer` while it is unwound: its registers are in the dispatcher's context.
extern "system" fn on_unwind(
    record: *const u32,
    frame: u64,
    _: *mut u8,
    dispatcher: *const u64,
) -> i32 {
    // SAFETY: an EXCEPTION_RECORD, whose second word is its flags.
    let flags = unsafe { *record.add(1) };
    if flags & UNWINDING != 0 {
        // SAFETY: a DISPATCHER_CONTEXT: the pc is its first word, the context its sixth, the handler's data its eighth.
        let (pc, context, data) = unsafe {
            (
                *dispatcher,
                *(*dispatcher.add(5) as *const RawContext),
                *(*dispatcher.add(7) as *const [u8; 4]),
            )
        };
        let told = Told {
            context: context.registers(),
            frame,
            data,
            pc,
        };
        TOLD.with(|all| all.borrow_mut().push(told));
    }
    CONTINUE_SEARCH
}

pub(crate) fn registers() {
    let region = Region::new(Some(on_unwind), &DATA);
    let dropped = RefCell::new(Vec::new());
    let caught = catch_unwind(AssertUnwindSafe(|| {
        call(&region, &dropped, "the caller");
    }));
    assert!(caught.is_err());
    assert_eq!(*dropped.borrow(), ["the caller"]);
    let told = TOLD.with(RefCell::take);
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!(region.part_of(told.pc), Some(OUTER));
    assert_eq!(told.data, DATA);
    // Without a frame register the frame base is where RSP is.
    assert_eq!(told.frame, told.context.gpr(Gpr::Rsp));
    is_kept(&told.context);
}

pub(crate) fn many() {
    let region = Region::new(None, &[]);
    for _ in 0..1000 {
        let dropped = RefCell::new(Vec::new());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            call(&region, &dropped, "the caller");
        }));
        assert!(caught.is_err());
        assert_eq!(dropped.borrow().len(), 1);
    }
}
