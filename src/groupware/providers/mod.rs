//! The groupware servers that there are, a folder each.

pub mod sogo;
