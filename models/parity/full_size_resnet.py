"""Writes a checkpoint of microsoft/resnet-50's size, 0.1 GB, with random weights, and what transformers answers with it.
For a parity check and a benchmark at full size where the hub is out of reach.

    python -m models.parity.full_size_resnet FOLDER
"""

import argparse
from pathlib import Path

import transformers
from transformers import ResNetConfig
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil

from models.parity.classifier import Classifier, write_expected, write_pictures
from models.parity.full_size_blip import draw_files
from models.parity.residual import write_classifier

LABELS = 1000
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside of the repository")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()

    files = draw_files()
    write_pictures(args.folder, files)
    # ResNetConfig's defaults are those of ResNet-50; the hub's processor crops an eighth off.
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875)
    write_classifier(args.folder, ResNetConfig(num_labels=LABELS), processor, files, SEED)
    classifier = Classifier(args.folder)
    write_expected(classifier, files, SEED)
    for name, file in files.items():
        print(name, *(f"{best['label']} {best['score']:.3f}" for best in classifier.predictions(file)))


if __name__ == "__main__":
    main()
