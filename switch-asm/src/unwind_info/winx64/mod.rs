//! Windows' unwind information for x64: `UNWIND_INFO` and function tables. Little endian, always.
//!
//! | what | for |
//! |---|---|
//! | [`encode`] | one function's `UNWIND_INFO` |
//! | [`TableBuilder`], [`Table`], [`RuntimeFunction`] | the functions of a region |
//! | [`decode`], [`UnwindInfo`] | reading it back, whoever wrote it |
//! | [`virtual_unwind`] | one step of a walk, on any system, as `RtlVirtualUnwind` does it |
//!
//! Version 1 of the format, which every Windows knows. Microsoft's "x64 exception handling" describes it.
//!
//! ```
//! use switch_asm::unwind_info::winx64::{Options, decode, encode};
//! use switch_asm::unwind_info::{FrameLayout, Gpr, Op, Step};
//!
//! // push rbx; sub rsp, 32
//! let layout = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx)).op(5, Op::Alloc(32)).code_len(20).finish()?;
//! let bytes = encode(&layout, &Options::new())?;
//! assert_eq!(bytes, [0x01, 5, 2, 0, 5, 0x32, 1, 0x30]);
//!
//! // The last step comes first.
//! let codes: Vec<Step> = decode(&bytes)?.codes().collect();
//! assert_eq!(codes, [Step { end: 5, op: Op::Alloc(32) }, Step { end: 1, op: Op::Push(Gpr::Rbx) }]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod codes;
mod context;
mod decode;
mod encode;
mod error;
mod format;
mod function;
mod handler;
mod info;
mod intern;
mod options;
mod runtime_function;
mod table;
mod table_builder;
mod tail;
mod unwind;

pub use codes::Codes;
pub use context::{Context, Memory};
pub use decode::{DecodeError, decode};
pub use encode::encode;
pub use error::EncodeError;
pub use function::{Function, Image};
pub use handler::Handler;
pub use info::UnwindInfo;
pub use options::{Chain, Options};
pub use runtime_function::RuntimeFunction;
pub use table::Table;
pub use table_builder::{FunctionId, TableBuilder};
pub use unwind::{Unwound, WalkError, unwind_leaf, virtual_unwind};
