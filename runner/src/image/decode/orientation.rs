//! Finds a picture's orientation as Pillow's `getexif` does: in EXIF, else in XMP.

use super::bytes::{Endian, byte};
use crate::image::PictureError;

const ORIENTATION: u16 = 0x0112;
const SHORT: u16 = 3;
const LONG: u16 = 4;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metadata<'a> {
    pub(super) exif: Option<&'a [u8]>,
    pub(super) xmp: Option<&'a [u8]>,
}

impl Metadata<'_> {
    /// EXIF's number, or 1 if there is no readable one.
    pub(super) fn orientation(&self) -> u32 {
        let exif = self.exif.and_then(|exif| in_exif(exif).ok().flatten());
        exif.or_else(|| self.xmp.and_then(in_xmp)).unwrap_or(1)
    }
}

/// Reads a TIFF structure after any number of `Exif` prefixes.
fn in_exif(mut exif: &[u8]) -> Result<Option<u32>, PictureError> {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    let endian = match exif.get(..2) {
        Some(b"II") => Endian::Little,
        Some(b"MM") => Endian::Big,
        _ => return Ok(None),
    };
    let directory = endian.u32(exif, 4)? as usize;
    let entries = usize::from(endian.u16(exif, directory)?);
    let mut found = None;
    for entry in 0..entries {
        let at = directory + 2 + 12 * entry;
        if endian.u16(exif, at)? == ORIENTATION {
            found = match endian.u16(exif, at + 2)? {
                SHORT => Some(u32::from(endian.u16(exif, at + 8)?)),
                LONG => Some(endian.u32(exif, at + 8)?),
                _ => None,
            };
        }
    }
    Ok(found)
}

/// Finds the digit after `tiff:Orientation="` or `tiff:Orientation>`.
fn in_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    (0..xmp.len()).find_map(|at| {
        let rest = xmp[at..].strip_prefix(NAME)?;
        let rest = rest
            .strip_prefix(b"=\"")
            .or_else(|| rest.strip_prefix(b">"))?;
        let digit = byte(rest, 0).ok()?;
        char::from(digit).to_digit(10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orientation(exif: &[u8], xmp: &[u8]) -> u32 {
        Metadata {
            exif: Some(exif),
            xmp: Some(xmp),
        }
        .orientation()
    }

    #[test]
    fn exif_precedes_xmp_and_nonsense_is_ignored() {
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let xmp = b"<x tiff:Orientation=\"8\"/>";
        assert_eq!(orientation(exif, xmp), 6);
        assert_eq!(orientation(&exif[..20], xmp), 8);
        assert_eq!(
            orientation(b"", b"<tiff:Orientation>3</tiff:Orientation>"),
            3
        );
        assert_eq!(orientation(b"Exif\0\0MM", b"tiff:Orientation='3'"), 1);
    }

    #[test]
    fn a_directory_offset_beyond_the_file_is_ignored() {
        let exif = b"MM\0*\xff\xff\xff\xff";
        assert_eq!(orientation(exif, b"tiff:Orientation="), 1);
    }
}
