//! Record sets and changes of them.

/// Type of a DNS record, of those that the operator reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum RecordType {
    MX,
    TXT,
    CNAME,
    SRV,
    TLSA,
    CAA,
    NS,
    SOA,
    A,
    AAAA,
    /// PowerDNS makes the answers of another type from it, which its content names first: `TXT "return 'x'"`.
    LUA,
    /// PowerDNS answers with the addresses of another name.
    ALIAS,
}

/// Numbers that PowerDNS gives to types of its own, of those for private use.
const ALIAS_NUMBER: u16 = 65401;
const LUA_NUMBER: u16 = 65402;

impl RecordType {
    /// The type as zone files have it.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordType::MX => "MX",
            RecordType::TXT => "TXT",
            RecordType::CNAME => "CNAME",
            RecordType::SRV => "SRV",
            RecordType::TLSA => "TLSA",
            RecordType::CAA => "CAA",
            RecordType::NS => "NS",
            RecordType::SOA => "SOA",
            RecordType::A => "A",
            RecordType::AAAA => "AAAA",
            RecordType::LUA => "LUA",
            RecordType::ALIAS => "ALIAS",
        }
    }
}

impl From<RecordType> for hickory_proto::rr::RecordType {
    fn from(rtype: RecordType) -> Self {
        match rtype {
            RecordType::MX => Self::MX,
            RecordType::TXT => Self::TXT,
            RecordType::CNAME => Self::CNAME,
            RecordType::SRV => Self::SRV,
            RecordType::TLSA => Self::TLSA,
            RecordType::CAA => Self::CAA,
            RecordType::NS => Self::NS,
            RecordType::SOA => Self::SOA,
            RecordType::A => Self::A,
            RecordType::AAAA => Self::AAAA,
            RecordType::LUA => Self::Unknown(LUA_NUMBER),
            RecordType::ALIAS => Self::Unknown(ALIAS_NUMBER),
        }
    }
}

/// All records of one name and type (RRset, RFC 2181).
///
/// `name` is absolute, lower case, A-label, without a trailing dot. A value is canonical: for TXT the joined text,
/// for others the presentation form with lower-case absolute host names ([`crate::value::canonical`]).
/// `values` is sorted, each once. If it is empty there is no such record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RrSet {
    /// Absolute name without a trailing dot.
    pub name: String,
    /// Type of all its records.
    pub rtype: RecordType,
    /// Time to live in seconds; without meaning if there are no values.
    pub ttl: u32,
    /// Canonical values, sorted, each once.
    pub values: Vec<String>,
}

/// A change of one set that is made only if the set still equals `before`: compared by the server where it can, else by
/// the provider under a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The set as it was read.
    pub before: RrSet,
    /// The set as it shall be. Without values it is deleted.
    pub after: RrSet,
}
