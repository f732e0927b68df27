"""Writes a checkpoint of facebook/detr-resnet-50's size, 0.17 GB, with random weights. For a benchmark at full size where
the hub is out of reach.

    python -m models.parity.full_size_detr FOLDER
"""

import argparse
from pathlib import Path

import transformers
from transformers import DetrConfig, ResNetConfig
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from models.parity.classifier import write_pictures
from models.parity.detector import write_detector
from models.parity.full_size import draw_files

LABELS = 91
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside of the repository")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()

    files = draw_files()
    write_pictures(args.folder, files)
    # DetrConfig's and the processor's defaults are the hub's; the backbone is ResNet-50 by transformers' own class.
    backbone = ResNetConfig(out_features=["stage4"])
    config = DetrConfig(num_labels=LABELS, backbone_config=backbone)
    write_detector(args.folder, config, DetrImageProcessorPil(), files, SEED)


if __name__ == "__main__":
    main()
