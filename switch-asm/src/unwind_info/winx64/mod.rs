//! Windows' unwind information for x64: `UNWIND_INFO` and function tables. Little endian, always.
