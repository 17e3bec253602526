//! Channels and the semaphore beside the simplest model of each, under any sequence of calls.
//!
//! The calls come from one thread and poll futures by hand, so each outcome is exact.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::Stream;
use proptest::prelude::*;
use sisal::sync::mpmc::{Receiver, RecvError, SendError, Sender, TryRecvError, TrySendError};
use sisal::sync::{AcquireError, Semaphore, SemaphorePermit, TryAcquireError, mpmc};

type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

fn poll<T>(wait: &mut Wait<'_, T>) -> Option<T> {
    match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[derive(Clone, Debug)]
enum Call {
    TrySend,
    TryRecv,
    /// Begins to wait, unless it need not.
    Send,
    Recv,
    /// One of those that wait looks again, or gives up.
    PollSend(usize),
    PollRecv(usize),
    GiveUpSend(usize),
    GiveUpRecv(usize),
    /// One more receiver, that looks as a stream, and may wait, or be left or dropped while it does.
    Stream,
    PollStream(usize),
    DropStream(usize),
    DropSenders,
    DropReceivers,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => Just(Call::TrySend),
        6 => Just(Call::TryRecv),
        6 => Just(Call::Send),
        6 => Just(Call::Recv),
        4 => (0..8_usize).prop_map(Call::PollSend),
        4 => (0..8_usize).prop_map(Call::PollRecv),
        3 => (0..8_usize).prop_map(Call::GiveUpSend),
        3 => (0..8_usize).prop_map(Call::GiveUpRecv),
        2 => Just(Call::Stream),
        5 => (0..8_usize).prop_map(Call::PollStream),
        1 => (0..8_usize).prop_map(Call::DropStream),
    ]
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let end = prop_oneof![Just(Call::DropSenders), Just(Call::DropReceivers)];
    (
        prop::collection::vec(call(), 0..60),
        end,
        prop::collection::vec(call(), 0..20),
    )
        .prop_map(|(mut calls, end, more)| {
            calls.push(end);
            calls.extend(more);
            calls
        })
}

/// A waiter of the model, and how its wait ended if it did.
struct Waiting<'a, T, R> {
    wait: Wait<'a, R>,
    message: Option<T>,
    ended: Option<R>,
}

/// A receiver as a stream: it waits in no order, and nothing is handed to it.
struct Streaming {
    rx: Receiver<u32>,
    waits: bool,
    wakes: Arc<Wakes>,
    expected: usize,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Streaming {
    fn poll(&mut self) -> Poll<Option<u32>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        Pin::new(&mut self.rx).poll_next(&mut Context::from_waker(&waker))
    }
}

/// What a channel is: a queue, and two queues of who waits.
struct Model<'a> {
    capacity: usize,
    queue: VecDeque<u32>,
    senders: Vec<Waiting<'a, u32, Result<(), SendError<u32>>>>,
    receivers: Vec<Waiting<'a, u32, Result<u32, RecvError>>>,
    streams: Vec<Streaming>,
    no_senders: bool,
    no_receivers: bool,
}

