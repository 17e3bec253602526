//! Whether code does what its layout says.
//!
//! | file | what |
//! |---|---|
//! | `instruction` | decodes what may stand in a prologue or an epilogue |
//! | `machine` | what such instructions leave in RSP, registers and slots |
//! | `prologue`, `epilogue` | compare that with the layout's steps |
//! | `hazards` | what is right and may still surprise |

mod epilogue;
mod hazards;
mod instruction;
mod machine;
mod mismatch;
mod prologue;

pub use hazards::Hazard;
pub use mismatch::CodeMismatch;
