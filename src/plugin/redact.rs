//! Takes out of a text what looks like a secret. No Secret is read for a bundle: this is for what others wrote into messages,
//! annotations and logs. The text is YAML, JSON, a log, or one of them quoted in another. Where it is not clear how far a secret goes,
//! more is taken out rather than less.

use serde_json::Value;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Ends of names of fields and variables whose value is a secret: `PGPASSWORD`, `clientSecret`, `access_token`.
const ENDINGS: &[&str] = &["password", "passwd", "passphrase", "secret", "token", "apikey"];

/// The same, where nothing or another word is before them: `X-API-Key`. Words are joined by `-`.
const NAMES: &[&str] = &[
    "api-key",
    "access-key",
    "accesskey",
    "secret-key",
    "secretkey",
    "private-key",
    "privatekey",
    "key-data",
    "password-hash",
    "authorization",
    "bearer",
    "cookie",
];

/// Fields of the API that end like those: the name of a Secret, and a wish for a new password.
const HARMLESS: &[&str] = &["credentials-secret", "rotate-password"];

/// What stands in the place of a value that is not there.
const NOTHING: &[&str] = &["true", "false", "null", "~"];

/// Words of HTTP before the secret itself (RFC 9110, 11.1).
const SCHEMES: &[&str] = &["bearer", "basic", "digest"];

/// Prefixes of hashes as Dovecot, crypt(3) and PHC write them.
const HASHES: &[&str] = &["$argon2", "$2a$", "$2b$", "$2y$", "$1$", "$5$", "$6$", "$y$", "$7$", "$pbkdf2", "$scrypt"];

/// A text without what looks like a secret.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut below = Below::Nothing;
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = true;
            out.push_str(REDACTED);
            out.push('\n');
        }
        if in_key {
            in_key = !line.contains("-----END");
            continue;
        }
        if line.trim().is_empty() {
            out.push_str(line);
            continue;
        }
        if let Some(indent) = below.hides(line) {
            // One line stands for all of them.
            if !matches!(below, Below::Hidden(_)) {
                out.push_str(&format!("{}{REDACTED}\n", " ".repeat(indent_of(line))));
            }
            below = Below::Hidden(indent);
            continue;
        }
        let mut scan = Scan { line, at: 0, out, open: None, below: Below::Nothing };
        scan.run();
        (out, below) = (scan.out, scan.below);
    }
    out
}

/// A value without what looks like a secret: each of its texts alone, and whole where the name of its field says so. It goes before the
/// text is written, which may break lines anywhere.
pub fn redact_value(value: &mut Value) {
    match value {
        Value::String(text) => *text = redact(text),
        Value::Array(all) => all.iter_mut().for_each(redact_value),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                match is_secret(name) {
                    true => hide_value(field),
                    false => redact_value(field),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a field whose name says that it is a secret. Fields below it have names of their own.
fn hide_value(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(hide_value),
        Value::String(text) if text.is_empty() => {}
        Value::String(_) | Value::Number(_) => *value = Value::from(REDACTED),
        other => redact_value(other),
    }
}

/// What becomes of the lines below a field, if they are indented more than it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Nothing,
    /// They are its value: a block scalar of YAML (`|`, `>`).
    Value(usize),
    /// The field has nothing on its own line: they are its value unless they are fields themselves.
    Perhaps(usize),
    /// They are its value, and something stands for them already.
    Hidden(usize),
}

impl Below {
    /// The indentation of the field, if the line is part of its value.
    fn hides(self, line: &str) -> Option<usize> {
        let indent = match self {
            Below::Value(indent) | Below::Hidden(indent) => indent,
            Below::Perhaps(indent) if !is_field(line) => indent,
            Below::Perhaps(_) | Below::Nothing => return None,
        };
        (indent_of(line) > indent).then_some(indent)
    }
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// `name: value`, `name:`, with or without quotes.
fn is_field(line: &str) -> bool {
    let line = line.trim();
    let after = line.trim_start_matches(['"', '\'']).trim_start_matches(is_name).trim_start_matches(['"', '\'']);
    after.len() < line.len() && after.strip_prefix(':').is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || "_-./".contains(c)
}

/// Whether the value of a field of this name is a secret.
fn is_secret(name: &str) -> bool {
    let mut words = String::with_capacity(name.len() + 4);
    let mut before = None;
    for c in name.chars() {
        if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
            words.push('-');
        }
        words.extend(if "_./".contains(c) { vec!['-'] } else { c.to_lowercase().collect() });
        before = Some(c);
    }
    let whole = |end: &str| words.strip_suffix(end).is_some_and(|head| head.is_empty() || head.ends_with('-'));
    !HARMLESS.iter().any(|end| words.ends_with(end))
        && (ENDINGS.iter().any(|end| words.ends_with(end)) || NAMES.iter().any(|name| whole(name)))
}

/// Quotes around a text: in a text that is quoted itself they have backslashes before them, 1 in the first, 3 in the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Quote {
    sign: char,
    backslashes: usize,
}

