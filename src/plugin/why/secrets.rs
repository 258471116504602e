//! Secrets that are missing or wrong. No value ever stands on a command line: it is typed, and goes through a pipe; or it comes from a
//! file.

use super::step::{Shell, Step};
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::Picture;
use mailtenant_api::groupware_backend::CA_KEY;
use mailtenant_api::{Condition, DNSBackendSpec, GroupwareBackendSpec, Reason, SecretKeyRef};
use serde_json::json;

/// A Secret or a key of it is missing, empty, no text, or refused by the server.
pub fn put(picture: &Picture, object: &Object, (reason, condition): (Reason, &Condition), shell: &Shell) -> Step {
    let message = condition.message.as_str();
    let own = match object.kind {
        Kind::GroupwareBackend | Kind::DNSBackend => return put_for_backend(object, message, shell),
        // A server refuses the operator's credentials, never those of a mailbox.
        Kind::Mailbox if reason != Reason::BackendUnauthorized => put_for_mailbox(object, reason, message, shell),
        _ => None,
    };
    own.unwrap_or_else(|| of_a_backend(picture, object, shell))
}

fn put_for_backend(backend: &Object, message: &str, shell: &Shell) -> Step {
    let mut refs = of_backend(backend);
    // The message may name the one that is meant.
    let named = |r: &SecretKeyRef| names(message, "Secret", &format!("{}/{}", shell.operator_namespace, r.name));
    let key_too = |r: &SecretKeyRef| named(r) && names(message, "key", &r.key);
    if refs.iter().any(key_too) {
        refs.retain(key_too);
    } else if refs.iter().any(named) {
        refs.retain(named);
    }
    let text =
        "put the right value into the Secret that the message names: the command asks for it, or takes it from a file";
    Step::platform(text).run_all(put_keys(&refs, &shell.operator_namespace, shell))
}

/// The message names a Secret of the Mailbox; none: it is one of a backend.
fn put_for_mailbox(mailbox: &Object, reason: Reason, message: &str, shell: &Shell) -> Option<Step> {
    let mut refs = of_mailbox(mailbox);
    refs.retain(|r| names(message, "Secret", &r.name));
    if !refs.is_empty() {
        let step = Step::tenant("put the value into the Secret that the Mailbox names: the command asks for it");
        return Some(step.run_all(put_keys(&refs, mailbox.namespace(), shell)));
    }
    let name = credentials(mailbox);
    if !names(message, "Secret", &name) {
        return None;
    }
    let delete = shell.kubectl(&format!("delete secret {name} -n {}", mailbox.namespace()));
    let password = put_key(&SecretKeyRef { name, key: "password".into() }, mailbox.namespace(), shell);
    Some(match (reason, message.split_whitespace().any(|word| word == "delete")) {
        (_, true) => Step::tenant(
            "put a password into the credentials Secret, or delete it, to have it made again with a new one",
        )
        .run(password)
        .run(delete),
        (Reason::SecretInvalid, false) => Step::tenant("put a password into the credentials Secret").run(password),
        _ => Step::wait("nothing has to be done: the operator makes the Secret again")
            .look(shell.about("describe", mailbox, "")),
    })
}

/// Who is on a backend cannot even read its Secret.
fn of_a_backend(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let text = format!(
        "the Secret, or what is in it, is one of a backend, in namespace {}: the platform team puts it right",
        shell.operator_namespace
    );
    let groupware = picture.above(object, Kind::MailInstance).map(|i| i.text("/spec/backendRef/name"));
    let dns = picture.above(object, Kind::MailDomain).and_then(Object::dns_backend);
    let named = [(Kind::GroupwareBackend, groupware), (Kind::DNSBackend, dns)];
    let all = named.into_iter().filter_map(|(kind, name)| Some((kind, name.filter(|n| !n.is_empty())?)));
    all.fold(Step::platform(text), |step, (kind, name)| {
        step.look(shell.kubectl(&format!("mailtenant why {}/{name}", kind.word())))
    })
}

/// Whether a message speaks of `Secret NAME`, or `key NAME`. The Secret of a backend has its namespace before the name: it is not
/// taken for one of the same name in the namespace of a tenant.
fn names(message: &str, what: &str, name: &str) -> bool {
    let sign = |c: char| "\"'`,;:.()".contains(c);
    let words: Vec<&str> = message.split_whitespace().map(|w| w.trim_matches(sign)).collect();
    words.windows(2).any(|pair| pair[0] == what && pair[1] == name)
}

/// A command for each Secret, which puts in all keys of it.
fn put_keys(refs: &[SecretKeyRef], namespace: &str, shell: &Shell) -> Vec<String> {
    let mut all: Vec<(&str, String)> = vec![];
    for r in refs {
        let command = put_key(r, namespace, shell);
        match all.iter_mut().find(|(name, _)| *name == r.name) {
            Some((_, commands)) => *commands += &format!(" && {command}"),
            None => all.push((&r.name, command)),
        }
    }
    all.into_iter().map(|(_, command)| command).collect()
}

/// Puts one key into a Secret, whether that exists or not. Other keys stay: each is written by a field manager of its own. The value
/// is asked for and not shown; a certificate comes from a file. All of it is POSIX: `read -s` is not.
fn put_key(SecretKeyRef { name, key }: &SecretKeyRef, namespace: &str, shell: &Shell) -> String {
    let from = if key == CA_KEY { "FILE" } else { "/dev/stdin" };
    let create =
        format!("create secret generic {name} -n {namespace} --from-file={key}={from} --dry-run=client -o yaml");
    let apply = format!("apply --server-side --force-conflicts --field-manager=kubectl-mailtenant-{key} -f -");
    let put = format!("{} | {}", shell.kubectl(&create), shell.kubectl(&apply));
    if key == CA_KEY {
        return put;
    }
    // In a shell of its own: the value is gone with it, and the terminal shows again what is typed, also after a Ctrl-C.
    format!(
        "(trap 'stty echo 2>/dev/null' EXIT; trap 'exit 130' INT TERM; printf '%s: ' '{key}' >&2; stty -echo 2>/dev/null; IFS= read -r \
         value && echo >&2 && printf %s \"$value\" | {put})"
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
