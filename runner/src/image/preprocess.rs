//! Turns a file's bytes into a model's input, according to its `preprocessor_config.json`.

use super::config::{self, Steps};
use super::filter::Resample;
use super::geometry::{OutputSize, Resizing, Span};
use super::normalize::LevelTable;
use super::resize::{Window, resize, working_bytes};
use super::{ImageProcessor, Picture, PictureError, PixelValues, decode};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PreprocessorError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The file is not valid JSON for a preprocessor.
    #[error("{path}: {source}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// The file needs an unsupported feature, or lacks a required key.
    #[error("{path}: {why}")]
    Unsupported {
        path: PathBuf,
        /// The problem, and what to write instead.
        why: String,
    },
}

/// Turns a file's bytes into a model's input.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    resize: Option<(Resizing, Resample)>,
    crop: Option<(u32, u32)>,
    levels: LevelTable,
    size: OutputSize,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` in a checkpoint's folder, or `processor_config.json` where
    /// that has an `image_processor` section, which transformers prefers. `default` fills in for a
    /// file that names no image processor.
    pub fn open(dir: &Path, default: ImageProcessor) -> Result<Self, PreprocessorError> {
        let (text, path) = config::read(dir)?;
        Self::parse(&text, &path, Some(default))
    }

    /// Parses the `text` of a `preprocessor_config.json`; errors name `path`. Without a `default`,
    /// a text that names no image processor must set every key except `rescale_factor` (1/255),
    /// `do_center_crop` and `do_pad` (both off).
    pub fn parse(
        text: &str,
        path: &Path,
        default: Option<ImageProcessor>,
    ) -> Result<Self, PreprocessorError> {
        let Steps {
            size,
            resize,
            crop,
            rescale,
            normalize,
        } = config::parse(text, path, default)?;
        Ok(Self {
            resize,
            crop,
            levels: LevelTable::new(rescale, normalize),
            size,
        })
    }

    pub fn size(&self) -> OutputSize {
        self.size
    }

    /// Whether the output may be cropped.
    pub fn crops(&self) -> bool {
        self.crop.is_some()
    }

    /// Height and width of a typical output, for a warm-up.
    pub fn warm_up_size(&self) -> (u32, u32) {
        match self.size {
            OutputSize::Exact { height, width } => (height, width),
            OutputSize::Edges { shortest, longest } => {
                let side = shortest.min(longest);
                (side, side)
            }
        }
    }

    /// Height and width whose product bounds the output's pixels.
    pub fn largest(&self) -> (u32, u32) {
        self.size.largest()
    }

    /// Memory in bytes that [`run`](Self::run) needs in addition to the decoder's. Either side, in
    /// pixels, may become the height of the upright picture.
    pub fn working_bytes(&self, width: u32, height: u32) -> u64 {
        let bytes = |picture| {
            // A picture without an output size is refused before it takes memory.
            self.plan(picture).map_or(0, |plan| {
                let pixels = u64::from(plan.size.0) * u64::from(plan.size.1);
                working_bytes(picture, plan.to, &plan.window(), plan.resample)
                    .saturating_add(pixels * 3 * size_of::<f32>() as u64)
            })
        };
        bytes((width, height)).max(bytes((height, width)))
    }

    /// Decodes, resizes and normalises a file. `max_bytes` bounds the memory of the decoder, and
    /// of what follows.
    pub fn run(&self, bytes: &[u8], max_bytes: u64) -> Result<PixelValues, PictureError> {
        let picture = decode(bytes, max_bytes)?;
        let (width, height) = picture.dimensions();
        if self.working_bytes(width, height) > max_bytes {
            return Err(PictureError::TooMuchMemory { max_bytes });
        }
        self.pixel_values(&picture)
    }

    /// Resizes and normalises a picture. It takes [`working_bytes`](Self::working_bytes).
    pub fn pixel_values(&self, picture: &Picture) -> Result<PixelValues, PictureError> {
        let picture_size = picture.dimensions();
        let plan = self.plan(picture_size)?;
        let (width, height) = (plan.size.0 as usize, plan.size.1 as usize);
        let mut values = if plan.fills() {
            vec![0.0; 3 * width * height]
        } else {
            self.levels.black(width, height)
        };
        let mut at = plan.rows.padding as usize * width + plan.columns.padding as usize;
        resize(picture, plan.to, &plan.window(), plan.resample, |row| {
            self.levels.apply(row, &mut values, at);
            at += width;
        });
        let (width, height) = plan.size;
        PixelValues::new(values, (height, width), picture_size).ok_or(PictureError::Empty)
    }

    /// The steps for a picture of this width and height.
    fn plan(&self, picture: (u32, u32)) -> Result<Plan, PictureError> {
        let (to, resample) = match self.resize {
            Some((resizing, resample)) => (resizing.size(picture)?, resample),
            None => (picture, Resample::Nearest),
        };
        let (columns, rows) = match self.crop {
            Some((height, width)) => (Span::centered(to.0, width), Span::centered(to.1, height)),
            None => (Span::whole(to.0), Span::whole(to.1)),
        };
        let size = self.crop.map_or(to, |(height, width)| (width, height));
        Ok(Plan {
            to,
            resample,
            columns,
            rows,
            size,
        })
    }
}

/// The steps for one picture. Sizes are width and height, in pixels.
struct Plan {
    /// Size after resizing, before the crop.
    to: (u32, u32),
    resample: Resample,
    /// Columns kept by the crop.
    columns: Span,
    rows: Span,
    /// Output size; the kept part is padded to it.
    size: (u32, u32),
}

impl Plan {
    fn window(&self) -> Window {
        Window {
            left: self.columns.start,
            top: self.rows.start,
            width: self.columns.length,
            height: self.rows.length,
        }
    }

    /// Whether there is no padding.
    fn fills(&self) -> bool {
        (self.columns.length, self.rows.length) == self.size
    }
}
