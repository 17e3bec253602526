//! A function in which a walk stands, and what lies around it.

use super::decode::decode;
use super::info::UnwindInfo;
use super::runtime_function::RuntimeFunction;

/// The rest of the region in which a function is: needed where its
/// information is chained. A [`Table`](super::Table) is one. RVAs count from the table's base.
pub trait Image {
    /// The bytes from `rva` on, where an `UNWIND_INFO` begins.
    fn unwind_info(&self, rva: u32) -> Option<&[u8]>;

    /// The entry of the function that `rva` is in.
    fn function_at(&self, rva: u32) -> Option<RuntimeFunction>;
}

/// A function in which a walk stands.
#[derive(Clone, Copy)]
pub struct Function<'a> {
    pub(super) code: &'a [u8],
    pub(super) info: &'a UnwindInfo<'a>,
    pub(super) begin: u32,
    pub(super) image: Option<&'a dyn Image>,
}

impl<'a> Function<'a> {
    /// All its code, and what was decoded of it.
    pub const fn new(code: &'a [u8], info: &'a UnwindInfo<'a>) -> Function<'a> {
        Function {
            code,
            info,
            begin: 0,
            image: None,
        }
    }

    /// It lies at `begin`, counted from the base of `image`, where the rest of a
    /// chain is looked up.
    #[must_use]
    pub const fn within(mut self, begin: u32, image: &'a dyn Image) -> Function<'a> {
        self.begin = begin;
        self.image = Some(image);
        self
    }

    /// The function at the end of the chain that begins at `entry`.
    fn primary(image: &dyn Image, mut entry: RuntimeFunction) -> Option<RuntimeFunction> {
        for _ in 0..=super::unwind::MAX_LINKS {
            match decode(image.unwind_info(entry.unwind)?).ok()?.chain() {
                Some(parent) => entry = parent,
                None => return Some(entry),
            }
        }
        None
    }

    /// Whether a jump to `target`, counted from its start, leaves it for another
    /// function or begins it anew.
    pub(super) fn is_left_by_jump_to(&self, target: i64) -> bool {
        let within = target >= 0 && target < i64::try_from(self.code.len()).unwrap_or(i64::MAX);
        if within {
            return target == 0 && self.info.chain().is_none();
        }
        // It may go to another region of this function.
        let same = || {
            let image = self.image?;
            let target = u32::try_from(i64::from(self.begin) + target).ok()?;
            let theirs = Function::primary(image, image.function_at(target)?)?;
            let own = match self.info.chain() {
                Some(parent) => Function::primary(image, parent)?.begin,
                None => self.begin,
            };
            (own == theirs.begin && target != own).then_some(())
        };
        same().is_none()
    }
}

impl core::fmt::Debug for Function<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Function")
            .field("begin", &self.begin)
            .field("len", &self.code.len())
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
