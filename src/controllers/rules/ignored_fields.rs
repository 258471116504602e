//! What is declared and has no effect, because this release or the server cannot do it, while everything else of the
//! object can be done. Taking the object's other functions away for it would harm its users, silence would deceive them:
//! it stays `Ready`, and says so in a condition of its own and in an Event.

use crate::ctx::Ctx;
use kube::Resource;
use mailtenant_api::mail_domain::MtaStsMode;
use mailtenant_api::*;
use mailtenant_groupware::Capability;
use std::collections::BTreeSet;

/// Fields of a domain that have no effect. Only what somebody wrote: defaults say nothing of what is wanted. `backend`: none, if
/// it is not known.
pub fn of_domain(domain: &MailDomain, backend: Option<&GroupwareBackend>) -> Vec<&'static str> {
    let served = backend.is_some_and(|b| b.spec.hosts.well_known.is_some());
    if served || domain.spec.dns.mta_sts.mode == MtaStsMode::None { vec![] } else { vec!["dns.mtaSts"] }
}

/// Fields of an alias that have no effect at a server that can do this.
pub fn of_alias(alias: &MailAlias, capabilities: &BTreeSet<Capability>) -> Vec<&'static str> {
    let named = alias.spec.display_name.as_ref().is_some_and(|n| !n.is_empty());
    let shown = capabilities.contains(&Capability::AliasDisplayName);
    if named && !shown { vec!["displayName"] } else { vec![] }
}

fn message(fields: &[&str], who: &str) -> String {
    let have = if fields.len() > 1 { "have" } else { "has" };
    format!("{} {have} no effect with {who}, all else is done: take it out, or leave it for later", fields.join(", "))
}

/// Puts it into the conditions: there while there is such a field, absent otherwise.
pub fn report(conditions: &mut Conditions, fields: &[&str], who: &str) {
    if fields.is_empty() {
        conditions.remove(ConditionType::FieldsIgnored);
    } else {
        conditions.set(ConditionType::FieldsIgnored, true, Reason::Unsupported, message(fields, who));
    }
}

/// An Event when it begins, or when it is said of other fields.
pub fn event<K: Resource<DynamicType = ()>>(ctx: &Ctx, object: &K, old: &[Condition], fields: &[&str], who: &str) {
    let text = message(fields, who);
    let said = conditions::find(old, ConditionType::FieldsIgnored).map(|c| c.message.as_str());
    if !fields.is_empty() && said != Some(text.as_str()) {
        ctx.event(object, EventReason::FieldsIgnored, text);
    }
}

/// Who cannot do what needs a host for documents.
pub const NO_WELL_KNOWN: &str = "a GroupwareBackend without hosts.wellKnown";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use serde_json::json;

    #[test]
    fn only_what_somebody_wrote_and_nobody_does() {
        assert_eq!(of_domain(&fixtures::domain(json!({})).object, None), [""; 0]);
        let mut domain = fixtures::domain(json!({})).object.as_ref().clone();
        domain.spec.dns.mta_sts.mode = MtaStsMode::Testing;
        assert_eq!(of_domain(&domain, None), ["dns.mtaSts"]);
        let mut backend = fixtures::domain(json!({})).instance.backend.as_ref().clone();
        assert_eq!(of_domain(&domain, Some(&backend)), ["dns.mtaSts"]);
        backend.spec.hosts.well_known = Some("wellknown.test".into());
        assert_eq!(of_domain(&domain, Some(&backend)), [""; 0]);
        let can = |list: &[Capability]| list.iter().copied().collect::<BTreeSet<_>>();
        let named = fixtures::alias(json!({"displayName": "Office"}));
        assert_eq!(of_alias(&named, &can(&[])), ["displayName"]);
        assert_eq!(of_alias(&named, &can(&[Capability::AliasDisplayName])), [""; 0]);
        assert_eq!(of_alias(&fixtures::alias(json!({})), &can(&[])), [""; 0]);
    }

    #[test]
    fn it_is_said_beside_ready_and_goes_with_the_field() {
        let mut conditions = Conditions::new(&[], 1, jiff::Timestamp::UNIX_EPOCH);
        conditions.ready("as declared");
        report(&mut conditions, &["dns.mtaSts", "dns.tlsRpt"], "this server");
        let list = conditions.clone().into_vec();
        assert!(conditions::is_true(&list, ConditionType::Ready));
        let said = conditions::find(&list, ConditionType::FieldsIgnored).map(|c| c.message.as_str());
        assert!(said.is_some_and(|m| m.starts_with("dns.mtaSts, dns.tlsRpt have no effect with this server")));
        report(&mut conditions, &[], "this server");
        assert!(conditions::find(&conditions.into_vec(), ConditionType::FieldsIgnored).is_none());
    }
}
