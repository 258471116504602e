//! Values and terms that we wrote and do not want any more.

use super::journal::{is_ours, leaving, may_hold_term, rtype_of, same_record};
use super::planner::Planner;
use crate::policy::{Ownership, Purpose};
use crate::spf;

impl Planner<'_> {
    /// Removes them where they are there, and forgets them where they are not.
    pub(super) fn leftovers(&mut self) {
        for e in self.journal.iter().filter(|e| is_ours(e)) {
            if self
                .out
                .journal
                .iter()
                .any(|n| same_record(n, e) && (n.term == e.term || n.ownership == Some(Ownership::Created)))
            {
                continue;
            }
            let Some(set) = rtype_of(e).and_then(|t| self.sets.get_mut(&(e.name.clone(), t))) else {
                if !self.out.journal.iter().any(|n| same_record(n, e)) {
                    self.out.journal.push(e.clone());
                }
                continue;
            };
            if e.purpose == Purpose::MX {
                if !self.mx_done && !self.out.journal.iter().any(|n| same_record(n, e)) {
                    self.out.journal.push(e.clone());
                }
                continue;
            }
            let mut gone = false;
            if e.ownership == Some(Ownership::Created) && set.before.values.contains(&e.value) {
                gone = !set.kept.contains(&e.value) && set.values.remove(&e.value);
            } else if let Some(term) = e.term.as_ref().filter(|_| may_hold_term(e)) {
                // The record as it is now, which the tenant may have changed since.
                let wanted = self
                    .out
                    .journal
                    .iter()
                    .any(|n| n.name == e.name && n.purpose == e.purpose && n.term.as_ref() == Some(term));
                let holder = set.values.iter().find(|v| spf::has(v, term)).cloned();
                if let (Some(text), false) = (holder, wanted) {
                    set.values.remove(&text);
                    let rest = spf::unmerge(&text, term);
                    let kept = set.kept.remove(&text);
                    // Of a record that we made and whose `all` somebody changed nothing is left to keep: alone, a `-all` has all
                    // mail of the domain rejected, wherever it is sent from by now.
                    let made = e.edited || e.ownership == Some(Ownership::Created);
                    if !made || !spf::names_nobody(&rest) {
                        if kept {
                            set.kept.insert(rest.clone());
                        }
                        set.values.insert(rest);
                    }
                    gone = true;
                }
            }
            if gone {
                self.out.journal.push(leaving(e.clone()));
            }
        }
    }
}
