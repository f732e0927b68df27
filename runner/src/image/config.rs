//! `preprocessor_config.json` in the old and new forms that transformers 5 reads.

use super::PreprocessorError;
use super::filter::Resample;
use super::geometry::{OutputSize, Resizing, Size};
use super::processor::{self, ImageProcessor};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The file transformers prefers, where it holds this key.
const PROCESSOR_CONFIG: (&str, &str) = ("processor_config.json", "image_processor");
const PREPROCESSOR_CONFIG: &str = "preprocessor_config.json";

/// Upper bound on a side, in pixels.
const MAX_SIDE: u32 = 4096;

/// `rescale_factor`, where the file has none.
const RESCALE_FACTOR: f64 = 1.0 / 255.0;

/// The keys of the file; `null` counts as absent. transformers ignores other keys, too.
#[derive(Debug, Deserialize)]
struct File {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<Size>,
    max_size: Option<u32>,
    default_to_square: Option<bool>,
    crop_pct: Option<f64>,
    resample: Option<Resample>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
    do_pad: Option<bool>,
    pad_size: Option<Value>,
}

/// One number for all channels, or one for each.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list of three")]
enum Channels {
    One(f32),
    OneInAList([f32; 1]),
    Three([f32; 3]),
}

impl From<Channels> for [f32; 3] {
    fn from(channels: Channels) -> Self {
        match channels {
            Channels::One(value) | Channels::OneInAList([value]) => [value; 3],
            Channels::Three(values) => values,
        }
    }
}

/// The steps for a picture, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steps {
    pub(super) size: OutputSize,
    pub(super) resize: Option<(Resizing, Resample)>,
    /// Height and width of the part that is kept.
    pub(super) crop: Option<(u32, u32)>,
    /// Multiplies the levels, 0 to 255.
    pub(super) rescale: Option<f64>,
    /// Means and standard deviations of the three channels.
    pub(super) normalize: Option<([f32; 3], [f32; 3])>,
}

/// The preprocessing configuration in a checkpoint's folder, and its file.
pub(super) fn read(dir: &Path) -> Result<(String, PathBuf), PreprocessorError> {
    let (name, key) = PROCESSOR_CONFIG;
    let path = dir.join(name);
    if let Ok(text) = std::fs::read_to_string(&path) {
        let mut file: Value =
            serde_json::from_str(&text).map_err(|source| PreprocessorError::Parse {
                path: path.clone(),
                source,
            })?;
        if let Some(nested) = file.get_mut(key) {
            return Ok((nested.take().to_string(), path));
        }
    }
    let path = dir.join(PREPROCESSOR_CONFIG);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((text, path)),
        Err(source) => Err(PreprocessorError::Read { path, source }),
    }
}

/// Parses `text`, the file at `path`. Keys it leaves out come from the transformers image processor
/// it names, else from `default`; without either they are required.
pub(super) fn parse(
    text: &str,
    path: &Path,
    default: Option<ImageProcessor>,
) -> Result<Steps, PreprocessorError> {
    let file: File = serde_json::from_str(text).map_err(|source| PreprocessorError::Parse {
        path: path.to_owned(),
        source,
    })?;
    file.steps(default)
        .map_err(|why| PreprocessorError::Unsupported {
            path: path.to_owned(),
            why,
        })
}

