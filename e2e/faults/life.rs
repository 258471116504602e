//! One tenant's life under one row of faults. At each step every call to every server fails. A kind of call is opened once
//! it has failed in two passes and a condition names it; so all kinds of call fail one after the other, and nothing gets
//! to its end past one that still fails.

use super::table::{Row, WIRES, Wire, carried_out, optional, reasons};
use super::wired::{TENANT, Wired};
use crate::harness::kubectl::{condition_of, conditions, is_ready};
use crate::harness::proxy::Fault;
use crate::harness::world::groupware_backend;
use crate::harness::{dns, eventually, mail, secs};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a step may take.
const LIMIT: Duration = secs(400);
/// Pause between two wishes for another pass.
const AGAIN: Duration = Duration::from_millis(800);
/// Pause between two looks at whether the step is done.
const LOOK: Duration = Duration::from_millis(200);
/// Who may name a fault.
const ALL: [&str; 6] = ["MailInstance", "MailDomain", "Mailbox", "MailAlias", "GroupwareBackend", "DNSBackend"];

/// Whether a step came to its end, or what is missing.
type Done = for<'a> fn(&'a Wired) -> BoxFuture<'a, Result<(), String>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Creation,
    Change,
    Deletion,
}

pub struct Life {
    pub t: Wired,
    row: Row,
    /// Kinds of call that were broken already, at which step and on which wire.
    pub verified: BTreeMap<(Step, Wire), BTreeSet<String>>,
    /// Operations on backends that failed, as the operator counts them. Looked at again and again: it forgets them when
    /// another test restarts it.
    pub failed: BTreeSet<String>,
    /// Wires on which a time limit was waited for at this step.
    hung: BTreeSet<Wire>,
    /// Nothing has to be named: what fails is tried again, and nobody waits for it.
    unnamed: bool,
}

impl Life {
    /// `resolvers`: where DNS is looked up, see [`Wired::new`].
    pub async fn new(row: Row, resolvers: bool) -> Life {
        let t = Wired::new("faults", resolvers).await;
        Life { t, row, verified: BTreeMap::new(), failed: BTreeSet::new(), hung: BTreeSet::new(), unnamed: false }
    }

    /// From now on every call fails whose kind was not broken at this step before.
    async fn begin(&mut self, step: Step) {
        self.hung.clear();
        // What the step before left under way would meet faults that this one never meets again.
        self.t.quiet().await;
        self.block(step);
    }

    fn block(&self, step: Step) {
        for wire in WIRES {
            if let Some(fault) = self.row.fault(wire) {
                let open = self.verified.get(&(step, wire)).cloned().unwrap_or_default();
                self.t.proxy(wire).block(fault, open);
            }
        }
    }

    /// Breaks one kind of call after the other until `done`.
    async fn until(&mut self, step: Step, done: Done) {
        let (start, mut asked, mut looked) = (Instant::now(), Instant::now(), Instant::now());
        let mut at_end: Option<Instant> = None;
        let mut known = 0;
        self.t.hurry_all().await;
        loop {
            if self.open_what_was_broken(step).await {
                self.t.hurry().await;
                (asked, at_end, known) = (Instant::now(), None, 0);
                continue;
            }
            let blocked = self.blocked();
            // Something failed for the first time, or nothing happens.
            if blocked.len() > known || asked.elapsed() > AGAIN {
                known = blocked.len();
                self.t.hurry().await;
                asked = Instant::now();
            }
            sleep(Duration::from_millis(20)).await;
            if looked.elapsed() < LOOK {
                continue;
            }
            looked = Instant::now();
            let missing = done(&self.t).await.err();
            match (&missing, blocked.is_empty()) {
                (None, true) => break,
                // What struck in the last moment may be met again: a backend's own look.
                (None, false) => {
                    let waited = at_end.get_or_insert_with(Instant::now).elapsed();
                    // An operator that is started again by another test takes its time for a look.
                    if waited > secs(60) || (waited > secs(8) && blocked.iter().all(|(w, k)| self.may_stay(*w, k))) {
                        break;
                    }
                }
                _ => {}
            }
            let (row, late) = (&self.row, start.elapsed() > LIMIT);
            assert!(!late, "{step:?} does not end: {missing:?}; not named, or met once only: {blocked:#?} of {row:?}");
        }
        eprintln!("{} {step:?} in {:?}", self.t.w.ns, start.elapsed());
        for (wire, kind) in self.blocked() {
            assert!(
                self.may_stay(wire, &kind),
                "{step:?} came to its end although {wire:?} fails at {kind:?} with {:?}",
                self.row.fault(wire)
            );
        }
        WIRES.iter().for_each(|wire| self.t.proxy(*wire).heal());
        self.t.nothing_went_without_proof().await;
    }

    /// Whether the end can be reached without this call.
    fn may_stay(&self, wire: Wire, kind: &str) -> bool {
        optional(wire, kind) || self.row.fault(wire).is_some_and(|f| carried_out(wire, &f, kind))
    }

    fn blocked(&self) -> Vec<(Wire, String)> {
        WIRES.iter().flat_map(|w| self.t.proxy(*w).blocked().into_keys().map(|kind| (*w, kind))).collect()
    }

