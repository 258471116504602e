//! Where MX leads (RFC 5321, 5.1). Pure.

use crate::name;
use crate::rr::RrSet;

/// The host of a value of MX in canonical form, with or without a preference before it. That of a null MX (`0 .`, RFC 7505)
/// is empty.
pub fn host(value: &str) -> Option<String> {
    value.split_whitespace().last().map(name::from_server)
}

/// Whether two values of MX lead to the same host, whatever their preferences.
pub fn same_host(a: &str, b: &str) -> bool {
    host(a) == host(b)
}

/// The first of `hosts` that any server shows as MX, and the longest time to live with which one does, in seconds. `hosts`
/// may be values of MX.
pub fn leads_to(seen: &[RrSet], hosts: &[impl AsRef<str>]) -> Option<(String, u32)> {
    let ours = |value: &&String| hosts.iter().any(|h| same_host(h.as_ref(), value));
    let leading = |set: &RrSet| set.values.iter().find(ours).and_then(|value| host(value));
    let first = seen.iter().find_map(leading)?;
    let ttl = seen.iter().filter(|set| leading(set).is_some()).map(|set| set.ttl).max()?;
    Some((first, ttl))
}

/// Whether one of these values of MX has one of `hosts`.
pub fn any_leads_to(values: &[String], hosts: &[impl AsRef<str>]) -> bool {
    values.iter().any(|value| hosts.iter().any(|h| same_host(h.as_ref(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rr::RecordType;

    #[test]
    fn any_server_that_shows_one_of_the_hosts_is_enough() {
        let set = |ttl, values: &[&str]| RrSet {
            name: "acme.test".into(),
            rtype: RecordType::MX,
            ttl,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        let hosts = ["mx1.mail.example.net", "20 MX2.mail.example.net."];
        for (seen, leads) in [
            (vec![set(300, &["10 mx1.mail.example.net."])], Some(("mx1.mail.example.net", 300))),
            (vec![set(300, &["5 old.test.", "50 Mx2.Mail.Example.Net."])], Some(("mx2.mail.example.net", 300))),
            // One of several servers is enough.
            (
                vec![set(900, &["5 old.test."]), set(60, &["10 mx1.mail.example.net."])],
                Some(("mx1.mail.example.net", 60)),
            ),
            (
                vec![set(60, &["10 mx1.mail.example.net."]), set(600, &["10 mx1.mail.example.net."])],
                Some(("mx1.mail.example.net", 600)),
            ),
            (vec![set(300, &["5 old.test."]), set(300, &[])], None),
            (vec![set(300, &["0 ."])], None),
            (vec![set(300, &["10 notmx1.mail.example.net."])], None),
            (vec![], None),
        ] {
            assert_eq!(leads_to(&seen, &hosts), leads.map(|(h, ttl)| (h.to_owned(), ttl)), "{seen:?}");
        }
    }
}
