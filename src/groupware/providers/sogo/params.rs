//! Values as parameters of statements. Our own types go in as the text that they are.

use crate::{Address, DomainName, Selector, TenantId, Uid};
use tokio_postgres::types::ToSql;

/// A value that a statement takes.
pub trait Param: Sync {
    /// As the database driver takes it.
    fn value(&self) -> Box<dyn ToSql + Sync + Send + '_>;
}

impl<T: Param + ?Sized> Param for &T {
    fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
        (**self).value()
    }
}

impl Param for str {
    fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
        Box::new(self)
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Param for $type {
            fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
                Box::new(self)
            }
        })*
    };
}

plain!(bool, i64, String, Option<String>, Vec<&str>, Vec<String>);

macro_rules! texts {
    ($($type:ty),*) => {
        $(impl Param for $type {
            fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
                Box::new(self.as_str())
            }
        }

        impl Param for Option<$type> {
            fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
                Box::new(self.as_deref())
            }
        }

        impl Param for [$type] {
            fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
                Box::new(self.iter().map(|text| text.as_str()).collect::<Vec<_>>())
            }
        }

        impl Param for Vec<$type> {
            fn value(&self) -> Box<dyn ToSql + Sync + Send + '_> {
                self.as_slice().value()
            }
        })*
    };
}

texts!(Uid, Address, DomainName, TenantId, Selector);
