"""Picture files of every kind that the runner must read as Pillow does."""

import io

import numpy as np
from PIL import Image

from models.train.shapes import draw_picture, draw_things

EXIF_ORIENTATION = 0x0112
ROTATED_90 = 6


def draw_files(seed: int) -> dict[str, bytes]:
    """File name to contents."""
    rng = np.random.default_rng(seed)

    def scene(width: int, height: int, count: int) -> Image.Image:
        return draw_picture(rng, draw_things(rng, count), (width, height))

    rotated = Image.Exif()
    rotated[EXIF_ORIENTATION] = ROTATED_90
    translucent = scene(120, 90, 2)
    translucent.putalpha(Image.linear_gradient("L").resize(translucent.size))
    return {
        "rgb-420.jpg": _file(scene(320, 240, 2), "JPEG", quality=90, subsampling="4:2:0"),
        "rgb-444.jpg": _file(scene(97, 131, 1), "JPEG", quality=92, subsampling="4:4:4"),
        "progressive.jpg": _file(scene(200, 112, 3), "JPEG", quality=85, progressive=True),
        "gray.jpg": _file(scene(150, 150, 3).convert("L"), "JPEG", quality=90),
        "exif-rotated.jpg": _file(scene(160, 100, 3), "JPEG", quality=90, exif=rotated),
        "rgb.png": _file(scene(61, 47, 1), "PNG"),
        "rgba.png": _file(translucent, "PNG"),
        "palette.png": _file(scene(140, 80, 3).quantize(64), "PNG"),
        "gray.png": _file(scene(33, 90, 1).convert("L"), "PNG"),
        "smaller-than-the-model.png": _file(scene(24, 17, 1), "PNG"),
    }


def _file(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
