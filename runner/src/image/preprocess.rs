//! `preprocessor_config.json`: what a model wants done to a picture.

use super::filter::Resample;
use super::normalize::LevelTable;
use super::resize::{resize, working_bytes};
use super::{PictureError, decode};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// CLIP's channel means, BLIP's default.
const IMAGE_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// CLIP's channel standard deviations, BLIP's default.
const IMAGE_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// The longest side that a picture may be resized to, in pixels.
const MAX_SIDE: u32 = 4096;

/// Why a model's preprocessing cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessorError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it is to be.
    #[error("{path}: {source}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file asks for what this build does not do.
    #[error("{path}: {why}")]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// What, and what to write instead.
        why: String,
    },
}

/// The file; absent keys are those of transformers' `BlipImageProcessor`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct PreprocessorConfig {
    do_resize: bool,
    size: Size,
    resample: Resample,
    do_rescale: bool,
    rescale_factor: f64,
    do_normalize: bool,
    image_mean: [f32; 3],
    image_std: [f32; 3],
    do_center_crop: Option<bool>,
    do_pad: Option<bool>,
}

impl Default for PreprocessorConfig {
    fn default() -> Self {
        Self {
            do_resize: true,
            size: Size::Square(384),
            resample: Resample::Bicubic,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: IMAGE_MEAN,
            image_std: IMAGE_STD,
            do_center_crop: None,
            do_pad: None,
        }
    }
}

/// `{"height", "width"}`, or one number in older files.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Square(u32),
    Exact { height: u32, width: u32 },
}

/// From a file's bytes to a model's input.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    height: u32,
    width: u32,
    resample: Resample,
    levels: LevelTable,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` in a checkpoint's folder.
    pub fn open(dir: &Path, family: crate::models::Family) -> Result<Self, PreprocessorError> {
        let path = dir.join("preprocessor_config.json");
        let text = std::fs::read_to_string(&path).map_err(|source| PreprocessorError::Read {
            path: path.clone(),
            source,
        })?;
        Self::parse(&text, &path, Some(family))
    }

    /// Reads `text`, which is that of `preprocessor_config.json`; errors name `path`.
    pub fn parse(
        text: &str,
        path: &Path,
        _family: Option<crate::models::Family>,
    ) -> Result<Self, PreprocessorError> {
        let PreprocessorConfig {
            do_resize,
            size,
            resample,
            do_rescale,
            rescale_factor,
            do_normalize,
            image_mean,
            image_std,
            do_center_crop,
            do_pad,
        } = serde_json::from_str(text).map_err(|source| PreprocessorError::Parse {
            path: path.to_owned(),
            source,
        })?;
        let unsupported = |why: String| PreprocessorError::Unsupported {
            path: path.to_owned(),
            why,
        };
        let (height, width) = match size {
            Size::Square(side) => (side, side),
            Size::Exact { height, width } => (height, width),
        };
        if !do_resize {
            return Err(unsupported(
                "do_resize is false; a model has one size".into(),
            ));
        }
        if do_center_crop == Some(true) || do_pad == Some(true) {
            return Err(unsupported(
                "do_center_crop and do_pad are not supported".into(),
            ));
        }
        if !(1..=MAX_SIDE).contains(&height) || !(1..=MAX_SIDE).contains(&width) {
            return Err(unsupported(format!(
                "size is {width} x {height}; sides of 1 to {MAX_SIDE} are supported"
            )));
        }
        let levels = LevelTable::new(
            do_rescale.then_some(rescale_factor),
            do_normalize.then_some((image_mean, image_std)),
        );
        Ok(Self {
            height,
            width,
            resample,
            levels,
        })
    }

    /// Height and width of what it gives, in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.height, self.width)
    }

    /// Memory, in bytes, that resizing needs for a picture with these sides, in pixels, either
    /// of which may turn out to be its height once it is upright.
    pub fn working_bytes(&self, width: u32, height: u32) -> u64 {
        let to = (self.width, self.height);
        working_bytes((width, height), to).max(working_bytes((height, width), to))
    }

    /// Decodes, resizes and normalises a file. `max_bytes` bounds the decoder's memory.
    pub fn run(&self, bytes: &[u8], max_bytes: u64) -> Result<PixelValues, PictureError> {
        let picture = decode(bytes, max_bytes)?;
        let picture_size = picture.dimensions();
        let rgb = resize(picture, (self.width, self.height), self.resample)?;
        Ok(PixelValues {
            values: self.levels.apply(&rgb),
            height: self.height,
            width: self.width,
            picture_size,
        })
    }
}

/// One picture as a model takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelValues {
    values: Vec<f32>,
    height: u32,
    width: u32,
    picture_size: (u32, u32),
}

impl PixelValues {
    /// `values`, channel by channel and row by row, of three channels with `height` and `width`;
    /// `picture_size`, width and height, is that of the upright picture before it was resized.
    /// None where `values` are not as many as that takes.
    pub fn new(
        values: Vec<f32>,
        (height, width): (u32, u32),
        picture_size: (u32, u32),
    ) -> Option<Self> {
        let count = 3 * u64::from(height) * u64::from(width);
        (values.len() as u64 == count).then_some(Self {
            values,
            height,
            width,
            picture_size,
        })
    }

    /// An even grey, for a warm-up.
    pub fn blank((height, width): (u32, u32)) -> Self {
        Self {
            values: vec![0.0; 3 * height as usize * width as usize],
            height,
            width,
            picture_size: (width, height),
        }
    }

    /// Width and height of the upright picture before it was resized, in pixels.
    pub fn picture_size(&self) -> (u32, u32) {
        self.picture_size
    }

    /// Channel by channel, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Channels, height, width.
    pub fn shape(&self) -> [i64; 3] {
        [3, i64::from(self.height), i64::from(self.width)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Preprocessor, PreprocessorError> {
        Preprocessor::parse(text, Path::new("preprocessor_config.json"), None)
    }

    #[test]
    fn absent_keys_are_blips() {
        let preprocessor = parse("{}").unwrap();
        assert_eq!(preprocessor.size(), (384, 384));
        assert_eq!(preprocessor.resample, Resample::Bicubic);
    }

    #[test]
    fn a_size_is_a_number_or_height_and_width() {
        assert_eq!(parse(r#"{"size": 64}"#).unwrap().size(), (64, 64));
        let text = r#"{"size": {"height": 8, "width": 16}, "resample": 2}"#;
        assert_eq!(parse(text).unwrap().size(), (8, 16));
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for text in [
            r#"{"size": {"shortest_edge": 64}}"#,
            r#"{"size": 0}"#,
            r#"{"do_center_crop": true}"#,
            r#"{"do_resize": false}"#,
            r#"{"resample": 9}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
