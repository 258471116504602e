//! A tenant whose servers are reached through proxies of its own.

use super::table::{WIRES, Wire};
use crate::harness::kubectl::{TENANT_KINDS, conditions, is_ready, resource};
use crate::harness::proxy::Proxy;
use crate::harness::world::{World, dns_backend, groupware_backend};
use crate::harness::{dns, eventually, secs};
use ::kube::api::{DynamicObject, Patch};
use ::kube::runtime::reflector::Store;
use ::kube::runtime::reflector::store::Writer;
use ::kube::runtime::{WatchStreamExt, watcher};
use futures::StreamExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;

pub struct Wired {
    pub w: World,
    proxies: BTreeMap<Wire, Proxy>,
    /// The tenant's objects and its backends, as a watch tells of them: they are looked at all the time.
    watched: Vec<(&'static str, Store<DynamicObject>)>,
    _watches: JoinSet<()>,
}

/// The tenant: kind, name.
pub const TENANT: [(&str, &str); 4] =
    [("MailInstance", "acme"), ("MailDomain", "main"), ("Mailbox", "alice"), ("MailAlias", "info")];

impl Wired {
    /// With backends of its own, registered and found good. `resolvers`: DNS is looked up at them, else at the
    /// provider's `dnsAddress`.
    pub async fn new(name: &str, resolvers: bool) -> Wired {
        let w = World::new(name).await;
        let s = w.stack;
        let dns_port = s.get("PDNS_DNS").rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        let upstream = |wire: Wire| match wire {
            Wire::Sql => s.port("PG"),
            Wire::Doveadm => s.port("DOVEADM"),
            Wire::Memcached => s.port("MEMCACHED"),
            Wire::PowerDns => s.dns_api_port(),
            Wire::Dns => dns_port,
            Wire::Smtp => s.port("SMTP"),
        };
        let proxies: BTreeMap<_, _> =
            WIRES.iter().map(|wire| (*wire, Proxy::start(s, wire.protocol(), upstream(*wire)))).collect();
        let port = |wire: Wire| proxies[&wire].port;
        let mut gwb = groupware_backend(s, &w.ns, json!({"from": "Names", "names": [w.ns]}));
        let sogo = &mut gwb["spec"]["sogo"];
        sogo["database"]["port"] = json!(port(Wire::Sql));
        sogo["doveadm"]["url"] = json!(format!("http://127.0.0.1:{}/doveadm/v1", port(Wire::Doveadm)));
        sogo["memcached"]["port"] = json!(port(Wire::Memcached));
        gwb["spec"]["delivery"]["port"] = json!(port(Wire::Smtp));
        // Whoever is in a hurry asks.
        gwb["spec"]["resync"]["interval"] = json!("1h");
        w.k.apply(gwb).await;
        let mut dnsb = dns_backend(s, &w.ns, &[&w.ns], &[w.zone()]);
        let address = format!("127.0.0.1:{}", port(Wire::Dns));
        let spec = &mut dnsb["spec"];
        spec["powerdns"]["url"] = json!(format!("http://127.0.0.1:{}", port(Wire::PowerDns)));
        spec["powerdns"]["dnsAddress"] = json!(if resolvers { "127.0.0.1:1" } else { &address });
        spec["resolvers"] = if resolvers { json!([address]) } else { json!([]) };
        // The proof is asked for over DNS.
        spec["requireProof"] = json!(true);
        w.k.apply(dnsb).await;
        // Both, as they are now: a pass that began with the servers as they were would not be broken.
        w.k.ready("GroupwareBackend", &w.ns, secs(60)).await;
        w.k.ready("DNSBackend", &w.ns, secs(60)).await;
        let (mut watched, mut watches) = (vec![], JoinSet::new());
        let new = format!("{}-new", w.ns);
        let tenant = TENANT_KINDS.map(|kind| (kind, None));
        let backends =
            [("GroupwareBackend", Some(&w.ns)), ("GroupwareBackend", Some(&new)), ("DNSBackend", Some(&w.ns))];
        for (kind, name) in tenant.into_iter().chain(backends) {
            let config = match name {
                Some(name) => watcher::Config::default().fields(&format!("metadata.name={name}")),
                None => watcher::Config::default(),
            };
            let writer = Writer::new(resource(kind).0);
            let store = writer.as_reader();
            let stream = watcher(w.k.api(kind), config).default_backoff().reflect(writer).touched_objects();
            watches.spawn(stream.for_each(|_| async {}));
            store.wait_until_ready().await.expect("a watch");
            watched.push((kind, store));
        }
        Wired { w, proxies, watched, _watches: watches }
    }

