//! Takes out of a text what looks like a secret. No Secret is read for a bundle: this is for what others wrote into messages,
//! annotations and logs.

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Names of fields and variables whose value is a secret: as they are, or as the end of a longer one (`X-API-Key`, `DB_TOKEN`).
const NAMES: &[&str] =
    &["password", "passwd", "secret", "token", "apikey", "api_key", "api-key", "authorization", "bearer"];

/// Prefixes of hashes as Dovecot, crypt(3) and PHC write them.
const HASHES: &[&str] = &["$argon2", "$2a$", "$2b$", "$2y$", "$1$", "$5$", "$6$", "$y$", "$7$", "$pbkdf2", "$scrypt"];

/// A text without what looks like a secret.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
            out.push_str(REDACTED);
            out.push('\n');
        }
        if in_key {
            in_key = !(line.contains("-----END"));
            continue;
        }
        out.push_str(&redact_line(line));
    }
    out
}

fn redact_line(line: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "\"',;&<>()[]".contains(c);
    let (mut out, mut rest, mut hide_next) = (String::new(), line, false);
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let (word, after) = rest.split_at(at);
        if !word.is_empty() {
            let (shown, names) = redact_word(word, hide_next);
            hide_next = names;
            out.push_str(&shown);
        }
        let separator = after.chars().next().map_or(0, char::len_utf8);
        out.push_str(&after[..separator]);
        rest = &after[separator..];
    }
    out
}

/// The word as it may be shown, and whether it announces a secret: `password:`, `Bearer`.
fn redact_word(word: &str, hidden: bool) -> (String, bool) {
    let lower = word.to_lowercase();
    let bare = lower.trim_end_matches([':', '=']);
    // `credentialsSecret` is the name of a Secret, and no secret.
    let ends = |text: &str, name: &str| {
        text.strip_suffix(name)
            .is_some_and(|head| head.is_empty() || head.ends_with(['_', '-', '.']) || name == "password")
    };
    let names = |text: &str| NAMES.iter().any(|name| ends(text, name));
    if lower == "bearer" || lower == "basic" || (names(bare) && bare.len() < lower.len()) {
        return (word.into(), true);
    }
    if hidden {
        return (REDACTED.into(), false);
    }
    if let Some((name, value)) = word.split_once(['=', ':']).filter(|(_, value)| !value.is_empty())
        && names(&name.to_lowercase())
    {
        let sign = &word[name.len()..word.len() - value.len()];
        return (format!("{name}{sign}{REDACTED}"), false);
    }
    // scheme://user:password@host
    if let Some((scheme, rest)) = word.split_once("://")
        && let Some((user, host)) = rest.split_once('@')
        && user.contains(':')
        && !user.contains('/')
    {
        return (format!("{scheme}://{REDACTED}@{host}"), false);
    }
    let braced = word.starts_with('{')
        && word.find('}').is_some_and(|end| end > 2 && end + 1 < word.len() && scheme(&word[1..end]));
    if braced || HASHES.iter().any(|prefix| word.contains(prefix)) {
        return (REDACTED.into(), false);
    }
    (word.into(), false)
}

/// `{SHA512-CRYPT}`: a scheme of Dovecot.
fn scheme(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "-.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_does_not_stay() {
        for secret in [
            "hash is $argon2id$v=19$m=65536$c2FsdA$HASHED!",
            "{SHA512-CRYPT}$6$salt$HASHED!",
            "{PLAIN}HASHED!",
            "password=HASHED!",
            "password: HASHED!",
            "\"password\": \"x\" PGPASSWORD=HASHED! y",
            "Authorization: Bearer HASHED!",
            "api_key=HASHED!",
            "postgres://mail:HASHED!@db:5432/mail",
            "-----BEGIN PRIVATE KEY-----\nHASHED!\n-----END PRIVATE KEY-----\n",
        ] {
            let shown = redact(secret);
            assert!(!shown.contains("HASHED!") && shown.contains(REDACTED), "{secret}: {shown}");
        }
        for good in [
            "{\"level\":\"INFO\",\"message\":\"starting\"}\n",
            "GroupwareBackend berlin: connection refused (10.0.0.1:5432)",
            "Secret mailtenant-system/pdns is not there: create it",
            "credentialsSecret: alice-mail\n  apiKeySecretRef: {name: pdns, key: apiKey}\n  password:\n    generate: {length: 24}\n",
            "https://webmail.example.net/SOGo alice@acme.test 10 mx1.example.net.",
            "before\nafter\n",
        ] {
            assert_eq!(redact(good), good);
        }
        assert_eq!(
            redact("a\n-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----\nb\n"),
            format!("a\n{REDACTED}\nb\n")
        );
    }
}
