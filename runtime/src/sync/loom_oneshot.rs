//! Models of the oneshot: the message comes, or the receiver is told that it will not; what is not received is dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{RecvError, channel};
use crate::loom_support::{Bell, explore, thread, wait_for};

#[test]
fn loom_oneshot_send_against_receive() {
    explore(5, || {
        let (tx, rx) = channel();
        let sender = thread::spawn(move || assert!(tx.send(7).is_ok()));
        assert_eq!(wait_for(rx), Ok(7));
        sender.join().unwrap();
    });
}

#[test]
fn loom_oneshot_sender_goes() {
    explore(5, || {
        let (tx, rx) = channel::<u8>();
        let sender = thread::spawn(move || drop(tx));
        assert_eq!(wait_for(rx), Err(RecvError));
        sender.join().unwrap();
    });
}

/// It is polled by two, one after the other: the later one is woken.
#[test]
fn loom_oneshot_another_waker() {
    explore(10, || {
        let (tx, mut rx) = channel();
        let sender = thread::spawn(move || assert!(tx.send(7).is_ok()));
        let waker = Waker::from(Bell::new());
        let first = Pin::new(&mut rx).poll(&mut Context::from_waker(&waker));
        match first {
            Poll::Ready(received) => assert_eq!(received, Ok(7)),
            Poll::Pending => assert_eq!(wait_for(rx), Ok(7)),
        }
        sender.join().unwrap();
    });
}

#[test]
fn loom_oneshot_receiver_goes() {
    explore(5, || {
        let counted = Arc::new(());
        let (tx, rx) = channel();
        let message = Arc::clone(&counted);
        let sender = thread::spawn(move || drop(tx.send(message)));
        drop(rx);
        sender.join().unwrap();
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}
