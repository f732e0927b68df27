//! Whether a JPEG has its end. The decoder fills what is missing with grey and says nothing.

const MARKER: u8 = 0xff;
const END_OF_IMAGE: u8 = 0xd9;

/// Walks from marker to marker (ITU T.81, annex B) to the end-of-image marker. Segments are
/// skipped by their lengths, so a thumbnail's own end does not count.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    // After the start-of-image marker.
    let mut at = 2;
    loop {
        // To the next marker: over fill bytes, stuffed bytes, restarts and coded data.
        let Some(step) = bytes.get(at..).and_then(|rest| {
            rest.windows(2).position(|pair| {
                pair[0] == MARKER && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | MARKER)
            })
        }) else {
            return false;
        };
        let marker = bytes[at + step + 1];
        at += step + 2;
        match marker {
            END_OF_IMAGE => return true,
            // Markers that stand alone.
            0x01 | 0xd8 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([high, low]));
                at += length.max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_end;

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
}
