//! SPF: the term of the server in the only SPF record of a name, whoever wrote that record.

use super::view::View;
use crate::policy::{ConflictPolicy, RecordState};
use crate::spf;

/// What a server has of SPF. `own` is the record where there is none yet.
pub(super) fn view(own: &str, term: &str, values: &[String], policy: ConflictPolicy) -> View {
    let there: Vec<&String> = values.iter().filter(|v| spf::is_spf(v)).collect();
    let observed = there.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(" | ");
    let conflict = |message: String| View::Other(RecordState::Conflict, own.into(), observed.clone(), message);
    match there.as_slice() {
        [] => View::Absent,
        [one] if spf::has(one, term) => View::Good((*one).clone()),
        [one] => match spf::merge(one, term) {
            Ok(merged) => {
                let text = format!("add the term {term} to the record that is there: {merged}");
                View::Other(RecordState::Wrong, merged, observed, text)
            }
            Err(_) if policy == ConflictPolicy::Adopt => View::Good((*one).clone()),
            Err(problem) => conflict(problem.to_string()),
        },
        several => {
            let count = several.len();
            match spf::merge_all(several, term) {
                Ok(merged) => {
                    let text = format!("the name has {count} SPF records: merge them into one: {merged}");
                    View::Other(RecordState::Duplicate, merged, observed, text)
                }
                Err(problem) => {
                    let text = format!("the name has {count} SPF records where one is allowed, and {problem}");
                    View::Other(RecordState::Duplicate, own.into(), observed, text)
                }
            }
        }
    }
}
