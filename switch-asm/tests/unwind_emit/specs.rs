//! Random specifications, all of which can be.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use switch_asm::unwind_info::emit::{Frame, Probe, PrologueSpec};
use switch_asm::unwind_info::{Abi, Gpr, Xmm};

/// What a test wants to know of a specification again.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) abi: Abi,
    pub(crate) saved: Vec<Gpr>,
    pub(crate) xmms: Vec<u8>,
    pub(crate) locals: u32,
    pub(crate) frame: Frame,
    /// RSP moves in the body.
    pub(crate) moves: bool,
    pub(crate) calls: bool,
    pub(crate) spec: PrologueSpec,
}

pub(crate) fn kept(abi: Abi) -> Vec<Gpr> {
    let all = Gpr::ALL.into_iter();
    all.filter(|&reg| abi.keeps(reg) && reg != Gpr::Rsp)
        .collect()
}

prop_compose! {
    fn registers(abi: Abi)(
        saved in subsequence(kept(abi), 0..=kept(abi).len()).prop_shuffle(),
        stored in any::<u16>(),
        xmms in subsequence((6..16).collect::<Vec<u8>>(), 0..=10),
        wants_xmms in any::<bool>(),
    ) -> (Vec<(Gpr, bool)>, Vec<u8>) {
        let stored = |reg: Gpr| stored & 1 << reg.number() != 0;
        let xmms = if abi == Abi::Win64 && wants_xmms { xmms } else { Vec::new() };
        (saved.into_iter().map(|reg| (reg, stored(reg))).collect(), xmms)
    }
}

fn frame(abi: Abi) -> impl Strategy<Value = Frame> {
    let mut regs = kept(abi);
    regs.retain(|&reg| reg != Gpr::R12);
    prop_oneof![
        Just(Frame::None),
        Just(Frame::Chain),
        (select(regs), 0_u16..4).prop_map(|(reg, n)| Frame::At {
            reg,
            offset: 16 * n
        }),
    ]
}

/// With at most so many bytes of locals.
pub(crate) fn spec(most: u32) -> impl Strategy<Value = Spec> {
    let abi = select(&[Abi::SysV, Abi::Win64]);
    let parts = abi.prop_flat_map(|abi| (Just(abi), registers(abi), frame(abi)));
    let locals = prop_oneof![4 => 0_u32..256, 1 => 0..20_000.min(most + 1), 1 => 0..=most];
    let probe = select(&[Probe::Inline, Probe::Call]);
    let rest = (
        any::<bool>(),
        proptest::option::of(0_u32..40),
        any::<bool>(),
    );
    (parts, locals, 0_u32..5, probe, rest).prop_map(
        |((abi, (saved, xmms), frame), locals, align, probe, (dynamic, calls, landing_pad))| {
            let frame_reg = match frame {
                Frame::None => None,
                Frame::Chain => Some(Gpr::Rbp),
                Frame::At { reg, .. } => Some(reg),
            };
            // Enough for a frame register to lead into.
            let locals = locals.max(if frame_reg.is_some() { 48 } else { 0 });
            let moves = dynamic && frame_reg.is_some();
            let mut spec = PrologueSpec::new(abi).frame(frame).probe(probe);
            spec = spec.locals(locals, 1 << align);
            for &(reg, stored) in &saved {
                spec = match stored && Some(reg) != frame_reg {
                    true => spec.store(reg),
                    false => spec.push(reg),
                };
            }
            for &xmm in &xmms {
                spec = spec.store_xmm(Xmm::new(xmm).expect("below 16"));
            }
            if let Some(arguments) = calls {
                spec = spec.calls(arguments);
            }
            if moves {
                spec = spec.dynamic();
            }
            if landing_pad {
                spec = spec.landing_pad();
            }
            Spec {
                abi,
                saved: saved.into_iter().map(|(reg, _)| reg).collect(),
                xmms,
                locals,
                frame,
                moves,
                calls: calls.is_some(),
                spec,
            }
        },
    )
}
