"""A checkpoint folder as transformers saves it; for BLIP, laid out as Salesforce/blip-image-captioning-base is:
vocabulary, tokenizer, processor."""

import string
from pathlib import Path

from transformers import BertTokenizer, BlipForConditionalGeneration, PreTrainedModel
from transformers.image_processing_backends import PilBackend
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(words: list[str]) -> list[str]:
    """A vocabulary with `words` whole; any other word of letters and digits falls into pieces of one character."""
    characters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL_TOKENS, *string.punctuation, *characters, *(f"##{c}" for c in characters), *words]
    return list(dict.fromkeys(pieces))


def tokenizer(pieces: list[str], max_length: int) -> BertTokenizer:
    """BERT's tokenizer over `pieces`, in the order of their ids."""
    vocabulary = {piece: id_ for id_, piece in enumerate(pieces)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=max_length)


def token_ids(pieces: list[str]) -> dict[str, int]:
    """The text config's ids. [DEC] (start of a caption) and [ENC] lie beyond the tokenizer's vocabulary, as on the hub,
    and eos_token_id is there but unused: a caption ends at [SEP]."""
    return {
        "vocab_size": len(pieces) + 2,
        "bos_token_id": len(pieces),
        "sep_token_id": pieces.index("[SEP]"),
        "eos_token_id": 2,
        "pad_token_id": pieces.index("[PAD]"),
    }


def image_processor(image_size: int) -> BlipImageProcessorPil:
    """BLIP's, on Pillow: resize to a square without regard to aspect, bicubic; CLIP's mean and deviation."""
    return BlipImageProcessorPil(size={"height": image_size, "width": image_size})


def save_model(folder: Path, model: PreTrainedModel, processor: PilBackend) -> None:
    """Writes weights, config and image processor."""
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)


def save(folder: Path, model: BlipForConditionalGeneration, pieces: list[str], image_size: int) -> None:
    """Writes weights, config, tokenizer and image processor."""
    save_model(folder, model, image_processor(image_size))
    tokenizer(pieces, model.config.text_config.max_position_embeddings).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
