//! The kinds that have passes, and how one object is named.

use mailtenant_runtime::store::NamespacedName;

macro_rules! kind_enum {
    ($($kind:ident: $store:ident),* $(,)?) => {
        /// Kinds that have passes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "the names are the API")]
        pub enum Kind {
            $($kind),*
        }

        impl Kind {
            /// The word of the API.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Kind::$kind => stringify!($kind)),*
                }
            }
        }
    };
}
with_kinds!(kind_enum);

/// One object: what a pass is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    pub kind: Kind,
    pub key: NamespacedName,
}

impl ObjectId {
    pub fn new(kind: Kind, key: NamespacedName) -> Self {
        ObjectId { kind, key }
    }
}

impl std::fmt::Display for ObjectId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.key)
    }
}
