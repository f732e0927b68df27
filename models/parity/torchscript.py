"""Writes small TorchScript modules with their manifests, good ones and bad ones, and what the good ones answer.

    python -m models.parity.torchscript --pictures runner/tests/golden/blip/pictures --out runner/tests/golden/torchscript
"""

import argparse
import io
import json
import shutil
import zipfile
from pathlib import Path

import torch
from torch import nn
from torch.jit import Final
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from models.train.captioner import read_picture

SEED = 3
HEIGHT, WIDTH = 24, 40
LABELS = ["ant", "bee", "cat", "dog", "eel"]
THINGS = ["circle", "square", None]
QUERIES = 7
# A white picture's mean is 1, a black one's -1, a blank input's 0.
BRIGHT = 0.9
PREPROCESSING = {
    "do_resize": True,
    "size": {"height": HEIGHT, "width": WIDTH},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


class Features(nn.Module):
    """[batch, 3, height, width] to [batch, 8]."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 5, stride=3)
        self.dense = nn.Linear(24, 8)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        xs = nn.functional.adaptive_avg_pool2d(self.conv(xs).relu(), (2, 2))
        return self.dense(xs.flatten(1)).tanh()


class Classifier(nn.Module):
    """Any number of pictures, logits alone."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        self.head = nn.Linear(8, len(LABELS))

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return 4 * self.head(self.features(xs))


class ChannelsLast(Classifier):
    """The same of [batch, height, width, 3], in a dictionary."""

    def forward(self, xs: torch.Tensor) -> dict[str, torch.Tensor]:
        assert xs.shape[3] == 3
        features = self.features(xs.permute(0, 3, 1, 2))
        return {"features": features, "logits": 4 * self.head(features)}


class Fixed(Classifier):
    """Takes `pictures` at once, no fewer and no more."""

    def __init__(self, pictures: int):
        super().__init__()
        self.pictures = pictures

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        assert xs.shape[0] == self.pictures, "another batch than this module was made for"
        return 4 * self.head(self.features(xs))


class Detector(nn.Module):
    """Boxes (cx, cy, w, h in fractions) and logits, the last of which is "no object", in a tuple."""

    def __init__(self):
        super().__init__()
        self.features = Features()
        self.boxes = nn.Linear(8, QUERIES * 4)
        self.classes = nn.Linear(8, QUERIES * len(THINGS))
        self.things = len(THINGS)

    def forward(self, xs: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        features = self.features(xs)
        boxes = self.boxes(features).sigmoid().unflatten(1, (-1, 4))
        return features, (boxes, 4 * self.classes(features).unflatten(1, (-1, self.things)))


class LabellingDetector(Detector):
    """Corners in pixels of the input, scores and labels of its own choice, in a dictionary."""

    def forward(self, xs: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.features(xs)
        boxes = self.boxes(features).sigmoid().unflatten(1, (-1, 4))
        centres, sizes = boxes[:, :, :2], boxes[:, :, 2:]
        scale = torch.tensor([xs.shape[3], xs.shape[2]])
        corners = torch.cat([(centres - sizes / 2) * scale, (centres + sizes / 2) * scale], 2)
        scores = (4 * self.classes(features)).unflatten(1, (-1, self.things)).softmax(2)
        best, labels = scores[:, :, :-1].max(2)
        return {"boxes": corners, "scores": best, "labels": labels}


class Loops(Classifier):
    """Never comes back from a white picture."""

    bright: Final[float] = BRIGHT

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        while bool(xs.mean([1, 2, 3]).max() > self.bright):
            xs = xs * 2  # whiter still; a loop that changes nothing would be optimised away
        return self.head(self.features(xs))


class Raises(Classifier):
    """Does not like white pictures."""

    bright: Final[float] = BRIGHT

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        if bool(xs.mean([1, 2, 3]).max() > self.bright):
            raise ValueError("too bright for this module")
        return self.head(self.features(xs))


class WrongShape(Classifier):
    """One logit too many."""

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        logits = self.head(self.features(xs))
        return torch.cat([logits, logits[:, :1]], 1)


class MixesPictures(Classifier):
    """Answers for a picture by what else is in the batch, as a batch norm that is still training does."""

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(xs - xs.mean(0)))


CLASSIFICATION = {"task": "image-classification", "activation": "softmax", "labels": LABELS}
DETECTION = {"task": "object-detection", "activation": "softmax", "labels": THINGS}
TUPLE = {
    "output": {"boxes": [1, 0], "scores": [1, 1]},
    "box_format": "cxcywh",
    "box_unit": "fractions",
    "size": {"height": HEIGHT, "width": WIDTH},
}
DICTIONARY = {
    "output": {"boxes": "boxes", "scores": "scores", "labels": "labels"},
    "box_format": "xyxy",
    "box_unit": "pixels",
    "activation": "none",
    "labels": {"0": "circle", "1": "square"},
}


def modules() -> dict[str, tuple[nn.Module, dict]]:
    """Folder to module and what its manifest has beside file and preprocessing."""
    return {
        "classifier": (Classifier(), CLASSIFICATION),
        "channels-last": (ChannelsLast(), {**CLASSIFICATION, "layout": "nhwc", "output": "logits"}),
        "fixed-batch-1": (Fixed(1), {**CLASSIFICATION, "batch": 1}),
        "fixed-batch-4": (Fixed(4), {**CLASSIFICATION, "batch": 4}),
        "half": (Classifier().to(torch.bfloat16), {**CLASSIFICATION, "dtype": "bfloat16"}),
        "detector": (Detector(), {**DETECTION, **TUPLE}),
        "labelling-detector": (LabellingDetector(), {**DETECTION, **DICTIONARY}),
        "loops": (Loops(), CLASSIFICATION),
        "raises": (Raises(), CLASSIFICATION),
        "wrong-shape": (WrongShape(), CLASSIFICATION),
        "mixes-pictures": (MixesPictures(), CLASSIFICATION),
    }


def archive(module: nn.Module) -> bytes:
    """What `torch.jit.save` writes, less the tables by which errors name the Python source: they hold the paths of the
    machine that it ran on. The same module makes the same bytes."""
    saved, kept = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), saved)
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as lean:
        for name in sorted(whole.namelist()):
            if not name.endswith((".debug_pkl", "serialization_id")):
                lean.writestr(zipfile.ZipInfo(f"module/{name.split('/', 1)[1]}"), whole.read(name))
    return kept.getvalue()