impl File {
    fn steps(self, default: Option<ImageProcessor>) -> Result<Steps, String> {
        let name =
            (self.image_processor_type.as_deref()).or(self.feature_extractor_type.as_deref());
        let processor = match name {
            Some(name) => Some(ImageProcessor::named(name)?),
            None => default,
        };
        let defaults = processor.map(ImageProcessor::defaults);
        let on = |said: Option<bool>, key| or_default(said, defaults.map(|_| true), key);
        let mut crop = match (self.do_center_crop, self.crop_size) {
            (Some(true), Some(size)) => Some(exact(size, "crop_size")?),
            (Some(true), None) => return Err("do_center_crop needs a \"crop_size\"".into()),
            _ => None,
        };
        let resize = if on(self.do_resize, "do_resize")? {
            let size = or_default(self.size, defaults.map(|d| d.size), "size")?;
            let resizing = match processor {
                Some(ImageProcessor::ConvNext) => {
                    processor::convnext(size, self.crop_pct, &mut crop)?
                }
                Some(ImageProcessor::Detr) => processor::detr(size, self.max_size)?,
                _ => processor::plain(size, self.default_to_square.unwrap_or(true)),
            };
            let resample = or_default(self.resample, defaults.map(|d| d.resample), "resample")?;
            Some((resizing, resample))
        } else {
            None
        };
        let rescale = on(self.do_rescale, "do_rescale")?
            .then(|| self.rescale_factor.unwrap_or(RESCALE_FACTOR));
        let normalize = if on(self.do_normalize, "do_normalize")? {
            let (mean, std) = (
                self.image_mean.map(Into::into),
                self.image_std.map(Into::into),
            );
            Some((
                or_default(mean, defaults.map(|d| d.mean), "image_mean")?,
                or_default(std, defaults.map(|d| d.std), "image_std")?,
            ))
        } else {
            None
        };
        if self.do_pad == Some(true) && self.pad_size.is_some_and(|size| !size.is_null()) {
            return Err("pad_size is not supported; pictures are padded to one another".into());
        }
        let steps = Steps {
            size: output_size(resize.map(|(resizing, _)| resizing), crop)?,
            resize,
            crop,
            rescale,
            normalize,
        };
        steps.check()?;
        Ok(steps)
    }
}

/// The file's value, else its processor's default.
fn or_default<T>(said: Option<T>, default: Option<T>, key: &str) -> Result<T, String> {
    said.or(default).ok_or_else(|| {
        format!("\"{key}\" is missing, and no image_processor_type says what it is by default")
    })
}

/// The output size, which must be bounded.
fn output_size(resizing: Option<Resizing>, crop: Option<(u32, u32)>) -> Result<OutputSize, String> {
    match (crop, resizing) {
        (Some((height, width)), _) | (None, Some(Resizing::Exact { height, width })) => {
            Ok(OutputSize::Exact { height, width })
        }
        (None, Some(Resizing::Edges { shortest, longest })) => {
            Ok(OutputSize::Edges { shortest, longest })
        }
        (None, Some(Resizing::Shortest(_)) | None) => Err(
            "do_resize: false, or a size of shortest_edge alone, gives pictures of any size; \
             add longest_edge, or do_center_crop and crop_size"
                .into(),
        ),
    }
}

impl Steps {
    fn check(&self) -> Result<(), String> {
        let mut sides = match self.resize.map(|(resizing, _)| resizing) {
            None => vec![],
            Some(Resizing::Shortest(edge)) => vec![edge],
            Some(Resizing::Exact { height, width }) => vec![height, width],
            Some(Resizing::Edges { shortest, longest }) => vec![shortest, longest],
        };
        sides.extend(self.crop.into_iter().flat_map(|crop| [crop.0, crop.1]));
        if let Some(side) = sides.iter().find(|side| !(1..=MAX_SIDE).contains(*side)) {
            return Err(format!(
                "a side of {side} pixels is out of range; 1 to {MAX_SIDE} are supported"
            ));
        }
        match self.normalize {
            Some((_, std)) if std.contains(&0.0) => Err("image_std has a zero".into()),
            _ => Ok(()),
        }
    }
}

