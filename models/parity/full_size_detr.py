"""Writes a checkpoint of facebook/detr-resnet-50's size, 0.17 GB, with random weights, and what transformers answers
with it. For a parity check and a benchmark at full size where the hub is out of reach.

    python -m models.parity.full_size_detr FOLDER [--depths 3 4 23 3]
"""

import argparse
from pathlib import Path

import transformers
from transformers import DetrConfig, ResNetConfig
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from models.parity.classifier import write_pictures
from models.parity.detector import Detector, write_expected
from models.parity.full_size_blip import draw_files

LABELS = 91
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside of the repository")
    parser.add_argument("--depths", type=int, nargs=4, default=[3, 4, 6, 3], help="the backbone's; 3 4 23 3 is ResNet-101")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()

    files = draw_files()
    write_pictures(args.folder, files)
    # DetrConfig's and the processor's defaults are the hub's; the backbone is a ResNet of transformers' own class.
    backbone = ResNetConfig(depths=args.depths, out_features=["stage4"])
    detector = Detector.new(DetrConfig(num_labels=LABELS, backbone_config=backbone), DetrImageProcessorPil())
    detector.fill(files, SEED)
    detector.save(args.folder)
    write_expected(args.folder, files, {"seed": SEED})


if __name__ == "__main__":
    main()
