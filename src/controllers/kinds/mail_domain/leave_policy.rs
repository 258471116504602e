//! MTA-STS on the way out of a domain: what must be over before MX goes back to other mail servers.

use super::journal;
use super::lookups;
use super::mta_sts;
use super::status::Progress;
use super::written::{holds, server};
use super::zone::Zone;
use crate::ctx::{Ctx, Step};
use crate::pass::above::Above;
use crate::state::derived::a_label;
use mailtenant_api::Purpose;
use mailtenant_api::mail_domain::ConflictPolicy;
use mailtenant_dns::converge::Aim;
use mailtenant_mail::records::MtaStsPolicy;
use mailtenant_mail::{merge, records};

/// Before MX goes back to other mail servers, no sender may hold a policy any more under which it would not deliver there: it
/// is said that there is none, and the time of the former one runs out (RFC 8461, 8.3).
pub(super) async fn leave_policy(ctx: &Ctx, p: &mut Progress, above: &Above) -> Step<()> {
    let clocks = (ctx.earliest_now(), ctx.latest_now());
    let Some(mut none) = mta_sts::leaving(&p.object, &p.status, p.previous_mx().as_ref(), clocks) else {
        return Ok(());
    };
    if !p.journal().iter().any(merge::is_our_mx) || !holds(ctx, p).await? {
        return Ok(());
    }
    let (name, until) = (a_label(&p.object), none.enforced_until.clone().unwrap_or_default());
    if p.dns().mta_sts.as_ref() != Some(&none) {
        // The service hears of it by its watch.
        p.dns().mta_sts = Some(none);
        p.write_first(ctx).await?;
        return Err(mta_sts::first_served(&name).into());
    }
    let id = none.policy().id();
    if none.id.as_ref() != Some(&id) && tells(ctx, p, above, &none.policy()).await? {
        none.id = Some(id);
        p.dns().mta_sts = Some(none);
    }
    Err(mta_sts::still_held(&name, &until, clocks.1).into())
}

/// Tells senders of the policy once its host is seen to serve it: they would keep the former one under the new id (RFC 8461,
/// 8.2). True: they are told.
async fn tells(ctx: &Ctx, p: &mut Progress, above: &Above, policy: &MtaStsPolicy) -> Step<bool> {
    let host = above.instance().and_then(|i| i.backend.spec.hosts.well_known.clone());
    let (Some(host), Some((dns, zone))) = (host, server(ctx, p).await?) else { return Ok(false) };
    let (name, zone) = (a_label(&p.object), Zone::Managed { dns, name: zone });
    let served = lookups::served_policy(ctx, &zone, &name, &host).await;
    if served.ok().and_then(|text| MtaStsPolicy::parse(&text)).as_ref() != Some(policy) {
        return Ok(false);
    }
    let wanted = records::mta_sts_told(&name, p.object.spec.dns.ttl.max(1) as u32, &policy.id(), &p.journal());
    // What somebody else has there by now stays, whatever the policy was on the way in.
    let conflict = ConflictPolicy::Refuse;
    let aim = Aim::Publish { name: &name, wanted: &wanted, conflict, switch_mx: true, writer: None };
    journal::carry_out_only(ctx, p, zone.managed()?, Purpose::MTASTS, &aim).await
}
