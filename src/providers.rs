//! The choice of the provider: from the spec of a backend object and its Secrets to a connection. A new
//! provider gets one arm here.

use mailtenant_api::dns_backend::{Rfc2136, TsigAlgorithm};
use mailtenant_api::groupware_backend::{DatabaseTls, SchemaPolicy, Sogo};
use mailtenant_api::{DNSBackendSpec, GroupwareBackendSpec};
use mailtenant_backend::{BackendError, Result};
use mailtenant_clock::SystemClock;
use mailtenant_controllers::connect::{ConnectDns, ConnectGroupware, Secrets};
use mailtenant_dns::providers::{powerdns, rfc2136};
use mailtenant_dns::resolve::{DirectResolver, RootResolver};
use mailtenant_dns::{DnsServer, Resolver};
use mailtenant_groupware::GroupwareServer;
use mailtenant_groupware::providers::sogo;
use mailtenant_mail::name;
use std::sync::Arc;

/// Connects to groupware servers: SOGo.
pub struct Groupware;

impl ConnectGroupware for Groupware {
    fn connect(&self, spec: &GroupwareBackendSpec, secrets: &Secrets) -> Result<Arc<dyn GroupwareServer>> {
        match spec {
            GroupwareBackendSpec { sogo: Some(sogo), .. } => sogo::connect(sogo_settings(spec, sogo, secrets)?),
            _ => Err(BackendError::Rejected("the spec names no provider: sogo".into())),
        }
    }
}

fn sogo_settings(spec: &GroupwareBackendSpec, sogo: &Sogo, secrets: &Secrets) -> Result<sogo::Settings> {
    let db = &sogo.database;
    let credentials = &db.credentials_secret_ref.name;
    let key = &sogo.doveadm.api_key_secret_ref;
    let ca = db.ca_secret_ref.as_ref().map(|r| secrets.get(&r.name, mailtenant_api::groupware_backend::CA_KEY));
    Ok(sogo::Settings {
        database: sogo::Database {
            host: db.host.clone(),
            port: port("database.port", db.port)?,
            name: db.name.clone(),
            username: secrets.get(credentials, "username")?.clone(),
            password: secrets.get(credentials, "password")?.clone(),
            tls: match db.tls {
                DatabaseTls::Disable => sogo::DatabaseTls::Disable,
                DatabaseTls::Require => sogo::DatabaseTls::Require,
                DatabaseTls::VerifyFull => sogo::DatabaseTls::VerifyFull,
            },
            ca: ca.transpose()?.cloned(),
        },
        doveadm: sogo::DoveadmSettings {
            url: sogo.doveadm.url.clone(),
            api_key: secrets.get(&key.name, &key.key)?.clone(),
        },
        memcached: sogo
            .memcached
            .as_ref()
            .map(|m| Ok((m.host.clone(), port("memcached.port", m.port)?)))
            .transpose()?,
        managed_schema: sogo.schema == SchemaPolicy::Managed,
        requests_per_second: spec.limits.requests_per_second,
        concurrency: spec.limits.concurrency,
    })
}

fn port(field: &str, port: i32) -> Result<u16> {
    u16::try_from(port).map_err(|_| BackendError::Rejected(format!("{field}: 1 to 65535")))
}

/// Connects to DNS servers: PowerDNS, and what takes dynamic updates.
#[derive(Default)]
pub struct Dns {
    powerdns: powerdns::Servers,
    /// Whom the platform has asked where no DNSBackend says whom; empty: the authoritative servers.
    resolvers: Vec<String>,
}

impl Dns {
    /// `resolvers` as `host:port`.
    pub fn new(resolvers: Vec<String>) -> Self {
        let given = resolvers.into_iter().map(|r| r.trim().to_owned()).filter(|r| !r.is_empty());
        Dns { powerdns: powerdns::Servers::default(), resolvers: given.collect() }
    }
}

impl ConnectDns for Dns {
    fn connect(&self, spec: &DNSBackendSpec, secrets: &Secrets) -> Result<Arc<dyn DnsServer>> {
        match spec {
            DNSBackendSpec { powerdns: Some(powerdns), .. } => {
                let key = &powerdns.api_key_secret_ref;
                self.powerdns.connect(powerdns::Settings {
                    url: powerdns.url.clone(),
                    server_id: powerdns.server_id.clone(),
                    api_key: secrets.get(&key.name, &key.key)?.clone(),
                })
            }
            DNSBackendSpec { rfc2136: Some(server), .. } => {
                Ok(rfc2136::connect(rfc2136_settings(spec, server, secrets)?))
            }
            _ => Err(BackendError::Unsupported("the DNSBackend names no provider that this version knows".into())),
        }
    }

    fn resolver(&self, spec: &DNSBackendSpec) -> Result<Arc<dyn Resolver>> {
        let address = spec.powerdns.as_ref().and_then(|p| p.dns_address.clone());
        Ok(match (spec.resolvers.as_slice(), address) {
            ([], None) => self.default_resolver(),
            ([], Some(address)) => Arc::new(DirectResolver::new(vec![address])),
            (servers, _) => Arc::new(DirectResolver::new(servers.to_vec())),
        })
    }

    fn default_resolver(&self) -> Arc<dyn Resolver> {
        match self.resolvers.as_slice() {
            [] => Arc::new(RootResolver::internet()),
            servers => Arc::new(DirectResolver::new(servers.to_vec())),
        }
    }
}

fn rfc2136_settings(spec: &DNSBackendSpec, server: &Rfc2136, secrets: &Secrets) -> Result<rfc2136::Settings> {
    let tsig = &server.tsig;
    let algorithm = match tsig.algorithm {
        TsigAlgorithm::HmacSha256 => rfc2136::Algorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => rfc2136::Algorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => rfc2136::Algorithm::HmacSha512,
    };
    let secret = secrets.get(&tsig.secret_ref.name, &tsig.secret_ref.key)?;
    let key = rfc2136::Key::new(&tsig.name, algorithm, secret).map_err(|error| match error {
        rfc2136::BadKey::Name => BackendError::Rejected(format!("rfc2136.tsig.name: {error}")),
        rfc2136::BadKey::Secret => BackendError::InvalidSecret(format!(
            "key {} of Secret {}: {error}",
            tsig.secret_ref.key, tsig.secret_ref.name
        )),
    })?;
    let zones =
        spec.zones.iter().map(|zone| name::canonical(&zone.name).unwrap_or_else(|_| name::from_server(&zone.name)));
    Ok(rfc2136::Settings { server: server.server.clone(), key, zones: zones.collect(), clock: Arc::new(SystemClock) })
}
