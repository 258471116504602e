//! The credentials Secret, and the password on its way from a Secret to the server.
//!
//! The Secret is written before the server: whatever a crash leaves, the password that the server gets is one that
//! stands in the Secret. A Secret that is not ours is never written.

use super::facts::{
    Facts, MARK, PASSWORD_OF, ROTATED_FOR, Source, WITHOUT_PASSWORD, declared, is_predecessors, not_owned, not_there,
    settings_mark,
};
use super::plan::{Ensure, PasswordPlan, SecretAction};
use super::secret_text;
use crate::ctx::{Ctx, Step};
use crate::not_ready::NotReady;
use crate::state::derived::credentials_secret;
use crate::state::kind::{Kind, ObjectId};
use crate::state::world::SecretMeta;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::PartialObjectMetaExt;
use kube::{Resource, ResourceExt};
use mailtenant_api::*;
use mailtenant_backend::secret::SecretText;
use mailtenant_clock::Random;
use mailtenant_groupware::PasswordWant;
use mailtenant_runtime::store::NamespacedName;
use serde_json::json;
use std::collections::BTreeMap;

/// 64 characters, so that every one is six bits.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A password of `length` characters, six bits each.
pub fn generate(random: &dyn Random, length: usize) -> SecretText {
    let mut bytes = zeroize::Zeroizing::new(vec![0u8; length]);
    random.fill(&mut bytes);
    SecretText::new(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 63)])).collect::<String>())
}

/// The services that a client is told of, by the beginning of their keys.
fn services(settings: &ClientSettings) -> [(&'static str, &Option<Endpoint>); 4] {
    [
        ("imap", &settings.imap),
        ("pop3", &settings.pop3),
        ("submission", &settings.submission),
        ("sieve", &settings.sieve),
    ]
}

/// Whether the Secret holds the access data, and none that went. The password, and keys of others, are not looked at.
fn holds(secret: &Secret, settings: &ClientSettings) -> bool {
    let want = data(settings);
    let parts = services(settings).map(|(name, _)| ["host", "port", "security"].map(|part| format!("{name}-{part}")));
    let keys = parts.into_iter().flatten().chain(["username", "webmail-url", "dav-url"].map(Into::into));
    let have = |key: &String| secret.data.as_ref().and_then(|d| d.get(key)).map(|v| v.0.as_slice());
    keys.into_iter().all(|key| have(&key) == want.get(&key).map(String::as_bytes))
}

/// The keys of the Secret, but for the password.
pub fn data(settings: &ClientSettings) -> BTreeMap<String, String> {
    let mut data = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            data.insert(key.to_owned(), value);
        }
    };
    put("username", settings.username.clone());
    for (name, endpoint) in services(settings) {
        if let Some(e) = endpoint {
            put(&format!("{name}-host"), Some(e.host.clone()));
            put(&format!("{name}-port"), Some(e.port.to_string()));
            put(&format!("{name}-security"), Some(e.security.as_str().into()));
        }
    }
    put("webmail-url", settings.webmail.clone());
    put("dav-url", settings.dav.clone());
    data
}

fn owner(mailbox: &Mailbox) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.into(),
        kind: Mailbox::kind(&()).into(),
        name: mailbox.name_any(),
        uid: uid(mailbox),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn notes(mailbox: &Mailbox, seen: &Facts, plan: &Ensure) -> BTreeMap<String, String> {
    let mut notes = BTreeMap::from([(MARK.to_owned(), settings_mark(&seen.settings, &plan.source))]);
    if let Some(wish) = annotation(mailbox, annotations::ROTATE_PASSWORD)
        && plan.source == Source::Generated
    {
        notes.insert(ROTATED_FOR.into(), wish);
    }
    notes
}

fn secret_version(secret: &Secret) -> String {
    format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default())
}

fn length(mailbox: &Mailbox) -> usize {
    mailbox.spec.password.generate.clone().unwrap_or_default().length.clamp(22, 128) as usize
}

/// The credentials Secret after it was dealt with.
struct Written {
    secret: Secret,
    /// Its password was made by this pass. Of any other one nobody can tell whether a person typed it, and what a person
    /// types needs a slow hash.
    generated: bool,
}

impl Written {
    /// As it was found.
    fn before(secret: Secret) -> Self {
        Written { secret, generated: false }
    }
}

