//! The life of a MailDomainClaim (I9): a MailDomain makes it when its proof is there, and takes it away when it goes.
//! Here only what is left behind is cleared up: a claim whose owner was removed by force.

use super::ctx::{Ctx, settle};
use super::world::{Kind, ObjectId};
use crate::api::mail_domain_claim::ClaimOwner;
use crate::api::*;
use crate::runtime::dispatch::Next;
use crate::runtime::store::NamespacedName;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use std::time::Duration;

/// One pass.
pub async fn pass(ctx: &Ctx, key: &NamespacedName) -> Next {
    let id = ObjectId::new(Kind::MailDomainClaim, key.clone());
    let Some(claim) = ctx.world().claims.get(key) else { return Next::Settled };
    settle(ctx, clear(ctx, &claim).await, &id).await
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
    /// Somebody else.
    Other(ClaimOwner),
}

/// A name above or below `name` that is held from another namespace, in words. Above by a live look: who holds `acme.test`
/// must not lose `sub.acme.test` to whoever comes while the watch is behind. Below, since a tenant who could take the
/// apex of a shared zone would keep all others out of it.
pub async fn relative(ctx: &Ctx, name: &str, namespace: &str) -> Result<Option<String>, kube::Error> {
    let foreign = |c: &MailDomainClaim| c.spec.owner.namespace != namespace;
    {
        let world = ctx.world();
        let claim = |n: &str| world.claims.get(&NamespacedName::new("", n));
        if crate::dns::name::parents(name).filter_map(claim).any(|c| foreign(&c)) {
            return Ok(Some(format!("a domain above {name}")));
        }
        let below = world.index.claims_below.of(&name.to_owned());
        if below.filter_map(|n| claim(n)).any(|c| foreign(&c)) {
            return Ok(Some(format!("a domain below {name}")));
        }
    }
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    for above in crate::dns::name::parents(name) {
        if api.get_opt(above).await?.is_some_and(|c| foreign(&c)) {
            return Ok(Some(format!("a domain above {name}")));
        }
    }
    Ok(None)
}

/// Takes a name for a MailDomain: creation is the lock. Whoever was first holds it.
pub async fn take(ctx: &Ctx, name: &str, domain: &MailDomain) -> Result<Holder, kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    let owner = ClaimOwner {
        namespace: domain.namespace().unwrap_or_default(),
        name: domain.name_any(),
        uid: domain.uid().unwrap_or_default(),
    };
    let claim = MailDomainClaim {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
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

/// Gives a name back, if it is this MailDomain's.
pub async fn give_back(ctx: &Ctx, name: &str, uid: &str) -> Result<(), kube::Error> {
    let api: Api<MailDomainClaim> = Api::all(ctx.client.clone());
    match api.get_opt(name).await? {
        Some(claim) if claim.spec.owner.uid == uid => drop_claim(ctx, &claim).await,
        _ => Ok(()),
    }
}
