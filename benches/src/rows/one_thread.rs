//! The runtimes of both sides: one thread runs everything, nothing else is changed from the defaults.

/// What the table calls tokio's side.
pub(super) const TOKIO: &str = "tokio current_thread";

pub(super) fn sisal() -> sisal::Runtime {
    sisal::Runtime::builder()
        .workers(1)
        .build()
        .expect("a worker thread")
}

/// As `#[tokio::main(flavor = "current_thread")]` makes it.
pub(super) fn tokio() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an epoll instance")
}