    /// Looks at every kind of call that failed; whether one was opened.
    async fn open_what_was_broken(&mut self, step: Step) -> bool {
        let mut opened = false;
        for wire in WIRES {
            let Some(fault) = self.row.fault(wire) else { continue };
            for (kind, times) in self.t.proxy(wire).blocked() {
                // A second failure: the pass of the first one has ended, and what it says is in the status. Of a server
                // that is gone or hangs no second call is seen.
                let lost = carried_out(wire, &fault, &kind);
                let slow = fault == Fault::Hang && wire != Wire::Dns && self.hung.contains(&wire);
                if times < 2 && !lost && !self.unnamed && !matches!(fault, Fault::Refuse | Fault::Hang) {
                    continue;
                }
                if !lost && !slow && !self.unnamed && !optional(wire, &kind) {
                    if self.t.names(&ALL, wire, reasons(wire, &fault, &kind)).is_err() {
                        // Not yet, or something else is in its way: then it will be met again.
                        continue;
                    }
                    self.hung.insert(wire);
                }
                if wire == Wire::Smtp && step == Step::Creation && !optional(wire, &kind) {
                    let zone = self.t.w.zone();
                    let mx = dns::contents(self.t.w.stack, &zone, &zone, "MX").await;
                    assert_eq!(mx, Vec::<String>::new(), "nobody has said that the addresses are taken (I7): {kind}");
                }
                self.t.nothing_went_without_proof().await;
                self.t.proxy(wire).open(&kind);
                self.verified.entry((step, wire)).or_default().insert(kind);
                opened = true;
            }
        }
        if opened {
            self.failed.extend(self.t.failed_operations().await);
        }
        opened
    }

    async fn create(&mut self, change: impl Fn(&str, &mut Value)) {
        self.begin(Step::Creation).await;
        self.t.apply(change).await;
        self.t.prove("main").await;
        self.until(Step::Creation, |t| Box::pin(async { t.unready() })).await;
        self.t.once().await;
    }

    async fn delete(&mut self) {
        self.begin(Step::Deletion).await;
        for (kind, name) in TENANT {
            self.t.w.k.delete(kind, name).await;
        }
        // The first of them wakes the others, whose passes may begin before they are deleted themselves and call what no
        // deletion calls: `TXT _mailtenant-challenge`, seen in CI. What failed until now is met again if it is needed.
        eventually("each pass is one of a deletion", secs(120), || async { self.t.all_seen_as_deleted() }).await;
        self.block(Step::Deletion);
        self.until(Step::Deletion, |t| {
            Box::pin(async {
                let left = t.objects();
                if left.is_empty() { Ok(()) } else { Err(left.iter().map(conditions).collect::<Vec<_>>().join("\n")) }
            })
        })
        .await;
        self.t.all_gone(secs(10)).await;
    }

    async fn sign_in(&self) -> bool {
        let (address, password) = (self.t.w.address("alice"), self.t.w.password("alice").await);
        mail::imap_login(self.t.w.stack, (&address, &password)).await
    }

    pub async fn made_changed_deleted(&mut self) {
        self.create(|_, _| {}).await;
        assert!(self.sign_in().await, "the Secret's password");
        // So that there are keys to take away at the next rotation.
        self.rotate("1").await;
        let w = &self.t.w;
        let (zone, ns) = (w.zone(), w.ns.clone());
        self.begin(Step::Change).await;
        let w = &self.t.w;
        w.retired_long_ago(&[]).await;
        let spec = json!({"displayName": "Changed", "suspend": "Login", "quota": "5Mi",
            "forwarding": {"to": ["far@away.example"], "keepCopy": true}});
        w.k.patch("MailInstance", "acme", json!({"spec": {"storage": "20Gi"}})).await;
        w.k.patch(
            "Mailbox",
            "alice",
            json!({"spec": spec, "metadata": {"annotations": {"mailtenant.dev/rotate-password": "1"}}}),
        )
        .await;
        w.k.patch("MailAlias", "info", json!({"spec": {"sendAs": false}})).await;
        let spec = json!({"dns": {"dmarc": {"policy": "Reject"}}});
        w.k.patch(
            "MailDomain",
            "main",
            json!({"spec": spec, "metadata": {"annotations": {"mailtenant.dev/rotate-dkim": "2"}}}),
        )
        .await;
        self.until(Step::Change, |t| {
            Box::pin(async {
                t.unready()?;
                // Until the keys of before are seen to be gone: a pass can have put back what it knew.
                t.w.retired_long_ago(&[]).await;
                let domain = t.w.k.get("MailDomain", "main").await.ok_or("gone")?;
                let mailbox = t.w.k.get("Mailbox", "alice").await.ok_or("gone")?;
                let rotated =
                    [&domain["status"]["lastHandledRotateDkim"], &mailbox["status"]["lastHandledRotatePassword"]];
                let keys = domain["status"]["dkim"].as_array().map_or(0, Vec::len);
                // One object: without the old keys, and Ready of it.
                let done = rotated == [&json!("2"), &json!("1")] && keys == 2 && is_ready(&domain);
                if done { Ok(()) } else { Err(format!("{rotated:?}, {keys} keys")) }
            })
        })
        .await;
        self.t.once().await;
        let w = &self.t.w;
        let row = w.sql.row("mailbox", &format!("username = 'alice@{zone}'")).await.expect("there");
        assert_eq!(
            (&row["name"], &row["login_enabled"], &row["quota"]),
            (&json!("Changed"), &json!(false), &json!(5 << 20))
        );
        let tenant = w.sql.row("tenant", &format!("origin = '{ns}/acme'")).await.expect("there");
        assert_eq!(tenant["quota"], json!(20u64 << 30));
        let dmarc = dns::contents(w.stack, &zone, &format!("_dmarc.{zone}"), "TXT").await;
        assert!(dmarc.iter().any(|t| t.contains("p=reject")), "{dmarc:?}");
        assert!(!self.sign_in().await, "suspended");
        w.k.patch("Mailbox", "alice", json!({"spec": {"suspend": "None"}})).await;
        w.k.ready("Mailbox", "alice", secs(60)).await;
        assert!(self.sign_in().await, "the new password");
        self.delete().await;
        let w = &self.t.w;
        assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
    }

