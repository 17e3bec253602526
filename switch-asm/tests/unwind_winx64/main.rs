//! Windows' unwind information: what is encoded, what is read, where a walk leads.

mod chains;
mod cranelift;
mod epilogues;
mod errors;
mod frames;
mod goldens;
mod llvm;
mod machine;
mod tables;
mod totality;
mod walks;
mod wine;
