//! The names of a layer's tensors. The hub's files, and what transformers' `save_pretrained`
//! writes by default, have those of `ViTModel` before transformers 5; a state dict of today's has
//! others.

use crate::weights::Scope;

/// What is named differently, below a layer's own place.
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

/// As on the hub.
const HUB: LayerNames = LayerNames {
    layers: "encoder.layer",
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    attention_output: "attention.output.dense",
    widen: "intermediate.dense",
    narrow: "output.dense",
};

/// As in a state dict of transformers 5.
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
    /// Those of the file in which `vit` is; the hub's where it has neither, for the error's sake.
    pub(super) fn of(vit: &Scope<'_>) -> &'static Self {
        let first = vit.at(TRANSFORMERS_5.layers).at(0);
        // Either one, so that an error about a missing tensor uses the file's own names.
        let is_new = ["layernorm_before.weight", "layernorm_after.weight"]
            .iter()
            .any(|name| first.contains(name));
        if is_new { &TRANSFORMERS_5 } else { &HUB }
    }
}
