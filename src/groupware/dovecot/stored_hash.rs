//! Hashes that others made: what Dovecot and SOGo can verify, at a cost that no sign-in of another tenant feels. Pure.
//!
//! Dovecot hashes in one process for all tenants, SOGo in its few workers: a wrong password for one costly hash stops
//! everybody's sign-in while it is verified. The bounds allow what hosters and password libraries use by default.
//! Seconds of a core for one comparison at the bound (libxcrypt, libsodium; measured): bcrypt 12 0.20, `$6$` 0.16,
//! `$5$` 0.31, argon2 0.12. What was refused for cost took 3.2 (bcrypt 16) and 4.1 (argon2 m=8192, t=2000).

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::ops::RangeInclusive;

/// The exponent of bcrypt; crypt knows none below 4.
const BCRYPT_COST: RangeInclusive<u32> = 4..=12;
/// Of `$5$` and `$6$`; crypt knows none below 1000.
const SHA_ROUNDS: RangeInclusive<u32> = 1_000..=656_000;
/// Dovecot's auth worker has 256 MB: argon2 with more than 64 MiB fails there while SOGo takes it (measured).
const ARGON2_MAX_KIB: u32 = 65_536;
/// What argon2 costs is its memory times its passes.
const ARGON2_MAX_KIB_TIMES_PASSES: u64 = 262_144;
/// Lanes are worked off one after the other.
const ARGON2_LANES: RangeInclusive<u32> = 1..=8;

/// The alphabet of crypt, in the order of its values.
const SHA_ALPHABET: &[u8] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The one of bcrypt.
const BCRYPT_ALPHABET: &[u8] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Why a hash is not taken. No part of the hash stands in it.
pub(crate) type Refusal = &'static str;

/// `$2y$NN$`, 22 characters of salt, 31 of hash.
pub(crate) fn bcrypt(hash: &str) -> Result<(), Refusal> {
    let parts = hash.get(4..).and_then(|rest| rest.split_once('$'));
    let Some((cost, rest)) = parts.filter(|(cost, _)| cost.len() == 2) else {
        return Err("bcrypt is $2y$, two digits of cost, $ and 53 characters");
    };
    if !number(cost.strip_prefix('0').unwrap_or(cost)).is_some_and(|cost| BCRYPT_COST.contains(&cost)) {
        return Err("bcrypt may have a cost of 04 to 12");
    }
    // 128 and 184 bits, six a character: the last one of each has bits left over, which crypt writes as 0.
    match rest.len() == 53
        && encoded(BCRYPT_ALPHABET, &rest.as_bytes()[..22], 16)
        && encoded(BCRYPT_ALPHABET, &rest.as_bytes()[22..], 4)
    {
        true => Ok(()),
        false => Err("bcrypt has 53 characters of ./A-Za-z0-9 after its cost, as crypt writes them"),
    }
}

/// `$6$`, perhaps `rounds=N$`, salt, `$`, hash.
pub(crate) fn sha_crypt(hash: &str) -> Result<(), Refusal> {
    // 512 and 256 bits, the lowest first: the last character is a small one.
    let (length, last) = if hash.starts_with("$6$") { (86, 4) } else { (43, 16) };
    let mut parts = hash.get(3..).unwrap_or_default().split('$').peekable();
    if let Some(rounds) = parts.peek().and_then(|p| p.strip_prefix("rounds=")) {
        if !number(rounds).is_some_and(|rounds| SHA_ROUNDS.contains(&rounds)) {
            return Err("$5$ and $6$ may have rounds=1000 to rounds=656000, or none");
        }
        parts.next();
    }
    let (Some(salt), Some(hash), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err("$5$ and $6$ have a salt and a hash after them, each after a $");
    };
    if !(1..=16).contains(&salt.len()) || !encoded(SHA_ALPHABET, salt.as_bytes(), 1) {
        return Err("the salt of $5$ and $6$ has 1 to 16 characters of ./0-9A-Za-z");
    }
    let small = hash.bytes().last().and_then(|c| value(SHA_ALPHABET, c)).is_some_and(|v| v < last);
    match hash.len() == length && encoded(SHA_ALPHABET, hash.as_bytes(), 1) && small {
        true => Ok(()),
        false => Err("the hash of $6$ has 86 characters of ./0-9A-Za-z, that of $5$ 43, as crypt writes them"),
    }
}

