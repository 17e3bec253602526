//! The function table of a region.

use alloc::vec::Vec;

use super::function::Image;
use super::runtime_function::RuntimeFunction;

/// What [`TableBuilder`](super::TableBuilder) makes, as `RtlAddFunctionTable` takes it: entries in the order
/// of their addresses, and the information that they point at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// What all RVAs count from.
    pub base: u64,
    /// The entries. They must lie in memory as long as they are registered.
    pub pdata: Vec<RuntimeFunction>,
    /// Where `xdata` has to be copied to before a walk or a registration.
    pub xdata_address: u64,
    /// All `UNWIND_INFO`.
    pub xdata: Vec<u8>,
}

impl Table {
    /// The entry of the function that `address` is in. `None`: no function of the region, or a leaf.
    pub fn function(&self, address: u64) -> Option<RuntimeFunction> {
        let rva = u32::try_from(address.checked_sub(self.base)?).ok()?;
        self.function_at(rva)
    }
}

impl Image for Table {
    fn unwind_info(&self, rva: u32) -> Option<&[u8]> {
        let at = self.base.checked_add(rva.into())?;
        let offset = usize::try_from(at.checked_sub(self.xdata_address)?).ok()?;
        self.xdata.get(offset..)
    }

    fn function_at(&self, rva: u32) -> Option<RuntimeFunction> {
        let after = self.pdata.partition_point(|entry| entry.begin <= rva);
        let entry = *self.pdata.get(after.checked_sub(1)?)?;
        entry.contains(rva).then_some(entry)
    }
}
