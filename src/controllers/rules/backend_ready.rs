//! Whether passes may use a backend: the `Ready` of its object is the circuit breaker. Pure.

use crate::not_ready::NotReady;
use mailtenant_api::*;

/// Whether passes may use a groupware server: its own pass found it good. One that does not answer is asked by one pass,
/// not by every object on it; when it is back, that wakes them all.
pub fn groupware(backend: &GroupwareBackend) -> Result<(), NotReady> {
    let name = backend.metadata.name.clone().unwrap_or_default();
    good(&format!("GroupwareBackend {name}"), &backend.status.clone().unwrap_or_default().conditions)
}

/// The same for a DNS server.
pub fn dns(backend: &DNSBackend) -> Result<(), NotReady> {
    let name = backend.metadata.name.clone().unwrap_or_default();
    good(&format!("DNSBackend {name}"), &backend.status.clone().unwrap_or_default().conditions)
}

/// Why what is on a backend cannot go on; none if it can. Those that are on it are woken when this changes.
pub fn reason(list: &[Condition]) -> Option<Reason> {
    let ready = conditions::find(list, ConditionType::Ready);
    if ready.is_some_and(|c| c.status == "True") {
        return None;
    }
    let known = ready.and_then(|c| Reason::ALL.iter().copied().find(|r| r.as_str() == c.reason));
    // What was wrong with a pass of the backend's is nothing to do with those that are on it.
    let of_the_pass = [Reason::TimedOut, Reason::InternalError, Reason::KubernetesError];
    Some(known.filter(|r| !of_the_pass.contains(r)).unwrap_or(Reason::BackendUnreachable))
}

/// The same for any backend's conditions.
fn good(label: &str, list: &[Condition]) -> Result<(), NotReady> {
    let Some(reason) = reason(list) else { return Ok(()) };
    Err(match conditions::find(list, ConditionType::Ready) {
        Some(c) => NotReady::waiting(reason, format!("{label} is not ready: {}", c.message)),
        None => NotReady::waiting(reason, format!("{label} was not looked at yet")),
    })
}
