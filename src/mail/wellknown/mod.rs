//! The documents by which mail clients set themselves up, from what a domain offers: Thunderbird's autoconfig, Outlook's
//! autodiscover, Apple's profile. Pure. They say the same as the SRV records ([`crate::records::Discovery`]).
//!
//! No document depends on whether a mailbox exists: the address that somebody asks for comes back as it was given.

mod autoconfig;
mod autodiscover;
mod mobileconfig;
mod xml;

pub use autoconfig::autoconfig;
pub use autodiscover::{Refusal, Request, autodiscover, read_request, refused};
pub use mobileconfig::mobileconfig;

use crate::records::base32;
use sha2::{Digest, Sha256};

/// A text that changes exactly when `document` does: the ETag of an answer (RFC 9110, 8.8.3), without its quotes.
pub fn fingerprint(document: &str) -> String {
    base32(&Sha256::digest(document.as_bytes())[..15])
}

#[cfg(test)]
pub(crate) fn offered() -> crate::records::Discovery {
    use crate::records::{Dav, Discovery, Endpoint};
    let at = |host: &str, port, tls| Endpoint { host: host.into(), port, tls };
    Discovery {
        imap: Some(at("imap.mail.example.net", 993, true)),
        pop3: Some(at("imap.mail.example.net", 995, true)),
        submission: Some(at("smtp.mail.example.net", 587, false)),
        sieve: Some(at("imap.mail.example.net", 4190, false)),
        dav: Some(Dav { endpoint: at("dav.mail.example.net", 443, true), path: "/SOGo/dav".into() }),
        documents: Some("wellknown.mail.example.net".into()),
    }
}
