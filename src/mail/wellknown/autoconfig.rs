//! Autoconfig: the settings that Thunderbird and others ask for (draft-ietf-mailmaint-autoconfig, config-v1.1).

use super::xml::escaped;
use crate::records::{Discovery, Endpoint};

/// The document of a domain; none: it offers no way to read mail. It is the same for all mailboxes: a client puts the
/// address in itself.
pub fn autoconfig(domain: &str, offered: &Discovery) -> Option<String> {
    let incoming = [("imap", &offered.imap), ("pop3", &offered.pop3)];
    let incoming: String =
        incoming.into_iter().filter_map(|(kind, e)| Some(server("incomingServer", kind, e.as_ref()?))).collect();
    if incoming.is_empty() {
        return None;
    }
    let outgoing = offered.submission.as_ref().map(|e| server("outgoingServer", "smtp", e)).unwrap_or_default();
    let dav = offered.dav.as_ref().map(|dav| {
        let scheme = if dav.endpoint.tls { "https" } else { "http" };
        let url = escaped(&format!("{scheme}://{}:{}{}", dav.endpoint.host, dav.endpoint.port, dav.path));
        let one = |element: &str, kind: &str| {
            format!(
                "    <{element} type=\"{kind}\">\n      <username>%EMAILADDRESS%</username>\n      \
                 <authentication system=\"http\">basic</authentication>\n      <url>{url}</url>\n    </{element}>\n"
            )
        };
        one("addressbook", "carddav") + &one("calendar", "caldav")
    });
    let name = escaped(domain);
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<clientConfig version=\"1.1\">\n  <emailProvider id=\"{name}\">\n    \
         <domain>{name}</domain>\n    <displayName>{name}</displayName>\n    <displayShortName>{name}</displayShortName>\n\
         {incoming}{outgoing}{}  </emailProvider>\n</clientConfig>\n",
        dav.unwrap_or_default()
    ))
}

fn server(element: &str, kind: &str, at: &Endpoint) -> String {
    let security = if at.tls { "SSL" } else { "STARTTLS" };
    format!(
        "    <{element} type=\"{kind}\">\n      <hostname>{}</hostname>\n      <port>{}</port>\n      \
         <socketType>{security}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
         <username>%EMAILADDRESS%</username>\n    </{element}>\n",
        escaped(&at.host),
        at.port
    )
}

#[cfg(test)]
mod tests {
    use super::super::offered;
    use super::*;

    #[test]
    fn what_a_domain_offers() {
        let text = autoconfig("acme.test", &offered()).unwrap();
        let want = "<incomingServer type=\"imap\">\n      <hostname>imap.mail.example.net</hostname>\n      <port>993</port>\n      \
                    <socketType>SSL</socketType>";
        assert!(text.contains(want), "{text}");
        assert!(text.contains(
            "<hostname>smtp.mail.example.net</hostname>\n      <port>587</port>\n      <socketType>STARTTLS<"
        ));
        assert!(text.contains("<emailProvider id=\"acme.test\">") && text.contains("<domain>acme.test</domain>"));
        assert!(text.contains("<url>https://dav.mail.example.net:443/SOGo/dav</url>"));
        let order = ["type=\"imap\"", "type=\"pop3\"", "type=\"smtp\"", "type=\"carddav\"", "type=\"caldav\""];
        let at: Vec<usize> = order.iter().map(|word| text.find(word).unwrap()).collect();
        assert!(at.is_sorted(), "clients take the first that they can use: {at:?}");
        let only = Discovery { pop3: None, dav: None, submission: None, ..offered() };
        let text = autoconfig("acme.test", &only).unwrap();
        assert!(!text.contains("pop3") && !text.contains("smtp") && !text.contains("dav"), "{text}");
        assert_eq!(autoconfig("acme.test", &Discovery { imap: None, pop3: None, ..offered() }), None);
    }
}
