//! The life of a MailDomainClaim (I9): a MailDomain makes it when its proof is there, and takes it away when it goes.
//! Here only what is left behind is cleared up: a claim whose owner was removed by force.

pub mod watch;

use crate::ctx::Ctx;
use crate::pass::HasPass;
use crate::pass::life::settle;
use crate::state::managed::Managed;
use crate::state::world::World;
use aws_lc_rs::digest::{SHA256, digest};
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use mailtenant_api::mail_domain_claim::ClaimOwner;
use mailtenant_api::*;
use mailtenant_runtime::dispatch::Next;
use mailtenant_runtime::store::NamespacedName;
use std::collections::BTreeMap;
use std::time::Duration;

impl HasPass for MailDomainClaim {
    async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
        let Some(claim) = ctx.world().claims.get(key) else { return Next::Settled };
        settle(ctx, clear(ctx, &claim).await, &Self::id(key)).await
    }
}

async fn clear(ctx: &Ctx, claim: &MailDomainClaim) -> Result<Next, kube::Error> {
    let owner = &claim.spec.owner;
    // A live look: the store may not know a MailDomain that has just made its claim.
    let domain = ctx.api::<MailDomain>(&owner.namespace).get_opt(&owner.name).await?;
    if domain.is_some_and(|d| d.uid().as_ref() == Some(&owner.uid)) {
        return Ok(Next::Settled);
    }
    tracing::info!(claim = %claim.name_any(), "its MailDomain is gone; the claim is cleared up");
    drop_claim(ctx, claim).await?;
    Ok(Next::After(Duration::from_secs(30)))
}

async fn drop_claim(ctx: &Ctx, claim: &MailDomainClaim) -> Result<(), kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    let preconditions = Preconditions { uid: claim.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&claim.name_any(), &params).await {
        Ok(_) => Ok(()),
        // A conflict may mean that it is another claim by now, or that somebody wrote just then: whoever looks again sees.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Who holds a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The one who asks.
    Us,
    Other(ClaimOwner),
}

/// A name as it fits into a label (63 characters).
fn label_of(name: &str) -> String {
    let hash = digest(&SHA256, name.as_bytes());
    hash.as_ref().iter().take(20).map(|b| format!("{b:02x}")).collect()
}

/// Label of a claim for a name above its own: one list finds all below a name.
fn above_label(name: &str) -> String {
    format!("below.mailtenant.dev/{}", label_of(name))
}

/// Label of a claim with its own name as value: one list finds all above a name, which may have 120 labels.
const NAME_LABEL: &str = "mailtenant.dev/name";

/// The label selectors of the claims above a name (`true`) and below it, whatever its number of labels.
fn relatives(name: &str) -> Vec<(bool, String)> {
    let above: Vec<String> = mailtenant_mail::name::parents(name).map(label_of).collect();
    let above = (!above.is_empty()).then(|| (true, format!("{NAME_LABEL} in ({})", above.join(","))));
    above.into_iter().chain([(false, above_label(name))]).collect()
}

fn labels(name: &str) -> BTreeMap<String, String> {
    let above = mailtenant_mail::name::parents(name).map(|n| (above_label(n), String::new()));
    above.chain([(NAME_LABEL.to_owned(), label_of(name))]).collect()
}

fn words(above: bool, name: &str) -> String {
    format!("a domain {} {name}", if above { "above" } else { "below" })
}

/// A name above or below `name` that is held from another namespace, in words, as far as the watch has told. Above, since
/// who holds `acme.test` must not lose `sub.acme.test` to whoever comes; below, since a tenant who could take the apex of a
/// shared zone would keep all others out of it.
pub fn relative_known(world: &World, name: &str, namespace: &str) -> Option<String> {
    let foreign =
        |n: &str| world.claims.get(&NamespacedName::new("", n)).is_some_and(|c| c.spec.owner.namespace != namespace);
    if mailtenant_mail::name::parents(name).any(foreign) {
        return Some(words(true, name));
    }
    let mut below = world.index.claims_below.of(&name.to_owned());
    below.any(|n| foreign(n)).then(|| words(false, name))
}

