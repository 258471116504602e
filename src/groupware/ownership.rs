//! Who owns what at a server, and what may be done to it (I3).
//!
//! [`claim`] is asked before something is made or changed, [`Holders::check`] before something is put into a tenant or a
//! domain. A server that has room for our uid keeps it in the row itself and changes both in one step; it removes only
//! rows with that uid, as the SOGo provider does in SQL. One that has no room is given an [`OwnerRegister`] beside it:
//! [`take`] and [`leave`] apply the same rules, [`check_removal`] among them.

use crate::*;
use std::collections::BTreeMap;
use std::fmt;

/// Whether what carries `have` may be changed in the name of `want`: ours, adopted or taken over now, or an error.
/// `origin`: where its owner stood, for whoever decides about [`Owner::replaces`].
pub fn claim(what: impl fmt::Display, have: Option<&Uid>, origin: Option<&Origin>, want: &Owner) -> Result<Made> {
    match have {
        Some(uid) if *uid == want.uid => Ok(Made::Unchanged),
        // The place is compared once more: a row that another object owned by now is not what was decided about.
        Some(uid) if want.replaces.as_ref() == Some(uid) && origin.is_some_and(|o| o.same_place(&want.origin)) => {
            Ok(Made::TakenOver)
        }
        None if want.adopts(origin) => Ok(Made::Adopted),
        None => Err(adoptable(what, origin)),
        other => Err(exists(what, other, origin)),
    }
}

/// What is said of something that is another's, or that nobody gets.
pub fn exists(what: impl fmt::Display, owner: Option<&Uid>, origin: Option<&Origin>) -> BackendError {
    let (what, owner, origin) = (what.to_string(), owner.cloned(), origin.cloned().map(Box::new));
    BackendError::Exists { what, owner, origin, adoptable: false }
}

/// What is said of something that nobody owns, to whoever may not take it over so.
pub fn adoptable(what: impl fmt::Display, origin: Option<&Origin>) -> BackendError {
    let (what, origin) = (what.to_string(), origin.cloned().map(Box::new));
    BackendError::Exists { what, owner: None, origin, adoptable: true }
}

/// Whether what carries `have` may be removed in the name of `owner`. What is another's, or nobody's, is not there for it.
pub fn check_removal(what: impl fmt::Display, have: Option<&Uid>, owner: &Uid) -> Result<()> {
    match have {
        Some(uid) if uid == owner => Ok(()),
        _ => Err(BackendError::NotFound(what.to_string())),
    }
}

impl Holders {
    /// Whether the tenant and the domain (of a mailbox or an alias) that `what` is put into are theirs.
    pub fn check(&self, what: impl fmt::Display, tenant: Option<&Uid>, domain: Option<&Uid>) -> Result<()> {
        let differs = |wanted: &Option<Uid>, have: Option<&Uid>| wanted.as_ref().is_some_and(|w| Some(w) != have);
        match (differs(&self.tenant, tenant), differs(&self.domain, domain)) {
            (false, false) => Ok(()),
            (true, _) => Err(BackendError::Conflict(format!("{what} is in a tenant of another owner"))),
            (false, true) => Err(BackendError::Conflict(format!("{what} is in a domain of another owner"))),
        }
    }
}

/// Something at a server that has an owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A tenant.
    Tenant(TenantId),
    /// A domain.
    Domain(DomainName),
    /// A mailbox.
    Mailbox(Address),
    /// An alias or a catch-all.
    Alias(Address),
    /// A signing key of a domain.
    DkimKey(DomainName, Selector),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Tenant(id) => write!(f, "tenant {id}"),
            Thing::Domain(name) => write!(f, "domain {name}"),
            Thing::Mailbox(address) => write!(f, "mailbox {address}"),
            Thing::Alias(address) => write!(f, "alias {address}"),
            Thing::DkimKey(domain, selector) => write!(f, "key {selector} of {domain}"),
        }
    }
}

/// What a register has of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who owns it.
    pub owner: Uid,
    /// Whether it was taken over from nobody rather than made.
    pub adopted: bool,
    /// Where the owner stands.
    pub origin: Option<Origin>,
}

