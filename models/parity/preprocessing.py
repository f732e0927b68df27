"""Writes odd pictures, and what transformers' PIL processors make of them, for the runner's tests.

    python -m models.parity.preprocessing --out runner/tests/golden/pictures
"""

import argparse
import hashlib
import io
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import PIL
import torch
import transformers
from PIL import Image
from safetensors.numpy import save_file
from transformers import AutoImageProcessor
from transformers.image_utils import load_image

from models.parity.odd_pictures import odd_pictures

SEED = 11
# Every picture at this size, as levels: resized by the ViT's processor, not rescaled, not normalised.
LEVELS_SIZE = 32
LEVELS = ("vit", {"size": LEVELS_SIZE, "do_rescale": False, "do_normalize": False})
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}

# Of these pictures the values are compared bit by bit, by their digests, for each configuration.
COMPARED = ["rgb.png", "exif-6.png", "1x2000.png", "3000x2.png", "as-large-as-the-model.png", "1x1.png", "rgb-420.jpg"]

# Name to family (config.json's model_type) and preprocessor_config.json.
CONFIGURATIONS: dict[str, tuple[str, dict]] = {
    "blip by default": ("blip", {}),
    "blip today": (
        "blip",
        {
            "image_processor_type": "BlipImageProcessor",
            "do_convert_rgb": True,
            "size": {"height": 40, "width": 56},
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
        },
    ),
    "vit by default": ("vit", {}),
    "vit of old": (
        "vit",
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ViTFeatureExtractor",
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "resample": 2,
            "size": 33,
        },
    ),
    "vit with one mean": ("vit", {"size": 24, "image_mean": 0.25, "image_std": 0.75}),
    "vit that crops": (
        "vit",
        {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 31, "width": 24}, **IMAGENET},
    ),
    "vit that crops more than there is": (
        "vit",
        {"size": {"height": 20, "width": 21}, "do_center_crop": True, "crop_size": 30},
    ),
    "vit that only crops": ("vit", {"do_resize": False, "do_center_crop": True, "crop_size": [41, 35]}),
    "vit by shortest edge": (
        "vit",
        {"size": 25, "default_to_square": False, "do_center_crop": True, "crop_size": 25},
    ),
    "vit by both edges": ("vit", {"size": {"shortest_edge": 20, "longest_edge": 40}}),
    "resnet by default": ("resnet", {}),
    "resnet of old": (
        "resnet",
        {
            "crop_pct": 0.875,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor",
            "resample": 3,
            "size": 224,
            **IMAGENET,
        },
    ),
    "resnet without crop_pct": ("resnet", {"size": {"shortest_edge": 61}}),
    "detr by default": ("detr", {}),
    "detr of old": (
        "detr",
        {
            "feature_extractor_type": "DetrFeatureExtractor",
            "format": "coco_detection",
            "max_size": 90,
            "size": 50,
            **IMAGENET,
        },
    ),
    "detr in edges": ("detr", {"size": {"longest_edge": 70, "shortest_edge": 64}, "do_pad": False}),
    "detr at one size": ("detr", {"size": {"height": 30, "width": 40}}),
    "no normalising": ("blip", {"size": 30, "do_normalize": False}),
    "no rescaling": ("blip", {"size": 30, "do_rescale": False}),
    "another factor": ("vit", {"size": 30, "rescale_factor": 0.00784313725490196}),
    **{
        f"resample {number} to {width} x {height}": (
            "blip",
            {"resample": number, "size": {"height": height, "width": width}},
        )
        for number in range(6)
        for width, height in [(70, 20), (13, 90), (7, 5), (101, 103)]
    },
}


def processor(family: str, config: dict) -> transformers.BaseImageProcessor:
    """As AutoImageProcessor opens it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps({"model_type": family}), encoding="utf-8")
        Path(folder, "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
        return AutoImageProcessor.from_pretrained(folder, backend="pil")


def pixel_values(of: transformers.BaseImageProcessor, image: Image.Image) -> np.ndarray:
    """[3, height, width]"""
    return np.ascontiguousarray(of(image, return_tensors="np")["pixel_values"][0])


def answer(config: tuple[str, dict], images: dict[str, Image.Image]) -> dict[str, dict | None]:
    """Shape and digest of what the processor makes of each; None where it fails."""
    open_processor = processor(*config)
    answers: dict[str, dict | None] = {}
    for name, image in images.items():
        try:
            values = pixel_values(open_processor, image).astype("<f4")
        except ValueError:
            answers[name] = None
            continue
        digest = hashlib.sha256(values.tobytes()).hexdigest()
        answers[name] = {"shape": list(values.shape), "sha256": digest}
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)

    files = odd_pictures(SEED)
    images = {name: load_image(Image.open(io.BytesIO(file))) for name, file in files.items()}
    shutil.rmtree(args.out / "files", ignore_errors=True)
    (args.out / "files").mkdir(parents=True)
    for name, file in files.items():
        (args.out / "files" / name).write_bytes(file)

    levels_processor = processor(*LEVELS)
    levels = {name: pixel_values(levels_processor, image) for name, image in images.items()}
    if any(values.dtype != np.uint8 for values in levels.values()):
        raise SystemExit("levels are bytes")
    save_file(levels, args.out / "levels.safetensors")
    (args.out / "levels.safetensors").chmod(0o644)
    document = {
        "transformers": transformers.__version__,
        "pillow": PIL.__version__,
        "seed": SEED,
        "levels": {"family": LEVELS[0], "config": LEVELS[1]},
        "pictures": {
            name: {"size": image.size, "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
            for name, image in images.items()
        },
        "configurations": {
            name: {
                "family": config[0],
                "config": config[1],
                "pixel_values": answer(config, {name: images[name] for name in COMPARED}),
            }
            for name, config in CONFIGURATIONS.items()
        },
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (args.out / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
