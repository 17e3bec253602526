//! Making unwind information known to the unwinder of this process.
//!
//! | type | what |
//! |---|---|
//! | [`CodeRegion`] | memory for many functions, and their registration: nothing can be dropped in a wrong order |
//! | [`Registration`] | of a section, for code in memory of one's own |
//!
//! Linux, with libgcc's unwinder (glibc targets) or LLVM's (musl targets), and Windows.

mod builder;
mod error;
mod region;
mod registration;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        use linux as os;
    } else if #[cfg(windows)] {
        mod windows;
        use windows as os;
    } else {
        mod nowhere;
        use nowhere as os;
    }
}

pub use builder::RegionBuilder;
pub use error::RegisterError;
pub use region::CodeRegion;
pub use registration::Registration;
