"""Training pictures: drawn once, through JPEG files and the family's own image processor, then batched."""

import math
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers.image_processing_backends import PilBackend

from models.train.captioner import read_picture
from models.train.shapes import Scene, draw_jpeg

CHUNK = 500


@dataclass
class Pictures:
    """Drawn pictures at the model's size, and what each shows."""

    pixels: list[np.ndarray]  # uint8 [3, h, w]
    scenes: list[Scene]

    def take(self, index: int, mirror: bool) -> tuple[np.ndarray, Scene]:
        """A picture and what it shows, left and right swapped or not."""
        pixels, scene = self.pixels[index], self.scenes[index]
        return (np.ascontiguousarray(pixels[..., ::-1]), scene.mirrored()) if mirror else (pixels, scene)


def draw_chunk(processor: PilBackend, counts: tuple[int, ...], seed: tuple[int, int]) -> Pictures:
    """CHUNK pictures of `counts` objects in turn, resized (and cropped) as the image processor does it."""
    rng = np.random.default_rng(seed)
    pixels, scenes = [], []
    for i in range(CHUNK):
        file, scene = draw_jpeg(rng, counts[i % len(counts)])
        resized = processor(read_picture(file), do_rescale=False, do_normalize=False)
        pixels.append(resized["pixel_values"][0].astype(np.uint8))
        scenes.append(scene)
    return Pictures(pixels, scenes)


def draw_pictures(processor: PilBackend, counts: tuple[int, ...], seed: int, count: int, workers: int) -> Pictures:
    """`count` pictures, the same for the same seed whatever the number of workers."""
    seeds = [(seed, i) for i in range(math.ceil(count / CHUNK))]
    with ProcessPoolExecutor(workers) as pool:
        chunks = list(pool.map(partial(draw_chunk, processor, counts), seeds))
    return Pictures([p for chunk in chunks for p in chunk.pixels], [s for chunk in chunks for s in chunk.scenes])


def drawn_once(
    cache: Path | None, processor: PilBackend, counts: tuple[int, ...], seed: int, count: int, workers: int
) -> Pictures:
    """draw_pictures, or what an earlier run left in `cache`."""
    if cache is not None and cache.exists():
        return pickle.loads(cache.read_bytes())
    pictures = draw_pictures(processor, counts, seed, count, workers)
    if cache is not None:
        cache.write_bytes(pickle.dumps(pictures))
    return pictures


def normalise(processor: PilBackend, pixels: np.ndarray) -> torch.Tensor:
    """uint8 [..., 3, h, w] to the image processor's pixel_values."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    return (torch.from_numpy(pixels).float() * processor.rescale_factor - mean) / std
