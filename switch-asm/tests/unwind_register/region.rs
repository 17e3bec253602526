//! Regions: what is refused, where functions are, and what memory may do.

use switch_asm::unwind_info::dwarf::DwarfError;
use switch_asm::unwind_info::{CodeRegion, FrameLayout, RegisterError};

use crate::code;

fn leaf(len: u32) -> FrameLayout {
    FrameLayout::leaf(len).expect("a valid layout")
}

/// What the kernel says that the memory at `address` may do; `None` if there is none.
fn access(address: *const u8) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let line = maps.lines().find(|line| {
        let (range, _) = line.split_once(' ').expect("a range");
        let (start, end) = range.split_once('-').expect("two addresses");
        let parse = |hex: &str| usize::from_str_radix(hex, 16).expect("hexadecimal");
        (parse(start)..parse(end)).contains(&address.addr())
    })?;
    Some(line.split(' ').nth(1).expect("what it may do").to_owned())
}

#[test]
fn writable_or_executable_or_gone() {
    let (code, layout) = code::sysv();
    let mut builder = CodeRegion::builder(100_000).expect("memory");
    let address = builder.next_address();
    assert_eq!(access(address).as_deref(), Some("rw-p"));
    builder.push(&code, &layout).expect("room");
    let region = builder.seal().expect("registered");
    assert_eq!(region.function(0), address);
    assert_eq!(access(address).as_deref(), Some("r-xp"));
    assert_eq!(
        access(address.wrapping_add(99_999)).as_deref(),
        Some("r-xp")
    );
    // SAFETY: that is where the code is.
    let copied = unsafe { std::slice::from_raw_parts(address, code.len()) };
    assert_eq!(copied, code);
    let moved = std::thread::spawn(move || region).join().expect("it moves");
    assert_eq!(access(address).as_deref(), Some("r-xp"));
    drop(moved);
    assert_ne!(access(address).as_deref(), Some("r-xp"));
}

#[test]
fn functions_are_where_it_said() {
    let mut builder = CodeRegion::builder(4096).expect("memory");
    let mut said = Vec::new();
    for len in [1, 15, 16, 17, 40] {
        said.push(builder.next_address());
        let code = vec![0xc3; len];
        let number = builder.push(&code, &leaf(len as u32)).expect("room");
        assert_eq!(number, said.len() - 1);
    }
    let region = builder.seal().expect("registered");
    assert_eq!((region.len(), region.is_empty()), (5, false));
    for (number, address) in said.iter().enumerate() {
        assert_eq!(region.function(number), *address);
        assert!(address.addr().is_multiple_of(16));
    }
    // What lies between them traps.
    // SAFETY: between the first and the second.
    let gap = unsafe { std::slice::from_raw_parts(said[0].wrapping_add(1), 15) };
    assert_eq!(gap, [0xcc; 15]);
}

#[test]
fn full() {
    let mut builder = CodeRegion::builder(40).expect("memory");
    builder.push(&[0xc3; 20], &leaf(20)).expect("room");
    let refused = |result: Result<usize, RegisterError>| match result {
        Err(RegisterError::Full { needed, left }) => (needed, left),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(builder.push(&[0xc3; 9], &leaf(9))), (9, 8));
    assert_eq!(builder.push(&[0xc3; 8], &leaf(8)).expect("room"), 1);
    assert_eq!(refused(builder.push(&[0xc3], &leaf(1))), (1, 0));
    let region = builder.seal().expect("registered");
    assert_eq!(region.len(), 2);
}

#[test]
fn code_of_another_length_than_its_layout() {
    let mut builder = CodeRegion::builder(100).expect("memory");
    let error = builder
        .push(&[0xc3; 3], &leaf(4))
        .expect_err("another length");
    assert!(
        matches!(error, RegisterError::CodeLen { code: 3, layout: 4 }),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "3 bytes of code with a layout for 4");
    assert!(builder.seal().expect("registered").is_empty());
}

#[test]
fn without_functions() {
    let region = CodeRegion::builder(0)
        .expect("memory")
        .seal()
        .expect("registered");
    assert!(region.is_empty());
    assert!(std::panic::catch_unwind(|| region.function(0)).is_err());
}

#[test]
fn more_memory_than_there_is() {
    let error = CodeRegion::builder(usize::MAX / 2).expect_err("too much");
    let RegisterError::Memory { what, ref error } = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (what, error.raw_os_error()),
        ("map memory for code", Some(libc::ENOMEM))
    );
}

#[test]
fn errors_say_what_is_wrong() {
    let said = |error: RegisterError| error.to_string();
    assert!(said(RegisterError::Unsupported).contains("unwinder"));
    assert!(said(RegisterError::BadSection { at: 77 }).contains("77"));
    assert!(said(RegisterError::Refused).contains("function table"));
    assert!(said(RegisterError::Full { needed: 9, left: 8 }).contains("9 bytes needed, 8 left"));
    let too_long = DwarfError::SectionTooLong;
    assert_eq!(said(too_long.into()), too_long.to_string());
}
