//! Amounts of storage as Kubernetes writes them: `5Gi`, `500M`, `1073741824`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// An amount of bytes, kept as it was written: GitOps tools compare text, so it is never rewritten.
///
/// Accepted: a whole or decimal number with an optional suffix `k M G T P` (powers of 1000) or
/// `Ki Mi Gi Ti Pi` (powers of 1024), as in Kubernetes' `resource.Quantity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity(pub String);

/// Why a text is not an amount of bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an amount of bytes: write a number with an optional suffix, such as 500Mi or 5Gi")]
pub struct BadQuantity(pub String);

const SUFFIXES: &[(&str, u64)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("", 1),
];

impl Quantity {
    /// The amount in bytes; fractions of a byte are rounded up.
    pub fn bytes(&self) -> Result<u64, BadQuantity> {
        let bad = || BadQuantity(self.0.clone());
        let (suffix, factor) = SUFFIXES.iter().find(|(s, _)| self.0.ends_with(s)).ok_or_else(bad)?;
        let number = &self.0[..self.0.len() - suffix.len()];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty()
            || fraction.len() > 9
            || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
        {
            return Err(bad());
        }
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
        let scale = 10u128.pow(fraction.len() as u32);
        let bytes = digits.checked_mul(u128::from(*factor)).ok_or_else(bad)?.div_ceil(scale);
        u64::try_from(bytes).map_err(|_| bad())
    }

    /// The shortest exact text for `bytes`, as statuses have it: `120Mi`, never a rounded `1.2Gi`.
    pub fn from_bytes(bytes: u64) -> Self {
        let (suffix, factor) = SUFFIXES[..5]
            .iter()
            .rev()
            .find(|(_, f)| bytes != 0 && bytes.is_multiple_of(*f))
            .copied()
            .unwrap_or(("", 1));
        Quantity(format!("{}{suffix}", bytes / factor))
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            String(String),
        }
        Ok(match IntOrString::deserialize(d)? {
            IntOrString::Int(i) => Quantity(i.to_string()),
            IntOrString::String(s) => Quantity(s),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("5Gi", Some(5 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("500M", Some(500_000_000)),
            ("0.3", Some(1)),
            ("5 Gi", None),
            ("-1", None),
            ("Gi", None),
            ("", None),
            ("99999999999999P", None),
        ] {
            assert_eq!(Quantity(text.into()).bytes().ok(), bytes, "{text:?}");
        }
        assert_eq!(Quantity::from_bytes(5 << 30).0, "5Gi");
        assert_eq!(Quantity::from_bytes((120 << 20) + 512).0, "122880.5Ki".replace("122880.5Ki", "125829632"));
        assert_eq!(Quantity::from_bytes(0).0, "0");
    }
}
