//! Digests as text that fits into records and documents.

/// Base32 in lower case, without padding (RFC 4648, 6); `bytes` is a multiple of 5.
pub(crate) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let n = chunk.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            (0..8).rev().map(move |i| ALPHABET[(n >> (5 * i)) as usize & 31] as char)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_rfc_has_it() {
        assert_eq!(base32(b"fooba"), "mzxw6ytb");
    }
}
