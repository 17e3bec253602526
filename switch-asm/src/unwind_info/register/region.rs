//! A region of code that can be called, and walked through. Must not know how
//! it came to be.

use alloc::vec::Vec;

use super::builder::RegionBuilder;
use super::error::RegisterError;
use super::os::Pages;
use super::registration::Registration;

/// Memory with the code of many functions, executable and registered with this process's unwinder.
///
/// Dropping it takes back the registration, then frees the section, then unmaps the code.
///
/// # Calling its functions
///
/// Building, moving and dropping a region is safe, since nothing of it runs. Whoever calls a function of
/// it, which is `unsafe`, promises in return that
///
/// - the function does what its layout says, all its displacements are filled in, and it keeps the registers that its convention keeps;
/// - the type that it is called by is its own: convention, arguments, and `-unwind` if a panic may come out;
/// - the region lives until the call has ended: returned or unwound. A fiber that is suspended in a callback
///   has not ended it, and to drop that fiber unwinds its stack, so the region outlives the fiber too. An `Arc` of the
///   region in the fiber's own closure is enough: it is dropped after the frames that the closure called.
///
/// # Panics through them
///
/// Callbacks that may panic are `extern "sysv64-unwind"` or `extern "win64-unwind"`: with another ABI the panic aborts there.
///
/// On Linux a panic that passes a function of Windows' convention gives back what System V keeps, and loses `rsi`, `rdi` and `xmm6` to
/// `xmm15`. Whoever called it expects these to be kept, so a landing pad in that frame may find garbage in them. Call such a
/// function from one that is `#[inline(never)]` and has nothing to drop, or through an entry of System V's convention.
///
/// With LLVM's libunwind (musl targets) a panic cannot leave a Rust function that is `extern "win64-unwind"`: the
/// compiler says where that saves XMM registers, and that unwinder refuses to walk on. Use `extern "sysv64-unwind"` there.
///
/// # How many
///
/// Few: as much code in each as there is at a time. See [`Registration`] for what thousands cost.
///
/// ```
/// use switch_asm::unwind_info::{CodeRegion, FrameLayout};
///
/// let mut region = CodeRegion::builder(4096)?;
/// // lea eax, [rdi + 1]; ret
/// let code = [0x8d, 0x47, 0x01, 0xc3];
/// let add_one = region.push(&code, &FrameLayout::leaf(4)?)?;
/// let region = region.seal()?;
/// // SAFETY: that is what the code does, and the region lives.
/// let result = unsafe {
///     let add_one: extern "sysv64" fn(u32) -> u32 = std::mem::transmute(region.function(add_one));
///     add_one(41)
/// };
/// assert_eq!(result, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
// The order of fields is the order of drops.
#[derive(Debug)]
pub struct CodeRegion {
    _registration: Registration,
    pages: Pages,
    functions: Vec<usize>,
}

impl CodeRegion {
    /// A region with room for `capacity` bytes of code. Each function begins at a multiple of 16.
    ///
    /// # Errors
    /// [`RegisterError::Memory`], and [`RegisterError::Unsupported`] on systems whose unwinder cannot be told anything.
    pub fn builder(capacity: usize) -> Result<RegionBuilder, RegisterError> {
        RegionBuilder::new(capacity)
    }

    pub(super) const fn new(
        registration: Registration,
        pages: Pages,
        functions: Vec<usize>,
    ) -> CodeRegion {
        CodeRegion {
            _registration: registration,
            pages,
            functions,
        }
    }

    /// Where the function with this number begins.
    ///
    /// # Panics
    /// If there is none.
    pub fn function(&self, number: usize) -> *const u8 {
        let offset = self.functions[number];
        self.pages.start().as_ptr().wrapping_add(offset)
    }

    /// How many functions there are.
    pub const fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}
