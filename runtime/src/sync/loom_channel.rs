//! Models of the channel: every message is received once, whoever gives up; whoever waits is told of the end.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{RecvError, SendError, TryRecvError};
use std::task::{Context, Poll, Waker};

use super::{Rx, Tx, channel};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{Bell, explore, explore_within, thread, wait_for};

/// A message whose content no atomic brings: loom sees whether the channel does.
struct Message(Box<UnsafeCell<u32>>);

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Message {}

impl Message {
    fn new(number: u32) -> Message {
        let cell = Box::new(UnsafeCell::new(0));
        // SAFETY: loom checks the access.
        cell.with_mut(|content| unsafe { *content = number });
        Message(cell)
    }

    fn number(self) -> u32 {
        // SAFETY: loom checks the access.
        self.0.with_mut(|content| unsafe { *content })
    }
}

fn pair(capacity: usize) -> (Tx<Message>, Rx<Message>) {
    channel(Some(capacity), true)
}

fn send(tx: &Tx<Message>, number: u32) -> bool {
    wait_for(tx.wait(Message::new(number))).is_ok()
}

/// The sum of what is received until the senders are gone.
fn sum(rx: &Rx<Message>) -> u32 {
    let mut sum = 0;
    while let Ok(message) = wait_for(rx.wait()) {
        sum += message.number();
    }
    sum
}

/// Looks once, and gives up.
fn give_up<F: Future>(future: F) -> Option<F::Output> {
    let waker = Waker::from(Bell::new());
    match pin!(future).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// In the order in which they were sent, and then the end.
#[test]
fn loom_channel_send_against_receive() {
    explore(30, || {
        let (tx, rx) = pair(1);
        let sender = thread::spawn(move || {
            assert!(send(&tx, 1));
            assert!(send(&tx, 2));
        });
        for number in [1, 2] {
            assert_eq!(wait_for(rx.wait()).map(Message::number), Ok(number));
        }
        assert!(matches!(wait_for(rx.wait()), Err(RecvError)));
        sender.join().unwrap();
    });
}

/// Both senders go, one of them without a word.
#[test]
fn loom_channel_drop_against_receive() {
    explore(30, || {
        let (tx, rx) = pair(1);
        let silent = {
            let tx = tx.clone();
            thread::spawn(move || drop(tx))
        };
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        assert_eq!(sum(&rx), 1);
        silent.join().unwrap();
        sender.join().unwrap();
    });
}

/// A receiver that gives up leaves the message to the other, also one that it was served.
#[test]
fn loom_channel_receiver_gives_up() {
    explore(100, || {
        let (tx, rx) = pair(1);
        let other = rx.clone();
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        let gives_up = thread::spawn(move || match give_up(other.wait()) {
            Some(Ok(message)) => message.number(),
            _ => 0,
        });
        let received = sum(&rx);
        assert_eq!(received + gives_up.join().unwrap(), 1);
        sender.join().unwrap();
    });
}

/// The same with one receiver, which looks again.
#[test]
fn loom_channel_receiver_comes_back() {
    explore(30, || {
        let (tx, rx) = pair(0);
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        let first = match give_up(rx.wait()) {
            Some(Ok(message)) => message.number(),
            _ => 0,
        };
        assert_eq!(first + sum(&rx), 1);
        sender.join().unwrap();
    });
}

/// Without room: a sender that gives up has sent or has not, and the one behind it is served.
#[test]
fn loom_channel_rendezvous() {
    explore(100, || {
        let (tx, rx) = pair(0);
        let other = tx.clone();
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        let gives_up =
            thread::spawn(move || matches!(give_up(other.wait(Message::new(10))), Some(Ok(()))));
        let received = sum(&rx);
        sender.join().unwrap();
        match gives_up.join().unwrap() {
            true => assert_eq!(received, 11),
            // It may have been taken as it gave up.
            false => assert!(received == 1 || received == 11, "{received}"),
        }
    });
}

/// The receiver goes while a sender waits for room: the message comes back.
#[test]
fn loom_channel_receiver_goes() {
    explore(20, || {
        let (tx, rx) = pair(1);
        assert!(send(&tx, 1));
        let receiver = thread::spawn(move || drop(rx));
        let Err(SendError(back)) = wait_for(tx.wait(Message::new(2))) else {
            panic!("there is no room, and never will be");
        };
        assert_eq!(back.number(), 2);
        receiver.join().unwrap();
    });
}

/// The sum of what comes as a stream.
fn sum_of_stream(rx: &Rx<Message>) -> u32 {
    let mut sum = 0;
    while let Some(message) = wait_for(std::future::poll_fn(|cx| rx.poll_next(cx))) {
        sum += message.number();
    }
    sum
}

/// As a stream: no message comes without a call.
#[test]
fn loom_channel_stream() {
    explore(30, || {
        let (tx, rx) = pair(1);
        let sender = thread::spawn(move || {
            assert!(send(&tx, 1));
            assert!(send(&tx, 2));
        });
        assert_eq!(sum_of_stream(&rx), 3);
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Disconnected)));
        sender.join().unwrap();
    });
}

/// Streams of two clones: whichever looks has the message, both have the end.
#[test]
fn loom_channel_two_streams() {
    explore_within(2, 100, || {
        let (tx, rx) = pair(1);
        let other = rx.clone();
        let stream = thread::spawn(move || sum_of_stream(&other));
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        let sum = sum_of_stream(&rx);
        assert_eq!(sum + stream.join().unwrap(), 1);
        sender.join().unwrap();
    });
}

/// One that was polled, and is not polled again: the other is told of the message, and not only of the end.
#[test]
fn loom_channel_paused_stream() {
    explore(20, || {
        let (tx, rx) = pair(0);
        let paused = rx.clone();
        assert!(give_up(std::future::poll_fn(|cx| paused.poll_next(cx))).is_none());
        let sender = {
            let tx = tx.clone();
            thread::spawn(move || assert!(send(&tx, 1)))
        };
        let message = wait_for(std::future::poll_fn(|cx| rx.poll_next(cx)));
        assert_eq!(message.map(Message::number), Some(1));
        sender.join().unwrap();
        drop((paused, tx));
    });
}

/// A stream beside a call that gives up after it was served.
#[test]
fn loom_channel_stream_beside_a_call() {
    explore(100, || {
        let (tx, rx) = pair(1);
        let other = rx.clone();
        let sender = thread::spawn(move || assert!(send(&tx, 1)));
        let gives_up = thread::spawn(move || match give_up(other.wait()) {
            Some(Ok(message)) => message.number(),
            _ => 0,
        });
        let sum = sum_of_stream(&rx);
        assert_eq!(sum + gives_up.join().unwrap(), 1);
        sender.join().unwrap();
    });
}
