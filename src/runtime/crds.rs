//! Waits for CustomResourceDefinitions that are not installed yet. An operator may well start before its CRDs:
//! restarting it would not install them, so it waits, reports for what, and is not ready. Reads by name alone (`get`),
//! so that RBAC can be limited to these names.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use mailtenant_clock::Random;
use std::fmt;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a CRD cannot be used yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not installed.
    NotFound,
    /// The apiserver has not accepted its names yet (condition `Established`).
    NotEstablished,
    /// It does not serve the version that the caller needs.
    NotServed,
    /// RBAC does not allow to read it.
    Forbidden,
    /// The apiserver did not answer in time, or not with a CRD.
    Unreadable,
}

/// A CRD that cannot be used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Name of the CRD, `<plural>.<group>`.
    pub name: String,
    /// Why it cannot be used.
    pub why: Why,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::NotFound => "is not installed",
            Why::NotEstablished => "is not established yet",
            Why::NotServed => "does not serve the version that is needed",
            Why::Forbidden => "may not be read by this service account",
            Why::Unreadable => "could not be read, the apiserver did not answer as it should",
        };
        write!(f, "{} {why}", self.name)
    }
}

/// Returns once all CRDs in `names` are established and serve `version`, however long that takes. `changed` is called
/// with those that are missing after the first look, whenever they change, and at the end with none.
pub async fn wait(
    client: Client,
    names: &[String],
    version: &str,
    random: &dyn Random,
    mut changed: impl FnMut(&[Missing]),
) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let mut open: Vec<String> = names.to_vec();
    let mut reported: Option<Vec<Missing>> = None;
    let mut pause = FIRST_WAIT;
    loop {
        let mut missing = Vec::new();
        for name in &open {
            if let Some(why) = look(&api, name, version).await {
                missing.push(Missing { name: name.clone(), why });
            }
        }
        open = missing.iter().map(|missing| missing.name.clone()).collect();
        if reported.as_ref() != Some(&missing) {
            changed(&missing);
            // Somebody is installing them just now: look often.
            pause = FIRST_WAIT;
        }
        if missing.is_empty() {
            return;
        }
        reported = Some(missing);
        sleep(random.around(pause, 20)).await;
        pause = (pause * 2).min(LONGEST_WAIT);
    }
}

async fn look(api: &Api<CustomResourceDefinition>, name: &str, version: &str) -> Option<Why> {
    match timeout(REQUEST_TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(Some(crd))) => unfit(&crd, version),
        Ok(Ok(None)) => Some(Why::NotFound),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Some(Why::Forbidden),
        Ok(Err(_)) | Err(_) => Some(Why::Unreadable),
    }
}

fn unfit(crd: &CustomResourceDefinition, version: &str) -> Option<Why> {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established = conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True");
    if !crd.spec.versions.iter().any(|v| v.name == version && v.served) {
        Some(Why::NotServed)
    } else if !established {
        Some(Why::NotEstablished)
    } else {
        None
    }
}
