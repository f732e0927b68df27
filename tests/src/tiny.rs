//! The smallest ViT, so that a runner does little more than to fetch and to decode.

use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

const HIDDEN: usize = 8;
const PATCH: usize = 16;
const LABELS: [&str; 2] = ["one", "other"];

/// Writes a checkpoint for image classification: one layer on one patch of 16 by 16 pixels. Its weights are
/// zeros, but for those of the labels.
pub fn write(folder: &Path) -> std::io::Result<()> {
    let labels: Map<String, Value> = (LABELS.iter().enumerate())
        .map(|(number, label)| (number.to_string(), json!(label)))
        .collect();
    let config = json!({
        "architectures": ["ViTForImageClassification"], "model_type": "vit",
        "hidden_act": "gelu", "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "id2label": labels,
        "image_size": PATCH, "patch_size": PATCH, "num_channels": 3, "num_hidden_layers": 1,
        "num_attention_heads": 1, "layer_norm_eps": 1e-12, "qkv_bias": true,
    });
    let preprocessor = json!({
        "do_normalize": true, "do_rescale": true, "do_resize": true, "image_processor_type": "ViTImageProcessor",
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2,
        "rescale_factor": 1.0 / 255.0, "size": {"height": PATCH, "width": PATCH},
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    fs::write(
        folder.join("preprocessor_config.json"),
        preprocessor.to_string(),
    )?;
    fs::write(folder.join("model.safetensors"), weights())
}

fn weights() -> Vec<u8> {
    let layer = "vit.encoder.layer.0";
    let mut tensors = vec![
        ("vit.embeddings.cls_token".to_owned(), vec![1, 1, HIDDEN]),
        (
            "vit.embeddings.position_embeddings".to_owned(),
            vec![1, 2, HIDDEN],
        ),
    ];
    let mut affine = |name: String, weight: Vec<usize>| {
        tensors.push((format!("{name}.bias"), vec![weight[0]]));
        tensors.push((format!("{name}.weight"), weight));
    };
    affine(
        "vit.embeddings.patch_embeddings.projection".to_owned(),
        vec![HIDDEN, 3, PATCH, PATCH],
    );
    for name in [
        "attention.attention.key",
        "attention.attention.query",
        "attention.attention.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ] {
        affine(format!("{layer}.{name}"), vec![HIDDEN, HIDDEN]);
    }
    for name in ["layernorm_before", "layernorm_after"] {
        affine(format!("{layer}.{name}"), vec![HIDDEN]);
    }
    affine("vit.layernorm".to_owned(), vec![HIDDEN]);
    affine("classifier".to_owned(), vec![LABELS.len(), HIDDEN]);

    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape) in tensors {
        let begin = data.len();
        let count: usize = shape.iter().product();
        let value: f32 = if name == "classifier.bias" { 1.0 } else { 0.0 };
        data.extend(value.to_le_bytes().repeat(count));
        header.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.into_bytes());
    file.extend(data);
    file
}
