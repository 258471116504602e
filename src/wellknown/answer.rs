//! Which document somebody gets, by host, path and method. Pure.
//!
//! A name that is not claimed gets the same 404 as a document that there is not. No answer depends on whether a mailbox
//! exists: nothing here knows one.

use crate::known::{Known, Served};
use http::uri::Authority;
use http::{Method, StatusCode};
use mailtenant_mail::records::MTA_STS_PATH;
use mailtenant_mail::wellknown::{Refusal, autoconfig, autodiscover, fingerprint, mobileconfig, read_request, refused};
use mailtenant_mail::{Address, name};
use percent_encoding::percent_decode_str;

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The host that is asked for, as the client gave it, perhaps with a port.
    pub host: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: &'a str,
    /// The header `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// The body.
    pub body: &'a str,
}

/// What an answer is about: a label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// The MTA-STS policy.
    MtaSts,
    /// Thunderbird's settings.
    Autoconfig,
    /// Outlook's settings.
    Autodiscover,
    /// Apple's profile.
    Mobileconfig,
    /// Whether a host is served.
    Served,
    /// None of them.
    Other,
}

impl Document {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Document::MtaSts => "mta-sts",
            Document::Autoconfig => "autoconfig",
            Document::Autodiscover => "autodiscover",
            Document::Mobileconfig => "mobileconfig",
            Document::Served => "served",
            Document::Other => "other",
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it is about.
    pub document: Document,
    /// HTTP status.
    pub status: StatusCode,
    /// Header fields beside those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// An answer that is no document.
    pub fn plain(document: Document, status: StatusCode, text: &str) -> Self {
        let headers = vec![("content-type", TEXT.to_owned()), ("cache-control", NEVER.to_owned())];
        Answer { document, status, headers, body: format!("{text}\n") }
    }
}

/// Path of the settings for Thunderbird at the host `autoconfig`, and at the domain itself.
const AUTOCONFIG_PATHS: [&str; 2] = ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"];
/// Path of the settings for Outlook, which writes it in different letters.
pub const AUTODISCOVER_PATH: &str = "/autodiscover/autodiscover.xml";
/// Path of Apple's profile.
const PROFILE_PATH: &str = "/mail/mail.mobileconfig";
/// Path at which an ingress asks whether it should get a certificate for a host, on any host.
const SERVED_PATH: &str = "/served";

const TEXT: &str = "text/plain; charset=utf-8";
const XML: &str = "application/xml; charset=utf-8";
/// Senders must not take a policy from a cache (RFC 8461, 3.3): it is asked for each time whether it is as it was.
const ASK_AGAIN: &str = "no-cache";
/// An hour: hosts of a server change rarely.
const AN_HOUR: &str = "public, max-age=3600";
/// It has an address in it.
const NEVER: &str = "no-store";

/// The place that a host is.
enum Site {
    MtaSts(String),
    Autoconfig(String),
    Autodiscover(String),
    /// A domain itself, perhaps.
    Domain(String),
    /// The platform's own host, for all domains.
    Platform,
}

/// The host without its port, in canonical form.
fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    name::canonical(authority.host()).ok()
}

fn site(known: &Known, host: String) -> Site {
    let below = |label: &str| host.strip_prefix(label).map(str::to_owned);
    if known.is_platform_host(&host) {
        return Site::Platform;
    }
    match (below("mta-sts."), below("autoconfig."), below("autodiscover.")) {
        (Some(domain), ..) => Site::MtaSts(domain),
        (_, Some(domain), _) => Site::Autoconfig(domain),
        (_, _, Some(domain)) => Site::Autodiscover(domain),
        _ => Site::Domain(host),
    }
}

/// The answer to a request.
pub fn answer(known: &Known, asked: &Asked<'_>) -> Answer {
    if !known.synced() {
        let text = "the objects of the cluster are not listed yet";
        return Answer::plain(Document::Other, StatusCode::SERVICE_UNAVAILABLE, text);
    }
    if asked.path == SERVED_PATH {
        return is_served(known, asked);
    }
    let Some(host) = host(asked.host) else {
        return Answer::plain(Document::Other, StatusCode::MISDIRECTED_REQUEST, "this host is not served here");
    };
    let site = site(known, host);
    if asked.path.eq_ignore_ascii_case(AUTODISCOVER_PATH) {
        return outlook(known, &site, asked);
    }
    match (&site, asked.path) {
        (Site::MtaSts(domain), MTA_STS_PATH) => policy(known.served(domain), asked),
        (Site::Autoconfig(domain), path) if AUTOCONFIG_PATHS.contains(&path) => settings(known.served(domain), asked),
        (Site::Domain(domain), path) if path == AUTOCONFIG_PATHS[1] => settings(known.served(domain), asked),
        (Site::Autoconfig(_) | Site::Platform, PROFILE_PATH) => profile(known, &site, asked),
        (Site::Domain(domain), _) if known.served(domain).is_none() => {
            Answer::plain(Document::Other, StatusCode::MISDIRECTED_REQUEST, "this host is not served here")
        }
        _ => not_there(Document::Other),
    }
}

fn not_there(document: Document) -> Answer {
    Answer::plain(document, StatusCode::NOT_FOUND, "there is no such document")
}

