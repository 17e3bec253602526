//! Unwind information for code made at run time, as Windows x64 and as DWARF
//! know it.
//!
//! Whoever makes machine code at run time (a JIT, a maker of trampolines) has to
//! describe its frames, or no panic, no backtrace and no debugger gets across
//! them. A [`FrameLayout`] says once what a function's prologue and epilogues
//! do; everything else follows from it:
//!
//! | module | what |
//! |---|---|
//! | root | the model: [`Gpr`], [`Xmm`], [`Abi`], [`Op`], [`FrameLayout`], [`Epilogue`] |
//! | root | whether code does what its layout says: [`FrameLayout::check_code`], [`FrameLayout::hazards`] |
//! | [`emit`] | code of prologues and epilogues, and its layout |
//! | [`winx64`] | Windows: encoder, decoder, virtual unwinder, function tables |
//! | [`dwarf`] | DWARF: `.eh_frame` sections, rows |
//! | `CodeRegion`, `Registration` | with the feature `unwind`: code that this process's unwinder knows |
//!
//! Nothing here is cut off silently: what a format cannot say is an error.

mod check_code;
pub mod dwarf;
pub mod emit;
mod epilogue;
mod error;
mod layout;
mod op;
mod reg;
#[cfg(feature = "unwind")]
mod register;
mod validate;
pub mod winx64;

pub use check_code::{CodeMismatch, Hazard};
pub use epilogue::{Epilogue, EpilogueOp, EpilogueStep};
pub use error::LayoutError;
pub use layout::{FrameLayout, LayoutBuilder};
pub use op::{Op, Step};
pub use reg::{Abi, Gpr, Xmm};
#[cfg(feature = "unwind")]
pub use register::{CodeRegion, NewestFirst, RegionBuilder, RegisterError, Registration};
