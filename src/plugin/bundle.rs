//! `support-bundle`: what somebody else needs to help. No Secret is read; what could hold one is redacted.

use crate::connect::Cluster;
use crate::error::{Error, Result, gap};
use crate::fetch;
use crate::kept;
use crate::kind::Kind;
use crate::output::Terminal;
use crate::picture::{Gap, Picture};
use crate::redact::{redact, redact_value};
use crate::tree;
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, ResourceExt};
use mailtenant_clock::Clock;
use serde_json::{Value, json};
use std::io::Write as _;
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
    save(path, &packed).map_err(|e| Error::Refused(format!("cannot write {}: {e}", path.display())))?;
    terminal.gaps(&gaps)?;
    writeln!(
        terminal.out,
        "{}: {} files. It has addresses and host names: look into it before you pass it on",
        path.display(),
        files.len()
    )?;
    Ok(())
}

/// Writes a file that only its owner may read, also where one was there before that others may read.
fn save(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    if file.metadata()?.is_file() {
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    file.write_all(content)
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
    let mut value = serde_json::to_value(value).map_err(|e| Error::Text(e.to_string()))?;
    redact_value(&mut value);
    serde_yaml::to_string(&value).map_err(|e| Error::Text(e.to_string()))
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
        header.set_mode(0o600);
        header.set_mtime(seconds);
        header.set_cksum();
        archive.append_data(&mut header, format!("mailtenant-support/{name}"), text.as_bytes())?;
    }
    Ok(archive.into_inner()?.finish()?)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_its_owner_may_read_the_archive() {
        let path = std::env::temp_dir().join(format!("mailtenant-bundle-{}", std::process::id()));
        let mode = || std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        save(&path, b"x").expect("it is written");
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is changed");
        save(&path, b"y").expect("it is written over");
        assert_eq!((mode(), std::fs::read(&path).expect("it is read")), (0o600, b"y".to_vec()));
        std::fs::remove_file(&path).expect("it is removed");
    }
}
