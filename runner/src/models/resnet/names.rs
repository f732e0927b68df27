//! The two ways in which checkpoints name a residual network's tensors.

use crate::weights::Scope;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// transformers' own: `encoder.stages.0.layers.0.layer.0.convolution.weight`.
    Transformers,
    /// timm's, which are torchvision's: `layer1.0.conv1.weight`.
    Timm,
}

/// Where a convolution's tensors and those of the normalisation after it lie.
pub(super) type Names = [String; 2];

impl Naming {
    /// Detects the naming; if neither matches, errors name transformers' tensors.
    pub fn of(weights: &Scope<'_>) -> Self {
        if weights.at("conv1").contains("weight") {
            Self::Timm
        } else {
            Self::Transformers
        }
    }

    /// The names of the first convolution.
    pub(super) fn stem(self) -> Names {
        match self {
            Self::Transformers => layer("embedder.embedder"),
            Self::Timm => ["conv1", "bn1"].map(str::to_owned),
        }
    }

    /// The names of a convolution in a block; all indices start at 0.
    pub(super) fn convolution(self, stage: usize, block: usize, index: usize) -> Names {
        match self {
            Self::Transformers => layer(&format!(
                "encoder.stages.{stage}.layers.{block}.layer.{index}"
            )),
            Self::Timm => {
                ["conv", "bn"].map(|kind| format!("layer{}.{block}.{kind}{}", stage + 1, index + 1))
            }
        }
    }

    /// The names of the convolution in a block's shortcut.
    pub(super) fn shortcut(self, stage: usize, block: usize) -> Names {
        match self {
            Self::Transformers => layer(&format!("encoder.stages.{stage}.layers.{block}.shortcut")),
            Self::Timm => {
                [0, 1].map(|index| format!("layer{}.{block}.downsample.{index}", stage + 1))
            }
        }
    }
}

fn layer(place: &str) -> Names {
    ["convolution", "normalization"].map(|kind| format!("{place}.{kind}"))
}
