//! Text that must not leave the process (I6): passwords, keys, tokens.

use zeroize::Zeroizing;

/// A secret text. It has no `Debug`, no `Display` and no `Serialize`, so that it cannot get into a log, an error or a
/// status by accident; its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(Zeroizing::new(text.into()))
    }
    /// The text, for the one place that must send or compare it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
