//! Which instruction of which sequence is at an address. Must not know how it
//! was come by.
//!
//! The inline sequences have no symbols: they are known by their bytes. If the
//! text in `src/arch` changes, the test says that it does not meet them.

use switch_asm::Coroutine;
use switch_asm::arch;
use switch_asm::stack::{DefaultStack, Stack};

use crate::scenarios;

/// One instruction, as its bytes; `None` for any.
type Bytes = &'static [Option<u8>];

macro_rules! bytes {
    (@ _) => { None };
    (@ $byte:literal) => { Some($byte) };
    ($($byte:tt)*) => { &[$(bytes!(@ $byte)),*] };
}

const SWITCH_AND_LINK: &[Bytes] = &[
    bytes!(0x53),      // push rbx
    bytes!(0xff 0x12), // call [rdx]
    bytes!(0x5b),      // pop rbx
];

const SWITCH_YIELD: &[Bytes] = &[
    bytes!(0x55),                   //  0 push rbp
    bytes!(0x53),                   //  1 push rbx
    bytes!(0x48 0x8d 0x05 _ _ _ _), //  2 lea rax, [rip + 2f]
    bytes!(0x50),                   //  3 push rax
    bytes!(0x48 0x89 0xe6),         //  4 mov rsi, rsp
    bytes!(0x48 0x8b 0x22),         //  5 mov rsp, [rdx]
    bytes!(0x5d),                   //  6 pop rbp
    bytes!(0xc3),                   //  7 ret
    bytes!(0x55),                   //  8 2: push rbp
    bytes!(0x48 0x89 0x66 0xf0),    //  9 mov [rsi - 16], rsp
    bytes!(0x48 0x8d 0x62 0x08),    // 10 lea rsp, [rdx + 8]
    bytes!(0x5b),                   // 11 pop rbx
    bytes!(0x5d),                   // 12 pop rbp
];

const SWITCH_AND_RESET: &[Bytes] = &[
    bytes!(_ 0x8b _), // 0 mov rsp, [any]; see `is_load_of_rsp`
    bytes!(0x5d),     // 1 pop rbp
    bytes!(0xc3),     // 2 ret
];

const ON_STACK: &[Bytes] = &[
    bytes!(0xe8 _ _ _ _), // call stack_call_trampoline
    bytes!(0x90),         // nop
];

/// `stack_call_trampoline`, as far as the call.
const CALL_TRAMPOLINE: &[Bytes] = &[
    bytes!(0x55),           // push rbp
    bytes!(0x48 0x89 0xe5), // mov rbp, rsp
    bytes!(0x48 0x89 0xf4), // mov rsp, rsi
    bytes!(0xff 0xd2),      // call rdx
];

/// `jmp [rip + _]`. No compiled code here has one: a tail call through the table
/// is a possibility, and is described as well as the code around it.
const JUMP_THROUGH_TABLE: &[Bytes] = &[bytes!(0xff 0x25 _ _ _ _)];

/// `stack_throw_trampoline`, of the feature `asm-unwind`.
const THROW_TRAMPOLINE: &[Bytes] = &[
    bytes!(0x55),                   //  0 push rbp
    bytes!(0x48 0x89 0xe5),         //  1 mov rbp, rsp
    bytes!(0x53),                   //  2 push rbx
    bytes!(0x53),                   //  3 push rbx
    bytes!(0x48 0x8d 0x05 _ _ _ _), //  4 lea rax, [rip + 2f]
    bytes!(0x50),                   //  5 push rax
    bytes!(0x55),                   //  6 push rbp
    bytes!(0x48 0x89 0x66 0xf0),    //  7 mov [rsi - 16], rsp
    bytes!(0x48 0x8b 0x02),         //  8 mov rax, [rdx]
    bytes!(0x48 0x8b 0x5a 0x08),    //  9 mov rbx, [rdx + 8]
    bytes!(0x48 0x8b 0x6a 0x10),    // 10 mov rbp, [rdx + 16]
    bytes!(0x48 0x89 0x42 0x10),    // 11 mov [rdx + 16], rax
    bytes!(0x48 0x8d 0x62 0x10),    // 12 lea rsp, [rdx + 16]
    bytes!(0xff 0xe1),              // 13 jmp rcx
    bytes!(0x48 0x83 0xc4 0x08),    // 14 2: add rsp, 8
    bytes!(0x5b),                   // 15 pop rbx
    bytes!(0x5d),                   // 16 pop rbp
    bytes!(0xc3),                   // 17 ret
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A trampoline, or an inline sequence.
    Switch(&'static str),
    /// A stub for a call into a shared library, made by the linker. Not all
    /// linkers give it unwind information.
    Stub,
    /// The rest of this program.
    Elsewhere,
    /// A shared library.
    Outside,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Switch(name) => name,
            Place::Stub => "stubs",
            Place::Elsewhere => "elsewhere",
            Place::Outside => "outside",
        }
    }
}

