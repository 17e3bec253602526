//! Making unwind information known to the unwinder of this process.
