//! Passwords as Dovecot and SOGo store them: `{SCHEME}` and a hash. Pure; the slow ones belong on a blocking thread.

use super::stored_hash;
use crate::{BackendError, Result};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailtenant_backend::secret::SecretText;
use mailtenant_clock::Random;

const ALLOWED: &str = "allowed are $argon2id$ and $argon2i$ (m up to 65536, m times t up to 262144, p up to 8), $2y$, $2b$ and $2a$ \
                       (cost 04 to 12), $5$ and $6$ (rounds up to 656000), {SSHA512} and {SSHA256}";

/// What is stored for a password that we made ourselves: with more than 128 bits no slow hash is needed.
pub fn fast(text: &SecretText, random: &dyn Random) -> SecretText {
    let mut salt = [0u8; 16];
    random.fill(&mut salt);
    SecretText::new(format!("{{SSHA512}}{}", STANDARD.encode(salted(text.expose(), &salt))))
}

fn salted(text: &str, salt: &[u8]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA512);
    context.update(text.as_bytes());
    context.update(salt);
    [context.finish().as_ref(), salt].concat()
}

/// What is stored for a password that a person chose: argon2id, m = 19 MiB, t = 2, p = 1; about 20 ms.
pub fn slow(text: &SecretText, random: &dyn Random) -> Result<SecretText> {
    let failed = |_| BackendError::Rejected("the password cannot be hashed".into());
    let mut salt = [0u8; 16];
    random.fill(&mut salt);
    let params = Params::new(19_456, 2, 1, None).map_err(|_| BackendError::Rejected("argon2 parameters".into()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2.hash_password_with_salt(text.expose().as_bytes(), &salt).map_err(failed)?;
    Ok(SecretText::new(format!("{{ARGON2ID}}{hash}")))
}

/// A stored value that no password fits.
pub fn locked(random: &dyn Random) -> SecretText {
    let mut bytes = [0u8; 32];
    random.fill(&mut bytes);
    fast(&SecretText::new(STANDARD.encode(bytes)), random)
}

/// Whether verifying against a stored value takes long.
pub fn is_slow(stored: &str) -> bool {
    stored.starts_with("{ARGON2") || stored.starts_with('$')
}

/// Whether a plain text fits a stored value. Only formats that we write ourselves are known; another one fits nothing.
/// Nor does one that costs more than [`stored_hash`] allows, as a row may have that was there before: it is not compared.
/// What follows is that the declared password is written over it, which is what was asked for, and the costly hash is
/// gone; taken for a match it would stay, with a password that nobody has checked.
pub fn fits(text: &SecretText, stored: &str) -> bool {
    if let Some(rest) = stored.strip_prefix("{SSHA512}") {
        let Ok(bytes) = STANDARD.decode(rest) else { return false };
        let Some(salt) = bytes.get(64..) else { return false };
        return verify_slices_are_equal(&salted(text.expose(), salt), &bytes).is_ok();
    }
    let phc = ["{ARGON2ID}", "{ARGON2I}"].iter().find_map(|p| stored.strip_prefix(p)).unwrap_or(stored);
    if stored_hash::argon2(phc).is_err() {
        return false;
    }
    match PasswordHash::new(phc) {
        Ok(hash) => Argon2::default().verify_password(text.expose().as_bytes(), &hash).is_ok(),
        Err(_) => false,
    }
}

/// A PHC or crypt string, or one with a `{SCHEME}` already, as it is stored.
pub fn given(text: &SecretText) -> Result<SecretText> {
    let text = text.expose().trim();
    let refuse = |why: &str| Err(BackendError::Rejected(format!("password hash: {why}; {ALLOWED}")));
    let (scheme, hash) = match text.strip_prefix('{').and_then(|t| t.split_once('}')) {
        Some((scheme, hash)) => (Some(scheme.to_ascii_uppercase()), hash),
        None => (None, text),
    };
    if hash.is_empty() || text.len() > 255 || !hash.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse("it is empty, longer than 255 characters or has others than printable ASCII");
    }
    let known = match hash {
        _ if hash.starts_with("$argon2id$") => "ARGON2ID",
        _ if hash.starts_with("$argon2i$") => "ARGON2I",
        _ if ["$2y$", "$2b$", "$2a$"].iter().any(|p| hash.starts_with(p)) => "BLF-CRYPT",
        _ if hash.starts_with("$6$") => "SHA512-CRYPT",
        _ if hash.starts_with("$5$") => "SHA256-CRYPT",
        _ => match scheme.as_deref() {
            Some("SSHA512") => "SSHA512",
            Some("SSHA256") => "SSHA256",
            _ => return refuse("this format is not taken"),
        },
    };
    // {CRYPT} is how others write any crypt string.
    if scheme.as_deref().is_some_and(|s| s != known && s != "CRYPT") {
        return refuse("its {SCHEME} and its form do not fit");
    }
    let sound = match known {
        "ARGON2ID" | "ARGON2I" => stored_hash::argon2(hash),
        "BLF-CRYPT" => stored_hash::bcrypt(hash),
        "SHA512-CRYPT" | "SHA256-CRYPT" => stored_hash::sha_crypt(hash),
        _ => {
            let digest = if known == "SSHA512" { 64 } else { 32 };
            match STANDARD.decode(hash).is_ok_and(|b| b.len() > digest) {
                true => Ok(()),
                false => Err("it is cut off, or not base64"),
            }
        }
    };
    if let Err(why) = sound {
        return refuse(why);
    }
    Ok(SecretText::new(format!("{{{known}}}{hash}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailtenant_clock::SystemRandom;

    #[test]
    fn what_we_write_fits_its_text_alone() {
        let text = SecretText::new("correct horse");
        let other = SecretText::new("correct horsf");
        for stored in [fast(&text, &SystemRandom), slow(&text, &SystemRandom).unwrap()] {
            assert!(fits(&text, stored.expose()));
            assert!(!fits(&other, stored.expose()));
            // what we write we also take
            assert_eq!(given(&stored).unwrap().expose(), stored.expose());
            assert!(stored.expose().len() <= 255);
        }
        assert!(!fits(&text, locked(&SystemRandom).expose()));
        for odd in ["", "{SSHA512}", "{SSHA512}!!", "{PLAIN}correct horse", "correct horse", "{BLF-CRYPT}$2y$05$x"] {
            assert!(!fits(&text, odd), "{odd}");
        }
    }

    #[test]
    fn salted_anew() {
        let text = SecretText::new("x");
        assert_ne!(fast(&text, &SystemRandom).expose(), fast(&text, &SystemRandom).expose());
    }

    #[test]
    fn a_costly_hash_is_not_compared() {
        let text = SecretText::new("correct horse");
        let with = |m, t| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(m, t, 1, None).unwrap());
            format!("{{ARGON2ID}}{}", argon2.hash_password_with_salt(b"correct horse", b"saltsaltsaltsalt").unwrap())
        };
        assert!(fits(&text, &with(64, 4096)));
        assert!(!fits(&text, &with(64, 4097)), "it was compared");
    }

    #[test]
    fn given_hashes() {
        let bcrypt = "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe";
        let sha512 =
            "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
        let argon = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";
        let good = [
            (bcrypt.to_owned(), format!("{{BLF-CRYPT}}{bcrypt}")),
            (bcrypt.replace("$2y$", "$2b$"), format!("{{BLF-CRYPT}}{}", bcrypt.replace("$2y$", "$2b$"))),
            (format!("{{blf-crypt}}{bcrypt}\n"), format!("{{BLF-CRYPT}}{bcrypt}")),
            (sha512.to_owned(), format!("{{SHA512-CRYPT}}{sha512}")),
            (format!("{{CRYPT}}{sha512}"), format!("{{SHA512-CRYPT}}{sha512}")),
            (argon.to_owned(), format!("{{ARGON2ID}}{argon}")),
        ];
        for (text, want) in good {
            assert_eq!(given(&SecretText::new(text.clone())).map(|s| s.expose().to_owned()), Ok(want), "{text}");
        }
        let bad = [
            String::new(),
            "secret".into(),
            "{PLAIN}secret".into(),
            "{MD5-CRYPT}$1$a$b".into(),
            "$1$abcdefgh$tAbDbIZbWvsCVpEyWlnHl0".into(),
            "$y$j9T$abc$def".into(),
            bcrypt[..59].into(),
            format!("{{SHA512-CRYPT}}{bcrypt}"),
            sha512[..60].into(),
            argon.replace("m=19456", "m=262144"),
            argon.replace("t=2", "t=4294967295"),
            bcrypt.replace("$05$", "$31$"),
            sha512.replace("$6$", "$6$rounds=999999999$"),
            sha512.replace("saltsalt", "salt!alt"),
            argon.replace("m=19456,t=2,p=1", "m=0,t=0,p=0"),
            argon[..30].into(),
            "{SSHA512}AAAA".into(),
            format!("{argon} x"),
            format!("$6${}$x", "s".repeat(300)),
        ];
        for text in bad {
            let Err(BackendError::Rejected(why)) = given(&SecretText::new(text.clone())) else { panic!("{text}") };
            assert!(why.contains("allowed are"));
            assert!(text.is_empty() || !why.contains(&text), "the hash stands in the error");
        }
    }
}
