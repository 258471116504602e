//! `dns`: the records of a domain and their states; as zone file, Terraform resources or DNSEndpoint. Pure but for the printing.
//!
//! What may be pasted is decided where the operator decides it for its own zone file (`mailtenant_mail::manual`). The rest is a
//! comment that says what is to be done by hand.

use crate::args::{DnsFormat, Format};
use crate::error::{Error, Result};
use crate::object::Object;
use crate::output::{Colour, Terminal};
use mailtenant_api::MailDomainStatus;
use mailtenant_api::mail_domain::RecordStatus;
use mailtenant_mail::{manual, merge};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One value, as the status has it. Of a later release it may have words that this one does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Without a trailing dot.
    pub name: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub value: String,
    pub purpose: String,
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Record {
    /// In the words of this release; none: it does not know one of them.
    fn known(&self) -> Option<RecordStatus> {
        serde_json::from_value(serde_json::to_value(self).ok()?).ok()
    }
}

/// The records of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    pub domain: String,
    pub zone: String,
    /// In seconds.
    pub ttl: u32,
    pub records: Vec<Record>,
    /// MX must not be changed yet.
    #[serde(skip)]
    mx_stays: bool,
}

/// All values of a name and type.
#[derive(Debug)]
struct Set {
    name: String,
    type_: String,
    values: Vec<RecordStatus>,
}

impl Records {
    pub fn of(domain: &Object) -> Self {
        let entries = domain.value["status"]["dns"]["records"].as_array().cloned().unwrap_or_default();
        let mut records: Vec<Record> = entries.into_iter().filter_map(|e| serde_json::from_value(e).ok()).collect();
        let challenge = &domain.value["status"]["challenge"];
        let there = |name: &str, value: &str| records.iter().any(|r| r.name == name && r.value == value);
        // Where the tenant has to publish it the operator does not list it among its own.
        if let (Some(name), Some(value)) = (challenge["name"].as_str(), challenge["value"].as_str())
            && !there(name, value)
            && domain.condition(mailtenant_api::ConditionType::OwnershipVerified).is_some_and(|c| c.status != "True")
        {
            records.push(Record {
                name: name.into(),
                type_: "TXT".into(),
                value: value.into(),
                purpose: "Challenge".into(),
                state: "Missing".into(),
                observed: None,
                message: Some("publish it where the zone is edited: it proves that the name is yours".into()),
            });
        }
        let name = domain.text("/spec/domain");
        let zone = [domain.text("/status/dns/zone"), domain.text("/status/backendId"), name];
        let ttl = domain.number("/spec/dns/ttl").and_then(|ttl| u32::try_from(ttl).ok());
        Records {
            domain: name.into(),
            zone: zone.into_iter().find(|z| !z.is_empty()).unwrap_or_default().into(),
            ttl: ttl.unwrap_or(3600),
            records,
            mx_stays: mx_stays(domain),
        }
    }

    pub fn all_ok(&self) -> bool {
        self.records.iter().all(|r| r.state == "Ok")
    }

    /// What should be published, without what is being taken away; and what cannot be told, since its words are not known.
    fn wanted(&self) -> (Vec<RecordStatus>, Vec<&Record>) {
        let (mut wanted, mut unknown): (Vec<RecordStatus>, Vec<&Record>) = (vec![], vec![]);
        for record in &self.records {
            match record.known() {
                Some(entry) if merge::is_leaving(&entry) || wanted.contains(&entry) => {}
                Some(entry) => wanted.push(entry),
                None => unknown.push(record),
            }
        }
        (wanted, unknown)
    }

    /// The same by name and type. A set goes as a whole: one in which a value must not be added is in the second list.
    fn sets(&self) -> (Vec<Set>, Vec<Set>) {
        let mut sets: BTreeMap<(String, String), Vec<RecordStatus>> = BTreeMap::new();
        for entry in self.wanted().0 {
            sets.entry((entry.name.clone(), entry.type_.clone())).or_default().push(entry);
        }
        let set = |((name, type_), values)| Set { name, type_, values };
        let all = sets.into_iter().map(set);
        all.partition(|s| s.values.iter().all(|e| manual::may_be_added(e, self.mx_stays)))
    }

    /// Comments about the records whose words are not known.
    fn unknown(&self, sign: &str) -> String {
        let one = |r: &&Record| {
            let text =
                format!("{} {}: this release of the plugin does not know {}, {}", r.name, r.type_, r.purpose, r.state);
            format!("\n{sign} {}\n", one_line(&text))
        };
        self.wanted().1.iter().map(one).collect()
    }

