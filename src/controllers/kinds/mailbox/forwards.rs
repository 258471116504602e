//! Where the mail of a mailbox is forwarded to. Pure.
//!
//! A forward names an address, and is meant for the person who has it. When that Mailbox goes, whoever gets its mail next is
//! somebody else, be it another Mailbox, an alias or the catch-all: the forward stays off until somebody declares it again.

use super::facts::Facts;
use crate::not_ready::NotReady;
use crate::rules::delivery;
use crate::state::routes;
use mailtenant_api::mail_instance::ExternalForwarding;
use mailtenant_api::mailbox::ForwardTarget;
use mailtenant_api::{Mailbox, Reason};
use mailtenant_groupware::Address;

/// Where mail goes on to, without what may not be; whether a copy is kept; why not all of it. Whenever something is left out the
/// mailbox keeps its mail.
pub fn forwards(mailbox: &Mailbox, seen: &Facts) -> (Vec<Address>, bool, Option<NotReady>) {
    let Some(forwarding) = &mailbox.spec.forwarding else { return (vec![], true, None) };
    if !seen.mail_loop.is_empty() {
        return (vec![], true, Some(delivery::mail_loop(&seen.mail_loop)));
    }
    let (mut to, mut not_ready) = (vec![], None);
    for result in forwarding.to.iter().map(|text| allowed(seen, text)) {
        match result {
            Ok(address) => to.push(address),
            Err(why) => not_ready = not_ready.or(Some(why)),
        }
    }
    to.sort();
    to.dedup();
    let keep_copy = forwarding.keep_copy || not_ready.is_some();
    (to, keep_copy, not_ready)
}

fn allowed(seen: &Facts, text: &str) -> Result<Address, NotReady> {
    let address =
        Address::new(text).map_err(|e| NotReady::stalled(Reason::InvalidSpec, format!("forwarding.to {text}: {e}")))?;
    let instance = &seen.domain.instance;
    let outside = !seen.own_domains.contains(address.domain());
    if outside && instance.object.spec.external_forwarding == ExternalForwarding::Deny {
        let text = format!(
            "{address} is outside MailInstance {}: forward to its own addresses, or set its externalForwarding: Allow",
            instance.key.name
        );
        return Err(NotReady::stalled(Reason::ExternalForwardingDenied, text));
    }
    if address == seen.address {
        return Err(NotReady::stalled(Reason::InvalidSpec, "forwarding.to names the mailbox itself: use keepCopy"));
    }
    if seen.nobody.contains(&address) {
        return Err(delivery::nobody_has(&address));
    }
    if seen.gone.contains(&address) {
        let text = format!(
            "the Mailbox that had {address} is gone, and whoever has that address now does not get this mail: take it out of \
             spec.forwarding.to, and put it back if mail is to go there"
        );
        return Err(NotReady::stalled(Reason::InvalidSpec, text));
    }
    Ok(address)
}

/// Whose the addresses are that are forwarded to: as it was noted first, for as long as the spec names them.
pub fn targets(mailbox: &Mailbox, seen: &Facts) -> Vec<ForwardTarget> {
    let noted = routes::noted_targets(mailbox);
    let mut all = routes::forwards(mailbox);
    all.sort();
    all.dedup();
    let target = |address: Address| {
        let now = || {
            seen.holders.get(&address).map(|uid| ForwardTarget { address: address.to_string(), uid: uid.to_string() })
        };
        noted.iter().find(|n| n.address == address.as_str()).cloned().or_else(now)
    };
    all.into_iter().filter_map(target).collect()
}
