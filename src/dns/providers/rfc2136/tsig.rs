//! TSIG (RFC 8945): signs requests and checks the signatures of answers. Pure: the time comes from the caller.
//!
//! The records are those of `hickory-proto`. Its signer is behind a feature that builds all of its DNSSEC code and its
//! own crates for time, so the HMAC is computed here.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hickory_resolver::proto::op::{Header, Message, Query};
use hickory_resolver::proto::rr::rdata::TSIG;
use hickory_resolver::proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record};
use hickory_resolver::proto::serialize::binary::{BinDecodable, BinDecoder, BinEncoder};
use mailtenant_backend::secret::SecretText;

/// How far apart the clocks of both sides may be, in seconds (RFC 8945, 10).
pub const FUDGE: u16 = 300;
/// Length of the header of a message, and where the id and the number of additional records stand in it.
const HEADER: usize = 12;
const ADDITIONAL: std::ops::Range<usize> = 10..12;

/// Hash of a key's HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-256.
    HmacSha256,
    /// HMAC-SHA-384.
    HmacSha384,
    /// HMAC-SHA-512.
    HmacSha512,
}

impl Algorithm {
    fn on_the_wire(self) -> TsigAlgorithm {
        match self {
            Algorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            Algorithm::HmacSha384 => TsigAlgorithm::HmacSha384,
            Algorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Algorithm::HmacSha256 => hmac::HMAC_SHA256,
            Algorithm::HmacSha384 => hmac::HMAC_SHA384,
            Algorithm::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The name is no DNS name.
    #[error("the name of the TSIG key is not a DNS name")]
    Name,
    /// The secret is not base64, or empty.
    #[error("it is not base64: put the text in there that stands after the word secret in the output of tsig-keygen")]
    Secret,
}

/// A key that both sides have.
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    key: hmac::Key,
}

/// Why an answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unverified {
    /// It has no signature.
    Unsigned,
    /// The server says that our request was not signed as it must be.
    Refused(TsigError),
    /// The server's clock differs from ours by so many seconds.
    Clocks(u64),
    /// The signature is not that of this key for this answer.
    Wrong,
}

impl Key {
    /// A key by its name (with or without a trailing dot) and its secret in base64.
    pub fn new(name: &str, algorithm: Algorithm, secret: &SecretText) -> Result<Key, BadKey> {
        let mut name = Name::from_ascii(name).map_err(|_| BadKey::Name)?;
        name.set_fqdn(true);
        let secret = STANDARD.decode(secret.expose().trim()).map_err(|_| BadKey::Secret)?;
        let secret = zeroize::Zeroizing::new(secret);
        if secret.is_empty() {
            return Err(BadKey::Secret);
        }
        Ok(Key { name, algorithm, key: hmac::Key::new(algorithm.hmac(), &secret) })
    }

    /// Signs a request at a time in seconds since 1970. Returned are the bytes to send, and its MAC, which
    /// [`Key::verify`] wants. None: the message cannot be written.
    pub fn sign(&self, mut message: Message, time: u64) -> Option<(Vec<u8>, Vec<u8>)> {
        let id = message.metadata.id;
        let mut tsig = TSIG::new(self.algorithm.on_the_wire(), time, FUDGE, vec![], id, None, vec![]);
        let mut signed = message.to_vec().ok()?;
        signed.extend(self.variables(&tsig)?);
        let mac = hmac::sign(&self.key, &signed).as_ref().to_vec();
        tsig.mac.clone_from(&mac);
        let mut record = Record::from_rdata(self.name.clone(), 0, tsig);
        record.dns_class = DNSClass::ANY;
        message.signature = Some(Box::new(record));
        Some((message.to_vec().ok()?, mac))
    }

    /// Checks that an answer is the server's own, for the request of that MAC.
    pub fn verify(&self, answer: &[u8], request_mac: &[u8], time: u64) -> Result<(), Unverified> {
        let (end, name, tsig) = signature(answer).ok_or(Unverified::Unsigned)?;
        // These two are not signed: the server has no key that it could sign with.
        if let Some(error @ (TsigError::BadKey | TsigError::BadSig)) = tsig.error {
            return Err(Unverified::Refused(error));
        }
        if name != self.name || tsig.algorithm != self.algorithm.on_the_wire() {
            return Err(Unverified::Wrong);
        }
        let mut signed = u16::try_from(request_mac.len()).map_err(|_| Unverified::Wrong)?.to_be_bytes().to_vec();
        signed.extend_from_slice(request_mac);
        let start = signed.len();
        signed.extend_from_slice(&answer[..end]);
        // As it was before the signature: with the id of the request, and one record less.
        let count = u16::from_be_bytes([answer[ADDITIONAL.start], answer[ADDITIONAL.start + 1]]);
        signed[start..start + 2].copy_from_slice(&tsig.oid.to_be_bytes());
        signed[start + ADDITIONAL.start..start + ADDITIONAL.end]
            .copy_from_slice(&count.saturating_sub(1).to_be_bytes());
        signed.extend(self.variables(&tsig).ok_or(Unverified::Wrong)?);
        hmac::verify(&self.key, &signed, &tsig.mac).map_err(|_| Unverified::Wrong)?;
        match tsig.error {
            Some(TsigError::BadTime) => Err(Unverified::Clocks(server_time(&tsig).abs_diff(time))),
            Some(error) => Err(Unverified::Refused(error)),
            None if tsig.time.abs_diff(time) > u64::from(FUDGE) => Err(Unverified::Clocks(tsig.time.abs_diff(time))),
            None => Ok(()),
        }
    }

    /// What is signed besides the message (RFC 8945, 4.3.3).
    fn variables(&self, tsig: &TSIG) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(64);
        tsig.emit_tsig_for_mac(&mut BinEncoder::new(&mut out), &self.name).ok()?;
        Some(out)
    }
}