/// Does what the plan says about the credentials Secret; returns the password to hand over.
pub async fn carry_out(ctx: &Ctx, mailbox: &Mailbox, seen: &Facts, plan: &Ensure) -> Step<PasswordWant> {
    let written = match plan.secret {
        SecretAction::Keep => None,
        SecretAction::Check => Some(check(ctx, mailbox, seen, plan).await?),
        SecretAction::Create => Some(create(ctx, mailbox, seen, plan).await?),
        SecretAction::CreateWithoutPassword => {
            create(ctx, mailbox, seen, plan).await?;
            return Ok(PasswordWant::Keep);
        }
        SecretAction::TakeOver => Some(take_over(ctx, mailbox, seen).await?),
        SecretAction::TakeOutPassword => {
            update(ctx, mailbox, seen, plan).await?;
            return Ok(PasswordWant::Keep);
        }
        SecretAction::Update | SecretAction::Rotate => Some(update(ctx, mailbox, seen, plan).await?),
    };
    let as_it_was = matches!(plan.secret, SecretAction::Keep | SecretAction::Check);
    if plan.password == PasswordPlan::Keep && as_it_was {
        return Ok(PasswordWant::Keep);
    }
    match &plan.source {
        Source::Generated => {
            let Written { secret, generated } = match written {
                Some(written) => written,
                None => Written::before(own(ctx, mailbox).await?),
            };
            let text = value(&secret, "password")?;
            Ok(PasswordWant::Plain {
                text,
                generated,
                version: secret_version(&secret),
                force: plan.password == PasswordPlan::Force,
            })
        }
        Source::Plain(from) if plan.password != PasswordPlan::Keep => {
            let (text, version) = named(ctx, mailbox, from).await?;
            let version = declared(version, &plan.source);
            Ok(PasswordWant::Plain { text, generated: false, version, force: plan.password == PasswordPlan::Force })
        }
        Source::Hash(from) if plan.password != PasswordPlan::Keep => {
            let (text, version) = named(ctx, mailbox, from).await?;
            let version = declared(version, &plan.source);
            Ok(PasswordWant::Hash { text, version, force: plan.password == PasswordPlan::Force })
        }
        Source::Plain(_) | Source::Hash(_) => Ok(PasswordWant::Keep),
    }
}

fn namespace(mailbox: &Mailbox) -> String {
    mailbox.namespace().unwrap_or_default()
}

/// A Secret that is missing is made again, with a new password, only for a mailbox that is still there: the garbage collector
/// removes the Secret of one whose finalizer was taken off by force, and the word of that may come before the mailbox's own.
async fn is_still_there(ctx: &Ctx, mailbox: &Mailbox) -> Step<()> {
    if never_made(mailbox.status.as_ref().and_then(|s| s.ownership)) {
        return Ok(());
    }
    let live = ctx.api::<Mailbox>(&namespace(mailbox)).get_metadata_opt(&mailbox.name_any()).await?;
    match live {
        Some(live) if live.metadata.uid == mailbox.metadata.uid => Ok(()),
        _ => Err(NotReady::retry(Reason::Progressing, "the Mailbox is gone: its password stays as it is").into()),
    }
}

async fn create(ctx: &Ctx, mailbox: &Mailbox, seen: &Facts, plan: &Ensure) -> Step<Written> {
    is_still_there(ctx, mailbox).await?;
    let mut data = data(&seen.settings);
    let mut notes = notes(mailbox, seen, plan);
    let generated = plan.source == Source::Generated && plan.secret != SecretAction::CreateWithoutPassword;
    if plan.secret == SecretAction::CreateWithoutPassword {
        notes.insert(WITHOUT_PASSWORD.into(), "true".into());
    }
    if generated {
        data.insert("password".into(), generate(ctx.random.as_ref(), length(mailbox)).expose().to_owned());
    }
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(credentials_secret(mailbox)),
            namespace: mailbox.namespace(),
            owner_references: Some(vec![owner(mailbox)]),
            annotations: Some(notes),
            ..ObjectMeta::default()
        },
        type_: Some(CREDENTIALS_TYPE.into()),
        data: Some(data.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect()),
        ..Secret::default()
    };
    let api = ctx.api::<Secret>(&namespace(mailbox));
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(secret) => {
            is_right(ctx, plan, &secret);
            Ok(Written { secret: noted(ctx, mailbox, secret), generated })
        }
        // Made by a pass whose reply was lost, or by somebody else just now.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let secret = own(ctx, mailbox).await?;
            if secret.annotations().contains_key(WITHOUT_PASSWORD) {
                // The watch was late: the next pass knows that none is missing.
                let text = format!("Secret {} was there already: it is looked at again", secret.name_any());
                return Err(NotReady::retry(Reason::Progressing, text).into());
            }
            Ok(Written::before(secret))
        }
        Err(error) => Err(unquoted(error).into()),
    }
}

