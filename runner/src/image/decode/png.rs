//! PNG: the still picture of an animated one; profiles and gamma are ignored, as by Pillow.

use super::bytes::{Endian, slice};
use super::colour::{Palette, scale_of, unpack};
use super::{Frame, Header, Metadata, undecodable};
use crate::image::{Picture, PictureError};
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};
use std::io::Cursor;

/// What inflating keeps, in bytes, beside rows.
const INFLATE_BYTES: u64 = 1 << 18;

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let reader = open(bytes)?;
    let (width, height) = reader.info().size();
    let pixels = reader
        .output_buffer_size()
        .map_or(u64::MAX, |size| size as u64);
    // The pixels as they are stored, and some rows.
    let row = reader.output_line_size(width).unwrap_or(usize::MAX) as u64;
    let decode_bytes = (pixels.saturating_add(row.saturating_mul(4))).saturating_add(INFLATE_BYTES);
    Ok(Header {
        width,
        height,
        decode_bytes,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, PictureError> {
    let mut reader = open(bytes)?;
    let size = reader.output_buffer_size().ok_or(PictureError::Empty)?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(error)?;
    let (width, height) = reader.info().size();
    if (frame.width, frame.height) != (width, height) {
        return Err(undecodable(
            "the first frame is not as large as the picture",
        ));
    }
    let palette = reader.info().palette.as_deref().map(Palette::rgb);
    samples.truncate(frame.line_size * height as usize);
    let rgb = to_rgb(
        &samples,
        frame.line_size,
        width as usize,
        (frame.color_type, frame.bit_depth),
        palette.as_ref(),
    )?;
    drop(samples);
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

/// Pillow's modes: 16 bits of colour by their high byte, of grey (its `I;16`) clipped at 255.
fn to_rgb(
    samples: &[u8],
    line: usize,
    width: usize,
    kind: (ColorType, BitDepth),
    palette: Option<&Palette>,
) -> Result<Vec<u8>, PictureError> {
    use BitDepth::{Eight, Sixteen};
    use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let mut rgb = Vec::with_capacity(samples.len() / line.max(1) * width * 3);
    // Whole pixels of so many bytes, each to a colour.
    let mut each = |size: usize, colour: &dyn Fn(&[u8]) -> [u8; 3]| {
        for pixel in samples.chunks_exact(size) {
            rgb.extend(colour(pixel));
        }
    };
    match kind {
        (Rgb, Eight) => return Ok(samples.to_vec()),
        (Rgb, Sixteen) => each(6, &|p| [p[0], p[2], p[4]]),
        (Rgba, Eight) => each(4, &|p| [p[0], p[1], p[2]]),
        (Rgba, Sixteen) => each(8, &|p| [p[0], p[2], p[4]]),
        (GrayscaleAlpha, Eight) => each(2, &|p| [p[0]; 3]),
        (GrayscaleAlpha, Sixteen) => each(4, &|p| [p[0]; 3]),
        (Grayscale, Sixteen) => each(2, &|p| [if p[0] == 0 { p[1] } else { 255 }; 3]),
        (Grayscale | Indexed, depth) => {
            let bits = depth as u8;
            let gray = Palette::gray();
            let (palette, scale) = match (kind.0, palette) {
                (Grayscale, _) => (&gray, scale_of(bits)),
                (_, Some(palette)) => (palette, 1),
                (_, None) => return Err(undecodable("the palette is missing")),
            };
            for row in samples.chunks_exact(line) {
                for value in unpack(row, bits).take(width) {
                    rgb.extend(palette.colour(value * scale));
                }
            }
        }
        (kind, depth) => return Err(undecodable(format!("{kind:?} of {depth:?} bits"))),
    }
    Ok(rgb)
}

/// Of the eXIf chunk, else of `ImageMagick`'s text of it, else of XMP; each may follow the pixels.
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
                // Not compressed; a language and a translated keyword, each to its zero, follow.
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

/// Names and data of all chunks that are whole.
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

/// Hexadecimal digits from the fourth line on.
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
