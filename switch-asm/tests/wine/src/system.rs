//! What the program needs of Windows.

use std::ffi::c_void;

use switch_asm::unwind_info::Gpr;
use switch_asm::unwind_info::winx64::{Context, Memory, RuntimeFunction};

/// `CONTEXT`, of which only the registers matter here: 1232 bytes.
#[repr(C, align(16))]
#[derive(Clone, Copy)]
pub(crate) struct RawContext {
    before: [u64; 6],
    flags: u32,
    mxcsr: u32,
    segments: [u16; 6],
    eflags: u32,
    debug: [u64; 6],
    gprs: [u64; 16],
    rip: u64,
    fx: [u64; 20],
    xmms: [[u64; 2]; 16],
    rest: [u64; 70],
}

const _: () = assert!(size_of::<RawContext>() == 1232);
const _: () = assert!(std::mem::offset_of!(RawContext, flags) == 0x30);
const _: () = assert!(std::mem::offset_of!(RawContext, gprs) == 0x78);
const _: () = assert!(std::mem::offset_of!(RawContext, rip) == 0xf8);
const _: () = assert!(std::mem::offset_of!(RawContext, xmms) == 0x1a0);

impl RawContext {
    /// Where this is called.
    #[inline(always)]
    pub(crate) fn here() -> RawContext {
        // SAFETY: all of it is numbers.
        let mut context: RawContext = unsafe { std::mem::zeroed() };
        // CONTEXT_AMD64 with CONTROL, INTEGER and FLOATING_POINT.
        context.flags = 0x10_000b;
        // SAFETY: it is a CONTEXT, aligned as one.
        unsafe { RtlCaptureContext(&mut context) };
        context
    }

    pub(crate) const fn rip(&self) -> u64 {
        self.rip
    }

    pub(crate) fn registers(&self) -> Context {
        let wide = |[low, high]: [u64; 2]| u128::from(high) << 64 | u128::from(low);
        Context {
            gprs: self.gprs,
            rip: self.rip,
            xmms: self.xmms.map(wide),
        }
    }

    /// One step, as the system does it. Returns the entry of the function that was left, and its base.
    pub(crate) fn step(&mut self) -> Option<(RuntimeFunction, u64)> {
        let found = lookup(self.rip);
        match found {
            Some((entry, base)) => {
                let (mut data, mut frame) = (std::ptr::null_mut(), 0);
                let (pc, context, none) = (self.rip, &raw mut *self, std::ptr::null_mut());
                // SAFETY: the entry is the one that the system has for this place, on this thread's own stack.
                unsafe {
                    RtlVirtualUnwind(0, base, pc, &entry, context, &mut data, &mut frame, none);
                }
            }
            None => {
                let rsp = self.gprs[usize::from(Gpr::Rsp.number())];
                self.rip = Stack.read_u64(rsp).unwrap_or(0);
                self.gprs[usize::from(Gpr::Rsp.number())] += 8;
            }
        }
        found
    }
}

/// The stack of this thread.
pub(crate) struct Stack;

impl Memory for Stack {
    fn read_u64(&self, address: u64) -> Option<u64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: it writes two words.
        unsafe { GetCurrentThreadStackLimits(&mut low, &mut high) };
        let inside = (low..high - 7).contains(&address) && address.is_multiple_of(8);
        // SAFETY: it is in the stack of this thread. Guard pages lie below what is in use, where no walk goes: it begins at
        // the stack pointer and goes up.
        inside.then(|| unsafe { (address as *const u64).read_volatile() })
    }
}

/// The entry that the system has for an address, and its base.
pub(crate) fn lookup(address: u64) -> Option<(RuntimeFunction, u64)> {
    let mut base = 0;
    // SAFETY: it writes the base; the last argument is a cache that need not be.
    let entry = unsafe { RtlLookupFunctionEntry(address, &mut base, std::ptr::null_mut()) };
    // SAFETY: what comes back is an entry of a registered table, or nothing.
    (!entry.is_null()).then(|| (unsafe { *entry }, base))
}

/// The return addresses from here on.
#[inline(never)]
pub(crate) fn backtrace() -> Vec<u64> {
    let mut frames = [std::ptr::null_mut::<c_void>(); 62];
    // SAFETY: it writes at most so many.
    let count =
        unsafe { RtlCaptureStackBackTrace(0, 62, frames.as_mut_ptr(), std::ptr::null_mut()) };
    let found = frames.iter().take(count.into());
    found.map(|&address| address as u64).collect()
}

pub(crate) const READ_WRITE: u32 = 0x04;
pub(crate) const READ_EXECUTE: u32 = 0x20;

#[link(name = "kernel32")]
unsafe extern "system" {
    pub(crate) fn VirtualAlloc(address: *mut u8, len: usize, kind: u32, protection: u32)
    -> *mut u8;
    pub(crate) fn VirtualFree(address: *mut u8, len: usize, kind: u32) -> i32;
    pub(crate) fn VirtualProtect(
        address: *mut u8,
        len: usize,
        protection: u32,
        old: *mut u32,
    ) -> i32;
    pub(crate) fn RtlAddFunctionTable(table: *const RuntimeFunction, count: u32, base: u64) -> u8;
    pub(crate) fn RtlDeleteFunctionTable(table: *const RuntimeFunction) -> u8;
    fn GetCurrentThreadStackLimits(low: *mut u64, high: *mut u64);
    fn RtlCaptureContext(context: *mut RawContext);
    fn RtlLookupFunctionEntry(
        address: u64,
        base: *mut u64,
        history: *mut c_void,
    ) -> *const RuntimeFunction;
    fn RtlVirtualUnwind(
        handlers: u32,
        base: u64,
        pc: u64,
        entry: *const RuntimeFunction,
        context: *mut RawContext,
        data: *mut *mut c_void,
        frame: *mut u64,
        pointers: *mut c_void,
    ) -> *const c_void;
    fn RtlCaptureStackBackTrace(
        skip: u32,
        most: u32,
        frames: *mut *mut c_void,
        hash: *mut u32,
    ) -> u16;
}
