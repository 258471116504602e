//! What is installed says what the code says: copies in `charts/`, versions, alerts, the image.
//! `UPDATE=1 cargo test --test packaging` writes the copies anew.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and runs on the real clock")]

#[path = "common/folder.rs"]
mod folder;

use folder::Folder;
use mailtenant_api::{crds, people, rbac};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&read(name)).unwrap()
}

/// Name and content of each file that is a copy of something else.
fn copies() -> Vec<(String, String)> {
    let mut copies = vec![];
    let mut kustomization = "# For config/crd. Generated: `make crds`. Not called kustomization.yaml, which `kubectl apply -f crds/` \
                             would try to apply.\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
        .to_owned();
    for (mut crd, (name, _)) in crds::all().into_iter().zip(crds::files().unwrap()) {
        kustomization += &format!("  - {name}\n");
        crd["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        let text = serde_yaml::to_string(&crd).unwrap();
        assert!(!text.contains("{{"), "{name}: Helm would take this for a template");
        copies.push((format!("charts/mailtenant-crds/templates/{name}"), text));
    }
    copies.push(("crds/Kustomization".into(), kustomization));
    let roles: Vec<String> = people::manifests().iter().map(|role| serde_yaml::to_string(role).unwrap()).collect();
    let head = "# Roles for people. Generated from src/api/people.rs: `make crds`.\n";
    copies.push(("config/rbac/people.yaml".into(), format!("{head}{}", roles.join("---\n"))));
    let account: Vec<String> =
        rbac::wellknown_manifests("mailtenant-system").iter().map(|o| serde_yaml::to_string(o).unwrap()).collect();
    let head = "# What `mailtenant wellknown` may do. Generated from src/api/rbac.rs: `make crds`.\n";
    copies.push(("config/wellknown/rbac.yaml".into(), format!("{head}{}", account.join("---\n"))));
    let rights = serde_yaml::to_string(&people::for_the_chart()).unwrap();
    let head = "# Generated from src/api/rbac.rs and src/api/people.rs: `make crds`.\n";
    copies.push(("charts/mailtenant/files/rights.yaml".into(), format!("{head}{rights}")));
    for source in ["config/admission/finalizer.yaml", "config/admission/helpdesk.yaml", "config/prometheus/alerts.yaml"]
    {
        let name = source.rsplit('/').next().unwrap();
        copies.push((
            format!("charts/mailtenant/files/{name}"),
            format!("# A copy of {source}: `make crds`.\n{}", read(source)),
        ));
    }
    // JSON has no comments.
    copies.push(("charts/mailtenant/files/mailtenant.json".into(), read("config/grafana/mailtenant.json")));
    copies
}

#[test]
fn the_copies_are_what_the_sources_say() {
    let wanted = copies();
    if std::env::var_os("UPDATE").is_some() {
        wanted.iter().for_each(|(name, text)| std::fs::write(path(name), text).unwrap());
    }
    for (name, text) in &wanted {
        assert!(read(name) == *text, "{name} differs from its source: run `make crds`");
    }
    for folder in ["charts/mailtenant-crds/templates", "charts/mailtenant/files"] {
        for entry in std::fs::read_dir(path(folder)).unwrap() {
            let name = format!("{folder}/{}", entry.unwrap().file_name().into_string().unwrap());
            assert!(wanted.iter().any(|(copy, _)| *copy == name), "{name} is a copy of nothing: remove it");
        }
    }
}

#[test]
fn everything_has_the_version_of_the_operator() {
    for chart in ["charts/mailtenant/Chart.yaml", "charts/mailtenant-crds/Chart.yaml"] {
        let chart = yaml(chart);
        assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(VERSION), &json!(VERSION)));
    }
    let image = &yaml("config/manager/kustomization.yaml")["images"][0];
    assert_eq!(image["newTag"], VERSION);
    assert_eq!(image["newName"], yaml("charts/mailtenant/values.yaml")["image"]["repository"]);
    assert_eq!(*image, yaml("config/wellknown/kustomization.yaml")["images"][0]);
}

