//! The documentation says what the code says. `UPDATE=1 cargo test --test docs` writes the generated pages anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

use mailtenant_api::{ConditionType, EventReason, Reason, crds};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

/// First cells of the table rows below a heading: `| `word` | …`, with the other cells.
fn rows(text: &str) -> Vec<(String, Vec<String>)> {
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
            let (first, rest) = cells.split_first()?;
            let word = first.strip_prefix('`')?.strip_suffix('`')?;
            Some((word.to_string(), rest.iter().map(|c| c.to_string()).collect()))
        })
        .collect()
}

#[test]
fn every_reason_and_condition_type_is_explained() {
    let text = std::fs::read_to_string(page("reasons.md")).unwrap();
    let (types, rest) = text.split_once("\n## Reasons\n").unwrap();
    let (reasons, _) = rest.split_once("\n## Events\n").unwrap();
    for (section, columns, words) in [
        (types, 3, ConditionType::ALL.iter().map(|t| t.as_str()).collect::<BTreeSet<_>>()),
        (reasons, 2, Reason::ALL.iter().map(|r| r.as_str()).collect()),
    ] {
        let rows = rows(section);
        let explained: BTreeSet<&str> = rows.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(explained, words, "docs/reasons.md and the enum differ");
        assert_eq!(rows.len(), explained.len(), "docs/reasons.md explains a word twice");
        for (word, cells) in &rows {
            assert!(cells.len() == columns && cells.iter().all(|c| c.len() > 5), "{word}: {cells:?}");
        }
    }
}

#[test]
fn every_event_is_explained() {
    let text = std::fs::read_to_string(page("reasons.md")).unwrap();
    let (_, events) = text.split_once("\n## Events\n").unwrap();
    let explained: BTreeSet<String> = rows(events).into_iter().map(|(word, _)| word).collect();
    let made: BTreeSet<String> = EventReason::ALL.iter().map(|r| r.as_str().to_string()).collect();
    assert_eq!(explained, made, "docs/reasons.md and EventReason differ");
    for (word, cells) in rows(events) {
        let reason = EventReason::ALL.iter().find(|r| r.as_str() == word).unwrap();
        assert_eq!(cells[0], if reason.is_warning() { "Warning" } else { "Normal" }, "{word}");
    }
}

