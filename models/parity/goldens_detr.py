"""Writes a small DETR with random weights, and what transformers answers with it, for the runner's parity test.

    python -m models.parity.goldens_detr --pictures runner/tests/golden/blip/pictures --out runner/tests/golden/detr
    python -m models.parity.goldens_detr --timm --pictures runner/tests/golden/blip/pictures --out runner/tests/golden/detr-timm

The second one's backbone is timm's (package `timm`, which brings torchvision; nothing is downloaded).
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from transformers import DetrConfig, ResNetConfig
from transformers.models.detr import modeling_detr
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from models.parity.detector import THRESHOLD, Detector, write_expected
from models.parity.goldens_vit import IMAGE_MEAN, IMAGE_STD
from models.train.captioner import read_picture

LABELS = ["N/A", "person", "bicycle", "car", "N/A", "motorbike", "dining table", "zebra", "kite"]
# Wide, tall, turned by EXIF, one whose longest edge decides, with a palette, and in gray.
PICTURES = ["rgb-420.jpg", "rgb-444.jpg", "exif-rotated.jpg", "rgba.png", "palette.png", "gray.png"]
SIZE = {"shortest_edge": 48, "longest_edge": 80}
SEEDS = 2_000
TIMM_NAME = "tiny_resnet_of_the_goldens"
TIMM_PLANES = (4, 8, 12, 16)
TIMM_DEPTHS = (1, 1, 1, 2)
# So different are boxes to be, in fractions of a picture; at most 0.5 can be.
BOX_SPREAD = 0.1
# So much must a mistake change some logit; the runner's test allows 1e-4.
NOTICEABLE = 1e-3
# No answer may hang on single levels of a picture's pixels: so often is it tried with a fifth of all values one off.
SHAKES = 5
STEADY_SCORE = 0.05
STEADY_PIXELS = 2.0


def config(timm: bool) -> DetrConfig:
    """Unlike DETR's usual config wherever a number could be guessed."""
    if timm:
        # transformers then also normalises what each block of the decoder hands on.
        other = {"auxiliary_loss": True, "backbone_config": timm_config()}
    else:
        network = ResNetConfig(
            embedding_size=10,
            hidden_sizes=[16, 24, 40],
            depths=[1, 2, 1],
            downsample_in_bottleneck=True,
            out_features=["stage3"],
        )
        other = {"backbone_config": network}
    return DetrConfig(
        d_model=24,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=40,
        decoder_layers=3,
        decoder_attention_heads=2,
        decoder_ffn_dim=28,
        num_queries=7,
        id2label=dict(enumerate(LABELS)),
        label2id={label: id_ for id_, label in enumerate(LABELS)},
        **other,
    )


def timm_config() -> dict:
    """A network that timm would not have by itself, dilated in its last stage as the DC5 models' are."""
    import timm
    from timm.models import resnet

    def tiny(pretrained: bool = False, **options) -> torch.nn.Module:
        sizes = {"block": resnet.Bottleneck, "layers": TIMM_DEPTHS, "channels": TIMM_PLANES}
        return resnet._create_resnet("resnet50", pretrained, **sizes, **options)

    tiny.__name__, tiny.__module__ = TIMM_NAME, resnet.__name__
    timm.models.register_model(tiny)
    return {
        "model_type": "timm_backbone",
        "backbone": TIMM_NAME,
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": [1, 2, 3, 4],
        "output_stride": 16,
    }


def processor() -> DetrImageProcessorPil:
    """To a shortest edge, but for what is too long then."""
    return DetrImageProcessorPil(size=SIZE, image_mean=IMAGE_MEAN, image_std=IMAGE_STD)


@torch.no_grad()
def dullness(detector: Detector, pixel_values: list[torch.Tensor]) -> str | None:
    """Why these weights make a poor test; None where they make a good one."""
    outputs = [detector.model(pixels) for pixels in pixel_values]
    scores, labels = torch.cat([output.logits for output in outputs]).softmax(-1)[..., :-1].max(-1)
    boxes = torch.cat([output.pred_boxes for output in outputs])
    seen = scores > THRESHOLD
    if not seen.any(1).all():
        return "in some picture nothing is seen"
    if not 1 / 4 <= seen.float().mean() <= 3 / 4:
        return f"of all queries {seen.float().mean():.0%} see something"
    if len(labels[seen].unique()) < 5:
        return "too few labels are seen"
    if sum(len(labels[:, query].unique()) > 1 for query in range(labels.shape[1])) < 5:
        return "most queries see one thing in every picture"
    if boxes.std(0).mean() < BOX_SPREAD or boxes.std(1).mean() < BOX_SPREAD / 2:
        return "boxes are much the same in every picture, or by every query"
    if (scores - THRESHOLD).abs().min() < STEADY_SCORE / 2:
        return "a score is too near the threshold"
    return None


