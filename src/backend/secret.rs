//! Text that must not leave the process (I6): passwords, keys, tokens.

use zeroize::Zeroizing;

/// A secret text. It has no `Debug`, no `Display` and no `Serialize`, so that it cannot get into a log, an error or a
/// status by accident; its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text over. Copies that the caller keeps are not overwritten.
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(Zeroizing::new(text.into()))
    }
    /// The text itself, for code that must send or compare it. Never for logs or errors.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
