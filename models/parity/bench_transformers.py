"""Times a model with transformers from the bytes of picture files to results: fp32 on the CPU, transformers' default
attention, pictures through Pillow, eager or compiled.

    python -m models.parity.bench_transformers FOLDER --batch 8 --threads 2 [--compile]

The pictures are those in FOLDER/pictures, in the order of their names, over and over; the results have the form of the
runner's. With --paced the first line of the output is JSON with the results, and then a run starts for each line on
standard input and its times are printed at once: so this program and the runner's example `bench` can take turns
(models.parity.bench makes them). The last line of the output is JSON with medians. Times are in milliseconds.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Protocol

import torch
import transformers
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForObjectDetection,
    AutoTokenizer,
    BlipForConditionalGeneration,
)

from models.train.captioner import read_picture

TOP_K = 5
THRESHOLD = 0.5


class Subject(Protocol):
    """A model with what it takes to ask it."""

    def compile(self) -> None:
        """Has torch.compile take over."""

    def results(self, inputs: dict, pictures: list[Image.Image]) -> list[dict]:
        """What the model says of each picture, of which the processor made `inputs`."""


class Captions:
    """BLIP, greedily or with beams, as many tokens as transformers takes by default."""

    def __init__(self, folder: Path, num_beams: int) -> None:
        self.model = BlipForConditionalGeneration.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.num_beams = num_beams

    def compile(self) -> None:
        # `generate` calls these two, not the whole.
        self.model.vision_model.compile()
        self.model.text_decoder.compile()

    def results(self, inputs: dict, pictures: list[Image.Image]) -> list[dict]:
        token_ids = self.model.generate(pixel_values=inputs["pixel_values"], num_beams=self.num_beams)
        return [{"caption": text} for text in self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)]


class Labels:
    """Any classifier: softmax, the five best."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForImageClassification.from_pretrained(folder).eval()

    def compile(self) -> None:
        self.model.compile()

    def results(self, inputs: dict, pictures: list[Image.Image]) -> list[dict]:
        best = self.model(**inputs).logits.softmax(-1).topk(min(TOP_K, self.model.config.num_labels))
        names = self.model.config.id2label
        return [
            {"predictions": [{"label": names[i], "score": s} for s, i in zip(scores, ids, strict=True)]}
            for scores, ids in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


class Objects:
    """Any detector of DETR's kind."""

    def __init__(self, folder: Path, processor: transformers.BaseImageProcessor) -> None:
        self.model = AutoModelForObjectDetection.from_pretrained(folder).eval()
        self.processor = processor

    def compile(self) -> None:
        self.model.compile()

    def results(self, inputs: dict, pictures: list[Image.Image]) -> list[dict]:
        sizes = [(picture.height, picture.width) for picture in pictures]
        outputs = self.model(**inputs)
        found = self.processor.post_process_object_detection(outputs, threshold=THRESHOLD, target_sizes=sizes)
        return [{"detections": self.detections(one)} for one in found]

    def detections(self, found: dict[str, torch.Tensor]) -> list[dict]:
        names, sides = self.model.config.id2label, ("xmin", "ymin", "xmax", "ymax")
        return [
            {"label": names[label], "score": score, "box": dict(zip(sides, box, strict=True))}
            for label, score, box in zip(*(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True)
        ]


class Bench:
    """One folder's model, and the pictures it is asked about."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.processor = AutoImageProcessor.from_pretrained(args.folder, backend="pil")
        self.subject: Subject
        match AutoConfig.from_pretrained(args.folder).model_type:
            case "blip":
                self.subject = Captions(args.folder, args.beams)
            case "detr":
                self.subject = Objects(args.folder, self.processor)
            case _:
                self.subject = Labels(args.folder)
        if args.compile:
            self.subject.compile()
        paths = sorted((args.folder / "pictures").iterdir())
        self.files = [path.read_bytes() for path in itertools.islice(itertools.cycle(paths), args.batch)]

    @torch.no_grad()
    def run(self) -> tuple[dict[str, float], list[dict]]:
        """Times of a pass, and what it gave."""
        began, began_cpu = time.perf_counter(), time.process_time()
        pictures = [read_picture(file) for file in self.files]
        inputs = self.processor(pictures, return_tensors="pt")
        prepared = time.perf_counter()
        results = self.subject.results(inputs, pictures)
        ended, ended_cpu = time.perf_counter(), time.process_time()
        seconds = {
            "preprocess_ms": prepared - began,
            "model_ms": ended - prepared,
            "total_ms": ended - began,
            "cpu_ms": ended_cpu - began_cpu,
        }
        return {stage: round(value * 1e3, 2) for stage, value in seconds.items()}, results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a checkpoint, with pictures/ in it")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a pass")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beams", type=int, default=1, help="sequences that a captioning model follows at once")
    parser.add_argument("--compile", action="store_true", help="torch.compile, with its defaults")
    parser.add_argument("--paced", action="store_true", help="start each run on a line from standard input")
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)

    bench = Bench(args)
    # The first passes also allocate; a compiled model's first ones compile, for a fixed and then for any length.
    for _ in range(3 if args.compile else 1):
        _, results = bench.run()
    if args.paced:
        print(json.dumps({"results": results}), flush=True)

    timings = []
    for _ in range(args.runs):
        if args.paced and not sys.stdin.readline():
            break
        times, _ = bench.run()
        timings.append(times)
        if args.paced:
            print(json.dumps(times), flush=True)
    program = f"transformers {transformers.__version__}, torch {torch.__version__}"
    setting = {"program": program, "compiled": args.compile, "threads": args.threads, "batch": args.batch}
    stages = timings[0] if timings else {}
    medians = {f"median_{stage}": round(statistics.median(t[stage] for t in timings), 2) for stage in stages}
    print(json.dumps({**setting, "runs": len(timings), **medians}))


if __name__ == "__main__":
    main()
