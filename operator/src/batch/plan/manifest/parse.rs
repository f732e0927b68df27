//! Reads a manifest from its bytes, in each of its forms.

use super::item::Checks;
use super::text::{Bounded, Emit, ManifestError};
use super::{csv, json};
use flate2::read::MultiGzDecoder;
use std::io::{BufReader, Read};

/// Reads are of this many bytes.
const BUFFER_BYTES: usize = 64 * 1024;

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Form of a manifest, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub is_csv: bool,
    pub is_compressed: bool,
}

impl Form {
    pub(super) fn of(key: &str) -> Self {
        let plain = without(key, ".gz");
        Self {
            is_csv: without(plain.unwrap_or(key), ".csv").is_some(),
            is_compressed: plain.is_some(),
        }
    }
}

/// The name without an extension, which it has in any case; `None` if it has another one.
fn without<'a>(name: &'a str, extension: &str) -> Option<&'a str> {
    let (stem, end) = name.split_at_checked(name.len().checked_sub(extension.len())?)?;
    end.eq_ignore_ascii_case(extension).then_some(stem)
}

/// Parses a whole manifest.
pub(super) fn parse(
    input: impl Read,
    form: Form,
    checks: &Checks,
    emit: &mut Emit<'_>,
) -> Result<(), ManifestError> {
    let input = Bounded::new(input);
    if form.is_compressed {
        parse_plain(Bounded::new(MultiGzDecoder::new(input)), form, checks, emit)
    } else {
        parse_plain(input, form, checks, emit)
    }
}

fn parse_plain(
    mut input: impl Read,
    form: Form,
    checks: &Checks,
    emit: &mut Emit<'_>,
) -> Result<(), ManifestError> {
    let mut start = Vec::new();
    let limit = BYTE_ORDER_MARK.len() as u64;
    input.by_ref().take(limit).read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    let mut input = BufReader::with_capacity(BUFFER_BYTES, start.chain(input));
    if form.is_csv {
        csv::parse(&mut input, checks, emit)
    } else {
        json::parse(&mut input, checks, emit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::tests::checks;
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::{self, Write as _};
    use std::time::{Duration, Instant};

    fn gz(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn keys(name: &str, input: impl Read) -> Result<Vec<String>, ManifestError> {
        let mut keys = Vec::new();
        parse(input, Form::of(name), &checks(), &mut |item| {
            keys.push(item.key);
            Ok(())
        })?;
        Ok(keys)
    }

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[test]
    fn the_form_is_in_the_name() {
        for (key, is_csv, is_compressed) in [
            ("a.jsonl", false, false),
            ("a", false, false),
            ("a.csv", true, false),
            ("a/b.CSV.gz", true, true),
            ("a.jsonl.GZ", false, true),
            ("csv", false, false),
        ] {
            let form = Form {
                is_csv,
                is_compressed,
            };
            assert_eq!(Form::of(key), form, "{key}");
        }
    }

    #[test]
    fn all_forms_are_read_alike_however_they_arrive() {
        let json = "\u{feff}{\"key\": \"a b.jpg\"}\r\n\n  \n{\"key\": \"c.jpg\", \"id\": \"1\"}";
        let csv = "\u{feff}id,key\r\n\r\n,a b.jpg\r\n1,\"c.jpg\"";
        for (name, text) in [("m.jsonl", json), ("m.csv", csv)] {
            let text = text.as_bytes();
            let zipped = gz(text);
            let twice = [gz(&text[..20]), gz(&text[20..])].concat();
            let name_gz = format!("{name}.gz");
            for (name, bytes) in [(name, text), (&name_gz, &zipped), (&name_gz, &twice)] {
                assert_eq!(keys(name, bytes).unwrap(), ["a b.jpg", "c.jpg"], "{name}");
                let slow = keys(name, Slow(bytes));
                assert_eq!(slow.unwrap(), ["a b.jpg", "c.jpg"], "{name} by the byte");
            }
        }
    }

    #[test]
    fn what_is_no_gzip_or_is_cut_is_refused() {
        let whole = gz(b"{\"key\": \"a.jpg\"}\n");
        for bytes in [&b"{\"key\": \"a.jpg\"}\n"[..], &whole[..whole.len() - 9]] {
            let refused = keys("m.gz", bytes);
            assert!(matches!(refused, Err(ManifestError::Compression(_))));
        }
    }

    #[test]
    fn ten_million_empty_lines_take_a_moment_and_no_memory() {
        for name in ["m.jsonl.gz", "m.csv.gz"] {
            let mut bytes = gz(&vec![b'\n'; 10_000_000]);
            let line: &[u8] = if name.contains("csv") {
                b"key\na.jpg\n"
            } else {
                b"{\"key\": \"a.jpg\"}\n"
            };
            bytes.extend(gz(line));
            assert!(bytes.len() < 100_000);
            let began = Instant::now();
            assert_eq!(keys(name, &bytes[..]).unwrap(), ["a.jpg"]);
            let took = began.elapsed();
            assert!(took < Duration::from_secs(30), "{name}: {took:?}");
        }
    }
}
