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

    /// The shortest exact text for `bytes` without a fraction, as used in a status: `120Mi`. An amount that needs more than
    /// the 15 digits of the schema is rounded up: a status that the apiserver refuses says nothing at all.
    pub fn from_bytes(bytes: impl Into<u128>) -> Self {
        const BYTE: (&str, u64) = ("", 1);
        let bytes = bytes.into();
        let exact = |f: &u64| bytes != 0 && bytes.is_multiple_of(u128::from(*f));
        let (suffix, factor) = SUFFIXES[..5].iter().rev().find(|(_, f)| exact(f)).copied().unwrap_or(BYTE);
        let fits = |f: u64| bytes.div_ceil(u128::from(f)) < 1_000_000_000_000_000;
        if fits(factor) {
            return Quantity(format!("{}{suffix}", bytes / u128::from(factor)));
        }
        let (suffix, factor) = SUFFIXES[..5].iter().find(|(_, f)| fits(*f)).copied().unwrap_or(SUFFIXES[4]);
        Quantity(format!("{}{suffix}", bytes.div_ceil(u128::from(factor))))
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
    }

    #[test]
    fn amounts_are_written_in_a_form_that_the_schema_takes() {
        for (bytes, text) in [
            (0u128, "0"),
            (5 << 30, "5Gi"),
            ((120 << 20) + 512, "125829632"),
            (999_999_999_999_999, "999999999999999"),
            // Sums of quotas go beyond 64 bits, and beyond 15 digits.
            (1_000_000_000_000_001, "976562500001Ki"),
            (3 * (7168 << 50), "21504Pi"),
            (u128::from(u64::MAX), "17592186044416Mi"),
        ] {
            let written = Quantity::from_bytes(bytes);
            assert_eq!(written.0, text);
            assert!(written.0.bytes().take_while(u8::is_ascii_digit).count() <= 15, "{written:?}");
        }
    }
}