/// Artifact Hub shows these beside the chart.
#[test]
fn the_chart_tells_of_all_kinds_and_its_examples_name_them() {
    let chart = yaml("charts/mailtenant/Chart.yaml");
    let list =
        |name: &str| -> Vec<Value> { serde_yaml::from_str(chart["annotations"][name].as_str().unwrap()).unwrap() };
    let told: BTreeSet<(String, String)> = list("artifacthub.io/crds")
        .iter()
        .map(|crd| (crd["kind"].as_str().unwrap().to_owned(), crd["name"].as_str().unwrap().to_owned()))
        .collect();
    let all = crds::all();
    let word = |crd: &Value, pointer: &str| crd.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let kinds: BTreeSet<_> =
        all.iter().map(|crd| (word(crd, "/spec/names/kind"), word(crd, "/metadata/name"))).collect();
    assert_eq!(told, kinds);
    for example in list("artifacthub.io/crdsExamples") {
        assert!(told.iter().any(|(kind, _)| example["kind"] == *kind.as_str()), "{example}");
    }
}

/// Words of an expression that look like metrics of the operator.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    expression.split(word).filter(|word| word.starts_with("mailtenant_"))
}

#[test]
fn alerts_ask_for_metrics_that_there_are_and_lead_to_what_to_do() {
    let (operations, page) = (read("docs/operations.md"), read("docs/alerts.md"));
    let (sources, mut seen) = (["src/runtime/metrics.rs", "src/backend/metering.rs"].map(read), BTreeSet::new());
    let rules = yaml("config/prometheus/alerts.yaml")["spec"]["groups"][0]["rules"].as_array().cloned().unwrap();
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        let expression = rule["expr"].as_str().unwrap();
        assert!(metrics(expression).count() > 0, "{name} asks for no metric");
        for metric in metrics(expression) {
            assert!(operations.contains(&format!("| `{metric}` |")), "{name}: docs/operations.md has no {metric}");
            // The library puts `_total` behind the name of a counter.
            let registered = metric.trim_start_matches("mailtenant_").trim_end_matches("_total");
            let there = sources.iter().any(|source| source.contains(&format!("\"{registered}\"")));
            assert!(there, "{name}: no metric {metric} is registered");
        }
        assert_eq!(rule["annotations"]["runbook_url"], format!("docs/alerts.md#{}", name.to_lowercase()), "{name}");
        assert!(page.contains(&format!("\n## {name}\n")), "docs/alerts.md does not explain {name}");
        assert!(["critical", "warning", "info"].map(|s| json!(s)).contains(&rule["labels"]["severity"]), "{name}");
        assert!(seen.insert(name.to_owned()), "{name} is there twice");
    }
    let explained = page.matches("\n## ").count();
    assert_eq!(explained, rules.len(), "docs/alerts.md explains alerts that are not there");
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let operations = read("docs/operations.md");
    let dashboard: Value = serde_json::from_str(&read("config/grafana/mailtenant.json")).unwrap();
    let (mut asked, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels of one id");
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.extend(
                metrics(target["expr"].as_str().unwrap()).map(|name| name.trim_end_matches("_bucket").to_owned()),
            );
        }
    }
    for metric in &asked {
        assert!(operations.contains(&format!("| `{metric}` |")), "docs/operations.md has no {metric}");
    }
    for line in operations.lines().filter_map(|line| line.strip_prefix("| `mailtenant_")) {
        let metric = format!("mailtenant_{}", line.split('`').next().unwrap());
        assert!(asked.contains(&metric), "the dashboard does not show {metric}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_before() {
    let promtool = Command::new(path("e2e/stack/promtool.sh")).output().unwrap();
    assert!(promtool.status.success(), "{}", String::from_utf8_lossy(&promtool.stderr));
    let promtool = String::from_utf8(promtool.stdout).unwrap();
    let folder = Folder::new("alerts");
    // Prometheus reads the groups alone.
    let groups = json!({"groups": yaml("config/prometheus/alerts.yaml")["spec"]["groups"]});
    std::fs::write(folder.0.join("rules.yaml"), groups.to_string()).unwrap();
    std::fs::copy(path("config/prometheus/alerts_test.yaml"), folder.0.join("alerts_test.yaml")).unwrap();
    for arguments in [["check", "rules", "rules.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let output = Command::new(promtool.trim()).args(arguments).current_dir(&folder.0).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{said}");
    }
    let tried = read("config/prometheus/alerts_test.yaml");
    for rule in groups["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        assert!(tried.contains(&format!("- name: {name}\n")), "alerts_test.yaml does not try {name}");
    }
}

impl Folder {
    /// Packs a stand-in for the static binary, whose build takes ten minutes; gives the digest.
    fn image(&self, file: &str, binary: &[u8]) -> String {
        let stand_in = self.0.join("binary");
        std::fs::write(&stand_in, binary).unwrap();
        let output = Command::new(path("config/image/build.sh"))
            .arg(self.0.join(file))
            .env("BINARY", &stand_in)
            .env("IMAGE", "localhost/mailtenant:test")
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn tar(&self, arguments: &[&str]) -> String {
        let output = Command::new("tar").args(arguments).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        self.0.join("layout/blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
    }

    fn json(&self, path: &Path) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.0.join(path)).unwrap()).unwrap()
    }
}

