"""Writes a checkpoint of Salesforce/blip-image-captioning-base's size, 0.9 GB, with random weights, and what
transformers answers with it. For a parity check and a benchmark at full size where the hub is out of reach.

    python -m models.parity.full_size_blip FOLDER
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import BlipConfig, BlipForConditionalGeneration

from models.parity import random_weights
from models.parity.expected import expect
from models.train import checkpoint
from models.train.captioner import Captioner, read_picture
from models.train.shapes import draw_picture, draw_things, jpeg

VOCABULARY = 30_522
IMAGE_SIZE = 384
MAX_NEW_TOKENS = 20
PICTURES_SEED = 1
# Of the first three, the one whose answers hang least on the last bits.
SEED = 3
# Far below any other score: every caption has all of MAX_NEW_TOKENS tokens.
NEVER_STOP = -1e4


def word_pieces() -> list[str]:
    """As many pieces as bert-base-uncased has, special tokens at the same ids; the words are made up."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    reserved = [special.get(id_, f"[unused{id_}]") for id_ in range(104)]
    known = [piece for piece in checkpoint.word_pieces(["a", "of", "picture"]) if piece not in special.values()]
    syllables = ["".join(pair) for pair in itertools.product("bdfghjklmnprstvz", "aeiou")]
    made_up = ("".join(word) for word in itertools.product(syllables, repeat=3))
    return [*reserved, *known, *itertools.islice(made_up, VOCABULARY - len(reserved) - len(known))]


def config(pieces: list[str]) -> BlipConfig:
    """The hub's config of blip-image-captioning-base; BlipConfig's own defaults have 8 heads in the text decoder."""
    return BlipConfig(vision_config={}, text_config={"num_attention_heads": 12, **checkpoint.token_ids(pieces)})


def draw_files() -> dict[str, bytes]:
    """Two pictures of the size of a web page's."""
    rng = np.random.default_rng(PICTURES_SEED)
    sizes = {"wide.jpg": (640, 480), "tall.jpg": (375, 500)}
    return {name: jpeg(draw_picture(rng, draw_things(rng, 3), size), quality=90) for name, size in sizes.items()}


def write_checkpoint(folder: Path, files: dict[str, bytes]) -> None:
    """Weights, config, tokenizer and processor."""
    pieces = word_pieces()
    model = BlipForConditionalGeneration(config(pieces)).eval()
    pictures = [read_picture(file) for file in files.values()]
    pixel_values = checkpoint.image_processor(IMAGE_SIZE)(pictures, return_tensors="pt")["pixel_values"]
    random_weights.fill(model, SEED)
    random_weights.loosen_tongue(model, pixel_values, SEED, NEVER_STOP)
    checkpoint.save(folder, model, pieces, IMAGE_SIZE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="outside of the repository")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(SEED)

    files = draw_files()
    write_checkpoint(args.folder, files)
    expected = expect(Captioner(args.folder), files, MAX_NEW_TOKENS)
    expected.write(args.folder, files, {"seed": SEED})
    for picture in expected.pictures:
        print(picture["file"], len(picture["greedy"]["token_ids"]) - 1, "tokens:", picture["greedy"]["caption"])


if __name__ == "__main__":
    main()
