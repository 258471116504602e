//! Kubernetes plumbing without any mail knowledge: watches and caches, the work queue, finalizers, status writes,
//! Events, the Lease, metrics, health. Nothing here may use `crate::api`, `crate::dns`, `crate::groupware` or
//! `crate::controllers`: it could be a crate of its own.

pub mod backoff;
pub mod clock;
pub mod dispatch;
pub mod finalizer;
pub mod index;
pub mod queue;
pub mod secret;
pub mod status;
pub mod store;
pub mod watch;
