"""Trains the demo captioner from nothing on drawn shapes, saves it and says how often it is right.

    python -m models.train.train_blip --out models/demo/blip
"""

import argparse
import io
import json
import math
import pickle
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from models.train import checkpoint
from models.train.evaluate import report
from models.train.shapes import COLOURS, MAX_OBJECTS, SHAPES, Thing, caption, draw_jpeg

IMAGE_SIZE = 64
PATCH_SIZE = 8
# A caption is generated alone, or continued after one of these, as BLIP's users do.
PROMPTS = ("", "a picture of", "a photo of")
PROMPT_SHARES = (0.8, 0.1, 0.1)
WORDS = ["a", "an", "and", "left", "of", "picture", "photo", *COLOURS, *SHAPES]
CHUNK = 500


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


@dataclass
class Pictures:
    """Drawn pictures at the model's size, and what each shows."""

    pixels: np.ndarray  # uint8 [n, IMAGE_SIZE, IMAGE_SIZE, 3]
    things: list[list[Thing]]
    by_count: list[np.ndarray]  # for 1, 2, ... objects: the indices of such pictures


def draw_chunk(seed: tuple[int, int]) -> tuple[np.ndarray, list[list[Thing]]]:
    """CHUNK pictures through JPEG and the resize that the image processor does."""
    rng = np.random.default_rng(seed)
    pixels, things = [], []
    for i in range(CHUNK):
        data, shown = draw_jpeg(rng, i % MAX_OBJECTS + 1)
        picture = Image.open(io.BytesIO(data)).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
        pixels.append(np.asarray(picture))
        things.append(shown)
    return np.stack(pixels), things


def draw_pictures(seed: int, count: int, workers: int) -> Pictures:
    """`count` pictures, the same for the same seed whatever the number of workers."""
    with ProcessPoolExecutor(workers) as pool:
        chunks = list(pool.map(draw_chunk, [(seed, i) for i in range(math.ceil(count / CHUNK))]))
    things = [shown for chunk in chunks for shown in chunk[1]]
    counts = np.array([len(shown) for shown in things])
    by_count = [np.flatnonzero(counts == n) for n in range(1, MAX_OBJECTS + 1)]
    return Pictures(np.concatenate([chunk[0] for chunk in chunks]), things, by_count)


def drawn_once(cache: Path | None, seed: int, count: int, workers: int) -> Pictures:
    """draw_pictures, or what an earlier run left in `cache`."""
    if cache is not None and cache.exists():
        return pickle.loads(cache.read_bytes())
    pictures = draw_pictures(seed, count, workers)
    if cache is not None:
        cache.write_bytes(pickle.dumps(pictures))
    return pictures


def count_shares(progress: float) -> list[float]:
    """How often pictures of 1, 2 and 3 objects are shown: lone objects first, then mostly groups."""
    ease = min(1.0, max(0.0, (progress - 0.05) / 0.15))
    return [0.9 - 0.7 * ease, 0.08 + 0.27 * ease, 0.02 + 0.43 * ease]


def batch(
    rng: np.random.Generator, pictures: Pictures, tokens: BertTokenizer, bos: int, size: int, progress: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """pixel_values [n, 3, h, w], input_ids [n, t] and labels [n, t]: the next token, or -100 where none is learnt."""
    counts = rng.choice(MAX_OBJECTS, size=size, p=count_shares(progress))
    chosen = np.array([rng.choice(pictures.by_count[c]) for c in counts])
    mirrored = rng.random(size) < 0.5
    pixels = pictures.pixels[chosen]
    pixels[mirrored] = pixels[mirrored, :, ::-1]

    rows = []
    for index, mirror in zip(chosen, mirrored, strict=True):
        things = pictures.things[index][::-1] if mirror else pictures.things[index]
        prompt = tokens.encode(PROMPTS[rng.choice(len(PROMPTS), p=PROMPT_SHARES)], add_special_tokens=False)
        answer = tokens.encode(caption(things), add_special_tokens=False) + [tokens.sep_token_id]
        rows.append(([bos, *prompt, *answer[:-1]], [-100] * len(prompt) + answer))
    longest = max(len(inputs) for inputs, _ in rows)
    input_ids = torch.tensor([ids + [tokens.pad_token_id] * (longest - len(ids)) for ids, _ in rows])
    labels = torch.tensor([ids + [-100] * (longest - len(ids)) for _, ids in rows])
    return normalise(pixels), input_ids, labels


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] to the image processor's pixel_values [n, 3, h, w]."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (scaled - mean) / std


