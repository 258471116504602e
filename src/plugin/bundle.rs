//! `support-bundle`: what somebody else needs to help. No Secret is read; what could hold one is redacted.

use crate::connect::Cluster;
use crate::error::{Error, Result, gap};
use crate::fetch;
use crate::kept;
use crate::kind::Kind;
use crate::output::Terminal;
use crate::picture::{Gap, Picture};
use crate::redact::redact;
use crate::tree;
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use mailtenant_clock::Clock;
use serde_json::{Value, json};
use std::path::Path;

/// Lines of the log of each pod.
const LINES: i64 = 20_000;
/// A copy of the whole manifest as it was applied: it says nothing new.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Name and text of one file.
type File = (String, String);

/// Gathers, redacts and writes.
pub async fn write(
    cluster: &Cluster,
    terminal: &mut Terminal<'_>,
    (namespace, path): (Option<&str>, &Path),
    clock: &dyn Clock,
) -> Result<()> {
    writeln!(terminal.err, "reading objects")?;
    let mut picture = fetch::picture(cluster, namespace).await;
    let mut gaps = std::mem::take(&mut picture.gaps);
    let mut files = objects(&picture)?;
    files.push(("tree.yaml".into(), text(&tree::tree(&picture, None))?));
    writeln!(terminal.err, "reading Events")?;
    match kept::events(cluster, namespace).await {
        Ok(events) => files.push(("events.yaml".into(), text(&of_our_kinds(events))?)),
        Err(error) => gaps.push(gap("list", "events", namespace.unwrap_or_default(), &error)),
    }
    writeln!(terminal.err, "reading the operator's log")?;
    operator(cluster, &mut files, &mut gaps).await?;
    files.push(("about.yaml".into(), text(&about(cluster, namespace, &gaps, clock))?));
    let files: Vec<File> = files.into_iter().map(|(name, text)| (name, redact(&text))).collect();
    let packed = pack(&files, clock.now().as_second().unsigned_abs())?;
    std::fs::write(path, packed).map_err(|e| Error::Refused(format!("cannot write {}: {e}", path.display())))?;
    terminal.gaps(&gaps)?;
    writeln!(
        terminal.out,
        "{}: {} files. It has addresses and host names: look into it before you pass it on",
        path.display(),
        files.len()
    )?;
    Ok(())
}

fn about(cluster: &Cluster, namespace: Option<&str>, gaps: &[Gap], clock: &dyn Clock) -> Value {
    json!({
        "plugin": env!("CARGO_PKG_VERSION"),
        "taken": clock.now().to_string(),
        "namespace": namespace.unwrap_or("all"),
        "operatorNamespace": cluster.shell.operator_namespace,
        "notRead": gaps,
    })
}

fn text(value: &impl serde::Serialize) -> Result<String> {
    serde_yaml::to_string(value).map_err(|e| Error::Text(e.to_string()))
}

/// A file for each kind.
fn objects(picture: &Picture) -> Result<Vec<File>> {
    let of = |kind: Kind| {
        let mut all: Vec<Value> = picture.of_kind(kind).map(|o| o.value.clone()).collect();
        for value in &mut all {
            if let Some(annotations) = value["metadata"]["annotations"].as_object_mut() {
                annotations.remove(LAST_APPLIED);
            }
        }
        Ok((format!("objects/{}.yaml", kind.resource().plural), text(&all)?))
    };
    Kind::ALL.into_iter().filter(|kind| !picture.unread.contains(kind)).map(of).collect()
}

fn of_our_kinds(events: Vec<Value>) -> Vec<Value> {
    let ours = |e: &Value| {
        let api = e["regarding"]["apiVersion"].as_str().unwrap_or_default();
        api.starts_with(mailtenant_api::GROUP)
    };
    events.into_iter().filter(ours).collect()
}

/// Pods of the operator: how they are, and their logs, of this life and the one before.
async fn operator(cluster: &Cluster, files: &mut Vec<File>, gaps: &mut Vec<Gap>) -> Result<()> {
    let namespace = cluster.shell.operator_namespace.as_str();
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let list = match pods.list(&ListParams::default().labels("app.kubernetes.io/name=mailtenant")).await {
        Ok(list) => list,
        Err(error) => {
            gaps.push(gap("list", "pods", namespace, &error));
            return Ok(());
        }
    };
    for pod in list {
        let name = pod.name_any();
        // Not the spec: its environment is somebody else's business.
        files.push((format!("operator/{name}.yaml"), text(&pod.status)?));
        for (previous, ending) in [(false, "log"), (true, "previous.log")] {
            let params = LogParams { previous, tail_lines: Some(LINES), timestamps: true, ..LogParams::default() };
            match pods.logs(&name, &params).await {
                Ok(log) => files.push((format!("operator/{name}.{ending}"), log)),
                // Most have had no life before.
                Err(_) if previous => {}
                Err(error) => gaps.push(gap("get", "pods/log", namespace, &error)),
            }
        }
    }
    Ok(())
}

/// The tar.gz, in a folder of its own.
fn pack(files: &[File], seconds: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(vec![], Compression::default()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(seconds);
        header.set_cksum();
        archive.append_data(&mut header, format!("mailtenant-support/{name}"), text.as_bytes())?;
    }
    Ok(archive.into_inner()?.finish()?)
}
