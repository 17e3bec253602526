//! The language: integers, `x`, `+ - *`, brackets, and calls of Rust functions by name. Must not know machine code.

use std::fmt;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    Number(i64),
    /// The argument of the whole function.
    X,
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// A function of the host, by its name.
    Call(String, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// In bytes from its start.
    at: usize,
    expected: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for ParseError {}

/// Brackets and calls within each other: the parser and the compiler call themselves that deep, on whichever stack they are.
const DEEPEST: usize = 100;

/// Operators in one text: a chain of them is a tree as deep, and who compiles or drops that calls himself that deep too.
const MOST_OPERATORS: usize = 1000;

impl Expr {
    /// # Errors
    /// Where the text stops to be an expression.
    pub(crate) fn parse(text: &str) -> Result<Expr, ParseError> {
        let mut parser = Parser {
            text: text.as_bytes(),
            at: 0,
            depth: 0,
            operators: 0,
        };
        let expr = parser.sum()?;
        match parser.peek() {
            None => Ok(expr),
            Some(_) => Err(parser.expected("an operator or the end")),
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, expected: &'static str) -> ParseError {
        ParseError {
            at: self.at,
            expected,
        }
    }

    fn operator(&mut self) -> Result<(), ParseError> {
        self.operators += 1;
        match self.operators < MOST_OPERATORS {
            true => Ok(()),
            false => Err(self.expected("less than 1,000 operators")),
        }
    }

    fn sum(&mut self) -> Result<Expr, ParseError> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Some(b'+') => Operator::Add,
                Some(b'-') => Operator::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            self.operator()?;
            left = Expr::Binary(operator, left.into(), self.product()?.into());
        }
    }

    fn product(&mut self) -> Result<Expr, ParseError> {
        let mut left = self.term()?;
        while self.take(b'*') {
            self.operator()?;
            left = Expr::Binary(Operator::Multiply, left.into(), self.term()?.into());
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Expr, ParseError> {
        match self.peek() {
            Some(b'0'..=b'9') => self.number(),
            Some(b'(') => self.bracket(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                let name = self.word();
                match self.peek() {
                    Some(b'(') => Ok(Expr::Call(name, self.bracket()?.into())),
                    _ if name == "x" => Ok(Expr::X),
                    _ => Err(self.expected("`(` after the name of a function")),
                }
            }
            _ => Err(self.expected("a number, `x`, a call or `(`")),
        }
    }

    fn bracket(&mut self) -> Result<Expr, ParseError> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.expected("less than 100 brackets within each other"));
        }
        let inner = self.sum()?;
        self.depth -= 1;
        match self.take(b')') {
            true => Ok(inner),
            false => Err(self.expected("`)`")),
        }
    }

    fn word(&mut self) -> String {
        self.span(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let start = self.at;
        let digits = self.span(|byte| byte.is_ascii_digit());
        digits.parse().map(Expr::Number).map_err(|_| ParseError {
            at: start,
            expected: "a number below 2^63",
        })
    }

    fn span(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        let rest = &self.text[self.at..];
        let length = rest
            .iter()
            .position(|&byte| !belongs(byte))
            .unwrap_or(rest.len());
        self.at += length;
        rest[..length].iter().copied().map(char::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Expr::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn products_bind_closer_and_the_left_comes_first() {
        let parsed = Expr::parse("1 - x*2 - f(3)").unwrap();
        let expected = Expr::Binary(
            Operator::Subtract,
            Expr::Binary(
                Operator::Subtract,
                Expr::Number(1).into(),
                Expr::Binary(Operator::Multiply, Expr::X.into(), Expr::Number(2).into()).into(),
            )
            .into(),
            Expr::Call("f".to_owned(), Expr::Number(3).into()).into(),
        );
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_wrong_and_where() {
        assert_eq!(
            error(""),
            "at byte 0: expected a number, `x`, a call or `(`"
        );
        assert_eq!(
            error("1 +"),
            "at byte 3: expected a number, `x`, a call or `(`"
        );
        assert_eq!(error("1 2"), "at byte 2: expected an operator or the end");
        assert_eq!(error("(1"), "at byte 2: expected `)`");
        assert_eq!(
            error("y"),
            "at byte 1: expected `(` after the name of a function"
        );
        assert_eq!(
            error("9223372036854775808"),
            "at byte 0: expected a number below 2^63"
        );
        assert!(error(&"(".repeat(10_000)).contains("100 brackets"));
    }

    #[test]
    fn chains_of_operators_end() {
        for operator in ["+1", "-1", "*1", "+1*1"] {
            let each = operator.len() / 2;
            let terms = |operators: usize| format!("1{}", operator.repeat(operators / each));
            assert!(Expr::parse(&terms(998)).is_ok());
            assert!(error(&terms(1000)).contains("less than 1,000 operators"));
            assert!(error(&terms(1_000_000)).contains("less than 1,000 operators"));
        }
    }
}
