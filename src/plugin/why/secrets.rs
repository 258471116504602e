//! Secrets that are missing or wrong. No value ever stands on a command line: it is typed, and goes through a pipe.

use super::step::{Shell, Step};
use crate::kind::Kind;
use crate::object::Object;
use mailtenant_api::{Condition, DNSBackendSpec, GroupwareBackendSpec, SecretKeyRef};
use serde_json::json;

/// A Secret or a key of it is missing, empty, no text, or refused by the server.
pub fn put(object: &Object, condition: &Condition, shell: &Shell) -> Step {
    let (mut refs, namespace) = match object.kind {
        Kind::GroupwareBackend | Kind::DNSBackend => (of_backend(object), shell.operator_namespace.as_str()),
        _ => (of_mailbox(object), object.namespace()),
    };
    // The message names the one that is meant.
    let named = |r: &SecretKeyRef| condition.message.split(|c: char| " /:,".contains(c)).any(|word| word == r.name);
    if refs.iter().any(named) {
        refs.retain(named);
    }
    let text = match object.kind {
        Kind::Mailbox if refs.is_empty() => {
            return own(object, shell);
        }
        Kind::Mailbox => "put the value into the Secret that the Mailbox names: the command asks for it",
        _ => "put the right value into the Secret that the message names: the command asks for it",
    };
    let step = if object.kind == Kind::Mailbox { Step::tenant(text) } else { Step::platform(text) };
    step.run_all(refs.iter().map(|r| typed(r, namespace, shell)))
}

/// Asks for the value of one key and puts it there, whether the Secret exists or not. Other keys stay: each is written by a field
/// manager of its own.
fn typed(SecretKeyRef { name, key }: &SecretKeyRef, namespace: &str, shell: &Shell) -> String {
    let create =
        format!("create secret generic {name} -n {namespace} --from-file={key}=/dev/stdin --dry-run=client -o yaml");
    let apply = format!("apply --server-side --force-conflicts --field-manager=kubectl-mailtenant-{key} -f -");
    format!(
        "printf '%s: ' '{key}' && read -rs value && printf %s \"$value\" | {} | {}",
        shell.kubectl(&create),
        shell.kubectl(&apply)
    )
}

fn of_mailbox(mailbox: &Object) -> Vec<SecretKeyRef> {
    let at = |pointer: &str| serde_json::from_value(mailbox.value.pointer(pointer)?.clone()).ok();
    ["/spec/password/secretRef", "/spec/password/hashSecretRef"].into_iter().filter_map(at).collect()
}

fn of_backend(backend: &Object) -> Vec<SecretKeyRef> {
    let spec = backend.value["spec"].clone();
    match backend.kind {
        Kind::DNSBackend => serde_json::from_value(spec).map(|s: DNSBackendSpec| s.secret_refs()).unwrap_or_default(),
        _ => serde_json::from_value(spec).map(|s: GroupwareBackendSpec| s.secret_refs()).unwrap_or_default(),
    }
}

fn credentials(mailbox: &Object) -> String {
    let named = mailbox.text("/spec/credentialsSecret");
    if named.is_empty() { format!("{}-mail", mailbox.name()) } else { named.into() }
}

/// The Secret that the operator writes itself lacks its password.
fn own(mailbox: &Object, shell: &Shell) -> Step {
    let delete = format!("delete secret {} -n {}", credentials(mailbox), mailbox.namespace());
    Step::tenant("delete the credentials Secret, to have it made again with a new password").run(shell.kubectl(&delete))
}

/// Somebody else's Secret is in the place of the credentials.
pub fn not_owned(mailbox: &Object, shell: &Shell) -> Step {
    let secret = credentials(mailbox);
    let text = format!("name another Secret for the credentials, or delete {secret} if nobody needs it");
    let other = format!("{}-credentials", mailbox.name());
    let delete = format!("delete secret {secret} -n {}", mailbox.namespace());
    Step::tenant(text)
        .run(shell.merge(mailbox, &json!({"spec": {"credentialsSecret": other}})))
        .run(shell.kubectl(&delete))
}