/// A refusal to write a Secret without the words that it came with: an admission webhook may quote what it refused (I6),
/// and they would go into the log and into the status.
fn unquoted(error: kube::Error) -> kube::Error {
    let kube::Error::Api(status) = error else { return error };
    let text = "the Secret with the access data was not taken; the answer may quote it and is not shown. Rights, quotas and \
                admission webhooks for Secrets in this namespace can be the cause";
    let reason = http::StatusCode::from_u16(status.code).ok().and_then(|c| c.canonical_reason()).unwrap_or_default();
    let mut told = kube::core::Status::failure(text, reason);
    told.code = status.code;
    kube::Error::Api(Box::new(told))
}

fn noted(ctx: &Ctx, mailbox: &Mailbox, secret: Secret) -> Secret {
    ctx.wrote_secret(&secret, ObjectId::new(Kind::Mailbox, NamespacedName::of(mailbox)));
    secret
}

async fn own(ctx: &Ctx, mailbox: &Mailbox) -> Step<Secret> {
    let name = credentials_secret(mailbox);
    let secret = ctx.api::<Secret>(&namespace(mailbox)).get_opt(&name).await?;
    let secret = secret
        .ok_or_else(|| NotReady::retry(Reason::SecretNotFound, format!("Secret {name} went away: it is made again")))?;
    if !secret.owner_references().iter().any(|o| o.uid == uid(mailbox)) {
        return Err(not_owned(&name).into());
    }
    Ok(secret)
}

