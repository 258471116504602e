//! Logs: one line an event on stderr, as text for people or as JSON for collectors. May not be used by anything but
//! the process shell: everything else just calls `tracing`.

use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, fields at the top level.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--log-level` is neither a level nor a list of directives.
    #[error("--log-level: {0}; a level (error, warn, info, debug, trace) or directives such as info,kube=debug")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something else in this process logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// The filter that `level` stands for. A bare level below `info` holds for `own` (the crate's name) alone: libraries
/// log requests and SQL texts there, which nobody asked for by saying `debug`, and which are outside of what the tests
/// on secrets in logs can see. Directives (`info,kube=debug`) are taken as they are.
pub fn filter(level: &str, own: &str) -> Result<EnvFilter, Error> {
    let directives = match level.trim().to_ascii_lowercase().as_str() {
        bare @ ("debug" | "trace") => format!("info,{own}={bare}"),
        _ => level.trim().to_string(),
    };
    Ok(EnvFilter::try_new(directives)?)
}

/// Sets up logging for the whole process. `own` is the crate's name, see [`filter`].
pub fn init(format: LogFormat, level: &str, own: &str) -> Result<(), Error> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(level, own)?).with_writer(stderr);
    match format {
        LogFormat::Text => builder.with_ansi(stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_bare_debug_is_for_ourselves_only() {
        for (level, shown) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("debug", "mailtenant=debug,info"),
            ("trace", "mailtenant=trace,info"),
            ("info,kube=debug", "kube=debug,info"),
        ] {
            assert_eq!(filter(level, "mailtenant").unwrap().to_string(), shown, "{level}");
        }
        assert!(filter("a=b=c", "mailtenant").is_err());
        assert!(filter("mailtenant=loud", "mailtenant").is_err());
    }
}
