//! Fetches the MTA-STS policy of a domain as senders do (RFC 8461, 3.3): over HTTPS, with a valid certificate for its host, and
//! without following a redirect.

use crate::{BackendError, PolicyProbe, Result};
use async_trait::async_trait;
use mailtenant_mail::records::{MTA_STS_PATH, mta_sts_host};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Client, redirect};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Time limit of one fetch. Senders should wait a minute (RFC 8461, 3.3), a pass has no more than that for everything.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest policy that is taken, in bytes: what senders take at most (RFC 8461, 3.3).
const LONGEST: usize = 65_536;

/// Fetches by HTTPS.
pub struct HttpsPolicy {
    port: u16,
    /// Trusted beside those of the system.
    roots: Vec<Certificate>,
}

impl Default for HttpsPolicy {
    fn default() -> Self {
        HttpsPolicy { port: 443, roots: vec![] }
    }
}

impl HttpsPolicy {
    /// At another port, trusting a CA in PEM: for tests. An error: it is no certificate.
    pub fn at(port: u16, root: &[u8]) -> Result<Self> {
        let root = Certificate::from_pem(root).map_err(|_| BackendError::Rejected("not a certificate".into()))?;
        Ok(HttpsPolicy { port, roots: vec![root] })
    }

    /// The host is connected to at these addresses alone. The resolver of the pod may show another view of it.
    fn client(&self, host: &str, addresses: &[IpAddr]) -> Result<Client> {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|ip| SocketAddr::new(*ip, self.port)).collect();
        let builder = Client::builder()
            .no_proxy()
            .https_only(true)
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .resolve_to_addrs(host, &addresses);
        let builder = if self.roots.is_empty() { builder } else { builder.tls_certs_merge(self.roots.clone()) };
        builder.build().map_err(|_| BackendError::unavailable("no HTTPS client could be made"))
    }
}

#[async_trait]
impl PolicyProbe for HttpsPolicy {
    async fn policy(&self, domain: &str, addresses: &[IpAddr]) -> Result<String> {
        let host = mta_sts_host(domain);
        let url = format!("https://{host}:{}{MTA_STS_PATH}", self.port);
        let mut answer = self.client(&host, addresses)?.get(url).send().await.map_err(|e| failed(&e))?;
        let status = answer.status();
        if status.as_u16() != 200 {
            return Err(BackendError::unavailable(format!(
                "HTTP status {}, and senders take 200 alone",
                status.as_u16()
            )));
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
            return Err(BackendError::unavailable("the answer is not text/plain"));
        }
        let mut body = vec![];
        while let Some(chunk) = answer.chunk().await.map_err(|e| failed(&e))? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(BackendError::unavailable("the answer is longer than senders take"));
            }
        }
        String::from_utf8(body).map_err(|_| BackendError::unavailable("the answer is not text"))
    }
}

/// The innermost cause says what is wrong with a certificate; it holds no secret, and nothing of an answer.
fn failed(error: &reqwest::Error) -> BackendError {
    if error.is_timeout() {
        return BackendError::unavailable(format!("no answer within {} s", TIMEOUT.as_secs()));
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    BackendError::unavailable(in_short(&cause.to_string()))
}

/// Most characters of a cause that are shown.
const SHOWN: usize = 200;

/// A cause in words that stay the same from one try to the next: behind the kind of a fault of a certificate stand seconds, and
/// names that whoever shows it chose.
fn in_short(cause: &str) -> String {
    let head = cause.split(';').next().unwrap_or_default();
    let kind: Vec<&str> = head.split(": ").take(2).collect();
    kind.join(": ").chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_the_same_at_each_try() {
        for (cause, shown) in [
            (
                "invalid peer certificate: certificate expired: verification time 1767225600 (UNIX), but certificate is not valid after \
                 1767225000 (600 seconds ago)",
                "invalid peer certificate: certificate expired",
            ),
            (
                "invalid peer certificate: certificate not valid for name \"mta-sts.a.test\"; certificate is only valid for b.test",
                "invalid peer certificate: certificate not valid for name \"mta-sts.a.test\"",
            ),
            ("invalid peer certificate: UnknownIssuer", "invalid peer certificate: UnknownIssuer"),
            ("Connection refused (os error 111)", "Connection refused (os error 111)"),
        ] {
            assert_eq!(in_short(cause), shown);
        }
        assert_eq!(in_short(&"x".repeat(900)).len(), SHOWN);
    }
}
