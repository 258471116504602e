//! The zones that a `DNSBackend` may write to, checked in one place for every provider: the caller of a provider puts
//! it behind this wrapper, so no provider can forget it.

use crate::{BackendError, Change, DnsCapabilities, DnsServer, RecordType, Result, RrSet, Wildcard};
use async_trait::async_trait;
use mailtenant_mail::name;
use std::sync::Arc;

/// A server that refuses changes outside its zones, and changes of NS and SOA. Reads are not checked.
pub struct Guarded {
    inner: Arc<dyn DnsServer>,
    /// Names in canonical form.
    zones: Vec<String>,
}

impl Guarded {
    /// `zones` are those of the spec of the DNSBackend.
    pub fn new<'a>(inner: Arc<dyn DnsServer>, zones: impl IntoIterator<Item = &'a str>) -> Self {
        let canonical = |zone: &str| name::canonical(zone).unwrap_or_else(|_| name::from_server(zone));
        Guarded { inner, zones: zones.into_iter().map(canonical).collect() }
    }

    /// An error: the change is not allowed.
    fn check(&self, zone: &str, change: &Change) -> Result<()> {
        let (before, after) = (&change.before, &change.after);
        if (&before.name, before.rtype) != (&after.name, after.rtype) {
            return Err(BackendError::Rejected("a change cannot rename a record".into()));
        }
        if !self.zones.iter().any(|z| name::is_within(&before.name, z)) {
            // A zone that was taken out also keeps what is to be withdrawn from it.
            let text = format!(
                "{} {} is in no zone of its spec.zones any more: add the zone {zone} to spec.zones again",
                before.rtype.as_str(),
                before.name
            );
            return Err(BackendError::Rejected(text));
        }
        if !name::is_within(&before.name, zone) {
            return Err(BackendError::Rejected(format!("{} is outside the zone {zone}", before.name)));
        }
        if matches!(before.rtype, RecordType::NS | RecordType::SOA) {
            let text = format!("{} of {} is never changed", before.rtype.as_str(), before.name);
            return Err(BackendError::Rejected(text));
        }
        Ok(())
    }
}

#[async_trait]
impl DnsServer for Guarded {
    fn provider(&self) -> &'static str {
        self.inner.provider()
    }
    fn capabilities(&self) -> DnsCapabilities {
        self.inner.capabilities()
    }
    async fn probe(&self) -> Result<String> {
        self.inner.probe().await
    }
    async fn find_zone(&self, name: &str) -> Result<String> {
        self.inner.find_zone(name).await
    }
    async fn read(&self, zone: &str, which: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
        self.inner.read(zone, which).await
    }
    async fn contents(&self, zone: &str, name: &str, rtype: RecordType) -> Result<Vec<String>> {
        self.inner.contents(zone, name, rtype).await
    }
    async fn wildcard(&self, zone: &str, name: &str) -> Result<Option<Wildcard>> {
        self.inner.wildcard(zone, name).await
    }
    async fn apply(&self, zone: &str, changes: &[Change]) -> Result<()> {
        changes.iter().try_for_each(|change| self.check(zone, change))?;
        self.inner.apply(zone, changes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what is written.
    #[derive(Default)]
    struct Writes(AtomicUsize);

    #[async_trait]
    impl DnsServer for Writes {
        fn provider(&self) -> &'static str {
            "model"
        }
        fn capabilities(&self) -> DnsCapabilities {
            DnsCapabilities { atomic: true, compare_and_set: true }
        }
        async fn probe(&self) -> Result<String> {
            Ok("1".into())
        }
        async fn find_zone(&self, _: &str) -> Result<String> {
            Ok("acme.test".into())
        }
        async fn read(&self, _: &str, _: &[(String, RecordType)]) -> Result<Vec<RrSet>> {
            Ok(vec![])
        }
        async fn apply(&self, _: &str, changes: &[Change]) -> Result<()> {
            self.0.fetch_add(changes.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn only_what_is_in_a_zone_and_is_not_the_zone_itself_is_written() {
        let writes = Arc::new(Writes::default());
        let guarded = Guarded::new(writes.clone(), ["Acme.test", "example.org"]);
        let set = |name: &str, rtype| RrSet { name: name.into(), rtype, ttl: 60, values: vec!["x".into()] };
        for (zone, name, rtype, allowed) in [
            ("acme.test", "acme.test", RecordType::TXT, true),
            ("acme.test", "_dmarc.acme.test", RecordType::TXT, true),
            ("acme.test", "example.org", RecordType::TXT, false),
            ("test", "other.test", RecordType::TXT, false),
            ("test", "notacme.test", RecordType::TXT, false),
            ("acme.test", "acme.test", RecordType::NS, false),
            ("acme.test", "acme.test", RecordType::SOA, false),
        ] {
            let before = writes.0.load(Ordering::Relaxed);
            let good =
                Change { before: set("a.acme.test", RecordType::TXT), after: set("a.acme.test", RecordType::TXT) };
            let change = Change { before: set(name, rtype), after: set(name, rtype) };
            let done = guarded.apply(zone, &[good.clone(), change]).await;
            let refused = matches!(done, Err(BackendError::Rejected(_)));
            // One change that is refused keeps back the others.
            let written = writes.0.load(Ordering::Relaxed) - before;
            let fits = name::is_within("a.acme.test", zone);
            assert_eq!((refused, written), (!(allowed && fits), if allowed && fits { 2 } else { 0 }), "{zone} {name}");
        }
        let renamed =
            Change { before: set("a.acme.test", RecordType::TXT), after: set("b.acme.test", RecordType::TXT) };
        assert!(matches!(guarded.apply("acme.test", &[renamed]).await, Err(BackendError::Rejected(_))));
    }
}