/// The same, and by a live look where the watch knows of none, once our own claim is there: of two that came at the same
/// moment at least one sees the other, however late the watches are.
pub async fn relative(ctx: &Ctx, name: &str, namespace: &str) -> Result<Option<String>, kube::Error> {
    let known = relative_known(&ctx.world(), name, namespace);
    if known.is_some() {
        return Ok(known);
    }
    let foreign = |c: &MailDomainClaim| c.spec.owner.namespace != namespace;
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    for (above, selector) in relatives(name) {
        if api.list(&ListParams::default().labels(&selector)).await?.iter().any(foreign) {
            return Ok(Some(words(above, name)));
        }
    }
    Ok(None)
}

/// Uid of the MailDomain that holds a name, by a live look.
pub async fn holder(ctx: &Ctx, name: &str) -> Result<Option<String>, kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    Ok(api.get_opt(name).await?.map(|c| c.spec.owner.uid))
}

/// Takes a name for a MailDomain: creation is the lock. Whoever was first holds it.
async fn take(ctx: &Ctx, name: &str, domain: &MailDomain) -> Result<Holder, kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    let owner = ClaimOwner {
        namespace: domain.namespace().unwrap_or_default(),
        name: domain.name_any(),
        uid: domain.uid().unwrap_or_default(),
    };
    let claim = MailDomainClaim {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels(name)), ..ObjectMeta::default() },
        spec: MailDomainClaimSpec { owner: owner.clone() },
    };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &claim).await {
        Ok(_) => Ok(Holder::Us),
        Err(kube::Error::Api(status)) if status.is_already_exists() => match api.get_opt(name).await? {
            Some(have) if have.spec.owner.uid == owner.uid => Ok(Holder::Us),
            Some(have) => Ok(Holder::Other(have.spec.owner)),
            None => Ok(Holder::Other(ClaimOwner { namespace: String::new(), name: String::new(), uid: String::new() })),
        },
        Err(error) => Err(error),
    }
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The name is ours, and by a live look nobody else holds one above or below.
    Ours,
    /// Somebody else was first.
    Other,
    /// Somebody else holds this one, in words. Ours was given back.
    Relative(String),
}

/// Takes a name for a MailDomain, unless somebody else holds one above or below: of two that come at the same moment at least
/// one sees the other, since both look once their own claim is there.
pub async fn take_alone(ctx: &Ctx, name: &str, domain: &MailDomain) -> Result<Taken, kube::Error> {
    if let Holder::Other(_) = take(ctx, name, domain).await? {
        return Ok(Taken::Other);
    }
    match relative(ctx, name, &domain.namespace().unwrap_or_default()).await? {
        Some(relative) => {
            give_back(ctx, name, &uid(domain)).await?;
            Ok(Taken::Relative(relative))
        }
        None => Ok(Taken::Ours),
    }
}

/// Gives a name back, if it is this MailDomain's.
pub async fn give_back(ctx: &Ctx, name: &str, uid: &str) -> Result<(), kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    match api.get_opt(name).await? {
        Some(claim) if claim.spec.owner.uid == uid => drop_claim(ctx, &claim).await,
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_many_labels_costs_two_lists_that_find_all_above_and_below() {
        let long = format!("{}acme.test", "a.".repeat(118));
        assert_eq!(relatives(&long).len(), 2);
        assert_eq!(relatives("acme.test").len(), 2);
        let selected = |of: &str, above: bool, claim: &str| {
            let (_, selector) = relatives(of).into_iter().find(|(a, _)| *a == above).unwrap();
            let labels = labels(claim);
            match selector.strip_prefix(&format!("{NAME_LABEL} in (")) {
                Some(names) => names.trim_end_matches(')').split(',').any(|n| labels[NAME_LABEL] == n),
                None => labels.contains_key(&selector),
            }
        };
        for (of, claim, above, below) in [
            ("b.acme.test", "acme.test", true, false),
            ("a.b.acme.test", "acme.test", true, false),
            (long.as_str(), "acme.test", true, false),
            ("acme.test", "b.acme.test", false, true),
            ("acme.test", long.as_str(), false, true),
            ("acme.test", "acme.test", false, false),
            ("b.acme.test", "c.acme.test", false, false),
            ("bacme.test", "acme.test", false, false),
        ] {
            assert_eq!((selected(of, true, claim), selected(of, false, claim)), (above, below), "{claim} of {of}");
        }
        let short = |text: &String| text.len() <= 63;
        assert!(labels(&long).iter().all(|(k, v)| k.split('/').next_back().is_some_and(|n| n.len() <= 63) && short(v)));
    }
}
