//! Counts answers by document and HTTP status: never a domain, a host or an address.

use crate::answer::Document;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    document: &'static str,
    code: u16,
}

/// Metrics of documents. Cheap to clone; clones share their counters.
#[derive(Clone, Default)]
pub struct DocumentMetrics(Family<Labels, Counter>);

impl DocumentMetrics {
    /// Puts `wellknown_requests` into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("wellknown_requests", "Requests for documents by document and HTTP status", self.0.clone());
    }

    pub(crate) fn answered(&self, document: Document, code: u16) {
        self.0.get_or_create(&Labels { document: document.as_str(), code }).inc();
    }
}
