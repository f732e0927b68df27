//! BLIP's `config.json`. Absent keys have the defaults of transformers 5.23's `BlipConfig`,
//! `BlipVisionConfig` and `BlipTextConfig`: hub checkpoints rely on them.

use crate::models::nn::Activation;
use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BlipConfig {
    pub vision_config: VisionConfig,
    pub text_config: TextConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside the feed-forward block.
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    /// Side of the square picture, in pixels.
    pub image_size: i64,
    /// Side of a square patch, in pixels.
    pub patch_size: i64,
    /// Between the two linears of the feed-forward block.
    pub hidden_act: Activation,
    /// Added to the variance before a layer norm divides by its root.
    pub layer_norm_eps: f64,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 384,
            patch_size: 16,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl VisionConfig {
    /// Patches of a picture and the class token.
    pub fn positions(&self) -> i64 {
        (self.image_size / self.patch_size).pow(2) + 1
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside the feed-forward block.
    pub intermediate_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    /// The longest caption, in tokens.
    pub max_position_embeddings: i64,
    /// Between the two linears of the feed-forward block.
    pub hidden_act: Activation,
    /// Added to the variance before a layer norm divides by its root.
    pub layer_norm_eps: f64,
    /// The first token of every caption.
    pub bos_token_id: i64,
    /// The token that ends a caption (BLIP stops at `[SEP]`, not at `eos_token_id`).
    pub sep_token_id: i64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30524,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 512,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            bos_token_id: 30522,
            sep_token_id: 102,
        }
    }
}

impl BlipConfig {
    /// Explains why no model can be built, if so.
    pub fn check(&self) -> Result<(), String> {
        let Self {
            vision_config: vision,
            text_config: text,
        } = self;
        let sizes = [
            ("vision_config.hidden_size", vision.hidden_size),
            ("vision_config.intermediate_size", vision.intermediate_size),
            ("vision_config.num_hidden_layers", vision.num_hidden_layers),
            (
                "vision_config.num_attention_heads",
                vision.num_attention_heads,
            ),
            ("vision_config.image_size", vision.image_size),
            ("vision_config.patch_size", vision.patch_size),
            ("text_config.vocab_size", text.vocab_size),
            ("text_config.hidden_size", text.hidden_size),
            ("text_config.intermediate_size", text.intermediate_size),
            ("text_config.num_hidden_layers", text.num_hidden_layers),
            ("text_config.num_attention_heads", text.num_attention_heads),
            (
                "text_config.max_position_embeddings",
                text.max_position_embeddings,
            ),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, size)| !(1..1 << 24).contains(size)) {
            return Err(format!("{name} is {size}"));
        }
        for (name, hidden, heads) in [
            (
                "vision_config",
                vision.hidden_size,
                vision.num_attention_heads,
            ),
            ("text_config", text.hidden_size, text.num_attention_heads),
        ] {
            if hidden % heads != 0 {
                return Err(format!(
                    "{name}.hidden_size {hidden} is no multiple of num_attention_heads {heads}"
                ));
            }
        }
        for (name, token) in [
            ("bos_token_id", text.bos_token_id),
            ("sep_token_id", text.sep_token_id),
        ] {
            if !(0..text.vocab_size).contains(&token) {
                return Err(format!(
                    "text_config.{name} {token} is outside the vocabulary of {}",
                    text.vocab_size
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keys_are_those_of_blip_base() {
        let config: BlipConfig = serde_json::from_str(
            r#"{"model_type": "blip", "text_config": {"num_attention_heads": 12}, "vision_config": {}}"#,
        )
        .unwrap();
        assert_eq!(config.vision_config.positions(), 577);
        assert_eq!(config.text_config.num_attention_heads, 12);
        assert_eq!(config.text_config.sep_token_id, 102);
        config.check().unwrap();
    }

    #[test]
    fn a_head_count_that_does_not_divide_the_width_is_refused() {
        let mut config = BlipConfig::default();
        config.text_config.num_attention_heads = 7;
        assert!(
            config
                .check()
                .unwrap_err()
                .contains("num_attention_heads 7")
        );
    }
}
