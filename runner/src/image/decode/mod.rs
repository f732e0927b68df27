//! Decodes files to upright RGB pictures as transformers' `load_image` does: the first frame, rotated
//! by its EXIF, after Pillow's `convert("RGB")`, which drops transparency.

mod bmp;
mod bytes;
mod colour;
mod gif;
mod ico;
mod jpeg;
mod jpeg_markers;
mod orientation;
mod png;
mod tiff;
mod webp;

use super::{Picture, PictureError};
use orientation::Metadata;

/// Default bound on a picture's pixels: the one above which PIL warns of a decompression bomb.
pub const MAX_PIXELS: u64 = 89_478_485;

/// A picture's size and memory need, read before decoding.
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
    let format = Format::of(bytes)?;
    let Header {
        width,
        height,
        decode_bytes,
    } = format.inspect(bytes)?;
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(PictureError::Empty);
    }
    if pixels > max_pixels {
        return Err(PictureError::TooManyPixels {
            width,
            height,
            max_pixels,
        });
    }
    // The picture, and its copy while it is rotated.
    let decode_bytes = decode_bytes.saturating_add(pixels.saturating_mul(2 * 3));
    if decode_bytes > max_bytes {
        return Err(PictureError::TooMuchMemory { max_bytes });
    }
    Ok(Header {
        width,
        height,
        decode_bytes,
    })
}

/// [Inspects](inspect) a file, then decodes its first frame, upright and in RGB.
pub fn decode(bytes: &[u8], max_bytes: u64) -> Result<Picture, PictureError> {
    let header = inspect(bytes, u64::MAX, max_bytes)?;
    let Frame {
        picture,
        orientation,
    } = Format::of(bytes)?.decode(bytes)?;
    debug_assert_eq!(picture.dimensions(), (header.width, header.height));
    Ok(picture.upright(orientation))
}

struct Frame {
    picture: Picture,
    /// EXIF orientation, 1 to 8; other values change nothing.
    orientation: u32,
}

impl Frame {
    /// A frame without orientation metadata.
    fn plain(picture: Picture) -> Self {
        Self {
            picture,
            orientation: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
    Bmp,
    Ico,
    Tiff,
}

impl Format {
    /// Detects the format by the first bytes.
    fn of(bytes: &[u8]) -> Result<Self, PictureError> {
        Ok(match bytes {
            [] => return Err(PictureError::Empty),
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            _ if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Self::WebP,
            [b'B', b'M', ..] => Self::Bmp,
            [0, 0, 1, 0, ..] => Self::Ico,
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            _ => return Err(PictureError::UnknownFormat),
        })
    }

    /// The `decode_bytes` exclude the decoded picture.
    fn inspect(self, bytes: &[u8]) -> Result<Header, PictureError> {
        match self {
            Self::Jpeg => jpeg::inspect(bytes),
            Self::Png => png::inspect(bytes),
            Self::Gif => gif::inspect(bytes),
            Self::WebP => webp::inspect(bytes),
            Self::Bmp => bmp::inspect(bytes),
            Self::Ico => ico::inspect(bytes),
            Self::Tiff => tiff::inspect(bytes),
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<Frame, PictureError> {
        match self {
            Self::Jpeg => jpeg::decode(bytes),
            Self::Png => png::decode(bytes),
            Self::Gif => gif::decode(bytes).map(Frame::plain),
            Self::WebP => webp::decode(bytes),
            Self::Bmp => bmp::decode(bytes).map(Frame::plain),
            Self::Ico => ico::decode(bytes).map(Frame::plain),
            Self::Tiff => tiff::decode(bytes),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "so that it maps errors")]
fn undecodable(why: impl ToString) -> PictureError {
    PictureError::Undecodable(why.to_string())
}
