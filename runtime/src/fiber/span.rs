//! `tracing` over fibers: a span for each fiber, and the spans that a fiber is in.
//!
//! tracing keeps a list of entered spans per *thread*, and takes its last as the parent of what comes
//! next. The fibers of a worker take turns on one thread. So whatever a fiber has entered is exited when
//! it leaves its stack, and entered again before it goes on: the guards on its stack stay true. Both
//! happen on the worker's own stack, where a subscriber must not wait (S10) and its panics are contained
//! (S11).
//!
//! Names and fields are those that tokio-console knows: docs/observability.md.

use std::cell::Cell;
use std::panic::Location;

use tracing::dispatcher::{self, Dispatch};
use tracing::span::Id;

use super::after_switch::AfterSwitch;
use super::body::contain;
use super::id::FiberId;
use super::record::{Extra, Header};
use crate::current;
use crate::keep::stays;

/// Whether a subscriber has ever been set in this process: one relaxed load. Not the current maximal
/// level: that may fall while a fiber is in a span, which has to be exited all the same.
#[inline(always)]
fn is_watched() -> bool {
    dispatcher::has_been_set()
}

/// The calling thread's subscriber. A copy, and not used within `get_default`: in there a subscriber that
/// asks for the default itself, as a registry does when it closes a span, gets none.
fn subscriber() -> Dispatch {
    dispatcher::get_default(Dispatch::clone)
}

/// A fiber's own span, open from `spawn` to its end.
pub(crate) struct TaskSpan {
    /// Of the thread that spawned the fiber.
    subscriber: Dispatch,
    id: Id,
    /// The worker's subscriber is the same, and says that it is in this span.
    seen: Cell<bool>,
    open: Cell<bool>,
}

impl TaskSpan {
    /// `None`: nobody wants it.
    fn new(
        id: FiberId,
        place: &'static Location<'static>,
        extra: Option<&Extra>,
        stack_size: usize,
    ) -> Option<TaskSpan> {
        let span = tracing::trace_span!(
            target: "fiber::task",
            // Else the spawner's span could not close before its children's.
            parent: None,
            "runtime.spawn",
            kind = "fiber",
            task.name = extra.and_then(|extra| extra.name.as_deref()),
            task.id = id.number(),
            stack.bytes = extra.and_then(|extra| extra.stack_size).unwrap_or(stack_size),
            loc.file = place.file(),
            loc.line = place.line(),
            loc.col = place.column(),
        );
        let task = span.with_subscriber(|(id, subscriber)| TaskSpan {
            id: subscriber.clone_span(id),
            subscriber: subscriber.clone(),
            seen: Cell::new(false),
            open: Cell::new(true),
        })?;
        // Without one, console thinks that nobody could wake the fiber.
        tracing::trace!(target: "runtime::waker", op = "waker.clone", task.id = task.id.into_u64());
        Some(task)
    }

    /// The fiber was made runnable. (An id is never 0, which would make console panic.)
    fn woken(&self) {
        let id = self.id.into_u64();
        tracing::trace!(target: "runtime::waker", op = "waker.wake_by_ref", task.id = id);
    }

    fn enter(&self, worker: &Dispatch, outside: Option<&Id>) {
        self.subscriber.enter(&self.id);
        if !self.seen.get() && outside != Some(&self.id) {
            self.seen.set(worker.current_span().id() == Some(&self.id));
        }
    }

    fn is(&self, id: &Id) -> bool {
        self.seen.get() && self.id == *id
    }

    fn close(&self) {
        if self.open.replace(false) {
            contain(|| {
                self.subscriber.try_close(self.id.clone());
            });
        }
    }
}

impl Drop for TaskSpan {
    fn drop(&mut self) {
        self.close();
    }
}

