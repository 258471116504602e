//! A set with values of several owners: each of ours is added and removed by itself.

use super::planner::Planner;
use crate::records::Record;

impl Planner<'_> {
    pub(super) fn shared(&mut self, record: &Record) {
        let live = self.live(record);
        for value in &record.values {
            if live.contains(value) { self.keep(record, value) } else { self.create(record, value) }
        }
        self.edit(record, |set| set.own_ttl = Some(record.ttl));
    }
}
