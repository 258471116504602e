//! MTA-STS on the way out of a domain: what must be over before MX goes back to other mail servers.

use super::journal;
use super::mta_sts;
use super::status::{Progress, stamp};
use super::written::{holds, server};
use crate::ctx::{Ctx, Step};
use crate::state::derived::a_label;
use mailtenant_api::Purpose;
use mailtenant_dns::converge::Aim;
use mailtenant_mail::{merge, records};

/// Before MX goes back to other mail servers, no sender may hold a policy any more under which it would not deliver there: it
/// is said that there is none, and the time of the former one runs out (RFC 8461, 8.3).
pub(super) async fn leave_policy(ctx: &Ctx, p: &mut Progress) -> Step<()> {
    let now = ctx.latest_now();
    let Some(mut none) = mta_sts::leaving(&p.object, &p.status, p.previous_mx().as_ref(), now) else { return Ok(()) };
    let until = none.enforced_until.clone().unwrap_or_default();
    if !p.journal().iter().any(merge::is_our_mx) || !holds(ctx, p).await? || until <= stamp(ctx.earliest_now()) {
        return Ok(());
    }
    let name = a_label(&p.object);
    if p.dns().mta_sts.as_ref() != Some(&none) {
        // The service hears of it by its watch.
        p.dns().mta_sts = Some(none);
        p.write_first(ctx).await?;
        return Err(mta_sts::first_served(&name).into());
    }
    let id = none.policy().id();
    if none.id.as_ref() != Some(&id)
        && let Some((dns, zone)) = server(ctx, p).await?
    {
        let wanted = records::mta_sts_told(&name, p.object.spec.dns.ttl.max(1) as u32, &id, &p.journal());
        let conflict = p.object.spec.dns.conflict_policy;
        let aim = Aim::Publish { name: &name, wanted: &wanted, conflict, switch_mx: true, writer: None };
        if journal::carry_out_only(ctx, p, (&dns, &zone), Purpose::MTASTS, &aim).await? {
            none.id = Some(id);
            p.dns().mta_sts = Some(none);
        }
    }
    Err(mta_sts::still_held(&name, &until, now).into())
}
