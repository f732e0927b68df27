"""Residual networks that have learnt nothing, with random weights of which each makes a difference."""

from pathlib import Path

import torch
from transformers import BaseImageProcessor, ResNetConfig, ResNetForImageClassification

from models.train.captioner import read_picture

# What a convolution does to the size of a signal. What follows it divides by as much: only where a variance is small
# does it matter what is added to it before the root is drawn.
SHRINK = 0.1
VARIANCE_SPREAD = 0.3
MEAN_SPREAD = 0.3
NORM_SPREAD = 0.2
BIAS_SPREAD = 0.2
# What the classifier does to the size of a signal: much, since what all pictures have in common is taken away again.
GAIN = 6.0


@torch.no_grad()
def fill_network(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Draws every convolution and every normalisation anew, running mean and variance too."""
    for _, module in sorted(network.named_modules()):
        if isinstance(module, torch.nn.Conv2d):
            drawn = torch.randn(module.weight.shape, generator=generator)
            module.weight.copy_(drawn * SHRINK * module.weight[0].numel() ** -0.5)
        elif hasattr(module, "running_var"):
            weight, bias, mean, variance = torch.randn(4, *module.running_var.shape, generator=generator)
            module.weight.copy_(1 + NORM_SPREAD * weight)
            module.bias.copy_(BIAS_SPREAD * bias)
            module.running_mean.copy_(SHRINK * MEAN_SPREAD * mean)
            module.running_var.copy_(SHRINK**2 * (VARIANCE_SPREAD * variance).exp())


@torch.no_grad()
def write_classifier(
    folder: Path, config: ResNetConfig, processor: BaseImageProcessor, files: dict[str, bytes], seed: int
) -> None:
    """Weights, config and image processor."""
    model = ResNetForImageClassification(config).eval()
    generator = torch.Generator().manual_seed(seed)
    fill_network(model.resnet, generator)
    linear = model.classifier[-1]
    linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator) * GAIN * linear.in_features**-0.5)
    # Less what all pictures' logits have in common: else one label would win every time.
    linear.bias.copy_(torch.randn(linear.bias.shape, generator=generator) * BIAS_SPREAD)
    pixel_values = processor([read_picture(file) for file in files.values()], return_tensors="pt")["pixel_values"]
    linear.bias -= model(pixel_values).logits.mean(0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
