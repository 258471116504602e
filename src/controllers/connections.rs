//! The servers that backend objects stand for: built when they are first needed, kept until the object or one of its
//! Secrets changes.

use crate::connect::{ConnectDns, ConnectGroupware};
use mailtenant_api::{DNSBackend, GroupwareBackend};
use mailtenant_backend::metering::RequestMetrics;
use mailtenant_dns::{DnsServer, Resolver};
use mailtenant_groupware::{GroupwareServer, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex as AsyncMutex;

#[derive(Clone)]
pub struct Groupware {
    /// Name of the object.
    pub name: String,
    pub uid: Uid,
    pub object: Arc<GroupwareBackend>,
    pub server: Arc<dyn GroupwareServer>,
}

impl Groupware {
    pub fn label(&self) -> String {
        format!("GroupwareBackend {}", self.name)
    }
}

#[derive(Clone)]
pub struct Dns {
    /// Name of the object.
    pub name: String,
    pub object: Arc<DNSBackend>,
    pub server: Arc<dyn DnsServer>,
    /// What the world sees.
    pub resolver: Arc<dyn Resolver>,
}

impl Dns {
    pub fn label(&self) -> String {
        format!("DNSBackend {}", self.name)
    }
}

/// What a connection was made from: the object and its Secrets, by uid and version.
pub(crate) type Fingerprint = Vec<(String, String)>;

pub struct Connections {
    pub(crate) groupware: Arc<dyn ConnectGroupware>,
    pub(crate) dns: Arc<dyn ConnectDns>,
    pub(crate) metrics: RequestMetrics,
    pub(crate) open_groupware: AsyncMutex<BTreeMap<String, (Fingerprint, Groupware)>>,
    pub(crate) open_dns: AsyncMutex<BTreeMap<String, (Fingerprint, Dns)>>,
}

impl Connections {
    pub fn new(groupware: Arc<dyn ConnectGroupware>, dns: Arc<dyn ConnectDns>, metrics: RequestMetrics) -> Self {
        Connections { groupware, dns, metrics, open_groupware: AsyncMutex::default(), open_dns: AsyncMutex::default() }
    }
}
