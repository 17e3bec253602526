//! Why a fiber gave no result; why a runtime could not be made.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::fiber::Identity;

/// Why joining a fiber gave no result: it panicked, it was cancelled, it could not start, it is the fiber that
/// asks, or it overflowed its stack and its runtime [ends just the fiber](crate::Builder::kill_on_overflow) then.
///
/// The text names the fiber, its id and where it was spawned.
///
/// ```
/// let error = sisal::run(|| sisal::fiber::spawn(|| panic!("no milk")).join().unwrap_err());
/// assert!(error.is_panic());
/// assert!(error.to_string().contains("no milk"));
/// ```
pub struct JoinError {
    /// Boxed: every record has room for one, and few fibers fail.
    inner: Box<Inner>,
}

struct Inner {
    fiber: Identity,
    kind: Kind,
}

enum Kind {
    Panic(Payload, Option<Box<str>>),
    Cancelled,
    Overflow,
    NoStack(io::Error),
    Itself,
}

/// What a fiber panicked with. It is `Sync` although the value may not be.
struct Payload(Box<dyn Any + Send>);

// SAFETY: a shared reference gives access to the value only if that is `Sync` (`JoinError::downcast_ref`).
unsafe impl Sync for Payload {}

impl UnwindSafe for Payload {}
impl RefUnwindSafe for Payload {}

impl JoinError {
    fn new(fiber: Identity, kind: Kind) -> JoinError {
        let inner = Box::new(Inner { fiber, kind });
        JoinError { inner }
    }

    pub(crate) fn panic(fiber: Identity, payload: Box<dyn Any + Send>) -> JoinError {
        let text = payload
            .downcast_ref::<&'static str>()
            .map(|s| Box::from(*s))
            .or_else(|| payload.downcast_ref::<String>().map(|s| Box::from(&**s)));
        let kind = Kind::Panic(Payload(payload), text);
        JoinError::new(fiber, kind)
    }

    pub(crate) fn cancelled(fiber: Identity) -> JoinError {
        let kind = Kind::Cancelled;
        JoinError::new(fiber, kind)
    }

    pub(crate) fn overflow(fiber: Identity) -> JoinError {
        let kind = Kind::Overflow;
        JoinError::new(fiber, kind)
    }

    pub(crate) fn no_stack(fiber: Identity, error: io::Error) -> JoinError {
        let kind = Kind::NoStack(error);
        JoinError::new(fiber, kind)
    }

    pub(crate) fn itself(fiber: Identity) -> JoinError {
        let kind = Kind::Itself;
        JoinError::new(fiber, kind)
    }

    /// Whether the fiber panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.inner.kind, Kind::Panic(..))
    }

    /// Whether the fiber was unwound, or never started, because somebody cancelled it: a handle, the
    /// owner of its scope, or the shutdown of its runtime.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.kind, Kind::Cancelled)
    }

    /// Whether the fiber was ended because it overflowed its stack: see
    /// [`Builder::kill_on_overflow`](crate::Builder::kill_on_overflow). Its destructors did not run.
    pub fn is_overflow(&self) -> bool {
        matches!(self.inner.kind, Kind::Overflow)
    }

    /// What the fiber panicked with, to be passed to [`std::panic::resume_unwind`].
    ///
    /// # Panics
    /// If the fiber did not panic: ask [`is_panic`](Self::is_panic) first, or use
    /// [`try_into_panic`](Self::try_into_panic).
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send> {
        match self.try_into_panic() {
            Ok(payload) => payload,
            Err(other) => panic!("`JoinError::into_panic` of a fiber that did not panic: {other}"),
        }
    }

    /// What the fiber panicked with.
    ///
    /// # Errors
    /// The error itself, if the fiber did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, JoinError> {
        let Inner { fiber, kind } = *self.inner;
        match kind {
            Kind::Panic(payload, _) => Ok(payload.0),
            kind => Err(JoinError::new(fiber, kind)),
        }
    }

    /// Whether the fiber panicked with a `T`: as on the error of a thread's `join`, which is the value itself.
    ///
    /// ```
    /// let error = sisal::spawn(|| panic!("no milk")).join().unwrap_err();
    /// assert!(error.is::<&str>() && !error.is::<u32>());
    /// assert_eq!(error.downcast_ref::<&str>(), Some(&"no milk"));
    /// assert_eq!(*error.downcast::<&str>().unwrap(), "no milk");
    /// ```
    pub fn is<T: Any>(&self) -> bool {
        matches!(&self.inner.kind, Kind::Panic(payload, _) if payload.0.is::<T>())
    }

    /// What the fiber panicked with, if that is a `T`. See [`is`](Self::is) for an example.
    ///
    /// A `T` that is not `Sync` is given by [`downcast`](Self::downcast) only.
    pub fn downcast_ref<T: Any + Sync>(&self) -> Option<&T> {
        match &self.inner.kind {
            Kind::Panic(payload, _) => payload.0.downcast_ref(),
            _ => None,
        }
    }

    /// What the fiber panicked with, if that is a `T`. See [`is`](Self::is) for an example.
    ///
    /// # Errors
    /// The error itself, if the fiber did not panic, or with something else.
    pub fn downcast<T: Any>(self) -> Result<Box<T>, JoinError> {
        let Inner { fiber, kind } = *self.inner;
        let kind = match kind {
            Kind::Panic(payload, text) => match payload.0.downcast() {
                Ok(value) => return Ok(value),
                Err(payload) => Kind::Panic(Payload(payload), text),
            },
            kind => kind,
        };
        Err(JoinError::new(fiber, kind))
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fiber = &self.inner.fiber;
        match &self.inner.kind {
            Kind::Panic(_, Some(text)) => write!(f, "{fiber} panicked: {text}"),
            Kind::Panic(_, None) => write!(f, "{fiber} panicked with a value that is no string"),
            Kind::Cancelled => write!(f, "{fiber} was cancelled"),
            Kind::Overflow => write!(f, "{fiber} overflowed its stack and was ended"),
            Kind::NoStack(error) => write!(f, "{fiber} could not start: no stack: {error}"),
            Kind::Itself => write!(f, "{fiber} cannot join itself: it would wait for ever"),
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.kind {
            Kind::NoStack(error) => Some(error),
            _ => None,
        }
    }
}

/// The error of a system call, with what it was for.
#[derive(Debug)]
struct Because {
    what: String,
    source: io::Error,
}

/// `source`, with words in front of it. It stays the `source` of the result, for whoever wants its number.
pub(crate) fn because(what: impl Into<String>, source: io::Error) -> io::Error {
    let (kind, what) = (source.kind(), what.into());
    io::Error::new(kind, Because { what, source })
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for Because {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
