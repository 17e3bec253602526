//! Random traffic over everything that Sisal has, with its invariants counted: every fiber ends once, every value
//! is dropped once, every message comes once or is lost to a cancel, and the process holds no more at the end.
//!
//! `cargo run --release -p sisal-soak -- --seed 7 --seconds 60`. A failure prints what every fiber was doing.

mod channels;
mod files;
mod ledger;
mod locks;
mod operations;
mod random;
mod traffic;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;

use ledger::{Ledger, Totals};
use random::Random;

#[derive(Parser)]
struct Args {
    /// Of all decisions; a random one if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// This round only, again and again.
    #[arg(long)]
    round: Option<u64>,
    /// Without progress for so many seconds, it hangs.
    #[arg(long, default_value_t = 25)]
    patience: u64,
}

/// The books of the round that is under way, for whoever finds something wrong.
static CURRENT: Mutex<Option<Arc<Ledger>>> = Mutex::new(None);

fn current() -> Option<Arc<Ledger>> {
    let current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    current.clone()
}

/// ERROR events: a panic that was planned and nobody joined is fine, everything else is not.
struct Events;

impl tracing::Subscriber for Events {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR && metadata.target().starts_with("sisal")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let planned = message.0.contains("nobody joined") && message.0.contains("no string");
        if !planned {
            fail(&format!("an event: {}", message.0));
        }
    }

    // Sisal has no spans.
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn fail(what: &str) -> ! {
    match current() {
        Some(ledger) => ledger.fail(what),
        None => panic!("{what}"),
    }
}

/// Fails if a round makes no progress, or has no end.
fn watch(patience: Duration) {
    let (mut operations, mut title) = (0, String::new());
    let (mut progress, mut begun) = (Instant::now(), Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let Some(ledger) = current() else {
            progress = Instant::now();
            continue;
        };
        let now = ledger.totals().operations;
        if ledger.title != title {
            title.clone_from(&ledger.title);
            begun = Instant::now();
        } else if now == operations && progress.elapsed() > patience {
            ledger.fail("nothing goes on any more");
        }
        if begun.elapsed() > patience * 4 {
            ledger.fail("the round does not end");
        }
        if now != operations {
            (operations, progress) = (now, Instant::now());
        }
    }
}

/// Threads, descriptors and mappings of this process.
fn holdings() -> [usize; 3] {
    let entries = |dir| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let tasks = entries("/proc/self/task");
    [tasks, entries("/proc/self/fd"), maps.lines().count()]
}

/// Threads that have ended may be listed for a moment longer.
fn holdings_at_rest(most: [usize; 3]) -> [usize; 3] {
    let begun = Instant::now();
    loop {
        let now = holdings();
        let fine = now.iter().zip(&most).all(|(now, most)| now <= most);
        if fine || begun.elapsed() > Duration::from_secs(15) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| {
        use std::hash::{BuildHasher, Hasher};
        std::hash::RandomState::new().build_hasher().finish() >> 16
    });
    println!("soak: seed {seed}, {} s", args.seconds);
    tracing::subscriber::set_global_default(Events).expect("the first");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Planned panics are thrown without a hook, but for that of a scope whose child panicked.
        let text = info.payload_as_str().unwrap_or_default();
        if text.starts_with("a scoped fiber gave no result") {
            return;
        }
        hook(info);
        fail("a panic that nobody planned");
    }));
    let patience = Duration::from_secs(args.patience);
    std::thread::spawn(move || watch(patience));
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads are left");
    files::make_folder();
    // Starts the default runtime, which stays.
    sisal::run(|| ());

    let begun = Instant::now();
    let (mut sum, mut names) = (Totals::default(), BTreeMap::<&str, u64>::new());
    let mut first: Option<[usize; 3]> = None;
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        let number = args.round.unwrap_or(rounds);
        let mut r = Random::new(seed ^ number.wrapping_mul(0xA076_1D64_78BD_642F));
        let ledger = Ledger::new(format!("seed {seed}, round {number}, the {rounds}th"));
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&ledger));
        let length = Duration::from_millis(20 + r.below(600));
        world::round(&ledger, foreign.handle(), &mut r, length);
        // Tasks of the foreign runtime may hold books for a moment longer.
        let since = Instant::now();
        while Arc::strong_count(&ledger) > 2 && since.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
        ledger.close();
        let totals = ledger.totals();
        sum.fibers += totals.fibers;
        sum.values += totals.values;
        sum.sent += totals.sent;
        sum.received += totals.received;
        sum.lost += totals.lost;
        sum.operations += totals.operations;
        for (name, count) in ledger.by_name() {
            *names.entry(name).or_default() += count;
        }
        rounds += 1;
        // The first rounds fill glibc's caches and start the foreign runtime's threads.
        if rounds == 12 {
            std::thread::sleep(Duration::from_secs(1));
            first = Some(holdings());
        } else if let Some([threads, files, maps]) = first
            && rounds % 8 == 0
        {
            // Arenas move about, and so do idle blocking threads of tokio's.
            let most = [threads + 8, files, maps + 60];
            let now = holdings_at_rest(most);
            let grown = now.iter().zip(&most).any(|(now, most)| now > most);
            ledger.check(!grown, || {
                format!("threads, descriptors, mappings: {now:?}, after 12 rounds {first:?}")
            });
        }
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    files::remove_folder();
    for (name, count) in names {
        println!("  {count:>9} {name}");
    }
    println!(
        "soak: {rounds} rounds, {sum:?}, threads, descriptors, mappings {:?}",
        holdings()
    );
    println!(
        "soak: seed {seed}: no failure in {} s",
        begun.elapsed().as_secs()
    );
}