impl Model<'_> {
    /// Hands a message to the first receiver that waits and has none.
    fn hand(&mut self, message: u32) -> Result<(), u32> {
        match self.receivers.iter_mut().find(|r| r.ended.is_none()) {
            Some(receiver) => {
                receiver.ended = Some(Ok(message));
                Ok(())
            }
            None => Err(message),
        }
    }

    fn try_send(&mut self, message: u32) -> Result<(), TrySendError<u32>> {
        if self.no_receivers {
            return Err(TrySendError::Disconnected(message));
        }
        let Err(message) = self.hand(message) else {
            return Ok(());
        };
        if self.queue.len() < self.capacity || self.streams.iter().any(|s| s.waits) {
            self.queue.push_back(message);
            self.wake_streams();
            return Ok(());
        }
        Err(TrySendError::Full(message))
    }

    /// All that wait, once for each wait.
    fn wake_streams(&mut self) {
        for stream in &mut self.streams {
            stream.expected += usize::from(std::mem::take(&mut stream.waits));
        }
    }

    /// A receiver was handed it and gives up.
    fn put_back(&mut self, message: u32) {
        if let Err(message) = self.hand(message) {
            self.queue.push_front(message);
            self.wake_streams();
        }
    }

    fn waiting_sender(&mut self) -> Option<u32> {
        let sender = self.senders.iter_mut().find(|s| s.ended.is_none())?;
        sender.ended = Some(Ok(()));
        sender.message.take()
    }

    fn try_recv(&mut self) -> Result<u32, TryRecvError> {
        if let Some(message) = self.queue.pop_front() {
            if self.queue.len() < self.capacity
                && let Some(next) = self.waiting_sender()
            {
                self.queue.push_back(next);
            }
            return Ok(message);
        }
        match self.waiting_sender() {
            Some(message) => Ok(message),
            None if self.has_ended() => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// No sender, and nothing that may come back.
    fn has_ended(&self) -> bool {
        self.no_senders
            && !self
                .receivers
                .iter()
                .any(|r| matches!(r.ended, Some(Ok(_))))
    }

    /// Tells the receivers that wait of the end.
    fn settle(&mut self) {
        if self.has_ended() {
            self.wake_streams();
            for receiver in self.receivers.iter_mut().filter(|r| r.ended.is_none()) {
                receiver.ended = Some(Err(RecvError));
            }
        }
    }
}

fn run(capacity: Option<usize>, calls: &[Call]) -> Result<(), TestCaseError> {
    let (tx, rx) = match capacity {
        Some(capacity) => mpmc::sync_channel(capacity),
        None => mpmc::channel(),
    };
    // Futures borrow from these, which go first where a call says so; the others are leaked for the test's time.
    let (tx, rx): (*mut Sender<u32>, *mut Receiver<u32>) =
        (Box::into_raw(Box::new(tx)), Box::into_raw(Box::new(rx)));
    // SAFETY: freed at the end, or by the calls that drop them, when no future of theirs is left.
    let (sender, receiver) = unsafe { (&*tx, &*rx) };
    let mut model = Model {
        capacity: capacity.unwrap_or(usize::MAX),
        queue: VecDeque::new(),
        senders: Vec::new(),
        receivers: Vec::new(),
        streams: Vec::new(),
        no_senders: false,
        no_receivers: false,
    };
    for (number, call) in (0..).zip(calls) {
        match call {
            Call::TrySend if !model.no_senders => {
                prop_assert_eq!(sender.try_send(number), model.try_send(number));
            }
            Call::TryRecv if !model.no_receivers => {
                prop_assert_eq!(receiver.try_recv(), model.try_recv());
            }
            Call::Send if !model.no_senders => {
                let mut wait: Wait<'_, _> = Box::pin(sender.send_async(number));
                let ended = poll(&mut wait);
                match model.try_send(number) {
                    Ok(()) => prop_assert_eq!(ended, Some(Ok(()))),
                    Err(TrySendError::Disconnected(n)) => {
                        prop_assert_eq!(ended, Some(Err(SendError(n))));
                    }
                    Err(TrySendError::Full(n)) => {
                        prop_assert_eq!(ended, None);
                        let (message, ended) = (Some(n), None);
                        model.senders.push(Waiting {
                            wait,
                            message,
                            ended,
                        });
                    }
                }
            }
            Call::Recv if !model.no_receivers => {
                let mut wait: Wait<'_, _> = Box::pin(receiver.recv_async());
                let ended = poll(&mut wait);
                match model.try_recv() {
                    Ok(n) => prop_assert_eq!(ended, Some(Ok(n))),
                    Err(TryRecvError::Disconnected) => prop_assert_eq!(ended, Some(Err(RecvError))),
                    Err(TryRecvError::Empty) => {
                        prop_assert_eq!(ended, None);
                        let (message, ended) = (None, None);
                        model.receivers.push(Waiting {
                            wait,
                            message,
                            ended,
                        });
                    }
                }
            }
            Call::PollSend(which) if !model.senders.is_empty() => {
                let which = which % model.senders.len();
                let waiting = &mut model.senders[which];
                prop_assert_eq!(poll(&mut waiting.wait), waiting.ended);
                if waiting.ended.is_some() {
                    model.senders.remove(which);
                }
            }
            Call::PollRecv(which) if !model.receivers.is_empty() => {
                let which = which % model.receivers.len();
                let waiting = &mut model.receivers[which];
                prop_assert_eq!(poll(&mut waiting.wait), waiting.ended);
                if waiting.ended.is_some() {
                    model.receivers.remove(which);
                }
                model.settle();
            }
            Call::GiveUpSend(which) if !model.senders.is_empty() => {
                let which = which % model.senders.len();
                model.senders.remove(which);
            }
            Call::GiveUpRecv(which) if !model.receivers.is_empty() => {
                let which = which % model.receivers.len();
                let gone = model.receivers.remove(which);
                if let Some(Ok(message)) = gone.ended {
                    model.put_back(message);
                }
                model.settle();
            }
            Call::Stream if !model.no_receivers => model.streams.push(Streaming {
                rx: receiver.clone(),
                waits: false,
                wakes: Arc::default(),
                expected: 0,
            }),
            Call::PollStream(which) if !model.streams.is_empty() => {
                let which = which % model.streams.len();
                let polled = model.streams[which].poll();
                let expected = match model.try_recv() {
                    Ok(n) => Poll::Ready(Some(n)),
                    Err(TryRecvError::Disconnected) => Poll::Ready(None),
                    Err(TryRecvError::Empty) => {
                        model.streams[which].waits = true;
                        Poll::Pending
                    }
                };
                prop_assert_eq!(polled, expected);
            }
            Call::DropStream(which) if !model.streams.is_empty() => {
                let which = which % model.streams.len();
                model.streams.remove(which);
            }
            Call::DropSenders if !model.no_senders => {
                model.senders.clear();
                model.no_senders = true;
                // SAFETY: no future of it is left, and no call uses it from here on.
                drop(unsafe { Box::from_raw(tx) });
                model.settle();
            }
            Call::DropReceivers if !model.no_receivers => {
                while !model.receivers.is_empty() {
                    let gone = model.receivers.remove(0);
                    if let Some(Ok(message)) = gone.ended {
                        model.put_back(message);
                    }
                    model.settle();
                }
                model.streams.clear();
                model.no_receivers = true;
                // SAFETY: as above.
                drop(unsafe { Box::from_raw(rx) });
                model.queue.clear();
                for waiting in model.senders.iter_mut().filter(|s| s.ended.is_none()) {
                    let message = waiting.message.take().expect("it was not sent");
                    waiting.ended = Some(Err(SendError(message)));
                }
            }
            _ => {}
        }
        for stream in &model.streams {
            prop_assert_eq!(stream.wakes.0.load(Ordering::Relaxed), stream.expected);
        }
        let len = model.queue.len();
        if !model.no_senders {
            prop_assert_eq!(sender.len(), len);
        } else if !model.no_receivers {
            prop_assert_eq!(receiver.len(), len);
        }
    }
    model.senders.clear();
    model.receivers.clear();
    model.streams.clear();
    if !model.no_senders {
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(tx) });
    }
    if !model.no_receivers {
        // SAFETY: as above.
        drop(unsafe { Box::from_raw(rx) });
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    Try(usize),
    Wait(usize),
    Poll(usize),
    GiveUp(usize),
    GiveBack(usize),
    Forget(usize),
    Add(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4_usize).prop_map(Step::Try),
        5 => (0..5_usize).prop_map(Step::Wait),
        5 => (0..8_usize).prop_map(Step::Poll),
        3 => (0..8_usize).prop_map(Step::GiveUp),
        5 => (0..8_usize).prop_map(Step::GiveBack),
        1 => (0..8_usize).prop_map(Step::Forget),
        2 => (0..3_usize).prop_map(Step::Add),
    ]
}

