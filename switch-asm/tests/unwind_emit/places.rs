//! Where things are in an emitted frame, and what is filled in later.

use switch_asm::unwind_info::emit::{Emitter, Frame, Place, Probe, PrologueSpec};
use switch_asm::unwind_info::winx64::{
    Context, Function, Handler, Memory, Options, decode, encode, virtual_unwind,
};
use switch_asm::unwind_info::{Abi, Gpr, Hazard};

fn places(spec: &PrologueSpec) -> (Place, Place) {
    let emitter = Emitter::begin(spec, &mut Vec::new()).expect("is a prologue");
    (emitter.locals(), emitter.arguments())
}

const fn rsp(offset: i32) -> Place {
    Place {
        reg: Gpr::Rsp,
        offset,
    }
}

const fn rbp(offset: i32) -> Place {
    Place {
        reg: Gpr::Rbp,
        offset,
    }
}

#[test]
fn above_the_callees_area() {
    let spec = PrologueSpec::new(Abi::Win64).push(Gpr::Rbx).calls(8);
    // push, 32 + 8 + 24 bytes in 64, return address, the caller's 32.
    let spec = spec.locals(24, 8);
    assert_eq!(places(&spec), (rsp(40), rsp(64 + 8 + 8 + 32)));
    let spec = PrologueSpec::new(Abi::SysV).push(Gpr::Rbx).locals(24, 8);
    assert_eq!(places(&spec), (rsp(0), rsp(24 + 8 + 8)));
}

#[test]
fn from_the_frame_register_where_rsp_moves() {
    let chain = PrologueSpec::new(Abi::Win64).frame(Frame::Chain);
    let chain = chain.locals(32, 16).calls(0);
    assert_eq!(places(&chain), (rsp(32), rsp(64 + 16 + 32)));
    assert_eq!(places(&chain.dynamic()), (rbp(-32), rbp(16 + 32)));
    let at = Frame::At {
        reg: Gpr::Rbp,
        offset: 48,
    };
    let spec = PrologueSpec::new(Abi::SysV).frame(at).locals(64, 16);
    assert_eq!(places(&spec), (rsp(0), rsp(80)));
    assert_eq!(places(&spec.dynamic()), (rbp(-48), rbp(80 - 48)));
}

#[test]
fn displacements_are_where_they_are_said_to_be() {
    let spec = PrologueSpec::new(Abi::Win64)
        .locals(8192, 16)
        .probe(Probe::Call);
    // Another function is there already.
    let mut code = vec![0xc3; 3];
    let mut emitter = Emitter::begin(&spec, &mut code).expect("is a prologue");
    let call = emitter.probe_call().expect("calls");
    assert_eq!(code[call - 1..call + 4], [0xe8, 0, 0, 0, 0]);
    let jump = emitter.tail_jump(&mut code);
    assert_eq!(code[jump - 1..], [0xe9, 0, 0, 0, 0]);
    let layout = emitter.finish(&mut code).expect("is a function");
    assert_eq!(layout.code_len() as usize, code.len() - 3);
    assert_eq!(layout.check_code(&code[3..]), Ok(()));

    let small = PrologueSpec::new(Abi::Win64)
        .locals(64, 16)
        .probe(Probe::Call);
    let emitter = Emitter::begin(&small, &mut code).expect("is a prologue");
    assert_eq!(emitter.probe_call(), None);
}

/// The handler that Windows asks at a call's return address.
fn handler_after_call(noted: bool) -> bool {
    let mut code = Vec::new();
    let spec = PrologueSpec::new(Abi::Win64).calls(0);
    let mut emitter = Emitter::begin(&spec, &mut code).expect("is a prologue");
    // call rax
    code.extend([0xff, 0xd0]);
    let return_address = code.len() as u32;
    if noted {
        emitter.called(&code);
    }
    emitter.epilogue(&mut code);
    let layout = emitter.finish(&mut code).expect("is a function");
    let warned = Hazard::CallBeforeEpilogue {
        offset: return_address,
    };
    assert_eq!(layout.hazards(&code).contains(&warned), !noted);

    let handler = Handler::new(0x5000);
    let options = Options::new().with_handler(handler);
    let bytes = encode(&layout, &options).expect("can be encoded");
    let info = decode(&bytes).expect("can be decoded");
    let function = Function::new(&code, &info);
    let mut context = Context::default();
    let unwound = virtual_unwind(&function, return_address, &mut context, &Zeros);
    unwound.expect("reads zeros").handler.is_some()
}

struct Zeros;

impl Memory for Zeros {
    fn read_u64(&self, _: u64) -> Option<u64> {
        Some(0)
    }
}

#[test]
fn a_noted_call_keeps_the_handler() {
    assert!(handler_after_call(true));
    assert!(!handler_after_call(false));
}
