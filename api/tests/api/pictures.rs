//! Pictures, good and bad.

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use std::io::Cursor;

/// A JPEG of a few hundred bytes, different for each `seed`.
pub(crate) fn jpeg(seed: u8) -> Vec<u8> {
    encode(
        &RgbImage::from_pixel(8, 8, Rgb([seed, 255 - seed, 77])).into(),
        ImageFormat::Jpeg,
    )
}

/// A small picture of any format.
pub(crate) fn picture(format: ImageFormat) -> Vec<u8> {
    let image = match format {
        ImageFormat::Ico | ImageFormat::WebP => DynamicImage::new_rgba8(4, 4),
        _ => DynamicImage::new_rgb8(4, 4),
    };
    encode(&image, format)
}

/// A JPEG that is truncated within its pixels.
pub(crate) fn truncated_jpeg() -> Vec<u8> {
    let noise = RgbImage::from_fn(64, 64, |x, y| {
        Rgb([x * y * 7 % 251, x * 31 % 251, y * 57 % 251]
            .map(|value| u8::try_from(value).expect("under 251")))
    });
    let mut bytes = encode(&noise.into(), ImageFormat::Jpeg);
    bytes.truncate(bytes.len() - 500);
    bytes
}

/// A PNG of exactly `length` bytes: the picture, and padding that decoders ignore.
pub(crate) fn png_of_length(length: usize) -> Vec<u8> {
    let mut bytes = encode(&DynamicImage::new_rgb8(4, 4), ImageFormat::Png);
    assert!(bytes.len() <= length);
    bytes.resize(length, 0);
    bytes
}

/// The first bytes of a PNG with this size in its header.
pub(crate) fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = encode(&DynamicImage::new_rgb8(1, 1), ImageFormat::Png);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encodes");
    bytes.into_inner()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1));
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
