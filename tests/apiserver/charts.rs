//! `charts/` and the bases of `config/`: what they make is accepted, and is the same.

use crate::tools::{helm, kubectl, kustomize, objects, own_cluster, template};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const CHART: &str = "charts/mailtenant";
const CRDS: &str = "charts/mailtenant-crds";
const EVERYTHING: &[&str] = &[
    "monitoring.serviceMonitor.enabled=true",
    "monitoring.prometheusRule.enabled=true",
    "monitoring.prometheusRule.runbookBase=https://docs.example.com/",
    "monitoring.dashboard.enabled=true",
    "monitoring.dashboard.labels.folder=mail",
    "admission.finalizer=true",
    "admission.helpdesk=true",
    "networkPolicy.enabled=true",
    "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
    "networkPolicy.egress[0].ports[0].port=443",
    "wellknown.enabled=true",
    "wellknown.service.annotations.a=b",
    "wellknown.documentsFrom[0].namespaceSelector.matchLabels.name=ingress",
    "imagePullSecrets[0].name=registry",
    "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "serviceAccount.annotations.a=b",
    "service.annotations.a=b",
    "podAnnotations.a=b",
    "podLabels.a=b",
    "priorityClassName=system-cluster-critical",
    "nodeSelector.disk=ssd",
    "tolerations[0].operator=Exists",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].key=metadata.name",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].operator=In",
    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchFields[0].values[0]=n",
    "extraEnv[0].name=SSL_CERT_FILE",
    "extraEnv[0].value=/ca/ca.crt",
    "extraVolumes[0].name=ca",
    "extraVolumes[0].configMap.name=ca",
    "extraVolumeMounts[0].name=ca",
    "extraVolumeMounts[0].mountPath=/ca",
];