    pub fn proxy(&self, wire: Wire) -> &Proxy {
        &self.proxies[&wire]
    }

    /// What is declared; `change` has a hand in every object.
    pub async fn apply(&self, change: impl Fn(&str, &mut Value)) {
        let w = &self.w;
        let mut instance = w.instance("acme");
        instance["spec"]["backendRef"]["name"] = json!(w.ns);
        let objects = [
            instance,
            w.domain("main", "acme", &w.zone()),
            w.mailbox("alice", "main"),
            w.alias("info", "main", "info", &["alice"]),
        ];
        for mut object in objects {
            // A dozen records more of one kind, each of which would be broken in turn: they show nothing new.
            if object["kind"] == "MailDomain" {
                object["spec"]["dns"]["clientDiscovery"] = json!(false);
            }
            let kind = object["kind"].as_str().unwrap_or_default().to_string();
            change(&kind, &mut object["spec"]);
            w.k.apply(object).await;
        }
    }

    /// Puts the challenge of a domain into the zone, as a tenant does.
    pub async fn prove(&self, domain: &str) {
        let zone = self.w.zone();
        let challenge = eventually("the domain says its challenge", secs(120), || async {
            let domain = self.w.k.get("MailDomain", domain).await.ok_or("gone")?;
            let part = |key: &str| domain["status"]["challenge"][key].as_str().map(str::to_string);
            part("name").zip(part("value")).ok_or("not yet")
        })
        .await;
        dns::put(self.w.stack, &zone, &challenge.0, "TXT", 1, &[&format!("\"{}\"", challenge.1)]).await;
    }

    fn seen(&self, which: impl Fn(&str) -> bool) -> Vec<Value> {
        let value = |(kind, o): (&str, std::sync::Arc<DynamicObject>)| {
            let mut object = serde_json::to_value(o.as_ref()).expect("JSON");
            object["kind"] = json!(kind);
            object
        };
        let stores = self.watched.iter().filter(|(kind, _)| which(kind));
        stores.flat_map(|(kind, store)| store.state().into_iter().map(move |o| value((kind, o)))).collect()
    }

    /// All that is there of the tenant.
    pub fn objects(&self) -> Vec<Value> {
        self.seen(|kind| TENANT_KINDS.contains(&kind))
    }

    /// Retries grow: a test that waited for each would take minutes. A user in a hurry asks as well, of what is not ready,
    /// or of everything.
    pub async fn hurry(&self) {
        let all = self.seen(|_| true);
        let waits = |o: &&Value| !is_ready(o) || !o["metadata"]["deletionTimestamp"].is_null();
        let mut asked: Vec<&Value> = all.iter().filter(waits).collect();
        if asked.is_empty() {
            asked = all.iter().collect();
        }
        let asks = json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": fastrand::u64(..).to_string()}}});
        let patches = asked.iter().map(|o| {
            let [kind, name] = [&o["kind"], &o["metadata"]["name"]].map(|v| v.as_str().unwrap_or_default());
            let (api, asks) = (self.w.k.api(kind), &asks);
            async move {
                // It may have gone meanwhile.
                let _ = api.patch(name, &Default::default(), &Patch::Merge(asks)).await;
            }
        });
        futures::future::join_all(patches).await;
    }

    /// Every object gets a pass, and the backends are looked at.
    pub async fn hurry_all(&self) {
        let asks = json!({"metadata": {"annotations": {"mailtenant.dev/reconcile-requested-at": fastrand::u64(..).to_string()}}});
        for o in self.seen(|_| true) {
            let [kind, name] = [&o["kind"], &o["metadata"]["name"]].map(|v| v.as_str().unwrap_or_default());
            let _ = self.w.k.api(kind).patch(name, &Default::default(), &Patch::Merge(&asks)).await;
        }
    }

