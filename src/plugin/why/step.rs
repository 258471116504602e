//! The step that mends something: who can take it, in words, and the commands to paste.

use crate::kind::Kind;
use crate::object::Object;
use serde::Serialize;
use serde_json::{Value, json};

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Who {
    /// Whoever may change the objects of the namespace.
    Tenant,
    /// Whoever runs the operator and the servers.
    Platform,
    /// Nobody: it goes on by itself.
    Nobody,
}

/// What mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub who: Who,
    pub text: String,
    /// Each of them mends it: one is enough. The first is the one that changes least.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Words in the commands that a person has to replace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replace: Vec<&'static str>,
    /// Commands that show more and change nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub look: Vec<String>,
    /// Of a deletion that a backend blocks: the command that lets the object go without it. It cannot be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_resort: Option<String>,
}

/// Words that stand in commands for what cannot be known.
const REPLACE: &[&str] = &["BACKEND", "DNSBACKEND", "INSTANCE", "DOMAIN", "ZONE", "FILE"];

impl Step {
    pub fn new(who: Who, text: impl Into<String>) -> Self {
        Step { who, text: text.into(), commands: vec![], replace: vec![], look: vec![], last_resort: None }
    }

    pub fn tenant(text: impl Into<String>) -> Self {
        Step::new(Who::Tenant, text)
    }

    pub fn platform(text: impl Into<String>) -> Self {
        Step::new(Who::Platform, text)
    }

    pub fn wait(text: impl Into<String>) -> Self {
        Step::new(Who::Nobody, text)
    }

    pub fn run(mut self, command: impl Into<String>) -> Self {
        let command = command.into();
        let words = || command.split(|c: char| !c.is_ascii_alphanumeric());
        for word in REPLACE.iter().filter(|r| words().any(|w| w == **r)) {
            if !self.replace.contains(word) {
                self.replace.push(word);
            }
        }
        self.commands.push(command);
        self
    }

    pub fn run_all(self, commands: impl IntoIterator<Item = String>) -> Self {
        commands.into_iter().fold(self, Step::run)
    }

    pub fn look(mut self, command: impl Into<String>) -> Self {
        self.look.push(command.into());
        self
    }
}

/// A place in an object, for a JSON patch (RFC 6902).
#[derive(Debug, Clone, PartialEq)]
pub struct Spot {
    pub path: String,
    /// An operation `test`. Whoever pastes a command may do so later: an index of a list can be another entry's by then.
    pub only_if: Option<Value>,
}

impl Spot {
    /// A place that is found by names alone.
    pub fn at(path: &str) -> Self {
        Spot { path: path.into(), only_if: None }
    }

    /// A place in an entry of a list, by its index; the name of the entry must still be this one.
    pub fn of_entry(list: &str, index: usize, name: &str, field: &str) -> Self {
        let test = json!({"op": "test", "path": format!("{list}/{index}/name"), "value": name});
        Spot { path: format!("{list}/{index}/{field}"), only_if: Some(test) }
    }

    /// A place below it.
    pub fn below(&self, more: &str) -> Self {
        Spot { path: format!("{}/{more}", self.path), only_if: self.only_if.clone() }
    }
}

/// How commands are written: for the cluster that was asked.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// Flags that lead to the cluster, as they were given: `--context prod`.
    pub flags: Vec<String>,
    /// Namespace of the operator and of the Secrets of backends.
    pub operator_namespace: String,
}

impl Shell {
    fn flags(&self) -> String {
        self.flags.iter().map(|word| format!(" {}", quote(word))).collect()
    }

    /// `kubectl WORDS`, in the cluster that was asked.
    pub fn kubectl(&self, words: &str) -> String {
        format!("kubectl {words}{}", self.flags())
    }

    /// The same about one object.
    pub fn about(&self, verb: &str, object: &Object, more: &str) -> String {
        let more = if more.is_empty() { String::new() } else { format!(" {more}") };
        self.kubectl(&format!("{verb} {}{}{more}", named(object.kind, object.name()), place(object)))
    }

    /// A command of this plugin about one object.
    pub fn plugin(&self, command: &str, object: &Object) -> String {
        self.kubectl(&format!("mailtenant {command} {}/{}{}", object.kind.word(), object.name(), place(object)))
    }

    /// A merge patch.
    pub fn merge(&self, object: &Object, patch: &Value) -> String {
        self.about("patch", object, &format!("--type merge -p {}", quote(&patch.to_string())))
    }

    /// A JSON patch that adds something, and only if the place is still the one that was read.
    pub fn add(&self, object: &Object, spot: &Spot, value: &Value) -> String {
        let add = json!({"op": "add", "path": spot.path, "value": value});
        let patch: Vec<Value> = spot.only_if.iter().cloned().chain([add]).collect();
        self.about("patch", object, &format!("--type json -p {}", quote(&Value::from(patch).to_string())))
    }

    /// Applies a manifest that is typed in.
    pub fn apply(&self, manifest: &Value) -> String {
        let text = serde_yaml::to_string(manifest).unwrap_or_default();
        format!("{} <<'YAML'\n{}\nYAML", self.kubectl("apply -f -"), text.trim_end())
    }
}

fn named(kind: Kind, name: &str) -> String {
    format!("{} {name}", kind.word())
}

fn place(object: &Object) -> String {
    if object.namespace().is_empty() { String::new() } else { format!(" -n {}", object.namespace()) }
}

/// A word as a POSIX shell takes it unchanged.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_lead_to_the_cluster_that_was_asked_and_hold_no_surprise() {
        let value = json!({"metadata": {"name": "alice", "namespace": "t"}});
        let object = Object { kind: Kind::Mailbox, value };
        let shell = Shell { flags: vec!["--context".into(), "my prod".into()], operator_namespace: "s".into() };
        assert_eq!(
            shell.merge(&object, &json!({"spec": {"displayName": "O'Hara; rm"}})),
            r#"kubectl patch mailbox alice -n t --type merge -p '{"spec":{"displayName":"O'\''Hara; rm"}}' --context 'my prod'"#
        );
        let shell = Shell::default();
        assert_eq!(shell.plugin("resume", &object), "kubectl mailtenant resume mailbox/alice -n t");
        assert_eq!(
            shell.add(&object, &Spot::of_entry("/spec/zones", 1, "b", "x").below("-"), &json!(1)),
            r#"kubectl patch mailbox alice -n t --type json -p '[{"op":"test","path":"/spec/zones/1/name","value":"b"},{"op":"add","path":"/spec/zones/1/x/-","value":1}]'"#
        );
        let step = Step::tenant("").run(shell.kubectl("apply BACKEND")).run("x BACKENDS");
        assert_eq!(step.replace, ["BACKEND"]);
    }
}
