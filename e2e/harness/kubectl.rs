//! Kubernetes as a user has it: manifests as JSON, applied by server-side apply, and conditions to wait for.

use super::{eventually, stack::Stack};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// The tenant kinds, in an order in which they can be made.
pub const TENANT_KINDS: [&str; 4] = ["MailInstance", "MailDomain", "Mailbox", "MailAlias"];
/// All kinds of the API.
pub const KINDS: [&str; 7] =
    ["GroupwareBackend", "DNSBackend", "MailInstance", "MailDomain", "Mailbox", "MailAlias", "MailDomainClaim"];

/// A client for a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a kubeconfig");
    config.read_timeout = Some(Duration::from_secs(60));
    Client::try_from(config).expect("a client")
}

/// How a kind is reached.
pub fn resource(kind: &str) -> (ApiResource, bool) {
    let (group, version, plural, namespaced) = match kind {
        "GroupwareBackend" => ("mailtenant.dev", "v1alpha1", "groupwarebackends", false),
        "DNSBackend" => ("mailtenant.dev", "v1alpha1", "dnsbackends", false),
        "MailDomainClaim" => ("mailtenant.dev", "v1alpha1", "maildomainclaims", false),
        "MailInstance" => ("mailtenant.dev", "v1alpha1", "mailinstances", true),
        "MailDomain" => ("mailtenant.dev", "v1alpha1", "maildomains", true),
        "Mailbox" => ("mailtenant.dev", "v1alpha1", "mailboxes", true),
        "MailAlias" => ("mailtenant.dev", "v1alpha1", "mailaliases", true),
        "Secret" => ("", "v1", "secrets", true),
        "ConfigMap" => ("", "v1", "configmaps", true),
        "ResourceQuota" => ("", "v1", "resourcequotas", true),
        "ValidatingWebhookConfiguration" => {
            ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", false)
        }
        "MutatingAdmissionPolicy" => ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", false),
        "MutatingAdmissionPolicyBinding" => {
            ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", false)
        }
        "Event" => ("events.k8s.io", "v1", "events", true),
        "Pod" => ("", "v1", "pods", true),
        "Node" => ("", "v1", "nodes", false),
        "Deployment" => ("apps", "v1", "deployments", true),
        "Lease" => ("coordination.k8s.io", "v1", "leases", true),
        "Namespace" => ("", "v1", "namespaces", false),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1", "customresourcedefinitions", false),
        other => panic!("the tests do not know the kind {other}"),
    };
    (ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural), namespaced)
}

/// A way to all kinds of one cluster, for one namespace.
#[derive(Clone)]
pub struct Kubectl {
    /// The client.
    pub client: Client,
    /// Namespace of namespaced kinds.
    pub namespace: String,
}

impl Kubectl {
    /// As cluster-admin.
    pub async fn admin(stack: &Stack, namespace: &str) -> Kubectl {
        Kubectl { client: client(Path::new(stack.get("STACK_KUBECONFIG"))).await, namespace: namespace.into() }
    }

    /// The same cluster, another namespace.
    pub fn within(&self, namespace: &str) -> Kubectl {
        Kubectl { client: self.client.clone(), namespace: namespace.into() }
    }

