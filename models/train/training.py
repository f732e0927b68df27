"""What all trainings share: the command line, workers that step together, the schedule, and the report at the end."""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel
from transformers.image_processing_backends import PilBackend

from models.train.pictures import Pictures, drawn_once

# Trains a model in one worker: arguments, pictures, and the worker's own random numbers.
Train = Callable[[argparse.Namespace, Pictures, np.random.Generator], None]


def arguments(
    doc: str, *, pictures: int, steps: int, batch: int, learning_rate: float, held_out: int
) -> argparse.ArgumentParser:
    """The command line of a training, with its defaults."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint folder to write")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--pictures", type=int, default=pictures)
    parser.add_argument("--cache", type=Path, help="keep the drawn pictures in this file between runs")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch, help="of all workers together")
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="products in bfloat16")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--held-out", type=int, default=held_out, help="pictures of another seed, told at the end")
    return parser


def run(
    args: argparse.Namespace,
    processor: PilBackend,
    counts: tuple[int, ...],
    train: Train,
    report: Callable[[Path, int, int], dict[str, float]],
) -> None:
    """Draws pictures of `counts` objects, trains on all workers, and prints what `report` measures."""
    started = time.monotonic()
    pictures = drawn_once(args.cache, processor, counts, args.seed, args.pictures, args.workers)
    print(f"pictures: {len(pictures.scenes):,} in {time.monotonic() - started:.0f} s", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{folder}/rendezvous"
        torch.multiprocessing.start_processes(
            work, (args, rendezvous, pictures, train), nprocs=args.workers, start_method="fork"
        )
    minutes = (time.monotonic() - started) / 60
    summary = {"steps": args.steps, "batch": args.batch, "training_minutes": round(minutes, 1)}
    print(json.dumps(summary | report(args.out, args.seed + 1, args.held_out)), flush=True)


def work(rank: int, args: argparse.Namespace, rendezvous: str, pictures: Pictures, train: Train) -> None:
    """One worker: the same weights as all others, random numbers of its own."""
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=args.workers)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    train(args, pictures, np.random.default_rng((args.seed, rank)))
    dist.destroy_process_group()


def fit(
    args: argparse.Namespace,
    model: PreTrainedModel,
    loss_of: Callable[[float], torch.Tensor],
    save: Callable[[], None],
) -> None:
    """Minimises `loss_of` (of the share of steps done) over fresh batches; the first worker speaks and saves."""
    optimizer, schedule = optimizer_and_schedule(model, args.learning_rate, args.steps)
    started, losses = time.monotonic(), []
    for step in range(1, args.steps + 1):
        loss = loss_of(step / args.steps)
        optimizer.zero_grad()
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if dist.get_rank() == 0 and step % 50 == 0:
            print(f"step {step}: loss {np.mean(losses[-50:]):.4f}, {time.monotonic() - started:.0f} s", flush=True)
        if dist.get_rank() == 0 and (step % 500 == 0 or step == args.steps):
            save()


def optimizer_and_schedule(
    model: nn.Module, learning_rate: float, steps: int
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


def average_gradients(model: nn.Module) -> None:
    """Makes every worker's gradients the mean of all workers'."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    mean = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def lay_grid(position: nn.Parameter) -> None:
    """Starts a vision tower's position embedding [1, 1 + side * side, width] as 2-D sines: neighbours look alike from
    the first step on."""
    side, quarter = math.isqrt(position.shape[1] - 1), position.shape[-1] // 4
    angles = torch.arange(side)[:, None] * (8.0 ** -(torch.arange(quarter) / quarter))[None, :] * math.pi / 2
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    position[0, 1:] = 0.2 * torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
