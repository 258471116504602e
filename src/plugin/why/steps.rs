//! From each reason to the step that mends it. A new reason does not compile before it has one.

use super::commands::edit;
use super::deletion::{draining, waits};
use super::step::{Shell, Step};
use super::{dns, limits, platform, secrets};
use crate::kind::Kind;
use crate::object::{Object, reason};
use crate::picture::Picture;
use mailtenant_api::{Condition, ConditionType, Reason};
use serde_json::json;

/// The step for an object that says itself why it is not ready.
pub fn at(picture: &Picture, object: &Object, condition: &Condition, shell: &Shell) -> Step {
    let Some(reason) = reason(condition) else {
        let text =
            format!("this release of the plugin does not know the reason {}: read the message", condition.reason);
        return Step::platform(text).look(shell.about("describe", object, ""));
    };
    mends(picture, object, (reason, condition), shell)
}

fn mends(picture: &Picture, object: &Object, (reason, condition): (Reason, &Condition), shell: &Shell) -> Step {
    match reason {
        Reason::Succeeded | Reason::Progressing | Reason::Deleting | Reason::DNSPropagating => {
            Step::wait("nothing has to be done: it is worked on, and tried again")
                .look(shell.about("describe", object, ""))
        }
        // The one that it names is there now, and ready: its next pass sees that.
        Reason::InstanceNotFound
        | Reason::DomainNotFound
        | Reason::MailboxNotFound
        | Reason::BackendNotFound
        | Reason::InstanceNotReady
        | Reason::DomainNotReady
        | Reason::MailboxNotReady => Step::wait("what it waits for is there: it goes on by itself, or with a pass")
            .run(shell.plugin("reconcile", object)),
        Reason::BackendNotAllowed => platform::not_allowed(picture, object, shell),
        Reason::BackendUnreachable => platform::unreachable(object, shell),
        Reason::BackendUnauthorized | Reason::SecretNotFound | Reason::SecretInvalid => {
            secrets::put(picture, object, (reason, condition), shell)
        }
        Reason::BackendRejected | Reason::Unsupported | Reason::InvalidSpec => {
            platform::change(object, "change what the message names", shell)
        }
        Reason::Undecodable => {
            platform::change(object, "apply the manifest again, as the CRDs of this release want it", shell)
        }
        Reason::QuotaExceeded => limits::quota(picture, object, shell),
        Reason::LimitExceeded => limits::number(picture, object, shell),
        Reason::AddressInUse => limits::address(picture, object, shell),
        Reason::ExternalForwardingDenied => limits::forwarding(picture, object, shell),
        Reason::DomainClaimed => platform::claimed(picture, object, shell),
        Reason::OwnershipUnproven => dns::unproven(object, shell),
        Reason::DNSConflict => dns::conflict(object, shell),
        Reason::ZoneNotFound => dns::no_zone(object, shell),
        Reason::ZoneReadOnly => dns::read_only(object, shell),
        Reason::AwaitingRecords => dns::by_hand(object, shell),
        Reason::RegistrationGone
        | Reason::NameServersMoved
        | Reason::DNSSECBroken
        | Reason::MXElsewhere
        | Reason::RecordsChanged => dns::unhealthy(object, shell),
        Reason::ConfigMapNotOwned => dns::not_our_file(object, shell),
        Reason::AwaitingApproval => dns::approval(object, shell),
        Reason::AwaitingAcceptance => dns::acceptance(object, shell),
        Reason::AwaitingPolicyEnd => Step::tenant(
            "have the former provider's MTA-STS policy withdrawn, as the message says; then ask for a pass",
        )
        .run(shell.plugin("reconcile", object)),
        Reason::AwaitingFirstAddress => Step::tenant("create the first mailbox of the domain: MX is switched then"),
        Reason::ExistsAtBackend => platform::exists(picture, object, shell),
        Reason::NotEntitled => platform::not_entitled(picture, object, shell),
        Reason::SecretNotOwned => secrets::not_owned(object, shell),
        Reason::Paused => resume(object, shell),
        Reason::Drifted => drifted(picture, object, shell),
        Reason::MassLossHeld => mass_loss(picture, object, shell),
        Reason::HasInstances
        | Reason::HasDomains
        | Reason::HasMailboxes
        | Reason::HasAliases
        | Reason::ReferencedByAlias => waits(picture, object, reason, shell),
        Reason::Draining => draining(picture, object, &condition.message, shell),
        Reason::KubernetesError | Reason::TimedOut | Reason::InternalError => platform::fault(object, reason, shell),
    }
}

fn resume(object: &Object, shell: &Shell) -> Step {
    // A deletion that waits for what is only observed has the same reason.
    if !object.is_paused() {
        return Step::tenant("nothing is written, as the message says: let the operator write again")
            .run(shell.merge(object, &json!({"spec": {"managementPolicy": "Full"}})));
    }
    let below = if object.kind == Kind::MailInstance { ", and for all that is in it" } else { "" };
    Step::tenant(format!("let the operator write again for {}{below}", object.label()))
        .run(shell.plugin("resume", object))
}

fn drifted(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let observes = |o: &&Object| o.text("/spec/managementPolicy") == "Observe";
    let above = picture.above(object, Kind::MailInstance).filter(observes);
    let whose = Some(object).filter(observes).or(above).unwrap_or(object);
    Step::tenant("have what differs put right, or change the spec to what is there (status.drift names it)")
        .run(shell.merge(whose, &json!({"spec": {"managementPolicy": "Full"}})))
        .run(edit(shell, object))
}

fn mass_loss(picture: &Picture, object: &Object, shell: &Shell) -> Step {
    let instance = picture.above(object, Kind::MailInstance).unwrap_or(object);
    let text = "look at the server first: it may be a restored or a wrong one. If the mailboxes come back, ask for a pass; if they are lost \
                and are to be made again, accept the loss";
    Step::platform(text)
        .run(shell.plugin("reconcile", instance))
        .run(shell.plugin("accept-mass-loss", instance))
        .look(shell.kubectl("get groupwarebackends"))
}

/// Of an object that is ready: what it says beside that.
pub fn notes(object: &Object) -> Vec<String> {
    let said = |type_: ConditionType, status: &str| object.condition(type_).filter(|c| c.status == status);
    let bad = [
        said(ConditionType::CutOver, "False"),
        said(ConditionType::WithinLimits, "False"),
        said(ConditionType::WithinQuota, "False"),
        said(ConditionType::SchemaUpToDate, "False"),
        said(ConditionType::FieldsIgnored, "True"),
        said(ConditionType::Undeclared, "True"),
        said(ConditionType::Healthy, "False"),
    ];
    bad.into_iter().flatten().map(|c| format!("{}={} ({}): {}", c.type_, c.status, c.reason, c.message)).collect()
}
