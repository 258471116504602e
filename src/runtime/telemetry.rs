//! Logs on stderr: one line per message, as text for people or as JSON for collectors. Only the binary uses it;
//! everything else just calls `tracing`.

use clap::ValueEnum;
use std::io::{IsTerminal, stderr};
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Libraries that log what may be secret, or what is no fault of ours, and the most verbose level that they may log at, whatever the user asks for.
/// The others were read: they log addresses, names of methods, counts of bytes.
const CAPS: &[(&str, LevelFilter)] = &[
    // The whole body of an answer that does not decode, at `warn`: it may be a Secret. The modules below log none.
    ("kube_client::client", LevelFilter::OFF),
    ("kube_client::client::builder", LevelFilter::TRACE),
    ("kube_client::client::tls", LevelFilter::TRACE),
    // Every parameter of every statement, at `debug`: hashes and signing keys.
    ("tokio_postgres", LevelFilter::WARN),
    ("postgres_protocol", LevelFilter::WARN),
    // No secret, but a line at `error` for each certificate that a tenant does not renew; the caller reports it in the status.
    ("rustls_platform_verifier", LevelFilter::OFF),
];

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people, in colours on a terminal.
    Text,
    /// One JSON object per line, with its fields at the top level.
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

/// The filter for a `level`. A bare `debug` or `trace` is for `own` (the name of the crate) alone, because libraries
/// log every request at these levels. Directives (`info,kube=debug`) are used as they are, within [`CAPS`].
fn filter(level: &str, own: &str) -> Result<EnvFilter, Error> {
    let directives = match level.trim().to_ascii_lowercase().as_str() {
        bare @ ("debug" | "trace") => format!("info,{own}={bare}"),
        _ => level.trim().to_string(),
    };
    Ok(EnvFilter::try_new(directives)?)
}

/// A subscriber that writes the lines that `level` selects, and never more of a library than [`CAPS`] allows.
fn subscriber<W>(
    format: LogFormat,
    level: &str,
    own: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let caps = Targets::new().with_default(LevelFilter::TRACE).with_targets(CAPS.iter().copied());
    let allowed = filter(level, own)?.and(caps);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).boxed(),
    };
    Ok(Box::new(Registry::default().with(lines.with_filter(allowed))))
}

/// Sets up logging for the whole process. `own` is the name of the crate: a bare level such as `debug` is for its
/// messages, not for those of libraries.
pub fn init(format: LogFormat, level: &str, own: &str) -> Result<(), Error> {
    Ok(subscriber(format, level, own, stderr)?.try_init()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// Answers that do not decode, of kube's own client, and what tokio-postgres would say, under every level.
    #[tokio::test]
    async fn bodies_and_parameters_are_never_logged() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for level in [
                "info",
                "trace",
                "trace,kube_client=trace,tokio_postgres=trace",
                "kube_client::client=trace,tokio_postgres::query=debug,demo=info",
                "off,kube_client::client=warn",
            ] {
                let lines = Lines::default();
                let kept = lines.clone();
                let guard =
                    tracing::subscriber::set_default(subscriber(format, level, "demo", move || kept.clone()).unwrap());
                for body in [
                    r#"{"kind": "Secret", "data": {"password": ["hunter2"]}}"#,
                    r#"{"kind": "Status", "code": "hunter2"}"#,
                ] {
                    let service = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
                        Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::from(
                            body.as_bytes().to_vec(),
                        )))
                    });
                    let api = kube::Api::<Secret>::default_namespaced(kube::Client::new(service, "default"));
                    assert!(api.get("x").await.is_err());
                    assert!(api.delete("x", &kube::api::DeleteParams::default()).await.is_err());
                }
                tracing::debug!(target: "tokio_postgres::query", "executing with parameters: hunter2");
                tracing::error!(target: "kube_client::client::builder", "failed with an error");
                tracing::info!(target: "demo", "our own");
                drop(guard);
                let text = lines.text();
                assert!(!text.contains("hunter2"), "{format:?} {level}: {text}");
                // The rest goes on as it was asked for.
                let rest = ["our own", "failed with an error"].iter().all(|t| text.contains(t));
                assert!(rest || level.starts_with("off"), "{format:?} {level}: {text}");
            }
        }
    }

    #[test]
    fn a_bare_debug_is_for_ourselves_only() {
        for (level, shown) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("debug", "demo=debug,info"),
            ("trace", "demo=trace,info"),
            ("info,kube=debug", "kube=debug,info"),
        ] {
            assert_eq!(filter(level, "demo").unwrap().to_string(), shown, "{level}");
        }
        assert!(filter("a=b=c", "demo").is_err());
        assert!(filter("demo=loud", "demo").is_err());
    }
}