    /// Name of a record below its zone; empty: the zone itself.
    fn below_zone<'a>(&self, name: &'a str) -> &'a str {
        match name.strip_suffix(self.zone.as_str()) {
            Some("") => "",
            Some(rest) => rest.strip_suffix('.').unwrap_or(name),
            None => name,
        }
    }

    /// RFC 1035, 5: the same text as that of the operator's ConfigMap.
    pub fn zone_file(&self) -> String {
        manual::zone_file(&self.domain, &self.wanted().0, self.ttl, self.mx_stays) + &self.unknown(";")
    }

    /// Resources of hashicorp/dns, which speaks RFC 2136. A resource holds all values of a name and type.
    pub fn terraform(&self) -> String {
        let mut out =
            "# A resource holds all values of its name and type: add those of others that are there, such as\n\
                       # further TXT records of the domain itself. What is a comment must be changed by hand, or must not be added yet.\n"
                .to_owned();
        let (good, left_out) = self.sets();
        for set in good {
            let _ = write!(out, "\n{}", self.resource(&set));
        }
        for set in left_out {
            let words: String = set.values.iter().map(|e| format!("{}\n", manual::comment(e))).collect();
            let lines = words + &self.resource(&set);
            let lines: String = lines.lines().map(|line| format!("# {line}\n")).collect();
            let _ = write!(out, "\n{lines}");
        }
        out + &self.unknown("#")
    }

    fn resource(&self, set: &Set) -> String {
        let Set { name, type_, values } = set;
        let values: String = values.iter().map(|e| terraform_value(type_, &e.value)).collect();
        let values = match type_.as_str() {
            "TXT" => format!("  txt = [\n{values}  ]\n"),
            "MX" | "SRV" => values,
            _ => {
                return format!(
                    "# {}\n",
                    one_line(&format!("{name} {type_}: hashicorp/dns has no such resource here"))
                );
            }
        };
        let label: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let own = self.below_zone(name);
        let own = if own.is_empty() { String::new() } else { format!("  name = {}\n", hcl(own)) };
        let (resource, zone) = (format!("dns_{}_record_set", type_.to_lowercase()), hcl(&format!("{}.", self.zone)));
        format!(
            "resource \"{resource}\" \"mail_{label}\" {{\n  zone = {zone}\n{own}{values}  ttl  = {}\n}}\n",
            self.ttl
        )
    }

    /// A DNSEndpoint of external-dns; and comments about what is not in it.
    pub fn endpoint(&self, domain: &Object) -> (Value, String) {
        let (good, left_out) = self.sets();
        let one = |set: &Set| {
            let targets: Vec<&str> = set.values.iter().map(|e| e.value.as_str()).collect();
            json!({"dnsName": set.name, "recordType": set.type_, "recordTTL": self.ttl, "targets": targets})
        };
        let endpoints: Vec<Value> = good.iter().map(one).collect();
        let values = left_out.iter().flat_map(|set| &set.values);
        let comment = |e: &RecordStatus| {
            let what = one_line(&format!("{} {} {}", e.name, e.type_, e.value));
            format!("# left out: {what}\n#   {}\n", manual::comment(e))
        };
        let comments: String = values.map(comment).collect();
        let value = json!({"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
            "metadata": {"name": domain.name(), "namespace": domain.namespace()}, "spec": {"endpoints": endpoints}});
        (value, comments + &self.unknown("#"))
    }
}

/// Whether MX must be left as it is. Where the status is not of the spec as it is, or cannot be read, it must.
fn mx_stays(domain: &Object) -> bool {
    let status = serde_json::from_value::<MailDomainStatus>(domain.value["status"].clone());
    !domain.is_current() || domain.is_deleting() || status.map_or(true, |s| s.mx_stays())
}

/// A text that stays in its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn terraform_value(type_: &str, value: &str) -> String {
    let words: Vec<&str> = value.split_whitespace().collect();
    match (type_, words.as_slice()) {
        ("TXT", _) => format!("    {},\n", hcl(value)),
        ("MX", [preference, exchange]) => {
            format!("  mx {{\n    preference = {preference}\n    exchange   = {}\n  }}\n", hcl(exchange))
        }
        ("SRV", [priority, weight, port, target]) => format!(
            "  srv {{\n    priority = {priority}\n    weight   = {weight}\n    port     = {port}\n    target   = {}\n  }}\n",
            hcl(target)
        ),
        _ => String::new(),
    }
}

/// A string of HCL: no template begins in it, and it stays in its line.
fn hcl(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', "\\\"").replace("${", "$${").replace("%{", "%%{");
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// Prints them; `true`: every record is as it should be.
pub fn print(terminal: &mut Terminal<'_>, domain: &Object, format: DnsFormat) -> Result<bool> {
    let records = Records::of(domain);
    match format {
        DnsFormat::Table => table(terminal, &records)?,
        DnsFormat::Zone => write!(terminal.out, "{}", records.zone_file())?,
        DnsFormat::Terraform => write!(terminal.out, "{}", records.terraform())?,
        DnsFormat::Json => {
            terminal.structured(Format::Json, &records)?;
        }
        DnsFormat::Yaml => {
            terminal.structured(Format::Yaml, &records)?;
        }
        DnsFormat::Dnsendpoint => {
            let (endpoint, comments) = records.endpoint(domain);
            write!(terminal.out, "{comments}")?;
            terminal.structured(Format::Yaml, &endpoint)?;
        }
    }
    if records.records.is_empty() {
        let text =
            format!("{} has no records yet: kubectl mailtenant why {}", domain.label(), domain.label().to_lowercase());
        return Err(Error::Refused(text));
    }
    Ok(records.all_ok())
}

fn table(terminal: &mut Terminal<'_>, records: &Records) -> Result<()> {
    let plain = |text: &str| (text.to_owned(), Colour::Plain);
    let note = |r: &Record| match (&r.observed, &r.message) {
        (Some(observed), Some(message)) => format!("{message} (seen: {observed})"),
        (Some(observed), None) => format!("seen: {observed}"),
        (None, message) => message.clone().unwrap_or_default(),
    };
    let row = |r: &Record| {
        let colour = match r.state.as_str() {
            "Ok" => Colour::Good,
            "Propagating" => Colour::Waiting,
            _ => Colour::Bad,
        };
        vec![
            plain(&r.name),
            plain(&r.type_),
            (r.state.clone(), colour),
            plain(&r.purpose),
            plain(&shortened(&r.value)),
            plain(&note(r)),
        ]
    };
    let rows: Vec<_> = records.records.iter().map(row).collect();
    terminal.table(&["NAME", "TYPE", "STATE", "PURPOSE", "VALUE", "NOTE"], &rows)
}

/// A DKIM key would fill the screen; `-o zone` has all of it.
fn shortened(value: &str) -> String {
    match value.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.into(),
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
