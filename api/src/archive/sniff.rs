//! What an upload is, by its first bytes, whatever its name and Content-Type. Pure.

use flate2::read::MultiGzDecoder;
use std::io::Read as _;

/// Bytes at the start of an upload that determine what it is.
pub(crate) const HEAD_BYTES: usize = 8 * 1024;

/// What can be uploaded for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A manifest, with the extension that says how to read it.
    Manifest(&'static str),
    Tar {
        gzip: bool,
    },
    Zip,
}

/// The kind of an upload that begins with `head`; `None` if it is of none.
pub(crate) fn sniff(head: &[u8]) -> Option<Kind> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(Kind::Zip);
    }
    if !head.starts_with(b"\x1f\x8b") {
        return plain(head, false);
    }
    let mut inner = Vec::new();
    // The head may end within the compressed stream: what came before counts.
    let _ = MultiGzDecoder::new(head)
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut inner);
    plain(&inner, true)
}

fn plain(head: &[u8], gzip: bool) -> Option<Kind> {
    if head.get(257..262) == Some(b"ustar") {
        return Some(Kind::Tar { gzip });
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    if text.first() == Some(&b'{') {
        return Some(Kind::Manifest(if gzip { "jsonl.gz" } else { "jsonl" }));
    }
    let header = text.split(|byte| matches!(byte, b'\n' | b'\r')).next()?;
    let mut columns = header.split(|byte| *byte == b',');
    let has_key = columns.any(|column| matches!(column.trim_ascii(), b"key" | b"\"key\""));
    has_key.then_some(Kind::Manifest(if gzip { "csv.gz" } else { "csv" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_first_bytes_say_what_an_upload_is() {
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let jsonl = &b"\n {\"key\":\"a.jpg\"}\n"[..];
        for (head, plain, compressed) in [
            (jsonl, Kind::Manifest("jsonl"), Kind::Manifest("jsonl.gz")),
            (
                b"id,key\n1,a",
                Kind::Manifest("csv"),
                Kind::Manifest("csv.gz"),
            ),
            (&tar, Kind::Tar { gzip: false }, Kind::Tar { gzip: true }),
        ] {
            assert_eq!(sniff(head), Some(plain));
            assert_eq!(sniff(&gzip(head)), Some(compressed));
        }
        assert_eq!(sniff(b"PK\x03\x04...."), Some(Kind::Zip));
        for nothing in [
            &b""[..],
            b"\x1f\x8b",
            b"[1]",
            b"a,b\n1,2",
            b"\xff\xd8\xff",
            &[0; 512],
        ] {
            assert_eq!(sniff(nothing), None, "{nothing:?}");
        }
    }
}
