"""Times a caption with transformers: eager, fp32, batch 1, greedy, from the bytes of a file to the text.

    python -m models.parity.bench_transformers FOLDER --runs 10 --threads 2

The last line of the output is JSON: medians in milliseconds, and every run's total so that runs can be paired with
another program's. With --paced a run starts for each line on standard input and its total is printed at once: two
programs can then take turns on one machine.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers

from models.train.captioner import Captioner


def run(captioner: Captioner, file: bytes, max_new_tokens: int) -> tuple[dict[str, float], int]:
    """Milliseconds of each stage, and how many tokens were generated. The encoder's share is within generate's."""
    began = time.perf_counter()
    pixel_values = captioner.pixel_values([file])
    prepared = time.perf_counter()
    token_ids = captioner.token_ids(pixel_values, max_new_tokens)
    captioner.decode(token_ids)
    ended = time.perf_counter()
    stages = {"preprocess": prepared - began, "generate": ended - prepared, "total": ended - began}
    return {stage: seconds * 1e3 for stage, seconds in stages.items()}, token_ids.shape[1] - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder that models.parity.full_size or goldens wrote")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--paced", action="store_true", help="start each run on a line from standard input")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(args.threads)

    captioner = Captioner(args.folder)
    expected = json.loads((args.folder / "expected.json").read_text(encoding="utf-8"))
    file = (args.folder / "pictures" / expected["pictures"][0]["file"]).read_bytes()
    run(captioner, file, expected["max_new_tokens"])  # the first one also allocates

    timings, tokens = [], 0
    for _ in range(args.runs):
        if args.paced and not sys.stdin.readline():
            break
        stages, tokens = run(captioner, file, expected["max_new_tokens"])
        timings.append(stages)
        if args.paced:
            print(json.dumps({"total_ms": round(stages["total"], 1)}), flush=True)
    medians = {f"median_{stage}_ms": round(statistics.median(t[stage] for t in timings), 1) for stage in timings[0]}
    totals = [round(stages["total"], 1) for stages in timings]
    program = f"transformers {transformers.__version__}, torch {torch.__version__}"
    setting = {"program": program, "threads": args.threads}
    print(json.dumps({**setting, "tokens": tokens, "runs": len(timings), **medians, "total_ms": totals}))


if __name__ == "__main__":
    main()