    /// Waits until every wish for a pass is answered, and nothing is asked of any server.
    pub async fn quiet(&self) {
        let calls = || self.proxies.values().map(|p| p.calls().len()).sum::<usize>();
        let wish = |o: &Value| o["metadata"]["annotations"]["mailtenant.dev/reconcile-requested-at"].clone();
        eventually("nothing is asked", secs(60), || async {
            let before = calls();
            tokio::time::sleep(Duration::from_millis(200)).await;
            let open: Vec<_> =
                self.seen(|_| true).into_iter().filter(|o| wish(o) != o["status"]["lastHandledReconcileAt"]).collect();
            if calls() == before && open.is_empty() { Ok(()) } else { Err((before, calls(), open)) }
        })
        .await;
    }

    /// Whether an object of these kinds says what is wrong with a wire; else what they say.
    pub fn names(&self, kinds: &[&str], wire: Wire, reasons: &[&str]) -> Result<(), String> {
        let all = self.seen(|_| true);
        let says = |object: &Value| {
            let own = wire == Wire::PowerDns && object["kind"] == "DNSBackend";
            object["status"]["conditions"].as_array().into_iter().flatten().any(|c| {
                let message = c["message"].as_str().unwrap_or_default();
                reasons.iter().any(|r| c["reason"] == *r) && (own || message.contains(wire.word()))
            })
        };
        let seen: Vec<_> = all.iter().filter(|o| kinds.iter().any(|k| o["kind"] == *k)).collect();
        if seen.iter().any(|o| says(o)) {
            return Ok(());
        }
        Err(seen.iter().map(|o| format!("{} {}", o["kind"], conditions(o))).collect::<Vec<_>>().join("\n"))
    }

    /// Waits until one does.
    pub async fn named(&self, kinds: &[&str], wire: Wire, reasons: &[&str]) {
        eventually(&format!("{wire:?} is named as {reasons:?}"), secs(90), || async {
            self.names(kinds, wire, reasons)
        })
        .await;
    }

    /// What of an object is at the backends and owned; empty: nothing.
    async fn owned(&self, kind: &str, name: &str) -> Vec<String> {
        let (w, zone) = (&self.w, self.w.zone());
        let (table, which) = match kind {
            "MailInstance" => ("tenant", format!("origin = '{}/{name}'", w.ns)),
            "MailDomain" => ("domain", format!("domain = '{zone}'")),
            "Mailbox" => ("mailbox", format!("username = '{name}@{zone}'")),
            _ => ("alias", format!("address = '{name}@{zone}'")),
        };
        let mut left: Vec<String> =
            w.sql.column(&format!("SELECT '{table}' FROM {table} WHERE {which} AND owner IS NOT NULL")).await;
        if kind == "MailDomain" {
            let all = dns::snapshot(w.stack, &zone).await;
            let ours = |v: &String| {
                ["mx1.mail.example.net", "_spf.mail.example.net", "v=DKIM1", "v=DMARC1"].iter().any(|t| v.contains(t))
            };
            left.extend(all.into_iter().filter(|(_, (_, v))| v.iter().any(ours)).map(|(k, _)| format!("{k:?}")));
        }
        left
    }

    /// Whoever is here has the finalizer, and of whoever is not nothing is left that would be ours.
    pub async fn nothing_went_without_proof(&self) {
        let there = self.objects();
        for (kind, name) in TENANT {
            match there.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name) {
                Some(o) => {
                    let deleting = !o["metadata"]["deletionTimestamp"].is_null();
                    let finalizers = o["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                    let kept = finalizers.contains(&json!("mailtenant.dev/finalizer"));
                    assert!(kept || !deleting, "{kind}/{name}: {finalizers:?}");
                }
                None => {
                    let left = self.owned(kind, name).await;
                    // It may have been made meanwhile.
                    if !left.is_empty() && self.w.k.get(kind, name).await.is_none() {
                        panic!("{kind}/{name} is gone, and there are still {left:?}");
                    }
                }
            }
        }
    }

