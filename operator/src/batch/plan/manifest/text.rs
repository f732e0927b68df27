//! Lines of a manifest, and bounds on it.

use super::super::PlanItem;
use super::MAX_ITEMS;
use std::fmt;
use std::io::{self, BufRead, Read};

/// Maximum size of a manifest, decompressed, in bytes. The compressed object is bounded likewise.
pub(super) const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Maximum length of a line, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 64 * 1024;

/// Why a manifest is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    #[error(
        "the manifest is larger than {} GiB: write several batches, each with a part of it",
        MAX_MANIFEST_BYTES >> 30
    )]
    TooLarge,
    #[error(
        "the manifest has more than {MAX_ITEMS} lines: write several batches, each with a part of it"
    )]
    TooManyLines,
    #[error("the manifest cannot be decompressed: {0}. Write it again with gzip")]
    Compression(io::Error),
    #[error("{0}")]
    Header(String),
    #[error("reading has stopped")]
    Stopped,
}

impl From<io::Error> for ManifestError {
    fn from(error: io::Error) -> Self {
        if matches!(error.get_ref(), Some(inner) if inner.is::<TooLarge>()) {
            Self::TooLarge
        } else {
            Self::Compression(error)
        }
    }
}

/// Receives the items in order.
pub(super) type Emit<'a> = dyn FnMut(PlanItem) -> Result<(), ManifestError> + 'a;

/// Fails after [`MAX_MANIFEST_BYTES`].
pub(super) struct Bounded<R> {
    input: R,
    left: u64,
}

impl<R> Bounded<R> {
    pub(super) fn new(input: R) -> Self {
        let left = MAX_MANIFEST_BYTES;
        Self { input, left }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::other(TooLarge)),
        }
    }
}

#[derive(Debug)]
struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too large")
    }
}

impl std::error::Error for TooLarge {}

/// Counts lines, blank ones too.
#[derive(Debug, Default)]
pub(super) struct Lines(u64);

impl Lines {
    /// The number of lines so far.
    pub(super) fn count(&self) -> u64 {
        self.0
    }

    pub(super) fn add(&mut self, lines: u64) -> Result<(), ManifestError> {
        self.0 += lines;
        if self.0 > MAX_ITEMS {
            return Err(ManifestError::TooManyLines);
        }
        Ok(())
    }
}

/// One line of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    /// Longer than [`MAX_LINE_BYTES`]: only its beginning.
    TooLong,
}

/// Reads the next line, with its end, into `line`; `None` at the end of the text.
pub(super) fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Line>> {
    line.clear();
    let limit = MAX_LINE_BYTES as u64;
    if input.by_ref().take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.len() == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
        // Nothing follows only if the text ends just here.
        if input.skip_until(b'\n')? > 0 {
            return Ok(Some(Line::TooLong));
        }
    }
    Ok(Some(Line::Whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_bounded_whatever_it_is_compressed_from() {
        let mut endless = Bounded {
            input: io::repeat(b'\n'),
            left: 100_000,
        };
        let mut checked = 0;
        let error = loop {
            match endless.read(&mut [0; 1024]) {
                Ok(count) => checked += count,
                Err(error) => break error,
            }
        };
        assert!((98_000..=100_000).contains(&checked));
        assert!(matches!(error.into(), ManifestError::TooLarge));
        let mut lines = Lines::default();
        lines.add(MAX_ITEMS).unwrap();
        assert!(matches!(lines.add(1), Err(ManifestError::TooManyLines)));
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let long = "x".repeat(MAX_LINE_BYTES + 5);
        let text = format!("{long}\nab\n{}", &long[..MAX_LINE_BYTES]);
        let mut input = text.as_bytes();
        let mut line = Vec::new();
        assert_eq!(
            next_line(&mut input, &mut line).unwrap(),
            Some(Line::TooLong)
        );
        assert_eq!(next_line(&mut input, &mut line).unwrap(), Some(Line::Whole));
        assert_eq!(line, b"ab\n");
        assert_eq!(next_line(&mut input, &mut line).unwrap(), Some(Line::Whole));
        assert_eq!(line.len(), MAX_LINE_BYTES);
        assert_eq!(next_line(&mut input, &mut line).unwrap(), None);
    }
}