fn exact(size: Size, key: &str) -> Result<(u32, u32), String> {
    match size {
        Size::Number(edge) => Ok((edge, edge)),
        Size::Exact { height, width } => Ok((height, width)),
        Size::Shortest(_) | Size::Edges { .. } => Err(format!("{key} needs height and width")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::processor::{CLIP_MEAN, CLIP_STD};
    use super::*;
    use ImageProcessor::{Blip, ConvNext, Detr, Vit};
    use Resample::{Bicubic, Bilinear};

    fn steps(text: &str, default: Option<ImageProcessor>) -> Result<Steps, PreprocessorError> {
        parse(text, Path::new("preprocessor_config.json"), default)
    }

    fn size(text: &str, default: ImageProcessor) -> OutputSize {
        steps(text, Some(default)).unwrap().size
    }

    const fn square(side: u32) -> OutputSize {
        OutputSize::Exact {
            height: side,
            width: side,
        }
    }

    const DETR: OutputSize = OutputSize::Edges {
        shortest: 800,
        longest: 1333,
    };

    #[test]
    fn absent_and_null_keys_take_the_processors_defaults() {
        for text in [
            "{}",
            r#"{"size": null, "do_resize": null, "image_mean": null}"#,
        ] {
            let sizes = ImageProcessor::ALL.map(|default| size(text, default));
            assert_eq!(sizes, [square(384), square(224), square(384), DETR]);
            let resamples =
                ImageProcessor::ALL.map(|default| steps(text, Some(default)).unwrap().resize);
            let resamples = resamples.map(|resize| resize.unwrap().1);
            assert_eq!(resamples, [Bicubic, Bilinear, Bicubic, Bilinear]);
        }
        let blip = steps("{}", Some(ImageProcessor::Blip)).unwrap();
        assert_eq!(blip.rescale, Some(1.0 / 255.0));
        assert_eq!(blip.normalize, Some((CLIP_MEAN, CLIP_STD)));
    }

    #[test]
    fn a_processor_that_the_file_names_replaces_the_default() {
        for name in [
            r#""image_processor_type": "DetrImageProcessor""#,
            r#""image_processor_type": "DetrImageProcessorFast""#,
            r#""image_processor_type": "DetrImageProcessorPil""#,
            r#""feature_extractor_type": "DetrFeatureExtractor""#,
            r#""image_processor_type": "DetrImageProcessor", "feature_extractor_type": "ViTFeatureExtractor""#,
        ] {
            assert_eq!(
                size(&format!("{{{name}}}"), ImageProcessor::Vit),
                DETR,
                "{name}"
            );
        }
        let error = steps(
            r#"{"image_processor_type": "Mystery"}"#,
            Some(ImageProcessor::Vit),
        );
        assert!(error.unwrap_err().to_string().contains("known are"));
    }

    #[test]
    fn a_number_is_a_square_or_an_edge_depending_on_the_processor() {
        let text = r#"{"size": 64}"#;
        assert_eq!(size(text, ImageProcessor::Blip), square(64));
        assert_eq!(size(text, ImageProcessor::Vit), square(64));
        assert_eq!(size(text, ImageProcessor::ConvNext), square(64));
        let detr = |shortest, longest| OutputSize::Edges { shortest, longest };
        assert_eq!(size(text, ImageProcessor::Detr), detr(64, 1333));
        let text = r#"{"size": 600, "max_size": 1000}"#;
        assert_eq!(size(text, ImageProcessor::Detr), detr(600, 1000));
    }

    #[test]
    fn convnext_crops_below_384_and_warps_from_there_on() {
        let resize = |text| {
            let steps = steps(text, Some(ImageProcessor::ConvNext)).unwrap();
            (steps.resize.unwrap().0, steps.crop)
        };
        let cropped = (Resizing::Shortest(256), Some((224, 224)));
        assert_eq!(resize(r#"{"size": 224, "crop_pct": 0.875}"#), cropped);
        assert_eq!(resize(r#"{"size": {"shortest_edge": 224}}"#), cropped);
        let (height, width) = (384, 384);
        let warped = (Resizing::Exact { height, width }, None);
        assert_eq!(resize(r#"{"size": 384, "crop_pct": 0.875}"#), warped);
    }

    #[test]
    fn a_shortest_edge_needs_a_crop() {
        let text = r#"{"size": {"shortest_edge": 256}, "do_center_crop": true, "crop_size": 224}"#;
        assert_eq!(size(text, ImageProcessor::Vit), square(224));
        let text = r#"{"size": 256, "default_to_square": false, "do_center_crop": true, "crop_size": [8, 16]}"#;
        let (height, width) = (8, 16);
        assert_eq!(
            size(text, ImageProcessor::Vit),
            OutputSize::Exact { height, width }
        );
        let text = r#"{"do_resize": false, "do_center_crop": true, "crop_size": {"height": 9, "width": 9}}"#;
        assert_eq!(size(text, ImageProcessor::Vit), square(9));
    }

    #[test]
    fn unsupported_settings_are_refused() {
        for (text, default) in [
            (r#"{"size": {"shortest_edge": 64}}"#, Vit),
            (r#"{"size": {"longest_edge": 64}}"#, Detr),
            (r#"{"size": {"shortest_edge": 64}}"#, Detr),
            (r#"{"size": {"height": 224, "width": 224}}"#, ConvNext),
            (r#"{"size": {"height": 64}}"#, Blip),
            (r#"{"size": {"height": 64, "shortest_edge": 64}}"#, Blip),
            (r#"{"size": [64]}"#, Blip),
            (r#"{"size": 0}"#, Blip),
            (r#"{"size": -1}"#, Blip),
            (r#"{"size": 5000}"#, Blip),
            (r#"{"size": "64"}"#, Blip),
            (r#"{"size": 224, "crop_pct": 0}"#, ConvNext),
            (r#"{"do_center_crop": true}"#, Vit),
            (r#"{"do_resize": false}"#, Vit),
            (
                r#"{"do_pad": true, "pad_size": {"height": 9, "width": 9}}"#,
                Detr,
            ),
            (r#"{"resample": 9}"#, Blip),
            (r#"{"image_mean": [0.5, 0.5]}"#, Blip),
            (r#"{"image_std": 0}"#, Blip),
            ("[]", Blip),
        ] {
            assert!(steps(text, Some(default)).is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_default_a_file_must_set_every_key() {
        let mut file = serde_json::json!({
            "do_resize": true, "size": 32, "resample": 2, "do_rescale": true,
            "do_normalize": true, "image_mean": 0.5, "image_std": [0.25],
        });
        let whole = steps(&file.to_string(), None).unwrap();
        assert_eq!(whole.size, square(32));
        assert_eq!(whole.normalize, Some(([0.5; 3], [0.25; 3])));
        for key in ["do_resize", "size", "resample", "do_normalize", "image_std"] {
            let value = file.as_object_mut().unwrap().remove(key).unwrap();
            let error = steps(&file.to_string(), None).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
            file[key] = value;
        }
        let text = r#"{"image_processor_type": "ViTImageProcessor"}"#;
        assert_eq!(steps(text, None).unwrap().size, square(224));
    }

    #[test]
    fn a_processor_config_with_an_image_processor_is_preferred() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text| std::fs::write(dir.path().join(name), text).unwrap();
        assert!(read(dir.path()).is_err());
        write(PREPROCESSOR_CONFIG, r#"{"size":1}"#);
        write(PROCESSOR_CONFIG.0, r#"{"processor_class":"BlipProcessor"}"#);
        assert_eq!(read(dir.path()).unwrap().0, r#"{"size":1}"#);
        write(PROCESSOR_CONFIG.0, r#"{"image_processor":{"size":2}}"#);
        assert_eq!(read(dir.path()).unwrap().0, r#"{"size":2}"#);
    }

    #[test]
    fn a_rescale_factor_is_read_exactly() {
        let text = r#"{"rescale_factor": 0.00392156862745098}"#;
        let factor = steps(text, Some(ImageProcessor::Blip)).unwrap().rescale;
        assert_eq!(factor, Some(1.0 / 255.0));
    }
}
