//! Makes a function table.

use alloc::vec::Vec;

use super::encode::{append, check_parent};
use super::error::EncodeError;
use super::intern::Pieces;
use super::options::{Chain, Options};
use super::runtime_function::RuntimeFunction;
use super::table::Table;
use crate::unwind_info::{FrameLayout, Gpr};

/// Collects the functions of a region, in any order.
///
/// ```
/// use switch_asm::unwind_info::winx64::{Options, TableBuilder};
/// use switch_asm::unwind_info::{FrameLayout, Gpr, Op};
///
/// let layout = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx)).op(5, Op::Alloc(32)).code_len(0x20).finish()?;
/// let mut builder = TableBuilder::new(0x10000);
/// builder.add(0x11020, &layout, &Options::new())?;
/// builder.add(0x11000, &layout, &Options::new())?;
/// let table = builder.finish(0x18000)?;
/// assert_eq!(table.pdata.len(), 2);
/// assert_eq!(table.pdata[0].begin, 0x1000);
/// // Both have the same frame.
/// assert_eq!(table.xdata.len(), 8);
/// assert_eq!(table.pdata[0].unwind, table.pdata[1].unwind);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TableBuilder {
    base: u64,
    entries: Vec<Entry>,
    xdata: Pieces,
    /// Places in `xdata` with an [`IS_OFFSET`] that has to become an RVA.
    links: Vec<u32>,
}

/// Marks the link of a chain that is an offset in the builder's `xdata`: RVAs are multiples of 4.
const IS_OFFSET: u32 = 1;

/// A function that was added to a [`TableBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionId(usize);

#[derive(Clone, Copy, Debug)]
struct Entry {
    begin: u32,
    end: u32,
    /// Offset in the builder's `xdata`. A leaf has none.
    unwind: Option<u32>,
    frame: Option<(Gpr, u16)>,
}

impl TableBuilder {
    /// A table whose RVAs count from `base`: a multiple of 4, not above any of its functions.
    pub const fn new(base: u64) -> TableBuilder {
        TableBuilder {
            base,
            entries: Vec::new(),
            xdata: Pieces::new(),
            links: Vec::new(),
        }
    }

    /// Adds a function that lies at `address`. A leaf without handler and chain gets no entry, since it needs none.
    ///
    /// # Errors
    /// Those of [`encode`](super::encode), and [`RvaRange`](EncodeError::RvaRange) if the function is not in the
    /// 4 GiB from the base on. The builder is then as it was.
    pub fn add(
        &mut self,
        address: u64,
        layout: &FrameLayout,
        options: &Options<'_>,
    ) -> Result<FunctionId, EncodeError> {
        let mut frame = layout.frame_register();
        if let Some(chain) = options.chain() {
            check_parent(chain)?;
            frame = chain.frame;
        }
        let mut entry = self.entry(address, layout, frame)?;
        if !layout.is_leaf() || *options != Options::new() {
            entry.unwind = Some(self.write(layout, options)?);
        }
        Ok(self.push(entry))
    }

    /// Adds a further region, at `address`, of the function `parent` or of a region of it: see [`Chain`].
    ///
    /// # Errors
    /// As [`add`](Self::add) (eight unused bytes may be left in the information), and [`NoSuchFunction`](EncodeError::NoSuchFunction) if this builder has not that many functions. (Another
    /// builder's number is not told from one of its own.)
    pub fn add_chained(
        &mut self,
        address: u64,
        layout: &FrameLayout,
        parent: FunctionId,
    ) -> Result<FunctionId, EncodeError> {
        let of = self.entries.get(parent.0);
        let &Entry {
            begin,
            end,
            unwind,
            frame,
        } = of.ok_or(EncodeError::NoSuchFunction)?;
        let mut entry = self.entry(address, layout, frame)?;
        // A leaf that has regions needs an entry for them.
        let unwind = match unwind {
            Some(unwind) => unwind,
            None => self.write(&leaf(end - begin), &Options::new())?,
        };
        let chain = Chain {
            frame,
            parent: RuntimeFunction {
                begin,
                end,
                unwind: unwind | IS_OFFSET,
            },
        };
        let before = self.xdata.bytes().len();
        let at = self.write(layout, &Options::new().with_chain(chain))?;
        self.entries[parent.0].unwind = Some(unwind);
        // An equal region of the same parent has that link already.
        let after = self.xdata.bytes().len();
        if after > before {
            let link = u32::try_from(after - 4).map_err(|_| self.out_of_range(u64::MAX))?;
            self.links.push(link);
        }
        entry.unwind = Some(at);
        Ok(self.push(entry))
    }