/// The time of the server in an answer with the error BADTIME: 48 bits (RFC 8945, 5.2.3).
fn server_time(tsig: &TSIG) -> u64 {
    tsig.other.iter().take(6).fold(0, |time, byte| (time << 8) | u64::from(*byte))
}

/// Where the signature of a message begins, the name of its key, and the signature: the last record of all.
fn signature(message: &[u8]) -> Option<(usize, Name, TSIG)> {
    let mut decoder = BinDecoder::new(message.get(..).filter(|m| m.len() >= HEADER)?);
    let counts = Header::read(&mut decoder).ok()?.counts;
    for _ in 0..counts.queries {
        Query::read(&mut decoder).ok()?;
    }
    let records = u32::from(counts.answers) + u32::from(counts.authorities) + u32::from(counts.additionals);
    if counts.additionals == 0 {
        return None;
    }
    for _ in 1..records {
        Record::read(&mut decoder).ok()?;
    }
    let end = decoder.index();
    let last = Record::read(&mut decoder).ok()?;
    match last.data {
        RData::TSIG(tsig) if decoder.is_empty() => Some((end, last.name, tsig)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::MessageType;
    use hickory_resolver::proto::rr::RecordType;
    use std::str::FromStr;

    const SECRET: &str = "bWFpbG9wLXRlc3Qta2V5LTMyLWJ5dGVzLWxvbmchISE=";

    fn key(name: &str, algorithm: Algorithm, secret: &str) -> Key {
        Key::new(name, algorithm, &SecretText::new(secret)).unwrap()
    }

    fn query() -> Message {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.add_query(Query::query(Name::from_str("acme.test.").unwrap(), RecordType::SOA));
        message
    }

    /// An answer as a server signs it: over the request's MAC too.
    fn answered(key: &Key, request_mac: &[u8], time: u64, error: Option<TsigError>, other: Vec<u8>) -> Vec<u8> {
        let mut message = query();
        message.metadata.message_type = MessageType::Response;
        let mut tsig = TSIG::new(key.algorithm.on_the_wire(), time, FUDGE, vec![], 4711, error, other);
        let mut signed = u16::try_from(request_mac.len()).unwrap().to_be_bytes().to_vec();
        signed.extend_from_slice(request_mac);
        signed.extend(message.to_vec().unwrap());
        signed.extend(key.variables(&tsig).unwrap());
        tsig.mac = hmac::sign(&key.key, &signed).as_ref().to_vec();
        let mut record = Record::from_rdata(key.name.clone(), 0, tsig);
        record.dns_class = DNSClass::ANY;
        message.signature = Some(Box::new(record));
        message.to_vec().unwrap()
    }

    #[test]
    fn a_key_is_base64() {
        fn bad(name: &str, secret: &str) -> Option<BadKey> {
            Key::new(name, Algorithm::HmacSha256, &SecretText::new(secret)).err()
        }
        assert_eq!(bad("mailtenant.", SECRET), None);
        assert_eq!(bad("mailtenant", &format!(" {SECRET}\n")), None);
        for secret in ["", "no base64!", "key \"mailtenant.\" {", "bWFpbG9wLXRlc3"] {
            assert_eq!(bad("mailtenant.", secret), Some(BadKey::Secret), "{secret}");
        }
        assert_eq!(bad(&"a".repeat(64), SECRET), Some(BadKey::Name));
    }

    #[test]
    fn an_answer_counts_if_its_signature_is_that_of_the_key_for_the_request() {
        let time = 1_795_970_646;
        for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha384, Algorithm::HmacSha512] {
            let ours = key("mailtenant.", algorithm, SECRET);
            let (request, mac) = ours.sign(query(), time).unwrap();
            assert_eq!(signature(&request).unwrap().2.mac, mac);
            let good = answered(&ours, &mac, time, None, vec![]);
            assert_eq!(ours.verify(&good, &mac, time), Ok(()));
            assert_eq!(ours.verify(&good, &mac, time + 300), Ok(()));
            assert_eq!(ours.verify(&good, &mac, time + 301), Err(Unverified::Clocks(301)));
            // Another request, another key, a changed bit, nothing at all.
            assert_eq!(ours.verify(&good, &[0; 32], time), Err(Unverified::Wrong));
            for other in [key("other.", algorithm, SECRET), key("mailtenant.", algorithm, "b3RoZXI=")] {
                assert_eq!(
                    ours.verify(&answered(&other, &mac, time, None, vec![]), &mac, time),
                    Err(Unverified::Wrong)
                );
            }
            let mut changed = good.clone();
            changed[3] ^= 0x40;
            assert_eq!(ours.verify(&changed, &mac, time), Err(Unverified::Wrong));
            assert_eq!(ours.verify(&query().to_vec().unwrap(), &mac, time), Err(Unverified::Unsigned));
            for length in 0..good.len() {
                assert_eq!(ours.verify(&good[..length], &mac, time), Err(Unverified::Unsigned), "cut at {length}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        let (ours, time) = (key("mailtenant.", Algorithm::HmacSha256, SECRET), 1_795_970_646);
        let (_, mac) = ours.sign(query(), time).unwrap();
        let late = (time + 4000).to_be_bytes()[2..].to_vec();
        let refused = answered(&ours, &mac, time, Some(TsigError::BadTime), late);
        assert_eq!(ours.verify(&refused, &mac, time), Err(Unverified::Clocks(4000)));
        for error in [TsigError::BadKey, TsigError::BadSig, TsigError::BadTrunc] {
            let refused = answered(&ours, &mac, time, Some(error), vec![]);
            assert_eq!(ours.verify(&refused, &mac, time), Err(Unverified::Refused(error)));
        }
    }
}