/// Makes a predecessor's Secret ours, as it was read: its password goes on. Its access data are looked at by the next pass.
async fn take_over(ctx: &Ctx, mailbox: &Mailbox, seen: &Facts) -> Step<Written> {
    let name = credentials_secret(mailbox);
    let api = ctx.api::<Secret>(&namespace(mailbox));
    let have = api.get_opt(&name).await?;
    let have = have.ok_or_else(|| NotReady::retry(Reason::SecretNotFound, format!("Secret {name} went away")))?;
    let username = have.data.as_ref().and_then(|d| d.get("username")).map(|v| v.0.as_slice());
    let ours = have.type_.as_deref() == Some(CREDENTIALS_TYPE) && username == Some(seen.address.as_bytes());
    if !ours || !is_predecessors(&have, mailbox) {
        return Err(not_owned(&name).into());
    }
    // Known to the next pass too, if this one ends before the mailbox is taken over.
    let of = seen.recovery.whose.as_ref().ok().and_then(Option::as_ref).map(|uid| uid.as_str());
    let patch = json!({
        "metadata": {
            "uid": have.uid(), "resourceVersion": have.resource_version(), "ownerReferences": [owner(mailbox)],
            "annotations": {PASSWORD_OF: of},
        },
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let written: Secret = api.patch(&name, &params, &Patch::Merge(&patch)).await.map_err(unquoted)?;
    ctx.event(mailbox, EventReason::TakenOver, format!("Secret {name} with its password is of this Mailbox now"));
    Ok(Written::before(written))
}

/// Remembers that a Secret's access data are as they should be. Of one with a generated password the server knows it: the
/// version comes with the password.
fn is_right(ctx: &Ctx, plan: &Ensure, secret: &Secret) {
    if plan.source != Source::Generated || secret.annotations().contains_key(WITHOUT_PASSWORD) {
        ctx.secret_is_right(secret);
    }
}

/// Reads the Secret, which somebody else may have written, and puts the access data back.
async fn check(ctx: &Ctx, mailbox: &Mailbox, seen: &Facts, plan: &Ensure) -> Step<Written> {
    let have = own(ctx, mailbox).await?;
    if !holds(&have, &seen.settings) {
        return update(ctx, mailbox, seen, plan).await;
    }
    is_right(ctx, plan, &have);
    Ok(Written::before(have))
}

/// Writes access data, and a new password if asked for, over the version that was read.
async fn update(ctx: &Ctx, mailbox: &Mailbox, seen: &Facts, plan: &Ensure) -> Step<Written> {
    let have = own(ctx, mailbox).await?;
    let mut data: BTreeMap<String, Option<ByteString>> =
        have.data.iter().flatten().filter(|(k, _)| *k != "password").map(|(k, _)| (k.clone(), None)).collect();
    data.extend(self::data(&seen.settings).into_iter().map(|(k, v)| (k, Some(ByteString(v.into_bytes())))));
    let mut generated = false;
    let without = have.annotations().contains_key(WITHOUT_PASSWORD);
    // A new mailbox needs one, also where that of the mailbox before could not be told.
    let taken_out = plan.secret == SecretAction::TakeOutPassword;
    let may_lack = taken_out || (without && seen.row.is_some());
    let lacks = !may_lack && !have.data.iter().flatten().any(|(k, v)| k == "password" && !v.0.is_empty());
    if taken_out || plan.source != Source::Generated {
        data.insert("password".into(), None);
    } else if lacks
        || (plan.secret == SecretAction::Rotate
            && have.annotations().get(ROTATED_FOR) != annotation(mailbox, annotations::ROTATE_PASSWORD).as_ref())
    {
        // Read just now: a pass whose write the watch has not told of yet is not repeated.
        generated = true;
        let text = generate(ctx.random.as_ref(), length(mailbox));
        data.insert("password".into(), Some(ByteString(text.expose().as_bytes().to_vec())));
    }
    let mut notes = json!(notes(mailbox, seen, plan));
    if taken_out {
        notes[WITHOUT_PASSWORD] = json!("true");
    } else if without && (generated || plan.source != Source::Generated) {
        notes[WITHOUT_PASSWORD] = json!(null);
    }
    if taken_out || generated {
        notes[PASSWORD_OF] = json!(null);
    }
    let patch = json!({
        "metadata": {"uid": have.uid(), "resourceVersion": have.resource_version(), "annotations": notes},
        "data": data,
    });
    let api = ctx.api::<Secret>(&namespace(mailbox));
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let written: Secret = api.patch(&have.name_any(), &params, &Patch::Merge(&patch)).await.map_err(unquoted)?;
    is_right(ctx, plan, &written);
    let mut meta: SecretMeta = written.metadata.clone().into_response_partial();
    mailtenant_runtime::store::prune(&mut meta);
    // Its own pass goes on with it: nobody has to be woken.
    let _ = ctx.world_mut().secrets.observe(meta);
    Ok(Written { secret: written, generated })
}

fn value(secret: &Secret, key: &str) -> Result<SecretText, NotReady> {
    let name = secret.name_any();
    let bytes = secret.data.as_ref().and_then(|d| d.get(key)).ok_or_else(|| {
        NotReady::waiting(
            Reason::SecretNotFound,
            format!("Secret {name} has no key {key}: add it, or delete the Secret to have it made again"),
        )
    })?;
    secret_text::text(&bytes.0).map(SecretText::new).map_err(|why| {
        NotReady::stalled(Reason::SecretInvalid, format!("key {key} of Secret {name} {why}: correct it"))
    })
}

async fn named(ctx: &Ctx, mailbox: &Mailbox, from: &SecretKeyRef) -> Step<(SecretText, String)> {
    let secret = ctx.api::<Secret>(&namespace(mailbox)).get_opt(&from.name).await?;
    let secret = secret.ok_or_else(|| not_there(from))?;
    Ok((value(&secret, &from.key)?, secret_version(&secret)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_data_that_somebody_changed_is_seen() {
        let settings = |imap: &str, pop3: bool| -> ClientSettings {
            let end = |host: &str| json!({"host": host, "port": 993, "security": "TLS"});
            let mut settings = json!({"username": "a@x.test", "imap": end(imap), "webmail": "https://w.test"});
            if pop3 {
                settings["pop3"] = end("pop.x.test");
            }
            serde_json::from_value(settings).unwrap()
        };
        let secret = |settings: &ClientSettings| Secret {
            data: Some(data(settings).into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect()),
            ..Secret::default()
        };
        let now = settings("imap.x.test", false);
        let mut have = secret(&now);
        for other in ["password", "note"] {
            have.data.as_mut().unwrap().insert(other.into(), ByteString(b"x".to_vec()));
            assert!(holds(&have, &now), "{other}");
        }
        for key in data(&now).into_keys() {
            for change in [None, Some(b"x".to_vec())] {
                let mut changed = have.clone();
                let data = changed.data.as_mut().unwrap();
                drop(data.remove(&key));
                data.extend(change.map(|v| (key.clone(), ByteString(v))));
                assert!(!holds(&changed, &now), "{key}");
            }
        }
        // What may not be used any more is not told any more.
        assert!(!holds(&secret(&settings("imap.x.test", true)), &now));
        assert!(!holds(&Secret::default(), &now));
    }

    #[test]
    fn what_refused_a_secret_is_not_quoted() {
        for (code, conflict) in [(403, false), (409, true), (422, false), (500, false)] {
            let said = json!({"status": "Failure", "code": code, "reason": "hunter2", "message": "denied: hunter2"});
            let said = kube::Error::Api(serde_json::from_value(said).unwrap());
            let told = unquoted(said);
            assert!(!format!("{told} {told:?}").contains("hunter2"), "{told:?}");
            let not_ready = crate::pass::fallback_status::refusal(&told);
            assert!(
                not_ready.is_none_or(|h| !h.message.contains("hunter2") && h.message.contains("admission webhooks"))
            );
            let kube::Error::Api(status) = told else { panic!("it is another error now") };
            assert_eq!((status.code, status.is_conflict()), (code, conflict));
        }
    }
}
