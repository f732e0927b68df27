//! JPEG, bit-exact with libjpeg-turbo: its integer DCT, upsampling and colour conversion.

use super::colour::cmyk;
use super::{Frame, Header, Metadata, jpeg_markers, undecodable};
use crate::image::{Picture, PictureError};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, Image, JpegError, PixelFormat};

/// More scans than any encoder writes; each is a pass over the whole picture.
const MAX_SCANS: usize = 256;

/// A block's side times the largest sampling factor; planes are padded to multiples of it.
const MCU: u64 = 8 * 4;

/// Fixed memory of the decoder, such as tables, in bytes.
const DECODER_BYTES: u64 = 1 << 18;

pub(super) fn inspect(bytes: &[u8]) -> Result<Header, PictureError> {
    let decoder = open(bytes)?;
    if !jpeg_markers::has_end(bytes) {
        return Err(PictureError::Truncated);
    }
    let frame = decoder.header();
    let components = frame.components.len() as u64;
    let side = |pixels: u16| u64::from(pixels).next_multiple_of(MCU);
    let pixels = side(frame.width).saturating_mul(side(frame.height));
    // Each component's plane before and after upsampling; all coefficients of a progressive file;
    // CMYK pixels.
    let coefficients = if decoder.has_multiple_scans() || frame.is_progressive {
        3 * components
    } else {
        0
    };
    let four = if components == 4 { 4 } else { 0 };
    let segments: usize = jpeg_markers::segments(bytes)
        .map(|(_, data)| data.len())
        .sum();
    Ok(Header {
        width: u32::from(frame.width),
        height: u32::from(frame.height),
        decode_bytes: (pixels.saturating_mul(2 * components + coefficients + four))
            .saturating_add(2 * segments as u64 + DECODER_BYTES),
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Frame, PictureError> {
    let mut decoder = open(bytes)?;
    let frame = decoder.header();
    let (width, height) = (u32::from(frame.width), u32::from(frame.height));
    let four = frame.components.len() == 4;
    // As libjpeg does, decode damaged data as far as possible; `inspect` refuses a missing end.
    decoder.set_lenient(true);
    decoder.set_output_format(if four {
        PixelFormat::Cmyk
    } else {
        PixelFormat::Rgb
    });
    let pixels = decoder.decode_image().map_err(error)?.into_vec();
    let rgb = if four {
        // Like Pillow, assume Adobe's inversion: 255 is no ink.
        (pixels.chunks_exact(4))
            .flat_map(|ink| cmyk([ink[0], ink[1], ink[2], ink[3]].map(|level| 255 - level)))
            .collect()
    } else {
        pixels
    };
    Ok(Frame {
        picture: Picture::new(width, height, rgb)?,
        orientation: metadata(bytes).orientation(),
    })
}

/// Decodes a JPEG stream of a TIFF to RGB or grey samples; it must have this size.
pub(super) fn decode_stream(
    bytes: &[u8],
    width: u32,
    height: u32,
    gray: bool,
) -> Result<Vec<u8>, PictureError> {
    let mut decoder = open(bytes)?;
    let frame = decoder.header();
    let components = if gray { 1 } else { 3 };
    if (u32::from(frame.width), u32::from(frame.height)) != (width, height)
        || frame.components.len() != components
    {
        return Err(undecodable("a JPEG in the TIFF is not as the TIFF says"));
    }
    decoder.set_output_format(if gray {
        PixelFormat::Grayscale
    } else {
        PixelFormat::Rgb
    });
    decoder.decode_image().map(Image::into_vec).map_err(error)
}

fn open(bytes: &[u8]) -> Result<Decoder<'_>, PictureError> {
    let limits = DecodeLimits {
        max_scans: MAX_SCANS,
        ..DecodeLimits::default()
    };
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(error)?;
    let frame = decoder.header();
    if frame.precision != 8 {
        return Err(undecodable("a JPEG of other than 8 bits is not read"));
    }
    if !matches!(frame.components.len(), 1 | 3 | 4) {
        return Err(undecodable("a JPEG has 1, 3 or 4 components"));
    }
    Ok(decoder)
}

/// EXIF and XMP before the first scan.
fn metadata(bytes: &[u8]) -> Metadata<'_> {
    let mut metadata = Metadata::default();
    for (marker, segment) in jpeg_markers::segments(bytes) {
        if marker != jpeg_markers::APP1 {
            continue;
        }
        if segment.starts_with(b"Exif\0\0") {
            metadata.exif.get_or_insert(segment);
        } else if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
            metadata.xmp = Some(xmp);
        }
    }
    metadata
}

fn error(error: JpegError) -> PictureError {
    match error {
        JpegError::UnexpectedEof => PictureError::Truncated,
        other => undecodable(other),
    }
}
