//! Time and randomness as traits, so that a whole process can run on a virtual clock.

use jiff::Timestamp;
use std::time::Duration;

/// Wall-clock time, for timestamps only. For waiting and measuring use `tokio::time`.
pub trait Clock: Send + Sync {
    /// The current time in UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place that may")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A source of random numbers.
pub trait Random: Send + Sync {
    /// Fills the buffer with random bytes, good enough for secrets.
    fn fill(&self, buffer: &mut [u8]);

    /// A number below `n` (0 for 0); for jitter, not for secrets.
    fn below(&self, n: u64) -> u64 {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes).checked_rem(n).unwrap_or(0)
    }

    /// A random time between `base` minus and plus `percent`, in whole milliseconds.
    fn around(&self, base: Duration, percent: u64) -> Duration {
        let ms = base.as_millis() as u64;
        let span = ms * percent / 100;
        Duration::from_millis(ms - span + self.below(2 * span + 1))
    }
}

/// The cryptographic random numbers of the system. Ends the process if there are none.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        // Fails only if the kernel has no entropy source at all; going on with zeros would make guessable passwords.
        if aws_lc_rs::rand::fill(buffer).is_err() {
            std::process::abort();
        }
    }
}
