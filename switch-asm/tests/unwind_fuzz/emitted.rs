//! Functions whose prologues and epilogues the module itself has written.

use switch_asm::unwind_info::emit::{EmitError, Emitter, Frame, Probe, PrologueSpec};
use switch_asm::unwind_info::{Abi, Gpr, Xmm};

use crate::body::{self, Body};
use crate::rng::Rng;
use crate::subject::{Entry, Subject};

/// Displacement of jumps and calls to other functions.
const ELSEWHERE: [u8; 4] = [0, 0, 0x40, 0];

struct Choice {
    spec: PrologueSpec,
    abi: Abi,
    /// RSP moves in the body.
    moves: bool,
    calls: bool,
}

fn choice(rng: &mut Rng) -> Choice {
    let abi = rng.pick(&[Abi::SysV, Abi::Win64]);
    let kept: Vec<Gpr> = Gpr::ALL
        .into_iter()
        .filter(|&reg| abi.keeps(reg) && reg != Gpr::Rsp)
        .collect();
    let mut saved = rng.some(&kept, 2);
    if rng.once_in(10) {
        saved.extend(rng.some(&[Gpr::Rcx, Gpr::Rdx, Gpr::R8, Gpr::R9], 2));
    }
    let mut spec = PrologueSpec::new(abi);
    let frame = match rng.below(4) {
        0 => Frame::None,
        1 => Frame::Chain,
        _ => Frame::At {
            reg: rng.pick(&kept),
            offset: 16 * rng.below(16) as u16,
        },
    };
    let frame_reg = match frame {
        Frame::None => None,
        Frame::Chain => Some(Gpr::Rbp),
        Frame::At { reg, .. } => Some(reg),
    };
    for reg in saved {
        spec = match rng.below(3) {
            0 if Some(reg) != frame_reg => spec.store(reg),
            _ => spec.push(reg),
        };
    }
    if abi == Abi::Win64 || rng.once_in(8) {
        let all: [u8; 16] = std::array::from_fn(|n| n as u8);
        for n in rng.some(&all[6..], 3) {
            spec = spec.store_xmm(Xmm::new(n).expect("below 16"));
        }
    }
    let locals = match rng.below(24) {
        0..6 => 0,
        6..20 => rng.below(300),
        20..23 => rng.below(20_000),
        _ => rng.below(1 << 20),
    };
    spec = spec
        .locals(locals, 1 << rng.below(5))
        .frame(frame)
        .probe(rng.pick(&[Probe::Inline, Probe::Call, Probe::CallAt(0x7fff_1234_5678)]));
    let calls = rng.once_in(2);
    if calls {
        spec = spec.calls(rng.pick(&[0, 8, 16, 40]));
    }
    let moves = frame_reg.is_some() && rng.once_in(2);
    if moves {
        spec = spec.dynamic();
    }
    if rng.once_in(8) {
        spec = spec.landing_pad();
    }
    Choice {
        spec,
        abi,
        moves,
        calls,
    }
}

/// A function, or why it is none.
pub(crate) fn subject(rng: &mut Rng) -> Result<Subject, EmitError> {
    let Choice {
        spec,
        abi,
        moves,
        calls,
    } = choice(rng);
    // Not the first function in the vector.
    let before = rng.below(3) as usize;
    let mut code = vec![0xcc; before];
    let mut emitter = Emitter::begin(&spec, &mut code)?;
    if let Some(at) = emitter.probe_call() {
        code[at..at + 4].copy_from_slice(&ELSEWHERE);
    }
    // What it saves, from the layout of a function that ends here.
    let mut with_body = code.clone();
    with_body.push(0x90);
    let known = emitter.clone().finish(&mut with_body)?;
    let frame = known.frame_register().map(|(reg, _)| reg);
    let ops = || known.steps().iter().map(|step| step.op);
    let ends = 1 + rng.below(3) as usize;
    for end in 0..ends {
        let mut body = Body::spoils(ops(), frame);
        (body.moves, body.calls) = (moves, calls);
        body.write(&mut code, rng);
        if calls && rng.once_in(3) {
            body::call(&mut code, rng);
            emitter.called(&code);
        }
        if end + 1 < ends {
            body::skip(&mut code, rng, |code, rng| finish(&mut emitter, code, rng));
        } else {
            finish(&mut emitter, &mut code, rng);
        }
    }
    if rng.once_in(3) {
        code.push(0x90);
        if calls {
            body::call(&mut code, rng);
            emitter.called(&code);
        }
    }
    let layout = emitter.finish(&mut code)?;
    code.drain(..before);
    Ok(Subject {
        abi,
        entry: Entry::Call,
        code,
        layout,
        ends,
    })
}

fn finish(emitter: &mut Emitter, code: &mut Vec<u8>, rng: &mut Rng) {
    match rng.below(6) {
        0 => {
            let at = emitter.tail_jump(code);
            code[at..at + 4].copy_from_slice(&ELSEWHERE);
        }
        1 => {
            // Not if a random function saves it.
            if emitter.tail_jump_to(code, Gpr::R10).is_err() {
                emitter.epilogue(code);
            }
        }
        _ => emitter.epilogue(code),
    }
}
