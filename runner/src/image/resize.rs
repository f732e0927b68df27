//! Resizing as Pillow does it: convolution with antialiasing, on 8-bit channels.

use super::PictureError;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Pillow's filters by their numbers in `preprocessor_config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "u8")]
pub(super) enum Resample {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

impl TryFrom<u8> for Resample {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Ok(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            other => return Err(format!("resample {other} is none of Pillow's 0 to 5")),
        })
    }
}

impl Resample {
    fn algorithm(self) -> ResizeAlg {
        ResizeAlg::Convolution(match self {
            Self::Nearest => return ResizeAlg::Nearest,
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            // Pillow's bicubic has a = -0.5, which is Catmull and Rom's.
            Self::Bicubic => FilterType::CatmullRom,
            Self::Box => FilterType::Box,
            Self::Hamming => FilterType::Hamming,
        })
    }
}

/// Memory that [`resize`] needs: the picture between its horizontal and its vertical pass, and
/// the outcome. Dimensions in pixels.
pub(super) fn working_bytes(from_height: u32, width: u32, height: u32) -> u64 {
    3 * u64::from(width) * (u64::from(from_height) + u64::from(height))
}

/// `picture` at `width` x `height` pixels: rows of RGB bytes.
pub(super) fn resize(
    picture: RgbImage,
    width: u32,
    height: u32,
    resample: Resample,
) -> Result<Vec<u8>, PictureError> {
    if picture.dimensions() == (width, height) {
        return Ok(picture.into_raw());
    }
    let failed = |why: &dyn std::fmt::Display| PictureError::Resize(why.to_string());
    let source = ImageRef::new(
        picture.width(),
        picture.height(),
        picture.as_raw(),
        PixelType::U8x3,
    )
    .map_err(|error| failed(&error))?;
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(resample.algorithm());
    Resizer::new()
        .resize(&source, &mut resized, &options)
        .map_err(|error| failed(&error))?;
    Ok(resized.into_vec())
}
