"""A ViT that has learnt nothing, with random weights of which each makes a difference."""

from pathlib import Path

import torch
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from models.train.captioner import read_picture

# What a layer's matrices do to the size of a signal, and how far norms and biases lie from their neutral values.
GAIN = 1.2
NORM_SPREAD = 0.2
BIAS_SPREAD = 0.1
POSITION_SPREAD = 0.5


@torch.no_grad()
def fill(model: ViTForImageClassification, seed: int) -> None:
    """Draws every parameter anew, biases and norms too, so that a loader that forgets one is caught."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        drawn = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            drawn = drawn * NORM_SPREAD + name.endswith("weight")
        elif name.endswith("bias"):
            drawn *= BIAS_SPREAD
        elif name.endswith(("cls_token", "position_embeddings")):
            drawn *= POSITION_SPREAD
        else:
            drawn *= GAIN * parameter[0].numel() ** -0.5
        parameter.copy_(drawn)


@torch.no_grad()
def even_out(model: ViTForImageClassification, pixel_values: torch.Tensor) -> None:
    """Takes from the logits' bias what all pictures' logits have in common: else one label would win every time."""
    model.classifier.bias -= model(pixel_values).logits.mean(0)


def write_checkpoint(
    folder: Path, config: ViTConfig, processor: ViTImageProcessorPil, files: dict[str, bytes], seed: int
) -> None:
    """Weights, config and image processor."""
    model = ViTForImageClassification(config).eval()
    fill(model, seed)
    pictures = [read_picture(file) for file in files.values()]
    even_out(model, processor(pictures, return_tensors="pt")["pixel_values"])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
