//! What cannot be taken back: it is refused where it would mean nothing, explained, and done after the name was typed again.

use crate::act;
use crate::args::Sure;
use crate::connect::Cluster;
use crate::error::{Error, Result};
use crate::kind::{Kind, Target};
use crate::object::{Object, Readiness, reason};
use crate::output::Terminal;
use mailtenant_api::annotations;
use mailtenant_clock::Clock;
use serde_json::json;

/// What will be left of an object that is orphaned; or why the annotation would mean nothing.
pub fn explain_orphan(object: &Object) -> Result<String, String> {
    let label = object.label();
    if Kind::PLATFORM.contains(&object.kind) {
        return Ok(format!(
            "{label} will go once it is deleted, although it is in use.\n\
             What is on it says BackendNotFound from then on, and goes on working at the server as it is.\n\
             Deletions of what is on it wait until the object is back, or are orphaned one by one."
        ));
    }
    if !object.is_deleting() {
        return Err(format!("{label} is not being deleted: the annotation would mean nothing. Delete it first"));
    }
    let blocked = match object.readiness() {
        Readiness::Not(condition) if condition.type_ == "DeletionBlocked" => condition,
        _ => return Err(format!("nothing blocks the deletion of {label} yet: wait, and look again")),
    };
    if !reason(&blocked).is_some_and(mailtenant_api::Reason::lies_at_a_backend) {
        return Err(format!(
            "the deletion of {label} waits for something that no backend blocks ({}): the annotation would mean nothing. See \
             kubectl mailtenant why {}",
            blocked.reason,
            label.to_lowercase()
        ));
    }
    let left = match object.kind {
        Kind::MailInstance => "The tenant and all that is left in it stay at the server.",
        Kind::MailDomain => {
            "Its rows and the mailboxes in it stay at the server. Where its DNS cannot be reached its records stay, MX among them: remove \
             them by hand, or mail goes on coming."
        }
        Kind::Mailbox => "The mailbox and its mail, contacts and calendars stay at the server.",
        _ => "The alias stays at the server and may go on delivering.",
    };
    Ok(format!(
        "The deletion of {label} is blocked ({}): {}\n\
         With the annotation it goes without that step. This cannot be taken back.\n{left}\n\
         What can still be reached is switched off first; the Event Orphaned says what is left where.",
        blocked.reason, blocked.message
    ))
}

pub async fn orphan(cluster: &Cluster, terminal: &mut Terminal<'_>, target: &Target, sure: Sure) -> Result<()> {
    let object = act::find(cluster, target, &Kind::ALL).await?;
    writeln!(terminal.err, "{}", explain_orphan(&object)?)?;
    confirm(terminal, &object, sure)?;
    act::patch(cluster, &object, &json!({"metadata": {"annotations": {annotations::ORPHAN: "true"}}})).await?;
    writeln!(
        terminal.out,
        "{} orphaned: it goes within seconds if it is still blocked",
        object.label().to_lowercase()
    )?;
    Ok(())
}

/// What accepting a mass loss means; or why it would mean nothing.
pub fn explain_loss(instance: &Object) -> Result<String, String> {
    let label = instance.label();
    if instance.text("/status/massLoss") != "Held" {
        return Err(format!("no mass loss of {label} is held: the annotation would mean nothing"));
    }
    Ok(format!(
        "Many mailboxes of {label} are missing at the server. It may be a restored or a wrong one: look there first.\n\
         If you accept the loss the missing mailboxes are made again. What of their mail is not on that server's disk is lost.\n\
         Deletions that wait for the missing ones go on."
    ))
}

pub async fn accept_mass_loss(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    (target, sure): (&Target, Sure),
    clock: &dyn Clock,
) -> Result<()> {
    let instance = act::find(cluster, target, &[Kind::MailInstance]).await?;
    writeln!(terminal.err, "{}", explain_loss(&instance)?)?;
    confirm(terminal, &instance, sure)?;
    let stamp = clock.now().to_string();
    act::patch(cluster, &instance, &json!({"metadata": {"annotations": {annotations::ACCEPT_MASS_LOSS: stamp}}}))
        .await?;
    writeln!(terminal.out, "{} the loss is accepted", instance.label().to_lowercase())?;
    Ok(())
}

/// Whoever does not type the name does not get further.
fn confirm(terminal: &mut Terminal<'_>, object: &Object, sure: Sure) -> Result<()> {
    if sure.yes {
        return Ok(());
    }
    write!(terminal.err, "Type the name of the {} to go on: ", object.kind.as_str())?;
    terminal.err.flush()?;
    let mut line = String::new();
    terminal.input.read_line(&mut line)?;
    match line.trim() == object.name() {
        true => Ok(()),
        false => Err(Error::Refused(format!("nothing was changed: that is not {}", object.name()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn blocked(kind: Kind, deleting: bool, reason: Option<&str>) -> Object {
        let condition =
            |reason| json!([{"type": "DeletionBlocked", "status": "True", "reason": reason, "lastTransitionTime": ""}]);
        let mut value =
            json!({"metadata": {"name": "a"}, "status": {"conditions": reason.map_or(json!([]), condition)}});
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Object { kind, value }
    }

    #[test]
    fn orphan_is_for_what_a_backend_blocks() {
        for (object, means_something) in [
            (blocked(Kind::Mailbox, true, Some("BackendUnreachable")), true),
            (blocked(Kind::Mailbox, true, Some("ReferencedByAlias")), false),
            (blocked(Kind::Mailbox, true, Some("Draining")), false),
            (blocked(Kind::Mailbox, true, None), false),
            (blocked(Kind::Mailbox, false, Some("BackendUnreachable")), false),
            (blocked(Kind::GroupwareBackend, false, None), true),
        ] {
            assert_eq!(explain_orphan(&object).is_ok(), means_something, "{object:?}");
        }
    }

    #[test]
    fn a_loss_is_accepted_only_while_one_is_held() {
        let instance =
            |state: Value| Object { kind: Kind::MailInstance, value: json!({"status": {"massLoss": state}}) };
        assert!(explain_loss(&instance(json!("Held"))).is_ok());
        for state in [json!("Accepted"), Value::Null] {
            assert!(explain_loss(&instance(state)).is_err());
        }
    }

    #[test]
    fn only_the_name_itself_goes_on() {
        let object = blocked(Kind::Mailbox, true, None);
        for (typed, yes, goes_on) in
            [("a\n", false, true), ("b\n", false, false), ("yes\n", false, false), ("", false, false), ("", true, true)]
        {
            let (mut out, mut err, mut input) = (vec![], vec![], typed.as_bytes());
            let mut terminal = Terminal { out: &mut out, err: &mut err, input: &mut input, colour: false };
            assert_eq!(confirm(&mut terminal, &object, Sure { yes }).is_ok(), goes_on, "{typed:?}");
        }
    }
}
