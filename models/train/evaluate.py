"""How often a checkpoint's greedy caption is the right one, word for word, on pictures it has not seen.

    python -m models.train.evaluate models/demo/blip
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from models.train.captioner import Captioner
from models.train.shapes import MAX_OBJECTS, caption, draw_jpeg

MAX_NEW_TOKENS = 20
BATCH = 100
PROMPT = "a picture of"


def report(folder: Path, seed: int, count: int) -> dict[str, float]:
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
        for (_, things), answer, answer_to_prompt in zip(drawn, alone, prompted, strict=True):
            for group in ("exact_match", f"exact_match_{len(things)}"):
                shown[group] += 1
                right[group] += answer == caption(things)
            shown["exact_match_prompted"] += 1
            right["exact_match_prompted"] += answer_to_prompt == f"{PROMPT} {caption(things)}"
    return {group: round(right[group] / shown[group], 4) for group in sorted(shown)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=18)
    parser.add_argument("--count", type=int, default=1_200)
    args = parser.parse_args()
    print(json.dumps(report(args.folder, args.seed, args.count)))


if __name__ == "__main__":
    main()
