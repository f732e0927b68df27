//! SHA-256 digests, by which pictures are addressed.

use sha2::Digest as _;
use std::fmt;

/// A SHA-256 digest, printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256([u8; 32]);

/// Rejected text: a digest is 64 lower-case hexadecimal digits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 is 64 lower-case hexadecimal digits, not {0:?}")]
pub struct InvalidDigest(String);

impl Sha256 {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest as 32 bytes, not hexadecimal.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl std::str::FromStr for Sha256 {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let refused = || InvalidDigest(text.chars().take(80).collect());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_can_be_parsed_back() {
        assert_eq!(Sha256::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Sha256::of(b"")));
    }

    #[test]
    fn text_other_than_64_lower_case_digits_is_refused() {
        for wrong in [
            "",
            "e3",
            &EMPTY.to_uppercase(),
            &EMPTY[1..],
            &format!("{EMPTY}00"),
            &"g".repeat(64),
        ] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
    }
}