    /// The table, whose information will lie at `xdata_address`: a multiple of 4.
    ///
    /// # Errors
    /// [`Unaligned`](EncodeError::Unaligned), [`RvaRange`](EncodeError::RvaRange) if the information is not in the
    /// 4 GiB from the base on, [`Overlap`](EncodeError::Overlap).
    pub fn finish(mut self, xdata_address: u64) -> Result<Table, EncodeError> {
        let base = self.base;
        for address in [base, xdata_address] {
            if !address.is_multiple_of(4) {
                return Err(EncodeError::Unaligned { address });
            }
        }
        let first = self.rva(xdata_address)?;
        let len = self.xdata.bytes().len() as u64;
        if len > u64::from(u32::MAX - first) {
            return Err(self.out_of_range(xdata_address.saturating_add(len)));
        }
        self.entries.sort_unstable_by_key(|entry| entry.begin);
        for pair in self.entries.windows(2) {
            if pair[1].begin < pair[0].end {
                let address = base + u64::from(pair[1].begin);
                return Err(EncodeError::Overlap { address });
            }
        }
        let function = |entry: &Entry| {
            Some(RuntimeFunction {
                begin: entry.begin,
                end: entry.end,
                unwind: first + entry.unwind?,
            })
        };
        let pdata = self.entries.iter().filter_map(function).collect();
        let mut xdata = self.xdata.into_bytes();
        for at in self.links {
            let link = &mut xdata[at as usize..][..4];
            let offset = u32::from_le_bytes([link[0], link[1], link[2], link[3]]);
            link.copy_from_slice(&(first + (offset & !IS_OFFSET)).to_le_bytes());
        }
        Ok(Table {
            base,
            pdata,
            xdata_address,
            xdata,
        })
    }

    fn entry(
        &self,
        address: u64,
        layout: &FrameLayout,
        frame: Option<(Gpr, u16)>,
    ) -> Result<Entry, EncodeError> {
        let begin = self.rva(address)?;
        let end = begin
            .checked_add(layout.code_len())
            .ok_or_else(|| self.out_of_range(address.saturating_add(layout.code_len().into())))?;
        Ok(Entry {
            begin,
            end,
            unwind: None,
            frame,
        })
    }

    fn push(&mut self, entry: Entry) -> FunctionId {
        self.entries.push(entry);
        FunctionId(self.entries.len() - 1)
    }

    fn write(&mut self, layout: &FrameLayout, options: &Options<'_>) -> Result<u32, EncodeError> {
        let at = self.xdata.add(|bytes| append(bytes, layout, options))?;
        at.ok_or_else(|| self.out_of_range(u64::MAX))
    }

    fn rva(&self, address: u64) -> Result<u32, EncodeError> {
        let rva = address.checked_sub(self.base);
        rva.and_then(|rva| u32::try_from(rva).ok())
            .ok_or_else(|| self.out_of_range(address))
    }

    const fn out_of_range(&self, address: u64) -> EncodeError {
        EncodeError::RvaRange {
            address,
            base: self.base,
        }
    }
}

fn leaf(code_len: u32) -> FrameLayout {
    FrameLayout::leaf(code_len).expect("what was added has code")
}
