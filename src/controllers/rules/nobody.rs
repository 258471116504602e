//! Addresses in domains of an instance that nobody has, declared or at the server.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use crate::state::snapshots::Since;
use mailtenant_api::Reason;
use mailtenant_mail::Address;
use mailtenant_runtime::store::NamespacedName;

/// Of addresses that no object declares, each with the object of its domain, those that the server does not have either: a
/// domain that was adopted has mailboxes that are declared nowhere.
pub async fn has(ctx: &Ctx, server: &Groupware, undeclared: Vec<(NamespacedName, Address)>) -> Step<Vec<Address>> {
    let mut out = vec![];
    for (key, wanted) in undeclared {
        let Some(name) = ctx.world().domains.get(&key).map(|d| a_label(&d)) else { continue };
        let all = [wanted.clone(), wanted.without_detail(), Address::catch_all(&name)];
        let there = ctx
            .rows(server, &key, &name, Since::Ever, |rows| {
                all.iter().any(|a| rows.mailboxes.contains_key(a) || rows.aliases.contains_key(a))
            })
            .await
            .map_err(|e| NotReady::backend(&server.label(), &e))?;
        if !there {
            out.push(wanted);
        }
    }
    Ok(out)
}

/// The words for an address that nobody has. Not stalled: it may be declared in the next moment.
pub fn not_ready(address: &Address) -> NotReady {
    let text = format!("nobody has {address}: create a Mailbox or a MailAlias with it, or name another address");
    NotReady::waiting(Reason::InvalidSpec, text)
}

/// The words for a circle.
pub fn circle(way: &[String]) -> NotReady {
    let text = format!("mail would go in a circle ({}): let one of them deliver to a mailbox", way.join(" -> "));
    NotReady::stalled(Reason::InvalidSpec, text)
}