/// `$argon2id$v=19$m=M,t=T,p=P$salt$hash`, exactly as libsodium reads it.
pub(crate) fn argon2(hash: &str) -> Result<(), Refusal> {
    let parts: Vec<&str> = hash.split('$').collect();
    let ["", "argon2id" | "argon2i", "v=19", parameters, salt, digest] = parts[..] else {
        return Err("argon2 is $argon2id$v=19$m=M,t=T,p=P$, a salt, $ and a hash");
    };
    let named: Vec<Option<(&str, u32)>> =
        parameters.split(',').map(|p| p.split_once('=').and_then(|(name, n)| Some((name, number(n)?)))).collect();
    let [Some(("m", memory)), Some(("t", passes)), Some(("p", lanes))] = named[..] else {
        return Err("the parameters of argon2 are m=M,t=T,p=P, in this order");
    };
    let cost = u64::from(memory) * u64::from(passes);
    let least = u64::from(lanes) * 8;
    if !ARGON2_LANES.contains(&lanes) || u64::from(memory) < least || memory > ARGON2_MAX_KIB {
        return Err("argon2 may have p from 1 to 8 and m from 8 times p to 65536 KiB");
    }
    if passes == 0 || cost > ARGON2_MAX_KIB_TIMES_PASSES {
        return Err("argon2 may have t from 1 on, and m times t up to 262144 (m=65536 with t=4)");
    }
    let bytes = |text: &str| STANDARD_NO_PAD.decode(text).map_or(0, |b| b.len());
    match (8..=64).contains(&bytes(salt)) && (16..=64).contains(&bytes(digest)) {
        true => Ok(()),
        false => Err("the salt of argon2 has 8 to 64 bytes, its hash 16 to 64, in base64 without padding"),
    }
}

/// A number in digits, as crypt and libsodium write it: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn value(alphabet: &[u8], c: u8) -> Option<usize> {
    alphabet.iter().position(|a| *a == c)
}

