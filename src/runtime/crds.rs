//! Waits for CustomResourceDefinitions that cannot be used yet, and looks at them again while they are used. An operator
//! may well start before its CRDs, or with older ones: restarting it would not install them, so it waits, reports for
//! what, and is not ready. Reads by name alone (`get`), so that RBAC can be limited to these names.

pub use crate::crd_schema::{Difference, Wanted};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use mailtenant_clock::Random;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at CRDs that are used.
const AGAIN: Duration = Duration::from_secs(60);
/// An apiserver that is starting may deny for a moment what it has.
const SURE: Duration = Duration::from_secs(5);

/// Why a CRD cannot be used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not installed.
    NotFound,
    /// The apiserver has not accepted its names yet (condition `Established`).
    NotEstablished,
    /// It does not serve the version that the caller needs.
    NotServed,
    /// The apiserver would drop or refuse what the caller writes: it is of another release.
    Unfit(Difference),
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
        let why = match &self.why {
            Why::NotFound => "is not installed",
            Why::NotEstablished => "is not established yet",
            Why::NotServed => "does not serve the version that is needed",
            Why::Unfit(difference) => return write!(f, "{} {difference}", self.name),
            Why::Forbidden => "may not be read by this service account",
            Why::Unreadable => "could not be read, the apiserver did not answer as it should",
        };
        write!(f, "{} {why}", self.name)
    }
}

/// A CRD that can be used although it is of another release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Different {
    /// Name of the CRD, `<plural>.<group>`.
    pub name: String,
    /// In what.
    pub difference: Difference,
}

impl fmt::Display for Different {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.difference)
    }
}

/// Returns once all CRDs that are `wanted` are established, serve their version and take what is written, however long
/// that takes. `changed` is called with those that are missing after the first look, whenever they change, and at the end
/// with none.
pub async fn wait(client: Client, wanted: &[Wanted], random: &dyn Random, mut changed: impl FnMut(&[Missing])) {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let mut open: Vec<&Wanted> = wanted.iter().collect();
    let mut reported: Option<Vec<Missing>> = None;
    let mut pause = FIRST_WAIT;
    loop {
        let mut missing = Vec::new();
        let mut still = Vec::new();
        for wanted in open {
            if let Err(why) = look(&api, wanted).await {
                missing.push(Missing { name: wanted.name.clone(), why });
                still.push(wanted);
            }
        }
        open = still;
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

/// Looks at CRDs that are used, at once and every minute: at their metadata, and at all of one that has changed. Calls
/// `changed` with those that differ from what is wanted and can be used, when that changes. Returns with one that can
/// not be used any more: it was removed, or one of another release took its place.
pub async fn watch(
    client: Client,
    wanted: &[Wanted],
    random: &dyn Random,
    mut changed: impl FnMut(&[Different]),
) -> Missing {
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let mut seen: BTreeMap<&str, (Option<String>, Difference)> = BTreeMap::new();
    let mut reported: Vec<Different> = vec![];
    loop {
        for wanted in wanted {
            let revision = revision(&api, &wanted.name).await;
            let known = seen.get(wanted.name.as_str());
            if revision.is_some() && known.is_some_and(|(before, _)| *before == revision) {
                continue;
            }
            match look(&api, wanted).await {
                Ok(difference) => _ = seen.insert(&wanted.name, (revision, difference)),
                Err(why) if why.is_proven() => {
                    sleep(SURE).await;
                    if let Err(why) = look(&api, wanted).await
                        && why.is_proven()
                    {
                        return Missing { name: wanted.name.clone(), why };
                    }
                }
                Err(_) => {}
            }
        }
        let different: Vec<Different> = seen
            .iter()
            .filter(|(_, (_, difference))| difference.differs)
            .map(|(name, (_, difference))| Different { name: (*name).to_owned(), difference: difference.clone() })
            .collect();
        if different != reported {
            changed(&different);
            reported = different;
        }
        sleep(random.around(AGAIN, 20)).await;
    }
}

impl Why {
    /// Whether it was said by a CRD, or by its absence. An apiserver that does not answer says nothing of the CRD.
    fn is_proven(&self) -> bool {
        matches!(self, Why::NotFound | Why::NotServed | Why::Unfit(_))
    }
}

/// Changes with the spec of the CRD, not with its status.
async fn revision(api: &Api<CustomResourceDefinition>, name: &str) -> Option<String> {
    let meta = timeout(REQUEST_TIMEOUT, api.get_metadata(name)).await.ok()?.ok()?.metadata;
    Some(format!("{} {}", meta.uid?, meta.generation?))
}

/// How it differs, if it can be used.
async fn look(api: &Api<CustomResourceDefinition>, wanted: &Wanted) -> Result<Difference, Why> {
    match timeout(REQUEST_TIMEOUT, api.get_opt(&wanted.name)).await {
        Ok(Ok(Some(crd))) => judge(&crd, wanted),
        Ok(Ok(None)) => Err(Why::NotFound),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(Why::Forbidden),
        Ok(Err(_)) | Err(_) => Err(Why::Unreadable),
    }
}

fn judge(crd: &CustomResourceDefinition, wanted: &Wanted) -> Result<Difference, Why> {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    let established = conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True");
    if !crd.spec.versions.iter().any(|v| v.name == wanted.version && v.served) {
        return Err(Why::NotServed);
    }
    let difference = wanted.compare(crd);
    if !difference.unfit.is_empty() {
        Err(Why::Unfit(difference))
    } else if !established {
        Err(Why::NotEstablished)
    } else {
        Ok(difference)
    }
}
