//! The marker: a TXT record that says which MailDomain of which cluster writes the records of a name, and what MX was before.
//!
//! It is for the day on which the state in Kubernetes is lost, and against a second cluster. It proves nothing to anybody
//! else: whoever can write it can write MX too.

use super::challenge::hashed;
use super::{Mode, Record};
use crate::merge::PreviousMx;
use crate::policy::Purpose;
use crate::rr::RecordType;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::collections::BTreeSet;

/// Name of the marker of `domain`.
pub fn marker_name(domain: &str) -> String {
    format!("_mailtenant.{domain}")
}

/// Who writes the records of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// The id of its cluster: the uid of the namespace `kube-system`.
    pub cluster: String,
    /// Stands for namespace and name of the MailDomain ([`Manager::new`]).
    pub owner: String,
}

impl Manager {
    /// The MailDomain of this place. The DNS is public, so its namespace and name are not shown.
    pub fn new(cluster: &str, namespace: &str, name: &str) -> Self {
        Manager { cluster: cluster.into(), owner: hashed("manager", namespace, name) }
    }
}

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Who writes the records.
    pub manager: Manager,
    /// The purposes of the records that it made. Others were there before.
    pub made: BTreeSet<Purpose>,
    /// Its token ([`token`](super::token)), which is another one for each MailDomain.
    pub token: String,
    /// MX from before the cut-over; none: MX was not switched yet, or cannot be told in a text.
    pub previous_mx: Option<PreviousMx>,
}

const VERSION: &str = "v=mailtenant1";

impl Marker {
    /// What the text says; none: it is no marker.
    pub fn parse(text: &str) -> Option<Marker> {
        let mut tags = text.split("; ");
        if tags.next() != Some(VERSION) {
            return None;
        }
        let (mut cluster, mut owner, mut made) = (String::new(), String::new(), BTreeSet::new());
        let (mut token, mut previous_mx) = (String::new(), None);
        for (tag, value) in tags.filter_map(|tag| tag.split_once('=')) {
            match tag {
                "cluster" => cluster = value.into(),
                "owner" => owner = value.into(),
                "made" => made = value.split(',').filter_map(purpose).collect(),
                "token" => token = value.into(),
                "mx" => previous_mx = mx(value),
                _ => {}
            }
        }
        Some(Marker { manager: Manager { cluster, owner }, made, token, previous_mx })
    }

    /// The text of the record.
    pub fn value(&self) -> String {
        let Manager { cluster, owner } = &self.manager;
        let mut text = format!("{VERSION}; cluster={cluster}; owner={owner}; token={}", self.token);
        let made: Vec<String> = self.made.iter().map(|purpose| format!("{purpose:?}")).collect();
        if !made.is_empty() {
            text += &format!("; made={}", made.join(","));
        }
        match &self.previous_mx {
            Some(mx) if mx.values.is_empty() => text += "; mx=none",
            Some(mx) if can_be_told(mx) => text += &format!("; mx={} {}", mx.ttl, mx.values.join(",")),
            _ => {}
        }
        text
    }

    /// The record, for `domain`.
    pub fn record(&self, domain: &str, ttl: u32) -> Record {
        Record {
            name: marker_name(domain),
            rtype: RecordType::TXT,
            ttl,
            values: vec![self.value()],
            purpose: Purpose::Marker,
            mode: Mode::SharedValues,
            term: None,
            after_switch: None,
            with_mx: false,
        }
    }
}

/// Longest list of MX values that goes into a marker: the text stays far below what one answer over UDP holds.
const LONGEST_MX: usize = 600;

/// Whether the values have no character that separates, and are not too long.
fn can_be_told(mx: &PreviousMx) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
    mx.values.iter().all(|v| v.chars().all(plain)) && mx.values.iter().map(|v| v.len() + 1).sum::<usize>() <= LONGEST_MX
}

fn mx(text: &str) -> Option<PreviousMx> {
    if text == "none" {
        return Some(PreviousMx::default());
    }
    let (ttl, values) = text.split_once(' ')?;
    let values: Vec<String> = values.split(',').map(str::to_owned).collect();
    let is_mx = |v: &String| {
        let mut parts = v.split(' ');
        let preference = parts.next().is_some_and(|p| p.parse::<u16>().is_ok());
        preference && parts.next().is_some_and(|host| host.ends_with('.')) && parts.next().is_none()
    };
    values.iter().all(is_mx).then_some(PreviousMx { values, ttl: ttl.parse().ok()? })
}

fn purpose(word: &str) -> Option<Purpose> {
    let word: StrDeserializer<'_, ValueError> = word.into_deserializer();
    Purpose::deserialize(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let manager = Manager::new("c-1", "tenant-acme", "acme-test");
        assert_ne!(manager, Manager::new("c-1", "tenant-acm", "eacme-test"));
        assert_ne!(manager, Manager::new("c-2", "tenant-acme", "acme-test"));
        let mx =
            |ttl, values: &[&str]| Some(PreviousMx { ttl, values: values.iter().map(|v| (*v).to_owned()).collect() });
        for (previous, text) in [
            (None, ""),
            (mx(0, &[]), "; mx=none"),
            (mx(300, &["10 Mail.OLD.example.", "20 b.example."]), "; mx=300 10 Mail.OLD.example.,20 b.example."),
            (mx(60, &["0 ."]), "; mx=60 0 ."),
        ] {
            let made = [Purpose::SPF, Purpose::MX].into();
            let marker = Marker { manager: manager.clone(), made, token: "t".into(), previous_mx: previous };
            let owner = &manager.owner;
            assert_eq!(
                marker.value(),
                format!("v=mailtenant1; cluster=c-1; owner={owner}; token=t; made=MX,SPF{text}")
            );
            assert_eq!(Marker::parse(&marker.value()), Some(marker));
        }
    }

    #[test]
    fn what_would_be_read_as_something_else_is_left_out() {
        let marker = |values: Vec<String>| Marker {
            manager: Manager::new("c", "n", "d"),
            made: BTreeSet::new(),
            token: "t".into(),
            previous_mx: Some(PreviousMx { ttl: 1, values }),
        };
        let many = (0..50).map(|n| format!("10 mail{n}.example.")).collect();
        for values in [vec!["10 a,20 b.".to_owned()], vec!["10 a; mx=none.".into()], vec!["10 a\\032b.".into()], many] {
            let read = Marker::parse(&marker(values).value()).unwrap();
            assert_eq!((read.token.as_str(), read.previous_mx), ("t", None));
        }
    }

    #[test]
    fn texts_of_others_are_no_markers() {
        for text in ["", "v=mailtenant", "v=mailtenant10; cluster=c", "v=spf1 -all", "V=mailtenant1; cluster=c"] {
            assert_eq!(Marker::parse(text), None, "{text}");
        }
        let broken = Marker::parse("v=mailtenant1; owner; mx=a 10 b.; made=MX,Other; x=y").unwrap();
        assert_eq!((broken.manager.owner.as_str(), broken.previous_mx), ("", None));
        assert_eq!(broken.made, [Purpose::MX].into());
        for mx in ["", "none ", "60", "60 a.", "60 10 a", "60 10 a. b.", "x 10 a.", "60 70000 a."] {
            assert_eq!(Marker::parse(&format!("v=mailtenant1; mx={mx}")).unwrap().previous_mx, None, "{mx}");
        }
    }
}
