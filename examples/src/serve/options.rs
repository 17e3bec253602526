//! What `serve` can be told on the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Serve the files below a directory over HTTP/1.1
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
TIME is a number with ms, s or m after it; without, it is seconds.
SIGINT or SIGTERM stops the server in good order, exit code 0.
The access log goes to stderr: RUST_LOG=warn leaves it out, RUST_LOG=debug tells more.")]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) addr: String,

    /// Directory to serve
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) root: PathBuf,

    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// What one client may cost.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Limits {
    /// How long a connection may wait for its next request
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) idle_timeout: Duration,

    /// How long a request head may take from first to last byte; a body has the same time again
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) header_timeout: Duration,

    /// How long a client may accept nothing of a response
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) write_timeout: Duration,

    /// How long requests in flight may take after SIGINT or SIGTERM; a second signal ends them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Connections served at once; others get 503
    #[arg(long, value_name = "N", default_value_t = connections())]
    pub(crate) max_connections: usize,

    /// Largest request body that is read (and thrown away); larger ones get 413
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024)]
    pub(crate) max_body: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        use clap::{Args, FromArgMatches};
        let arguments = Limits::augment_args(clap::Command::new("limits").no_binary_name(true));
        Limits::from_arg_matches(&arguments.get_matches_from([""; 0]))
            .expect("every limit has a default")
    }
}

/// Nine in ten of the file descriptors we could have: the rest is for files.
fn connections() -> usize {
    let limit = crate::descriptors::most();
    usize::try_from(limit - limit / 10).unwrap_or(usize::MAX)
}

fn duration(text: &str) -> Result<Duration, String> {
    let unit = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number: u64 = number
        .parse()
        .map_err(|_| "not a number and a unit, like 10s")?;
    let time = match unit {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(format!("unknown unit `{unit}`; use ms, s or m")),
    };
    // A read timeout of zero means none at all, and the clock must not overflow.
    if time.is_zero() || time > Duration::from_secs(365 * 24 * 60 * 60) {
        return Err("must be more than nothing and at most a year".to_owned());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in [
            "",
            "s",
            "0",
            "-1s",
            "1h",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_have_defaults() {
        let limits = Limits::default();
        assert_eq!(limits.idle_timeout, Duration::from_secs(60));
        assert!(limits.max_connections > 0);
    }
}
