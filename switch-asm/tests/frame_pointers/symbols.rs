//! Names for addresses of this program, from its own symbol table.

/// The functions of this program, by address.
pub(crate) struct Symbols {
    /// Start, size, name.
    functions: Vec<(usize, usize, String)>,
}

// The ELF format, as far as needed: offsets in the file header, in a section
// header and in a symbol.
const E_PHOFF: usize = 0x20;
const E_SHOFF: usize = 0x28;
const E_SHNUM: usize = 0x3c;
const SECTION_HEADER_SIZE: usize = 0x40;
const SH_TYPE: usize = 0x04;
const SH_OFFSET: usize = 0x18;
const SH_SIZE: usize = 0x20;
const SH_LINK: usize = 0x28;
const SYMBOL_TABLE: usize = 2;
const SYMBOL_SIZE: usize = 0x18;
const FUNCTION: usize = 2;

impl Symbols {
    pub(crate) fn load() -> Symbols {
        let file = std::fs::read("/proc/self/exe").expect("our own file");
        let number = |at: usize, len: usize| {
            let mut bytes = [0; 8];
            bytes[..len].copy_from_slice(&file[at..at + len]);
            usize::from_le_bytes(bytes)
        };
        // SAFETY: asks for a number.
        let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
        // The program headers are mapped with the first byte of the file.
        let loaded_at = headers - number(E_PHOFF, 8);
        let section = |index| number(E_SHOFF, 8) + index * SECTION_HEADER_SIZE;
        let table = (0..number(E_SHNUM, 2))
            .map(section)
            .find(|&header| number(header + SH_TYPE, 4) == SYMBOL_TABLE)
            .expect("tests are not stripped");
        let names = number(section(number(table + SH_LINK, 4)) + SH_OFFSET, 8);
        let (start, size) = (number(table + SH_OFFSET, 8), number(table + SH_SIZE, 8));
        let functions = (start..start + size)
            .step_by(SYMBOL_SIZE)
            .filter(|&symbol| number(symbol + 4, 1) & 15 == FUNCTION)
            .map(|symbol| {
                let name = file[names + number(symbol, 4)..]
                    .split(|&byte| byte == 0)
                    .next();
                let name = String::from_utf8_lossy(name.expect("it has an end")).into_owned();
                (
                    loaded_at + number(symbol + 8, 8),
                    number(symbol + 16, 8),
                    name,
                )
            })
            .collect();
        Symbols { functions }
    }

    /// The mangled name of the function that has `address`.
    pub(crate) fn name(&self, address: usize) -> &str {
        let found = self
            .functions
            .iter()
            .find(|(start, size, _)| (*start..start + size).contains(&address));
        found.map_or("?", |(_, _, name)| name)
    }
}