    /// Every object that is left is being deleted, and a pass that knew it has ended: nothing else has a pass any more.
    pub fn all_seen_as_deleted(&self) -> Result<(), String> {
        let seen = |o: &Value| {
            let (meta, status) = (&o["metadata"], &o["status"]);
            !meta["deletionTimestamp"].is_null() && status["observedGeneration"] == meta["generation"]
        };
        match self.objects().iter().find(|o| !seen(o)) {
            Some(o) => Err(format!("{} {}", o["kind"], conditions(o))),
            None => Ok(()),
        }
    }

    /// Waits until all of the tenant is ready.
    pub async fn all_ready(&self) {
        for (kind, name) in TENANT {
            self.w.k.ready(kind, name, secs(180)).await;
        }
    }

    /// What is not ready.
    pub fn unready(&self) -> Result<(), String> {
        let there = self.objects();
        for (kind, name) in TENANT {
            let object = there.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name);
            match object {
                Some(o) if is_ready(o) => {}
                Some(o) => return Err(format!("{kind}/{name}: {}", conditions(o))),
                None => return Err(format!("{kind}/{name} is not there")),
            }
        }
        Ok(())
    }

    /// Waits until nothing is left, here or there. Asks again and again: retries have become rare by now, and one that is
    /// refused once more (see `harness::dns`) would be waited for in vain.
    pub async fn all_gone(&self, limit: Duration) {
        eventually("all is gone", limit, || async {
            let left = self.objects();
            if left.is_empty() {
                return Ok(());
            }
            self.hurry().await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Err(left.iter().map(conditions).collect::<Vec<_>>())
        })
        .await;
        for (kind, name) in TENANT {
            assert_eq!(self.owned(kind, name).await, Vec::<String>::new(), "{kind}/{name}");
        }
    }

    /// Nothing was made twice.
    pub async fn once(&self) {
        let (w, zone) = (&self.w, self.w.zone());
        for (table, condition) in [
            ("tenant", format!("origin = '{}/acme'", w.ns)),
            ("domain", format!("domain = '{zone}'")),
            ("mailbox", format!("domain = '{zone}' AND owner IS NOT NULL")),
            ("alias", format!("address = 'info@{zone}'")),
        ] {
            assert_eq!(w.sql.one(&format!("SELECT count(*) FROM {table} WHERE {condition}")).await, "1", "{table}");
        }
        let selectors =
            w.sql.column(&format!("SELECT selector FROM dkim WHERE domain_name = '{zone}' ORDER BY 1")).await;
        let domain = w.k.get("MailDomain", "main").await.expect("there");
        let mut keys: Vec<_> = domain["status"]["dkim"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|k| k["selector"].as_str().unwrap_or_default().to_string())
            .collect();
        keys.sort();
        assert_eq!(selectors, keys, "keys at the signer, and in the status");
        let now = dns::snapshot(w.stack, &zone).await;
        let each_once = |c: &Vec<String>| c.iter().collect::<BTreeSet<_>>().len() == c.len();
        assert!(now.values().all(|(_, c)| each_once(c)), "{now:?}");
        let spf = now[&(format!("{zone}."), "TXT".to_string())].1.iter().filter(|t| t.contains("v=spf1")).count();
        assert_eq!(spf, 1);
        assert_eq!(now[&(format!("{zone}."), "MX".to_string())].1, ["10 mx1.mail.example.net."]);
    }

    /// Operations on the backends of this tenant that failed, as the operator counts them.
    pub async fn failed_operations(&self) -> BTreeSet<String> {
        let Ok((_, text)) = self.w.platform.operator.page("/metrics").await else { return BTreeSet::new() };
        let backend = format!("backend=\"{}\"", self.w.ns);
        let lines = text.lines().filter(|l| {
            l.starts_with("mailtenant_backend_requests_total{")
                && l.contains(&backend)
                && ["unavailable", "unauthorized"].iter().any(|o| l.contains(&format!("outcome=\"{o}\"")))
        });
        lines.filter_map(|l| l.split("operation=\"").nth(1)?.split('"').next().map(str::to_string)).collect()
    }
}
