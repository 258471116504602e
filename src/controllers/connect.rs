//! From a backend object to its server. The binary has the real providers, the simulator has models.

use mailtenant_api::{DNSBackendSpec, GroupwareBackendSpec};
use mailtenant_backend::{Result, SecretText};
use mailtenant_dns::{DnsServer, Resolver};
use mailtenant_groupware::GroupwareServer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Values of the Secrets that a spec names.
#[derive(Default)]
pub struct Secrets(pub BTreeMap<(String, String), SecretText>);

impl Secrets {
    /// The value of a key; an error that names both if it is not there.
    pub fn get(&self, name: &str, key: &str) -> Result<&SecretText> {
        let missing = || mailtenant_backend::BackendError::Rejected(format!("Secret {name} has no key {key}"));
        self.0.get(&(name.to_owned(), key.to_owned())).ok_or_else(missing)
    }
}

/// Connects to groupware servers.
pub trait ConnectGroupware: Send + Sync {
    /// The provider that the spec names. Nothing is sent yet.
    fn connect(&self, spec: &GroupwareBackendSpec, secrets: &Secrets) -> Result<Arc<dyn GroupwareServer>>;
}

/// Connects to DNS servers.
pub trait ConnectDns: Send + Sync {
    /// The provider that the spec names. Nothing is sent yet.
    fn connect(&self, spec: &DNSBackendSpec, secrets: &Secrets) -> Result<Arc<dyn DnsServer>>;
    /// Looks up by the spec's `resolvers`, else by the provider's `dnsAddress`, else from the root.
    fn resolver(&self, spec: &DNSBackendSpec) -> Result<Arc<dyn Resolver>>;
    /// Asks the authoritative servers of any name, for a zone that is at none of our DNSBackends.
    fn default_resolver(&self) -> Arc<dyn Resolver>;
}
