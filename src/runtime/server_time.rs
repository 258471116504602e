//! The time at the API server, from the `Date` of its answers (RFC 9110, 6.6.1).
//!
//! It is another clock than that of the replica: what must not end early, such as a wait that another replica began, is over
//! when it is over by both.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// The last `Date`, and when it came. Between two answers time goes on by the monotonic clock.
#[derive(Debug, Default)]
pub struct ServerTime(Mutex<Option<(Timestamp, Instant)>>);

impl ServerTime {
    /// Takes in the header of an answer. One that cannot be read is ignored.
    pub fn saw(&self, date: Option<&::http::HeaderValue>) {
        let parsed = date.and_then(|d| DateTimeParser::new().parse_timestamp(d.as_bytes()).ok());
        if let Some(date) = parsed {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }

    /// The time at the API server, at most a second too early; none: it has not answered yet.
    pub fn now(&self) -> Option<Timestamp> {
        let (date, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        date.checked_add(at.elapsed()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_between_answers() {
        let time = ServerTime::default();
        assert_eq!(time.now(), None);
        let saw = |text: &str| time.saw(Some(&::http::HeaderValue::from_str(text).unwrap()));
        saw("Sat, 28 Nov 2026 22:45:21 GMT");
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(time.now(), Some("2026-11-28T23:45:21Z".parse().unwrap()));
        for broken in ["", "soon", "Sat, 31 Feb 2026 22:45:21 GMT"] {
            saw(broken);
        }
        time.saw(None);
        assert_eq!(
            time.now(),
            Some("2026-11-28T23:45:21Z".parse().unwrap()),
            "an answer that does not say changes nothing"
        );
        saw("Sat, 28 Nov 2026 22:00:00 GMT");
        assert_eq!(
            time.now(),
            Some("2026-11-28T22:00:00Z".parse().unwrap()),
            "the server's word counts, also backwards"
        );
    }
}
