//! From an expression to machine code, and what an unwinder has to know of it.
//!
//! The result of each step is in `rax`; what has to wait for another step lies in the frame. `rbx` has the host, `r12`
//! has `x`. Instructions: Intel's Software Developer's Manual, volume 2.

use std::fmt;

use switch_asm::unwind_info::emit::{EmitError, Emitter, Frame, Place, PrologueSpec};
use switch_asm::unwind_info::{Abi, FrameLayout, Gpr};

use super::expr::{Expr, Operator};
use super::host::{self, Host};

/// Why there is no code.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// The host has no such function.
    UnknownFunction(String),
    Emit(EmitError),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::UnknownFunction(name) => {
                write!(f, "there is no function {name}; there are ")?;
                f.write_str(&Host::names().collect::<Vec<_>>().join(", "))
            }
            CompileError::Emit(error) => write!(f, "its frame: {error}"),
        }
    }
}

impl std::error::Error for CompileError {}

impl From<EmitError> for CompileError {
    fn from(error: EmitError) -> CompileError {
        CompileError::Emit(error)
    }
}

/// The code of `fn(host: &Host, x: i64) -> i64` by the rules of `abi`, and its frame.
///
/// # Errors
/// If it calls a function that the host does not have.
pub(crate) fn compile(expr: &Expr, abi: Abi) -> Result<(Vec<u8>, FrameLayout), CompileError> {
    let slots = slots(expr);
    // A chain of frame pointers costs two instructions, and profilers can follow it too.
    let spec = PrologueSpec::new(abi)
        .frame(Frame::Chain)
        .push(Gpr::Rbx)
        .push(Gpr::R12)
        .locals(8 * slots, 8)
        .calls(0);
    let mut code = Vec::new();
    let mut emitter = Emitter::begin(&spec, &mut code)?;
    code.extend(match abi {
        Abi::SysV => [0x48, 0x89, 0xfb, 0x49, 0x89, 0xf4], // mov rbx, rdi; mov r12, rsi
        Abi::Win64 => [0x48, 0x89, 0xcb, 0x49, 0x89, 0xd4], // mov rbx, rcx; mov r12, rdx
    });
    let mut body = Body {
        abi,
        slots: emitter.locals(),
        code: &mut code,
        emitter: &mut emitter,
    };
    body.value_of(expr, 0)?;
    emitter.epilogue(&mut code);
    let layout = emitter.finish(&mut code)?;
    Ok((code, layout))
}

/// How many words its steps need.
fn slots(expr: &Expr) -> u32 {
    match expr {
        Expr::Number(_) | Expr::X => 0,
        Expr::Call(_, argument) => slots(argument),
        Expr::Binary(_, left, right) => slots(left).max(1 + slots(right)),
    }
}

struct Body<'a> {
    abi: Abi,
    /// The first word for what waits.
    slots: Place,
    code: &'a mut Vec<u8>,
    emitter: &'a mut Emitter,
}

impl Body<'_> {
    /// Code that leaves the value in `rax`. Words up to `used` are taken.
    fn value_of(&mut self, expr: &Expr, used: u32) -> Result<(), CompileError> {
        match expr {
            Expr::Number(number) => self.load_rax(*number),
            Expr::X => self.code.extend([0x4c, 0x89, 0xe0]), // mov rax, r12
            Expr::Binary(operator, left, right) => {
                self.value_of(left, used)?;
                self.word(0x89, used); // mov [slot], rax
                self.value_of(right, used + 1)?;
                self.code.extend([0x48, 0x89, 0xc1]); // mov rcx, rax
                self.word(0x8b, used); // mov rax, [slot]
                self.code.extend_from_slice(match operator {
                    Operator::Add => &[0x48, 0x01, 0xc8],            // add rax, rcx
                    Operator::Subtract => &[0x48, 0x29, 0xc8],       // sub rax, rcx
                    Operator::Multiply => &[0x48, 0x0f, 0xaf, 0xc1], // imul rax, rcx
                });
            }
            Expr::Call(name, argument) => {
                self.value_of(argument, used)?;
                let unknown = || CompileError::UnknownFunction(name.clone());
                self.call(Host::index_of(name).ok_or_else(unknown)?);
            }
        }
        Ok(())
    }

    /// `mov rax, number`
    fn load_rax(&mut self, number: i64) {
        self.code.extend([0x48, 0xb8]);
        self.code.extend(number.to_le_bytes());
    }

    /// `mov` with this opcode between `rax` and a word of the frame.
    fn word(&mut self, opcode: u8, slot: u32) {
        assert_eq!(self.slots.reg, Gpr::Rsp, "this body does not move RSP");
        let offset = self.slots.offset + 8 * slot.cast_signed();
        self.code.extend([0x48, opcode, 0x84, 0x24]);
        self.code.extend(offset.to_le_bytes());
    }

    /// Calls the host's function with `rax` as its argument.
    fn call(&mut self, index: u32) {
        let (host, index_is, argument): ([u8; 3], u8, [u8; 3]) = match self.abi {
            // mov rdi, rbx; mov esi, index; mov rdx, rax
            Abi::SysV => ([0x48, 0x89, 0xdf], 0xbe, [0x48, 0x89, 0xc2]),
            // mov rcx, rbx; mov edx, index; mov r8, rax
            Abi::Win64 => ([0x48, 0x89, 0xd9], 0xba, [0x49, 0x89, 0xc0]),
        };
        self.code.extend(host);
        self.code.push(index_is);
        self.code.extend(index.to_le_bytes());
        self.code.extend(argument);
        let entry = host::entry(self.abi).addr();
        self.load_rax(i64::from_ne_bytes((entry as u64).to_ne_bytes()));
        self.code.extend([0xff, 0xd0]); // call rax
        self.emitter.called(self.code);
    }
}
