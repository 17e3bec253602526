//! DWARF's call frame information, as `.eh_frame` has it.
