//! What counts as the text of a password, or of a hash, in a Secret. Pure.

/// The text in the bytes of a Secret, without the mark that some editors put first (U+FEFF) and without the line ends that
/// `echo` and editors put last. What is no text, or has a control character in it, no client can sign in with: the reason,
/// with the character and its place, and nothing else of the value.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err("is empty".into());
    }
    match text.chars().enumerate().find(|(_, c)| c.is_control() || *c == '\u{feff}') {
        None => Ok(text),
        Some((n, c)) => {
            let name = match c {
                '\0' => "NUL",
                '\t' => "a tab",
                '\n' => "a line feed",
                '\r' => "a carriage return",
                '\u{feff}' => "a byte order mark",
                _ => "a control character",
            };
            Err(format!("has {name} (U+{:04X}) as character {}", u32::from(c), n + 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn texts_of_secrets() {
        for (bytes, taken) in [
            ("hunter2", "hunter2"),
            ("hunter2\n", "hunter2"),
            ("hunter2\r\n", "hunter2"),
            ("\u{feff}hunter2\r\n", "hunter2"),
            (" two words ", " two words "),
            ("pässwörd 山", "pässwörd 山"),
        ] {
            assert_eq!(text(bytes.as_bytes()).as_deref(), Ok(taken));
        }
        for (bytes, why) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            ("\u{feff}\n".as_bytes(), "is empty"),
            (b"hunter\xff", "is not UTF-8 text"),
            // UTF-16, as an editor saves it
            (b"\xff\xfeh\0u\0", "is not UTF-8 text"),
            (b"h\0u\0", "has NUL (U+0000) as character 2"),
            (b"hunter2\0", "has NUL (U+0000) as character 8"),
            (b"hun\tter2", "has a tab (U+0009) as character 4"),
            (b"hunter2\t\n", "has a tab (U+0009) as character 8"),
            (b"hun\nter2\n", "has a line feed (U+000A) as character 4"),
            (b"hun\r\nter2", "has a carriage return (U+000D) as character 4"),
            ("pä\u{feff}x".as_bytes(), "has a byte order mark (U+FEFF) as character 3"),
            ("\u{feff}\u{feff}x".as_bytes(), "has a byte order mark (U+FEFF) as character 1"),
            (b"\x7fx", "has a control character (U+007F) as character 1"),
            ("ä\u{85}x".as_bytes(), "has a control character (U+0085) as character 2"),
        ] {
            assert_eq!(text(bytes), Err(why.to_owned()), "{bytes:?}");
        }
    }
}
