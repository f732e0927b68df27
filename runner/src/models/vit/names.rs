//! The names of a layer's tensors. Files on the hub, and files that transformers' `save_pretrained`
//! writes by default, use the names of `ViTModel` before transformers 5. A state dict of transformers
//! 5 uses others.

use crate::weights::Scope;

/// Names that differ between the two, relative to a layer.
#[derive(Debug)]
pub(super) struct LayerNames {
    /// Where the layers are, below `vit`.
    pub(super) layers: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attention_output: &'static str,
    pub(super) widen: &'static str,
    pub(super) narrow: &'static str,
}

/// Names in the files on the hub.
const HUB: LayerNames = LayerNames {
    layers: "encoder.layer",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    attention_output: "attention.output.dense",
    widen: "intermediate.dense",
    narrow: "output.dense",
};

/// Names in a state dict of transformers 5.
const TRANSFORMERS_5: LayerNames = LayerNames {
    layers: "layers",
    query: "attention.q_proj",
    key: "attention.k_proj",
    value: "attention.v_proj",
    attention_output: "attention.o_proj",
    widen: "mlp.fc1",
    narrow: "mlp.fc2",
};

impl LayerNames {
    /// Detects the names by the tensors below `vit`. A file with neither naming gets the hub's names,
    /// so that the error about the missing tensors shows them.
    pub(super) fn of(vit: &Scope<'_>) -> &'static Self {
        let first = vit.at(TRANSFORMERS_5.layers).at(0);
        // One of the two suffices: if a tensor is missing, the error shows the file's own names.
        let is_new = ["layernorm_before.weight", "layernorm_after.weight"]
            .iter()
            .any(|name| first.contains(name));
        if is_new { &TRANSFORMERS_5 } else { &HUB }
    }
}
