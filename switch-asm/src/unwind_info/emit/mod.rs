//! Prologues and epilogues, and their layouts, from one description.
//!
//! [`PrologueSpec`] says what a function needs; [`Emitter`] writes the
//! instructions and notes what each does, so that code and
//! [`FrameLayout`](super::FrameLayout) cannot drift apart. What lies between, the body, is the caller's.
//!
//! ```
//! use switch_asm::unwind_info::emit::{Emitter, PrologueSpec};
//! use switch_asm::unwind_info::{Abi, Gpr};
//!
//! // fn(a: u64, b: u64) -> u64 { a + b }, with a use for rbx
//! let spec = PrologueSpec::new(Abi::Win64).push(Gpr::Rbx);
//! let mut code = Vec::new();
//! let mut emitter = Emitter::begin(&spec, &mut code)?;
//! code.extend([0x48, 0x89, 0xcb]); // mov rbx, rcx
//! code.extend([0x48, 0x8d, 0x04, 0x13]); // lea rax, [rbx + rdx]
//! emitter.epilogue(&mut code);
//! let layout = emitter.finish(&mut code)?;
//!
//! assert_eq!(code, [0x53, 0x48, 0x89, 0xcb, 0x48, 0x8d, 0x04, 0x13, 0x5b, 0xc3]);
//! layout.check_code(&code)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what |
//! |---|---|
//! | `spec` | what a function needs |
//! | `plan` | where everything in its frame is |
//! | `emitter` | the code, and its layout |
//! | `assembler` | the few instructions that takes |

mod assembler;
mod emitter;
mod error;
mod plan;
mod spec;

pub use emitter::{Emitter, Place};
pub use error::EmitError;
pub use spec::{Frame, Probe, PrologueSpec};
