//! DETR's `config.json`. Absent keys have the defaults of transformers 5.23's `DetrConfig`.

use crate::models::nn::Activation;
use crate::models::resnet::ResNetConfig;
use serde::Deserialize;

/// Upper bound on each size in a configuration.
const MAX_SIZE: i64 = 1 << 16;

/// The residual networks' usual output: a 32nd of the picture's sides.
const USUAL_STRIDE: i64 = 32;
/// That of the DC5 models, whose last stage dilates where the others halve.
const DILATED_STRIDE: i64 = 16;

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct DetrConfig {
    /// Width of the residual stream.
    pub d_model: i64,
    /// Transformer blocks over the picture.
    pub encoder_layers: i64,
    pub encoder_attention_heads: i64,
    /// Width inside their feed-forward blocks.
    pub encoder_ffn_dim: i64,
    /// Transformer blocks over the queries.
    pub decoder_layers: i64,
    pub decoder_attention_heads: i64,
    /// Width inside their feed-forward blocks.
    pub decoder_ffn_dim: i64,
    /// Upper bound on detected objects per picture.
    pub num_queries: i64,
    /// Between the two linears of a feed-forward block.
    pub activation_function: Activation,
    pub position_embedding_type: PositionEmbedding,
    /// A training setting, by which transformers also normalises what each block of the decoder
    /// hands on.
    pub auxiliary_loss: bool,
    /// Whether a network that is given by name dilates in its last stage.
    pub dilation: bool,
    /// The network's name: `resnet50`, or a checkpoint's (`microsoft/resnet-50`).
    pub backbone: Option<String>,
    /// The network, where it is given in full.
    pub backbone_config: Option<BackboneConfig>,
}

/// Encoding of positions in the feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositionEmbedding {
    Sine,
    /// By tables; no checkpoint of facebook's has them, and this build does not read them.
    Learned,
}

/// The network that extracts features.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "model_type", rename_all = "snake_case")]
pub enum BackboneConfig {
    /// transformers' `ResNetBackbone`.
    Resnet {
        #[serde(flatten)]
        config: ResNetConfig,
        /// Whose outputs are given; DETR takes the last one.
        out_features: Option<Vec<String>>,
    },
    /// A backbone of the timm library.
    TimmBackbone {
        /// timm's name, such as `resnet50`.
        backbone: String,
        /// Sides of the picture over those of the feature map.
        output_stride: Option<i64>,
        /// Whose outputs are given; DETR takes the last one.
        out_indices: Option<Vec<i64>>,
    },
}

impl Default for DetrConfig {
    fn default() -> Self {
        Self {
            d_model: 256,
            encoder_layers: 6,
            encoder_attention_heads: 8,
            encoder_ffn_dim: 2048,
            decoder_layers: 6,
            decoder_attention_heads: 8,
            decoder_ffn_dim: 2048,
            num_queries: 100,
            activation_function: Activation::Relu,
            position_embedding_type: PositionEmbedding::Sine,
            auxiliary_loss: false,
            dilation: false,
            backbone: None,
            backbone_config: None,
        }
    }
}

/// The residual network below the transformer.
#[derive(Clone, Debug)]
pub struct Network {
    pub config: ResNetConfig,
    /// Whether its last stage dilates.
    pub dilate_last: bool,
}

impl Network {
    /// By timm's name, or a hub checkpoint's.
    fn named(name: &str, dilate_last: bool) -> Result<Self, String> {
        let layers = (name.strip_prefix("microsoft/resnet-"))
            .or_else(|| name.split('.').next()?.strip_prefix("resnet"))
            .and_then(|layers| layers.parse().ok());
        match layers.and_then(ResNetConfig::of_layers) {
            Some(config) => Ok(Self {
                config,
                dilate_last,
            }),
            None => Err(format!(
                "the backbone \"{name}\" is unknown; known are resnet18, 34, 50, 101 and 152"
            )),
        }
    }
}

impl DetrConfig {
    /// The residual network, or why there is none, in words.
    pub fn network(&self) -> Result<Network, String> {
        let network = match &self.backbone_config {
            None => {
                let name = self.backbone.as_deref().unwrap_or("resnet50");
                Network::named(name, self.dilation)?
            }
            Some(BackboneConfig::TimmBackbone {
                backbone,
                output_stride,
                out_indices,
            }) => {
                let last = out_indices.as_ref().and_then(|indices| indices.last());
                if !matches!(last, None | Some(4 | -1)) {
                    return Err(format!(
                        "backbone_config.out_indices {out_indices:?} is to end with 4, the last stage"
                    ));
                }
                match output_stride {
                    None | Some(USUAL_STRIDE) => Network::named(backbone, false)?,
                    Some(DILATED_STRIDE) => Network::named(backbone, true)?,
                    Some(other) => {
                        return Err(format!(
                            "backbone_config.output_stride is {other}; {DILATED_STRIDE} and {USUAL_STRIDE} are supported"
                        ));
                    }
                }
            }
            Some(BackboneConfig::Resnet {
                config,
                out_features,
            }) => {
                let last = format!("stage{}", config.depths.len());
                let ends_with_it = |features: &Vec<String>| features.last() == Some(&last);
                if !out_features.as_ref().is_none_or(ends_with_it) {
                    return Err(format!(
                        "backbone_config.out_features {out_features:?} is to end with {last}, the last stage"
                    ));
                }
                Network {
                    config: config.clone(),
                    dilate_last: false,
                }
            }
        };
        let check = network.config.check();
        check.map_err(|why| format!("backbone_config.{why}"))?;
        Ok(network)
    }

