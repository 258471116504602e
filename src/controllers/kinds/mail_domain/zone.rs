//! Where the records of a domain are edited, and who is asked what the world sees of them.

use crate::connections::Dns;
use crate::not_ready::NotReady;
use mailtenant_api::Reason;
use mailtenant_dns::Resolver;
use std::sync::Arc;

/// Where the records of a domain are edited.
pub enum Zone {
    /// By us, at a DNS server.
    Managed {
        dns: Dns,
        /// The zone that holds the name.
        name: String,
    },
    /// By the tenant, elsewhere.
    Manual {
        /// Asks the authoritative servers, wherever they are.
        resolver: Arc<dyn Resolver>,
    },
}

impl Zone {
    /// What the world sees.
    pub fn resolver(&self) -> &dyn Resolver {
        match self {
            Zone::Managed { dns, .. } => dns.resolver.as_ref(),
            Zone::Manual { resolver } => resolver.as_ref(),
        }
    }

    /// The same, to be kept.
    pub fn shared_resolver(&self) -> Arc<dyn Resolver> {
        match self {
            Zone::Managed { dns, .. } => dns.resolver.clone(),
            Zone::Manual { resolver } => resolver.clone(),
        }
    }

    pub fn label(&self) -> String {
        match self {
            Zone::Managed { dns, .. } => dns.label(),
            Zone::Manual { .. } => "the authoritative DNS servers".into(),
        }
    }

    /// The server and the zone, where we edit.
    pub fn managed(&self) -> Result<(&Dns, &str), NotReady> {
        match self {
            Zone::Managed { dns, name } => Ok((dns, name)),
            Zone::Manual { .. } => Err(NotReady::stalled(
                Reason::Unsupported,
                "the records of this domain are edited by hand (dns.mode: Manual)",
            )),
        }
    }
}
