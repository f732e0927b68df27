"""How good a demo checkpoint is on pictures that it has not seen; what is measured goes by its family.

    python -m models.train.evaluate models/demo/blip
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from transformers import AutoConfig, AutoImageProcessor, ImageClassificationPipeline, pipeline

from models.train.captioner import Captioner, read_picture
from models.train.detector import Detector, average_precision, in_pixels, matched
from models.train.shapes import MAX_OBJECTS, caption, draw_jpeg

MAX_NEW_TOKENS = 20
BATCH = 100
PROMPT = "a picture of"
# The score from which on a detector's object is told.
THRESHOLD = 0.5


def classifier(folder: Path) -> ImageClassificationPipeline:
    """A ViT or ResNet checkpoint as transformers runs it, pictures through Pillow."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return pipeline("image-classification", model=str(folder), image_processor=processor)


def classification_report(folder: Path, seed: int, count: int) -> dict[str, float]:
    """The share of `count` fresh pictures of one object whose first label is right."""
    rng = np.random.default_rng(seed)
    classify = classifier(folder)
    drawn = [draw_jpeg(rng, 1) for _ in range(count)]
    told = classify([read_picture(file) for file, _ in drawn], top_k=1, batch_size=BATCH)
    right = [scene.things[0].label == answers[0]["label"] for (_, scene), answers in zip(drawn, told, strict=True)]
    return {"accuracy": round(float(np.mean(right)), 4)}


def detection_report(folder: Path, seed: int, count: int) -> dict[str, float]:
    """COCO's mean average precision at overlaps of 0.5 and 0.75 over `count` fresh pictures of one to three objects,
    each picture alone, the mAP at 0.5 in batches of mixed sizes, and what share of objects and of whole pictures is
    told right at the score that pipelines report from."""
    rng = np.random.default_rng(seed)
    detector = Detector(folder)
    drawn = [draw_jpeg(rng, i % MAX_OBJECTS + 1) for i in range(count)]
    files = [file for file, _ in drawn]
    truth = [in_pixels(file, scene) for file, scene in drawn]
    alone = [found for file in files for found in detector([file], threshold=0.0)]
    mixed = [found for i in range(0, count, BATCH) for found in detector(files[i : i + BATCH], threshold=0.0)]
    reported = [[thing for thing in found if thing.score > THRESHOLD] for found in alone]
    matches = [matched(found, objects, 0.5) for found, objects in zip(reported, truth, strict=True)]
    figures = {
        "mAP50": average_precision(alone, truth, 0.5),
        "mAP75": average_precision(alone, truth, 0.75),
        "mAP50_batched": average_precision(mixed, truth, 0.5),
        "recall": sum(matches) / sum(map(len, truth)),
        "precision": sum(matches) / max(1, sum(map(len, reported))),
        "pictures_right": np.mean(
            [n == len(f) == len(o) for n, f, o in zip(matches, reported, truth, strict=True)]
        ),
    }
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def caption_report(folder: Path, seed: int, count: int) -> dict[str, float]:
    """Exact-match shares over `count` fresh pictures: all, by number of objects, and all after a prompt."""
    rng = np.random.default_rng(seed)
    captioner = Captioner(folder)
    right: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for start in range(0, count, BATCH):
        drawn = [draw_jpeg(rng, (start + i) % MAX_OBJECTS + 1) for i in range(min(BATCH, count - start))]
        pixel_values = captioner.pixel_values([file for file, _ in drawn])
        alone = captioner.decode(captioner.token_ids(pixel_values, MAX_NEW_TOKENS))
        prompted = captioner.decode(captioner.token_ids(pixel_values, MAX_NEW_TOKENS, PROMPT))
        for (_, scene), answer, answer_to_prompt in zip(drawn, alone, prompted, strict=True):
            things = scene.things
            for group in ("exact_match", f"exact_match_{len(things)}"):
                shown[group] += 1
                right[group] += answer == caption(things)
            shown["exact_match_prompted"] += 1
            right["exact_match_prompted"] += answer_to_prompt == f"{PROMPT} {caption(things)}"
    return {group: round(right[group] / shown[group], 4) for group in sorted(shown)}


REPORTS = {
    "blip": caption_report,
    "vit": classification_report,
    "resnet": classification_report,
    "detr": detection_report,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--count", type=int, default=1_200)
    args = parser.parse_args()
    report = REPORTS[AutoConfig.from_pretrained(args.folder).model_type]
    print(json.dumps(report(args.folder, args.seed, args.count)))


if __name__ == "__main__":
    main()
