//! Why a command ends with exit code 1.

use crate::picture::Gap;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be done, in words for the one who asked.
    #[error("{0}")]
    Refused(String),
    /// No cluster is configured, or not in a way that can be used.
    #[error("no cluster: {0}")]
    Config(String),
    /// Kubernetes refused or failed a call.
    #[error("{0}")]
    Call(Gap),
    /// Something could not be printed or written.
    #[error("cannot write: {0}")]
    Write(#[from] std::io::Error),
    /// YAML or JSON could not be made.
    #[error("cannot be written as text: {0}")]
    Text(String),
}

impl Error {
    pub fn call(verb: &'static str, resource: &str, namespace: &str, error: &kube::Error) -> Self {
        Error::Call(gap(verb, resource, namespace, error))
    }
}

impl From<String> for Error {
    fn from(text: String) -> Self {
        Error::Refused(text)
    }
}

/// What a call could not do, with the words of Kubernetes where it is not a matter of rights.
pub fn gap(verb: &'static str, resource: &str, namespace: &str, error: &kube::Error) -> Gap {
    let why = match error {
        kube::Error::Api(status) if status.code == 403 => "forbidden (403): you do not have that right".to_owned(),
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    Gap { verb, resource: resource.into(), namespace: namespace.into(), why }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
