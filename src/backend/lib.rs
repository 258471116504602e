//! What providers of groupware servers and of DNS servers share.

mod error;
pub mod limit;
pub mod metering;
pub mod secret;
pub mod uid;

pub use error::{BackendError, Result};
pub use secret::SecretText;
pub use uid::{Origin, Uid};
