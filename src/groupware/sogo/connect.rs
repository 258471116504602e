//! From a spec and its Secrets to a provider. Nothing is sent here.

use super::db::{CLIENT_LIMIT, with_limits};
use super::doveadm::Doveadm;
use super::limit::Limit;
use super::{RwLock, Semaphore, Sogo};
use crate::api::GroupwareBackendSpec;
use crate::api::groupware_backend::{DatabaseTls, SchemaPolicy, Sogo as Spec};
use crate::groupware::{BackendError, GroupwareBackend, Result, Settings};
use crate::runtime::secret::SecretText;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

const CA: &str = "ca.crt";

/// Secrets that the spec names, as `(name, key)`.
pub fn secrets(spec: &Spec) -> Vec<(String, String)> {
    let db = &spec.database;
    let mut all: Vec<(String, String)> =
        ["username", "password"].iter().map(|k| (db.credentials_secret_ref.name.clone(), (*k).to_owned())).collect();
    all.extend(db.ca_secret_ref.iter().map(|r| (r.name.clone(), CA.to_owned())));
    let key = &spec.doveadm.api_key_secret_ref;
    all.push((key.name.clone(), key.key.clone()));
    all
}

/// The provider.
pub fn connect(settings: Settings) -> Result<Arc<dyn GroupwareBackend>> {
    let GroupwareBackendSpec { limits, sogo: Some(spec), .. } = &settings.spec else {
        return Err(BackendError::Rejected("spec.sogo is missing".into()));
    };
    let secret = |name: &str, key: &str| {
        settings
            .secrets
            .get(&(name.to_owned(), key.to_owned()))
            .ok_or_else(|| BackendError::Rejected(format!("Secret {name} has no key {key}")))
    };
    let db = &spec.database;
    let credentials = &db.credentials_secret_ref.name;
    let ca = db.ca_secret_ref.as_ref().map(|r| secret(&r.name, CA)).transpose()?;
    let port = u16::try_from(db.port).map_err(|_| BackendError::Rejected("database.port: 1 to 65535".into()))?;
    let mut config = tokio_postgres::Config::new();
    config.host(&db.host).port(port).dbname(&db.name);
    config.user(secret(credentials, "username")?.expose().trim());
    config.password(secret(credentials, "password")?.expose().trim_end_matches(['\r', '\n']));
    with_limits(&mut config);
    let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match db.tls {
        DatabaseTls::Disable => {
            config.ssl_mode(SslMode::Disable);
            Manager::from_config(config, tokio_postgres::NoTls, how)
        }
        DatabaseTls::Require | DatabaseTls::VerifyFull => {
            config.ssl_mode(SslMode::Require);
            Manager::from_config(config, MakeRustlsConnect::new(tls(db.tls, ca)?), how)
        }
    };
    // A pass holds one connection at most; the few more are for probes and bulk reads beside them.
    let size = usize::try_from(limits.concurrency).unwrap_or(1).max(1) + 4;
    let pool = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CLIENT_LIMIT))
        .create_timeout(Some(CLIENT_LIMIT))
        .recycle_timeout(Some(CLIENT_LIMIT))
        .build()
        .map_err(|_| BackendError::Rejected("no database pool can be made".into()))?;
    let limit = Arc::new(Limit::new(limits.requests_per_second));
    let key = &spec.doveadm.api_key_secret_ref;
    let doveadm = Doveadm::new(&spec.doveadm.url, secret(&key.name, &key.key)?, ca, Arc::clone(&limit))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Arc::new(Sogo {
        pool,
        doveadm,
        memcached: spec.memcached.clone(),
        managed: spec.schema == SchemaPolicy::Managed,
        limit,
        features: RwLock::new(None),
        hashing: Arc::new(Semaphore::new(cores)),
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
