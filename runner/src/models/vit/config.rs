//! A ViT's `config.json`. Absent keys have the defaults of transformers 5.23's `ViTConfig`.

use crate::models::nn::Activation;
use serde::Deserialize;

/// What the network is built by.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct VitConfig {
    /// Width of the residual stream.
    pub hidden_size: i64,
    pub num_hidden_layers: i64,
    pub num_attention_heads: i64,
    /// Width inside the feed-forward block.
    pub intermediate_size: i64,
    /// Between the two linears of the feed-forward block.
    pub hidden_act: Activation,
    /// Added to the variance before a layer norm divides by its root.
    pub layer_norm_eps: f64,
    /// Sides of a picture in pixels.
    pub image_size: Sides,
    /// Sides of a patch in pixels.
    pub patch_size: Sides,
    /// Of a picture; here always 3.
    pub num_channels: i64,
    /// Whether query, key and value have a bias.
    pub qkv_bias: bool,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-12,
            image_size: Sides::Square(224),
            patch_size: Sides::Square(16),
            num_channels: 3,
            qkv_bias: true,
        }
    }
}

/// One number, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Sides {
    Square(i64),
    Both([i64; 2]),
}

impl Sides {
    pub fn both(self) -> [i64; 2] {
        match self {
            Self::Square(side) => [side, side],
            Self::Both(sides) => sides,
        }
    }
}

impl VitConfig {
    /// Patches of a picture and the class token.
    pub fn positions(&self) -> i64 {
        let ([height, width], [patch_height, patch_width]) =
            (self.image_size.both(), self.patch_size.both());
        (height / patch_height) * (width / patch_width) + 1
    }

    /// What no model can be built from, in words.
    pub fn check(&self) -> Result<(), String> {
        let ([height, width], [patch_height, patch_width]) =
            (self.image_size.both(), self.patch_size.both());
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("image_size", height),
            ("image_size", width),
            ("patch_size", patch_height),
            ("patch_size", patch_width),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, size)| !(1..1 << 24).contains(size)) {
            return Err(format!("{name} is {size}"));
        }
        let Self {
            hidden_size,
            num_attention_heads,
            num_channels,
            ..
        } = self;
        if hidden_size % num_attention_heads != 0 {
            return Err(format!(
                "hidden_size {hidden_size} is no multiple of num_attention_heads \
                 {num_attention_heads}"
            ));
        }
        if patch_height > height || patch_width > width {
            return Err("a patch_size is above its image_size".to_owned());
        }
        if *num_channels != 3 {
            return Err(format!(
                "num_channels is {num_channels}; pictures have 3, red, green and blue"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> VitConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn absent_keys_are_those_of_vit_base() {
        let config = config(r#"{"model_type": "vit"}"#);
        config.check().unwrap();
        assert_eq!(config.positions(), 197);
        assert!(config.qkv_bias);
    }

    #[test]
    fn a_side_is_a_number_or_height_and_width() {
        let config = config(r#"{"image_size": [32, 48], "patch_size": [4, 8]}"#);
        assert_eq!(config.positions(), 8 * 6 + 1);
    }

    #[test]
    fn an_impossible_model_is_refused() {
        for (text, word) in [
            (r#"{"num_attention_heads": 7}"#, "num_attention_heads"),
            (r#"{"num_hidden_layers": 0}"#, "num_hidden_layers"),
            (r#"{"patch_size": 0}"#, "patch_size"),
            (r#"{"image_size": [224, 8]}"#, "patch_size"),
            (r#"{"image_size": -1}"#, "image_size"),
            (r#"{"num_channels": 1}"#, "num_channels"),
        ] {
            let error = config(text).check().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
