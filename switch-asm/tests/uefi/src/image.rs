//! The program's own image in memory: which function an address is in, and where
//! that function's unwind information is. Must not interpret the latter.

use core::ptr;

/// Bytes of the image from `rva`, which is an offset from its start.
pub fn at<T: Copy>(rva: usize) -> T {
    // SAFETY: all of the image is mapped and readable; callers read what a header
    // or a table entry points to, all of which are plain integers.
    unsafe { ptr::with_exposed_provenance::<T>(base() + rva).read_unaligned() }
}

/// Where the firmware loaded the image.
pub fn base() -> usize {
    unsafe extern "C" {
        // The linker puts it at the first byte of the image.
        #[link_name = "__ImageBase"]
        static IMAGE_BASE: u8;
    }
    (&raw const IMAGE_BASE).expose_provenance()
}

/// An entry of `.pdata`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeFunction {
    pub begin: u32,
    pub end: u32,
    pub unwind_info: u32,
}

// PE/COFF: where the headers keep what we need.
const PE_HEADER_OFFSET: usize = 0x3c;
const OPTIONAL_HEADER: usize = 24;
const SIZE_OF_IMAGE: usize = OPTIONAL_HEADER + 56;
const DATA_DIRECTORIES: usize = OPTIONAL_HEADER + 112;
const EXCEPTION_DIRECTORY: usize = 3;

fn pe_header() -> usize {
    at::<u32>(PE_HEADER_OFFSET) as usize
}

/// Whether the address is in this program, not in the firmware.
pub fn contains(address: usize) -> bool {
    let size = at::<u32>(pe_header() + SIZE_OF_IMAGE) as usize;
    (base()..base() + size).contains(&address)
}

/// All entries of `.pdata`, in order.
pub fn functions() -> impl Iterator<Item = RuntimeFunction> {
    let directory = pe_header() + DATA_DIRECTORIES + EXCEPTION_DIRECTORY * 8;
    let (start, len) = (
        at::<u32>(directory) as usize,
        at::<u32>(directory + 4) as usize,
    );
    (start..start + len)
        .step_by(size_of::<RuntimeFunction>())
        .map(at::<RuntimeFunction>)
}

/// The entry whose code has `address`.
pub fn function(address: usize) -> Option<RuntimeFunction> {
    let rva = u32::try_from(address.checked_sub(base())?).ok()?;
    functions().find(|function| (function.begin..function.end).contains(&rva))
}