impl Quote {
    /// The quote that a text begins with.
    fn at(text: &str) -> Option<Self> {
        let rest = text.trim_start_matches('\\');
        let sign = rest.chars().next().filter(|c| ['"', '\''].contains(c))?;
        Some(Quote { sign, backslashes: text.len() - rest.len() })
    }

    fn len(self) -> usize {
        self.backslashes + 1
    }

    /// Whether `other` ends what this one began. Escaped backslashes may stand before it, which are twice as many.
    fn is_ended_by(self, other: Quote) -> bool {
        let of_content = 2 * (self.backslashes + 1);
        self.sign == other.sign && other.backslashes % of_content == self.backslashes % of_content
    }

    /// Where the text ends that this quote began: before the closing one. `None`: not in this line.
    fn end(self, text: &str) -> Option<usize> {
        let mut at = 0;
        while let Some(found) = text[at..].find(['\\', '"', '\'']) {
            at += found;
            match Quote::at(&text[at..]) {
                Some(quote) if self.is_ended_by(quote) => {
                    let end = at + quote.backslashes - self.backslashes;
                    let after = &text[at + quote.len()..];
                    // '' is a quote in a text of YAML in single quotes.
                    if self.sign != '\'' || !after.starts_with('\'') {
                        return Some(end);
                    }
                    at += quote.len() + 1;
                }
                Some(quote) => at += quote.len(),
                None => at += text[at..].len() - text[at..].trim_start_matches('\\').len(),
            }
        }
        None
    }
}