/// All Rust files below a folder, by their path from the top of the repository.
fn rust_files(folder: &str, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            rust_files(&name, into);
        } else if name.ends_with(".rs") {
            into.push((name, std::fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// A file without its tests, which stand at its end, and without comments. Nothing is left of a file of tests.
fn without_tests(name: &str, code: &str) -> String {
    if name.ends_with("_tests.rs") || name.ends_with("/fixtures.rs") {
        return String::new();
    }
    let code = code.split_once("\nmod tests {").map_or(code, |(before, _)| before);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `path`, such as `Reason::Paused`, stands in `code` as a whole word.
fn names(code: &str, path: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let begins = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(path).any(|(at, _)| begins(&code[..at]) && ends(&code[at + path.len()..]))
}

#[test]
fn every_word_that_is_explained_is_used() {
    let mut files = Vec::new();
    rust_files("src/controllers", &mut files);
    let mut code: Vec<String> = files.iter().map(|(name, code)| without_tests(name, code)).collect();
    // The kstatus conditions and `Succeeded` are set by the methods through which controllers write conditions.
    let api = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/conditions.rs")).unwrap();
    let (_, methods) = api.split_once("\nimpl Conditions {\n").unwrap();
    code.push(methods.split_once("\n}\n").unwrap().0.to_string());
    let mut words: Vec<String> = EventReason::ALL.iter().map(|r| format!("EventReason::{}", r.as_str())).collect();
    words.extend(Reason::ALL.iter().map(|r| format!("Reason::{r}")));
    words.retain(|word| !code.iter().any(|code| names(code, word)));
    // A condition that is only looked for or removed is never seen by a user.
    let code: Vec<String> = code.iter().map(|code| code.split_whitespace().collect()).collect();
    let set = |t: &ConditionType| {
        let calls = ["set", "Condition"].map(|call| format!("{call}(ConditionType::{}", t.as_str()));
        calls.iter().any(|call| code.iter().any(|code| names(code, call)))
    };
    words.extend(ConditionType::ALL.iter().filter(|t| !set(t)).map(|t| t.as_str().to_owned()));
    assert_eq!(words, Vec::<String>::new(), "docs/reasons.md explains these, and no controller uses them");
}

/// `I1`, `I2`, … of a text.
fn invariant_numbers(text: &str) -> impl Iterator<Item = &str> {
    let number = |w: &&str| w.strip_prefix('I').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(number)
}

#[test]
fn every_invariant_is_defined_and_what_holds_it_is_there() {
    let text = std::fs::read_to_string(page("invariants.md")).unwrap();
    let defined: Vec<&str> =
        text.lines().filter_map(|l| l.strip_prefix("## ")?.split_once(' ')).map(|(number, _)| number).collect();
    let wanted: Vec<String> = (1..=14).map(|n| format!("I{n}")).collect();
    assert_eq!(defined, wanted, "docs/invariants.md has other numbers");
    let mut files = Vec::new();
    for folder in ["src", "tests", "e2e"] {
        rust_files(folder, &mut files);
    }
    for (name, code) in &files {
        for number in invariant_numbers(code) {
            assert!(defined.contains(&number), "{name} speaks of {number}, which docs/invariants.md does not define");
        }
    }
    for name in ["../README.md", "operations.md", "reasons.md", "groupware-sogo.md", "glossary.md", "security.md"] {
        let text = std::fs::read_to_string(page(name)).unwrap();
        assert_eq!(invariant_numbers(&text).next(), None, "{name} is for users, who do not know the numbers");
    }
    let mut held = 0;
    for (page_name, text) in [
        ("invariants.md", text.clone()),
        ("security.md", std::fs::read_to_string(page("security.md")).unwrap()),
        ("osps-baseline.md", std::fs::read_to_string(page("osps-baseline.md")).unwrap()),
    ] {
        for (file, function) in text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")) {
            let (_, code) = files
                .iter()
                .find(|(name, _)| name == file)
                .unwrap_or_else(|| panic!("{page_name}: {file} is not there"));
            assert!(code.contains(&format!("fn {function}(")), "{page_name}: {file} has no function {function}");
            held += 1;
        }
    }
    assert!(held >= 30, "only {held} functions were read from the pages");
    for section in text.split("\n## ").skip(1) {
        assert!(section.contains(".rs::") || section.contains("not held by a test yet"), "nothing holds {section}");
    }
}

#[test]
fn the_api_reference_is_what_the_schema_says() {
    let wanted = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(page("api.md"), &wanted).unwrap();
    }
    let there = std::fs::read_to_string(page("api.md")).unwrap_or_default();
    assert!(there == wanted, "docs/api.md differs from the types: run `UPDATE=1 cargo test --test docs`");
}

/// The lines between `<!-- rights -->` and `<!-- end -->`.
#[test]
fn the_table_of_rights_is_what_the_data_says() {
    let text = std::fs::read_to_string(page("operations.md")).unwrap();
    let (head, rest) = text.split_once("<!-- rights -->\n").unwrap();
    let (there, tail) = rest.split_once("<!-- end -->").unwrap();
    let wanted = rights();
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{head}<!-- rights -->\n{wanted}<!-- end -->{tail}");
        std::fs::write(page("operations.md"), text).unwrap();
    } else {
        assert!(there == wanted, "docs/operations.md differs from src/api/rbac.rs: run `make docs`");
    }
}

fn rights() -> String {
    let code = |words: &[String]| words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    let mut out = "| group | resources | verbs | where | for what |\n|---|---|---|---|---|\n".to_string();
    for rule in mailtenant_api::rbac::rules() {
        let group = if rule.group.is_empty() { "(core)".into() } else { format!("`{}`", rule.group) };
        let names = match rule.names.as_slice() {
            [] => String::new(),
            [one] => format!(" (`{one}` only)"),
            some => format!(" ({} by name)", some.len()),
        };
        let (resources, verbs) = (code(&rule.resources), rule.verbs.join(", "));
        let _ =
            writeln!(out, "| {group} | {resources}{names} | {verbs} | {} | {} |", rule.scope.as_str(), rule.purpose);
    }
    out
}

fn reference() -> String {
    let mut out = String::from(
        "# API reference\n\nGenerated from the types in `src/api/` (`UPDATE=1 cargo test --test docs`). Group \
         `mailtenant.dev`, version `v1alpha1`. Fields in **bold** must be given. What CEL checks at admission stands \
         below the description of its field.\n",
    );
    for crd in crds::all() {
        let names = &crd["spec"]["names"];
        let version = &crd["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        let word = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let _ = write!(out, "\n## {}\n\n{}\n\n", word(&names["kind"]), word(&schema["description"]));
        let list = |v: &Value| {
            v.as_array().into_iter().flatten().map(|v| format!("`{}`", word(v))).collect::<Vec<_>>().join(", ")
        };
        let _ = write!(
            out,
            "{}, plural `{}`, short name {}",
            word(&crd["spec"]["scope"]),
            word(&names["plural"]),
            list(&names["shortNames"])
        );
        if names["categories"].is_array() {
            let _ = write!(out, ", category {}", list(&names["categories"]));
        }
        let selectable: Vec<String> = version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|f| format!("`{}`", word(&f["jsonPath"]).trim_start_matches('.')))
            .collect();
        if !selectable.is_empty() {
            let _ = write!(out, "; field selectors: {}", selectable.join(", "));
        }
        out.push_str(".\n");
        for (rule, _) in rules(schema) {
            let _ = write!(out, "\nRefused unless: {rule}.\n");
        }
        for part in ["spec", "status"] {
            if schema["properties"][part].is_object() {
                out.push_str("\n| field | type | default | description |\n|---|---|---|---|\n");
                let required = schema["required"].as_array().is_some_and(|r| r.contains(&part.into()));
                row(&mut out, part, &schema["properties"][part], required);
                walk(&mut out, part, &schema["properties"][part]);
            }
        }
    }
    out
}

fn walk(out: &mut String, path: &str, schema: &Value) {
    let required = |name: &str| schema["required"].as_array().is_some_and(|r| r.iter().any(|v| v == name));
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        row(out, &path, property, required(name));
        walk(out, &path, property);
        if property["items"]["properties"].is_object() {
            walk(out, &format!("{path}[]"), &property["items"]);
        }
    }
}