def logits(model: BlipForConditionalGeneration, pixel_values: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """Next-token scores [n, t, vocabulary]. Padding stands after the text, so the causal mask is mask enough."""
    image_embeds = model.vision_model(pixel_values).last_hidden_state
    return model.text_decoder(input_ids, encoder_hidden_states=image_embeds, use_cache=False).logits


@torch.no_grad()
def lay_grid(model: BlipForConditionalGeneration) -> None:
    """Starts the vision tower's position embedding as 2-D sines: neighbours look alike from the first step on."""
    position = model.vision_model.embeddings.position_embedding
    side, quarter = IMAGE_SIZE // PATCH_SIZE, position.shape[-1] // 4
    angles = torch.arange(side)[:, None] * (8.0 ** -(torch.arange(quarter) / quarter))[None, :] * math.pi / 2
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    position[0, 1:] = 0.2 * torch.cat([rows, columns], dim=-1).reshape(side * side, -1)


def average_gradients(model: BlipForConditionalGeneration) -> None:
    """Makes every worker's gradients the mean of all workers'."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    mean = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def optimizer_and_schedule(
    model: BlipForConditionalGeneration, learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, no decay on biases and norms; a warm-up, then a cosine down to nearly nothing."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98))
    warm_up = min(200, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005)
    )
    return optimizer, schedule


def train(rank: int, args: argparse.Namespace, pictures: Pictures) -> None:
    """One worker: each sees batches of its own, all step together, and the first one speaks and saves."""
    dist.init_process_group("gloo", init_method=f"file://{args.rendezvous}", rank=rank, world_size=args.workers)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng((args.seed, rank))
    pieces = checkpoint.word_pieces(WORDS)
    config = blip_config(pieces)
    tokens = checkpoint.tokenizer(pieces, config.text_config.max_position_embeddings)
    bos = config.text_config.bos_token_id
    model = BlipForConditionalGeneration(config).train()
    lay_grid(model)
    optimizer, schedule = optimizer_and_schedule(model, args.learning_rate, args.steps)

    started, losses = time.monotonic(), []
    for step in range(1, args.steps + 1):
        size = args.batch // args.workers
        pixel_values, input_ids, labels = batch(rng, pictures, tokens, bos, size, step / args.steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            scores = logits(model, pixel_values, input_ids)
        loss = cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if rank == 0 and step % 50 == 0:
            print(f"step {step}: loss {np.mean(losses[-50:]):.4f}, {time.monotonic() - started:.0f} s", flush=True)
        if rank == 0 and (step % 500 == 0 or step == args.steps):
            checkpoint.save(args.out, model, pieces, IMAGE_SIZE)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--pictures", type=int, default=36_000)
    parser.add_argument("--cache", type=Path, help="keep the drawn pictures in this file between runs")
    parser.add_argument("--steps", type=int, default=3_600)
    parser.add_argument("--batch", type=int, default=96, help="of all workers together")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="products in bfloat16")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--held-out", type=int, default=1_200, help="pictures of another seed, captioned at the end")
    args = parser.parse_args()

    started = time.monotonic()
    pictures = drawn_once(args.cache, args.seed, args.pictures, args.workers)
    print(f"pictures: {len(pictures.things):,} in {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        args.rendezvous = Path(folder) / "rendezvous"
        torch.multiprocessing.start_processes(train, (args, pictures), nprocs=args.workers, start_method="fork")
    minutes = (time.monotonic() - started) / 60
    summary = {"steps": args.steps, "batch": args.batch, "training_minutes": round(minutes, 1)}
    print(json.dumps(summary | report(args.out, seed=args.seed + 1, count=args.held_out)), flush=True)


if __name__ == "__main__":
    main()
