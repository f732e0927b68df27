"""Writes the lists of tensors that the supported checkpoints of the hub have, for the runner's loaders to be held
against.

    python -m models.parity.tensor_lists --out runner/checkpoints

The hub is not asked. Each list is worked out from transformers' class, built on the meta device with the configuration
as published and with its names turned back into those that the hub's files have; and from what is known of how those
files were saved, which each list says.
"""

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    DetrConfig,
    DetrForObjectDetection,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.core_model_loading import revert_weight_conversion

DTYPES = {torch.float32: "F32", torch.int64: "I64"}
INTEGER = "I64"

# Name to type and shape.
Tensors = dict[str, tuple[str, list[int]]]


@dataclass
class Checkpoint:
    """One checkpoint of the hub: what its config.json says that matters, and what its weights file has."""

    repo: str
    file: str
    config: dict
    tensors: Tensors
    known: str  # how the list goes beyond transformers' class

    def write(self, folder: Path) -> None:
        """Writes the list; one line per name or group of names."""
        size = sum(torch.Size(shape).numel() * (8 if dtype == INTEGER else 4) for dtype, shape in self.tensors.values())
        head = {
            "repo": self.repo,
            "file": self.file,
            "source": f"inferred from transformers {transformers.__version__}'s class with the published config.json; "
            + self.known,
            "inferred": True,
            "config": self.config,
        }
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        groups = grouped(self.tensors)
        rows = [f"    {json.dumps(name)}: {json.dumps(tensor)}" for name, tensor in groups.items()]
        text = "\n".join(["{", *lines, '  "tensors": {', ",\n".join(rows), "  }", "}", ""])
        path = folder / f"{self.repo.split('/')[1]}.json"
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {len(self.tensors)} tensors in {len(groups)} lines, {size / 1e6:.1f} MB")


def grouped(tensors: Tensors) -> dict[str, tuple[str, list[int]]]:
    """Names that differ in one number alone, and it runs on, become one: `layers.{0..11}.weight`."""
    left, groups = dict(tensors), {}
    while left:
        families = defaultdict(set)
        for name, (dtype, shape) in left.items():
            for number in re.finditer(r"(?<=\.)\d+(?=\.)", name):
                pattern = (name[: number.start()], name[number.end() :], dtype, tuple(shape))
                families[pattern].add(int(number.group()))
        best = max(families.items(), key=lambda family: (longest_run(family[1])[1], family[0]), default=None)
        if best is None or longest_run(best[1])[1] < 2:
            break
        (before, after, dtype, shape), numbers = best
        first, length = longest_run(numbers)
        groups[f"{before}{{{first}..{first + length - 1}}}{after}"] = (dtype, list(shape))
        for number in range(first, first + length):
            del left[f"{before}{number}{after}"]
    return dict(sorted({**groups, **left}.items()))


def longest_run(numbers: set[int]) -> tuple[int, int]:
    """The first of the most numbers that follow one another, and how many they are."""
    runs = {}
    for number in numbers:
        length = 0
        while number + length in numbers:
            length += 1
        runs[number] = length
    first = min(runs, key=lambda number: (-runs[number], number))
    return first, runs[first]


def of(model: PreTrainedModel) -> Tensors:
    """A model's tensors by the names that the hub's files have."""
    tensors = revert_weight_conversion(model, dict(model.state_dict()))
    return {name: (DTYPES[tensor.dtype], list(tensor.shape)) for name, tensor in tensors.items()}


def blip(size: str, vision: dict) -> Checkpoint:
    """BLIP captioning. The published text_config has 12 heads; BlipTextConfig's default is 8."""
    config = {"model_type": "blip", "vision_config": vision, "text_config": {"num_attention_heads": 12}}
    with torch.device("meta"):
        tensors = of(BlipForConditionalGeneration(BlipConfig(**config)))
    length = BlipConfig().text_config.max_position_embeddings
    tensors["text_decoder.bert.embeddings.position_ids"] = (INTEGER, [1, length])
    return Checkpoint(
        repo=f"Salesforce/blip-image-captioning-{size}",
        file="pytorch_model.bin",
        config=config,
        tensors=tensors,
        known="saved before transformers tied the decoder's weight and bias and while position_ids was a saved buffer, "
        "so all three lie there",
    )