fn row(out: &mut String, path: &str, schema: &Value, required: bool) {
    let mark = if required { "**" } else { "" };
    let mut text = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    for (message, _) in rules(schema).into_iter().chain(rules(&schema["items"])) {
        let _ = write!(text, "<br>*{message}*");
    }
    let default = match &schema["default"] {
        Value::Null => String::new(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    };
    let _ = writeln!(out, "| {mark}`{path}`{mark} | {} | {default} | {} |", kind(schema), text.replace('|', "\\|"));
}

fn kind(schema: &Value) -> String {
    let number = |key: &str| schema[key].as_f64().map(|n| n.to_string());
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "quantity".into();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "array" => {
            let bounds = match (number("minItems"), number("maxItems")) {
                (Some(min), Some(max)) => format!(" ({min} to {max})"),
                (None, Some(max)) => format!(" (at most {max})"),
                _ => String::new(),
            };
            format!("list{bounds} of {}", kind(&schema["items"]))
        }
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(min), Some(max)) => format!("integer ({min} to {max})"),
            _ => "integer".into(),
        },
        "string" => match number("maxLength") {
            Some(max) => format!("string (at most {max} characters)"),
            None => "string".into(),
        },
        "object" if schema["additionalProperties"].is_object() => "map of strings".into(),
        other => other.into(),
    }
}

/// Message and rule.
fn rules(schema: &Value) -> Vec<(String, String)> {
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_string();
    schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|rule| (text(rule, "message"), text(rule, "rule")))
        .collect()
}