#[test]
fn the_image_has_one_layer_and_the_same_digest_each_time() {
    let folder = Folder::new("image");
    let first = folder.image("one.tar", b"#!/bin/sh\n");
    // Tar and gzip write times in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(folder.image("two.tar", b"#!/bin/sh\n"), first);
    assert_eq!(std::fs::read(folder.0.join("one.tar")).unwrap(), std::fs::read(folder.0.join("two.tar")).unwrap());
    assert_ne!(folder.image("three.tar", b"#!/bin/bash\n"), first, "the digest does not tell of the binary");

    std::fs::create_dir(folder.0.join("layout")).unwrap();
    folder.tar(&["-C", "layout", "-xf", "one.tar"]);
    let index = folder.json(Path::new("layout/index.json"));
    let of_index = &index["manifests"][0];
    assert_eq!(of_index["digest"], first.as_str());
    assert_eq!(of_index["annotations"]["io.containerd.image.name"], "localhost/mailtenant:test");
    let manifest = folder.json(&folder.blob(&of_index["digest"]));
    let config = folder.json(&folder.blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/mailtenant"]));
    assert_eq!((config["created"].as_str(), &config["os"]), (Some("2023-11-14T22:13:20Z"), &json!("linux")));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    for described in [&of_index["digest"], &manifest["config"]["digest"], &layers[0]["digest"]] {
        let sum = Command::new("sha256sum").arg(folder.blob(described)).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        assert_eq!(*described, format!("sha256:{}", sum.split(' ').next().unwrap()));
    }
    let layer = folder.blob(&layers[0]["digest"]);
    let files = folder.tar(&["--numeric-owner", "--utc", "-tvzf", layer.to_str().unwrap()]);
    for line in files.lines() {
        assert!(line.contains(" 0/0 ") && line.contains(" 2023-11-14 22:13 "), "{line}");
    }
    for wanted in
        ["./mailtenant", "./etc/ssl/certs/ca-certificates.crt", "./LICENSE", "./etc/passwd", "./sbom.spdx.json"]
    {
        assert!(files.lines().any(|line| line.ends_with(&format!(" {wanted}"))), "{wanted}: {files}");
    }
    assert!(files.contains("-rwxr-xr-x 0/0") && files.lines().count() <= 12, "{files}");
    let inside = folder.tar(&["-xOzf", layer.to_str().unwrap(), "./sbom.spdx.json"]);
    assert_eq!(inside, std::fs::read_to_string(folder.0.join("one.spdx.json")).unwrap());
    bill_of_materials(&serde_json::from_str(&inside).unwrap());
}

/// What the operator does not do without, and what only its tests need; each with what Cargo.lock says of it.
fn bill_of_materials(bill: &Value) {
    assert_eq!(
        (&bill["spdxVersion"], &bill["creationInfo"]["created"]),
        (&json!("SPDX-2.3"), &json!("2023-11-14T22:13:20Z"))
    );
    let packages = bill["packages"].as_array().unwrap();
    let of = |name: &str| packages.iter().find(|p| p["name"] == name);
    for needed in
        ["kube", "tokio", "rustls", "aws-lc-sys", "tokio-postgres", "mailtenant-controllers", "ca-certificates"]
    {
        assert!(of(needed).is_some(), "{needed} is not in it");
    }
    for other in ["proptest", "tempfile", "syn", "cc"] {
        assert!(of(other).is_none(), "{other} is not linked in");
    }
    let lock = read("Cargo.lock");
    for p in packages.iter().filter(|p| p["SPDXID"].as_str().unwrap().starts_with("SPDXRef-cargo-")) {
        let [name, version] = ["name", "versionInfo"].map(|field| p[field].as_str().unwrap());
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let entry =
            lock.split("[[package]]\n").find(|e| e.starts_with(&entry)).unwrap_or_else(|| panic!("{name} {version}"));
        if let Some(sum) = p["checksums"][0]["checksumValue"].as_str() {
            assert!(entry.contains(&format!("checksum = \"{sum}\"")), "{name}: {sum}");
        } else {
            assert!(!entry.contains("checksum"), "{name} has no checksum");
        }
        assert_ne!(p["licenseDeclared"], "NOASSERTION", "{name}");
    }
    let ids: BTreeSet<&str> = packages.iter().map(|p| p["SPDXID"].as_str().unwrap()).collect();
    let related: BTreeSet<&str> =
        bill["relationships"].as_array().unwrap().iter().map(|r| r["relatedSpdxElement"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), &ids), (packages.len(), &related));
}

