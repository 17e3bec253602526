//! Tens of thousands of functions in one region.

use std::time::Instant;

use switch_asm::unwind_info::CodeRegion;

use crate::code;

const FUNCTIONS: usize = 40_000;

extern "sysv64-unwind" fn throws(arg: usize) {
    std::panic::resume_unwind(Box::new(arg));
}

#[test]
fn forty_thousand_functions() {
    let (code, layout) = code::sysv();
    let mut builder = CodeRegion::builder(FUNCTIONS * 48).expect("memory");
    let begun = Instant::now();
    for number in 0..FUNCTIONS {
        assert_eq!(builder.push(&code, &layout).expect("room"), number);
    }
    println!("described: {:?}", begun.elapsed());
    let begun = Instant::now();
    let region = builder.seal().expect("registered");
    println!("sealed: {:?}", begun.elapsed());
    for number in [FUNCTIONS / 2, 0, 1, 12_345, FUNCTIONS - 1] {
        let function = code::as_sysv(&region, number);
        let begun = Instant::now();
        // SAFETY: the region lives.
        let caught = std::panic::catch_unwind(|| unsafe { function(throws, number) });
        println!("thrown through {number}: {:?}", begun.elapsed());
        assert_eq!(caught.expect_err("it panics").downcast_ref(), Some(&number));
    }
    let begun = Instant::now();
    drop(region);
    println!("dropped: {:?}", begun.elapsed());
}
