//! Bytes to an upright RGB picture, as PIL's `exif_transpose` and `convert("RGB")` give it.

use super::{PictureError, jpeg};
use image::error::LimitErrorKind;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::Cursor;

/// The default bound on a picture's pixels, where PIL sees a decompression bomb.
pub const MAX_PIXELS: u64 = 178_956_970;

/// What the decoder of the bytes says before anything is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// In pixels, before the orientation is applied.
    pub width: u32,
    /// In pixels, before the orientation is applied.
    pub height: u32,
    /// Memory that decoding and conversion to RGB need at most.
    pub decode_bytes: u64,
}

/// Reads a picture's header, which may have at most `max_pixels` and take at most `max_bytes`.
pub fn inspect(bytes: &[u8], max_pixels: u64, max_bytes: u64) -> Result<Header, PictureError> {
    let (format, decoder) = open(bytes, max_bytes)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(PictureError::UnknownFormat);
    }
    if pixels > max_pixels {
        return Err(PictureError::TooManyPixels {
            width,
            height,
            max_pixels,
        });
    }
    // The decoder's picture, its RGB copy, and of a progressive JPEG all its coefficients.
    let coefficients = if format == ImageFormat::Jpeg { 6 } else { 0 };
    let decode_bytes =
        (decoder.total_bytes()).saturating_add(pixels.saturating_mul(3 + coefficients));
    if decode_bytes > max_bytes {
        return Err(PictureError::TooMuchMemory { max_bytes });
    }
    if format == ImageFormat::Jpeg && !jpeg::has_end(bytes) {
        return Err(PictureError::Truncated);
    }
    Ok(Header {
        width,
        height,
        decode_bytes,
    })
}

/// Decodes what [`inspect`] has let pass: its first frame, upright, in RGB.
pub fn decode(bytes: &[u8], max_bytes: u64) -> Result<RgbImage, PictureError> {
    let (_, mut decoder) = open(bytes, max_bytes)?;
    let orientation = decoder.orientation().map_err(undecodable(max_bytes))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes);
    decoder.set_limits(limits).map_err(undecodable(max_bytes))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(undecodable(max_bytes))?;
    picture.apply_orientation(orientation);
    Ok(to_rgb(picture))
}

/// A decoder for the format that the bytes themselves show.
fn open(
    bytes: &[u8],
    max_bytes: u64,
) -> Result<(ImageFormat, impl ImageDecoder + '_), PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    let format = image::guess_format(bytes).map_err(|_| PictureError::UnknownFormat)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(undecodable(max_bytes))?;
    Ok((format, decoder))
}

fn undecodable(max_bytes: u64) -> impl Fn(ImageError) -> PictureError {
    move |error| match error {
        ImageError::Limits(limit) if limit.kind() == LimitErrorKind::InsufficientMemory => {
            PictureError::TooMuchMemory { max_bytes }
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            PictureError::Truncated
        }
        other => PictureError::Undecodable(other),
    }
}

/// Drops transparency without blending, as PIL does, and reduces 16 bits as PIL does: colour by
/// its high byte, grey by clipping at 255 (PIL's mode `I;16`, true of its grey PNG and TIFF).
fn to_rgb(picture: DynamicImage) -> RgbImage {
    let high_byte = |value: u16| u8::try_from(value >> 8).unwrap_or(u8::MAX);
    let clip = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
    let rgb = |width, height, pixels: Vec<u8>| {
        RgbImage::from_raw(width, height, pixels).unwrap_or_default()
    };
    match picture {
        DynamicImage::ImageRgb8(picture) => picture,
        DynamicImage::ImageLuma16(picture) => {
            let pixels = picture.pixels().flat_map(|p| [clip(p.0[0]); 3]).collect();
            rgb(picture.width(), picture.height(), pixels)
        }
        DynamicImage::ImageLumaA16(picture) => {
            let pixels = picture
                .pixels()
                .flat_map(|p| [high_byte(p.0[0]); 3])
                .collect();
            rgb(picture.width(), picture.height(), pixels)
        }
        DynamicImage::ImageRgb16(picture) => {
            let pixels = picture.as_raw().iter().map(|&v| high_byte(v)).collect();
            rgb(picture.width(), picture.height(), pixels)
        }
        DynamicImage::ImageRgba16(picture) => {
            let pixels = picture
                .pixels()
                .flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(high_byte))
                .collect();
            rgb(picture.width(), picture.height(), pixels)
        }
        other => other.into_rgb8(),
    }
}