    /// The API of a kind.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        match resource(kind) {
            (r, true) => Api::namespaced_with(self.client.clone(), &self.namespace, &r),
            (r, false) => Api::all_with(self.client.clone(), &r),
        }
    }

    /// The API of a kind over all namespaces.
    pub fn everywhere(&self, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(kind).0)
    }

    /// `kubectl apply --server-side` of one manifest; `apiVersion` may be left out.
    pub async fn try_apply(&self, manifest: Value) -> kube::Result<DynamicObject> {
        let (kind, name, manifest) = complete(manifest);
        self.api(&kind).patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&manifest)).await
    }

    /// As [`Kubectl::try_apply`], of a manifest that must be taken.
    pub async fn apply(&self, manifest: Value) -> DynamicObject {
        let shown = format!("{}/{}", manifest["kind"], manifest["metadata"]["name"]);
        self.try_apply(manifest).await.unwrap_or_else(|e| panic!("apply {shown}: {e}"))
    }

    /// `kubectl create`: an object with `generateName`, or one that must not be there.
    pub async fn create(&self, manifest: Value) -> DynamicObject {
        let (kind, _, manifest) = complete(manifest);
        let object = serde_json::from_value(manifest).expect("a manifest");
        self.api(&kind).create(&PostParams::default(), &object).await.unwrap_or_else(|e| panic!("create {kind}: {e}"))
    }

    /// A JSON merge patch.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> DynamicObject {
        self.api(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap_or_else(|e| panic!("patch {kind}/{name}: {e}"))
    }

    /// Sets an annotation.
    pub async fn annotate(&self, kind: &str, name: &str, key: &str, value: &str) {
        self.patch(kind, name, json!({"metadata": {"annotations": {key: value}}})).await;
    }

    /// The object as JSON; `None` when the API says that it is not there.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.unwrap_or_else(|e| panic!("get {kind}/{name}: {e}"));
        found.map(|o| serde_json::to_value(o).expect("JSON"))
    }

    /// All objects of a kind in the namespace.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let list = self.api(kind).list(&ListParams::default()).await.unwrap_or_else(|e| panic!("list {kind}: {e}"));
        list.items.into_iter().map(|o| serde_json::to_value(o).expect("JSON")).collect()
    }

    /// Asks for deletion, and does not wait. One that is gone already is fine.
    pub async fn delete(&self, kind: &str, name: &str) {
        match self.api(kind).delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(e) if is_not_found(&e) => {}
            Err(e) => panic!("delete {kind}/{name}: {e}"),
        }
    }

    /// `kubectl delete KIND --all`, not waiting.
    pub async fn delete_all(&self, kind: &str) {
        let all = self.api(kind).delete_collection(&DeleteParams::default(), &ListParams::default()).await;
        all.unwrap_or_else(|e| panic!("delete --all {kind}: {e}"));
    }

    /// Waits until the object is gone.
    pub async fn gone(&self, kind: &str, name: &str, limit: Duration) {
        eventually(&format!("{kind}/{name} is gone"), limit, || async {
            match self.get(kind, name).await {
                None => Ok(()),
                Some(o) => Err(conditions(&o)),
            }
        })
        .await
    }

    /// Waits for a condition of the object's current generation; gives the whole object.
    pub async fn condition(&self, kind: &str, name: &str, type_: &str, want: (&str, &str), limit: Duration) -> Value {
        eventually(&format!("{kind}/{name}: {type_}={}/{}", want.0, want.1), limit, || async {
            let Some(object) = self.get(kind, name).await else { return Err("it is not there".to_string()) };
            let (status, reason) = want;
            match condition_of(&object, type_) {
                Some(c)
                    if c["status"] == status && (reason.is_empty() || c["reason"] == reason) && is_current(&object) =>
                {
                    Ok(object)
                }
                _ => Err(conditions(&object)),
            }
        })
        .await
    }

    /// Waits for `Ready=True` of the current generation; gives the whole object.
    ///
    /// A MailDomain is Ready too while it has no address yet. Where there is one, it is waited for until it knows of it:
    /// the domain's pass may have come between the two objects.
    pub async fn ready(&self, kind: &str, name: &str, limit: Duration) -> Value {
        let object = self.condition(kind, name, "Ready", ("True", ""), limit).await;
        if kind != "MailDomain" {
            return object;
        }
        eventually(&format!("{kind}/{name} is Ready with its addresses"), limit, || async {
            let object = self.condition(kind, name, "Ready", ("True", ""), limit).await;
            let mut addresses = self.list("Mailbox").await;
            addresses.extend(self.list("MailAlias").await);
            let has = addresses.iter().any(|a| a["spec"]["domainRef"]["name"] == name);
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let alone = conditions.iter().any(|c| c["type"] == "CutOver" && c["reason"] == "AwaitingFirstAddress");
            if has && alone { Err(conditions) } else { Ok(object) }
        })
        .await
    }

    /// Waits for `Ready=False` with this reason.
    pub async fn not_ready(&self, kind: &str, name: &str, reason: &str, limit: Duration) -> Value {
        self.condition(kind, name, "Ready", ("False", reason), limit).await
    }

    /// Waits for an Event about an object whose note has all these words; gives the note.
    pub async fn event(&self, kind: &str, name: &str, reason: &str, words: &[&str], limit: Duration) -> String {
        // Events of objects without a namespace live in `default`.
        let events = if resource(kind).1 { self.clone() } else { self.within("default") };
        eventually(&format!("an Event {reason} of {kind}/{name} with {words:?}"), limit, || async {
            let all = events.list("Event").await;
            let about = |e: &&Value| e["regarding"]["kind"] == kind && e["regarding"]["name"] == name;
            let notes: Vec<(String, String)> = all
                .iter()
                .filter(about)
                .map(|e| {
                    (e["reason"].as_str().unwrap_or_default().into(), e["note"].as_str().unwrap_or_default().into())
                })
                .collect();
            let fits = |(r, n): &&(String, String)| r == reason && words.iter().all(|w| n.contains(w));
            notes.iter().find(fits).map(|(_, n)| n.clone()).ok_or(notes)
        })
        .await
    }

    /// Waits for `DeletionBlocked` for this reason, in a condition that has all these words.
    pub async fn blocked(&self, kind: &str, name: &str, reason: &str, words: &[&str], limit: Duration) {
        self.says(kind, name, ("DeletionBlocked", "True", reason), words, limit).await;
    }

    /// Waits for a condition (type, status, reason) whose message has all these words; gives the whole object.
    pub async fn says(
        &self,
        kind: &str,
        name: &str,
        (type_, status, reason): (&str, &str, &str),
        words: &[&str],
        limit: Duration,
    ) -> Value {
        eventually(&format!("{kind}/{name} says {type_}={status}/{reason} {words:?}"), limit, || async {
            let Some(object) = self.get(kind, name).await else { return Err("it is not there".to_string()) };
            let said = condition_of(&object, type_).cloned().unwrap_or_default();
            let message = said["message"].as_str().unwrap_or_default();
            let is = said["status"] == status && said["reason"] == reason;
            if is && words.iter().all(|w| message.contains(w)) { Ok(object) } else { Err(conditions(&object)) }
        })
        .await
    }

    /// A key of a Secret, decoded.
    pub async fn secret(&self, name: &str, key: &str) -> Option<String> {
        use base64::Engine;
        let secret = self.get("Secret", name).await?;
        let raw = base64::engine::general_purpose::STANDARD.decode(secret["data"][key].as_str()?).ok()?;
        String::from_utf8(raw).ok()
    }

    /// All of a Secret, decoded; `None` when it is not there.
    pub async fn secret_data(&self, name: &str) -> Option<std::collections::BTreeMap<String, String>> {
        let secret = self.get("Secret", name).await?;
        let keys: Vec<String> = secret["data"].as_object().map(|d| d.keys().cloned().collect()).unwrap_or_default();
        let mut all = std::collections::BTreeMap::new();
        for key in keys {
            let value = self.secret(name, &key).await?;
            all.insert(key, value);
        }
        Some(all)
    }

    /// Makes or changes a Secret.
    pub async fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: serde_json::Map<_, _> = data.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        self.apply(json!({"kind": "Secret", "metadata": {"name": name}, "stringData": data})).await;
    }
}

