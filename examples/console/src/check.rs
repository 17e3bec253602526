//! A console without a screen: sees the fibers by name, with polls, busy time and wakes that match what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use console_api::field::{Name, Value};
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{InstrumentRequest, Update};
use console_api::tasks::{Stats, Task};
use tokio::time::{Instant, timeout_at};

use crate::work::{BUSY, TIMES, Work};
use crate::{Result, server};

/// What has to be seen does not depend on time, but it has to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fiber, as a console shows it.
#[derive(Debug, Default)]
struct Seen {
    fields: BTreeMap<String, String>,
    location: Option<String>,
    stats: Stats,
}

impl Seen {
    fn polls(&self) -> u64 {
        self.stats
            .poll_stats
            .as_ref()
            .map_or(0, |stats| stats.polls)
    }

    fn busy(&self) -> Duration {
        let stats = self.stats.poll_stats.as_ref();
        let busy = stats.and_then(|stats| stats.busy_time);
        busy.and_then(|busy| busy.try_into().ok())
            .unwrap_or_default()
    }

    fn has_ended(&self) -> bool {
        self.stats.dropped_at.is_some()
    }
}

pub(crate) fn run() -> Result {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = server::start(free, Duration::from_millis(100))?;
    println!("console server on {address}");
    let runtime = sisal::Runtime::builder().workers(2).build()?;
    let mut work = Work::start(&runtime);
    runtime.run(|| work.join());
    // The client's own runtime is none that a console sees.
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let seen = client.block_on(watch(address))?;
    for (name, fiber) in &seen {
        println!(
            "{name:8} polls {:3}  wakes {:3}  self wakes {:3}  clones {}  busy {:?}  ended {}  at {}  {:?}",
            fiber.polls(),
            fiber.stats.wakes,
            fiber.stats.self_wakes,
            fiber.stats.waker_clones,
            fiber.busy(),
            fiber.has_ended(),
            fiber.location.as_deref().unwrap_or("-"),
            fiber.fields,
        );
    }
    let wrong = check(&seen);
    work.end(&runtime);
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n       ").into()),
    }
}

/// The fibers with names, when those that end have ended.
async fn watch(
    address: SocketAddr,
) -> std::result::Result<BTreeMap<String, Seen>, Box<dyn std::error::Error + Send + Sync>> {
    let deadline = Instant::now() + PATIENCE;
    let mut client = InstrumentClient::connect(format!("http://{address}")).await?;
    let mut updates = client
        .watch_updates(InstrumentRequest {})
        .await?
        .into_inner();
    let mut tasks: BTreeMap<u64, Seen> = BTreeMap::new();
    let mut count = 0;
    loop {
        let update = match timeout_at(deadline, updates.message()).await {
            Ok(update) => update?.ok_or("the server hung up")?,
            Err(_) => break, // `check` says what is missing
        };
        count += 1;
        take(update, &mut tasks);
        let ended = |fiber: &&Seen| fiber.has_ended();
        let names = |fiber: &&Seen| fiber.fields.contains_key("task.name");
        if tasks.values().filter(names).filter(ended).count() >= 5 {
            break;
        }
    }
    println!("{count} updates, {} fibers", tasks.len());
    let named = |mut fiber: Seen| Some((fiber.fields.remove("task.name")?, fiber));
    Ok(tasks.into_values().filter_map(named).collect())
}

fn take(update: Update, tasks: &mut BTreeMap<u64, Seen>) {
    let Some(update) = update.task_update else {
        return;
    };
    for task in update.new_tasks {
        let id = task.id.as_ref().map_or(0, |id| id.id);
        let seen = tasks.entry(id).or_default();
        seen.fields = fields(&task);
        seen.location = task.location.map(|place| {
            let file = place.file.unwrap_or_default();
            format!("{file}:{}", place.line.unwrap_or_default())
        });
    }
    for (id, stats) in update.stats_update {
        tasks.entry(id).or_default().stats = stats;
    }
}

fn fields(task: &Task) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for field in &task.fields {
        let (Some(Name::StrName(name)), Some(value)) = (&field.name, &field.value) else {
            continue;
        };
        let value = match value {
            Value::StrVal(text) | Value::DebugVal(text) => text.clone(),
            Value::U64Val(number) => number.to_string(),
            Value::I64Val(number) => number.to_string(),
            Value::BoolVal(truth) => truth.to_string(),
        };
        fields.insert(name.clone(), value);
    }
    fields
}

/// What is not as it should be.
fn check(seen: &BTreeMap<String, Seen>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: String, holds: bool| {
        if !holds {
            wrong.push(format!("not so: {what}"));
        }
    };
    let names: Vec<&str> = seen.keys().map(String::as_str).collect();
    let all = ["busy", "parks", "sleeps", "unparks", "waits", "yields"];
    expect(
        format!("the fibers are {all:?}, seen {names:?}"),
        names == all,
    );
    let places: BTreeSet<_> = seen.values().map(|fiber| &fiber.location).collect();
    expect(
        format!("each at a place of its own: {places:?}"),
        places.len() == all.len(),
    );
    for (name, fiber) in seen {
        let (polls, wakes) = (fiber.polls(), fiber.stats.wakes);
        // The first run is nobody's wake, every other is.
        expect(
            format!("{name}: {polls} polls, {wakes} wakes"),
            polls == wakes + 1,
        );
        expect(format!("{name} was busy"), fiber.busy() > Duration::ZERO);
        expect(
            format!("{name} has one waker"),
            fiber.stats.waker_clones == 1,
        );
        expect(
            format!("{name} has ended"),
            fiber.has_ended() == (name != "waits"),
        );
        let place = fiber.location.as_deref().unwrap_or_default();
        expect(
            format!("{name} is spawned at {place}"),
            place.contains("work.rs:"),
        );
        let number = |field: &str| {
            fiber
                .fields
                .get(field)
                .and_then(|text| text.parse::<u64>().ok())
        };
        expect(
            format!("{name} has a stack"),
            number("stack.bytes") >= Some(64 << 10),
        );
    }
    let Some(of) = all
        .iter()
        .map(|name| seen.get(*name))
        .collect::<Option<Vec<_>>>()
    else {
        return wrong;
    };
    let [busy, parks, sleeps, unparks, waits, yields] = of[..] else {
        unreachable!("as many as names");
    };
    expect(
        "yields: a poll for each and the first".into(),
        yields.polls() == TIMES + 1,
    );
    expect(
        "yields: woke itself".into(),
        yields.stats.self_wakes == TIMES,
    );
    expect(
        "busy: a poll for each and the first".into(),
        busy.polls() == TIMES + 1,
    );
    expect(
        "busy: as long as it was".into(),
        busy.busy() >= BUSY * TIMES as u32,
    );
    // On a machine that is busy a timer may be over, and a token there, before the fiber waits for it.
    let most = |fiber: &Seen| (TIMES / 2..=TIMES + 1).contains(&fiber.polls());
    expect("sleeps: a poll for each and the first".into(), most(sleeps));
    expect("parks: a poll for each and the first".into(), most(parks));
    expect("parks: others woke it".into(), parks.stats.self_wakes == 0);
    expect(
        "unparks: a poll for each and more".into(),
        unparks.polls() > TIMES / 2,
    );
    expect("waits: one poll".into(), waits.polls() == 1);
    wrong
}