@torch.no_grad()
def expect(out: Path, built: dict[str, tuple[nn.Module, dict]], files: dict[str, bytes]) -> None:
    """Writes what the good modules answer, each picture alone: a classifier's scores by label, a detector's objects with
    corners in fractions, without regard to a threshold."""
    processor = ViTImageProcessorPil(size=PREPROCESSING["size"])
    pictures = []
    for name, file in files.items():
        pixel_values = processor([read_picture(file)], return_tensors="pt")["pixel_values"]
        scores = built["classifier"][0](pixel_values)[0].softmax(0)
        _, (boxes, logits) = built["detector"][0](pixel_values)
        (cx, cy, w, h), chances = boxes[0].T, logits[0].softmax(1)[:, :-1].max(1)
        corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
        objects = zip(chances.indices.tolist(), chances.values.tolist(), corners.tolist(), strict=True)
        pictures.append(
            {
                "file": name,
                "scores": dict(zip(LABELS, scores.tolist(), strict=True)),
                "objects": [{"label": THINGS[label], "score": s, "corners": c} for label, s, c in objects],
            }
        )
    text = json.dumps({"torch": torch.__version__.split("+")[0], "seed": SEED, "pictures": pictures}, indent=1)
    (out / "expected.json").write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, help="the folder of picture files")
    args = parser.parse_args()

    built = {}
    for name, (module, manifest) in modules().items():
        torch.manual_seed(SEED)
        for parameter in module.parameters():
            # All classifiers have the same weights, and so have all detectors.
            parameter.data = torch.randn(parameter.shape).mul(0.4).to(parameter.dtype)
        folder = args.out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "model.pt").write_bytes(archive(module))
        manifest = {"file": "model.pt", **manifest, "preprocessing": PREPROCESSING}
        (folder / "fovea.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        built[name] = (module, manifest)
    expect(args.out, built, {path.name: path.read_bytes() for path in sorted(args.pictures.iterdir())})


if __name__ == "__main__":
    main()
