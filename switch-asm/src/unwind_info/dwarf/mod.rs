//! DWARF's call frame information, as `.eh_frame` has it: what walks of the
//! stack read on Linux. DWARF 5, section 6.4, and the Linux Standard Base, "Exception Frames".
//!
//! Rows are exact at every instruction of prologues and epilogues, so that signal handlers may walk
//! from anywhere. [`rows`] and [`EhFrameBuilder`] read the same list of changes.

mod builder;
mod changes;
mod encode;
mod error;
mod options;
mod rows;

pub use builder::{EhFrameBuilder, PointerEncoding};
pub use error::DwarfError;
pub use options::Options;
pub use rows::{CfaRule, Column, Row, Rule, rows};
