"""Writes a checkpoint of google/vit-base-patch16-224's size, 0.35 GB, with random weights, and what transformers answers
with it. For a parity check and a benchmark at full size where the hub is out of reach.

    python -m models.parity.full_size_vit FOLDER
"""

import argparse
from pathlib import Path

import transformers
from transformers import ViTConfig
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from models.parity.classifier import Classifier, write_expected, write_pictures
from models.parity.full_size_blip import draw_files
from models.parity.vit import write_checkpoint

LABELS = 1000
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside of the repository")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()

    files = draw_files()
    write_pictures(args.folder, files)
    # The hub's: pictures are scaled to -1..1. ViTConfig's defaults are those of the base model.
    processor = ViTImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    write_checkpoint(args.folder, ViTConfig(num_labels=LABELS), processor, files, SEED)
    classifier = Classifier(args.folder)
    write_expected(classifier, files, SEED)
    for name, file in files.items():
        print(name, *(f"{best['label']} {best['score']:.3f}" for best in classifier.predictions(file)))


if __name__ == "__main__":
    main()