/// A value as Lua reads it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("[==[{text}]==]"),
        Value::Array(all) => format!("{{{}}}", all.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Object(all) => {
            let field = |(name, value): (&String, &Value)| format!("[ [==[{name}]==] ] = {}", lua(value));
            format!("{{{}}}", all.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Argo CD runs the script of `config/argocd/health.yaml` by an interpreter of Lua 5.1, on the object that it calls `obj`.
#[test]
fn argo_cd_is_told_the_health_of_each_kind_with_conditions() {
    let scripts = yaml("config/argocd/health.yaml")["data"].as_object().cloned().unwrap();
    let with_conditions = crds::all().into_iter().filter(|crd| {
        let conditions = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/conditions";
        crd.pointer(conditions).is_some()
    });
    let kinds: BTreeSet<String> = with_conditions
        .map(|crd| {
            format!("resource.customizations.health.mailtenant.dev_{}", crd["spec"]["names"]["kind"].as_str().unwrap())
        })
        .collect();
    assert_eq!(scripts.keys().cloned().collect::<BTreeSet<_>>(), kinds);
    let installed = Command::new(path("e2e/stack/install.sh")).arg("lua5.1").output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    let conditions = |ready: &str, other: &str| {
        let mut all = vec![json!({"type": "Ready", "status": ready, "message": format!("ready: {ready}")})];
        if !other.is_empty() {
            all.push(json!({"type": other, "status": "True", "message": format!("said by {other}")}));
        }
        json!({"observedGeneration": 2, "conditions": all})
    };
    let older = json!({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "message": "old"}]});
    let waiting = ("Progressing", "waiting for the operator");
    for (status, wanted) in [
        (Value::Null, waiting),
        (json!({"observedGeneration": -1}), waiting),
        (older, waiting),
        (json!({"observedGeneration": 2}), waiting),
        (conditions("Unknown", "Reconciling"), ("Progressing", "ready: Unknown")),
        (conditions("False", "Reconciling"), ("Progressing", "ready: False")),
        (conditions("False", "DeletionBlocked"), ("Progressing", "ready: False")),
        (conditions("False", "Stalled"), ("Degraded", "said by Stalled")),
        (conditions("True", ""), ("Healthy", "ready: True")),
        (conditions("True", "FieldsIgnored"), ("Healthy", "ready: True")),
    ] {
        let object = json!({"metadata": {"generation": 2}, "status": status});
        for (kind, script) in &scripts {
            let program = format!(
                "local obj = {}\nlocal function health()\n{}\nend\nlocal said = health()\nio.write(said.status, '|', said.message)",
                lua(&object),
                script.as_str().unwrap()
            );
            let out = Command::new("lua5.1").args(["-e", &program]).output().unwrap();
            assert!(out.status.success(), "{kind}: {}", String::from_utf8_lossy(&out.stderr));
            let said = String::from_utf8(out.stdout).unwrap();
            assert_eq!(said.split_once('|').unwrap(), wanted, "{kind}: {object}");
        }
    }
}
