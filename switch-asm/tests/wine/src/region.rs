//! The code in memory, with its table.

use switch_asm::unwind_info::winx64::{Handler, Options, Table, TableBuilder};

use crate::code::{COLD, HANDLER, INNER, OUTER, cold, inner, outer, thunk};
use crate::system::{
    READ_EXECUTE, READ_WRITE, RtlAddFunctionTable, RtlDeleteFunctionTable, VirtualAlloc,
    VirtualFree, VirtualProtect,
};

const LEN: usize = 0x4000;
const XDATA: usize = 0x2000;
const COMMIT: u32 = 0x3000;
const RELEASE: u32 = 0x8000;

pub(crate) type Callback = extern "C-unwind" fn(usize);

/// What the system calls about an exception in `outer`, on its way out.
pub(crate) type OnUnwind = extern "system" fn(*const u32, u64, *mut u8, *const u64) -> i32;

pub(crate) struct Region {
    memory: *mut u8,
    pub(crate) table: Table,
    registered: bool,
}

impl Region {
    /// Registered, and with bytes of its own for the handler.
    pub(crate) fn new(handler: Option<OnUnwind>, data: &[u8]) -> Region {
        let mut region = Region::not_registered(handler, data);
        let table = &region.table.pdata;
        let count = u32::try_from(table.len()).expect("few");
        // SAFETY: the table stays where it is until `drop`, which removes it first, and describes code that stays as it is.
        let added = unsafe { RtlAddFunctionTable(table.as_ptr(), count, region.table.base) };
        assert_ne!(added, 0);
        region.registered = true;
        region
    }

    pub(crate) fn not_registered(handler: Option<OnUnwind>, data: &[u8]) -> Region {
        // SAFETY: new memory.
        let memory = unsafe { VirtualAlloc(std::ptr::null_mut(), LEN, COMMIT, READ_WRITE) };
        assert!(!memory.is_null());
        let base = memory as u64;
        let mut builder = TableBuilder::new(base);
        let at = |offset: usize| base + offset as u64;
        let (outer_code, layout) = outer();
        let mut options = Options::new();
        if handler.is_some() {
            let rva = u32::try_from(HANDLER).expect("near");
            options = options.with_handler(Handler::new(rva).only_for_unwinds().with_data(data));
        }
        builder.add(at(OUTER), &layout, &options).expect("fits");
        let (inner_code, layout) = inner();
        let id = builder
            .add(at(INNER), &layout, &Options::new())
            .expect("fits");
        let (cold_code, layout) = cold();
        builder.add_chained(at(COLD), &layout, id).expect("fits");
        let table = builder.finish(at(XDATA)).expect("good");
        let handler = thunk(handler.map_or(0, |handler| handler as usize as u64));
        let pieces = [
            (OUTER, &outer_code),
            (INNER, &inner_code),
            (COLD, &cold_code),
            (HANDLER, &handler),
            (XDATA, &table.xdata),
        ];
        for (offset, bytes) in pieces {
            assert!(offset + bytes.len() <= LEN);
            // SAFETY: it is in the memory above, which nobody else knows.
            unsafe {
                memory
                    .add(offset)
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
            };
        }
        let mut old = 0;
        // SAFETY: all of the memory above.
        assert_ne!(
            unsafe { VirtualProtect(memory, LEN, READ_EXECUTE, &mut old) },
            0
        );
        Region {
            memory,
            table,
            registered: false,
        }
    }

    pub(crate) const fn address(&self, offset: usize) -> u64 {
        self.table.base + offset as u64
    }

    /// The function or region that an address is in: where it begins.
    pub(crate) fn part_of(&self, address: u64) -> Option<usize> {
        self.table
            .function(address)
            .map(|entry| entry.begin as usize)
    }

    /// Calls `outer`, which calls `inner`, which calls `callback`.
    pub(crate) fn call(&self, callback: Callback, argument: usize) {
        // SAFETY: that is what `outer` is.
        let outer: extern "C-unwind" fn(u64, Callback, usize) =
            unsafe { std::mem::transmute(self.address(OUTER) as *const u8) };
        outer(self.address(INNER), callback, argument);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.registered {
            // SAFETY: it was added, and no frame of its functions is left.
            let deleted = unsafe { RtlDeleteFunctionTable(self.table.pdata.as_ptr()) };
            assert_ne!(deleted, 0);
        }
        // SAFETY: nobody runs there, and the table is gone.
        unsafe { VirtualFree(self.memory, 0, RELEASE) };
    }
}
