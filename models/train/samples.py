"""Draws the demo's sample pictures, which training has not seen, and checks that the captioner tells them right.

    python -m models.train.samples models/demo/blip --out models/demo/pictures
"""

import argparse
import json
from pathlib import Path

import numpy as np

from models.train.captioner import Captioner
from models.train.evaluate import MAX_NEW_TOKENS
from models.train.shapes import Thing, caption, draw_picture, jpeg

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


def draw_files() -> dict[str, tuple[bytes, str]]:
    """File name to contents and caption."""
    files = {}
    for index, (scene, size) in enumerate(SCENES):
        things = [Thing(*words.split()) for words in scene.split(", ")]
        picture = draw_picture(np.random.default_rng((SEED, index)), things, size)
        name = scene.replace(", ", "-").replace(" ", "-") + ".jpg"
        files[name] = (jpeg(picture, QUALITY), caption(things))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    captioner = Captioner(args.checkpoint)
    args.out.mkdir(parents=True, exist_ok=True)
    captions = {}
    for name, (file, truth) in draw_files().items():
        told = captioner.decode(captioner.token_ids(captioner.pixel_values([file]), MAX_NEW_TOKENS))[0]
        if told != truth:
            raise SystemExit(f"{name}: the model says {told!r}")
        (args.out / name).write_bytes(file)
        captions[name] = truth
    (args.out / "captions.json").write_text(json.dumps(captions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
