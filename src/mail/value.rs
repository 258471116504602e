//! Values of records: from the data of a record, and from its presentation form (RFC 1035, 5.1), to the canonical form of
//! [`crate::rr::RrSet`] and back. Pure.
//!
//! Data is that of `hickory-proto`, which parses and writes every type but TXT here: it writes character-strings without
//! quotes and escapes and reads `\DDD` as another character (0.26.3), and a TXT record of somebody else must come back byte
//! for byte (I8).

use super::name;
use crate::rr::RecordType;
use hickory_proto::rr::rdata::{CNAME, MX, NS, SRV};
use hickory_proto::rr::{Name, RData};

/// Longest character-string of a TXT record, in bytes (RFC 1035, 3.3).
const STRING: usize = 255;

/// The presentation form of a canonical value, as in zone files and the PowerDNS API.
pub fn to_presentation(rtype: RecordType, value: &str) -> String {
    match rtype {
        RecordType::TXT => quote_txt(value),
        _ => value.to_string(),
    }
}

/// The canonical form of a value in presentation form. What cannot be parsed is returned unchanged, and what has escapes
/// too, which the parser reads wrongly: it is put back as it was.
pub fn from_presentation(rtype: RecordType, content: &str) -> String {
    match rtype {
        RecordType::TXT => txt_text(&parse_txt(content)),
        _ if content.contains('\\') => content.to_string(),
        _ => RData::try_from_str(rtype.into(), content).map_or_else(|_| content.to_string(), canonical),
    }
}

/// The canonical form of a record's data.
pub fn canonical(data: RData) -> String {
    match data {
        RData::TXT(txt) => txt_text(&txt.txt_data.concat()),
        RData::MX(x) => RData::MX(MX::new(x.preference, absolute(x.exchange))).to_string(),
        RData::SRV(s) => RData::SRV(SRV::new(s.priority, s.weight, s.port, absolute(s.target))).to_string(),
        RData::CNAME(target) => RData::CNAME(CNAME(absolute(target.0))).to_string(),
        RData::NS(target) => RData::NS(NS(absolute(target.0))).to_string(),
        other => other.to_string(),
    }
}

/// A canonical MX value: `preference host.`; the host `.` is the null MX of RFC 7505.
pub fn mx(preference: u16, host: &str) -> String {
    match Name::from_ascii(host) {
        Ok(exchange) => canonical(RData::MX(MX::new(preference, exchange))),
        // It is refused where names are checked; here it is only compared.
        Err(_) => format!("{preference} {}.", name::from_server(host)),
    }
}

/// A target: lower case, with the trailing dot.
fn absolute(mut host: Name) -> Name {
    host.set_fqdn(true);
    host.to_lowercase()
}

/// The text of joined character-strings. If they are not UTF-8, bytes are shown as `\DDD`: mailtenant writes no such
/// value, so this form is only compared.
pub fn txt_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => {
            bytes
                .iter()
                .map(|b| {
                    if (b' '..=b'~').contains(b) && *b != b'\\' {
                        (*b as char).to_string()
                    } else {
                        format!("\\{b:03}")
                    }
                })
                .collect()
        }
    }
}

/// A text as quoted character-strings of at most 255 bytes each.
fn quote_txt(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for (i, chunk) in text.as_bytes().chunks(STRING).enumerate() {
        out.push_str(if i == 0 { "\"" } else { " \"" });
        for b in chunk {
            match b {
                b'"' | b'\\' => {
                    out.push('\\');
                    out.push(*b as char);
                }
                b' '..=b'~' => out.push(*b as char),
                _ => out.push_str(&format!("\\{b:03}")),
            }
        }
        out.push('"');
    }
    if out.is_empty() { "\"\"".into() } else { out }
}

/// The bytes of a TXT record's character-strings, joined. Takes quoted and unquoted strings and the
/// escapes of RFC 1035, 5.1.
fn parse_txt(content: &str) -> Vec<u8> {
    let bytes = content.as_bytes();
    let (mut out, mut quoted, mut i) = (Vec::with_capacity(bytes.len()), false, 0);
    while let Some(&b) = bytes.get(i) {
        match b {
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => {}
            b'\\' => {
                let decimal = bytes
                    .get(i + 1..i + 4)
                    .filter(|d| d.iter().all(u8::is_ascii_digit))
                    .map(|d| d.iter().fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0')));
                match decimal.and_then(|n| u8::try_from(n).ok()) {
                    Some(n) => {
                        out.push(n);
                        i += 3;
                    }
                    None => {
                        out.extend(bytes.get(i + 1));
                        i += 1;
                    }
                }
            }
            _ => out.push(b),
        }
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn txt_forms() {
        for (content, want) in [
            (r#""a b""#, "a b"),
            (r#""a" "b""#, "ab"),
            (r#""a""b""#, "ab"),
            ("bare", "bare"),
            ("two bare", "twobare"),
            (r#""say \"hi\" \\o/""#, r#"say "hi" \o/"#),
            (r#""caf\195\169""#, "café"),
            ("\"café\"", "café"),
            (r#""""#, ""),
            (r#""\255\000""#, r"\255\000"),
        ] {
            assert_eq!(from_presentation(RecordType::TXT, content), want, "{content}");
        }
        assert_eq!(to_presentation(RecordType::TXT, ""), r#""""#);
        let long = "x".repeat(300);
        let written = to_presentation(RecordType::TXT, &long);
        assert_eq!(written, format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
    }

    #[test]
    fn mx_forms() {
        assert_eq!(from_presentation(RecordType::MX, "10 Mx1.Example.ORG."), "10 mx1.example.org.");
        assert_eq!(from_presentation(RecordType::MX, "0 ."), "0 .");
        assert_eq!(mx(10, "mx1.example.org"), "10 mx1.example.org.");
        assert_eq!(mx(0, "."), "0 .");
    }

    #[test]
    fn forms_of_the_other_types() {
        for (rtype, content, want) in [
            (RecordType::CNAME, "Mail.Example.ORG", "mail.example.org."),
            (RecordType::NS, "ns1.Example.org.", "ns1.example.org."),
            (RecordType::SRV, "0 1 993 IMAP.example.org.", "0 1 993 imap.example.org."),
            (RecordType::SRV, "0 0 0 .", "0 0 0 ."),
            (RecordType::TLSA, "3 1 1 ABCDEF", "3 1 1 abcdef"),
            (RecordType::CAA, r#"0 issue "ca.example.net""#, r#"0 issue "ca.example.net""#),
            (RecordType::SRV, "no number", "no number"),
            (RecordType::MX, r"10 a\.b.example.org.", r"10 a\.b.example.org."),
        ] {
            let have = from_presentation(rtype, content);
            assert_eq!(have, want, "{content}");
            assert_eq!(from_presentation(rtype, &to_presentation(rtype, &have)), have, "{content}");
        }
    }

    proptest! {
        #[test]
        fn txt_there_and_back(text in any::<String>()) {
            prop_assert_eq!(from_presentation(RecordType::TXT, &to_presentation(RecordType::TXT, &text)), text);
        }
        #[test]
        fn any_content_is_taken(text in any::<String>()) {
            from_presentation(RecordType::TXT, &text);
            for rtype in [RecordType::MX, RecordType::CNAME, RecordType::SRV, RecordType::TLSA, RecordType::CAA] {
                from_presentation(rtype, &text);
            }
        }
    }
}