/// An answer to a method that there is not; none: it may be read.
fn only(document: Document, asked: &Asked<'_>, allowed: &[Method]) -> Option<Answer> {
    if allowed.contains(asked.method) {
        return None;
    }
    let mut answer = Answer::plain(document, StatusCode::METHOD_NOT_ALLOWED, "not by this method");
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    answer.headers.push(("allow", names.join(", ")));
    Some(answer)
}

const READ: [Method; 2] = [Method::GET, Method::HEAD];

/// A document that is the same for everybody, with an ETag.
fn document(document: Document, asked: &Asked<'_>, (kind, cache): (&str, &str), body: Option<String>) -> Answer {
    if let Some(refused) = only(document, asked, &READ) {
        return refused;
    }
    let Some(body) = body else { return not_there(document) };
    let etag = format!("\"{}\"", fingerprint(&body));
    let known = |given: &str| given.split(',').map(str::trim).any(|e| e == "*" || e.trim_start_matches("W/") == etag);
    let unchanged = asked.if_none_match.is_some_and(known);
    let mut headers = vec![("cache-control", cache.to_owned()), ("etag", etag)];
    if unchanged {
        return Answer { document, status: StatusCode::NOT_MODIFIED, headers, body: String::new() };
    }
    headers.push(("content-type", kind.to_owned()));
    Answer { document, status: StatusCode::OK, headers, body }
}

fn policy(served: Option<Served>, asked: &Asked<'_>) -> Answer {
    let text = served.and_then(|s| s.policy).map(|policy| policy.text());
    document(Document::MtaSts, asked, (TEXT, ASK_AGAIN), text)
}

fn settings(served: Option<Served>, asked: &Asked<'_>) -> Answer {
    let text = served.and_then(|s| autoconfig(&s.name, &s.offered?));
    document(Document::Autoconfig, asked, (XML, AN_HOUR), text)
}

/// The domain of an address, where this site serves it.
fn of_address(known: &Known, site: &Site, address: &Address) -> Option<Served> {
    let here = match site {
        Site::Platform => true,
        Site::Autoconfig(domain) | Site::Autodiscover(domain) | Site::Domain(domain) => domain == address.domain(),
        Site::MtaSts(_) => false,
    };
    here.then(|| known.served(address.domain())).flatten()
}

fn outlook(known: &Known, site: &Site, asked: &Asked<'_>) -> Answer {
    // The same for a name that is not claimed, whatever is asked about it.
    let claimed = match site {
        Site::Platform => true,
        Site::Autodiscover(domain) | Site::Domain(domain) => known.served(domain).is_some_and(|s| s.offered.is_some()),
        Site::MtaSts(_) | Site::Autoconfig(_) => false,
    };
    if !claimed {
        return not_there(Document::Autodiscover);
    }
    if let Some(refused) = only(Document::Autodiscover, asked, &[Method::POST]) {
        return refused;
    }
    let body = match read_request(asked.body) {
        Ok(request) => match of_address(known, site, &request.address).and_then(|s| s.offered) {
            Some(offered) => autodiscover(&request, &offered),
            None if matches!(site, Site::Platform) => return not_there(Document::Autodiscover),
            None => refused(Refusal::Invalid),
        },
        Err(why) => refused(why),
    };
    let headers = vec![("content-type", XML.to_owned()), ("cache-control", NEVER.to_owned())];
    Answer { document: Document::Autodiscover, status: StatusCode::OK, headers, body }
}

/// The value of a field of the query. A `+` is one: it stands in addresses.
fn field(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    percent_decode_str(value).decode_utf8().ok().map(|text| text.into_owned())
}

fn profile(known: &Known, site: &Site, asked: &Asked<'_>) -> Answer {
    if let Some(refused) = only(Document::Mobileconfig, asked, &READ) {
        return refused;
    }
    let address = field(asked.query, "email").and_then(|email| Address::new(&email).ok());
    let body = address.and_then(|address| {
        let offered = of_address(known, site, &address)?.offered?;
        mobileconfig(&address, &offered)
    });
    let Some(body) = body else { return not_there(Document::Mobileconfig) };
    let headers = vec![
        ("content-type", "application/x-apple-aspen-config; charset=utf-8".to_owned()),
        ("content-disposition", "attachment; filename=\"mail.mobileconfig\"".to_owned()),
        ("cache-control", NEVER.to_owned()),
    ];
    Answer { document: Document::Mobileconfig, status: StatusCode::OK, headers, body }
}

/// Whether a host (`?domain=`) has documents here: for an ingress that gets certificates on demand.
fn is_served(known: &Known, asked: &Asked<'_>) -> Answer {
    if let Some(refused) = only(Document::Served, asked, &READ) {
        return refused;
    }
    let site = field(asked.query, "domain").and_then(|text| host(&text)).map(|host| site(known, host));
    let served = site.is_some_and(|site| match site {
        Site::Platform => true,
        Site::MtaSts(domain) => known.served(&domain).is_some_and(|s| s.policy.is_some()),
        Site::Autoconfig(domain) | Site::Autodiscover(domain) => {
            known.served(&domain).is_some_and(|s| s.offered.is_some())
        }
        // Whoever has the web site of the domain has its certificate.
        Site::Domain(_) => false,
    });
    match served {
        true => Answer::plain(Document::Served, StatusCode::OK, "served here"),
        false => not_there(Document::Served),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
