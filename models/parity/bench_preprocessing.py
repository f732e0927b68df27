"""Times transformers' PIL processors, from the bytes of a file to pixel values, on one thread.

    python -m models.parity.bench_preprocessing FOLDER --runs 20

Writes the pictures into FOLDER where they are not there yet: vga.jpg (640x480) and 12mp.jpg (4000x3000). A run takes
every picture through every processor once. The last line of the output is JSON: medians in milliseconds. With --paced
a run starts for each line on standard input and its times are printed at once: this program and the runner's
preprocess_bench can then take turns on one machine (`models.parity.bench` makes them).
"""

import argparse
import io
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers.image_utils import load_image

from models.parity.preprocessing import processor

PICTURES = {"vga": (640, 480), "12mp": (4000, 3000)}
FAMILIES = ("blip", "vit", "detr")
QUALITY = 90
OCTAVES = 9


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """Noise of all sizes, as JPEGs of the world have: 0.9 bits a pixel or so at quality 90."""
    rng = np.random.default_rng(seed)
    scene = rng.normal(size=(height, width, 3)).astype(np.float32) * 0.03
    for octave in range(1, OCTAVES):
        size = (width * 2**octave // 512 + 2, height * 2**octave // 512 + 2)
        for channel in range(3):
            waves = rng.normal(size=size[::-1]).astype(np.float32) * 2 ** (-0.8 * octave)
            scene[..., channel] += np.asarray(Image.fromarray(waves).resize((width, height), Image.Resampling.BICUBIC))
    scene -= scene.min()
    return Image.fromarray((scene * (255 / scene.max())).astype(np.uint8))


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, size) in enumerate(PICTURES.items()):
        path = folder / f"{name}.jpg"
        if not path.exists():
            photograph(*size, seed).save(path, quality=QUALITY)


def run(files: dict[str, bytes], processors: dict) -> dict[str, float]:
    """Milliseconds of each stage of each picture and processor: "vga blip whole"."""
    timings = {}
    for picture, file in files.items():
        for name, each in processors.items():
            began = time.perf_counter()
            image = load_image(Image.open(io.BytesIO(file)))
            decoded = time.perf_counter()
            each(image, return_tensors="pt")
            ended = time.perf_counter()
            stages = {"decode": decoded - began, "resize_and_normalize": ended - decoded, "whole": ended - began}
            for stage, seconds in stages.items():
                timings[f"{picture} {name} {stage}"] = round(seconds * 1e3, 3)
    return timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--paced", action="store_true", help="start each run on a line from standard input")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)

    write_pictures(args.folder)
    files = {name: (args.folder / f"{name}.jpg").read_bytes() for name in PICTURES}
    processors = {family: processor(family, {}) for family in FAMILIES}
    run(files, processors)  # the first one also allocates
    if args.paced:
        print(json.dumps({"results": []}), flush=True)

    turns = []
    for _ in range(args.runs):
        if args.paced and not sys.stdin.readline():
            break
        turns.append(run(files, processors))
        if args.paced:
            print(json.dumps(turns[-1]), flush=True)
    medians = {stage: statistics.median(turn[stage] for turn in turns) for stage in turns[0]} if turns else {}
    program = f"transformers {transformers.__version__}, pillow {Image.__version__}"
    print(json.dumps({"program": program, "threads": 1, "runs": len(turns), "median_ms": medians}))


if __name__ == "__main__":
    main()
