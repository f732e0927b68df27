//! A JPEG's markers (ITU T.81, annex B). Decoders fill missing data with grey, so a file without an
//! end marker must be detected here.

const MARKER: u8 = 0xff;
const START_OF_IMAGE: u8 = 0xd8;
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
pub(super) const APP1: u8 = 0xe1;

/// The next marker from `at` on and its end; skips fill bytes, stuffed bytes, restarts and coded
/// data.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(MARKER, bytes.get(at..)?)? + 1;
        match *bytes.get(at)? {
            0x00 | 0xd0..=0xd7 | MARKER => {}
            marker => return Some((marker, at + 1)),
        }
    }
}

/// The data of a marker with a length; the length includes itself.
fn segment(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let &[high, low] = bytes.get(at..at + 2)? else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([high, low])).max(2);
    bytes.get(at + 2..at + length)
}

/// Markers and their segments up to the first scan.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let (marker, end) = next_marker(bytes, at)?;
        if marker == START_OF_SCAN || marker == END_OF_IMAGE {
            return None;
        }
        let segment = segment(bytes, end)?;
        at = end + 2 + segment.len();
        Some((marker, segment))
    })
}

/// Whether there is an end-of-image marker. Segments are skipped by their lengths, so a
/// thumbnail's own end does not count.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    // After the start-of-image marker.
    let mut at = 2;
    while let Some((marker, end)) = next_marker(bytes, at) {
        at = match marker {
            END_OF_IMAGE => return true,
            // Markers that stand alone.
            0x01 | START_OF_IMAGE => end,
            _ => match segment(bytes, end) {
                Some(segment) => end + 2 + segment.len(),
                None => return false,
            },
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = &[
        0xff, 0xd8, // start
        0xff, 0xe1, 0x00, 0x06, 0xff, 0xd9, 0xff, 0xd9, // a segment with an end inside
        0xff, 0xda, 0x00, 0x02, 1, 0xff, 0x00, 0xff, 0xd0, 2, // a scan
        0xff, 0xff, 0xd9, // a fill byte, the end
    ];

    #[test]
    fn a_file_has_its_end_until_it_is_cut() {
        assert!(has_end(WHOLE));
        for length in 0..WHOLE.len() {
            assert!(!has_end(&WHOLE[..length]), "{length}");
        }
    }

    #[test]
    fn what_follows_the_end_does_not_matter() {
        assert!(has_end(&[WHOLE, b"trailer"].concat()));
    }

    #[test]
    fn segments_are_those_before_the_scan() {
        let found: Vec<_> = segments(WHOLE).collect();
        assert_eq!(found, [(APP1, &[0xff, 0xd9, 0xff, 0xd9][..])]);
    }
}
