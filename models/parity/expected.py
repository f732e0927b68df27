"""What transformers answers to some pictures, laid down for the runner to be compared with."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

from models.train.captioner import Captioner

PROMPT = "a picture of"
NUM_BEAMS = 3


@dataclass
class Expected:
    """Everything that is written; `tensors` have one row per picture, in the order of `pictures`."""

    tensors: dict[str, torch.Tensor]
    pictures: list[dict]
    max_new_tokens: int

    def write(self, folder: Path, files: dict[str, bytes], origin: dict) -> None:
        """Writes the pictures, expected.safetensors and expected.json; `origin` says how the weights came to be."""
        shutil.rmtree(folder / "pictures", ignore_errors=True)
        (folder / "pictures").mkdir()
        for name, file in files.items():
            (folder / "pictures" / name).write_bytes(file)
        save_file(self.tensors, folder / "expected.safetensors")
        (folder / "expected.safetensors").chmod(0o644)
        document = {
            "transformers": transformers.__version__,
            **origin,
            "max_new_tokens": self.max_new_tokens,
            "prompt": PROMPT,
            "num_beams": NUM_BEAMS,
            "pictures": self.pictures,
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


def answer(captioner: Captioner, pixel_values: torch.Tensor, max_new_tokens: int) -> dict:
    """What one picture, [1, 3, h, w], is told to show: greedily and by beam search, without and after a prompt."""
    prompt, beams = {"prompt": PROMPT}, {"num_beams": NUM_BEAMS}
    ways = {"greedy": {}, "prompted": prompt, "beams": beams, "prompted_beams": prompt | beams}
    told = {}
    for way, options in ways.items():
        token_ids = captioner.token_ids(pixel_values, max_new_tokens, **options)
        told[way] = {"token_ids": token_ids[0].tolist(), "caption": captioner.decode(token_ids)[0]}
    return told


@torch.no_grad()
def expect(captioner: Captioner, files: dict[str, bytes], max_new_tokens: int) -> Expected:
    """Every picture alone, batch 1, through all stages."""
    rows, pictures = [], []
    start = torch.tensor([[captioner.model.config.text_config.bos_token_id]])
    for name, file in files.items():
        pixel_values = captioner.pixel_values([file])
        last_hidden_state = captioner.model.vision_model(pixel_values).last_hidden_state
        logits = captioner.model.text_decoder(start, encoder_hidden_states=last_hidden_state).logits[:, -1]
        rows.append((pixel_values, last_hidden_state, logits))
        pictures.append({"file": name, **answer(captioner, pixel_values, max_new_tokens)})
    names = ("pixel_values", "last_hidden_state", "first_step_logits")
    tensors = {name: torch.cat(column).contiguous() for name, column in zip(names, zip(*rows), strict=True)}
    return Expected(tensors, pictures, max_new_tokens)
