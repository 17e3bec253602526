//! Stop 1: an ordinary tokio program that spawns fibers and awaits them.
//!
//! What runs in the fibers would be awkward as async code: recursion without boxes, sleeping in the
//! middle of it, waiting for a future three calls deep.

use std::fmt::Display;
use std::time::{Duration, Instant};

use sisal::fiber;
use tokio::sync::mpsc;

/// A node with two children per level below it.
struct Node {
    value: u64,
    children: Vec<Node>,
}

const DEPTH: u32 = 12;
const SLEEPERS: u32 = 1_000;
const NAP: Duration = Duration::from_millis(200);
const MESSAGES: u64 = 100_000;

pub(super) fn show() -> Result<(), String> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start tokio: {error}"))?;
    tokio.block_on(async {
        recursion().await?;
        sleeping().await?;
        channels().await
    })
}

/// One fiber walks a tree by plain recursion, and sleeps at the bottom now and then.
async fn recursion() -> Result<(), String> {
    let begun = Instant::now();
    let nodes = (1 << (DEPTH + 1)) - 1;
    let tree = grow(1, DEPTH);
    let sum = sisal::spawn(move || walk(&tree, 0)).await.map_err(text)?;
    let line = format!("a fiber walked {nodes} nodes by recursion and slept on the way");
    check(&line, begun, sum == nodes * (nodes + 1) / 2)
}

fn grow(value: u64, depth: u32) -> Node {
    let children = match depth {
        0 => Vec::new(),
        _ => vec![grow(2 * value, depth - 1), grow(2 * value + 1, depth - 1)],
    };
    Node { value, children }
}

fn walk(node: &Node, depth: u32) -> u64 {
    if depth == DEPTH && node.value.is_multiple_of(256) {
        fiber::sleep(Duration::from_millis(1));
    }
    let below: u64 = node
        .children
        .iter()
        .map(|child| walk(child, depth + 1))
        .sum();
    node.value + below
}

/// Many fibers sleep side by side; one after the other it would take minutes.
async fn sleeping() -> Result<(), String> {
    let begun = Instant::now();
    let fibers: Vec<_> = (0..SLEEPERS)
        .map(|_| sisal::spawn(|| fiber::sleep(NAP)))
        .collect();
    for fiber in fibers {
        fiber.await.map_err(text)?;
    }
    let line = format!(
        "{SLEEPERS} fibers slept {} ms each, side by side",
        NAP.as_millis()
    );
    check(&line, begun, begun.elapsed() < NAP * SLEEPERS / 2)
}

/// A fiber on one side of tokio's channels, a task on the other.
async fn channels() -> Result<(), String> {
    let begun = Instant::now();
    let (questions, mut asked) = mpsc::channel(16);
    let (answers, mut answered) = mpsc::channel(16);
    let fiber = sisal::spawn(move || {
        let mut count = 0;
        while let Some(question) = sisal::block_on(asked.recv()) {
            if sisal::block_on(answers.send(2 * question)).is_err() {
                break;
            }
            count += 1;
        }
        count
    });
    let asking = tokio::spawn(async move {
        for question in 0..MESSAGES {
            if questions.send(question).await.is_err() {
                break;
            }
        }
    });
    let mut sum = 0;
    while let Some(answer) = answered.recv().await {
        sum += answer;
    }
    asking.await.map_err(text)?;
    let count = fiber.await.map_err(text)?;
    let line = format!("a fiber answered {MESSAGES} messages over tokio's channels");
    check(
        &line,
        begun,
        count == MESSAGES && sum == MESSAGES * (MESSAGES - 1),
    )
}

fn check(line: &str, begun: Instant, right: bool) -> Result<(), String> {
    if !right {
        return Err(format!("{line}: the result is wrong"));
    }
    println!("   {line}: {} ms", begun.elapsed().as_millis());
    Ok(())
}

fn text(error: impl Display) -> String {
    error.to_string()
}
