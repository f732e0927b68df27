//! PNG: the still picture of an animated file. As in Pillow, profiles and gamma are ignored.

use super::bytes::{Endian, slice};
use super::colour::{Palette, scale_of, unpack};
use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};
use std::io::Cursor;

/// Memory of the inflater, in bytes, without rows.
const INFLATE_BYTES: u64 = 1 << 18;

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let reader = open(bytes)?;
    let (width, height) = reader.info().size();
    let row = reader.output_line_size(width).unwrap_or(usize::MAX) as u64;
    // Single rows; or all samples of an interlaced picture, and a growing buffer of its passes.
    let rows = if reader.info().interlaced {
        u64::from(height).saturating_mul(4)
    } else {
        8
    };
    // Other chunks are read whole, and some of them are kept.
    let beside: usize = (chunks(bytes).filter(|(name, _)| *name != b"IDAT"))
        .map(|(_, data)| data.len())
        .sum();
    let decode_bytes = (row.saturating_mul(rows)).saturating_add(4 * beside as u64 + INFLATE_BYTES);
    Ok(Header {
        width,
        height,
        decode_bytes,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, PictureError> {
    let mut reader = open(bytes)?;
    let (width, height) = reader.info().size();
    let palette = reader.info().palette.as_deref().map(Palette::rgb);
    let rows = Rows {
        width: width as usize,
        kind: reader.output_color_type(),
        palette: palette.as_ref(),
    };
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    if reader.info().interlaced {
        let size = reader.output_buffer_size().ok_or(PictureError::Empty)?;
        let mut samples = vec![0; size];
        let frame = reader.next_frame(&mut samples).map_err(error)?;
        for row in samples.chunks_exact(frame.line_size).take(height as usize) {
            rows.to_rgb(row, &mut rgb)?;
        }
    } else {
        while let Some(row) = reader.next_row().map_err(error)? {
            rows.to_rgb(row.data(), &mut rgb)?;
        }
    }
    Ok(Frame {
        picture: Picture::new(width, height, rgb)?,
        orientation: orientation(bytes),
    })
}

fn open(bytes: &[u8]) -> Result<Reader<Cursor<&[u8]>>, PictureError> {
    let limits = Limits { bytes: usize::MAX };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(error)
}

struct Rows<'a> {
    width: usize,
    kind: (ColorType, BitDepth),
    palette: Option<&'a Palette>,
}

impl Rows<'_> {
    /// As in Pillow's modes, takes the high byte of 16-bit colour and clips 16-bit grey (`I;16`).
    fn to_rgb(&self, row: &[u8], rgb: &mut Vec<u8>) -> Result<(), PictureError> {
        use BitDepth::{Eight, Sixteen};
        use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        let mut each = |size: usize, colour: fn(&[u8]) -> [u8; 3]| {
            rgb.extend(row.chunks_exact(size).flat_map(colour));
        };
        match self.kind {
            (Rgb, Eight) => rgb.extend_from_slice(row),
            (Rgb, Sixteen) => each(6, |p| [p[0], p[2], p[4]]),
            (Rgba, Eight) => each(4, |p| [p[0], p[1], p[2]]),
            (Rgba, Sixteen) => each(8, |p| [p[0], p[2], p[4]]),
            (GrayscaleAlpha, Eight) => each(2, |p| [p[0]; 3]),
            (GrayscaleAlpha, Sixteen) => each(4, |p| [p[0]; 3]),
            (Grayscale, Sixteen) => each(2, |p| [if p[0] == 0 { p[1] } else { 255 }; 3]),
            (Grayscale | Indexed, depth) => {
                let bits = depth as u8;
                let gray = Palette::gray();
                let (palette, scale) = match (self.kind.0, self.palette) {
                    (Grayscale, _) => (&gray, scale_of(bits)),
                    (_, Some(palette)) => (palette, 1),
                    (_, None) => return Err(undecodable("the palette is missing")),
                };
                let values = unpack(row, bits).take(self.width);
                rgb.extend(values.flat_map(|value| palette.colour(value * scale)));
            }
            (kind, depth) => return Err(undecodable(format!("{kind:?} of {depth:?} bits"))),
        }
        Ok(())
    }
}

/// The orientation in eXIf, else in `ImageMagick`'s text chunk, else in XMP; each may follow the
/// pixels.
fn orientation(bytes: &[u8]) -> u32 {
    let (mut metadata, mut raw_profile) = (Metadata::default(), None);
    for (name, data) in chunks(bytes) {
        match name {
            b"eXIf" => metadata.exif = Some(data),
            b"tEXt" => {
                if let Some(text) = data.strip_prefix(b"Raw profile type exif\0") {
                    raw_profile = raw_profile_exif(text);
                }
            }
            b"iTXt" => {
                // Uncompressed; a language and a translated keyword follow, both zero-terminated.
                if let Some(text) = data.strip_prefix(b"XML:com.adobe.xmp\0\0\0") {
                    metadata.xmp = text.splitn(3, |&byte| byte == 0).nth(2);
                }
            }
            _ => {}
        }
    }
    if metadata.exif.is_none() {
        metadata.exif = raw_profile.as_deref();
    }
    metadata.orientation()
}

/// Names and data of all complete chunks.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let length = Endian::Big.u32(bytes, at).ok()? as usize;
        let name = slice(bytes, at + 4, 4).ok()?;
        let data = slice(bytes, at + 8, length).ok()?;
        at += 12 + length;
        Some((name, data))
    })
}

/// Decodes the hexadecimal digits from the fourth line on.
fn raw_profile_exif(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = (text.split(|&byte| byte == b'\n').skip(3))
        .flatten()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    hex::decode(digits).ok()
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        other => undecodable(other),
    }
}
