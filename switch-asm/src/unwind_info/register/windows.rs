//! Windows: function tables; memory.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::io;

use super::error::RegisterError;
use super::registration::Registration;
use crate::unwind_info::FrameLayout;
use crate::unwind_info::winx64::{Options, RuntimeFunction, Table, TableBuilder};

const MEM_COMMIT: u32 = 0x1000;
const MEM_RESERVE: u32 = 0x2000;
const MEM_RELEASE: u32 = 0x8000;
const PAGE_READWRITE: u32 = 0x04;
const PAGE_EXECUTE_READ: u32 = 0x20;

#[link(name = "kernel32")]
unsafe extern "system" {
    fn RtlAddFunctionTable(table: *const RuntimeFunction, count: u32, base: u64) -> u8;
    fn RtlDeleteFunctionTable(table: *const RuntimeFunction) -> u8;
    fn VirtualAlloc(start: *mut c_void, len: usize, kind: u32, protection: u32) -> *mut c_void;
    fn VirtualProtect(start: *mut c_void, len: usize, protection: u32, before: *mut u32) -> i32;
    fn VirtualFree(start: *mut c_void, len: usize, kind: u32) -> i32;
}

/// A table that the system knows.
#[derive(Debug)]
pub(super) struct Registered(Vec<RuntimeFunction>);

impl Registered {
    /// # Safety
    /// None needed.
    pub(super) unsafe fn eh_frame(_: Vec<u8>) -> Result<Registered, RegisterError> {
        Err(RegisterError::Unsupported)
    }

    /// # Safety
    /// That of [`Registration::function_table`].
    pub(super) unsafe fn function_table(table: Table) -> Result<Registered, RegisterError> {
        let functions = table.pdata;
        let count = u32::try_from(functions.len()).map_err(|_| RegisterError::Refused)?;
        // SAFETY: sorted, as the builder makes them; they stay where they are: what is returned owns them, and takes them
        // back first.
        let taken = count == 0
            || unsafe { RtlAddFunctionTable(functions.as_ptr(), count, table.base) } != 0;
        if taken {
            Ok(Registered(functions))
        } else {
            Err(RegisterError::Refused)
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            // SAFETY: this one was taken, once. Nobody walks with it any more: contract of `function_table`.
            unsafe { RtlDeleteFunctionTable(self.0.as_ptr()) };
        }
    }
}

/// Collects what describes a region's functions.
#[derive(Debug)]
pub(super) struct Descriptions(TableBuilder);

impl Descriptions {
    pub(super) fn new(pages: &Pages) -> Descriptions {
        Descriptions(TableBuilder::new(pages.start().addr().get() as u64))
    }

    pub(super) fn add(&mut self, address: u64, layout: &FrameLayout) -> Result<(), RegisterError> {
        self.0.add(address, layout, &Options::new())?;
        Ok(())
    }

    /// Writes what describes the code behind it, lets it be executed, and registers it.
    ///
    /// # Safety
    /// That of [`Registration::function_table`], for what was added; the code ends at `used`.
    pub(super) unsafe fn seal(
        self,
        pages: &mut Pages,
        used: usize,
    ) -> Result<Registration, RegisterError> {
        let at = used.next_multiple_of(8);
        let address = pages.start().addr().get() + at;
        let table = self.0.finish(address as u64)?;
        let left = pages.len.saturating_sub(at);
        let needed = table.xdata.len();
        if needed > left {
            return Err(RegisterError::Full { needed, left });
        }
        // SAFETY: ours, writable, and nothing is there: it is behind the code.
        unsafe {
            pages
                .start
                .add(at)
                .copy_from_nonoverlapping(NonNull::from(&table.xdata[..]).cast(), needed)
        };
        pages.seal()?;
        // SAFETY: this function's contract.
        unsafe { Registration::function_table(table) }
    }
}

/// Memory for code and what describes it: writable until it is sealed, executable from then on, never both.
#[derive(Debug)]
pub(super) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that this owns; nothing in it knows threads.
unsafe impl Send for Pages {}
// SAFETY: through a shared reference only its address can be had.
unsafe impl Sync for Pages {}

impl Pages {
    /// At least `code` bytes, all zero, and as much for what describes them: a function
    /// takes 16 bytes or more, what describes one is mostly shorter than its code, and equal ones share it.
    pub(super) fn map(code: usize) -> Result<Pages, RegisterError> {
        let len = code.saturating_mul(2).saturating_add(4096);
        // SAFETY: new memory, at an address that the system picks.
        let start = unsafe {
            VirtualAlloc(
                ptr::null_mut(),
                len,
                MEM_RESERVE | MEM_COMMIT,
                PAGE_READWRITE,
            )
        };
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Pages { start, len }),
            None => Err(last_error("map memory for code")),
        }
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn seal(&mut self) -> Result<(), RegisterError> {
        let (start, mut before) = (self.start.as_ptr().cast(), 0);
        // SAFETY: our own memory; nobody has a reference into it.
        if unsafe { VirtualProtect(start, self.len, PAGE_EXECUTE_READ, &raw mut before) } == 0 {
            return Err(last_error("make code executable"));
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own memory, all of it.
        unsafe { VirtualFree(self.start.as_ptr().cast(), 0, MEM_RELEASE) };
    }
}

fn last_error(what: &'static str) -> RegisterError {
    RegisterError::Memory {
        what,
        error: io::Error::last_os_error(),
    }
}
