//! How a call to a server can end.

use crate::{Origin, Uid};
use std::time::Duration;

/// Why a call to a server failed, by what the operator does next. No variant ever holds the body of
/// an answer, a credential or a hash (I6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// The server reported by a typed answer that the object does not exist. The only proof of absence (I2).
    #[error("{0} is not there")]
    NotFound(String),
    /// It exists and belongs to another object, or to nobody and adoption was not requested.
    #[error("{what} exists at the backend and belongs to {}", owner.as_deref().unwrap_or("nobody we know"))]
    Exists {
        /// What exists, such as the address.
        what: String,
        /// Uid of its owner; none: nobody owns it.
        owner: Option<Uid>,
        /// Where the object of that owner stood; none: nobody noted it, or no object of this kind owns it.
        origin: Option<Box<Origin>>,
        /// Nobody owns it, and whoever is entitled to it may take it over.
        adoptable: bool,
    },
    /// Somebody else changed it between our read and our write, or it is still in use: read again and retry.
    #[error("{0}")]
    Conflict(String),
    /// The server refuses these values: the user must change something.
    #[error("the backend refused it: {0}")]
    Rejected(String),
    /// The server has a copy of this that it takes from another server: what is written there is lost or goes apart.
    #[error("{0}")]
    ReadOnly(String),
    /// The server lacks the function.
    #[error("the backend cannot do this: {0}")]
    Unsupported(String),
    /// A Secret has a value that can never be a credential: it is not even sent.
    #[error("{0}")]
    InvalidSecret(String),
    /// The server refused our credentials.
    #[error("the backend refused our credentials ({0})")]
    Unauthorized(String),
    /// No answer, a time-out, or an answer that makes no sense: it may have been done or not.
    #[error("the backend did not answer properly: {message}")]
    Unavailable {
        /// What happened, without any content of the answer.
        message: String,
        /// How long the server wants us to wait; none: it did not tell.
        retry_after: Option<Duration>,
    },
}

impl BackendError {
    /// [`BackendError::Unavailable`] without a time to wait.
    pub fn unavailable(message: impl Into<String>) -> Self {
        BackendError::Unavailable { message: message.into(), retry_after: None }
    }
}

/// Result of a call to a server.
pub type Result<T, E = BackendError> = std::result::Result<T, E>;
