//! The supported image processors of transformers, and their defaults.

use super::filter::Resample;
use super::geometry::{Resizing, Size};

/// CLIP's channel means and standard deviations.
pub(super) const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
pub(super) const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// `ImageNet`'s channel means and standard deviations.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// What transformers calls `ImageNet`'s standard, and maps levels to -1..1.
const STANDARD: [f32; 3] = [0.5; 3];

/// DETR's `max_size`, where only `size` is given.
const DETR_MAX_SIZE: u32 = 1333;

/// `ConvNext`'s processor crops below this edge, in pixels, and warps from it on.
const CONVNEXT_WARP_EDGE: u32 = 384;

/// An image processor class of transformers 5, whatever its backend. Its defaults fill what a
/// `preprocessor_config.json` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageProcessor {
    /// `BlipImageProcessor`.
    Blip,
    /// `ViTImageProcessor`.
    Vit,
    /// `ConvNextImageProcessor`, which `ResNet` checkpoints use too.
    ConvNext,
    /// `DetrImageProcessor`.
    Detr,
}

/// Defaults for absent keys. Resizing, rescaling and normalising are on for every processor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub(super) size: Size,
    pub(super) resample: Resample,
    pub(super) mean: [f32; 3],
    pub(super) std: [f32; 3],
}

impl ImageProcessor {
    const CROP_PCT: f64 = 224.0 / 256.0;

    pub(super) const ALL: [Self; 4] = [Self::Blip, Self::Vit, Self::ConvNext, Self::Detr];

    /// Finds a processor by its class name: current, with a backend's suffix, or as an old feature
    /// extractor.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let today = name.replace("FeatureExtractor", "ImageProcessor");
        let class = (today.strip_suffix("Fast"))
            .or_else(|| today.strip_suffix("Pil"))
            .unwrap_or(&today);
        (Self::ALL.into_iter())
            .find(|processor| processor.class() == class)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::class).join(", ");
                format!("image processor \"{name}\" is unknown; known are: {known}")
            })
    }

    fn class(self) -> &'static str {
        match self {
            Self::Blip => "BlipImageProcessor",
            Self::Vit => "ViTImageProcessor",
            Self::ConvNext => "ConvNextImageProcessor",
            Self::Detr => "DetrImageProcessor",
        }
    }

    pub(super) fn defaults(self) -> Defaults {
        match self {
            Self::Blip => Defaults {
                size: Size::Exact {
                    height: 384,
                    width: 384,
                },
                resample: Resample::Bicubic,
                mean: CLIP_MEAN,
                std: CLIP_STD,
            },
            Self::Vit => Defaults {
                size: Size::Exact {
                    height: 224,
                    width: 224,
                },
                resample: Resample::Bilinear,
                mean: STANDARD,
                std: STANDARD,
            },
            Self::ConvNext => Defaults {
                size: Size::Shortest(384),
                resample: Resample::Bicubic,
                mean: STANDARD,
                std: STANDARD,
            },
            Self::Detr => Defaults {
                size: Size::Edges {
                    shortest: 800,
                    longest: 1333,
                },
                resample: Resample::Bilinear,
                mean: IMAGENET_MEAN,
                std: IMAGENET_STD,
            },
        }
    }
}

/// `ConvNext`'s processor crops a margin only below [`CONVNEXT_WARP_EDGE`].
pub(super) fn convnext(
    size: Size,
    crop_pct: Option<f64>,
    crop: &mut Option<(u32, u32)>,
) -> Result<Resizing, String> {
    let edge = match size {
        Size::Number(edge)
        | Size::Shortest(edge)
        | Size::Edges {
            shortest: edge,
            longest: _,
        } => edge,
        Size::Exact { .. } => return Err("ConvNext's size needs a shortest_edge".into()),
    };
    if edge >= CONVNEXT_WARP_EDGE {
        return Ok(Resizing::Exact {
            height: edge,
            width: edge,
        });
    }
    if crop.is_some_and(|crop| crop != (edge, edge)) {
        return Err("crop_size differs from size, to which crop_pct crops already".into());
    }
    *crop = Some((edge, edge));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as Python's int(); what is out of range saturates, and is refused"
    )]
    let resized = (f64::from(edge) / crop_pct.unwrap_or(ImageProcessor::CROP_PCT)) as u32;
    Ok(Resizing::Shortest(resized))
}

/// DETR's processor needs both edges. `max_size` is an older form of the longer one.
pub(super) fn detr(size: Size, max_size: Option<u32>) -> Result<Resizing, String> {
    Ok(match size {
        Size::Number(shortest) => Resizing::Edges {
            shortest,
            longest: max_size.unwrap_or(DETR_MAX_SIZE),
        },
        Size::Edges { shortest, longest } => Resizing::Edges { shortest, longest },
        Size::Exact { height, width } => Resizing::Exact { height, width },
        Size::Shortest(_) => {
            return Err("DETR's size needs a longest_edge beside its shortest_edge".into());
        }
    })
}

pub(super) fn plain(size: Size, default_to_square: bool) -> Resizing {
    match size {
        Size::Number(edge) if default_to_square => Resizing::Exact {
            height: edge,
            width: edge,
        },
        Size::Exact { height, width } => Resizing::Exact { height, width },
        Size::Number(edge) | Size::Shortest(edge) => Resizing::Shortest(edge),
        Size::Edges { shortest, longest } => Resizing::Edges { shortest, longest },
    }
}
