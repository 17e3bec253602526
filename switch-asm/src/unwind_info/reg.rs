//! Registers, as instructions number them and as DWARF does. Must not know what
//! is done with them.

use core::fmt;

use super::error::LayoutError;

/// A general-purpose register. Its discriminant is its number in instructions,
/// which is its number in Windows' unwind codes too.
#[allow(missing_docs, reason = "the names say it")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Gpr {
    Rax = 0,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Gpr {
    /// All sixteen, by number.
    pub const ALL: [Gpr; 16] = [
        Gpr::Rax,
        Gpr::Rcx,
        Gpr::Rdx,
        Gpr::Rbx,
        Gpr::Rsp,
        Gpr::Rbp,
        Gpr::Rsi,
        Gpr::Rdi,
        Gpr::R8,
        Gpr::R9,
        Gpr::R10,
        Gpr::R11,
        Gpr::R12,
        Gpr::R13,
        Gpr::R14,
        Gpr::R15,
    ];

    /// The register with this number in instructions, below 16.
    pub const fn from_number(number: u8) -> Option<Gpr> {
        if number < 16 {
            Some(Gpr::ALL[number as usize])
        } else {
            None
        }
    }

    /// Its number in instructions and in Windows' unwind codes.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its number in DWARF (System V AMD64 ABI, figure 3.36), which is another
    /// one for the first eight.
    pub const fn dwarf(self) -> u16 {
        const LOW: [u16; 8] = [0, 2, 1, 3, 7, 6, 4, 5];
        let number = self as u16;
        if number < 8 {
            LOW[number as usize]
        } else {
            number
        }
    }
}

/// An SSE register, `xmm0` to `xmm15`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xmm(u8);

impl Xmm {
    /// `xmm` with this number.
    ///
    /// # Errors
    /// [`LayoutError::BadXmm`] if it is above 15: unwind information knows no
    /// others.
    ///
    /// ```
    /// use switch_asm::unwind_info::Xmm;
    /// assert_eq!(Xmm::new(6)?.number(), 6);
    /// assert!(Xmm::new(16).is_err());
    /// # Ok::<(), switch_asm::unwind_info::LayoutError>(())
    /// ```
    pub const fn new(number: u8) -> Result<Xmm, LayoutError> {
        if number < 16 {
            Ok(Xmm(number))
        } else {
            Err(LayoutError::BadXmm { number })
        }
    }

    /// Its number in instructions and in Windows' unwind codes.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its number in DWARF.
    pub const fn dwarf(self) -> u16 {
        17 + self.0 as u16
    }
}

impl fmt::Debug for Xmm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xmm{}", self.0)
    }
}

/// A calling convention: which registers a function gives back as it found them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abi {
    /// System V AMD64: `rbx`, `rbp`, `r12` to `r15`. `extern "sysv64"`.
    SysV,
    /// Microsoft x64: `rsi`, `rdi` and `xmm6` to `xmm15` besides.
    /// `extern "win64"`.
    Win64,
}

impl Abi {
    /// Whether a function has to give `reg` back as it found it. `rsp` counts.
    pub const fn keeps(self, reg: Gpr) -> bool {
        match reg {
            Gpr::Rbx | Gpr::Rsp | Gpr::Rbp | Gpr::R12 | Gpr::R13 | Gpr::R14 | Gpr::R15 => true,
            Gpr::Rsi | Gpr::Rdi => matches!(self, Abi::Win64),
            _ => false,
        }
    }

    /// Whether a function has to give `reg` back as it found it.
    pub const fn keeps_xmm(self, reg: Xmm) -> bool {
        matches!(self, Abi::Win64) && reg.0 >= 6
    }
}
