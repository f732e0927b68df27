"""Draws the demo's sample pictures, which training has not seen, and checks what every demo model tells of them.

    python -m models.train.samples models/demo
"""

import argparse
import json
from pathlib import Path

import numpy as np

from models.train.captioner import Captioner, read_picture
from models.train.detector import Detector, in_pixels, matched
from models.train.evaluate import MAX_NEW_TOKENS, THRESHOLD, classifier
from models.train.shapes import Scene, Thing, caption, draw_scene, jpeg

SEED = 2_026
QUALITY = 80
SCENES = [
    ("red circle", (320, 240)),
    ("black heart", (240, 320)),
    ("red circle, blue square", (640, 480)),
    ("orange ring, white star", (480, 360)),
    ("green triangle, yellow star, purple heart", (640, 360)),
    ("blue ring, red heart, green circle", (400, 300)),
]
# What a detected box shares with the true one, at least, of what both cover.
OVERLAP = 0.75
# A box's numbers, named as transformers' pipelines name them.
SIDES = ("xmin", "ymin", "xmax", "ymax")


def draw_files() -> dict[str, tuple[bytes, Scene]]:
    """File name to contents and what they show."""
    files = {}
    for index, (words, size) in enumerate(SCENES):
        things = [Thing(*thing.split()) for thing in words.split(", ")]
        picture, scene = draw_scene(np.random.default_rng((SEED, index)), things, size)
        name = words.replace(", ", "-").replace(" ", "-") + ".jpg"
        files[name] = (jpeg(picture, QUALITY), scene)
    return files


def captions(files: dict[str, tuple[bytes, Scene]], folder: Path) -> dict[str, str]:
    """The caption of each picture, word for word what the captioner says."""
    captioner = Captioner(folder)
    truth = {name: caption(scene.things) for name, (_, scene) in files.items()}
    for name, (file, _) in files.items():
        told = captioner.decode(captioner.token_ids(captioner.pixel_values([file]), MAX_NEW_TOKENS))[0]
        if told != truth[name]:
            raise SystemExit(f"{name}: {folder} says {told!r}")
    return truth


def labels(files: dict[str, tuple[bytes, Scene]], folders: list[Path]) -> dict[str, str]:
    """The label of each picture of one object, the first that every classifier gives."""
    lone = {name: (file, scene.things[0].label) for name, (file, scene) in files.items() if len(scene.things) == 1}
    for folder in folders:
        classify = classifier(folder)
        for name, (file, label) in lone.items():
            told = classify(read_picture(file), top_k=1)[0]["label"]
            if told != label:
                raise SystemExit(f"{name}: {folder} says {told!r}")
    return {name: label for name, (_, label) in lone.items()}


def objects(files: dict[str, tuple[bytes, Scene]], folder: Path) -> dict[str, list[dict]]:
    """Label and true box, in pixels, of the objects of each picture that the detector tells; it tells no others."""
    detector = Detector(folder)
    told = {}
    for name, (file, scene) in files.items():
        found = detector([file], THRESHOLD)[0]
        right = [thing for thing in in_pixels(file, scene) if matched(found, [thing], OVERLAP)]
        if len(right) != len(found):
            raise SystemExit(f"{name}: {folder} finds {found}")
        told[name] = [{"label": label, "box": dict(zip(SIDES, map(round, box), strict=True))} for label, box in right]
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="the folder of the demo's checkpoints; pictures go below it")
    args = parser.parse_args()

    files = draw_files()
    answers = {
        "captions.json": captions(files, args.demo / "blip"),
        "labels.json": labels(files, [args.demo / "vit", args.demo / "resnet"]),
        "objects.json": objects(files, args.demo / "detr"),
    }
    folder = args.demo / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (file, _) in files.items():
        (folder / name).write_bytes(file)
    for name, answer in answers.items():
        (folder / name).write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
