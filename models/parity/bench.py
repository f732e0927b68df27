"""The runner against transformers, eager and compiled, on this machine: full-size checkpoints with random weights,
fp32, from the bytes of picture files to results. The programs take turns, run by run, so that what else the machine
does falls on all of them alike; a ratio is the median of the turns' own ratios.

    python -m models.parity.bench --runner target/release/examples/bench --cache ~/.cache/fovea/bench
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Name to the module that writes the checkpoint, its pictures/ too, into the folder that it is given.
MODELS = {
    "blip-base": "models.parity.full_size_blip",
    "vit-base": "models.parity.full_size_vit",
    "resnet-50": "models.parity.full_size_resnet",
    "detr-resnet-50": "models.parity.full_size_detr",
}
# What the runner's bench can tell besides, alone.
DETAILS = {
    "blip-base": {"stage by stage": ["--check"]},
    "detr-resnet-50": {"mixed sizes padded to one, against a pass for each size": ["--padding", "--batch=8", "--runs=5"]},
}


@dataclass
class Program:
    """One side, in a process of its own that runs when it is told to."""

    name: str
    command: list[str]
    turns: list[dict[str, float]] = field(default_factory=list)

    def start(self) -> list[dict] | None:
        """Loads and warms up; the results, or None where the program failed."""
        self.process = subprocess.Popen(
            [*self.command, "--paced"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            print(f"{self.name} failed with exit code {self.process.wait()}", file=sys.stderr)
            return None
        return json.loads(line)["results"]

    def turn(self) -> None:
        """One run."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.turns.append(json.loads(self.process.stdout.readline()))

    def end(self) -> dict:
        """Its last words: medians."""
        self.process.stdin.close()
        last = self.process.stdout.readlines()
        self.process.wait()
        return json.loads(last[-1])

    def median(self, stage: str) -> float:
        return statistics.median(turn[stage] for turn in self.turns)

    def over(self, other: "Program", stage: str) -> float:
        """How many times as long this takes as the other."""
        return statistics.median(a[stage] / b[stage] for a, b in zip(self.turns, other.turns, strict=True))


def agreement(ours: list[dict], theirs: list[dict]) -> str:
    """How far the results are the same."""
    same, largest = 0, 0.0
    for one, other in zip(ours, theirs, strict=True):
        if "caption" in one:
            same += one == other
            continue
        (rows,), (other_rows,) = one.values(), other.values()
        alike = [row["label"] for row in rows] == [row["label"] for row in other_rows]
        same += alike
        for row, other_row in zip(rows, other_rows, strict=False) if alike else ():
            pairs = [(row["score"], other_row["score"])]
            largest = max(largest, *(abs(a - b) for a, b in pairs))
            if "box" in row:
                largest = max(largest, *(abs(side - other_row["box"][name]) for name, side in row["box"].items()))
    words = f"{same} of {len(ours)} alike"
    return f"{words}, off by {largest:.1e}" if largest else words


def checkpoint(cache: Path, name: str) -> Path:
    """The folder of a model's checkpoint, written if it is not there yet."""
    folder, unfinished = cache / name, cache / f"{name}.unfinished"
    if not folder.exists():
        print(f"writing {folder}", file=sys.stderr)
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", MODELS[name], unfinished], check=True, stdout=sys.stderr)
        unfinished.rename(folder)
    return folder


def compare(args: argparse.Namespace, name: str, batch: int) -> str:
    """A row of the table."""
    folder = checkpoint(args.cache, name)
    setting = [str(folder), f"--batch={batch}", f"--threads={args.threads}", f"--runs={args.runs}"]
    transformers = [sys.executable, "-m", "models.parity.bench_transformers", *setting]
    ours = Program("runner", [str(args.runner), *setting])
    others = [Program("transformers", transformers), Program("torch.compile", [*transformers, "--compile"])]
    results = ours.start()
    if results is None:
        raise SystemExit(1)
    alike = {other.name: other.start() for other in others}
    others = [other for other in others if alike[other.name] is not None]
    for turn in range(args.runs):
        programs = [ours, *others]
        # Nobody is always the one that comes after somebody else.
        for program in programs[turn % len(programs) :] + programs[: turn % len(programs)]:
            program.turn()
    last = ours.end()
    columns = [name, str(batch), f"{ours.median('total_ms'):.0f}"]
    for other in others:
        other.end()
        total, cpu, model = (other.over(ours, stage) for stage in ("total_ms", "cpu_ms", "model_ms"))
        columns.append(f"{other.median('total_ms'):.0f}")
        columns.append(f"**{total:.2f}** (model {model:.2f}, CPU time {cpu:.2f})")
    columns += ["failed"] * (2 * (2 - len(others)))
    columns.append(agreement(results, alike["transformers"]) if alike["transformers"] else "")
    columns.append(f"{last['load_peak_over_weights']:.2f}")
    return f"| {' | '.join(columns)} |"


def compare_preprocessing(args: argparse.Namespace) -> list[str]:
    """A table: pictures of two sizes, JPEGs, through each processor on one thread."""
    setting = [str(args.cache / "preprocessing"), f"--runs={args.runs}"]
    ours = Program("runner", [str(args.runner.with_name("preprocess_bench")), *setting])
    theirs = Program("transformers", [sys.executable, "-m", "models.parity.bench_preprocessing", *setting])
    # The other one writes the pictures.
    for program in (theirs, ours):
        if program.start() is None:
            raise SystemExit(1)
    for turn in range(args.runs):
        for program in (ours, theirs) if turn % 2 else (theirs, ours):
            program.turn()
    for program in (ours, theirs):
        program.end()
    rows = ["| preprocessing | runner, ms | transformers on Pillow, ms | ratio |", f"|{'---|' * 4}"]
    for stage in ours.turns[0]:
        values = f"{ours.median(stage):.2f} | {theirs.median(stage):.2f} | **{theirs.over(ours, stage):.2f}**"
        rows.append(f"| {stage} | {values} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runner", type=Path, required=True, help="the runner's example `bench`, built for release")
    parser.add_argument("--cache", type=Path, required=True, help="where the checkpoints are kept")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    names = ["model", "batch", "runner, ms", "transformers, ms", "ratio", "torch.compile, ms", "ratio", "results"]
    names.append("load peak / weights")
    rows = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    print(*rows, sep="\n")
    for name in args.models:
        for batch in args.batches:
            print(compare(args, name, batch), flush=True)
    print("", *compare_preprocessing(args), sep="\n", flush=True)
    for name in args.models:
        for what, options in DETAILS.get(name, {}).items():
            command = [str(args.runner), str(checkpoint(args.cache, name)), *options, f"--threads={args.threads}"]
            print(f"\n{name}, {what}:", subprocess.run(command, check=True, text=True, stdout=-1).stdout.strip())


if __name__ == "__main__":
    main()