/// What holds of a semaphore whatever is called: permits are neither made nor lost, waiters are served in the order of
/// their arrival, nobody is passed over too often, and none waits who could be served.
fn run_semaphore(permits: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    type Permit<'a> = Result<SemaphorePermit<'a>, AcquireError>;
    struct Waiter<'a> {
        wait: Wait<'a, Permit<'a>>,
        wants: usize,
        passed: usize,
    }
    let semaphore = Semaphore::new(permits);
    let mut total = permits;
    let mut held: Vec<SemaphorePermit<'_>> = Vec::new();
    let mut waiters: Vec<Waiter<'_>> = Vec::new();
    for step in steps {
        match *step {
            Step::Try(n) => match semaphore.try_acquire_many(n) {
                Ok(permit) => {
                    prop_assert_eq!(permit.num_permits(), n);
                    held.push(permit);
                    if n > 0
                        && let Some(first) = waiters.first_mut()
                    {
                        first.passed += 1;
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error, TryAcquireError::NoPermits);
                    let kept = !waiters.is_empty();
                    prop_assert!(kept || semaphore.available_permits() < n);
                }
            },
            Step::Wait(wants) => {
                let mut wait: Wait<'_, _> = Box::pin(semaphore.acquire_many_async(wants));
                match poll(&mut wait) {
                    Some(permit) => {
                        held.push(permit.unwrap());
                        if wants > 0
                            && let Some(first) = waiters.first_mut()
                        {
                            first.passed += 1;
                        }
                    }
                    None => waiters.push(Waiter {
                        wait,
                        wants,
                        passed: 0,
                    }),
                }
            }
            Step::Poll(which) if !waiters.is_empty() => {
                let which = which % waiters.len();
                if let Some(permit) = poll(&mut waiters[which].wait) {
                    let permit = permit.unwrap();
                    let waiter = waiters.remove(which);
                    prop_assert_eq!(permit.num_permits(), waiter.wants);
                    held.push(permit);
                }
            }
            Step::GiveUp(which) if !waiters.is_empty() => {
                drop(waiters.remove(which % waiters.len()));
            }
            Step::GiveBack(which) if !held.is_empty() => {
                drop(held.remove(which % held.len()));
            }
            Step::Forget(which) if !held.is_empty() => {
                let permit = held.remove(which % held.len());
                total -= permit.num_permits();
                permit.forget();
            }
            Step::Add(n) => {
                semaphore.add_permits(n);
                total += n;
            }
            _ => {}
        }
        // Permits that a waiter was handed and has not looked at are neither here nor there.
        let seen: usize = held.iter().map(|permit| permit.num_permits()).sum();
        prop_assert!(seen + semaphore.available_permits() <= total);
        if let Some(first) = waiters.first() {
            // One that was served and has not looked is passed no more; it counts for the next.
            let passed = first.passed <= 4 * (waiters.len() + 1) + 4;
            prop_assert!(passed, "passed over {} times", first.passed);
        }
    }
    // Each in turn: who looks first gets its own, and what all give back is all there is.
    held.clear();
    while !waiters.is_empty() {
        let mut first = waiters.remove(0);
        if first.wants <= total {
            let permit = poll(&mut first.wait);
            prop_assert!(
                permit.is_some(),
                "the first waiter can be served, and is not"
            );
        }
    }
    prop_assert_eq!(semaphore.available_permits(), total);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn channels_are_their_model(
        capacity in prop_oneof![Just(Some(0)), Just(Some(1)), (2..5_usize).prop_map(Some), Just(None)],
        calls in calls(),
    ) {
        run(capacity, &calls)?;
    }

    #[test]
    fn semaphores_keep_their_promises(
        permits in 0..6_usize,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        run_semaphore(permits, &steps)?;
    }
}
