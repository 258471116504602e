//! Names at which a record of another type answers in the place of ours: a CNAME, LUA records of PowerDNS, and whatever stands
//! where our CNAME should.

use super::exclusive::{KEPT_AS_FOUND, choice};
use super::planner::Planner;
use crate::policy::{ConflictPolicy, Ownership, Purpose, RecordState};
use crate::records::{Mode, Record};
use crate::rr::RecordType;

/// Types beside which no CNAME may be (RFC 1034, 3.6.2), as far as a server can be asked for each by itself. BIND and Knot
/// answer NOERROR to a CNAME beside them and leave it out.
pub(super) const BESIDE_ALIAS: &[RecordType] = &[
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::MX,
    RecordType::SRV,
    RecordType::CAA,
    RecordType::TLSA,
    RecordType::NS,
    RecordType::ALIAS,
    RecordType::LUA,
];

impl Planner<'_> {
    /// Whether a record can be planned at its name. What is in its place is reported, kept or taken away, as the policy says.
    pub(super) fn makes_room(&mut self, record: &Record, policy: ConflictPolicy) -> bool {
        if record.rtype == RecordType::CNAME {
            return self.is_alone(record, policy);
        }
        for rtype in [RecordType::CNAME, RecordType::LUA] {
            let occupants = self.occupants(record, rtype);
            if !occupants.is_empty() && !self.takes_away(record, (rtype, &occupants), policy) {
                return false;
            }
        }
        true
    }

    /// Whether nothing stands beside a CNAME. What does may be somebody's web site: it is never taken away.
    fn is_alone(&mut self, record: &Record, policy: ConflictPolicy) -> bool {
        for rtype in BESIDE_ALIAS {
            let set = self.sets.get(&(record.name.clone(), *rtype));
            let there: Vec<String> = set.map(|s| s.before.values.clone()).unwrap_or_default();
            if there.is_empty() {
                continue;
            }
            if policy == ConflictPolicy::Adopt && *rtype != RecordType::NS {
                there.iter().for_each(|value| self.adopt(record, *rtype, value));
            } else {
                let text = "no CNAME can be beside it (RFC 1034, 3.6.2): remove it, or set dns.conflictPolicy: Adopt (keeps it)";
                self.conflict(record, RecordState::Conflict, (*rtype, &there), text);
            }
            return false;
        }
        true
    }

    /// The records of this type that are answered in the place of a record.
    fn occupants(&self, record: &Record, rtype: RecordType) -> Vec<String> {
        let Some(set) = self.sets.get(&(record.name.clone(), rtype)) else { return vec![] };
        let answers = |content: &&String| {
            let made = content.split_whitespace().next().unwrap_or_default();
            // Values that LUA records make stand beside those of the name: where others may be too, they are in nobody's way.
            made == "CNAME" || (made == record.rtype.as_str() && record.mode != Mode::SharedValues)
        };
        // Beside a CNAME no other record may be (RFC 1034, 3.6.2).
        let counts = |content: &&String| rtype == RecordType::CNAME || answers(content);
        set.before.values.iter().filter(counts).cloned().collect()
    }

    /// Whether what is in the place of a record goes, in the same change that brings the record.
    fn takes_away(&mut self, record: &Record, there: (RecordType, &[String]), policy: ConflictPolicy) -> bool {
        let adoptable = !matches!(record.purpose, Purpose::DKIM | Purpose::Challenge | Purpose::Marker);
        // At the domain itself it may be its web site: it is nothing of mail, and never ours to take away.
        let domain_itself = matches!(record.mode, Mode::Switch | Mode::SpfTerm);
        match policy {
            _ if domain_itself && there.0 == RecordType::CNAME => {
                let text =
                    "beside a CNAME no MX and no SPF can be (RFC 1034, 3.6.2): replace it by address records (A, AAAA)";
                self.conflict(record, RecordState::Conflict, there, text);
                false
            }
            _ if domain_itself => {
                let text = "it answers in the place of what mail needs: replace it by records that say what it answers";
                self.conflict(record, RecordState::Conflict, there, text);
                false
            }
            ConflictPolicy::Overwrite => {
                if let Some(set) = self.sets.get_mut(&(record.name.clone(), there.0)) {
                    set.values.retain(|v| !there.1.contains(v));
                }
                true
            }
            ConflictPolicy::Adopt if adoptable => {
                for value in there.1 {
                    self.adopt(record, there.0, value);
                }
                false
            }
            ConflictPolicy::Adopt | ConflictPolicy::Refuse => {
                self.conflict(record, RecordState::Conflict, there, choice(record.purpose));
                false
            }
        }
    }

    /// Keeps a record of another type in the place of ours. What it leads to is judged by who can ask for it.
    fn adopt(&mut self, record: &Record, rtype: RecordType, value: &str) {
        let record = Record { rtype, ..record.clone() };
        if self.out.journal.iter().any(|e| self.is_for(e, &record) && e.value == value) {
            // It stands in the place of another record of this name too.
            return;
        }
        let known = self.journal.iter().find(|e| self.is_for(e, &record) && e.value == value);
        // What was seen behind it stays until it is looked at again.
        let (state, message) = known.map_or((RecordState::Ok, None), |e| (e.state, e.message.clone()));
        let entry = self.add_entry(&record, value, state, Some(Ownership::Adopted));
        entry.message = Some(message.unwrap_or_else(|| KEPT_AS_FOUND.into()));
    }
}