pub(crate) struct Text {
    init_trampoline: usize,
    trap_trampoline: usize,
    image: std::ops::Range<usize>,
}

impl Text {
    pub(crate) fn new() -> Text {
        let fresh = Coroutine::<(), (), ()>::new(|_, ()| ());
        let stack = DefaultStack::default();
        // SAFETY: nothing runs on the stack; the registers are only looked at.
        let trap =
            unsafe { arch::setup_trap_trampoline(stack.base(), (), scenarios::after_a_trap) };
        Text {
            init_trampoline: fresh.saved_regs().expect("it waits").rip,
            trap_trampoline: trap.rip as usize,
            image: executable_part(),
        }
    }

    /// The place, and the number of the instruction in it. Only trampolines and
    /// sequences are numbered.
    pub(crate) fn place(&self, pc: usize) -> (Place, usize) {
        if !self.image.contains(&pc) {
            return (Place::Outside, 0);
        }
        if self.matches(pc, JUMP_THROUGH_TABLE) {
            return (Place::Stub, 0);
        }
        // Lengths of their instructions.
        let trampolines: [(_, _, &[usize]); 2] = [
            (
                "stack_init_trampoline",
                self.init_trampoline,
                &[1, 4, 3, 3, 4, 3, 7, 1, 3],
            ),
            ("stack_trap_trampoline", self.trap_trampoline, &[1, 3]),
        ];
        for (name, start, lengths) in trampolines {
            let mut at = start;
            for (index, length) in lengths.iter().enumerate() {
                if pc == at {
                    return (Place::Switch(name), index);
                }
                at += length;
            }
        }
        let end_of_call = [4, 3, 2].iter().sum::<usize>();
        // mov rsp, rbp; pop rbp; ret, behind the call.
        for (index, behind) in [(4, 0), (5, 3), (6, 4)] {
            let start = pc - behind - end_of_call;
            if self.image.contains(&start) && self.matches(start, CALL_TRAMPOLINE) {
                return (Place::Switch("stack_call_trampoline"), index);
            }
        }
        let sequences = [
            ("stack_call_trampoline", CALL_TRAMPOLINE),
            ("switch_yield", SWITCH_YIELD),
            ("stack_throw_trampoline", THROW_TRAMPOLINE),
            ("switch_and_link", SWITCH_AND_LINK),
            ("switch_and_reset", SWITCH_AND_RESET),
            ("on_stack", ON_STACK),
        ];
        for (name, sequence) in sequences {
            let mut before = 0;
            for (index, instruction) in sequence.iter().enumerate() {
                let start = pc - before;
                before += instruction.len();
                if !self.image.contains(&start) || !self.matches(start, sequence) {
                    continue;
                }
                let real = match name {
                    "switch_and_reset" => is_load_of_rsp(start),
                    "on_stack" => self.matches(call_target(start), CALL_TRAMPOLINE),
                    _ => true,
                };
                if real {
                    return (Place::Switch(name), index);
                }
            }
        }
        (Place::Elsewhere, 0)
    }

    fn matches(&self, start: usize, sequence: &[Bytes]) -> bool {
        let all = sequence.iter().flat_map(|instruction| instruction.iter());
        let mut at = start..self.image.end;
        all.into_iter().all(|wanted| {
            at.next()
                .is_some_and(|address| wanted.is_none_or(|wanted| byte(address) == wanted))
        })
    }

    /// Whether this program was built with them, by the prologue of a function.
    pub(crate) fn frame_pointers(&self) -> bool {
        let start = SCENARIO_FUNCTION as *const () as usize;
        // push rbp; mov rbp, rsp
        self.matches(start, &[bytes!(0x55), bytes!(0x48 0x89 0xe5)])
    }
}

const SCENARIO_FUNCTION: extern "C" fn() = scenarios::with_a_frame;

/// `mov rsp, [r]` for a register `r` that needs no further byte.
fn is_load_of_rsp(start: usize) -> bool {
    matches!(byte(start), 0x48 | 0x49) && matches!(byte(start + 2), 0x20..=0x23 | 0x26 | 0x27)
}

fn call_target(start: usize) -> usize {
    let distance = [1, 2, 3, 4].map(|n| byte(start + n));
    (start + 5).wrapping_add_signed(i32::from_le_bytes(distance) as isize)
}

fn byte(address: usize) -> u8 {
    // SAFETY: callers stay in the executable part of this program.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read() }
}

fn executable_part() -> std::ops::Range<usize> {
    let here = executable_part as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("procfs");
    let hex = |text| usize::from_str_radix(text, 16).expect("an address");
    maps.lines()
        .filter_map(|line| line.split(' ').next()?.split_once('-'))
        .map(|(start, end)| hex(start)..hex(end))
        .find(|range| range.contains(&here))
        .expect("this function is somewhere")
}
