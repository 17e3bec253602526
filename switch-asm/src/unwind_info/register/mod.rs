//! Making unwind information known to the unwinder of this process.
//!
//! | type | what |
//! |---|---|
//! | [`CodeRegion`] | memory for many functions, and their registration: nothing can be dropped in a wrong order |
//! | [`Registration`] | of a section, for code in memory of one's own |
//! | [`NewestFirst`] | many of either, dropped in the order that is cheap |
//!
//! x86_64 Linux, with libgcc's unwinder (glibc targets) or LLVM's (musl targets), and x86_64 Windows. Elsewhere everything is
//! [`RegisterError::Unsupported`].

mod builder;
mod error;
mod newest_first;
mod region;
mod registration;

cfg_if::cfg_if! {
    if #[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))] {
        mod linux;
        use linux as os;
    } else if #[cfg(all(windows, target_arch = "x86_64"))] {
        mod windows;
        use windows as os;
    } else {
        mod nowhere;
        use nowhere as os;
    }
}

pub use builder::RegionBuilder;
pub use error::RegisterError;
pub use newest_first::NewestFirst;
pub use region::CodeRegion;
pub use registration::Registration;
