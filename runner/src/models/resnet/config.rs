//! A residual network's `config.json`. Absent keys have the defaults of transformers 5.23's `ResNetConfig`.

use crate::models::nn::Activation;
use serde::Deserialize;

/// Upper bound on channels and on blocks.
const MAX_SIZE: i64 = 1 << 16;

/// Factor by which a bottleneck's inner convolutions have fewer channels than its outer ones.
pub(super) const REDUCTION: i64 = 4;

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ResNetConfig {
    /// Of a picture; here always 3.
    pub num_channels: i64,
    /// Channels after the first convolution.
    pub embedding_size: i64,
    /// Number of channels after each stage.
    pub hidden_sizes: Vec<i64>,
    /// Number of blocks in each stage.
    pub depths: Vec<i64>,
    pub layer_type: LayerType,
    /// After the first convolution and after each block; relu within a block.
    pub hidden_act: Activation,
    /// Whether the first stage halves its input's sides, as the others do.
    pub downsample_in_first_stage: bool,
    /// Whether a bottleneck's first convolution halves, not its second.
    pub downsample_in_bottleneck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerType {
    /// Two convolutions of 3 x 3.
    Basic,
    /// 1 x 1, 3 x 3 and 1 x 1.
    Bottleneck,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: LayerType::Bottleneck,
            hidden_act: Activation::Relu,
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
        }
    }
}

impl ResNetConfig {
    /// The network that timm, torchvision and Microsoft's checkpoints call `resnet<layers>`; none
    /// where there is no such.
    pub fn of_layers(layers: u32) -> Option<Self> {
        let (layer_type, depths) = match layers {
            18 => (LayerType::Basic, [2, 2, 2, 2]),
            34 => (LayerType::Basic, [3, 4, 6, 3]),
            50 => (LayerType::Bottleneck, [3, 4, 6, 3]),
            101 => (LayerType::Bottleneck, [3, 4, 23, 3]),
            152 => (LayerType::Bottleneck, [3, 8, 36, 3]),
            _ => return None,
        };
        let hidden_sizes = match layer_type {
            LayerType::Basic => vec![64, 128, 256, 512],
            LayerType::Bottleneck => vec![256, 512, 1024, 2048],
        };
        Some(Self {
            hidden_sizes,
            depths: depths.to_vec(),
            layer_type,
            ..Self::default()
        })
    }

    /// Channels of the last stage's output.
    pub fn output_size(&self) -> i64 {
        self.hidden_sizes.last().copied().unwrap_or_default()
    }

    /// An error describes a setting from which no model can be built.
    pub fn check(&self) -> Result<(), String> {
        let Self {
            num_channels,
            embedding_size,
            hidden_sizes,
            depths,
            layer_type,
            hidden_act: _,
            downsample_in_first_stage: _,
            downsample_in_bottleneck: _,
        } = self;
        if *num_channels != 3 {
            return Err(format!(
                "num_channels is {num_channels}; pictures have 3 here"
            ));
        }
        if hidden_sizes.is_empty() || hidden_sizes.len() != depths.len() {
            return Err(format!(
                "hidden_sizes {hidden_sizes:?} and depths {depths:?} are to have one number for each stage"
            ));
        }
        let mut sizes = hidden_sizes.iter().chain(depths).chain([embedding_size]);
        if let Some(size) = sizes.find(|size| !(1..=MAX_SIZE).contains(*size)) {
            return Err(format!(
                "embedding_size {embedding_size}, hidden_sizes {hidden_sizes:?} or depths {depths:?}: {size} cannot be"
            ));
        }
        match layer_type {
            LayerType::Bottleneck if hidden_sizes.iter().any(|size| size % REDUCTION != 0) => {
                Err(format!(
                    "hidden_sizes {hidden_sizes:?} must be multiples of {REDUCTION} with layer_type bottleneck"
                ))
            }
            LayerType::Basic | LayerType::Bottleneck => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_those_of_resnet_50() {
        let config: ResNetConfig = serde_json::from_str("{}").unwrap();
        let named = ResNetConfig::of_layers(50).unwrap();
        assert_eq!(config.hidden_sizes, named.hidden_sizes);
        assert_eq!(config.depths, named.depths);
        assert_eq!(config.layer_type, named.layer_type);
        config.check().unwrap();
        assert!(ResNetConfig::of_layers(51).is_none());
    }

    #[test]
    fn an_impossible_network_is_refused() {
        let refused = |text: &str| {
            let config: ResNetConfig = serde_json::from_str(text).unwrap();
            config.check().unwrap_err()
        };
        assert!(refused(r#"{"num_channels": 1}"#).contains("num_channels"));
        assert!(refused(r#"{"depths": [1, 2]}"#).contains("[1, 2]"));
        assert!(refused(r#"{"hidden_sizes": [], "depths": []}"#).contains("each stage"));
        assert!(refused(r#"{"embedding_size": 0}"#).contains("0 cannot be"));
        assert!(refused(r#"{"hidden_sizes": [4, 8, 10, 16]}"#).contains("multiples of 4"));
        assert!(serde_json::from_str::<ResNetConfig>(r#"{"layer_type": "wide"}"#).is_err());
    }
}
