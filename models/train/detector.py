"""A DETR checkpoint as transformers runs it, and how well its boxes meet the true ones."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, DetrForObjectDetection

from models.train.captioner import read_picture
from models.train.shapes import Box, Scene


@dataclass(frozen=True)
class Found:
    """One object that a detector tells."""

    label: str
    score: float
    box: Box  # in pixels of the upright picture


@dataclass
class Detector:
    """fp32, eager, on the CPU; pictures go through Pillow."""

    folder: Path

    def __post_init__(self) -> None:
        self.processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        self.model = DetrForObjectDetection.from_pretrained(self.folder, attn_implementation="eager").eval()

    @torch.no_grad()
    def __call__(self, files: list[bytes], threshold: float) -> list[list[Found]]:
        """The objects in each picture file, padded to one batch, in the order of the queries."""
        pictures = [read_picture(file) for file in files]
        outputs = self.model(**self.processor(pictures, return_tensors="pt"))
        sizes = [(picture.height, picture.width) for picture in pictures]
        labels = self.model.config.id2label
        return [
            [
                Found(labels[label], score, tuple(box))
                for score, label, box in zip(
                    told["scores"].tolist(), told["labels"].tolist(), told["boxes"].tolist(), strict=True
                )
            ]
            for told in self.processor.post_process_object_detection(outputs, threshold, target_sizes=sizes)
        ]


def in_pixels(file: bytes, scene: Scene) -> list[tuple[str, Box]]:
    """Label and box of each thing in a picture file."""
    width, height = read_picture(file).size
    return [
        (thing.label, (left * width, top * height, right * width, bottom * height))
        for thing, (left, top, right, bottom) in zip(scene.things, scene.boxes, strict=True)
    ]


def intersection_over_union(one: Box, other: Box) -> float:
    """What two boxes share, of what they cover together."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return shared / (sum(areas) - shared)


def matched(found: list[Found], truth: list[tuple[str, Box]], overlap: float) -> int:
    """How many objects of one picture are found, each by one answer with its label and `overlap` at least."""
    left = list(truth)
    for thing in found:
        for label, box in left:
            if thing.label == label and intersection_over_union(thing.box, box) >= overlap:
                left.remove((label, box))
                break
    return len(truth) - len(left)


def average_precision(found: list[list[Found]], truth: list[list[tuple[str, Box]]], overlap: float) -> float:
    """COCO's AP at one overlap, averaged over the labels that occur: precision, made to fall, at 101 levels of recall.

    An object found takes the best true box of its label that no better-scored one has taken. `found` and `truth` have
    one list per picture; boxes of both in the same unit.
    """
    answers = defaultdict(list)
    for index, objects in enumerate(found):
        for thing in objects:
            answers[thing.label].append((thing.score, index, thing.box))
    present = defaultdict(lambda: defaultdict(list))
    for index, objects in enumerate(truth):
        for label, box in objects:
            present[label][index].append(box)
    return float(np.mean([_label_precision(answers[label], boxes, overlap) for label, boxes in present.items()]))


def _label_precision(answers: list[tuple[float, int, Box]], present: dict[int, list[Box]], overlap: float) -> float:
    left = {index: list(boxes) for index, boxes in present.items()}
    hits = []
    for _, index, box in sorted(answers, key=lambda answer: -answer[0]):
        best = max(left.get(index, []), key=lambda true: intersection_over_union(box, true), default=None)
        hit = best is not None and intersection_over_union(box, best) >= overlap
        if hit:
            left[index].remove(best)
        hits.append(hit)
    right = np.cumsum(hits)
    recall = right / sum(map(len, present.values()))
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    levels = np.searchsorted(recall, np.linspace(0, 1, 101))
    return float(np.mean([precision[level] if level < len(hits) else 0.0 for level in levels]))