def vit() -> Checkpoint:
    """ViT classification, ImageNet-1k."""
    config = {"model_type": "vit", "num_labels": 1000}
    with torch.device("meta"):
        tensors = of(ViTForImageClassification(ViTConfig(num_labels=1000)))
    return Checkpoint("google/vit-base-patch16-224", "model.safetensors", config, tensors, "names of transformers 4")


def resnet() -> Checkpoint:
    """ResNet classification, ImageNet-1k."""
    config = {
        "model_type": "resnet",
        "depths": [3, 4, 6, 3],
        "hidden_sizes": [256, 512, 1024, 2048],
        "embedding_size": 64,
        "layer_type": "bottleneck",
        "num_labels": 1000,
    }
    with torch.device("meta"):
        tensors = of(ResNetForImageClassification(ResNetConfig(**config)))
    return Checkpoint("microsoft/resnet-50", "model.safetensors", config, tensors, "names as the class has them")


def timm_resnet(depths: list[int]) -> Tensors:
    """timm's bottleneck ResNet without its head, as torchvision names it, with batch norms frozen: those have no
    num_batches_tracked, but for the ones in `downsample`, which replace_batch_norm missed when the files were made
    (transformers ignores them on loading: DetrPreTrainedModel._keys_to_ignore_on_load_unexpected)."""
    tensors: Tensors = {}

    def convolution(name: str, norm: str, output: int, input_: int, kernel: int) -> None:
        tensors[f"{name}.weight"] = ("F32", [output, input_, kernel, kernel])
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{part}"] = ("F32", [output])

    convolution("conv1", "bn1", 64, 3, 7)
    input_ = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        for block in range(depth):
            at = f"layer{stage + 1}.{block}"
            convolution(f"{at}.conv1", f"{at}.bn1", width, input_, 1)
            convolution(f"{at}.conv2", f"{at}.bn2", width, width, 3)
            convolution(f"{at}.conv3", f"{at}.bn3", 4 * width, width, 1)
            if block == 0:
                convolution(f"{at}.downsample.0", f"{at}.downsample.1", 4 * width, input_, 1)
                tensors[f"{at}.downsample.1.num_batches_tracked"] = (INTEGER, [])
            input_ = 4 * width
    return tensors


def detr(layers: int, depths: list[int]) -> Checkpoint:
    """DETR detection, COCO, on timm's backbone."""
    config = {"model_type": "detr", "backbone": f"resnet{layers}", "use_timm_backbone": True, "num_labels": 91}
    with torch.device("meta"):
        # The backbone is transformers' own here: timm's is named below.
        backbone = ResNetConfig(depths=depths, out_features=["stage4"])
        tensors = of(DetrForObjectDetection(DetrConfig(num_labels=91, backbone_config=backbone)))
    tensors = {name: tensor for name, tensor in tensors.items() if "backbone" not in name}
    for name, tensor in timm_resnet(depths).items():
        tensors[f"model.backbone.conv_encoder.model.{name}"] = tensor
    return Checkpoint(
        repo=f"facebook/detr-resnet-{layers}",
        file="model.safetensors",
        config=config,
        tensors=tensors,
        known="the backbone from timm's names and shapes, its batch norms frozen but for downsample's counters",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    transformers.utils.logging.set_verbosity_error()
    out.mkdir(parents=True, exist_ok=True)
    large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    for checkpoint in [
        blip("base", {}),
        blip("large", large),
        vit(),
        resnet(),
        detr(50, [3, 4, 6, 3]),
        detr(101, [3, 4, 23, 3]),
    ]:
        checkpoint.write(out)


if __name__ == "__main__":
    main()
