//! MTA-STS: a domain says over HTTPS which mail servers senders must reach by valid TLS, and a TXT record tells senders when to
//! ask again (RFC 8461). The file and the record come from the same [`MtaStsPolicy`], so they cannot tell of different ones.

use super::digest::base32;
use crate::name;
use crate::policy::MtaStsMode;
use sha2::{Digest, Sha256};

/// Host at which the policy of `domain` is served (RFC 8461, 3.3).
pub fn mta_sts_host(domain: &str) -> String {
    format!("mta-sts.{domain}")
}

/// Name of the TXT record of `domain` (RFC 8461, 3.1).
pub fn mta_sts_name(domain: &str) -> String {
    format!("_mta-sts.{domain}")
}

/// Path of the policy at its host (RFC 8461, 3.2).
pub const MTA_STS_PATH: &str = "/.well-known/mta-sts.txt";

/// What is published of MTA-STS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaSts {
    /// Where the policy is served: the target of the CNAME at [`mta_sts_host`].
    pub served_at: String,
    /// Id of the policy that senders are told of; none: they are told of none yet.
    pub id: Option<String>,
}

/// A policy (RFC 8461, 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaStsPolicy {
    mode: MtaStsMode,
    /// Canonical, sorted, each once. Empty for the mode `none`.
    mx: Vec<String>,
    max_age: u32,
}

impl MtaStsPolicy {
    /// `hosts`: all mail servers that MX may lead to; those of the mode `none` are left out. `max_age`: how long senders
    /// keep the policy, in seconds.
    pub fn new<'a>(mode: MtaStsMode, hosts: impl IntoIterator<Item = &'a str>, max_age: u32) -> Self {
        let canonical = |host: &str| name::canonical(host).unwrap_or_else(|_| name::from_server(host));
        let mut mx: Vec<String> = match mode {
            MtaStsMode::None => vec![],
            MtaStsMode::Testing | MtaStsMode::Enforce => hosts.into_iter().map(canonical).collect(),
        };
        mx.sort();
        mx.dedup();
        MtaStsPolicy { mode, mx, max_age: max_age.min(MTA_STS_LONGEST) }
    }

    /// Reads a policy file. None: senders would not take it. Fields that RFC 8461 does not know are passed over.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, vec![]);
        for line in text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.trim().is_empty()) {
            let (field, value) = line.split_once(':')?;
            let value = value.trim();
            // Of a field that is there twice the first one counts, but for `mx` (RFC 8461, 3.2).
            match field.trim_end() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" => mx.push(value),
                _ => {}
            }
        }
        let mode = [MtaStsMode::None, MtaStsMode::Testing, MtaStsMode::Enforce]
            .into_iter()
            .find(|m| mode == Some(word(*m)))?;
        let max_age = max_age?.parse().ok().filter(|age| *age <= MTA_STS_LONGEST)?;
        if version != Some("STSv1") || (mode != MtaStsMode::None && mx.is_empty()) {
            return None;
        }
        Some(MtaStsPolicy::new(mode, mx, max_age))
    }

    /// Mode of the policy.
    pub fn mode(&self) -> MtaStsMode {
        self.mode
    }

    /// The mail servers that it names, sorted.
    pub fn mx(&self) -> &[String] {
        &self.mx
    }

    /// How long senders keep it, in seconds.
    pub fn max_age(&self) -> u32 {
        self.max_age
    }

    /// The file (RFC 8461, 3.2).
    pub fn text(&self) -> String {
        let mx: String = self.mx.iter().map(|host| format!("mx: {host}\r\n")).collect();
        format!("version: STSv1\r\nmode: {}\r\n{mx}max_age: {}\r\n", word(self.mode), self.max_age)
    }

    /// 32 letters and digits that change exactly when the file does.
    pub fn id(&self) -> String {
        base32(&Sha256::digest(self.text().as_bytes())[..20])
    }
}

/// Longest time for which a policy may be kept, in seconds (RFC 8461, 3.2).
pub const MTA_STS_LONGEST: u32 = 31_557_600;

