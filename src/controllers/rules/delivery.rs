//! Mail that cannot be delivered: loops, and addresses in domains of an instance that nobody has, declared or at the
//! server.

use crate::connections::Groupware;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::a_label;
use crate::state::kind::ObjectId;
use crate::state::routes;
use crate::state::snapshots::Since;
use mailtenant_api::Reason;
use mailtenant_mail::Address;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeSet;

/// Of addresses that no object declares, each with the object of its domain, those that the server does not have either: a
/// domain that was adopted has mailboxes that are declared nowhere. A row that is switched off takes no mail.
pub async fn undeliverable(
    ctx: &Ctx,
    server: &Groupware,
    undeclared: Vec<(NamespacedName, Address)>,
) -> Step<Vec<Address>> {
    let there = at_server(ctx, server, &undeclared, true).await?;
    Ok(undeclared.into_iter().map(|(_, address)| address).filter(|a| !there.contains(a)).collect())
}

/// The way of a mail loop, from an object back to it ([`routes::mail_loop`]).
pub async fn loop_of(ctx: &Ctx, server: &Groupware, instance: &NamespacedName, id: &ObjectId) -> Step<Vec<String>> {
    // Rows at the server can only end a way that the objects alone would have closed.
    if routes::mail_loop(&ctx.world(), instance, id, |_| false).is_empty() {
        return Ok(vec![]);
    }
    let caught = routes::caught(&ctx.world(), instance, id);
    let there = at_server(ctx, server, &caught, false).await?;
    Ok(routes::mail_loop(&ctx.world(), instance, id, |address| there.contains(address)))
}

/// Which of these addresses are at the server and take mail; with `catch_all` also those that a catch-all there takes.
async fn at_server(
    ctx: &Ctx,
    server: &Groupware,
    addresses: &[(NamespacedName, Address)],
    catch_all: bool,
) -> Step<BTreeSet<Address>> {
    let mut out = BTreeSet::new();
    for (key, wanted) in addresses {
        let Some(name) = ctx.world().domains.get(key).map(|d| a_label(&d)) else { continue };
        let others = catch_all.then(|| Address::catch_all(&name));
        let all: Vec<Address> = [wanted.clone(), wanted.without_detail()].into_iter().chain(others).collect();
        let there = ctx
            .rows(server, key, &name, Since::Ever, |rows| {
                let takes = |a: &Address| {
                    rows.mailboxes.get(a).is_some_and(|m| m.settings.receive && !m.removing)
                        || rows.aliases.get(a).is_some_and(|r| r.settings.active)
                };
                all.iter().any(takes)
            })
            .await
            .map_err(|e| NotReady::backend(&server.label(), &e))?;
        if there {
            out.insert(wanted.clone());
        }
    }
    Ok(out)
}

/// The words for an address that nobody has. Not stalled: it may be declared in the next moment.
pub fn nobody_has(address: &Address) -> NotReady {
    let text = format!("nobody has {address}: create a Mailbox or a MailAlias with it, or name another address");
    NotReady::waiting(Reason::InvalidSpec, text)
}

/// The words for a mail loop (RFC 5321, 6.3).
pub fn mail_loop(way: &[String]) -> NotReady {
    let text = format!("mail would loop ({}): let one of them deliver to a mailbox", way.join(" -> "));
    NotReady::stalled(Reason::InvalidSpec, text)
}