    async fn rotate(&self, n: &str) {
        let w = &self.t.w;
        w.k.annotate("MailDomain", "main", "mailtenant.dev/rotate-dkim", n).await;
        eventually("new keys sign", secs(120), || async {
            let domain = w.k.get("MailDomain", "main").await.ok_or("gone")?;
            let keys = domain["status"]["dkim"].as_array().cloned().unwrap_or_default();
            let active = keys.iter().filter(|k| k["state"] == "Active").count();
            let handled = domain["status"]["lastHandledRotateDkim"] == n;
            if handled && active == 2 && keys.len() == 4 { Ok(()) } else { Err(format!("{keys:?}")) }
        })
        .await;
    }

    /// What is retained stays at the backend, switched off and nobody's. The domain stays too, and on: somebody else has a
    /// mailbox in it.
    pub async fn retained(&mut self) {
        self.create(|kind, spec| {
            if kind != "MailInstance" {
                spec["deletionPolicy"] = json!("Retain");
            }
        })
        .await;
        let (w, zone) = (&self.t.w, self.t.w.zone());
        w.sql
            .run(&format!(
                "INSERT INTO mailbox (username, password, name, quota, local_part, domain) VALUES ('guest@{zone}', '!', 'guest', 0, 'guest', '{zone}')"
            ))
            .await;
        self.delete().await;
        let w = &self.t.w;
        for (table, which, on) in [
            ("domain", format!("domain = '{zone}'"), true),
            ("mailbox", format!("username = 'alice@{zone}'"), false),
            ("alias", format!("address = 'info@{zone}'"), false),
        ] {
            let row = w.sql.row(table, &which).await.unwrap_or_else(|| panic!("{table} is retained"));
            assert_eq!((&row["owner"], &row["active"]), (&Value::Null, &json!(on)), "{table}");
        }
        w.sql.run(&format!("DELETE FROM mailbox WHERE username = 'guest@{zone}'")).await;
    }

    /// What nobody owns is taken over, and is destroyed with its new owner.
    pub async fn adopted(&mut self) {
        self.create(|_, spec| spec["adoptionPolicy"] = json!("IfUnowned")).await;
        for (kind, name) in TENANT {
            let object = self.t.w.k.get(kind, name).await.expect("there");
            assert_eq!(object["status"]["ownership"], "Adopted", "{kind}/{name}");
        }
        self.delete().await;
        let (w, zone) = (&self.t.w, self.t.w.zone());
        assert_eq!(w.sql.snapshot(&format!("%{zone}%")).await, Vec::<String>::new());
    }

    /// Tables are made in an empty database, a step at a time: one that fails is tried again in the same pass or in the
    /// next, and what is not needed to serve mail holds nothing up.
    pub async fn migrated(&mut self) {
        self.unnamed = true;
        let w = &self.t.w;
        let (database, name) = (w.ns.replace('-', "_"), format!("{}-new", w.ns));
        w.sql.run(&format!("CREATE DATABASE {database} OWNER mailtenant")).await;
        self.begin(Step::Creation).await;
        let w = &self.t.w;
        let mut backend = groupware_backend(w.stack, &name, json!({"from": "All"}));
        let sql = &mut backend["spec"]["sogo"]["database"];
        (sql["port"], sql["name"]) = (json!(self.t.proxy(Wire::Sql).port), json!(database));
        w.k.apply(backend).await;
        self.until(Step::Creation, |t| {
            Box::pin(async {
                let object = t.w.k.get("GroupwareBackend", &format!("{}-new", t.w.ns)).await.ok_or("gone")?;
                let all = condition_of(&object, "SchemaUpToDate").is_some_and(|c| c["status"] == "True");
                if is_ready(&object) && all { Ok(()) } else { Err(conditions(&object)) }
            })
        })
        .await;
        self.unnamed = false;
        self.t.w.k.delete("GroupwareBackend", &name).await;
    }
}
