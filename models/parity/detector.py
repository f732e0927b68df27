"""A DETR that has learnt nothing, with random weights of which each makes a difference, and how transformers runs it."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoImageProcessor, DetrConfig, DetrForObjectDetection
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from models.parity.residual import fill_network
from models.train.captioner import read_picture

# What a layer's matrices do to the size of a signal, and how large the stream is after a normalisation: so small that
# it matters what is added to its variance.
GAIN = 1.2
LOUD = 3.0
LABEL_GAIN = 6.0
NORM = 0.1
NORM_SPREAD = 0.2
BIAS_SPREAD = 0.05
# What is taken from the score of "no object", once it has on average what the labels have.
OBJECT = 0.0
THRESHOLD = 0.5


@torch.no_grad()
def fill(model: DetrForObjectDetection, seed: int) -> None:
    """Draws every parameter and buffer anew, biases and norms too, so that a loader that forgets one is caught."""
    generator = torch.Generator().manual_seed(seed)
    network = model.model.backbone.model
    fill_network(network, generator)
    filled = {id(parameter) for parameter in network.parameters()}
    for name, parameter in sorted(model.named_parameters()):
        if id(parameter) in filled:
            continue
        drawn = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            drawn = NORM * (drawn * NORM_SPREAD + name.endswith("weight"))
        elif name.endswith("bias"):
            drawn *= BIAS_SPREAD
        elif "query_position" not in name:
            gain = LOUD if "encoder_attn" in name or "input_projection" in name else GAIN
            # The first of the heads' layers take up a stream that is NORM large.
            if name.startswith("class_labels"):
                gain = LABEL_GAIN / NORM
            elif name.startswith("bbox_predictor.layers.0"):
                gain = LOUD / NORM
            drawn *= gain * parameter[0].numel() ** -0.5
        parameter.copy_(drawn)


@torch.no_grad()
def even_out(model: DetrForObjectDetection, pixel_values: list[torch.Tensor]) -> None:
    """Takes from the biases above the backbone what all places of all pictures have in common, and from those of the
    heads what all queries say of all pictures: else one label, and one box, would be seen everywhere."""
    projection = model.model.input_projection
    features = [model.model.backbone(pixels, torch.ones_like(pixels[:, 0]))[-1][0] for pixels in pixel_values]
    projection.bias -= torch.cat([projection(xs).flatten(2) for xs in features], dim=2).mean((0, 2))
    outputs = [model(pixels) for pixels in pixel_values]
    model.class_labels_classifier.bias -= torch.cat([output.logits for output in outputs]).mean((0, 1))
    model.class_labels_classifier.bias[-1] -= OBJECT
    boxes = torch.cat([model.bbox_predictor(output.last_hidden_state) for output in outputs])
    model.bbox_predictor.layers[-1].bias -= boxes.mean((0, 1))


@dataclass
class Detector:
    """fp32, eager, on the CPU; pictures go through Pillow, one by one."""

    model: DetrForObjectDetection
    processor: DetrImageProcessorPil

    @classmethod
    def new(cls, config: DetrConfig, processor: DetrImageProcessorPil) -> "Detector":
        """One that has yet to be filled."""
        return cls(DetrForObjectDetection._from_config(config, attn_implementation="eager").eval(), processor)

    @classmethod
    def open(cls, folder: Path) -> "Detector":
        """That of a checkpoint's folder."""
        model = DetrForObjectDetection.from_pretrained(folder, attn_implementation="eager").eval()
        return cls(model, AutoImageProcessor.from_pretrained(folder, backend="pil"))

    def fill(self, files: dict[str, bytes], seed: int) -> None:
        """New weights, with which it tells these pictures apart."""
        fill(self.model, seed)
        even_out(self.model, [self.pixel_values(file) for file in files.values()])

    def save(self, folder: Path) -> None:
        """Weights, config and image processor."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)

    def pixel_values(self, file: bytes) -> torch.Tensor:
        """[1, 3, h, w] of a picture file."""
        inputs = self.processor(read_picture(file), return_tensors="pt")
        # Alone, a picture is not padded.
        assert inputs["pixel_mask"].all()
        return inputs["pixel_values"]

    @torch.no_grad()
    def detections(self, pixel_values: torch.Tensor, size: tuple[int, int]) -> list[dict]:
        """What is seen in a picture of this width and height, in the runner's own form."""
        outputs = self.model(pixel_values)
        found = self.processor.post_process_object_detection(outputs, THRESHOLD, [size[::-1]])[0]
        return [
            {
                "label": self.model.config.id2label[label],
                "score": score,
                "box": dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)),
            }
            for label, score, box in zip(*(found[key].tolist() for key in ("labels", "scores", "boxes")), strict=True)
        ]


@torch.no_grad()
def write_expected(folder: Path, files: dict[str, bytes], origin: dict, with_pixels: bool = True) -> None:
    """Writes expected.safetensors and expected.json beside a checkpoint. Every picture runs alone, and has the row of
    its place in expected.json; what depends on its size has a tensor of its own. `origin` says how the weights came to
    be."""
    detector = Detector.open(folder)
    rows, tensors, pictures = [], {}, []
    for i, (name, file) in enumerate(files.items()):
        pixel_values = detector.pixel_values(file)
        if with_pixels:
            tensors[f"pixel_values.{i}"] = pixel_values
        tensors[f"features.{i}"] = detector.model.model.backbone(pixel_values, torch.ones_like(pixel_values[:, 0]))[-1][0].contiguous()
        outputs = detector.model(pixel_values)
        rows.append((outputs.logits, outputs.pred_boxes))
        size = read_picture(file).size
        pictures.append({"file": name, "detections": detector.detections(pixel_values, size)})
    for name, column in zip(("logits", "pred_boxes"), zip(*rows, strict=True), strict=True):
        tensors[name] = torch.cat(column).contiguous()
    save_file(tensors, folder / "expected.safetensors")
    (folder / "expected.safetensors").chmod(0o644)
    document = {"transformers": transformers.__version__, **origin, "threshold": THRESHOLD, "pictures": pictures}
    (folder / "expected.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
