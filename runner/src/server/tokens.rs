//! The accepted bearer tokens, read again when their file changes.

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Upper bound on accepted tokens; two are enough for a rotation.
const MAX_TOKENS: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read --token-file {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file holds no token, or too many.
    #[error(
        "--token-file {0} holds {1} tokens; write 1 to {MAX_TOKENS} bearer tokens, one on a line; \
         each is accepted"
    )]
    Number(PathBuf, usize),
}

/// Digests of the tokens: the time to compare digests reveals nothing about a token.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    digests: RwLock<Vec<[u8; 32]>>,
}

impl Tokens {
    /// Reads a file with one token on each line.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        Ok(Self {
            path: path.to_owned(),
            digests: RwLock::new(read(path)?),
        })
    }

    /// Reads the file again. On an error the old tokens stay accepted.
    pub fn refresh(&self) -> Result<(), TokenError> {
        let digests = read(&self.path)?;
        *(self.digests.write()).unwrap_or_else(PoisonError::into_inner) = digests;
        Ok(())
    }

    pub(super) fn contains(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        let digests = self.digests.read();
        (digests.unwrap_or_else(PoisonError::into_inner)).contains(&presented)
    }
}

fn read(path: &Path) -> Result<Vec<[u8; 32]>, TokenError> {
    let text = std::fs::read_to_string(path).map_err(|source| TokenError::Read {
        path: path.to_owned(),
        source,
    })?;
    let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let digests: Vec<_> = tokens.map(|token| Sha256::digest(token).into()).collect();
    if (1..=MAX_TOKENS).contains(&digests.len()) {
        Ok(digests)
    } else {
        Err(TokenError::Number(path.to_owned(), digests.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(Tokens::open(&path), Err(TokenError::Read { .. })));
        for text in [" \n", "a\nb\nc\nd\ne"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Tokens::open(&path), Err(TokenError::Number(..))));
        }
    }

    #[test]
    fn while_tokens_change_the_old_and_the_new_are_good() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old\n").unwrap();
        let tokens = Tokens::open(&path).unwrap();
        assert!(tokens.contains(b"old") && !tokens.contains(b"new") && !tokens.contains(b""));
        std::fs::write(&path, "old\n new \n").unwrap();
        tokens.refresh().unwrap();
        assert!(tokens.contains(b"old") && tokens.contains(b"new"));
        std::fs::write(&path, "").unwrap();
        assert!(tokens.refresh().is_err());
        assert!(tokens.contains(b"new"));
    }
}
