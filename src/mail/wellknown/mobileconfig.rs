//! Apple's configuration profile for mail, calendars and contacts (com.apple.mail.managed, com.apple.caldav.account,
//! com.apple.carddav.account). It is not signed: a device shows it as such and asks.

use super::xml::escaped;
use crate::Address;
use crate::records::{Dav, Discovery, Endpoint};
use sha2::{Digest, Sha256};

/// The profile for an address; none: a device could not read or send mail with it. It holds no password: the device asks
/// for it.
pub fn mobileconfig(address: &Address, offered: &Discovery) -> Option<String> {
    let submission = offered.submission.as_ref()?;
    let mut payloads = match (&offered.imap, &offered.pop3) {
        (Some(imap), _) => mail(address, ("EmailTypeIMAP", imap), submission),
        (None, Some(pop3)) => mail(address, ("EmailTypePOP", pop3), submission),
        (None, None) => return None,
    };
    if let Some(at) = &offered.dav {
        payloads += &dav(address, "CalDAV", at);
        payloads += &dav(address, "CardDAV", at);
    }
    let identity = identity(address, "profile");
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n<key>PayloadContent</key>\n<array>\n\
         {payloads}</array>\n{identity}{}{}</dict>\n</plist>\n",
        text("PayloadDisplayName", &format!("Mail of {address}")),
        text("PayloadType", "Configuration"),
    ))
}

fn mail(address: &Address, (kind, incoming): (&str, &Endpoint), outgoing: &Endpoint) -> String {
    let server = |side: &str, at: &Endpoint| {
        text(&format!("{side}MailServerHostName"), &at.host)
            + &number(&format!("{side}MailServerPortNumber"), at.port)
            // TLS from the first byte or by STARTTLS: devices find out by the port.
            + &flag(&format!("{side}MailServerUseSSL"), true)
            + &text(&format!("{side}MailServerUsername"), address)
            + &text(&format!("{side}MailServerAuthentication"), "EmailAuthPassword")
    };
    let body = text("EmailAccountType", kind)
        + &text("EmailAccountDescription", address)
        + &text("EmailAddress", address)
        + &server("Incoming", incoming)
        + &server("Outgoing", outgoing)
        + &flag("OutgoingPasswordSameAsIncomingPassword", true);
    payload(address, "com.apple.mail.managed", &body)
}

fn dav(address: &Address, kind: &str, at: &Dav) -> String {
    let body = text(&format!("{kind}AccountDescription"), address)
        + &text(&format!("{kind}HostName"), &at.endpoint.host)
        + &number(&format!("{kind}Port"), at.endpoint.port)
        + &flag(&format!("{kind}UseSSL"), at.endpoint.tls)
        + &text(&format!("{kind}PrincipalURL"), &at.path)
        + &text(&format!("{kind}Username"), address);
    payload(address, &format!("com.apple.{}.account", kind.to_ascii_lowercase()), &body)
}

fn payload(address: &Address, kind: &str, body: &str) -> String {
    format!("<dict>\n{body}{}{}</dict>\n", text("PayloadType", kind), identity(address, kind))
}

/// Identifier, version and UUID: the same for the same address each time, so that a new profile replaces the old one.
fn identity(address: &Address, kind: &str) -> String {
    let place = format!("{}.{}", address.domain().rsplit('.').collect::<Vec<_>>().join("."), address.local());
    let digest = Sha256::digest(format!("mailtenant.dev/mobileconfig/v1\0{kind}\0{address}\0").as_bytes());
    let hex: String = digest[..16].iter().map(|b| format!("{b:02X}")).collect();
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-");
    text("PayloadIdentifier", &format!("{place}.{}", kind.rsplit("apple.").next().unwrap_or(kind)))
        + &text("PayloadUUID", &uuid)
        + &number("PayloadVersion", 1)
}

fn text(key: &str, value: &str) -> String {
    format!("<key>{key}</key>\n<string>{}</string>\n", escaped(value))
}

fn number(key: &str, value: u16) -> String {
    format!("<key>{key}</key>\n<integer>{value}</integer>\n")
}

fn flag(key: &str, value: bool) -> String {
    format!("<key>{key}</key>\n<{value}/>\n")
}

#[cfg(test)]
mod tests {
    use super::super::offered;
    use super::*;

    #[test]
    fn a_profile_has_what_a_device_needs_and_no_password() {
        let address = Address::new("a&b'@acme.test").unwrap();
        let profile = mobileconfig(&address, &offered()).unwrap();
        for part in [
            "<key>EmailAddress</key>\n<string>a&amp;b&#39;@acme.test</string>",
            "<key>IncomingMailServerHostName</key>\n<string>imap.mail.example.net</string>",
            "<key>OutgoingMailServerPortNumber</key>\n<integer>587</integer>",
            "<key>CalDAVPrincipalURL</key>\n<string>/SOGo/dav</string>",
            "<key>PayloadType</key>\n<string>com.apple.carddav.account</string>",
            "<key>PayloadIdentifier</key>\n<string>test.acme.a&amp;b&#39;.profile</string>",
        ] {
            assert!(profile.contains(part), "{part}\n{profile}");
        }
        assert_eq!(Some(&profile), mobileconfig(&address, &offered()).as_ref());
        assert_ne!(Some(&profile), mobileconfig(&Address::new("b@acme.test").unwrap(), &offered()).as_ref());
        assert!(!profile.contains("Password</key>\n<string>"), "{profile}");
        let uuids: std::collections::BTreeSet<&str> = profile.split("<key>PayloadUUID</key>\n").skip(1).collect();
        assert_eq!(uuids.len(), 4);
        let pop = mobileconfig(&address, &Discovery { imap: None, dav: None, ..offered() }).unwrap();
        assert!(pop.contains("EmailTypePOP") && !pop.contains("DAV"));
        for lacking in [Discovery { submission: None, ..offered() }, Discovery { imap: None, pop3: None, ..offered() }]
        {
            assert_eq!(mobileconfig(&address, &lacking), None);
        }
    }
}