/// Gives a fiber to be its span, if a subscriber wants it.
#[inline]
pub(crate) fn make_span(
    id: FiberId,
    place: &'static Location<'static>,
    extra: Option<Box<Extra>>,
    stack_size: usize,
) -> Option<Box<Extra>> {
    match is_watched() {
        true => make_span_watched(id, place, extra, stack_size),
        false => extra,
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
fn make_span_watched(
    id: FiberId,
    place: &'static Location<'static>,
    mut extra: Option<Box<Extra>>,
    stack_size: usize,
) -> Option<Box<Extra>> {
    if !extra.as_ref().is_some_and(|extra| extra.untracked) {
        let mut span = None;
        let spawner = current::position();
        // The caller may have counted the fiber already.
        contain(|| span = TaskSpan::new(id, place, extra.as_deref(), stack_size));
        // The caller knows its worker. A subscriber may have left the coroutine that it was called on, if it was one.
        if spawner.is_some() && current::position() != spawner {
            eprintln!(
                "sisal: a coroutine suspended by a subscriber inside a spawn of one fiber was resumed by another"
            );
            std::process::abort();
        }
        if span.is_some() {
            extra.get_or_insert_default().span = span;
        }
    }
    stays();
    extra
}

/// The span that a worker itself is in while a fiber runs.
#[derive(Default)]
pub(crate) struct WorkerSpan(Cell<Option<Id>>);

/// Spans that a fiber has entered, beside its own, while it is off its stack. Nothing is allocated for a
/// fiber that is in none.
#[derive(Default)]
pub(crate) struct Entered(Cell<Option<Box<Spans>>>);

impl Entered {
    #[inline]
    pub(super) fn is_empty(&mut self) -> bool {
        self.0.get_mut().is_none()
    }
}

struct Spans {
    /// Whose the ids are.
    subscriber: Dispatch,
    /// The innermost first. Not counted as handles, which would double the cost: the spans are kept open by
    /// those whose guards are on the fiber's stack. Of a leaked guard the span may have ended; a subscriber
    /// that finds that out panics, which is contained.
    ids: Vec<Id>,
}

impl Spans {
    fn new(subscriber: &Dispatch) -> Spans {
        Spans {
            subscriber: subscriber.clone(),
            ids: Vec::new(),
        }
    }

    fn enter(&mut self) {
        while let Some(id) = self.ids.pop() {
            contain(|| self.subscriber.enter(&id));
        }
    }
}

impl Header {
    /// Its worker, about to switch to it: enters the spans that it is in.
    #[inline(always)]
    pub(crate) fn enter_spans(&self, worker: &WorkerSpan) {
        if is_watched() {
            self.enter_watched(worker);
        }
    }

    /// Its worker, after a switch from it: exits the spans that it is in.
    #[inline(always)]
    pub(crate) fn leave_spans(&self, worker: &WorkerSpan, after: AfterSwitch) {
        if is_watched() {
            self.leave_watched(worker, after);
        }
    }

    /// Whether [`report_wake`](Self::report_wake) calls anybody.
    #[inline]
    pub(crate) fn reports_wakes(&self) -> bool {
        is_watched() && self.task_span().is_some()
    }

    /// Says that the fiber was made runnable: every run but the first is told of by one such event.
    #[inline]
    pub(super) fn report_wake(&self) {
        if is_watched()
            && let Some(task) = self.task_span()
        {
            contain(|| task.woken());
        }
    }

    /// The fiber has ended.
    pub(super) fn close_span(&self) {
        if let Some(task) = self.task_span() {
            task.close();
        }
    }

    #[cold]
    fn enter_watched(&self, worker: &WorkerSpan) {
        contain(|| {
            let here = subscriber();
            let outside = here.current_span().id().cloned();
            if let Some(task) = self.task_span() {
                task.enter(&here, outside.as_ref());
            }
            worker.0.set(outside);
        });
        if let Some(mut spans) = self.entered.0.take() {
            spans.enter();
            self.entered.0.set(Some(spans));
        }
    }

    #[cold]
    fn leave_watched(&self, worker: &WorkerSpan, after: AfterSwitch) {
        let task = self.task_span();
        if after == AfterSwitch::REQUEUE {
            // In its span: it woke itself.
            self.report_wake();
        }
        let mut spans = self.entered.0.take();
        let mut left = false;
        contain(|| {
            let keep = (!after.is_last()).then_some(&mut spans);
            left = drain(&subscriber(), worker.0.take().as_ref(), task, keep);
        });
        if let Some(task) = task
            && !left
        {
            // Another subscriber's than the worker's, or of one that does not tell its current span.
            contain(|| task.subscriber.exit(&task.id));
        }
        match after.is_last() {
            true => self.close_span(),
            false => self.entered.0.set(spans),
        }
    }
}

/// Exits what the thread is in, down to `outside`, and puts it into `keep`, `task` at the bottom excepted.
/// True: it was there.
///
/// By the subscriber's current span, not by its parents: a parent need not be entered, and an entered span
/// need not be a child of the one below.
fn drain(
    here: &Dispatch,
    outside: Option<&Id>,
    task: Option<&TaskSpan>,
    mut keep: Option<&mut Option<Box<Spans>>>,
) -> bool {
    /// So often one span may be entered in a row. A subscriber that never exits it is left alone then.
    const MOST: usize = 1024;

    let is_task = |id: &Id| task.is_some_and(|task| task.is(id));
    let mut save = |id: Id| {
        let Some(keep) = keep.as_deref_mut() else {
            return; // of a fiber that has ended: leaked
        };
        let spans = keep.get_or_insert_with(|| Box::new(Spans::new(here)));
        if spans.ids.is_empty() {
            spans.subscriber = here.clone();
        }
        spans.ids.push(id);
    };
    let mut last: Option<Id> = None;
    let mut times = 0;
    loop {
        let current = here.current_span();
        let Some(id) = current.id().filter(|id| Some(*id) != outside) else {
            break;
        };
        times = if last.as_ref() == Some(id) {
            times + 1
        } else {
            0
        };
        if times == MOST {
            break;
        }
        here.exit(id);
        if let Some(above) = last.replace(id.clone()) {
            save(above);
        }
    }
    match last {
        Some(id) if is_task(&id) => true,
        Some(id) => {
            save(id);
            false
        }
        None => false,
    }
}
