//! From settings to a provider. Nothing is sent here.

use super::Sogo;
use super::db::{CLIENT_LIMIT, in_our_schema, with_limits};
use crate::dovecot::doveadm::Doveadm;
use crate::dovecot::hasher::Hasher;
use crate::{BackendError, GroupwareServer, Result};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use mailtenant_backend::limit::Limit;
use mailtenant_backend::secret::SecretText;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, RwLock};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// What the provider is made from.
pub struct Settings {
    /// PostgreSQL with the tables of `config/groupware/sogo/`.
    pub database: Database,
    /// The doveadm HTTP API.
    pub doveadm: DoveadmSettings,
    /// memcached, as host and port; none: SOGo caches nothing.
    pub memcached: Option<(String, u16)>,
    /// Whether the operator makes and migrates the tables.
    pub managed_schema: bool,
    /// Requests per second, of all kinds together.
    pub requests_per_second: i32,
    /// Passes at a time.
    pub concurrency: i32,
}

/// Where the database is and how to sign in.
pub struct Database {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the database.
    pub name: String,
    /// Role to sign in as; spaces around it are cut off.
    pub username: SecretText,
    /// Password of the role.
    pub password: SecretText,
    /// How the connection is secured.
    pub tls: DatabaseTls,
    /// PEM certificates that may sign the server's; needed for [`DatabaseTls::VerifyFull`], used for doveadm too.
    pub ca: Option<SecretText>,
}

/// How the connection to the database is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseTls {
    /// Not at all.
    Disable,
    /// Encrypted; the server's certificate is not checked.
    Require,
    /// Encrypted, and the certificate is checked, with the host name.
    VerifyFull,
}

/// Where doveadm is.
pub struct DoveadmSettings {
    /// URL, with its path.
    pub url: String,
    /// The API key.
    pub api_key: SecretText,
}

/// The provider. Nothing is sent yet.
pub fn connect(settings: Settings) -> Result<Arc<dyn GroupwareServer>> {
    let Settings { database: db, doveadm, .. } = &settings;
    let mut config = tokio_postgres::Config::new();
    config.host(&db.host).port(db.port).dbname(&db.name);
    config.user(db.username.expose().trim());
    config.password(db.password.expose().trim_end_matches(['\r', '\n']));
    with_limits(&mut config);
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match db.tls {
        DatabaseTls::Disable => {
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, tokio_postgres::NoTls, how)
        }
        DatabaseTls::Require | DatabaseTls::VerifyFull => {
            config.ssl_mode(SslMode::Require);
            Manager::from_config(config, MakeRustlsConnect::new(tls(db.tls, db.ca.as_ref())?), how)
        }
    };
    // A pass holds one connection at most; the few more are for probes and bulk reads beside them.
    let size = usize::try_from(settings.concurrency).unwrap_or(1).max(1) + 4;
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .post_create(in_our_schema())
        .wait_timeout(Some(CLIENT_LIMIT))
        .create_timeout(Some(CLIENT_LIMIT))
        .recycle_timeout(Some(CLIENT_LIMIT))
        .build()
        .map_err(|_| BackendError::Rejected("no database pool can be made".into()))?;
    let limit = Arc::new(Limit::new(settings.requests_per_second));
    let doveadm = Doveadm::new(&doveadm.url, &doveadm.api_key, db.ca.as_ref(), Arc::clone(&limit))?;
    Ok(Arc::new(Sogo {
        pool,
        doveadm,
        memcached: settings.memcached,
        managed: settings.managed_schema,
        limit,
        features: RwLock::new(None),
        hasher: Hasher::new(),
    }))
}

fn tls(mode: DatabaseTls, ca: Option<&SecretText>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|_| BackendError::Rejected("no TLS version can be used".into()))?;
    if mode == DatabaseTls::Require {
        let verifier = Arc::new(AnyCertificate(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let pem = ca.ok_or_else(|| BackendError::Rejected("database.tls VerifyFull needs database.caSecretRef".into()))?;
    let mut roots = RootCertStore::empty();
    let bad = || BackendError::Rejected("ca.crt holds no PEM certificate".into());
    for cert in CertificateDer::pem_slice_iter(pem.expose().as_bytes()) {
        roots.add(cert.map_err(|_| bad())?).map_err(|_| bad())?;
    }
    if roots.is_empty() {
        return Err(bad());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// For `tls: Require`: encrypted, the server's certificate is not checked (its signatures are).
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
