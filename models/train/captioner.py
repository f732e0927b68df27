"""A BLIP checkpoint as transformers runs it: what is measured, and what the Rust runner is compared with."""

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration


def read_picture(file: bytes) -> Image.Image:
    """A picture file as every model sees it: upright, RGB, without alpha."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


@dataclass
class Captioner:
    """fp32, eager, on the CPU; pictures go through Pillow."""

    folder: Path

    def __post_init__(self) -> None:
        self.processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.model = BlipForConditionalGeneration.from_pretrained(self.folder, attn_implementation="eager").eval()

    def pixel_values(self, files: list[bytes]) -> torch.Tensor:
        """[n, 3, h, w] of picture files."""
        return self.processor([read_picture(file) for file in files], return_tensors="pt")["pixel_values"]

    @torch.no_grad()
    def token_ids(
        self, pixel_values: torch.Tensor, max_new_tokens: int, prompt: str = "", num_beams: int = 1
    ) -> torch.Tensor:
        """[n, t] from [DEC] on, prompt included, [SEP] included where it was reached."""
        text = {}
        if prompt:
            # As a user passes them: [CLS] becomes [DEC] and the final [SEP] is dropped, within generate.
            tokens = self.tokenizer([prompt] * len(pixel_values), return_tensors="pt")
            text = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        return self.model.generate(
            pixel_values=pixel_values, max_new_tokens=max_new_tokens, num_beams=num_beams, do_sample=False, **text
        )

    def decode(self, token_ids: torch.Tensor) -> list[str]:
        """The captions of [n, t] token ids."""
        return self.tokenizer.batch_decode(token_ids, skip_special_tokens=True)
