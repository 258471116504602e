//! Which versions of the servers this provider knows. Pure. A major version that nobody has tried may keep data in
//! another way, so it is refused with its name before anything is written there.

use crate::{BackendError, Result};
use std::ops::RangeInclusive;

/// Major versions of PostgreSQL.
const POSTGRESQL: RangeInclusive<u32> = 13..=18;

/// `PostgreSQL 15.10`, of what `server_version` says: `15.10 (Debian 15.10-0+deb12u1)`.
pub(super) fn postgresql(said: &str) -> Result<String> {
    let number = said.split_whitespace().next().unwrap_or_default();
    // Before a release there is no dot: `18beta1`.
    let major: String = number.chars().take_while(char::is_ascii_digit).collect();
    match major.parse::<u32>() {
        Ok(major) if POSTGRESQL.contains(&major) => Ok(format!("PostgreSQL {number}")),
        Ok(_) => Err(BackendError::Unsupported(format!(
            "PostgreSQL {number} is not a version that this release knows; it knows {} to {}",
            POSTGRESQL.start(),
            POSTGRESQL.end()
        ))),
        Err(_) => Err(BackendError::unavailable("the database says no version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_major_version_that_nobody_has_tried_is_refused_by_name() {
        for (said, known) in [
            ("15.10 (Debian 15.10-0+deb12u1)", "PostgreSQL 15.10"),
            ("13.0", "PostgreSQL 13.0"),
            ("18beta1", "PostgreSQL 18beta1"),
        ] {
            assert_eq!(postgresql(said).as_deref(), Ok(known));
        }
        for (said, named) in
            [("12.22", "PostgreSQL 12.22 "), ("9.6.24", "PostgreSQL 9.6.24 "), ("19.0 (x)", "PostgreSQL 19.0 ")]
        {
            let Err(BackendError::Unsupported(text)) = postgresql(said) else { panic!("{said}") };
            assert!(text.starts_with(named) && text.ends_with("13 to 18"), "{text}");
        }
        for nonsense in ["", "x", "-1", "99999999999999999999.1"] {
            assert!(matches!(postgresql(nonsense), Err(BackendError::Unavailable { .. })), "{nonsense}");
        }
    }
}
