//! Linux: which unwinder this process has, how it is told of a section; memory.

use alloc::vec::Vec;
use core::arch::asm;
use core::ffi::c_void;
use core::mem::transmute;
use core::ptr::{self, NonNull};
use std::io;

use super::error::RegisterError;
use super::registration::Registration;
use crate::unwind_info::FrameLayout;
use crate::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};

/// What takes a section, or forgets it.
type Tell = unsafe extern "C" fn(*const c_void);

unsafe extern "C" {
    // libgcc takes sections with these; LLVM's libunwind, which has them too, single entries.
    fn __register_frame(section: *const c_void);
    fn __deregister_frame(section: *const c_void);
}

/// The address of a symbol, or 0 if nothing in this process defines it.
macro_rules! weak {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: reads a word that the linker or the loader wrote.
        unsafe {
            asm!(
                concat!(".weak ", $name),
                concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                out(reg) address,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        address
    }};
}

/// How this process's unwinder is told: of a section, and to forget it.
fn unwinder() -> Result<(Tell, Tell), RegisterError> {
    let entries = weak!("__unw_add_dynamic_fde");
    let add = weak!("__unw_add_dynamic_eh_frame_section");
    let remove = weak!("__unw_remove_dynamic_eh_frame_section");
    if add != 0 && remove != 0 {
        // LLVM's. SAFETY: they take the address of a section, as an integer of that size.
        return Ok(unsafe {
            (
                transmute::<usize, Tell>(add),
                transmute::<usize, Tell>(remove),
            )
        });
    }
    if entries != 0 {
        // LLVM's from before 2021, which takes no sections.
        return Err(RegisterError::Unsupported);
    }
    Ok((__register_frame, __deregister_frame))
}

/// A section that the unwinder knows.
#[derive(Debug)]
pub(super) struct Registered {
    section: Vec<u8>,
    forget: Tell,
}

impl Registered {
    /// # Safety
    /// That of [`Registration::eh_frame`]; the section is complete.
    pub(super) unsafe fn eh_frame(section: Vec<u8>) -> Result<Registered, RegisterError> {
        let (tell, forget) = unwinder()?;
        // SAFETY: a complete section, which stays where it is: this owns it, and forgets it first.
        unsafe { tell(section.as_ptr().cast()) };
        Ok(Registered { section, forget })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: it was told of this one, once. Nobody walks with it any more: contract of `eh_frame`.
        unsafe { (self.forget)(self.section.as_ptr().cast()) };
    }
}

/// Collects what describes a region's functions.
#[derive(Debug)]
pub(super) struct Descriptions(EhFrameBuilder);

impl Descriptions {
    pub(super) const fn new(_: &Pages) -> Descriptions {
        Descriptions(EhFrameBuilder::new(
            PointerEncoding::Absolute,
            Options::new(),
        ))
    }

    pub(super) fn add(&mut self, address: u64, layout: &FrameLayout) -> Result<(), RegisterError> {
        Ok(self.0.add(address, layout)?)
    }

    /// Lets the code be executed, and registers it.
    ///
    /// # Safety
    /// That of [`Registration::eh_frame`], for what was added.
    pub(super) unsafe fn seal(
        self,
        pages: &mut Pages,
        _used: usize,
    ) -> Result<Registration, RegisterError> {
        let section = self.0.finish(0)?;
        pages.seal()?;
        // SAFETY: this function's contract.
        unsafe { Registration::eh_frame(section) }
    }
}

/// Memory for code: writable until it is sealed, executable from then on, never both.
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
    /// At least `len` bytes, all zero.
    pub(super) fn map(len: usize) -> Result<Pages, RegisterError> {
        // An empty mapping is an error; this is less than a page.
        let len = len.max(1);
        // SAFETY: a new mapping, at an address that the kernel picks.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Pages {
                start: start.cast(),
                len,
            }),
            _ => Err(last_error("map memory for code")),
        }
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn seal(&mut self) -> Result<(), RegisterError> {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: our own mapping; nobody has a reference into it.
        let result = unsafe { libc::mprotect(self.start.as_ptr().cast(), self.len, protection) };
        if result != 0 {
            return Err(last_error("make code executable"));
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, from its first byte to its last. Fails for lack of memory only (a mapping
        // may have to be split); then it stays, unused.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

fn last_error(what: &'static str) -> RegisterError {
    RegisterError::Memory {
        what,
        error: io::Error::last_os_error(),
    }
}
