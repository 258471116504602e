//! What the work costs without anything that thinks: for each Mailbox that is applied the same writes as ours, made by the
//! same client and the same two functions, as many at a time, as soon as the object is there. No watch, no cache, no
//! backend, no order. An operator that were as fast could do nothing but write.

use super::harness::kubectl::{Kubectl, is_not_found};
use super::harness::stack::Stack;
use super::measure::processor_of_each;
use super::observer::Observer;
use super::{CONCURRENCY, load};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use mailtenant_api::mailbox::MailboxStatus;
use mailtenant_api::*;
use mailtenant_controllers::kinds::mailbox::facts::client_settings;
use mailtenant_controllers::kinds::mailbox::secret::data;
use mailtenant_groupware::Address;
use mailtenant_runtime::metrics::Metrics;
use mailtenant_runtime::{finalizer, requests, status};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One run of the floor program.
#[derive(Debug, Clone)]
pub struct Floor {
    /// From the first apply until the observer has seen all of them ready.
    pub took: Duration,
    /// Processor seconds of all servers and of this program.
    pub processor: f64,
    /// The same by server, those that used any.
    pub each: Vec<(String, f64)>,
}

impl Floor {
    /// Applies `n` mailboxes in a namespace of their own and writes finalizer and status of each, with `secret` also the
    /// credentials Secret. Takes everything away again. The operator must not run.
    pub async fn run(stack: &Stack, namespace: &str, n: usize, secret: bool, backend: &Value) -> Floor {
        let k = Kubectl::admin(stack, namespace).await;
        k.apply(json!({"kind": "Namespace", "metadata": {"name": namespace}})).await;
        let backend: GroupwareBackend =
            serde_json::from_value(backend_of(backend)).expect("a GroupwareBackend as it was applied");
        let client = client(stack).await;
        let mailboxes: Api<Mailbox> = Api::namespaced(client.clone(), namespace);
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let observer = Observer::start(&k, n).await;
        let (tell, applied) = futures::channel::mpsc::unbounded::<Mailbox>();
        let before = processor_of_each(stack);
        let start = Instant::now();
        let apply = futures::stream::iter(0..n).for_each_concurrent(CONCURRENCY, |i| {
            let (k, tell) = (&k, tell.clone());
            async move {
                let made = k.apply(load::mailbox(i, n)).await;
                let made: Mailbox = made.try_parse().expect("a Mailbox");
                tell.unbounded_send(made).expect("the writers are there");
            }
        });
        let apply = async {
            apply.await;
            tell.close_channel();
        };
        let write = applied.for_each_concurrent(CONCURRENCY, |mailbox| {
            let (mailboxes, secrets, backend) = (&mailboxes, &secrets, &backend);
            async move {
                let mailbox = finalizer::add(mailboxes, &mailbox, FINALIZER, FIELD_MANAGER).await;
                let mailbox = mailbox.expect("the finalizer is put on").expect("it was not there");
                let address = Address::from_server(format!("{}@{}", mailbox.spec.local_part, load::zone(0)));
                if secret {
                    let made = secrets.create(&PostParams::default(), &credentials(&mailbox, backend, &address)).await;
                    made.expect("the Secret is made");
                }
                let status = ready(&mailbox, backend, &address);
                status::apply(mailboxes, &mailbox, &status, FIELD_MANAGER).await.expect("the status is written");
            }
        });
        let (_, _, end) = futures::join!(apply, write, observer.all_ready(super::secs(60 + n as u64 / 5)));
        let after = processor_of_each(stack).into_iter().zip(before);
        let each: Vec<_> =
            after.map(|((name, a), (_, b))| (name, a - b)).filter(|(_, used)| *used > n as f64 / 1e5).collect();
        let floor = Floor { took: end.duration_since(start), processor: each.iter().map(|(_, used)| used).sum(), each };
        clear(&k).await;
        floor
    }
}

/// The operator's own client: the same limits, the same counting.
async fn client(stack: &Stack) -> Client {
    let read = Kubeconfig::read_from(stack.get("STACK_OPERATOR_KUBECONFIG")).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("a kubeconfig");
    requests::client(config, &requests::RequestLayer::new(Metrics::new("floor"))).expect("a client")
}

fn backend_of(manifest: &Value) -> Value {
    let mut all = manifest.clone();
    all["apiVersion"] = json!(API_VERSION);
    all
}

fn credentials(mailbox: &Mailbox, backend: &GroupwareBackend, address: &Address) -> Secret {
    let mut all = data(&client_settings(backend, address, mailbox.spec.access));
    all.insert("password".into(), "0123456789abcdefghijklmnopqrstuv".into());
    serde_json::from_value(json!({
        "metadata": {"name": format!("{}-mail", mailbox.name_any()),
            "annotations": {"mailtenant.dev/settings": "0123456789abcdef"},
            "ownerReferences": [{"apiVersion": API_VERSION, "kind": "Mailbox", "name": mailbox.name_any(),
                "uid": mailbox.uid(), "controller": true, "blockOwnerDeletion": false}]},
        "type": CREDENTIALS_TYPE, "stringData": all
    }))
    .expect("a Secret")
}

fn ready(mailbox: &Mailbox, backend: &GroupwareBackend, address: &Address) -> MailboxStatus {
    let generation = mailbox.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&[], generation, jiff::Timestamp::now());
    conditions.ready(format!("{address} is as declared"));
    conditions.set(ConditionType::WithinQuota, true, Reason::Succeeded, "the quota is granted");
    MailboxStatus {
        observed_generation: Some(generation),
        address: Some(address.into()),
        backend_id: mailbox.uid(),
        ownership: Some(Ownership::Created),
        quota: Some(Quantity::from_bytes(10u64 << 20)),
        used_storage: Some(Quantity::from_bytes(0u64)),
        client_settings: Some(client_settings(backend, address, mailbox.spec.access)),
        conditions: conditions.into_vec(),
        ..MailboxStatus::default()
    }
}

/// Takes the finalizers off and the namespace away, so that the operator never sees these objects.
async fn clear(k: &Kubectl) {
    // As an administrator: the operator may not delete what tenants declare.
    let mailboxes = &Api::<Mailbox>::namespaced(k.client.clone(), &k.namespace);
    let all = mailboxes.list(&ListParams::default()).await.expect("a list");
    mailboxes.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("deletion is taken");
    futures::stream::iter(all.items)
        .for_each_concurrent(CONCURRENCY, |m| async move {
            let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            match mailboxes.patch_metadata(&m.name_any(), &PatchParams::default(), &none).await {
                Ok(_) => {}
                Err(e) if is_not_found(&e) => {}
                Err(e) => panic!("the finalizer of {} stays: {e}", m.name_any()),
            }
        })
        .await;
    k.delete("Namespace", &k.namespace).await;
    k.gone("Namespace", &k.namespace, super::secs(300)).await;
}
