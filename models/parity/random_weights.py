"""Random weights that make a BLIP talk: nothing is learnt, yet every picture has its own caption."""

import torch
from transformers import BlipForConditionalGeneration

# What a layer's matrices do to the size of a signal, and how far norms and biases lie from their neutral values.
GAIN = 1.2
CROSS_ATTENTION_GAIN = 0.7
NORM_SPREAD = 0.2
BIAS_SPREAD = 0.1


@torch.no_grad()
def fill(model: BlipForConditionalGeneration, seed: int) -> None:
    """Draws every parameter anew, biases and norms too, so that a loader that forgets one is caught.

    The deeper the text decoder, the less each of its layers adds: what was said last must still be heard at the end.
    """
    generator = torch.Generator().manual_seed(seed)
    whisper = (2 / model.config.text_config.num_hidden_layers) ** 0.5
    for name, parameter in sorted(model.named_parameters()):
        drawn = torch.randn(parameter.shape, generator=generator)
        if "norm" in name.lower():
            drawn = drawn * NORM_SPREAD + name.endswith("weight")
        elif name.endswith("bias"):
            drawn *= BIAS_SPREAD
        elif "patch_embedding" in name or "embedding" not in name:
            gain = CROSS_ATTENTION_GAIN if "crossattention" in name else GAIN
            drawn *= gain * parameter[0].numel() ** -0.5
        elif "vision_model" in name:
            drawn *= 0.5
        if "text_decoder" in name and ".layer." in name and name.endswith(("output.dense.weight", "bias")):
            drawn *= whisper
        parameter.copy_(drawn)


@torch.no_grad()
def loosen_tongue(model: BlipForConditionalGeneration, pixel_values: torch.Tensor, seed: int, stop: float) -> None:
    """Takes from the logits' bias what the logits have in common in all contexts: else the model would say one word
    for ever. [SEP], where a caption ends, then gets `stop` on top; below zero, captions are long."""
    text = model.config.text_config
    generator = torch.Generator().manual_seed(seed)
    length = min(16, text.max_position_embeddings)
    input_ids = torch.randint(0, text.vocab_size, (len(pixel_values), length), generator=generator)
    image_embeds = model.vision_model(pixel_values).last_hidden_state
    logits = model.text_decoder(input_ids, encoder_hidden_states=image_embeds).logits
    bias = model.text_decoder.cls.predictions.bias
    bias -= logits.mean((0, 1))
    bias[text.sep_token_id] += stop
