//! The switches: annotations and fields that the API documents, written by the field manager `kubectl-mailtenant`.

use crate::args::Wait;
use crate::connect::{Cluster, FIELD_MANAGER};
use crate::error::{Error, Result};
use crate::kind::{Kind, Target};
use crate::object::Object;
use crate::output::Terminal;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use mailtenant_api::annotations;
use mailtenant_clock::Clock;
use serde_json::{Value, json};
use std::time::Duration;

/// What is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Reconcile,
    Pause,
    Resume,
    Approve,
    RotatePassword,
    RotateDkim,
}

impl Switch {
    /// Kinds that have it. A name without a kind means the first.
    fn kinds(self) -> &'static [Kind] {
        match self {
            Switch::Reconcile => &Kind::ALL,
            Switch::Pause | Switch::Resume => &Kind::TENANT,
            Switch::Approve | Switch::RotateDkim => &[Kind::MailDomain],
            Switch::RotatePassword => &[Kind::Mailbox],
        }
    }

    /// The merge patch. `stamp` is a value that no annotation has yet.
    pub fn patch(self, stamp: &str) -> Value {
        let annotation = |name: &str, value: Value| json!({"metadata": {"annotations": {name: value}}});
        match self {
            Switch::Reconcile => annotation(annotations::RECONCILE, json!(stamp)),
            Switch::Pause => annotation(annotations::PAUSED, json!("true")),
            Switch::Resume => annotation(annotations::PAUSED, Value::Null),
            Switch::Approve => json!({"spec": {"cutover": {"approved": true}}}),
            Switch::RotatePassword => annotation(annotations::ROTATE_PASSWORD, json!(stamp)),
            Switch::RotateDkim => annotation(annotations::ROTATE_DKIM, json!(stamp)),
        }
    }

    fn done(self) -> &'static str {
        match self {
            Switch::Reconcile => "a pass was asked for",
            Switch::Pause => "paused",
            Switch::Resume => "resumed",
            Switch::Approve => "approved: MX is switched once all is ready",
            Switch::RotatePassword => "a new password was asked for",
            Switch::RotateDkim => "new DKIM keys were asked for",
        }
    }

    /// Where the status says that it was done.
    fn answer(self) -> Option<&'static str> {
        match self {
            Switch::Reconcile => Some("/status/lastHandledReconcileAt"),
            Switch::RotatePassword => Some("/status/lastHandledRotatePassword"),
            Switch::RotateDkim => Some("/status/lastHandledRotateDkim"),
            Switch::Pause | Switch::Resume | Switch::Approve => None,
        }
    }

    /// Why it would mean nothing for an object.
    fn refuses(self, object: &Object) -> Option<String> {
        match self {
            Switch::RotatePassword
                if ["secretRef", "hashSecretRef"].iter().any(|k| !object.value["spec"]["password"][k].is_null()) =>
            {
                Some(format!("the password of {} comes from a Secret: change it there", object.label()))
            }
            Switch::Approve if object.text("/spec/cutover/mode") != "Manual" => Some(format!(
                "{} has cutover.mode Auto: MX is switched without an approval as soon as all is ready",
                object.label()
            )),
            _ => None,
        }
    }
}

/// Sets `switch` on each object; the first that fails ends it.
pub async fn set(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    (switch, targets): (Switch, &[Target]),
    wait: Option<Wait>,
    clock: &dyn Clock,
) -> Result<bool> {
    let mut asked = vec![];
    for target in targets {
        let object = find(cluster, target, switch.kinds()).await?;
        if let Some(why) = switch.refuses(&object) {
            return Err(Error::Refused(why));
        }
        let stamp = clock.now().to_string();
        patch(cluster, &object, &switch.patch(&stamp)).await?;
        writeln!(terminal.out, "{} {}", object.label().to_lowercase(), switch.done())?;
        asked.push((object, stamp));
    }
    let (Some(wait), Some(pointer)) = (wait.filter(|w| w.wait), switch.answer()) else { return Ok(true) };
    let mut all = true;
    for (object, stamp) in &asked {
        all &= answered(cluster, terminal, (object, pointer, stamp), wait.timeout).await?;
    }
    Ok(all)
}

