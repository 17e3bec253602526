//! Stop 3: the latency table of `benches`.

use sisal_benches::Options;

use super::load::Progress;

pub(super) fn show() -> Result<(), String> {
    let mut progress = Progress::new();
    let report = sisal_benches::run(&Options::default(), &mut |line| progress.show(line));
    progress.clear();
    for line in report.short_table().lines() {
        println!("   {line}");
    }
    Ok(())
}
