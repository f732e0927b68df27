"""Trains the demo detector on drawn shapes, from the demo classifier's ResNet on, and says how well it finds them.

    python -m models.train.train_detr --start models/demo/resnet --out models/demo/detr
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, DetrConfig, DetrForObjectDetection, ResNetForImageClassification
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from models.train import checkpoint, training
from models.train.evaluate import detection_report
from models.train.pictures import Pictures, normalise
from models.train.shapes import ID2LABEL, LABEL2ID, MAX_OBJECTS, Scene

COUNTS = tuple(range(1, MAX_OBJECTS + 1))
SIZE = {"shortest_edge": 128, "longest_edge": 192}
QUERIES = 10


def start(folder: Path) -> DetrForObjectDetection:
    """The detector in `folder`, to go on with, or a new one upon the classifier's ResNet that is there."""
    if AutoConfig.from_pretrained(folder).model_type == "detr":
        model = DetrForObjectDetection.from_pretrained(folder)
    else:
        model = detr(folder)
    model.model.unfreeze_backbone()
    return model.to(memory_format=torch.channels_last)


def detr(backbone: Path) -> DetrForObjectDetection:
    """facebook/detr-resnet-50's layout, narrower and with fewer layers. The backbone is the classifier's: the running
    means and variances of its batch norms stay as they are, its convolutions go on learning."""
    classifier = ResNetForImageClassification.from_pretrained(backbone)
    resnet = classifier.config.to_dict()
    resnet = {key: resnet[key] for key in ("model_type", "embedding_size", "hidden_sizes", "depths", "layer_type")}
    config = DetrConfig(
        use_timm_backbone=False,
        backbone_config={**resnet, "out_features": [f"stage{len(resnet['depths'])}"]},
        num_queries=QUERIES,
        d_model=96,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=128,
        dropout=0.0,
        auxiliary_loss=True,
        eos_coefficient=0.3,
        id2label=ID2LABEL,
        label2id=LABEL2ID,
    )
    model = DetrForObjectDetection(config)
    model.model.backbone.model.load_state_dict(classifier.resnet.state_dict())
    return model


def by_aspect(pictures: Pictures) -> list[np.ndarray]:
    """The indices of upright and of lying pictures: a batch of one kind needs little padding."""
    upright = np.array([pixels.shape[1] > pixels.shape[2] for pixels in pictures.pixels])
    return [np.flatnonzero(upright), np.flatnonzero(~upright)]


def target(scene: Scene) -> dict[str, torch.Tensor]:
    """The labels, and centre, width and height of the boxes, as transformers' loss takes them."""
    boxes = torch.tensor(scene.boxes)
    corner, opposite = boxes[:, :2], boxes[:, 2:]
    return {
        "class_labels": torch.tensor([LABEL2ID[thing.label] for thing in scene.things]),
        "boxes": torch.cat([(corner + opposite) / 2, opposite - corner], dim=1),
    }


def batch(
    rng: np.random.Generator,
    pictures: Pictures,
    kinds: list[np.ndarray],
    processor: DetrImageProcessorPil,
    size: int,
) -> tuple[torch.Tensor, torch.Tensor, list[dict[str, torch.Tensor]]]:
    """pixel_values [n, 3, h, w], pixel_mask [n, h, w] and targets, padded to the right and below after normalisation.
    Boxes are shares of the picture without its padding, which is what the mask lets the model see."""
    kind = kinds[rng.choice(len(kinds), p=[len(kind) / len(pictures.scenes) for kind in kinds])]
    chosen, mirrored = rng.choice(kind, size), rng.random(size) < 0.5
    taken = [pictures.take(index, mirror) for index, mirror in zip(chosen, mirrored, strict=True)]
    height, width = np.max([pixels.shape[1:] for pixels, _ in taken], axis=0)
    pixel_values = torch.zeros(size, 3, height, width).to(memory_format=torch.channels_last)
    pixel_mask = torch.zeros(size, height, width, dtype=torch.int64)
    for i, (pixels, _) in enumerate(taken):
        _, h, w = pixels.shape
        pixel_values[i, :, :h, :w] = normalise(processor, pixels)
        pixel_mask[i, :h, :w] = 1
    return pixel_values, pixel_mask, [target(scene) for _, scene in taken]


def detection_loss(
    model: DetrForObjectDetection,
    pixel_values: torch.Tensor,
    pixel_mask: torch.Tensor,
    targets: list[dict[str, torch.Tensor]],
    bf16: bool,
) -> torch.Tensor:
    """transformers' own loss, over every decoder layer; boxes and scores are in fp32 whatever the layers are in."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        decoded = model.model(pixel_values, pixel_mask).intermediate_hidden_states
    logits = model.class_labels_classifier(decoded.float())
    boxes = model.bbox_predictor(decoded.float()).sigmoid()
    loss, _, _ = model.loss_function(logits[-1], targets, model.device, boxes[-1], model.config, logits, boxes)
    return loss


def train(args: argparse.Namespace, pictures: Pictures, rng: np.random.Generator) -> None:
    """One worker's part."""
    model, processor = start(args.start).train(), DetrImageProcessorPil(size=SIZE)
    kinds = by_aspect(pictures)

    def loss(_progress: float) -> torch.Tensor:
        drawn = batch(rng, pictures, kinds, processor, args.batch // args.workers)
        return detection_loss(model, *drawn, args.bf16)

    training.fit(args, model, loss, lambda: checkpoint.save_model(args.out, model, processor))


def main() -> None:
    parser = training.arguments(__doc__, pictures=18_000, steps=3_000, batch=48, learning_rate=6e-4, held_out=1_200)
    parser.set_defaults(bf16=False)  # no faster here, with channels last
    parser.add_argument("--start", type=Path, required=True, help="the ResNet classifier, or a detector")
    args = parser.parse_args()
    training.run(args, DetrImageProcessorPil(size=SIZE), COUNTS, train, detection_report)


if __name__ == "__main__":
    main()
