//! Whether an unwind that begins here would get to its target (S6).
//!
//! `std::thread::panicking` counts for a thread: while one fiber is parked in mid-unwind it is true for all of its
//! worker, and says nothing of the one that runs. The stack does say it. A destructor that an unwind calls is
//! called from a landing pad, and there the tables send a second unwind to a pad that ends the process. So this walks
//! from the caller to the target and asks the tables of each frame what they would do, as the first phase of an
//! unwind does.
//!
//! Format of the tables: "Exception Handling Tables" of the Itanium C++ ABI for the header and the call sites, as
//! `std::sys::personality::dwarf` reads them.

use std::ffi::c_void;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Opaque: a frame, as the unwinder shows it.
#[repr(C)]
struct Context {
    _private: [u8; 0],
}

// The platform's unwinder, which std links.
unsafe extern "C" {
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut Context, *mut c_void) -> i32,
        data: *mut c_void,
    ) -> i32;
    fn _Unwind_GetCFA(context: *mut Context) -> usize;
    fn _Unwind_GetIPInfo(context: *mut Context, before: *mut i32) -> usize;
    fn _Unwind_GetLanguageSpecificData(context: *mut Context) -> *const u8;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
}

/// `_URC_NO_REASON`, and a code that ends a walk.
const GO_ON: i32 = 0;
const STOP: i32 = 5;

struct Walk {
    /// In the frame that is the target.
    target: usize,
    /// Where the frame before began.
    below: usize,
    /// What is to be asked of the frame before, unless it is the target: [`lets_out`]. An unwind ends below the target,
    /// in what that one calls to catch it.
    ask: Option<(*const u8, usize, usize)>,
    verdict: Option<bool>,
}

/// Whether an unwind would come from the caller to the frame that `target` lies in, and be let out of all frames
/// between. A walk that does not get there says no.
#[cold]
#[inline(never)]
pub(super) fn may_unwind_to(target: usize) -> bool {
    let mut walk = Walk {
        target,
        below: usize::MAX,
        ask: None,
        verdict: None,
    };
    // SAFETY: `each` gets what it expects, and does not unwind.
    unsafe { _Unwind_Backtrace(each, (&raw mut walk).cast()) };
    walk.verdict.unwrap_or(false)
}

extern "C" fn each(context: *mut Context, walk: *mut c_void) -> i32 {
    // SAFETY: `may_unwind_to` gave it, and uses it after the walk only.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    // SAFETY: a context of the walk's, in its callback.
    let (begins, lsda, function, ip) = unsafe {
        let mut before = 0;
        let ip = _Unwind_GetIPInfo(context, &raw mut before);
        (
            _Unwind_GetCFA(context),
            _Unwind_GetLanguageSpecificData(context),
            _Unwind_GetRegionStart(context),
            // A return address is behind its call.
            ip.wrapping_sub(usize::from(before == 0)),
        )
    };
    if (walk.below..begins).contains(&walk.target) {
        walk.verdict = Some(true);
        return STOP;
    }
    walk.below = begins;
    let next = (!lsda.is_null()).then_some((lsda, function, ip));
    if let Some((lsda, function, ip)) = std::mem::replace(&mut walk.ask, next)
        // SAFETY: the table of the function that the frame before is of, from the unwinder.
        && !unsafe { lets_out(lsda, function, ip) }
    {
        walk.verdict = Some(false);
        return STOP;
    }
    GO_ON
}

/// What the table of a frame does with an unwind that comes from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Nothing, or it cleans up and goes on.
    LetsOut,
    /// Whoever catches may raise it again.
    Catches,
    /// A filter lets nothing through, and ends the process.
    Ends,
}