/// All characters are of the alphabet, and the value of the last one is a multiple of `unit`.
fn encoded(alphabet: &[u8], text: &[u8], unit: usize) -> bool {
    text.iter().all(|c| alphabet.contains(c))
        && text.last().and_then(|c| value(alphabet, *c)).is_some_and(|v| v % unit == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
    const SHA512: &str =
        "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
    const SHA256: &str = "$5$rounds=535000$saltsalt$8HpROaLh0CmyaBqWUPORIpxAm7DoOGUVe9lgVmN3BdB";
    const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

    fn judge(hash: &str) -> Result<(), Refusal> {
        match hash {
            _ if hash.starts_with("$2") => bcrypt(hash),
            _ if hash.starts_with("$a") => argon2(hash),
            _ => sha_crypt(hash),
        }
    }

    /// Each from a sound hash by a replacement.
    fn table(rows: &[(&str, &str, &str)], taken: bool) {
        for (sound, from, to) in rows {
            assert!(sound.contains(from), "{from}");
            let hash = sound.replacen(from, to, 1);
            assert_eq!(judge(&hash).is_ok(), taken, "{hash}: {:?}", judge(&hash));
        }
    }

    #[test]
    fn what_hosters_use_is_taken() {
        let argon = "m=19456,t=2,p=1";
        table(
            &[
                (BCRYPT, "", ""),
                (BCRYPT, "$05$", "$04$"),
                (BCRYPT, "$05$", "$10$"),
                (BCRYPT, "$05$", "$12$"),
                (BCRYPT, "$2y$", "$2b$"),
                (SHA512, "", ""),
                (SHA512, "$6$", "$6$rounds=1000$"),
                (SHA512, "$6$", "$6$rounds=5000$"),
                (SHA512, "$6$", "$6$rounds=656000$"),
                (SHA512, "saltsalt", "0123456789abcdef"),
                (SHA256, "", ""),
                (SHA256, "rounds=535000$", ""),
                (ARGON2, "", ""),
                (ARGON2, "argon2id", "argon2i"),
                // PHP; RFC 9106, second choice; OWASP; libsodium, interactive
                (ARGON2, argon, "m=65536,t=4,p=1"),
                (ARGON2, argon, "m=65536,t=3,p=4"),
                (ARGON2, argon, "m=7168,t=5,p=1"),
                (ARGON2, argon, "m=65536,t=2,p=1"),
            ],
            true,
        );
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        let argon = "m=19456,t=2,p=1";
        table(
            &[
                (BCRYPT, "$05$", "$13$"),
                (BCRYPT, "$05$", "$31$"),
                (BCRYPT, "$05$", "$99$"),
                (SHA512, "$6$", "$6$rounds=656001$"),
                (SHA512, "$6$", "$6$rounds=999999999$"),
                (SHA512, "$6$", "$6$rounds=99999999999999999999$"),
                (SHA256, "535000", "1000000"),
                (ARGON2, argon, "m=19456,t=4294967295,p=1"),
                (ARGON2, argon, "m=8192,t=2000,p=1"),
                (ARGON2, argon, "m=8192,t=33,p=1"),
                (ARGON2, argon, "m=65536,t=5,p=1"),
                (ARGON2, argon, "m=65537,t=1,p=1"),
                (ARGON2, argon, "m=4294967295,t=1,p=1"),
                (ARGON2, argon, "m=65536,t=1,p=9"),
                (ARGON2, argon, "m=65536,t=1,p=16777215"),
            ],
            false,
        );
    }

    #[test]
    fn what_no_crypt_knows_is_refused() {
        let argon = "m=19456,t=2,p=1";
        table(
            &[
                (BCRYPT, "$05$", "$03$"),
                (BCRYPT, "$05$", "$00$"),
                (BCRYPT, "$05$", "$5$"),
                (BCRYPT, "$05$", "$+5$"),
                (BCRYPT, "$05$", "$005$"),
                (BCRYPT, "bvIG", "b!IG"),
                (BCRYPT, "bvIG", "b$IG"),
                (BCRYPT, "bvIG", "bvI"),
                (BCRYPT, "ZfO", "ZfP"),
                (BCRYPT, "Fpe", "Fpf"),
                (BCRYPT, "riN", "r=N"),
                (SHA512, "$6$", "$6$rounds=999$"),
                (SHA512, "$6$", "$6$rounds=05000$"),
                (SHA512, "$6$", "$6$rounds=$"),
                (SHA512, "$6$", "$6$rounds=+5000$"),
                (SHA512, "$6$", "$6$rounds=5000$rounds=5000$"),
                (SHA512, "saltsalt", ""),
                (SHA512, "saltsalt", "0123456789abcdefg"),
                (SHA512, "saltsalt", "salt!alt"),
                (SHA512, "saltsalt$", "saltsalt$$"),
                (SHA512, "$saltsalt", ""),
                (SHA512, "Oicd", "O+cd"),
                (SHA512, "nh/", "nhz"),
                (SHA512, "nh/", "nh"),
                (SHA256, "BdB", "BdZ"),
                (SHA256, "$5$", "$6$"),
                (ARGON2, "v=19", "v=16"),
                (ARGON2, "$v=19", ""),
                (ARGON2, argon, "t=2,m=19456,p=1"),
                (ARGON2, argon, "m=19456,t=2"),
                (ARGON2, argon, "m=19456,t=2,p=1,data=AAAA"),
                (ARGON2, argon, "m=019456,t=2,p=1"),
                (ARGON2, argon, "m=0,t=0,p=0"),
                (ARGON2, argon, "m=19456,t=0,p=1"),
                (ARGON2, argon, "m=7,t=1,p=1"),
                (ARGON2, argon, "m=31,t=1,p=4"),
                (ARGON2, "c2FsdHNhbHRzYWx0", "c2Fs"),
                (ARGON2, "c2FsdHNhbHRzYWx0", "c2FsdHNhbH!zYWx0"),
                (ARGON2, "ZWY", "ZWY="),
                (ARGON2, "ZWY", "ZWZ"),
                (ARGON2, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "MDEyMzQ1Njc4OWE"),
            ],
            false,
        );
    }
}
