//! Messages and bytes: channels of tokio's, a mailbox over the park token, sockets.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sisal::fiber::{self, Fiber};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Runtime, block_on};

use crate::ledger::{Me, Value};
use crate::operations::{Child, pause, spawn};
use crate::random::Random;
use crate::world::World;

/// A queue as one writes it over `std::thread::park`.
struct Mailbox {
    queue: Mutex<VecDeque<Value>>,
    receiver: Fiber,
}

impl Mailbox {
    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<Value>> {
        // Another fiber of this thread may be in mid-unwind (S9).
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: Value) {
        self.queue().push_back(message);
        self.receiver.unpark();
    }

    fn receive(&self) -> Value {
        loop {
            let message = self.queue().pop_front();
            match message {
                Some(message) => return message,
                None => fiber::park(),
            }
        }
    }
}

/// Several producers, and the caller receives all that they send.
pub(crate) fn mailbox(me: &Me, world: &Arc<World>, r: &mut Random) {
    let mailbox = Arc::new(Mailbox {
        queue: Mutex::default(),
        receiver: fiber::current(),
    });
    let (producers, each) = (1 + r.below(3), r.below(12));
    let children: Vec<_> = (0..producers)
        .map(|_| {
            let (mailbox, mut r, world) = (Arc::clone(&mailbox), r.fork(), Arc::clone(world));
            spawn(&Arc::clone(&world), false, move |me| {
                for _ in 0..each {
                    mailbox.send(world.ledger.value().send());
                    if r.one_in(3) {
                        pause(me, &mut r);
                    }
                }
            })
        })
        .collect();
    for _ in 0..producers * each {
        me.op("mailbox", || mailbox.receive()).receive();
    }
    for child in children {
        child.join(me, world);
    }
    world
        .ledger
        .check(mailbox.queue().is_empty(), || "a message too many".into());
}

/// The same over tokio's bounded channel.
pub(crate) fn channel(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (give, mut take) = tokio::sync::mpsc::channel::<Value>(1 + r.below(4) as usize);
    let (producers, each) = (1 + r.below(3), r.below(12));
    let children: Vec<_> = (0..producers)
        .map(|_| {
            let (give, mut r, world) = (give.clone(), r.fork(), Arc::clone(world));
            spawn(&Arc::clone(&world), false, move |me| {
                for _ in 0..each {
                    let message = world.ledger.value().send();
                    // The receiver may have unwound.
                    let _ = me.op("channel send", || block_on(give.send(message)));
                    if r.one_in(3) {
                        pause(me, &mut r);
                    }
                }
            })
        })
        .collect();
    drop(give);
    let mut received = 0;
    while let Some(message) = me.op("channel receive", || block_on(take.recv())) {
        message.receive();
        received += 1;
    }
    let mut whole = true;
    for child in children {
        whole &= child.join(me, world);
    }
    world
        .ledger
        .check(!whole || received == producers * each, || {
            format!("{received} messages of {producers} times {each} came")
        });
}

/// One value, to a waiter that may have given up.
pub(crate) fn oneshot(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (give, take) = tokio::sync::oneshot::channel::<Value>();
    let child = {
        let (mut r, world) = (r.fork(), Arc::clone(world));
        spawn(&Arc::clone(&world), false, move |me| {
            pause(me, &mut r);
            // As above.
            let _ = give.send(world.ledger.value().send());
        })
    };
    let limit = Duration::from_millis(r.below(6));
    let got = me.op("oneshot with a limit", || {
        block_on(tokio::time::timeout(limit, take))
    });
    if let Ok(Ok(message)) = got {
        message.receive();
    }
    child.join(me, world);
}

/// A listener, made in the runtime.
pub(crate) fn listen(runtime: &Runtime) -> (SocketAddr, TcpListener) {
    let listener = runtime.run(|| TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("loopback is there");
    (listener.local_addr().expect("bound"), listener)
}

/// Sends bytes back, until it is cancelled.
pub(crate) fn serve(world: &Arc<World>, listener: TcpListener) -> Child {
    let inner = Arc::clone(world);
    spawn(world, false, move |me| {
        loop {
            let Ok((stream, _)) = me.op("accept", || listener.accept()) else {
                continue;
            };
            let world = Arc::clone(&inner);
            // It ends with its connection.
            drop(spawn(&inner, false, move |me| {
                if let Err(error) = echo(me, stream) {
                    // A client that unwound leaves unread bytes behind: a reset.
                    let reset = error.kind() == io::ErrorKind::ConnectionReset
                        || error.kind() == io::ErrorKind::BrokenPipe;
                    world.ledger.check(reset, || format!("echo: {error}"));
                }
            }));
        }
    })
}

fn echo(me: &Me, mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        match me.op("echo read", || stream.read(&mut buffer))? {
            0 => return Ok(()),
            n => me.op("echo write", || stream.write_all(&buffer[..n]))?,
        }
    }
}

/// A connection to the echo server: what comes back is what was sent.
pub(crate) fn connection(me: &Me, world: &Arc<World>, r: &mut Random) {
    let talk = |r: &mut Random| -> io::Result<()> {
        let mut stream = me.op("connect", || TcpStream::connect(world.echo))?;
        for _ in 0..r.below(8) {
            let sent: Vec<u8> = (0..1 + r.below(3000)).map(|_| r.next() as u8).collect();
            let mut got = vec![0; sent.len()];
            if r.one_in(4) {
                // Both directions at once.
                fiber::scope(|s| {
                    let entry = world.ledger.fiber(Some(me));
                    let (mut half, sent) = (stream.try_clone()?, &sent);
                    s.spawn(move || {
                        let me = entry.start();
                        me.op("scoped write", || half.write_all(sent))
                    });
                    me.op("read", || stream.read_exact(&mut got))
                })?;
            } else {
                me.op("write", || stream.write_all(&sent))?;
                me.op("read", || stream.read_exact(&mut got))?;
            }
            world
                .ledger
                .check(got == sent, || "other bytes came back".into());
        }
        if r.one_in(3) {
            // Nobody sends.
            stream.set_read_timeout(Some(Duration::from_millis(1 + r.below(3))))?;
            let silence = me.op("read with a timeout", || stream.read(&mut [0]));
            let timed_out = silence.is_err_and(|error| {
                matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                )
            });
            let fine = timed_out || world.is_closing();
            world
                .ledger
                .check(fine, || "a silent peer was heard".into());
        }
        Ok(())
    };
    if let Err(error) = talk(r) {
        world
            .ledger
            .check(world.is_closing(), || format!("connection: {error}"));
    }
}