/// Whether an unwind gets out of the frame that is in the call at `ip`, if need be by being raised again.
///
/// A catch hides what is around it: if a destructor with a `catch_unwind` in it was inlined into a landing pad, its
/// call sites name the catch alone. But the call that raises again stands in the landing pad too, and its
/// site names a filter. So a function that catches is trusted if it has no filters at all, or is ours
/// ([`catches`]).
///
/// # Safety
/// `lsda` is the table of the function that begins at `function`.
unsafe fn lets_out(lsda: *const u8, function: usize, ip: usize) -> bool {
    const OMIT: u8 = 0xff;
    let mut table = Reader(lsda);
    let (mut here, mut filters) = (None, false);
    // SAFETY: the header, then as many call sites as it says, then the actions that these name.
    unsafe {
        if table.byte() != OMIT {
            return false; // landing pads apart from their function: nobody makes these here
        }
        if table.byte() != OMIT {
            table.uleb();
        }
        let encoding = table.byte();
        let length = table.uleb();
        let actions = table.0.wrapping_add(length);
        while table.0 < actions {
            let (Some(start), Some(length), Some(pad)) = (
                table.encoded(encoding),
                table.encoded(encoding),
                table.encoded(encoding),
            ) else {
                return false;
            };
            let does = match (pad, table.uleb()) {
                (0, _) | (_, 0) => Does::LetsOut,
                (_, action) => Reader(actions.wrapping_add(action - 1)).actions(),
            };
            filters |= does == Does::Ends;
            let from = function.wrapping_add(start);
            if (from..from.wrapping_add(length)).contains(&ip) {
                here = Some(does);
            }
        }
    }
    match here {
        Some(Does::LetsOut) => true,
        Some(Does::Catches) => !filters || function == catches as *const () as usize,
        // A call that is not listed ends the process too.
        Some(Does::Ends) | None => false,
    }
}

/// `catch_unwind` for code that waits: see [`lets_out`].
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    let (mut f, mut result) = (Some(f), None);
    caught_call(&mut || result = f.take().map(|f| f()))?;
    match result {
        Some(result) => Ok(result),
        None => unreachable!("the closure was called, and returned"),
    }
}

/// The same for what keeps its result itself.
#[inline(always)]
pub(super) fn caught_call(f: &mut dyn FnMut()) -> std::thread::Result<()> {
    // Opaque: a compiler that knows that no unwind comes out lists the call in no table of its callers.
    let catches = black_box(catches as fn(&mut dyn FnMut()) -> std::thread::Result<()>);
    catches(f)
}

/// One function, neither inlined nor with the closure in it, so that it is known by its address.
#[inline(never)]
fn catches(f: &mut dyn FnMut()) -> std::thread::Result<()> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Reads a table, bytes in a row.
struct Reader(*const u8);

