//! Client discovery: SRV records by which programs find the servers of a domain, for mail (RFC 6186, RFC 8314, 5.1), filters
//! (RFC 5804, 1.8), calendars and contacts (RFC 6764), and the hosts of the documents that say the same: `autoconfig`
//! (Thunderbird, draft-ietf-mailmaint-autoconfig) and `autodiscover` (Outlook, MS-OXDISCO).

use crate::name;
use crate::rr::RecordType;

/// A server of a service, as clients reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name. An IP address has no SRV record: nothing is published for the service.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS from the first byte (RFC 8314, 3); else the client upgrades by STARTTLS.
    pub tls: bool,
}

/// Calendars and contacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dav {
    /// Where the server is.
    pub endpoint: Endpoint,
    /// Path of the service, with the leading slash (RFC 6764, 4).
    pub path: String,
}

/// What a domain offers; none: it is not offered, and clients are told so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Reading mail by IMAP.
    pub imap: Option<Endpoint>,
    /// Reading mail by POP3.
    pub pop3: Option<Endpoint>,
    /// Sending mail.
    pub submission: Option<Endpoint>,
    /// Mail filters. Without them nothing is published: no client asks before it uses them.
    pub sieve: Option<Endpoint>,
    /// Calendars and contacts. Without them nothing is published.
    pub dav: Option<Dav>,
    /// Host that serves the documents of autoconfig and autodiscover. Without it nothing is published for them.
    pub documents: Option<String>,
}

/// Host at which Thunderbird asks for the settings of a domain.
pub fn autoconfig_host(domain: &str) -> String {
    format!("autoconfig.{domain}")
}

/// Host at which Outlook asks for the settings of a domain.
pub fn autodiscover_host(domain: &str) -> String {
    format!("autodiscover.{domain}")
}

/// The service is not offered (RFC 2782; RFC 6186, 3.4).
const NOT_OFFERED: &str = "0 0 0 .";

/// Names, types and values of the records of `domain`.
pub(super) fn discovery(domain: &str, offered: &Discovery) -> Vec<(String, RecordType, String)> {
    let mut out = vec![];
    let mut srv = |service: &str, value: String| {
        out.push((format!("_{service}._tcp.{domain}"), RecordType::SRV, value));
    };
    for (implicit, upgraded, endpoint) in [
        ("imaps", "imap", &offered.imap),
        ("pop3s", "pop3", &offered.pop3),
        ("submissions", "submission", &offered.submission),
    ] {
        match endpoint {
            None => [implicit, upgraded].into_iter().for_each(|service| srv(service, NOT_OFFERED.into())),
            Some(endpoint) => {
                let Some(value) = target(endpoint) else { continue };
                let (used, other) = if endpoint.tls { (implicit, upgraded) } else { (upgraded, implicit) };
                srv(used, value);
                srv(other, NOT_OFFERED.into());
            }
        }
    }
    if let Some(value) = offered.sieve.as_ref().and_then(target) {
        srv("sieve", value);
    }
    if let Some((dav, value)) = offered.dav.as_ref().and_then(|d| Some((d, target(&d.endpoint)?))) {
        let services = if dav.endpoint.tls { ["caldavs", "carddavs"] } else { ["caldav", "carddav"] };
        services.into_iter().for_each(|service| srv(service, value.clone()));
        for service in services {
            out.push((format!("_{service}._tcp.{domain}"), RecordType::TXT, format!("path={}", dav.path)));
        }
    }
    if let Some(target) = offered.documents.as_deref().and_then(alias_target) {
        // Outlook takes the SRV record where the host has no certificate for the name of the domain.
        out.push((format!("_autodiscover._tcp.{domain}"), RecordType::SRV, format!("0 1 443 {target}")));
        for host in [autoconfig_host(domain), autodiscover_host(domain)] {
            out.push((host, RecordType::CNAME, target.clone()));
        }
    }
    out
}

/// Value of a CNAME record that leads to a host; none: an IP address cannot be its target.
pub(super) fn alias_target(host: &str) -> Option<String> {
    let host = name::canonical(host).ok().filter(|h| h.parse::<std::net::IpAddr>().is_err())?;
    Some(format!("{host}."))
}

/// Value of the SRV record of an endpoint; none: an IP address cannot be its target.
fn target(endpoint: &Endpoint) -> Option<String> {
    let host = alias_target(&endpoint.host)?;
    Some(format!("0 1 {} {host}", endpoint.port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16, tls: bool) -> Option<Endpoint> {
        Some(Endpoint { host: host.into(), port, tls })
    }

    fn lines(offered: &Discovery) -> Vec<String> {
        let all = discovery("acme.test", offered).into_iter();
        all.map(|(name, rtype, value)| format!("{name} {} {value}", rtype.as_str())).collect()
    }

    #[test]
    fn all_that_is_offered_and_what_is_not() {
        let offered = Discovery {
            imap: at("IMAP.mail.example.net", 993, true),
            pop3: None,
            submission: at("smtp.mail.example.net", 587, false),
            sieve: at("imap.mail.example.net", 4190, false),
            dav: at("dav.mail.example.net", 8443, true).map(|endpoint| Dav { endpoint, path: "/SOGo/dav".into() }),
            documents: Some("Wellknown.mail.example.net".into()),
        };
        assert_eq!(
            lines(&offered),
            [
                "_imaps._tcp.acme.test SRV 0 1 993 imap.mail.example.net.",
                "_imap._tcp.acme.test SRV 0 0 0 .",
                "_pop3s._tcp.acme.test SRV 0 0 0 .",
                "_pop3._tcp.acme.test SRV 0 0 0 .",
                "_submission._tcp.acme.test SRV 0 1 587 smtp.mail.example.net.",
                "_submissions._tcp.acme.test SRV 0 0 0 .",
                "_sieve._tcp.acme.test SRV 0 1 4190 imap.mail.example.net.",
                "_caldavs._tcp.acme.test SRV 0 1 8443 dav.mail.example.net.",
                "_carddavs._tcp.acme.test SRV 0 1 8443 dav.mail.example.net.",
                "_caldavs._tcp.acme.test TXT path=/SOGo/dav",
                "_carddavs._tcp.acme.test TXT path=/SOGo/dav",
                "_autodiscover._tcp.acme.test SRV 0 1 443 wellknown.mail.example.net.",
                "autoconfig.acme.test CNAME wellknown.mail.example.net.",
                "autodiscover.acme.test CNAME wellknown.mail.example.net.",
            ]
        );
    }

    #[test]
    fn an_ip_address_is_no_target() {
        for host in ["192.0.2.1", "2001:db8::1"] {
            let offered = Discovery { imap: at(host, 993, true), ..Discovery::default() };
            let all = lines(&offered);
            assert!(!all.iter().any(|l| l.contains("imap")), "{all:?}");
        }
    }
}