fn complete(mut manifest: Value) -> (String, String, Value) {
    let kind = manifest["kind"].as_str().expect("a manifest has a kind").to_string();
    if manifest.get("apiVersion").is_none() {
        manifest["apiVersion"] = json!(resource(&kind).0.api_version);
    }
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_string();
    (kind, name, manifest)
}

/// Whether the API says that it is not there.
pub fn is_not_found(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(status) if status.code == 404)
}

/// One condition of an object.
pub fn condition_of<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == type_)
}

/// Whether the status speaks of the current spec.
pub fn is_current(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// Whether it says `Ready=True` of the current spec.
pub fn is_ready(object: &Value) -> bool {
    condition_of(object, "Ready").is_some_and(|c| c["status"] == "True") && is_current(object)
}

/// The conditions in one line, for a person.
pub fn conditions(object: &Value) -> String {
    let one = |c: &Value| {
        let text = |k: &str| c[k].as_str().unwrap_or_default().to_string();
        format!("{}={}/{}: {}", text("type"), text("status"), text("reason"), text("message"))
    };
    let list = object["status"]["conditions"].as_array().map(|l| l.iter().map(one).collect::<Vec<_>>().join("; "));
    format!(
        "generation {} observed {} deleting {}: {}",
        object["metadata"]["generation"],
        object["status"]["observedGeneration"],
        !object["metadata"]["deletionTimestamp"].is_null(),
        list.unwrap_or_default()
    )
}
