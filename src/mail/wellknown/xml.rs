//! Texts in XML 1.0.

/// A text as content or as the value of an attribute (XML 1.0, 2.4). Characters that no XML may hold are left out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

/// The text behind the five entities that XML itself has; none: it holds something else that begins with `&`, or markup.
pub(super) fn unescaped(text: &str) -> Option<String> {
    const ENTITIES: [(&str, char); 5] =
        [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\'')];
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        if c == '<' {
            return None;
        }
        let entity = ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity));
        let (c, length) = match entity {
            Some((entity, c)) => (*c, entity.len()),
            None if c == '&' => return None,
            None => (c, c.len_utf8()),
        };
        out.push(c);
        rest = &rest[length..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(escaped("a<b>&\"c'\u{0}\n"), "a&lt;b&gt;&amp;&quot;c&#39;&#10;");
        assert_eq!(unescaped("a&amp;b&lt;&apos;").as_deref(), Some("a&b<'"));
        for bad in ["&x;", "a&", "&#60;", "a<b", "<![CDATA[a]]>"] {
            assert_eq!(unescaped(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_has_markup_once_it_is_escaped(text in any::<String>()) {
            prop_assert!(!escaped(&text).contains(['<', '>', '"', '\'']));
            let plain: String = text.chars().filter(|c| !c.is_control() && *c != '\'' && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect();
            prop_assert_eq!(unescaped(&escaped(&plain)), Some(plain));
        }
    }
}
