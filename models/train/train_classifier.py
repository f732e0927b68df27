"""Trains a demo classifier from nothing on pictures of one drawn shape, saves it and says how often it is right.

    python -m models.train.train_classifier vit --out models/demo/vit
    python -m models.train.train_classifier resnet --out models/demo/resnet
"""

import argparse

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification
from transformers.image_processing_backends import PilBackend
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from models.train import checkpoint, training
from models.train.evaluate import classification_report
from models.train.pictures import Pictures, normalise
from models.train.shapes import ID2LABEL, LABEL2ID

IMAGE_SIZE = 64
NAMES = {"id2label": ID2LABEL, "label2id": LABEL2ID}


def vit() -> tuple[ViTForImageClassification, ViTImageProcessorPil]:
    """google/vit-base-patch16-224's layout at a twelfth of its width; its processor squeezes into a square."""
    config = ViTConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=8,
        **NAMES,
    )
    model = ViTForImageClassification(config)
    training.lay_grid(model.vit.embeddings.position_embeddings)
    return model, ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})


def resnet() -> tuple[ResNetForImageClassification, ConvNextImageProcessorPil]:
    """microsoft/resnet-50's layout, narrower and a stage shorter, with its processor: resize, then crop the middle."""
    config = ResNetConfig(embedding_size=24, hidden_sizes=[64, 128, 256], depths=[1, 2, 2], **NAMES)
    processor = ConvNextImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_pct=0.875,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return ResNetForImageClassification(config), processor


FAMILIES = {"vit": vit, "resnet": resnet}


def batch(
    rng: np.random.Generator, pictures: Pictures, processor: PilBackend, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """pixel_values [n, 3, h, w] and labels [n]."""
    chosen = rng.integers(len(pictures.scenes), size=size)
    taken = [pictures.take(index, mirror) for index, mirror in zip(chosen, rng.random(size) < 0.5, strict=True)]
    labels = torch.tensor([LABEL2ID[scene.things[0].label] for _, scene in taken])
    return normalise(processor, np.stack([pixels for pixels, _ in taken])), labels


def train(args: argparse.Namespace, pictures: Pictures, rng: np.random.Generator) -> None:
    """One worker's part."""
    model, processor = FAMILIES[args.family]()
    model.train()

    def loss(_progress: float) -> torch.Tensor:
        pixel_values, labels = batch(rng, pictures, processor, args.batch // args.workers)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            logits = model(pixel_values).logits
        return cross_entropy(logits.float(), labels)

    training.fit(args, model, loss, lambda: checkpoint.save_model(args.out, model, processor))


def main() -> None:
    parser = training.arguments(__doc__, pictures=24_000, steps=2_400, batch=96, learning_rate=2e-3, held_out=1_200)
    parser.add_argument("family", choices=FAMILIES)
    args = parser.parse_args()
    _, processor = FAMILIES[args.family]()
    training.run(args, processor, (1,), train, classification_report)


if __name__ == "__main__":
    main()
