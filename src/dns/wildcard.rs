//! Names that exist only through a wildcard (RFC 4592): any record at or below such a name ends the wildcard there, and with
//! it all that the name was answered with, its web site and its old MX too.

use crate::{DnsServer, RecordType, Result};
use mailtenant_mail::name;
use std::collections::BTreeSet;

/// The wildcard that a name is answered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wildcard {
    /// Its name: `*.example.org`.
    pub name: String,
    /// Its records, each as type and value: `A 192.0.2.1`.
    pub records: Vec<String>,
}

/// Types that a wildcard is made of, as far as one can ask for each by itself.
const TYPES: [RecordType; 9] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::MX,
    RecordType::TXT,
    RecordType::CNAME,
    RecordType::SRV,
    RecordType::CAA,
    RecordType::ALIAS,
    RecordType::LUA,
];

/// A label that nobody has: what is answered below a name with it comes of a wildcard.
const NOBODYS_LABEL: &str = "mailtenant-no-such-name";

/// The names above `name` in the zone, the zone included: at each of them a wildcard could stand that answers for it.
pub fn above<'a>(name: &'a str, zone: &'a str) -> Vec<&'a str> {
    let within = name::is_within(name, zone) && name != zone;
    name::parents(name).take_while(|n| within && name::is_within(n, zone)).collect()
}

/// The name of the wildcard that answers for `name`, of all names of a zone that have records (RFC 4592, 2.2.1): it stands
/// right below the closest name above that is there. None: the name is there itself, or no wildcard answers for it.
pub fn answering(name: &str, zone: &str, names: &BTreeSet<String>) -> Option<String> {
    // A name without records is there too if there is one below it.
    let there = |at: &str| names.iter().any(|n| name::is_within(n, at));
    if there(name) {
        return None;
    }
    let encloser = above(name, zone).into_iter().find(|n| there(n))?;
    let wildcard = format!("*.{encloser}");
    names.contains(&wildcard).then_some(wildcard)
}

/// The same from reads of single sets, for a server whose zone cannot be read as a whole. Where it cannot be told whether the
/// name is there, it counts as not there: then somebody has to make a record of its own for it.
pub async fn by_reads(server: &(impl DnsServer + ?Sized), zone: &str, name: &str) -> Result<Option<Wildcard>> {
    for encloser in above(name, zone) {
        let wildcard = format!("*.{encloser}");
        let records = texts(server, zone, &wildcard).await?;
        if !records.is_empty() {
            // A server that is asked by queries answers for the name what the wildcard says.
            let synthesized = !texts(server, zone, &format!("{NOBODYS_LABEL}.{name}")).await?.is_empty();
            let there = !synthesized && !texts(server, zone, name).await?.is_empty();
            return Ok((!there).then_some(Wildcard { name: wildcard, records }));
        }
        if !texts(server, zone, encloser).await?.is_empty() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// What is read at a name.
async fn texts(server: &(impl DnsServer + ?Sized), zone: &str, name: &str) -> Result<Vec<String>> {
    let which: Vec<_> = TYPES.iter().map(|rtype| (name.to_owned(), *rtype)).collect();
    let sets = server.read(zone, &which).await?;
    let text = |rtype: RecordType, v: &String| format!("{} {v}", rtype.as_str());
    Ok(sets.iter().flat_map(|s| s.values.iter().map(|v| text(s.rtype, v))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wildcard_below_the_closest_name_that_is_there() {
        for (names, name, want, why) in [
            (&["wild.test", "*.wild.test"][..], "shop.wild.test", Some("*.wild.test"), "nothing of its own"),
            (&["wild.test"], "shop.wild.test", None, "no wildcard"),
            (&["wild.test", "*.wild.test"], "wild.test", None, "the zone itself"),
            (&["wild.test", "*.wild.test", "shop.wild.test"], "shop.wild.test", None, "a record of its own"),
            (&["wild.test", "*.wild.test", "www.shop.wild.test"], "shop.wild.test", None, "a record below it"),
            (&["wild.test", "*.wild.test"], "a.b.wild.test", Some("*.wild.test"), "several labels"),
            (&["wild.test", "*.wild.test", "x.b.wild.test"], "a.b.wild.test", None, "the name above is there"),
            (
                &["wild.test", "*.wild.test", "*.b.wild.test"],
                "a.b.wild.test",
                Some("*.b.wild.test"),
                "the closer one of two",
            ),
            (&["wild.test", "*.wild.test", "xshop.wild.test"], "shop.wild.test", Some("*.wild.test"), "another label"),
            (&["wild.test", "*.wild.test"], "shop.other.test", None, "another zone"),
        ] {
            let names: BTreeSet<String> = names.iter().map(|n| (*n).to_owned()).collect();
            assert_eq!(answering(name, "wild.test", &names).as_deref(), want, "{why}");
        }
    }
}