#[test]
fn the_charts_are_linted() {
    for (chart, set) in [(CRDS, &[][..]), (CHART, &[]), (CHART, EVERYTHING)] {
        let set = set.iter().flat_map(|value| ["--set", *value]);
        let arguments: Vec<&str> = ["lint", "--strict", chart].into_iter().chain(set).collect();
        let output = helm(&arguments);
        assert!(output.status.success(), "{chart}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn values_that_are_wrong_are_refused() {
    for (value, named) in [
        ("replicaCount=0", "replicaCount"),
        ("replicaCount=two", "replicaCount"),
        ("replicas=3", "replicas"),
        ("image.registry=example.com", "registry"),
        ("image.repository=Example.com/x y", "repository"),
        ("image.digest=sha256:12", "digest"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("log.format=xml", "format"),
        ("log.level=", "level"),
        ("resolvers[0]=ns1.example.net:53\\,ns2.example.net:53", "resolvers"),
        ("rbac.create=please", "create"),
        ("rbac.tenantNamespaces[0]=a", "tenantNamespaces"),
        ("admission.webhook=true", "webhook"),
        ("podLabels.a=1", "podLabels"),
        ("extraEnv[0].name=LEADER_ELECT", "extraEnv"),
        ("monitoring.serviceMonitor.interval=often", "interval"),
        ("monitoring.prometheusRule.runbookBase=docs", "runbookBase"),
        ("monitoring.dashboard.enabled=yes", "dashboard"),
        ("networkPolicy.egress=all", "egress"),
        ("service.port=0", "port"),
        ("wellknown.replicaCount=0", "replicaCount"),
        ("wellknown.ingress=true", "ingress"),
        ("monitoring.serviceMonitor.enabled=true,service.enabled=false", "service"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ] {
        let output = helm(&["template", "mailtenant", CHART, "--set", value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(named), "{value}: {said}");
    }
    let output = helm(&["template", "mailtenant-crds", CRDS, "--set", "keep=false"]);
    assert!(!output.status.success(), "the chart of the CRDs takes a value");
}

/// What is not built in, only as strict as these tests need it: kinds of the Prometheus operator.
fn of_the_prometheus_operator(kind: &str, plural: &str, spec: Value) -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

fn prometheus_operator() -> [Value; 2] {
    let text = json!({"type": "string"});
    let words = json!({"type": "object", "additionalProperties": text});
    let rule = json!({
        "type": "object", "required": ["alert", "expr", "labels", "annotations"],
        "properties": {"alert": text, "expr": text, "for": text, "labels": words, "annotations": words},
    });
    let rules = json!({"type": "array", "minItems": 1, "items": rule});
    let group = json!({"type": "object", "required": ["name", "rules"], "properties": {"name": text, "rules": rules}});
    let groups = json!({"type": "array", "minItems": 1, "items": group});
    let endpoint = json!({"type": "object", "properties": {"port": text, "path": text, "interval": text}});
    let selector = json!({"type": "object", "required": ["matchLabels"], "properties": {"matchLabels": words}});
    let monitor = json!({
        "type": "object", "required": ["endpoints", "selector"],
        "properties": {"endpoints": {"type": "array", "minItems": 1, "items": endpoint}, "selector": selector},
    });
    [
        of_the_prometheus_operator(
            "PrometheusRule",
            "prometheusrules",
            json!({"type": "object", "required": ["groups"], "properties": {"groups": groups}}),
        ),
        of_the_prometheus_operator("ServiceMonitor", "servicemonitors", monitor),
    ]
}

/// Server-side apply as a dry run, with unknown fields refused. Warnings count too: Pod Security writes them.
async fn accepted(kubeconfig: &std::path::Path, what: &str, yaml: &str) {
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let mut said = String::new();
    // A CRD that was made a moment ago is not in every answer of discovery yet.
    for _ in 0..50 {
        let output = kubectl(Some(kubeconfig), &arguments, yaml);
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains("no matches for kind") {
            assert!(output.status.success() && !said.contains("Warning"), "{what}: {said}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("{what}: {said}");
}

#[tokio::test]
async fn every_rendering_is_accepted() {
    let cluster = own_cluster().await;
    let kubeconfig = &cluster.kubeconfig;
    // A namespace whose name is a number for YAML.
    let namespaces = ["1234", "restricted"].map(|name| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted"}}})
    });
    for object in prometheus_operator().iter().chain(&namespaces) {
        let made = kubectl(Some(kubeconfig), &["apply", "--server-side", "-f", "-"], &object.to_string());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let one = ["replicaCount=1", "service.enabled=false", "podDisruptionBudget.enabled=false", "rbac.aggregate=false"];
    let bare = ["rbac.create=false", "rbac.people=false", "serviceAccount.create=false", "serviceAccount.name=default"];
    let openshift = ["podSecurityContext.runAsUser=null", "podSecurityContext.runAsGroup=null"];
    let open = ["networkPolicy.enabled=true", "monitoring.serviceMonitor.enabled=true"];
    let served = ["wellknown.enabled=true", "networkPolicy.enabled=true", "rbac.create=false"];
    let closed =
        ["networkPolicy.enabled=true", "podDisruptionBudget.maxUnavailable=50%", "log.level=info\\,kube=debug"];
    for set in [&[][..], &one, &bare, &openshift, &open, &served, &closed, EVERYTHING] {
        // `y` is a boolean for YAML 1.1.
        for (release, namespace) in [("mailtenant", "restricted"), ("y", "1234")] {
            let what = format!("{release} in {namespace} with {set:?}");
            accepted(kubeconfig, &what, &template(release, namespace, CHART, set)).await;
        }
    }
    // As long as Helm lets it be. What is put behind it must not make names too long.
    let long = "a-release-whose-name-is-as-long-as-helm-allows-abcdef";
    assert_eq!(long.len(), 53);
    accepted(kubeconfig, long, &template(long, "restricted", CHART, EVERYTHING)).await;
    for (what, yaml) in [
        (CRDS, template("mailtenant-crds", "restricted", CRDS, &[])),
        ("config/crd", kustomize("config/crd")),
        ("config/admission", kustomize("config/admission")),
    ] {
        accepted(kubeconfig, what, &yaml).await;
    }
}

/// Labels that say how an object came to the cluster.
const OF_THE_WAY: &[&str] =
    &["helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "app.kubernetes.io/instance"];

/// Kustomize writes 1.0 as 1.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0) {
                *value = serde_json::from_str(&format!("{whole:.0}")).unwrap();
            }
        }
        Value::Array(all) => all.iter_mut().for_each(whole_numbers),
        Value::Object(all) => all.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// The objects, without what may differ: labels of the way, and the word for Helm to keep CRDs.
fn bare(yaml: &str) -> BTreeMap<String, Value> {
    let mut all = objects(yaml);
    for object in all.values_mut() {
        whole_numbers(object);
        let metadata = object["metadata"].as_object_mut().unwrap();
        for (field, names) in [("labels", OF_THE_WAY), ("annotations", &["helm.sh/resource-policy"][..])] {
            if let Some(words) = metadata.get_mut(field).and_then(Value::as_object_mut) {
                words.retain(|name, _| !names.contains(&name.as_str()));
                if words.is_empty() {
                    metadata.remove(field);
                }
            }
        }
    }
    all
}

fn same(what: &str, helm: &BTreeMap<String, Value>, kustomize: &BTreeMap<String, Value>) {
    let keys = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(helm), keys(kustomize), "{what}: objects of the chart (left) and of kustomize (right)");
    let mut others = vec![];
    for (key, of_helm) in helm {
        differences(key, Some(of_helm), Some(&kustomize[key]), &mut others);
    }
    assert!(others.is_empty(), "{what}: the chart and kustomize differ: {others:#?}");
}

/// Where two values differ, as paths: an object of thousands of lines tells nobody.
fn differences(path: &str, one: Option<&Value>, other: Option<&Value>, all: &mut Vec<String>) {
    match (one, other) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names.into_iter().for_each(|name| differences(&format!("{path}/{name}"), a.get(name), b.get(name), all));
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            let length = a.len().max(b.len());
            (0..length).for_each(|at| differences(&format!("{path}/{at}"), a.get(at), b.get(at), all));
        }
        _ if one == other => {}
        _ => all.push(format!("{path}: {one:?}, {other:?}")),
    }
}

#[test]
fn charts_and_kustomize_make_the_same() {
    let system = "mailtenant-system";
    let chart = |set: &[&str]| bare(&template("mailtenant", system, CHART, set));
    let crds = bare(&template("mailtenant-crds", system, CRDS, &[]));
    let standard = chart(&[]);
    let mut by_helm = standard.clone();
    by_helm.extend(crds);
    let mut by_kustomize = bare(&kustomize("config/default"));
    // `helm --create-namespace` makes it, without labels.
    assert!(by_kustomize.remove(&format!("Namespace - {system}")).is_some());
    same("config/default", &by_helm, &by_kustomize);
    let more = |set: &[&str]| -> BTreeMap<String, Value> {
        chart(set).into_iter().filter(|(key, _)| !standard.contains_key(key)).collect()
    };
    let monitoring = more(&["monitoring.serviceMonitor.enabled=true", "monitoring.prometheusRule.enabled=true"]);
    same("config/prometheus", &monitoring, &bare(&kustomize("config/prometheus")));
    let dashboard = more(&["monitoring.dashboard.enabled=true"]);
    same("config/grafana", &dashboard, &bare(&kustomize("config/grafana")));
    let wellknown = more(&["wellknown.enabled=true"]);
    same("config/wellknown", &wellknown, &bare(&kustomize("config/wellknown")));
    assert_eq!(wellknown.len(), 6, "{:?}", wellknown.keys());
    let admission = more(&["admission.finalizer=true", "admission.helpdesk=true"]);
    same("config/admission", &admission, &bare(&kustomize("config/admission")));
    assert!(!bare(&kustomize("config/samples")).is_empty());
}

#[test]
fn what_helm_removes_is_no_crd() {
    let all = objects(&template("mailtenant-crds", "x", CRDS, &[]));
    assert_eq!(all.len(), 7);
    for (key, object) in &all {
        assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep", "{key}");
    }
}
