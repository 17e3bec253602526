//! `io::iter`: streams as iterators.

mod common;
mod common_io;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{Count, panic_text, runtime, watchdog};
use common_io::on_worker;
use futures::channel::mpsc;
use futures::{Stream, StreamExt, stream};
use sisal::{fiber, io, timeout};

#[test]
fn items_come_as_they_are_sent() {
    let _watchdog = watchdog(60);
    let all = || {
        let (mut send, receive) = mpsc::channel(2);
        let sends = fiber::spawn(move || {
            for n in 0..100 {
                sisal::block_on(futures::SinkExt::send(&mut send, n)).unwrap();
            }
        });
        let numbers: Vec<i32> = io::iter(receive).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        sends.join().unwrap();
    };
    all();
    runtime(1).run(all);
    runtime(4).run(all);
}

/// Not `Unpin`; and what an iterator is besides `next`.
#[test]
fn it_is_an_iterator() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let unfold = stream::unfold(0, |n| async move {
            tokio::task::yield_now().await;
            (n < 3).then_some((n, n + 1))
        });
        assert_eq!(io::iter(Box::pin(unfold)).collect::<Vec<_>>(), [0, 1, 2]);
        let mut left = io::iter(stream::iter([1, 2, 3, 4]));
        assert_eq!(left.size_hint(), (4, Some(4)));
        assert_eq!(left.by_ref().take(2).sum::<i32>(), 3);
        assert_eq!(left.get_ref().size_hint().0, 2);
        assert_eq!(sisal::block_on(left.get_mut().next()), Some(3));
        assert_eq!(sisal::block_on(left.into_inner().next()), Some(4));
    });
}

/// A stream is not asked again after its end.
#[test]
fn the_end_stays() {
    struct Once(Count);
    impl Stream for Once {
        type Item = u8;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<u8>> {
            match self.0.add() {
                1 => Poll::Ready(Some(1)),
                2 => Poll::Ready(None),
                _ => panic!("asked after its end"),
            }
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (1, None)
        }
    }
    let polls = Count::new();
    let mut items = io::iter(Once(polls.clone()));
    assert_eq!(
        (items.next(), items.next(), items.next(), items.next()),
        (Some(1), None, None, None)
    );
    assert_eq!((polls.get(), items.size_hint()), (2, (0, Some(0))));
}

/// A `next` that is cut short takes no item.
#[test]
fn a_cut_wait_takes_nothing() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (send, receive) = mpsc::unbounded();
        let mut items = io::iter(receive);
        assert!(timeout(Duration::from_millis(2), || items.next()).is_err());
        send.unbounded_send("kept").unwrap();
        assert_eq!(items.next(), Some("kept"));
        drop(send);
        assert_eq!(items.next(), None);
    });
}

#[test]
fn on_a_workers_own_stack_it_panics() {
    let _watchdog = watchdog(60);
    on_worker(|| {
        let mut items = io::iter(stream::iter([1]));
        let text = panic_text(|| items.next());
        assert!(
            text.contains("`Iter::next`") && text.contains("await"),
            "{text}"
        );
        assert_eq!(items.get_ref().size_hint().0, 1);
    });
}