/// Owners of what is at one server, kept beside it. It belongs to the platform: nothing that a tenant can write may lead
/// into it (I13), and it is backed up with the server.
#[async_trait]
pub trait OwnerRegister: Send + Sync {
    /// Entries of many things in a bounded number of requests; who is not in the answer has no owner.
    async fn entries(&self, of: &[Thing]) -> Result<BTreeMap<Thing, Entry>>;
    /// Writes an entry in the place of one of `before`, or of none; durable when it returns.
    /// [`BackendError::Conflict`]: there is another one by now.
    async fn set(&self, what: &Thing, before: Option<&Uid>, entry: &Entry) -> Result<()>;
    /// Takes the owner's entry away; one that is another's stays, none is fine.
    async fn release(&self, what: &Thing, owner: &Uid) -> Result<()>;
}

async fn entry_of(register: &dyn OwnerRegister, what: &Thing) -> Result<Option<Entry>> {
    Ok(register.entries(std::slice::from_ref(what)).await?.remove(what))
}

/// Notes the owner before something is made or changed; `there`: whether the server has it. What is said is how it will
/// have come to be the owner's: [`Made::Unchanged`] of what is its own already.
///
/// The note comes first: a crash in between leaves a note of something that is not there, and the next call goes on from
/// it. The other way round it would leave something at the server that nobody knows to be ours. So the provider makes the
/// thing with a call that fails where it exists by then, and releases the note of this call in that case.
pub async fn take(register: &dyn OwnerRegister, what: &Thing, there: bool, want: &Owner) -> Result<Made> {
    let noted = entry_of(register, what).await?;
    let have = noted.as_ref().map(|e| &e.owner);
    let origin = noted.as_ref().and_then(|e| e.origin.as_ref());
    let made = match (there, have) {
        (false, None) => Made::Created,
        // Another one's note: it is about to make it, or has lost it. Its removal releases the note.
        (false, Some(_)) => claim(what, have, origin, want).map(|_| Made::Created)?,
        (true, _) => claim(what, have, origin, want)?,
    };
    let adopted = match made {
        // How it came to its first owner stays so.
        Made::TakenOver => noted.as_ref().is_some_and(|e| e.adopted),
        _ => made == Made::Adopted,
    };
    let entry = Entry { owner: want.uid.clone(), adopted, origin: Some(want.origin.clone()) };
    if made != Made::Unchanged && noted.as_ref() != Some(&entry) {
        register.set(what, have, &entry).await?;
    }
    Ok(made)
}

