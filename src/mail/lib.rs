//! What can be decided about mail without asking a server: names and addresses, the DNS records of a mail domain, and
//! their merge with the records that are there. Pure: no I/O, no Kubernetes, no async runtime.

#![forbid(unsafe_code)]

pub mod address;
pub mod manual;
pub mod merge;
pub mod mx;
pub mod name;
pub mod policy;
pub mod records;
pub mod rr;
mod spf;
pub mod text;
pub mod value;
pub mod wellknown;

pub use address::Address;
pub use name::DomainName;
pub use records::Selector;
