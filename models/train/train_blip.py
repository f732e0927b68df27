"""Trains the demo captioner from nothing on drawn shapes, saves it and says how often it is right.

    python -m models.train.train_blip --out models/demo/blip
"""

import argparse

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from models.train import checkpoint, training
from models.train.evaluate import caption_report
from models.train.pictures import Pictures, normalise
from models.train.shapes import COLOURS, MAX_OBJECTS, SHAPES, caption

IMAGE_SIZE = 64
PATCH_SIZE = 8
# A caption is generated alone, or continued after one of these, as BLIP's users do.
PROMPTS = ("", "a picture of", "a photo of")
PROMPT_SHARES = (0.8, 0.1, 0.1)
WORDS = ["a", "an", "and", "left", "of", "picture", "photo", *COLOURS, *SHAPES]
COUNTS = tuple(range(1, MAX_OBJECTS + 1))


def blip_config(pieces: list[str]) -> BlipConfig:
    """BLIP's shape at an eighth of its width and with fewer layers."""
    width = 96
    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "projection_dim": width,
        "initializer_range": 0.02,
    }
    text = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 32,
        "projection_dim": width,
        **checkpoint.token_ids(pieces),
    }
    sizes = {"projection_dim": width, "image_text_hidden_size": width, "initializer_range": 0.02}
    return BlipConfig(vision_config=vision, text_config=text, **sizes)


def count_shares(progress: float) -> list[float]:
    """How often pictures of 1, 2 and 3 objects are shown: lone objects first, then mostly groups."""
    ease = min(1.0, max(0.0, (progress - 0.05) / 0.15))
    return [0.9 - 0.7 * ease, 0.08 + 0.27 * ease, 0.02 + 0.43 * ease]


def choose(rng: np.random.Generator, by_count: list[np.ndarray], size: int, progress: float) -> np.ndarray:
    """The indices of `size` pictures; `by_count` has those of one object, of two and of three."""
    counts = rng.choice(len(by_count), size=size, p=count_shares(progress))
    return np.array([rng.choice(by_count[count]) for count in counts])


def batch(
    rng: np.random.Generator,
    pictures: Pictures,
    chosen: np.ndarray,
    processor: BlipImageProcessorPil,
    tokens: BertTokenizer,
    bos: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """pixel_values [n, 3, h, w], input_ids [n, t] and labels [n, t]: the next token, or -100 where none is learnt."""
    taken = [pictures.take(index, mirror) for index, mirror in zip(chosen, rng.random(len(chosen)) < 0.5, strict=True)]
    rows = []
    for _, scene in taken:
        prompt = tokens.encode(PROMPTS[rng.choice(len(PROMPTS), p=PROMPT_SHARES)], add_special_tokens=False)
        answer = tokens.encode(caption(scene.things), add_special_tokens=False) + [tokens.sep_token_id]
        rows.append(([bos, *prompt, *answer[:-1]], [-100] * len(prompt) + answer))
    longest = max(len(inputs) for inputs, _ in rows)
    input_ids = torch.tensor([ids + [tokens.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([ids + [-100] * (longest - len(ids)) for _, ids in rows])
    return normalise(processor, np.stack([pixels for pixels, _ in taken])), input_ids, labels


def logits(model: BlipForConditionalGeneration, pixel_values: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """Next-token scores [n, t, vocabulary]. Padding stands after the text, so the causal mask is mask enough."""
    image_embeds = model.vision_model(pixel_values).last_hidden_state
    return model.text_decoder(input_ids, encoder_hidden_states=image_embeds, use_cache=False).logits


def train(args: argparse.Namespace, pictures: Pictures, rng: np.random.Generator) -> None:
    """One worker's part."""
    pieces = checkpoint.word_pieces(WORDS)
    config = blip_config(pieces)
    tokens = checkpoint.tokenizer(pieces, config.text_config.max_position_embeddings)
    processor = checkpoint.image_processor(IMAGE_SIZE)
    bos = config.text_config.bos_token_id
    model = BlipForConditionalGeneration(config).train()
    training.lay_grid(model.vision_model.embeddings.position_embedding)
    by_count = [np.flatnonzero([len(scene.things) == n for scene in pictures.scenes]) for n in COUNTS]

    def loss(progress: float) -> torch.Tensor:
        size = args.batch // args.workers
        chosen = choose(rng, by_count, size, progress)
        pixel_values, input_ids, labels = batch(rng, pictures, chosen, processor, tokens, bos)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            scores = logits(model, pixel_values, input_ids)
        return cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=-100)

    training.fit(args, model, loss, lambda: checkpoint.save(args.out, model, pieces, IMAGE_SIZE))


def main() -> None:
    parser = training.arguments(__doc__, pictures=36_000, steps=3_600, batch=96, learning_rate=1.5e-3, held_out=1_200)
    training.run(parser.parse_args(), checkpoint.image_processor(IMAGE_SIZE), COUNTS, train, caption_report)


if __name__ == "__main__":
    main()