/// Whether something may be removed; `there`: whether the server has it. The provider releases the note once the server
/// has said that it is gone. Of what is not there the note is released here.
pub async fn leave(register: &dyn OwnerRegister, what: &Thing, there: bool, owner: &Uid) -> Result<()> {
    let noted = entry_of(register, what).await?;
    check_removal(what, noted.as_ref().map(|e| &e.owner), owner)?;
    if there {
        return Ok(());
    }
    register.release(what, owner).await?;
    Err(BackendError::NotFound(what.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_anothers_is_refused() {
        let (a, b) = (Uid::new("a"), Uid::new("b"));
        let both = Holders { tenant: Some(a.clone()), domain: Some(b.clone()) };
        let tenant = Holders { tenant: Some(a.clone()), domain: None };
        for (holders, of_tenant, of_domain, good) in [
            (&both, Some(&a), Some(&b), true),
            (&both, Some(&b), Some(&b), false),
            (&both, Some(&a), Some(&a), false),
            (&both, None, Some(&b), false),
            (&both, Some(&a), None, false),
            (&tenant, Some(&a), None, true),
            (&tenant, Some(&a), Some(&b), true),
            (&tenant, None, None, false),
            (&Holders::default(), None, None, true),
        ] {
            let refused = holders.check("acme.test", of_tenant, of_domain);
            assert_eq!(refused.is_ok(), good, "{holders:?} {of_tenant:?} {of_domain:?}");
            assert!(refused.is_ok() || matches!(refused, Err(BackendError::Conflict(_))));
        }
    }

    use std::sync::Mutex;

    #[derive(Default)]
    struct InMemory(Mutex<BTreeMap<Thing, Entry>>);

    #[async_trait]
    impl OwnerRegister for InMemory {
        async fn entries(&self, of: &[Thing]) -> Result<BTreeMap<Thing, Entry>> {
            let all = self.0.lock().unwrap();
            Ok(of.iter().filter_map(|t| Some((t.clone(), all.get(t)?.clone()))).collect())
        }
        async fn set(&self, what: &Thing, before: Option<&Uid>, entry: &Entry) -> Result<()> {
            let mut all = self.0.lock().unwrap();
            if all.get(what).map(|e| &e.owner) != before {
                return Err(BackendError::Conflict(format!("{what} is noted as another's by now")));
            }
            all.insert(what.clone(), entry.clone());
            Ok(())
        }
        async fn release(&self, what: &Thing, owner: &Uid) -> Result<()> {
            let mut all = self.0.lock().unwrap();
            if all.get(what).is_some_and(|e| e.owner == *owner) {
                all.remove(what);
            }
            Ok(())
        }
    }

    fn entry(owner: &str, adopted: bool) -> Entry {
        let origin = Origin::parse(Some("c"), if owner == "other" { "ns/other" } else { "ns/a" });
        Entry { owner: Uid::new(owner), adopted, origin }
    }

    fn exists(owner: Option<&str>) -> Result<Made> {
        let origin = owner.and_then(|owner| entry(owner, false).origin);
        Err(match owner.map(Uid::new) {
            None => adoptable("mailbox a@x.test", None),
            owner => super::exists("mailbox a@x.test", owner.as_ref(), origin.as_ref()),
        })
    }

    #[test]
    fn what_nobody_owns_is_for_who_is_entitled_and_what_was_kept_for_its_tenant() {
        let here = || Origin::parse(Some("c"), "ns/a");
        for (adopt, origin, taken) in [
            (Adopt::Nothing, here(), false),
            (Adopt::Nothing, None, false),
            (Adopt::Kept, here(), true),
            (Adopt::Kept, Origin::parse(Some("c"), "ns/another"), true),
            (Adopt::Kept, Origin::parse(Some("c"), "stranger/a"), false),
            (Adopt::Kept, Origin::parse(Some("another"), "ns/a"), false),
            // It was there before anything was noted.
            (Adopt::Kept, None, false),
            (Adopt::All, None, true),
            (Adopt::All, Origin::parse(Some("c"), "stranger/a"), true),
        ] {
            let owner = Owner { adopt, ..want("me", adopt, None) };
            let said = claim("mailbox a@x.test", None, origin.as_ref(), &owner);
            match taken {
                true => assert_eq!(said, Ok(Made::Adopted), "{adopt:?} {origin:?}"),
                false => assert_eq!(said, Err(adoptable("mailbox a@x.test", origin.as_ref())), "{adopt:?} {origin:?}"),
            }
            let of_another = claim("mailbox a@x.test", Some(&Uid::new("other")), origin.as_ref(), &owner);
            assert!(matches!(of_another, Err(BackendError::Exists { owner: Some(_), adoptable: false, .. })));
        }
    }

    fn want(uid: &str, adopt: Adopt, replaces: Option<&str>) -> Owner {
        let origin = entry(uid, false).origin.unwrap_or_default();
        Owner { uid: Uid::new(uid), adopt, origin, replaces: replaces.map(Uid::new) }
    }

    fn alice() -> Thing {
        Thing::Mailbox(Address::from_server("a@x.test"))
    }

    #[tokio::test]
    async fn who_may_make_and_change() {
        let (me, other) = (Some(entry("me", false)), Some(entry("other", false)));
        let adopted = Some(entry("me", true));
        // noted, there, adopts; what is said, and noted afterwards
        for (noted, there, adopt, said, after) in [
            (None, false, false, Ok(Made::Created), &me),
            (None, false, true, Ok(Made::Created), &me),
            (None, true, false, exists(None), &None),
            (None, true, true, Ok(Made::Adopted), &adopted),
            (me.clone(), true, false, Ok(Made::Unchanged), &me),
            (adopted.clone(), true, false, Ok(Made::Unchanged), &adopted),
            // a crash before it was made, or a loss
            (me.clone(), false, false, Ok(Made::Created), &me),
            (adopted.clone(), false, false, Ok(Made::Created), &me),
            (other.clone(), true, true, exists(Some("other")), &other),
            (other.clone(), false, true, exists(Some("other")), &other),
        ] {
            let register = InMemory(Mutex::new(noted.clone().map(|e| (alice(), e)).into_iter().collect()));
            let want = want("me", if adopt { Adopt::All } else { Adopt::Nothing }, None);
            assert_eq!(take(&register, &alice(), there, &want).await, said, "{noted:?} {there} {adopt}");
            assert_eq!(register.entries(&[alice()]).await.unwrap().get(&alice()), after.as_ref());
            if said.is_ok() {
                let again = if there { Made::Unchanged } else { Made::Created };
                assert_eq!(take(&register, &alice(), there, &want).await, Ok(again), "a repeat");
            }
        }
    }

    #[tokio::test]
    async fn what_a_dead_owner_of_the_same_place_had_is_taken_over() {
        let here = Origin::parse(Some("c"), "ns/a");
        let rebuilt = Origin::parse(Some("b"), "ns/a");
        let elsewhere = Origin::parse(Some("c"), "ns/other");
        // who has it, where that stood, who is replaced, whether it is taken over
        for (have, origin, replaces, taken) in [
            ("old", &here, Some("old"), true),
            ("old", &rebuilt, Some("old"), true),
            ("old", &here, None, false),
            // taken by a third one since it was decided
            ("new", &here, Some("old"), false),
            ("old", &elsewhere, Some("old"), false),
            ("old", &None, Some("old"), false),
        ] {
            let noted = Entry { owner: Uid::new(have), adopted: true, origin: origin.clone() };
            let register = InMemory(Mutex::new([(alice(), noted.clone())].into()));
            let said = take(&register, &alice(), true, &want("me", Adopt::All, replaces)).await;
            let after = register.entries(&[alice()]).await.unwrap().remove(&alice()).unwrap();
            match taken {
                true => {
                    assert_eq!(said, Ok(Made::TakenOver));
                    assert_eq!(after, entry("me", true), "it stays adopted");
                }
                false => {
                    let owner = Some(Uid::new(have));
                    assert_eq!(said, Err(super::exists(alice(), owner.as_ref(), origin.as_ref())));
                    assert_eq!(after, noted);
                }
            }
        }
    }

    #[tokio::test]
    async fn who_may_remove() {
        let not_found = || Err(BackendError::NotFound("mailbox a@x.test".into()));
        let (me, other) = (Some(entry("me", true)), Some(entry("other", false)));
        for (noted, there, said, after) in [
            (None, true, not_found(), &None),
            (other.clone(), true, not_found(), &other),
            (other.clone(), false, not_found(), &other),
            (me.clone(), true, Ok(()), &me),
            (me.clone(), false, not_found(), &None),
        ] {
            let register = InMemory(Mutex::new(noted.clone().map(|e| (alice(), e)).into_iter().collect()));
            assert_eq!(leave(&register, &alice(), there, &Uid::new("me")).await, said, "{noted:?} {there}");
            assert_eq!(register.entries(&[alice()]).await.unwrap().get(&alice()), after.as_ref());
        }
    }

    #[tokio::test]
    async fn of_two_that_come_at_once_one_owns_it() {
        let register = InMemory::default();
        register.set(&alice(), None, &entry("other", false)).await.unwrap();
        // what it read before is not so any more
        let late = register.set(&alice(), None, &entry("me", false)).await;
        assert!(matches!(late, Err(BackendError::Conflict(_))), "{late:?}");
        register.release(&alice(), &Uid::new("me")).await.unwrap();
        let noted = register.entries(&[alice(), Thing::Alias(Address::from_server("a@x.test"))]).await.unwrap();
        assert_eq!(noted, [(alice(), entry("other", false))].into());
    }
}
