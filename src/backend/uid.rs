//! Who owns something at a server, and where that object stood.

use std::fmt;

mailtenant_mail::text_type! {
    /// `metadata.uid` of a Kubernetes object, which the server notes with all that the object owns there (I3).
    Uid
}

impl Uid {
    /// As Kubernetes gave it, or as a server has noted it.
    pub fn new(text: impl Into<String>) -> Self {
        Uid(text.into())
    }
}

/// Where the object stands that something at a server was made for. It is kept with the owner, and after the owner left:
/// an object that was restored has another uid, and the same place.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Uid of the namespace kube-system, which stands for the cluster; empty: not known.
    pub cluster: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl Origin {
    /// As a server has noted it; none: no such place.
    pub fn parse(cluster: Option<&str>, place: &str) -> Option<Self> {
        let (namespace, name) = place.split_once('/')?;
        Some(Origin { cluster: cluster.unwrap_or_default().into(), namespace: namespace.into(), name: name.into() })
    }

    /// Whether both have the same namespace and name, whatever the cluster: a rebuilt cluster has another id.
    pub fn same_place(&self, other: &Origin) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }

    /// Whether both are of one tenant: of the same namespace in the same cluster. A namespace of that name in another
    /// cluster may be somebody else's.
    pub fn same_tenant(&self, other: &Origin) -> bool {
        (&self.cluster, &self.namespace) == (&other.cluster, &other.namespace)
    }
}

/// `namespace/name`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let origin = Origin::parse(Some("c"), "ns/a").unwrap();
        assert_eq!((origin.cluster.as_str(), origin.to_string()), ("c", "ns/a".to_owned()));
        assert_eq!(Origin::parse(None, "nothing"), None);
        assert!(origin.same_place(&Origin::parse(None, "ns/a").unwrap()));
        assert!(!origin.same_place(&Origin::parse(Some("c"), "ns/b").unwrap()));
        for (cluster, place, same) in [("c", "ns/b", true), ("c", "n/a", false), ("d", "ns/a", false)] {
            assert_eq!(origin.same_tenant(&Origin::parse(Some(cluster), place).unwrap()), same, "{cluster} {place}");
        }
    }
}