    /// What no model can be built from, in words.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("d_model", self.d_model),
            ("encoder_layers", self.encoder_layers),
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_layers", self.decoder_layers),
            ("decoder_attention_heads", self.decoder_attention_heads),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
            ("num_queries", self.num_queries),
        ];
        if let Some((name, size)) = sizes
            .iter()
            .find(|(_, size)| !(1..=MAX_SIZE).contains(size))
        {
            return Err(format!("{name} is {size}"));
        }
        let hidden = self.d_model;
        for (name, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
            // A sine and a cosine for each direction.
            ("4, the parts of a place's embedding:", 4),
        ] {
            if hidden % heads != 0 {
                return Err(format!("d_model {hidden} is no multiple of {name} {heads}"));
            }
        }
        match self.position_embedding_type {
            PositionEmbedding::Sine => Ok(()),
            PositionEmbedding::Learned => {
                Err("position_embedding_type \"learned\" is not supported; \"sine\" is".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DetrConfig {
        serde_json::from_str(text).unwrap()
    }

    fn depths(text: &str) -> (Vec<i64>, bool) {
        let network = config(text).network().unwrap();
        (network.config.depths, network.dilate_last)
    }

    #[test]
    fn the_network_is_given_in_any_of_transformers_ways() {
        let (fifty, hundred_one) = (vec![3, 4, 6, 3], vec![3, 4, 23, 3]);
        assert_eq!(depths("{}"), (fifty.clone(), false));
        let named = r#"{"backbone": "resnet101", "backbone_config": null, "dilation": true}"#;
        assert_eq!(depths(named), (hundred_one.clone(), true));
        let hub = r#"{"backbone": "microsoft/resnet-101", "use_timm_backbone": false}"#;
        assert_eq!(depths(hub), (hundred_one, false));
        let timm = r#"{"backbone_config": {"model_type": "timm_backbone", "backbone":
            "resnet50.a1_in1k", "out_indices": [1, 2, 3, 4], "output_stride": 16}}"#;
        assert_eq!(depths(timm), (fifty, true));
        let own = r#"{"dilation": true, "backbone_config": {"model_type": "resnet",
            "depths": [1, 2, 1, 1], "out_features": ["stage4"], "layer_type": "basic"}}"#;
        assert_eq!(depths(own), (vec![1, 2, 1, 1], false));
    }

    #[test]
    fn an_impossible_backbone_is_refused() {
        let refused = |text: &str| config(text).network().unwrap_err();
        assert!(refused(r#"{"backbone": "swin_base"}"#).contains("swin_base"));
        let stage = r#"{"backbone_config": {"model_type": "resnet", "out_features": ["stage3"]}}"#;
        assert!(refused(stage).contains("stage4"));
        let stride = r#"{"backbone_config": {"model_type": "timm_backbone",
            "backbone": "resnet50", "output_stride": 8}}"#;
        assert!(refused(stride).contains("is 8"));
        let index = r#"{"backbone_config": {"model_type": "timm_backbone",
            "backbone": "resnet50", "out_indices": [1, 2]}}"#;
        assert!(refused(index).contains("out_indices"));
        let gray = r#"{"backbone_config": {"model_type": "resnet", "num_channels": 1}}"#;
        assert!(refused(gray).contains("backbone_config.num_channels"));
        let swin = r#"{"backbone_config": {"model_type": "swin"}}"#;
        assert!(serde_json::from_str::<DetrConfig>(swin).is_err());
    }

    #[test]
    fn an_impossible_transformer_is_refused() {
        let refused = |text: &str| config(text).check().unwrap_err();
        config("{}").check().unwrap();
        assert!(refused(r#"{"num_queries": 0}"#).contains("num_queries is 0"));
        assert!(refused(r#"{"decoder_attention_heads": 3}"#).contains("decoder"));
        assert!(
            refused(
                r#"{"d_model": 10, "encoder_attention_heads": 5,
            "decoder_attention_heads": 5}"#
            )
            .contains("embedding")
        );
        assert!(refused(r#"{"position_embedding_type": "learned"}"#).contains("sine"));
    }
}
