//! Code in memory, and calling it.

use std::error::Error;
use std::mem::transmute;

use switch_asm::unwind_info::{Abi, CodeRegion};

use super::compile::compile;
use super::expr::Expr;
use super::host::Host;

type Sysv64 = unsafe extern "sysv64-unwind" fn(&Host, i64) -> i64;
type Win64 = unsafe extern "win64-unwind" fn(&Host, i64) -> i64;

/// An expression that can be called.
#[derive(Debug)]
pub(crate) struct Program {
    region: CodeRegion,
    abi: Abi,
    host: Host,
}

impl Program {
    /// # Errors
    /// If `text` is no expression, calls what the host does not have, or there is no memory for it.
    pub(crate) fn new(text: &str, abi: Abi) -> Result<Program, Box<dyn Error + Send + Sync>> {
        let (code, layout) = compile(&Expr::parse(text)?, abi)?;
        // One region for one function is fine for a few; a real JIT puts many into one.
        let mut region = CodeRegion::builder(code.len())?;
        region.push(&code, &layout)?;
        Ok(Program {
            region: region.seal()?,
            abi,
            host: Host,
        })
    }

    /// What the expression is for this `x`.
    ///
    /// # Panics
    /// If a function of the host does.
    // Not inlined, and with nothing to drop: the compiler takes it that a win64 function keeps `rsi`, `rdi` and `xmm6` to
    // `xmm15` also when it unwinds, but unwinders on Linux do not give these back. Here nobody looks at them, and this
    // function's caller does not expect them.
    #[inline(never)]
    pub(crate) fn call(&self, x: i64) -> i64 {
        let entry = self.region.function(0);
        // SAFETY: `compile` made a function of this type, by this ABI, and the layout came with it from
        // the emitter. While it runs, or is parked, `self` is borrowed: the region and the host stay.
        unsafe {
            match self.abi {
                Abi::SysV => transmute::<*const u8, Sysv64>(entry)(&self.host, x),
                Abi::Win64 => transmute::<*const u8, Win64>(entry)(&self.host, x),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::expr::Operator;

    /// The same without machine code.
    fn value(expr: &Expr, x: i64) -> i64 {
        match expr {
            Expr::Number(number) => *number,
            Expr::X => x,
            Expr::Call(name, argument) => Host::call_by_name(name, value(argument, x)),
            Expr::Binary(operator, left, right) => {
                let (left, right) = (value(left, x), value(right, x));
                match operator {
                    Operator::Add => left.wrapping_add(right),
                    Operator::Subtract => left.wrapping_sub(right),
                    Operator::Multiply => left.wrapping_mul(right),
                }
            }
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("x".to_owned()),
            any::<u32>().prop_map(|n| n.to_string())
        ];
        leaf.prop_recursive(5, 40, 2, |inner| {
            prop_oneof![
                (inner.clone(), "[-+*]", inner.clone())
                    .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
                inner.prop_map(|a| format!("twice({a})")),
            ]
        })
    }

    proptest! {
        #[test]
        fn code_computes_what_the_text_says(text in texts(), x in any::<i64>()) {
            let expected = value(&Expr::parse(&text).unwrap(), x);
            for abi in [Abi::SysV, Abi::Win64] {
                prop_assert_eq!(Program::new(&text, abi).unwrap().call(x), expected);
            }
        }
    }

    #[test]
    fn the_longest_chain_is_compiled() {
        for abi in [Abi::SysV, Abi::Win64] {
            let text = format!("1{}", "+x".repeat(999));
            assert_eq!(Program::new(&text, abi).unwrap().call(2), 1999);
        }
    }

    #[test]
    fn what_it_cannot_call() {
        let error = Program::new("1 + nothing(2)", Abi::SysV)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "there is no function nothing; there are twice, wait, fail, trace"
        );
    }
}
