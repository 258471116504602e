//! `dns`: the records of a domain and their states; as zone file, Terraform resources or DNSEndpoint. Pure but for the printing.

use crate::args::{DnsFormat, Format};
use crate::error::{Error, Result};
use crate::object::Object;
use crate::output::{Colour, Terminal};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One value, as the status has it.
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

/// The records of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    pub domain: String,
    pub zone: String,
    pub ttl: i64,
    pub records: Vec<Record>,
}

/// What is said of a value that is being taken away (`mailtenant_mail::merge`).
const LEAVING: &str = "is being removed";

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
        let zone = domain.text("/status/dns/zone");
        Records {
            domain: name.into(),
            zone: if zone.is_empty() { name.into() } else { zone.into() },
            ttl: domain.number("/spec/dns/ttl").unwrap_or(3600),
            records,
        }
    }

    pub fn all_ok(&self) -> bool {
        self.records.iter().all(|r| r.state == "Ok")
    }

    /// What should be published, by name and type: without what is being taken away.
    fn sets(&self) -> BTreeMap<(&str, &str), Vec<&Record>> {
        let mut sets: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
        for record in self.records.iter().filter(|r| r.message.as_deref() != Some(LEAVING)) {
            let set = sets.entry((&record.name, &record.type_)).or_default();
            if !set.iter().any(|r| r.value == record.value) {
                set.push(record);
            }
        }
        sets
    }

    /// Name of a record below its zone; empty: the zone itself.
    fn below_zone<'a>(&self, name: &'a str) -> &'a str {
        match name.strip_suffix(self.zone.as_str()) {
            Some("") => "",
            Some(rest) => rest.strip_suffix('.').unwrap_or(name),
            None => name,
        }
    }

    /// RFC 1035, 5. Names are absolute.
    pub fn zone_file(&self) -> String {
        let mut out =
            format!("; records of {}, to be added to what zone {} has\n$TTL {}\n", self.domain, self.zone, self.ttl);
        for ((name, type_), set) in self.sets() {
            for record in set {
                let value = if type_ == "TXT" { txt(&record.value) } else { record.value.clone() };
                let _ = writeln!(
                    out,
                    "{name}.\t{}\tIN\t{type_}\t{value}\t; {}, {}",
                    self.ttl, record.purpose, record.state
                );
            }
        }
        out
    }

    /// Resources of hashicorp/dns, which speaks RFC 2136. A resource holds all values of a name and type.
    pub fn terraform(&self) -> String {
        let mut out =
            "# A resource holds all values of its name and type: add those of others that are there, such as\n\
                       # further TXT records of the domain itself.\n"
                .to_owned();
        for ((name, type_), set) in self.sets() {
            let values: String = set.iter().map(|r| terraform_value(type_, &r.value)).collect();
            let values = match type_ {
                "TXT" => format!("  txt = [\n{values}  ]\n"),
                "MX" | "SRV" => values,
                _ => {
                    let _ = writeln!(out, "# {name} {type_}: hashicorp/dns has no such resource here");
                    continue;
                }
            };
            let label: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>();
            let own = self.below_zone(name);
            let own = if own.is_empty() { String::new() } else { format!("  name = {}\n", hcl(own)) };
            let resource = format!("dns_{}_record_set", type_.to_lowercase());
            let _ = write!(
                out,
                "\nresource \"{resource}\" \"mail_{label}\" {{\n  zone = \"{}.\"\n{own}{values}  ttl  = {}\n}}\n",
                self.zone, self.ttl
            );
        }
        out
    }

    /// A DNSEndpoint of external-dns.
    pub fn endpoint(&self, domain: &Object) -> Value {
        let sets = self.sets();
        let endpoints: Vec<Value> = sets
            .iter()
            .map(|((name, type_), set)| {
                let targets: Vec<&str> = set.iter().map(|r| r.value.as_str()).collect();
                json!({"dnsName": name, "recordType": type_, "recordTTL": self.ttl, "targets": targets})
            })
            .collect();
        json!({"apiVersion": "externaldns.k8s.io/v1alpha1", "kind": "DNSEndpoint",
            "metadata": {"name": domain.name(), "namespace": domain.namespace()}, "spec": {"endpoints": endpoints}})
    }
}

/// A text as character strings of at most 255 octets (RFC 1035, 3.3.14), in quotes.
fn txt(text: &str) -> String {
    let chunks: Vec<String> = text.as_bytes().chunks(255).map(master_string).collect();
    if chunks.is_empty() { "\"\"".into() } else { chunks.join(" ") }
}

/// RFC 1035, 5.1: quotes and backslashes are escaped, what is not printable ASCII is `\DDD`.
fn master_string(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            other => {
                let _ = write!(out, "\\{other:03}");
            }
        }
    }
    out + "\""
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

/// A string of HCL: no template begins in it.
fn hcl(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', "\\\"").replace("${", "$${").replace("%{", "%%{");
    format!("\"{text}\"")
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
            terminal.structured(Format::Yaml, &records.endpoint(domain))?;
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