@torch.no_grad()
def frailty(detector: Detector, pixel_values: list[torch.Tensor], sizes: list[tuple[int, int]]) -> str | None:
    """What single levels of the pixels would change; None where there is nothing."""
    level = 1 / 255 / torch.tensor(IMAGE_STD).view(3, 1, 1)
    generator = torch.Generator().manual_seed(0)
    for picture, (pixels, size) in enumerate(zip(pixel_values, sizes, strict=True)):
        true = detector.detections(pixels, size)
        for _ in range(SHAKES):
            chance = torch.rand(pixels.shape, generator=generator)
            shaken = detector.detections(pixels + level * ((chance > 0.9).float() - (chance < 0.1).float()), size)
            if [one["label"] for one in shaken] != [one["label"] for one in true]:
                return f"what is seen in picture {picture} hangs on single levels of its pixels"
            for before, after in zip(true, shaken, strict=True):
                moved = max(abs(before["box"][side] - after["box"][side]) for side in before["box"])
                if abs(before["score"] - after["score"]) > STEADY_SCORE or moved > STEADY_PIXELS:
                    return f"a box of picture {picture} moves by {moved:.1f} pixels with single levels of its pixels"
    return None


@torch.no_grad()
def mistakes(detector: Detector, pixel_values: list[torch.Tensor]) -> dict[str, float]:
    """How much some logit changes by mistakes that no change of the weights could imitate in the runner's own test."""
    model = detector.model

    def logits() -> torch.Tensor:
        return torch.cat([model(pixels).logits for pixels in pixel_values])

    true = logits()

    def difference() -> float:
        return round((logits() - true).abs().max().item(), 5)

    def with_eps(eps: float) -> float:
        norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
        for norm in norms:
            norm.eps = eps
        found = difference()
        for norm in norms:
            norm.eps = 1e-5
        return found

    def with_positions(change: Callable) -> float:
        embed = modeling_detr.DetrSinePositionEmbedding.forward
        modeling_detr.DetrSinePositionEmbedding.forward = lambda *args, **options: change(embed(*args, **options))
        found = difference()
        modeling_detr.DetrSinePositionEmbedding.forward = embed
        return found

    return {
        "an eps of 1e-6 in the transformer": with_eps(1e-6),
        "an eps of 1e-12 in the transformer": with_eps(1e-12),
        "no positions": with_positions(torch.zeros_like),
        "columns before rows": with_positions(lambda xs: torch.cat(xs.chunk(2, dim=1)[::-1], dim=1)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="the folder of picture files")
    parser.add_argument("--timm", action="store_true", help="with timm's names below the transformer")
    parser.add_argument("--first-seed", type=int, default=0, help="tried, and those after it, until one is good")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    files = {name: (args.pictures / name).read_bytes() for name in PICTURES}
    sizes = [read_picture(file).size for file in files.values()]
    detector = Detector.new(config(args.timm), processor())
    pixel_values = [detector.pixel_values(file) for file in files.values()]
    for seed in range(args.first_seed, args.first_seed + SEEDS):
        detector.fill(files, seed)
        reason = dullness(detector, pixel_values) or frailty(detector, pixel_values, sizes)
        changes = {} if reason else mistakes(detector, pixel_values)
        if changes and min(changes.values()) < NOTICEABLE:
            reason = f"a mistake would not be noticed: {changes}"
        print(f"seed {seed}: {reason or 'good'}", flush=True)
        if reason is None:
            detector.save(args.out)
            # The pixels of the two checkpoints are the same.
            write_expected(args.out, files, {"seed": seed, "mistakes": changes}, with_pixels=not args.timm)
            return
    raise SystemExit("no seed makes a good test")


if __name__ == "__main__":
    main()
