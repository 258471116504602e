//! Kubernetes plumbing without any mail knowledge: watches and caches, the work queue, finalizers, status writes,
//! Events, the Lease, metrics, health. Nothing here may use `crate::api`, `crate::dns`, `crate::groupware` or
//! `crate::controllers`: it could be a crate of its own.

pub mod clock;
pub mod secret;
