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
    // SAFETY: the table of the function that the frame is of, from the unwinder.
    if !lsda.is_null() && !unsafe { lets_out(lsda, function, ip) } {
        walk.verdict = Some(false);
        return STOP;
    }
    GO_ON
}

/// Whether the table of a frame lets an unwind out of the call at `ip`: it does nothing there, or cleans up, or
/// catches. (Who catches may raise it again, so the walk goes on.)
///
/// # Safety
/// `lsda` is the table of the function that begins at `function`.
unsafe fn lets_out(lsda: *const u8, function: usize, ip: usize) -> bool {
    const OMIT: u8 = 0xff;
    let mut table = Reader(lsda);
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
            let action = table.uleb();
            if ip < function.wrapping_add(start) {
                break;
            }
            if ip < function.wrapping_add(start).wrapping_add(length) {
                // A filter lets nothing through, and ends the process.
                return pad == 0
                    || action == 0
                    || Reader(actions.wrapping_add(action - 1)).sleb() >= 0;
            }
        }
    }
    false // a call that the compiler knows not to unwind
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
    use super::*;

    /// `lsda` of one call site with the given landing pad and first action.
    fn table(encoding: u8, pad: u8, action: u8, filter: u8) -> Vec<u8> {
        let site = match encoding {
            0x01 => vec![4, 8, pad, action],
            _ => [[4, 0, 0, 0], [8, 0, 0, 0], [pad, 0, 0, 0]]
                .concat()
                .into_iter()
                .chain([action])
                .collect(),
        };
        let mut table = vec![0xff, 0xff, encoding, site.len() as u8];
        table.extend(site);
        table.extend([filter, 0]);
        table
    }

    #[test]
    fn what_a_call_site_lets_out() {
        for encoding in [0x01, 0x03] {
            for (pad, action, type_index, out) in [
                (0, 0, 0, true),     // no landing pad
                (9, 0, 0, true),     // cleans up
                (9, 1, 0, true),     // the same, by an action
                (9, 1, 1, true),     // catches
                (9, 1, 0x7f, false), // a filter: -1
            ] {
                let table = table(encoding, pad, action, type_index);
                // SAFETY: a whole table.
                let lets_out = |ip| unsafe { lets_out(table.as_ptr(), 100, ip) };
                assert_eq!(lets_out(104), out);
                assert_eq!(lets_out(111), out);
                assert!(
                    !lets_out(103) && !lets_out(112),
                    "a call that does not unwind"
                );
            }
        }
        // SAFETY: a whole table, of an encoding that is not read.
        assert!(!unsafe { lets_out(table(0x0b, 0, 0, 0).as_ptr(), 100, 104) });
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
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _asks = Asks(&mut seen, here);
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        // In a destructor that is called in an unwind, but not further than out of itself.
        struct Inside<'a>(&'a mut Vec<bool>);
        impl Drop for Inside<'_> {
            fn drop(&mut self) {
                let marker = 0_u8;
                let here = (&raw const marker).addr();
                drop(Asks(self.0, here));
            }
        }
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _asks = Inside(&mut seen);
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(caught.is_err());
        drop(Asks(&mut seen, 1));
        assert_eq!(seen, [true, false, true, false]);
    }
}