/// The mode as the file has it.
fn word(mode: MtaStsMode) -> &'static str {
    match mode {
        MtaStsMode::None => "none",
        MtaStsMode::Testing => "testing",
        MtaStsMode::Enforce => "enforce",
    }
}

/// Text of the TXT record that tells of a policy.
pub fn mta_sts_value(id: &str) -> String {
    format!("v=STSv1; id={id};")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_file_and_its_id() {
        let hosts = ["mx2.mail.example.net", "MX1.mail.example.net.", "mx2.mail.example.net"];
        let enforce = MtaStsPolicy::new(MtaStsMode::Enforce, hosts, 604_800);
        let text = "version: STSv1\r\nmode: enforce\r\nmx: mx1.mail.example.net\r\nmx: mx2.mail.example.net\r\nmax_age: 604800\r\n";
        assert_eq!(enforce.text(), text);
        // It must never become another one by an edit here: every sender would ask again.
        assert_eq!(enforce.id(), "wir2kg3l6psndbkpxr47ox4kcmvk5alp");
        assert_eq!(mta_sts_value("abc"), "v=STSv1; id=abc;");
        let none = MtaStsPolicy::new(MtaStsMode::None, hosts, 86_400);
        assert_eq!(none.text(), "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n");
    }

    #[test]
    fn what_senders_take_and_what_not() {
        let want = MtaStsPolicy::new(MtaStsMode::Testing, ["a.test", "b.test"], 60);
        for text in [
            "version: STSv1\r\nmode: testing\r\nmx: a.test\r\nmx: b.test\r\nmax_age: 60\r\n",
            "version: STSv1\nmode: testing\nmx: b.test\nmx: a.test\nmax_age: 60",
            "max_age:60\nmx:A.test\nmx: b.test \nmode:testing\nversion:STSv1\nnew: x\n\n",
            "version: STSv1\nmode: testing\nmode: enforce\nmx: a.test\nmx: b.test\nmax_age: 60\nmax_age: 7\n",
        ] {
            assert_eq!(MtaStsPolicy::parse(text).as_ref(), Some(&want), "{text:?}");
        }
        for text in [
            "",
            "version: STSv1",
            "version: STSv2\nmode: testing\nmx: a.test\nmax_age: 60",
            "version: STSv1\nmode: strict\nmx: a.test\nmax_age: 60",
            "version: STSv1\nmode: enforce\nmax_age: 60",
            "version: STSv1\nmode: enforce\nmx: a.test",
            "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1",
            "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 31557601",
            "<html>version: STSv1</html>",
            "no colon\nversion: STSv1\nmode: none\nmax_age: 60",
        ] {
            assert_eq!(MtaStsPolicy::parse(text), None, "{text:?}");
        }
    }

    fn policies() -> impl Strategy<Value = MtaStsPolicy> {
        let mode = prop_oneof![Just(MtaStsMode::None), Just(MtaStsMode::Testing), Just(MtaStsMode::Enforce)];
        let hosts = proptest::collection::vec("[a-z]{1,3}[.]test", 1..5);
        (mode, hosts, 0..40_000_000u32)
            .prop_map(|(mode, hosts, age)| MtaStsPolicy::new(mode, hosts.iter().map(String::as_str), age))
    }

    proptest! {
        #[test]
        fn a_file_says_what_its_policy_is(policy in policies()) {
            prop_assert_eq!(MtaStsPolicy::parse(&policy.text()), Some(policy.clone()));
            prop_assert!(policy.text().len() < 65_536, "RFC 8461, 3.3");
        }

        #[test]
        fn the_id_is_another_one_exactly_when_the_policy_is(one in policies(), other in policies()) {
            prop_assert_eq!(one.id() == other.id(), one == other);
            let id = one.id();
            prop_assert!((1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()), "RFC 8461, 3.1");
        }

        #[test]
        fn any_text_can_be_read(text in any::<String>()) {
            MtaStsPolicy::parse(&text);
        }
    }
}
