"""An image classifier's checkpoint as transformers runs it: what the Rust runner is compared with."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, ImageClassificationPipeline

from models.train.captioner import read_picture


@dataclass
class Classifier:
    """fp32, eager, on the CPU; pictures go through Pillow."""

    folder: Path

    def __post_init__(self) -> None:
        self.processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        self.model = AutoModelForImageClassification.from_pretrained(self.folder, attn_implementation="eager").eval()
        self.pipeline = ImageClassificationPipeline(model=self.model, image_processor=self.processor)

    def pixel_values(self, files: list[bytes]) -> torch.Tensor:
        """[n, 3, h, w] of picture files."""
        return self.processor([read_picture(file) for file in files], return_tensors="pt")["pixel_values"]

    def predictions(self, file: bytes) -> list[dict]:
        """The best labels and their scores, as the pipeline gives them."""
        return self.pipeline(read_picture(file))


@torch.no_grad()
def write_expected(classifier: Classifier, files: dict[str, bytes], seed: int) -> dict[str, torch.Tensor]:
    """Writes expected.safetensors and expected.json beside the checkpoint; gives the tensors. Every picture runs alone,
    and has the row of its place in expected.json."""
    rows, pictures = [], []
    for name, file in files.items():
        pixel_values = classifier.pixel_values([file])
        last_hidden_state = classifier.model.base_model(pixel_values).last_hidden_state
        rows.append((pixel_values, last_hidden_state, classifier.model(pixel_values).logits))
        pictures.append({"file": name, "predictions": classifier.predictions(file)})
    names = ("pixel_values", "last_hidden_state", "logits")
    tensors = {name: torch.cat(column).contiguous() for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    save_file(tensors, classifier.folder / "expected.safetensors")
    document = {"transformers": transformers.__version__, "seed": seed, "pictures": pictures}
    (classifier.folder / "expected.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for written in ("expected.safetensors", "model.safetensors"):
        (classifier.folder / written).chmod(0o644)
    return tensors


def write_pictures(folder: Path, files: dict[str, bytes]) -> None:
    """The picture files, into `pictures/`."""
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    (folder / "pictures").mkdir(parents=True)
    for name, file in files.items():
        (folder / "pictures" / name).write_bytes(file)
