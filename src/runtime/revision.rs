//! Notices that the API server's storage was restored to an earlier state, for a process without a [`crate::lease`].
//!
//! After such a restore (etcd from a backup, without a bump of its revision) a watch that goes on from a resourceVersion
//! of before gets no event and no error until the storage has come to that version again, and never hears of what is
//! different (kube-apiserver 1.36, etcd 3.6: a watch from 307 at a server that was back at 267 stayed open in silence for
//! 20 s; its first event was number 308). So everything must be read again.

use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Resource};
use mailtenant_clock::Random;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::sleep;

/// Time between two looks, one small request each.
const EVERY: Duration = Duration::from_secs(30);

/// The API server's storage was restored to an earlier state: what was read before must be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API server was restored to an earlier state: all is to be read again")]
pub struct Restored;

/// Returns when the server's own resourceVersion is lower than it was. `api` may be of any kind that there is little of: one
/// object of it is listed every 30 s. A request that fails is left out.
pub async fn watch<K>(api: Api<PartialObjectMeta<K>>, random: &dyn Random) -> Restored
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    let mut highest = 0;
    loop {
        match api.list_metadata(&ListParams::default().limit(1)).await {
            // Of a list the server gives the version of its storage, not that of the last change of the kind.
            Ok(list) => match list.metadata.resource_version.and_then(|v| v.parse::<u64>().ok()) {
                Some(version) if version < highest => return Restored,
                Some(version) => highest = version,
                None => {}
            },
            Err(error) => tracing::debug!(%error, "the version of the API server's storage cannot be read"),
        }
        sleep(random.around(EVERY, 20)).await;
    }
}