/// Waits until the status says that a wish was handled.
async fn answered(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    (object, pointer, stamp): (&Object, &str, &str),
    seconds: u64,
) -> Result<bool> {
    writeln!(terminal.err, "waiting for {} (at most {seconds} s)", object.label())?;
    for _ in 0..seconds.saturating_mul(2) {
        let now = read(cluster, object.kind, object.name()).await?;
        let Some(now) = now else { return Err(Error::Refused(format!("{} is gone", object.label()))) };
        if now.text(pointer) == stamp {
            writeln!(terminal.err, "{} is done", object.label())?;
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    writeln!(
        terminal.err,
        "{} did not answer: kubectl mailtenant why {}",
        object.label(),
        object.label().to_lowercase()
    )?;
    Ok(false)
}

fn api(cluster: &Cluster, kind: Kind) -> Api<DynamicObject> {
    match kind.is_namespaced() {
        true => Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind.resource()),
        false => Api::all_with(cluster.client.clone(), &kind.resource()),
    }
}

fn place(cluster: &Cluster, kind: Kind) -> &str {
    if kind.is_namespaced() { &cluster.namespace } else { "" }
}

async fn read(cluster: &Cluster, kind: Kind, name: &str) -> Result<Option<Object>> {
    let found = api(cluster, kind).get_opt(name).await;
    let found = found.map_err(|e| Error::call("get", &kind.resource().plural, place(cluster, kind), &e))?;
    let value = found.map(serde_json::to_value).transpose().map_err(|e| Error::Text(e.to_string()))?;
    Ok(value.map(|value| Object { kind, value }))
}

/// The object that is meant, of one of these kinds. It is read alone: who may change one object need not be allowed to list.
pub async fn find(cluster: &Cluster, target: &Target, kinds: &[Kind]) -> Result<Object> {
    let words = || kinds.iter().map(|k| k.word()).collect::<Vec<_>>().join(", ");
    let kind = match (target.kind, kinds) {
        (Some(kind), kinds) if kinds.contains(&kind) => kind,
        (Some(kind), _) => return Err(Error::Refused(format!("not for a {}: only for {}", kind.as_str(), words()))),
        (None, [kind]) => *kind,
        (None, _) => {
            let text = format!("say of which kind {} is, KIND/NAME: {}", target.name, words());
            return Err(Error::Refused(text));
        }
    };
    read(cluster, kind, &target.name).await?.ok_or_else(|| {
        let namespace =
            if kind.is_namespaced() { format!(" in namespace {}", cluster.namespace) } else { String::new() };
        Error::Refused(format!("there is no {} {}{namespace}", kind.as_str(), target.name))
    })
}

/// One merge patch, by our field manager. It does nothing if another object has the name by now.
pub async fn patch(cluster: &Cluster, object: &Object, patch: &Value) -> Result<()> {
    let mut patch = patch.clone();
    patch["metadata"]["uid"] = json!(object.uid());
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let done = api(cluster, object.kind).patch(object.name(), &params, &Patch::Merge(&patch)).await;
    let refused = |e| Error::call("patch", &object.kind.resource().plural, place(cluster, object.kind), &e);
    done.map(|_| ()).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_sets_what_the_api_documents() {
        for (switch, wanted) in [
            (Switch::Reconcile, json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": "now"}}})),
            (Switch::Pause, json!({"metadata": {"annotations": {"mailtenant.dev/paused": "true"}}})),
            (Switch::Resume, json!({"metadata": {"annotations": {"mailtenant.dev/paused": null}}})),
            (Switch::Approve, json!({"spec": {"cutover": {"approved": true}}})),
            (Switch::RotatePassword, json!({"metadata": {"annotations": {"mailtenant.dev/rotate-password": "now"}}})),
            (Switch::RotateDkim, json!({"metadata": {"annotations": {"mailtenant.dev/rotate-dkim": "now"}}})),
        ] {
            assert_eq!(switch.patch("now"), wanted, "{switch:?}");
        }
    }

    #[test]
    fn what_would_mean_nothing_is_refused() {
        let object = |kind, spec: Value| Object { kind, value: json!({"metadata": {"name": "a"}, "spec": spec}) };
        let from_secret = object(Kind::Mailbox, json!({"password": {"secretRef": {"name": "s", "key": "k"}}}));
        let automatic = object(Kind::MailDomain, json!({"cutover": {"mode": "Auto"}}));
        let manual = object(Kind::MailDomain, json!({"cutover": {"mode": "Manual"}}));
        assert!(Switch::RotatePassword.refuses(&from_secret).is_some());
        assert!(Switch::RotatePassword.refuses(&object(Kind::Mailbox, json!({"password": {}}))).is_none());
        assert!(Switch::Approve.refuses(&automatic).is_some() && Switch::Approve.refuses(&manual).is_none());
    }
}
