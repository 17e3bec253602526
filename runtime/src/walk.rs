//! Walking a stack that is not the caller's: by the unwind sections of what is loaded, without running any of
//! its code.
//!
//! Knows modules, registers and a way to read the stack; must not know fibers or signals. A walk allocates
//! nothing and takes no lock, so a signal handler may make one. What is loaded is looked up before: that takes
//! the loader's lock.

use std::arch::asm;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, MustNotAllocateDuringUnwind, Unwinder,
};

type Sections = &'static [u8];

/// The program and the libraries that were loaded when this was made.
pub(crate) struct Modules {
    unwinder: UnwinderX86_64<Sections, MustNotAllocateDuringUnwind>,
    ranges: Vec<Range<usize>>,
}

/// Memory that walks need and keep. One walk at a time.
pub(crate) struct Scratch(CacheX86_64<MustNotAllocateDuringUnwind>);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(CacheX86_64::new_in())
    }
}

/// The word at an address. Not a read that AddressSanitizer sees: to it most of a foreign frame is poison.
///
/// # Safety
/// It can be read.
pub(crate) unsafe fn peek(address: usize) -> usize {
    let word;
    // SAFETY: by contract.
    unsafe {
        asm!("mov {}, [{}]", out(reg) word, in(reg) address, options(nostack, readonly, preserves_flags));
    }
    word
}

/// `into.len()` bytes from `address` on, as [`peek`].
///
/// # Safety
/// They can be read.
pub(crate) unsafe fn peek_all(address: usize, into: &mut [u8]) {
    // SAFETY: by contract; the direction flag is clear at every call.
    unsafe {
        asm!(
            "rep movsb",
            inout("rsi") address => _,
            inout("rdi") into.as_mut_ptr() => _,
            inout("rcx") into.len() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Registers {
    pub(crate) ip: usize,
    pub(crate) sp: usize,
    pub(crate) bp: usize,
}

/// The link of a fiber's stack, which is in the fiber's record. A walk that goes by frame pointers expects it above
/// all frames, so to a walk it is at the base, where coroutines have theirs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    record: usize,
    /// Where it seems to be. A walk that reads there, or above, is through with the stack's frames.
    pub(crate) seems: usize,
}

impl Link {
    /// `seems`: where coroutines on that stack would have theirs. It is there, unless it is in a record, at `record`.
    pub(crate) fn of(seems: usize, record: Option<usize>) -> Link {
        let record = record.unwrap_or(seems);
        Link { record, seems }
    }

    /// A register or a word of that stack, to a walk.
    pub(crate) fn seen(self, word: usize) -> usize {
        match word == self.record {
            true => self.seems,
            false => word,
        }
    }
}

impl Modules {
    /// What is loaded now. A walk cannot cross what is loaded later. Nothing may be unloaded that a walk
    /// could meet: its sections are read where they are.
    pub(crate) fn loaded() -> Modules {
        let mut modules = Modules {
            unwinder: UnwinderX86_64::new(),
            ranges: Vec::new(),
        };
        // SAFETY: `add` keeps to the types of a callback, and gets what it expects.
        unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut modules).cast()) };
        modules
    }

    /// The addresses of the C library, of whatever `malloc` the program was started with, and of the loader.
    ///
    /// # Errors
    /// `Unsupported`: they are in one piece with the program, and cannot be told from it.
    pub(crate) fn c_library(&self) -> io::Result<Arc<[Range<usize>]>> {
        /// Where the loader is (getauxval(3)); `libc` does not have it here.
        const AT_BASE: libc::c_ulong = 7;
        // SAFETY: only asks.
        let loader = unsafe { libc::getauxval(AT_BASE) } as usize;
        let own = self.holding(Modules::loaded as *const () as usize);
        let addresses = [
            libc::malloc as *const () as usize,
            libc::free as *const () as usize,
            libc::pthread_mutex_lock as *const () as usize,
            libc::getauxval as *const () as usize,
            loader,
        ];
        let mut found: Vec<Range<usize>> = Vec::new();
        for range in addresses.into_iter().filter_map(|a| self.holding(a)) {
            if Some(&range) != own.as_ref() && !found.contains(&range) {
                found.push(range);
            }
        }
        match found.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the C library is linked statically",
            )),
            false => Ok(found.into()),
        }
    }

    fn holding(&self, address: usize) -> Option<Range<usize>> {
        self.ranges.iter().find(|r| r.contains(&address)).cloned()
    }

    /// Goes from frame to frame, from the innermost one, and calls `each` with an address in its function. Ends when
    /// `each` says false, when `read` has no word at an address, or when there is no way on.
    pub(crate) fn walk(
        &self,
        scratch: &mut Scratch,
        from: Registers,
        mut read: impl FnMut(usize) -> Option<usize>,
        mut each: impl FnMut(usize) -> bool,
    ) {
        let mut read = |address: u64| match read(address as usize) {
            Some(word) => Ok(word as u64),
            None => Err(()),
        };
        let registers = UnwindRegsX86_64::new(from.ip as u64, from.sp as u64, from.bp as u64);
        let mut frames =
            self.unwinder
                .iter_frames(from.ip as u64, registers, &mut scratch.0, &mut read);
        while let Ok(Some(frame)) = frames.next() {
            let address = match frame {
                FrameAddress::InstructionPointer(at) => at,
                // Behind a call, which may be the last instruction of its function.
                FrameAddress::ReturnAddress(at) => at.get() - 1,
            };
            if !each(address as usize) {
                return;
            }
        }
    }
}