impl Reader {
    /// # Safety
    /// There is another byte.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: by contract.
        let byte = unsafe { self.0.read() };
        self.0 = self.0.wrapping_add(1);
        byte
    }

    /// # Safety
    /// There is such a number.
    unsafe fn leb(&mut self) -> (usize, u32, bool) {
        let (mut value, mut shift) = (0_usize, 0);
        loop {
            // SAFETY: by contract.
            let byte = unsafe { self.byte() };
            if shift < usize::BITS {
                value |= usize::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return (value, shift, byte & 0x40 != 0);
            }
        }
    }

    /// # Safety
    /// There is such a number.
    unsafe fn uleb(&mut self) -> usize {
        // SAFETY: by contract.
        unsafe { self.leb() }.0
    }

    /// # Safety
    /// There is such a number.
    unsafe fn sleb(&mut self) -> isize {
        // SAFETY: by contract.
        let (value, shift, negative) = unsafe { self.leb() };
        let sign = match negative && shift < usize::BITS {
            true => usize::MAX << shift,
            false => 0,
        };
        (value | sign).cast_signed()
    }

    /// What the actions from here on do, a list.
    ///
    /// # Safety
    /// There are such actions.
    unsafe fn actions(&mut self) -> Does {
        let mut does = Does::LetsOut;
        loop {
            // SAFETY: by contract: a type, and how far behind this number the next action is.
            let (kind, at, next) = unsafe { (self.sleb(), self.0, self.sleb()) };
            match kind {
                ..0 => return Does::Ends,
                0 => {}
                1.. => does = Does::Catches,
            }
            if next == 0 {
                return does;
            }
            self.0 = at.wrapping_offset(next);
        }
    }

    /// A number of a call site; `None` for an encoding that nobody uses there.
    ///
    /// # Safety
    /// There is such a number.
    unsafe fn encoded(&mut self, encoding: u8) -> Option<usize> {
        const ULEB: u8 = 0x01;
        const UDATA4: u8 = 0x03;
        match encoding {
            // SAFETY: by contract.
            ULEB => Some(unsafe { self.uleb() }),
            UDATA4 => {
                // SAFETY: by contract.
                let value = unsafe { self.0.cast::<u32>().read_unaligned() };
                self.0 = self.0.wrapping_add(4);
                usize::try_from(value).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;

    use super::*;

    /// A table of call sites: length, landing pad, first action; then the actions.
    fn table(encoding: u8, sites: &[(u8, u8, u8)], actions: &[u8]) -> Vec<u8> {
        let (mut table, mut start) = (Vec::new(), 4);
        for &(length, pad, action) in sites {
            for number in [start, length, pad] {
                table.push(number);
                if encoding == 0x03 {
                    table.extend([0; 3]);
                }
            }
            table.push(action);
            start += length;
        }
        let mut whole = vec![0xff, 0xff, encoding, table.len() as u8];
        whole.extend(table);
        whole.extend(actions);
        whole
    }

    /// Type 1, then the end; clean up; a filter; type 1, then a filter; clean up, then a filter.
    const ACTIONS: &[u8] = &[1, 0, 0, 0, 0x7f, 0, 1, 0x7d, 0, 0x7b];

    #[test]
    fn what_a_call_site_lets_out() {
        for encoding in [0x01, 0x03] {
            for (pad, action, out) in [
                (0, 0, true),
                (9, 0, true),
                (9, 1, true),
                (9, 3, true),
                (9, 5, false),
                (9, 7, false),
                (9, 9, false),
            ] {
                let table = table(encoding, &[(8, pad, action)], ACTIONS);
                // SAFETY: a whole table.
                let lets_out = |ip| unsafe { lets_out(table.as_ptr(), 100, ip) };
                assert_eq!(lets_out(104), out, "{action}");
                assert_eq!(lets_out(111), out, "{action}");
                assert!(!lets_out(103) && !lets_out(112), "not listed");
            }
            // Beside a filter, before or after it, a catch is not trusted; what cleans up is.
            let table = table(
                encoding,
                &[(8, 9, 1), (8, 9, 5), (8, 9, 1), (8, 9, 3)],
                ACTIONS,
            );
            let out = [104, 112, 120, 128].map(|ip| {
                // SAFETY: a whole table.
                unsafe { lets_out(table.as_ptr(), 100, ip) }
            });
            assert_eq!(out, [false, false, false, true]);
        }
        // SAFETY: a whole table, of an encoding that is not read.
        assert!(!unsafe { lets_out(table(0x0b, &[(8, 0, 0)], ACTIONS).as_ptr(), 100, 104) });
    }

    /// A real unwind, its destructors, and those of a normal return.
    #[test]
    fn a_destructor_in_an_unwind() {
        struct Asks<'a>(&'a mut Vec<bool>, usize);
        impl Drop for Asks<'_> {
            fn drop(&mut self) {
                self.0.push(may_unwind_to(self.1));
            }
        }
        let marker = 0_u8;
        let here = (&raw const marker).addr();
        let mut seen = Vec::new();
        drop(Asks(&mut seen, here));
        let ended = caught(|| {
            let _asks = Asks(&mut seen, here);
            resume_unwind(Box::new(()));
        });
        assert!(ended.is_err());
        // In a destructor that is called in an unwind, but no further than to a catch of its own.
        struct Inside<'a>(&'a mut Vec<bool>);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                let marker = 0_u8;
                let here = (&raw const marker).addr();
                caught(|| drop(Asks(self.0, here))).unwrap();
            }
        }
        let ended = caught(|| {
            let _asks = Inside(&mut seen);
            resume_unwind(Box::new(()));
        });
        assert!(ended.is_err());
        drop(Asks(&mut seen, 1));
        assert_eq!(seen, [true, false, true, false]);
    }
}
