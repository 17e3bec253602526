//! What `console_subscriber::spawn` does, with two differences: an address that can be asked for, and an aggregator that
//! takes all that there is. (The stock one runs under tokio's cooperation budget: some 127 events for each interval, so
//! thousands of fibers show up late.)

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use console_subscriber::{ConsoleLayer, ServerParts};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;

/// Serves the process's fibers to consoles, from a thread of its own, for as long as the process runs.
///
/// # Errors
/// The address cannot be had, or the process has a subscriber already.
pub(crate) fn start(address: SocketAddr, interval: Duration) -> io::Result<SocketAddr> {
    let (layer, server) = ConsoleLayer::builder().publish_interval(interval).build();
    // What consoles know: spans and events of runtimes.
    let known = filter_fn(|metadata| match metadata.is_event() {
        true => metadata.target().starts_with("runtime") || metadata.target().starts_with("tokio"),
        false => metadata.name().starts_with("runtime.") || metadata.target().starts_with("tokio"),
    });
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(known));
    subscriber.try_init().map_err(io::Error::other)?;

    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name("console".into());
    thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tell.send(Err(error)).unwrap_or(()),
        };
        runtime.block_on(async {
            let listener = TcpListener::bind(address).await;
            let bound = listener.and_then(|it| Ok((it.local_addr()?, it)));
            let listener = match bound {
                Ok((address, listener)) => {
                    let _ = tell.send(Ok(address));
                    listener
                }
                Err(error) => return tell.send(Err(error)).unwrap_or(()),
            };
            let ServerParts {
                instrument_server,
                aggregator,
                ..
            } = server.into_parts();
            tokio::spawn(tokio::task::unconstrained(aggregator.run()));
            let router = tonic::transport::Server::builder().add_service(instrument_server);
            let served = router
                .serve_with_incoming(TcpIncoming::from(listener))
                .await;
            eprintln!("the console's server has ended: {served:?}");
        });
    })?;
    told.recv().map_err(io::Error::other)?
}