/// One line on its way.
struct Scan<'a> {
    line: &'a str,
    at: usize,
    out: String,
    /// The quote inside of which the scan is.
    open: Option<Quote>,
    below: Below,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn keep(&mut self, bytes: usize) {
        self.out.push_str(&self.rest()[..bytes]);
        self.at += bytes;
    }

    fn hide(&mut self, bytes: usize) {
        if bytes > 0 {
            self.out.push_str(REDACTED);
            self.at += bytes;
        }
    }

    fn run(&mut self) {
        while let Some(first) = self.rest().chars().next() {
            if let Some(quote) = Quote::at(self.rest()) {
                self.quote(quote);
            } else if is_name(first) {
                self.word();
            } else if self.is_hash() {
                self.hide(self.token());
            } else {
                self.keep(first.len_utf8());
            }
        }
    }

    fn quote(&mut self, quote: Quote) {
        match self.open {
            Some(open) if open.is_ended_by(quote) => self.open = None,
            // Not an apostrophe.
            None if quote.sign == '"' => self.open = Some(quote),
            _ => {}
        }
        self.keep(quote.len());
    }

    /// Bytes of what has no quotes of its own: up to a space, or to the end of the quotes that it stands in.
    fn token(&self) -> usize {
        let rest = self.rest();
        let space = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let quoted = self.open.and_then(|open| open.end(rest)).unwrap_or(rest.len());
        space.min(quoted)
    }

    /// `$6$`, `{SHA512-CRYPT}`.
    fn is_hash(&self) -> bool {
        let rest = self.rest();
        let scheme = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "-.".contains(c);
        let braced = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
        let braced = braced.is_some_and(|(word, after)| {
            word.len() > 1 && word.chars().all(scheme) && !after.starts_with(char::is_whitespace) && !after.is_empty()
        });
        braced || HASHES.iter().any(|prefix| rest.starts_with(prefix))
    }

    fn word(&mut self) {
        let (start, rest) = (self.at, self.rest());
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        // With what stands directly before it: `a://b`.
        if let Some(hidden) = self.address(word, after) {
            self.keep(hidden.start - start);
            return self.hide(hidden.len());
        }
        if is_token(word) {
            return self.hide(length);
        }
        let flag = word.starts_with("--");
        let spaced = after.starts_with([' ', '\t']);
        if spaced && SCHEMES.contains(&word.to_lowercase().as_str()) || (spaced && flag && is_secret(&word[2..])) {
            self.keep(length);
            return self.value(false, false);
        }
        // The quotes around the name end before the sign.
        let quote = Quote::at(after).filter(|q| self.line[..start].ends_with(&after[..q.len()]));
        let sign = &after[quote.map_or(0, Quote::len)..];
        let spaces = sign.len() - sign.trim_start_matches([' ', '\t']).len();
        let sign = &sign[spaces..];
        let Some(colon) = sign.chars().next().filter(|c| [':', '='].contains(c)).map(|c| c == ':') else {
            return self.keep(length);
        };
        let name = word.trim_start_matches('-');
        // The n of `\n` is none of the name.
        let escaped = self.line[..start].ends_with('\\') && name.starts_with(['n', 'r', 't']) && is_secret(&name[1..]);
        if !(is_secret(name) || escaped) || sign.starts_with("://") {
            return self.keep(length);
        }
        if quote.is_some() && self.open == quote {
            self.open = None;
        }
        self.keep(length + quote.map_or(0, Quote::len) + spaces + 1);
        // `=>`, `:=`, `==`.
        if self.rest().starts_with(['>', '=']) {
            self.keep(1);
        }
        let column = start - quote.map_or(0, Quote::len);
        let first = self.line[..column].chars().all(|c| " -".contains(c)) && self.open.is_none();
        let field = colon && first && (self.rest().is_empty() || self.rest().starts_with([' ', '\t', '\n', '\r']));
        match field {
            true => self.field(column, quote.is_some()),
            false => self.value(colon, quote.is_some()),
        }
    }

    /// Where the password is in `scheme://user:password@host`: it may have any sign in it.
    fn address(&self, scheme: &str, after: &str) -> Option<std::ops::Range<usize>> {
        let whole = &self.rest()[..self.token()];
        let rest = whole[scheme.len()..].strip_prefix("://").filter(|_| after.starts_with("://"))?;
        let start = self.at + scheme.len() + 3;
        let user = rest.rsplit_once('@')?.0;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let port = host.rsplit_once(':').is_some_and(|(_, port)| port.chars().all(|c| c.is_ascii_digit()));
        // An address after the path is none of its own: https://host:8080/?from=a@b.
        let own = host.contains('@') || (host.contains(':') && !port);
        let first = rest.split('@').next().unwrap_or_default();
        (own && first.contains(':')).then(|| start..start + user.len())
    }

    /// The value of a field of YAML, or of JSON over several lines, that begins in this line.
    fn field(&mut self, column: usize, json: bool) {
        let spaces = self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.keep(spaces);
        let (rest, end) = (self.rest().trim_end(), self.rest().trim_end().len());
        // !!binary, &anchor
        let bare = rest.trim_start_matches(|c: char| !c.is_whitespace() && rest.starts_with(['!', '&'])).trim_start();
        let block = |text: &str| {
            let text = text.split(" #").next().unwrap_or_default().trim_end();
            text.strip_prefix(['|', '>'])
                .is_some_and(|more| more.chars().all(|c| "+-".contains(c) || c.is_ascii_digit()))
        };
        if rest.is_empty() {
            self.below = Below::Perhaps(column);
        } else if block(bare) {
            self.keep(end);
            self.below = Below::Value(column);
        } else {
            // A plain one goes to the end of the line.
            match json || Quote::at(rest).is_some() || rest.starts_with(['{', '[']) || NOTHING.contains(&rest) {
                true => self.value(true, json),
                false => self.hide(end),
            }
            // It may go on in lines that are indented more.
            if self.rest().trim().is_empty() {
                self.below = Below::Hidden(column);
            }
        }
    }

    /// The value after a name within a line.
    fn value(&mut self, colon: bool, json: bool) {
        let spaces = self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
        self.keep(spaces);
        let rest = self.rest();
        // "wrong password:", and nothing more.
        let ends = |q: Quote| {
            let after = rest[q.len()..].trim_end();
            let nothing_more =
                after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || ",;.}])".contains(c));
            colon && nothing_more && self.open.is_some_and(|open| open.is_ended_by(q))
        };
        if let Some(quote) = Quote::at(rest).filter(|q| !ends(*q)) {
            return self.quoted(quote);
        }
        if colon && rest.starts_with('{') && !self.is_hash() {
            return;
        }
        if rest.starts_with('[') {
            let end = rest.find(']').map_or(rest.trim_end().len(), |end| end + 1);
            return self.hide(end);
        }
        let token = self.token();
        let token = rest[..token].find([',', '}', ']']).filter(|_| json).unwrap_or(token);
        let word = rest[..token].trim_end_matches([',', '}', ']']).to_lowercase();
        if NOTHING.contains(&word.as_str()) {
            return self.keep(word.len());
        }
        if SCHEMES.contains(&word.as_str()) {
            self.keep(word.len());
            return self.value(colon, json);
        }
        self.hide(token.max(self.quoted_line(colon)));
    }

    /// Bytes of the rest of a line of a text that is quoted as a whole, in which `\n` ends a line. Of a block scalar of YAML: up to the
    /// end of the text.
    fn quoted_line(&self, colon: bool) -> usize {
        let rest = self.rest();
        let Some(text) = self.open.and_then(|open| open.end(rest)).map(|end| &rest[..end]).filter(|_| colon) else {
            return 0;
        };
        match text.find("\\n") {
            Some(_) if text.starts_with(['|', '>']) => text.len(),
            Some(end) => end,
            None => 0,
        }
    }

    fn quoted(&mut self, quote: Quote) {
        self.keep(quote.len());
        let Some(end) = quote.end(self.rest()) else {
            return self.hide(self.rest().trim_end().len());
        };
        self.hide(end);
        self.keep(quote.len());
        // Shells join what stands side by side: 'it'\''s'.
        let joined = self.rest().starts_with(|c: char| !c.is_whitespace() && !",;:}])>".contains(c));
        if joined && self.open.is_none_or(|open| open.end(self.rest()) != Some(0)) {
            self.hide(self.token());
        }
    }
}

/// A token of RFC 7519: three parts in base64url, of which the first is a JSON object.
fn is_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.split('.').count() == 3
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
