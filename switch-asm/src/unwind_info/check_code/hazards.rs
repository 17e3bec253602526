//! Code that its layout describes rightly, and that still may be walked wrongly.

use alloc::vec::Vec;
use core::fmt;

use super::super::epilogue::EpilogueOp;
use super::super::layout::FrameLayout;

/// What a walk through a function may trip over. Offsets count from the
/// start of the function.
///
/// Seen in the bytes before a place, which need not be what they look like: a constant may end like a call.
/// A frame register `r12`, which Windows mistakes, is no hazard here since no layout has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hazard {
    /// A call stands right before an epilogue. Its return address lies in the epilogue, so Windows
    /// calls no handler of this function. An instruction between, a `nop`, helps.
    CallBeforeEpilogue {
        /// Where the epilogue begins.
        offset: u32,
    },
    /// The function ends with a call. Its return address belongs to what comes next, and Windows
    /// walks through that. An instruction behind it, an `int3`, helps.
    EndsWithCall {
        /// Where the function ends.
        offset: u32,
    },
    /// An epilogue reloads none of the registers that are saved without a push. If the body does not either before
    /// it, the caller's are lost.
    NotReloaded {
        /// Where the epilogue begins.
        offset: u32,
    },
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Hazard::CallBeforeEpilogue { offset } => write!(
                f,
                "at {offset}: a call stands right before the epilogue; put a nop between them"
            ),
            Hazard::EndsWithCall { offset } => write!(
                f,
                "at {offset}: the function ends with a call; put an int3 behind it"
            ),
            Hazard::NotReloaded { offset } => write!(
                f,
                "at {offset}: the epilogue reloads none of the saved registers"
            ),
        }
    }
}

impl FrameLayout {
    /// What in the function's code may trip a walk, by address.
    ///
    /// ```
    /// use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Hazard, Op};
    ///
    /// // sub rsp, 40; call f; add rsp, 40; ret
    /// let code = [0x48, 0x83, 0xec, 0x28, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 0x28, 0xc3];
    /// let epilogue = Epilogue::new(9, 14).step(13, EpilogueOp::Release);
    /// let layout = FrameLayout::builder().op(4, Op::Alloc(40)).code_len(14).epilogue(epilogue).finish()?;
    /// assert_eq!(layout.hazards(&code), [Hazard::CallBeforeEpilogue { offset: 9 }]);
    /// # Ok::<(), switch_asm::unwind_info::LayoutError>(())
    /// ```
    pub fn hazards(&self, code: &[u8]) -> Vec<Hazard> {
        let mut hazards = Vec::new();
        let calls = |end: u32| code.get(..end as usize).is_some_and(ends_with_call);
        for epilogue in self.epilogues() {
            let offset = epilogue.start();
            if calls(offset) {
                hazards.push(Hazard::CallBeforeEpilogue { offset });
            }
            let mut steps = epilogue.steps().iter();
            let reloads = steps
                .any(|step| matches!(step.op, EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_)));
            if !reloads && self.reloads().next().is_some() {
                hazards.push(Hazard::NotReloaded { offset });
            }
        }
        let offset = self.code_len();
        let returns = self
            .epilogues()
            .last()
            .is_some_and(|last| last.end() == offset);
        if !returns && calls(offset) {
            hazards.push(Hazard::EndsWithCall { offset });
        }
        hazards
    }
}

/// Whether the last bytes can be a call: E8 and a displacement, or FF with 2 in ModRM.
fn ends_with_call(code: &[u8]) -> bool {
    let from_end = |back: usize| code.get(code.len().checked_sub(back)?).copied();
    let indirect = |len: usize| {
        from_end(len) == Some(0xff)
            && from_end(len - 1).is_some_and(|modrm| {
                let (mode, operation, rm) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
                let sib = rm == 4 && mode != 3;
                let no_base = sib
                    && mode == 0
                    && from_end(len.saturating_sub(2)).is_some_and(|sib| sib & 7 == 5);
                let disp = match mode {
                    0 if rm == 5 || no_base => 4,
                    0 | 3 => 0,
                    1 => 1,
                    _ => 4,
                };
                operation == 2 && len == 2 + usize::from(sib) + disp
            })
    };
    from_end(5) == Some(0xe8) || (2..=7).any(indirect)
}