/// # Safety
/// A callback of `dl_iterate_phdr`: `info` is a module that is loaded, `modules` a `Modules` that nobody else uses.
unsafe extern "C" fn add(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    modules: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: by contract.
    let (info, modules) = unsafe { (&*info, &mut *modules.cast::<Modules>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader's table, as long as it says.
    let headers =
        unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let base = info.dlpi_addr as usize;
    let range = |header: &libc::Elf64_Phdr| {
        let start = base.wrapping_add(header.p_vaddr as usize);
        start..start.wrapping_add(header.p_memsz as usize)
    };
    let segments = || headers.iter().filter(|h| h.p_type == libc::PT_LOAD);
    let (Some(start), Some(end)) = (
        segments().map(|h| range(h).start).min(),
        segments().map(|h| range(h).end).max(),
    ) else {
        return 0;
    };
    modules.ranges.push(start..end);
    let header = headers.iter().find(|h| h.p_type == libc::PT_GNU_EH_FRAME);
    let Some(index) = header.map(range) else {
        return 0;
    };
    // SAFETY: a segment that is loaded.
    let Some(frames) = (unsafe { frames_of(&index) }) else {
        return 0;
    };
    // Where the section ends is not said; its own end mark comes first.
    let Some(segment) = segments().map(range).find(|r| r.contains(&frames)) else {
        return 0;
    };
    let relative = |at: usize| at.wrapping_sub(base) as u64;
    // SAFETY: both lie in segments that are loaded, which nobody writes, and stay (`loaded`).
    let (index_bytes, frame_bytes) = unsafe { (bytes(&index), bytes(&(frames..segment.end))) };
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        eh_frame_hdr_svma: Some(relative(index.start)..relative(index.end)),
        eh_frame_hdr: Some(index_bytes),
        eh_frame_svma: Some(relative(frames)..relative(segment.end)),
        eh_frame: Some(frame_bytes),
        ..Default::default()
    };
    let (start, end, base) = (start as u64, end as u64, base as u64);
    let module = Module::new(String::new(), start..end, base, sections);
    modules.unwinder.add_module(module);
    0
}

/// The address of `.eh_frame`, from the head of `.eh_frame_hdr` (Linux Standard Base 5.0, 10.6.2). `None` for an
/// encoding that no linker uses.
///
/// # Safety
/// `index` is loaded.
unsafe fn frames_of(index: &Range<usize>) -> Option<usize> {
    /// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
    const FOUR_BYTES_FROM_HERE: u8 = 0x1b;
    if index.len() < 8 {
        return None;
    }
    // SAFETY: by contract.
    let head = unsafe { bytes(&(index.start..index.start + 8)) };
    let [1, FOUR_BYTES_FROM_HERE, _, _, offset @ ..] = head else {
        return None;
    };
    let offset = i32::from_le_bytes(offset.try_into().ok()?);
    Some((index.start + 4).wrapping_add_signed(offset as isize))
}

/// # Safety
/// The range is loaded, nobody writes to it, and it stays.
unsafe fn bytes(range: &Range<usize>) -> Sections {
    // SAFETY: by contract.
    unsafe {
        std::slice::from_raw_parts(std::ptr::with_exposed_provenance(range.start), range.len())
    }
}

#[cfg(all(test, not(sisal_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_is_told_apart() {
        let modules = Modules::loaded();
        let own = what_is_loaded_is_told_apart as *const () as usize;
        let ours = modules.holding(own).expect("the program is loaded");
        let c_library = modules.c_library().expect("tests are linked dynamically");
        assert!(c_library.len() >= 2, "the library and its loader");
        assert!(!c_library.contains(&ours));
        let malloc = libc::malloc as *const () as usize;
        assert!(c_library.iter().any(|range| range.contains(&malloc)));
    }
}
