//! `iter`: a stream as an iterator.

use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;

use futures_core::Stream;

use crate::block_on::block_on;
use crate::current;

/// A futures `Stream` as an iterator: `next` waits for the next item.
///
/// A stream that is not `Unpin` goes in as `Box::pin(stream)`, or by `pin!`.
///
/// ```
/// use futures::stream;
///
/// let doubled = stream::iter([1, 2, 3]);
/// let sum = sisal::run(|| sisal::io::iter(doubled).map(|n| 2 * n).sum::<i32>());
/// assert_eq!(sum, 12);
/// ```
pub fn iter<S: Stream + Unpin>(stream: S) -> Iter<S> {
    let ended = false;
    Iter { stream, ended }
}

/// The items of a stream: made by [`iter`].
///
/// # Panics
/// `next`, on a worker's own stack: await the stream there.
///
/// # Cancellation
/// `next` is a suspension point while it waits. No item is lost: the stream goes on where it was.
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless they are asked"]
pub struct Iter<S> {
    stream: S,
    ended: bool,
}

impl<S> Iter<S> {
    /// The stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream, with the items that are left.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Stream + Unpin> Iterator for Iter<S> {
    type Item = S::Item;

    #[track_caller]
    fn next(&mut self) -> Option<S::Item> {
        current::forbid_worker("Iter::next", "await the stream's `next` there");
        // A stream need not stand being asked again after its end; an iterator does.
        if self.ended {
            return None;
        }
        let item = block_on(poll_fn(|cx| Pin::new(&mut self.stream).poll_next(cx)));
        self.ended = item.is_none();
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            false => self.stream.size_hint(),
        }
    }
}

impl<S: Stream + Unpin> FusedIterator for Iter<S> {}
