//! How many files and sockets this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beyond this a limit is as good as none, and some kernels refuse to set it.
const ENOUGH: u64 = 1024 * 1024;

/// What `raise` can reach.
pub(crate) fn most() -> u64 {
    getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(ENOUGH)
        .min(ENOUGH)
}

/// Raises the soft limit to the hard one: one connection is one descriptor, and the usual soft
/// limit is 1,024.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = most();
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}
