"""Writes a small ResNet with random weights, and what transformers answers with it, for the runner's parity test.

    python -m models.parity.goldens_resnet bottleneck --pictures runner/tests/golden/blip/pictures --out runner/tests/golden/resnet
    python -m models.parity.goldens_resnet basic --pictures runner/tests/golden/blip/pictures --out runner/tests/golden/resnet-basic
"""

import argparse
from pathlib import Path

import transformers
from transformers import ResNetConfig
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from models.parity.classifier import Classifier, write_expected
from models.parity.goldens_vit import IMAGE_MEAN, IMAGE_STD, LABELS, SEEDS, dullness
from models.parity.residual import write_classifier

SIDE = 40
CROP_PCT = 0.8
# Unlike ResNet's usual sizes wherever a number could be guessed. The basic one has all the settings that no ResNet of
# the hub has.
SIZES = {
    "bottleneck": {"embedding_size": 12, "hidden_sizes": [16, 24, 40, 56], "depths": [1, 2, 2, 1]},
    "basic": {
        "embedding_size": 10,
        "hidden_sizes": [10, 14, 18],
        "depths": [2, 1, 2],
        "hidden_act": "gelu",
        "downsample_in_first_stage": True,
    },
}


def config(layer_type: str) -> ResNetConfig:
    """Of blocks of this type."""
    return ResNetConfig(
        layer_type=layer_type,
        id2label=dict(enumerate(LABELS)),
        label2id={label: id_ for id_, label in enumerate(LABELS)},
        **SIZES[layer_type],
    )


def processor() -> ConvNextImageProcessorPil:
    """Resized so that the shortest edge is SIDE / CROP_PCT, of which the middle is kept."""
    size = {"shortest_edge": SIDE}
    return ConvNextImageProcessorPil(size=size, crop_pct=CROP_PCT, image_mean=IMAGE_MEAN, image_std=IMAGE_STD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layer_type", choices=SIZES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="the folder of picture files")
    parser.add_argument("--first-seed", type=int, default=0, help="tried, and those after it, until one is good")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    files = {path.name: path.read_bytes() for path in sorted(args.pictures.iterdir())}
    for seed in range(args.first_seed, args.first_seed + SEEDS):
        write_classifier(args.out, config(args.layer_type), processor(), files, seed)
        classifier = Classifier(args.out)
        reason = dullness(classifier, classifier.pixel_values(list(files.values())))
        print(f"seed {seed}: {reason or 'good'}", flush=True)
        if reason is None:
            write_expected(classifier, files, seed)
            return
    raise SystemExit("no seed makes a good test")


if __name__ == "__main__":
    main()
