//! The providers that there are, behind one [`Connect`].

use super::{BackendError, Connect, GroupwareBackend, Result, Settings, sogo};
use crate::api::GroupwareBackendSpec;
use std::sync::Arc;

/// Speaks to real servers.
pub struct Providers;

impl Connect for Providers {
    fn secrets(&self, spec: &GroupwareBackendSpec) -> Vec<(String, String)> {
        spec.sogo.as_ref().map(sogo::secrets).unwrap_or_default()
    }
    fn connect(&self, settings: Settings) -> Result<Arc<dyn GroupwareBackend>> {
        match settings.spec {
            GroupwareBackendSpec { sogo: Some(_), .. } => sogo::connect(settings),
            _ => Err(BackendError::Rejected("the spec names no provider: sogo".into())),
        }
    }
}
