//! Storage, numbers and addresses: what has to be raised, and to how much.

use super::commands::edit;
use super::step::{Shell, Step};
use crate::kind::Kind;
use crate::object::Object;
use crate::picture::Picture;
use mailtenant_api::Quantity;
use serde_json::json;

const GI: u128 = 1 << 30;

fn bytes(object: &Object, pointer: &str) -> Option<u128> {
    let value = object.value.pointer(pointer)?.clone();
    serde_json::from_value::<Quantity>(value).ok()?.bytes().ok().map(u128::from)
}

/// Storage that fits the quotas of all mailboxes of an instance, in whole Gi.
fn storage_for_all(picture: &Picture, instance: &Object) -> Quantity {
    let default = bytes(instance, "/spec/defaultMailboxQuota").unwrap_or_default();
    let mailboxes = picture.below_instance(instance, Kind::Mailbox);
    // What is granted may be more than what is declared now.
    let quota =
        |m: &&Object| bytes(m, "/spec/quota").unwrap_or(default).max(bytes(m, "/status/quota").unwrap_or_default());
    // A single quota may have 64 bits, so a sum has more.
    let declared: u128 = mailboxes.iter().map(quota).sum();
    let given = bytes(instance, "/status/usage/storageAllocated").unwrap_or_default();
    // Never less than what was booked.
    let booked = bytes(instance, "/spec/storage").unwrap_or_default();
    Quantity::from_bytes(declared.max(given).max(booked).div_ceil(GI) * GI)
}

/// The storage of the instance does not suffice, or a mailbox has no quota.
pub fn quota(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let Some(instance) = picture.above(object, Kind::MailInstance) else {
        return Step::tenant("lower the quota, or raise `storage` of the MailInstance").run(edit(shell, object));
    };
    let unbounded = object.kind == Kind::Mailbox
        && object.value["spec"]["quota"].is_null()
        && instance.value["spec"]["defaultMailboxQuota"].is_null();
    if unbounded {
        return Step::tenant("each mailbox of this instance needs a quota: its own, or one for all that say none")
            .run(shell.merge(object, &json!({"spec": {"quota": "1Gi"}})))
            .run(shell.merge(instance, &json!({"spec": {"defaultMailboxQuota": "1Gi"}})));
    }
    let needed = storage_for_all(picture, instance);
    let text = format!(
        "raise `storage` of {} to {}, which is enough for all quotas that are declared; or lower a quota",
        instance.label(),
        needed.0
    );
    let step = Step::tenant(text).run(shell.merge(instance, &json!({"spec": {"storage": needed}})));
    if object.kind == Kind::Mailbox { step.run(edit(shell, object)) } else { step }
}

/// There are as many as there may be.
pub fn number(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let field = match object.kind {
        Kind::MailDomain => "domains",
        Kind::Mailbox => "mailboxes",
        _ => "aliases",
    };
    let Some(instance) = picture.above(object, Kind::MailInstance) else {
        return Step::tenant(format!("raise limits.{field} of the MailInstance, or delete one"));
    };
    let there = picture.below_instance(instance, object.kind).len();
    let text = format!("raise limits.{field} of {} to the {there} that are declared, or delete one", instance.label());
    Step::tenant(text).run(shell.merge(instance, &json!({"spec": {"limits": {field: there}}}))).run(shell.about(
        "delete",
        object,
        "--wait=false",
    ))
}

/// Another object has the address.
pub fn address(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let same = |o: &&Object| {
        o.uid() != object.uid()
            && [Kind::Mailbox, Kind::MailAlias].contains(&o.kind)
            && o.namespace() == object.namespace()
            && o.parent() == object.parent()
            && o.text("/spec/localPart") == object.text("/spec/localPart")
    };
    let other = picture.objects.iter().find(same);
    let step = match other {
        Some(other) => Step::tenant(format!("{} has the address: delete one of the two", other.label())),
        None => Step::tenant("another object has the address: delete one of the two"),
    };
    step.run(shell.about("delete", object, "--wait=false"))
        .run_all(other.map(|other| shell.about("delete", other, "--wait=false")))
}

/// A target or forward is outside of the instance.
pub fn forwarding(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let allow = picture
        .above(object, Kind::MailInstance)
        .map(|instance| shell.merge(instance, &json!({"spec": {"externalForwarding": "Allow"}})));
    Step::tenant("allow addresses outside of the instance, for all that is in it, or take the address out of the spec")
        .run_all(allow)
        .run(edit(shell, object))
}
