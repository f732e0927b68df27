"""One small file of every kind of picture that a user may send, and of many that hardly anybody would."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

from models.parity import containers, foreign_pictures
from models.train.shapes import draw_picture, draw_things

SIZE = (48, 36)
ORIENTATION = 0x0112
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


class Scenes:
    """Small pictures with a gradient, shapes and some noise, each its own."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def rgb(self, size: tuple[int, int] = SIZE, noise: int = 6) -> np.ndarray:
        """[height, width, 3]"""
        width, height = size
        scene = np.asarray(draw_picture(self.rng, draw_things(self.rng, 2), (max(width, 32), max(height, 32))))
        scene = scene[:height, :width].astype(int)
        slope = np.linspace(-30, 30, width)[None, :, None] + np.linspace(-20, 20, height)[:, None, None]
        grain = self.rng.integers(-noise, noise + 1, scene.shape)
        return np.clip(scene + slope + grain, 0, 255).astype(np.uint8)

    def image(self, mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
        return Image.fromarray(self.rgb(size)).convert(mode)

    def alpha(self, size: tuple[int, int] = SIZE) -> np.ndarray:
        """[height, width]: all levels, and some fully clear pixels."""
        gradient = np.linspace(0, 255, size[0])[None, :] * np.ones((size[1], 1))
        gradient[: size[1] // 4] = 0
        return gradient.astype(np.uint8)

    def rgba(self, size: tuple[int, int] = SIZE) -> np.ndarray:
        return np.dstack([self.rgb(size), self.alpha(size)])

    def indexed(self, colours: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, bytes]:
        """[height, width] of indices, and the palette."""
        image = self.image(size=size).quantize(colours)
        return np.asarray(image), bytes(image.getpalette()[: 3 * colours]).ljust(3 * colours, b"\0")


def odd_pictures(seed: int) -> dict[str, bytes]:
    """File name to contents."""
    files: dict[str, bytes] = {}
    for draw in (jpeg, jpeg_orientations, png, png_depths, gif, webp, bmp, tiff, tiff_odd, ico, extremes):
        files |= draw(Scenes(seed + len(files)))
    return files | foreign_pictures.files()


def save(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int, endian: str = "<") -> bytes:
    data = Image.Exif()
    data[ORIENTATION] = orientation
    data.endian = endian
    return data.tobytes()


def jpeg(scenes: Scenes) -> dict[str, bytes]:
    ycck = save(scenes.image("CMYK"), "JPEG", quality=85)
    adobe = ycck.index(b"Adobe") + 11
    return {
        "rgb-444.jpg": save(scenes.image(), "JPEG", quality=92, subsampling="4:4:4"),
        "rgb-422.jpg": save(scenes.image(), "JPEG", quality=85, subsampling="4:2:2"),
        "rgb-420.jpg": save(scenes.image(), "JPEG", quality=85, subsampling="4:2:0"),
        "rgb-420-odd-sides.jpg": save(scenes.image(size=(47, 33)), "JPEG", quality=80, subsampling="4:2:0"),
        "low-quality.jpg": save(scenes.image(), "JPEG", quality=15),
        "progressive-420.jpg": save(scenes.image(), "JPEG", quality=85, progressive=True),
        "progressive-gray.jpg": save(scenes.image("L"), "JPEG", quality=85, progressive=True),
        "gray.jpg": save(scenes.image("L"), "JPEG", quality=90),
        "restarts.jpg": save(scenes.image(), "JPEG", quality=85, restart_marker_blocks=2),
        "stored-as-rgb.jpg": save(scenes.image(), "JPEG", quality=90, keep_rgb=True),
        "cmyk.jpg": save(scenes.image("CMYK"), "JPEG", quality=85),
        # The same data, said to be YCCK: Adobe's transform flag.
        "ycck.jpg": ycck[:adobe] + b"\x02" + ycck[adobe + 1 :],
        "icc-profile.jpg": save(scenes.image(), "JPEG", quality=85, icc_profile=b"no profile at all" * 20),
        "trailing-bytes.jpg": save(scenes.image(), "JPEG", quality=85) + b"\0 and more" * 9,
        "mpo.jpg": save(scenes.image(), "MPO", save_all=True, append_images=[scenes.image()], quality=80),
    }


def jpeg_orientations(scenes: Scenes) -> dict[str, bytes]:
    files = {f"exif-{n}.jpg": save(scenes.image(), "JPEG", quality=85, exif=exif(n)) for n in range(1, 9)}
    files["exif-9.jpg"] = save(scenes.image(), "JPEG", quality=85, exif=exif(9))
    files["exif-big-endian.jpg"] = save(scenes.image(), "JPEG", quality=85, exif=exif(6, ">"))
    files["xmp-orientation.jpg"] = save(scenes.image(), "JPEG", quality=85, xmp=XMP.encode())
    files["xmp-beside-exif.jpg"] = save(scenes.image(), "JPEG", quality=85, xmp=XMP.encode(), exif=exif(3))
    return files


def png(scenes: Scenes) -> dict[str, bytes]:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP)
    raw_profile = PngImagePlugin.PngInfo()
    data = exif(8)
    raw_profile.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n")
    animation = [scenes.image() for _ in range(3)]
    rgb, indices = scenes.rgb(), scenes.indexed(17)
    return {
        "rgb.png": save(scenes.image(), "PNG"),
        "rgba.png": save(Image.fromarray(scenes.rgba()), "PNG"),
        "gray-alpha.png": save(Image.fromarray(scenes.rgba()).convert("LA"), "PNG"),
        "gray-transparent.png": save(scenes.image("L"), "PNG", transparency=100),
        "rgb-transparent.png": save(scenes.image(), "PNG", transparency=(245, 245, 245)),
        "palette.png": save(scenes.image().quantize(64), "PNG"),
        "palette-transparent.png": save(scenes.image().quantize(64), "PNG", transparency=bytes(range(0, 256, 4))),
        "palette-one-transparent.png": save(scenes.image().quantize(20), "PNG", transparency=3),
        "interlaced.png": containers.png(rgb, 8, 2, interlaced=True),
        "interlaced-palette.png": containers.png(
            indices[0][..., None], 8, 3, interlaced=True, before=[(b"PLTE", indices[1])]
        ),
        "gamma.png": containers.png(rgb, 8, 2, before=[(b"gAMA", struct.pack(">I", 100_000))]),
        "icc-profile.png": save(scenes.image(), "PNG", icc_profile=b"no profile at all"),
        "exif-6.png": save(scenes.image(), "PNG", exif=exif(6)),
        "exif-after-pixels.png": containers.png(rgb, 8, 2, after=[(b"eXIf", exif(8)[6:])]),
        "exif-as-text.png": save(scenes.image(), "PNG", pnginfo=raw_profile),
        "xmp-orientation.png": save(scenes.image(), "PNG", pnginfo=text),
        "animated.png": save(animation[0], "PNG", save_all=True, append_images=animation[1:]),
        "animated-apart.png": save(
            animation[0], "PNG", save_all=True, append_images=animation[1:], default_image=True
        ),
    }


def png_depths(scenes: Scenes) -> dict[str, bytes]:
    gray = np.asarray(scenes.image("L"))[..., None]
    deep = gray.astype(int) * 200 - 3000
    deep = np.clip(deep, 0, 65535)
    deep[:8] //= 100
    rgb16 = scenes.rgb().astype(int) * 257 - scenes.rng.integers(0, 256, (SIZE[1], SIZE[0], 3))
    rgb16 = np.clip(rgb16, 0, 65535)
    alpha16 = scenes.alpha()[..., None].astype(int) * 257
    files = {
        "gray-1-bit.png": containers.png(gray >> 7, 1, 0),
        "gray-2-bit.png": containers.png(gray >> 6, 2, 0),
        "gray-4-bit.png": containers.png(gray >> 4, 4, 0),
        "gray-1-bit-transparent.png": containers.png(gray >> 7, 1, 0, before=[(b"tRNS", b"\0\1")]),
        "gray-16-bit.png": containers.png(deep, 16, 0),
        "gray-alpha-16-bit.png": containers.png(np.dstack([deep, alpha16]), 16, 4),
        "rgb-16-bit.png": containers.png(rgb16, 16, 2),
        "rgba-16-bit.png": containers.png(np.dstack([rgb16, alpha16]), 16, 6),
        "rgb-16-bit-interlaced.png": containers.png(rgb16, 16, 2, interlaced=True),
        "gray-16-bit-transparent.png": containers.png(deep, 16, 0, before=[(b"tRNS", b"\0\1")]),
    }
    for bits in (1, 2, 4):
        indices, palette = scenes.indexed(1 << bits, (45, 35))
        files[f"palette-{bits}-bit.png"] = containers.png(indices[..., None], bits, 3, before=[(b"PLTE", palette)])
    return files


def gif(scenes: Scenes) -> dict[str, bytes]:
    frames = [scenes.image().quantize(32) for _ in range(3)]
    indices, palette = scenes.indexed(256, (30, 20))
    other = bytes(range(256)) * 3
    frame = {"at": (5, 7), "indices": indices}
    return {
        "plain.gif": save(frames[0], "GIF"),
        "transparent.gif": save(frames[0], "GIF", transparency=2),
        "animated.gif": save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50, loop=0),
        "gray.gif": save(scenes.image("L"), "GIF"),
        "interlaced.gif": containers.gif([{**frame, "at": (0, 0), "interlaced": True}], 30, 20, palette),
        "small-frame.gif": containers.gif([frame], *SIZE, palette, background=9),
        "small-frame-transparent.gif": containers.gif([{**frame, "transparent": 11}], *SIZE, palette, background=9),
        "local-palette.gif": containers.gif([{**frame, "palette": other}], *SIZE, palette),
        "no-palette.gif": containers.gif([frame], *SIZE, None),
        "frame-outside.gif": containers.gif([{**frame, "at": (10, 10)}], 30, 20, palette),
    }


def webp(scenes: Scenes) -> dict[str, bytes]:
    frames = [scenes.image() for _ in range(3)]
    translucent = Image.fromarray(scenes.rgba())
    return {
        "lossy.webp": save(scenes.image(), "WEBP", quality=80),
        "lossy-odd-sides.webp": save(scenes.image(size=(47, 33)), "WEBP", quality=60),
        "lossless.webp": save(scenes.image(), "WEBP", lossless=True),
        "lossless-alpha.webp": save(translucent, "WEBP", lossless=True, exact=True),
        "lossless-palette.webp": save(scenes.image().quantize(7).convert("RGB"), "WEBP", lossless=True),
        "lossy-alpha.webp": save(translucent, "WEBP", quality=80, exact=True),
        "exif-6.webp": save(scenes.image(), "WEBP", quality=80, exif=exif(6)),
        "xmp-orientation.webp": save(scenes.image(), "WEBP", quality=80, xmp=XMP.encode()),
        "animated-lossy.webp": save(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=70),
        "animated-alpha.webp": save(
            translucent, "WEBP", save_all=True, append_images=[frames[1].convert("RGBA")], lossless=True
        ),
    }


def bmp(scenes: Scenes) -> dict[str, bytes]:
    width, height = size = (45, 35)
    rgba = scenes.rgba(size)
    bgra = rgba[..., [2, 1, 0, 3]].reshape(height, -1)
    indices, palette = scenes.indexed(256, size)
    few, few_palette = scenes.indexed(14, size)
    red, green, blue = (rgba[..., channel].astype(np.uint16) for channel in range(3))

    def quads(colours: bytes) -> bytes:
        return b"".join(bytes([colours[i + 2], colours[i + 1], colours[i], 0]) for i in range(0, len(colours), 3))

    def words(values: np.ndarray) -> bytes:
        return containers.bmp_rows(values.astype("<u2").view(np.uint8))

    few4 = np.stack([np.frombuffer(containers.pack_bits(row, 4), np.uint8) for row in few])
    standard = save(scenes.image(size=size), "BMP")
    return {
        "rgb.bmp": standard,
        "gray.bmp": save(scenes.image("L", size), "BMP"),
        "1-bit.bmp": save(scenes.image("1", size), "BMP"),
        "palette.bmp": save(scenes.image(size=size).quantize(99), "BMP"),
        "palette-4-bit.bmp": containers.bmp(containers.bmp_rows(few4), *size, 4, palette=quads(few_palette)),
        "top-down.bmp": containers.bmp(containers.bmp_rows(bgra[::-1]), width, -height, 32),
        "32-bit.bmp": containers.bmp(containers.bmp_rows(bgra), *size, 32),
        "32-bit-alpha.bmp": containers.bmp(
            containers.bmp_rows(bgra), *size, 32, compression=3, header=108,
            masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        ),
        "16-bit-555.bmp": containers.bmp(words((red >> 3 << 10) | (green >> 3 << 5) | blue >> 3), *size, 16),
        "16-bit-565.bmp": containers.bmp(
            words((red >> 3 << 11) | (green >> 2 << 5) | blue >> 3), *size, 16, compression=3,
            masks=(0xF800, 0x7E0, 0x1F),
        ),
        "rle8.bmp": containers.bmp(rle8(indices), *size, 8, compression=1, palette=quads(palette)),
        "rle4.bmp": containers.bmp(rle4(few), *size, 4, compression=2, palette=quads(few_palette)),
        "core-header.bmp": containers.core_bmp(
            containers.bmp_rows(indices), *size, 8,
            b"".join(palette[i : i + 3][::-1] for i in range(0, 768, 3)),
        ),
    }  # fmt: skip


def rle8(indices: np.ndarray) -> bytes:
    """Runs, and now and then bytes as they are; the last row ends after a jump."""
    out = b""
    for number, row in enumerate(indices[::-1]):
        if number % 3 == 0:
            out += bytes([0, len(row)]) + row.tobytes() + b"\0" * (len(row) % 2)
        elif number == len(indices) - 1:
            out += b"\0\2\5\0" + bytes([len(row) - 5, row[-1]])
        else:
            ends = [0, *(np.flatnonzero(np.diff(row.astype(int))) + 1), len(row)]
            out += b"".join(bytes([b - a, row[a]]) for a, b in zip(ends, ends[1:], strict=False))
        out += b"\0\0"
    return out + b"\0\1"


def rle4(indices: np.ndarray) -> bytes:
    """Pairs of pixels as runs, and every third row as it is."""
    out = b""
    for number, row in enumerate(indices[::-1]):
        if number % 3 == 0:
            packed = containers.pack_bits(row, 4)
            out += bytes([0, len(row)]) + packed + b"\0" * (len(packed) % 2)
        else:
            out += b"".join(
                bytes([min(2, len(row) - at), row[at] << 4 | row[min(at + 1, len(row) - 1)]])
                for at in range(0, len(row), 2)
            )
        out += b"\0\0"
    return out + b"\0\1"


def tiff(scenes: Scenes) -> dict[str, bytes]:
    """What Pillow writes itself."""
    gray16 = Image.fromarray(np.asarray(scenes.image("L")).astype(np.uint16) * 3)
    compressions: dict[str, Callable[[], bytes]] = {
        name: (lambda name=name: save(scenes.image(), "TIFF", compression=name))
        for name in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "lzma")
    }
    return {
        "raw.tif": save(scenes.image(), "TIFF"),
        **{f"{name.removeprefix('tiff_').replace('_', '-')}.tif": make() for name, make in compressions.items()},
        "jpeg.tif": save(scenes.image(), "TIFF", compression="jpeg", quality=85),
        "jpeg-gray.tif": save(scenes.image("L"), "TIFF", compression="jpeg", quality=85),
        "group3.tif": save(scenes.image("1"), "TIFF", compression="group3"),
        "group4.tif": save(scenes.image("1"), "TIFF", compression="group4"),
        "ccitt.tif": save(scenes.image("1"), "TIFF", compression="tiff_ccitt"),
        "1-bit.tif": save(scenes.image("1"), "TIFF"),
        "gray.tif": save(scenes.image("L"), "TIFF"),
        "gray-alpha.tif": save(Image.fromarray(scenes.rgba()).convert("LA"), "TIFF", compression="tiff_lzw"),
        "rgba.tif": save(Image.fromarray(scenes.rgba()), "TIFF", compression="tiff_adobe_deflate"),
        "palette.tif": save(scenes.image().quantize(50), "TIFF", compression="tiff_lzw"),
        "cmyk.tif": save(scenes.image("CMYK"), "TIFF", compression="tiff_lzw"),
        "ycbcr.tif": save(scenes.image("YCbCr"), "TIFF", compression="tiff_lzw"),
        "lab.tif": save(scenes.image("RGB").convert("LAB"), "TIFF", compression="tiff_lzw"),
        "gray-16-bit.tif": save(gray16, "TIFF", compression="tiff_lzw"),
        "gray-32-bit.tif": save(gray16.convert("I"), "TIFF", compression="tiff_lzw"),
        "float.tif": save(scenes.image("F"), "TIFF", compression="tiff_lzw"),
        "exif-6.tif": save(scenes.image(), "TIFF", compression="tiff_lzw", tiffinfo={ORIENTATION: 6}),
        "pages.tif": save(scenes.image(), "TIFF", save_all=True, append_images=[scenes.image()], compression="tiff_lzw"),
    }


def tiff_odd(scenes: Scenes) -> dict[str, bytes]:
    """What it reads only."""
    width, height = SIZE
    rgb = scenes.rgb()
    gray = np.asarray(scenes.image("L"))
    plain = {258: (8, 8, 8), 259: (1,), 262: (2,), 277: (3,), 278: (height,)}
    one = {258: (8,), 259: (1,), 262: (1,), 277: (1,), 278: (height,)}
    rgb16 = rgb.astype(np.uint16) * 257 - 100
    differences = np.diff(rgb.astype(int), axis=1, prepend=0).astype(np.uint8)
    tiles = [
        np.pad(rgb, ((0, -height % 16), (0, -width % 32), (0, 0)))[y : y + 16, x : x + 32].tobytes()
        for y in range(0, height, 16)
        for x in range(0, width, 32)
    ]
    strips = [rgb[y : y + 10].tobytes() for y in range(0, height, 10)]
    four = [containers.pack_bits(row >> 4, 4) for row in gray]
    white = [np.packbits(row > 128).tobytes() for row in gray]
    reversed_bits = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in row) for row in white]
    two_bits = [containers.pack_bits(row >> 6, 2) for row in gray]
    return {
        "strips.tif": containers.tiff(strips, *SIZE, {**plain, 278: (10,)}),
        "big-endian.tif": containers.tiff([rgb.tobytes()], *SIZE, plain, big_endian=True),
        "bigtiff.tif": containers.tiff([rgb.tobytes()], *SIZE, plain, big=True),
        "tiled.tif": containers.tiff(tiles, *SIZE, {**plain, 322: (32,), 323: (16,)}),
        "tiled-deflate.tif": containers.tiff(
            [zlib.compress(tile) for tile in tiles], *SIZE, {**plain, 259: (8,), 322: (32,), 323: (16,)}
        ),
        "planar.tif": containers.tiff([rgb[..., c].tobytes() for c in range(3)], *SIZE, {**plain, 284: (2,)}),
        "predictor.tif": containers.tiff(
            [zlib.compress(differences.tobytes())], *SIZE, {**plain, 259: (8,), 317: (2,)}
        ),
        "rgb-16-bit.tif": containers.tiff([rgb16.astype("<u2").tobytes()], *SIZE, {**plain, 258: (16, 16, 16)}),
        "rgb-16-bit-big-endian.tif": containers.tiff(
            [rgb16.astype(">u2").tobytes()], *SIZE, {**plain, 258: (16, 16, 16)}, big_endian=True
        ),
        "rgbx.tif": containers.tiff(
            [scenes.rgba().tobytes()], *SIZE, {**plain, 258: (8,) * 4, 277: (4,), 338: (0,)}
        ),
        "rgba-premultiplied.tif": containers.tiff(
            [scenes.rgba().tobytes()], *SIZE, {**plain, 258: (8,) * 4, 277: (4,), 338: (1,)}
        ),
        "white-is-zero.tif": containers.tiff([gray.tobytes()], *SIZE, {**one, 262: (0,)}),
        "gray-4-bit.tif": containers.tiff([b"".join(four)], *SIZE, {**one, 258: (4,)}),
        "gray-2-bit.tif": containers.tiff([b"".join(two_bits)], *SIZE, {**one, 258: (2,)}),
        "1-bit-white-is-zero.tif": containers.tiff([b"".join(white)], *SIZE, {**one, 258: (1,), 262: (0,)}),
        "1-bit-fill-order.tif": containers.tiff([b"".join(reversed_bits)], *SIZE, {**one, 258: (1,), 266: (2,)}),
        "exif-5-strips.tif": containers.tiff(strips, *SIZE, {**plain, 278: (10,), ORIENTATION: (5,)}),
    }


def ico(scenes: Scenes) -> dict[str, bytes]:
    size = (32, 32)
    rgba = scenes.rgba(size)
    bgra = rgba[..., [2, 1, 0, 3]].reshape(32, -1)
    bgr = scenes.rgb(size)[..., ::-1].reshape(32, -1)
    indices, palette = scenes.indexed(256, size)
    quads = b"".join(bytes([*palette[i : i + 3][::-1], 0]) for i in range(0, 768, 3))
    mask = scenes.rng.integers(0, 2, (32, 32)).astype(np.uint8)
    small = containers.png(scenes.rgb((16, 16)), 8, 2)
    return {
        "png.ico": save(Image.fromarray(scenes.rgba((48, 48))), "ICO", sizes=[(48, 48)]),
        "bitmap-32.ico": containers.ico([(32, 32, 32, containers.icon_bitmap(bgra, 32))]),
        "bitmap-24.ico": containers.ico([(32, 32, 24, containers.icon_bitmap(bgr, 24, mask=mask))]),
        "bitmap-8.ico": containers.ico([(32, 32, 8, containers.icon_bitmap(indices, 8, quads, mask))]),
        "several-sizes.ico": containers.ico(
            [(16, 16, 32, small), (32, 32, 24, containers.icon_bitmap(bgr, 24)), (16, 16, 8, small)]
        ),
        "two-depths.ico": containers.ico(
            [
                (32, 32, 32, containers.icon_bitmap(bgra, 32)),
                (32, 32, 8, containers.icon_bitmap(indices, 8, quads)),
                (32, 32, 24, containers.icon_bitmap(bgr, 24)),
            ]
        ),
    }


def extremes(scenes: Scenes) -> dict[str, bytes]:
    tall = Image.fromarray(np.resize(scenes.rgb((1, 40)), (2000, 1, 3)))
    wide = Image.fromarray(np.resize(scenes.rgb((60, 2)), (2, 3000, 3)))
    return {
        "1x1.png": save(scenes.image(size=(1, 1)), "PNG"),
        "1x1.jpg": save(scenes.image(size=(1, 1)), "JPEG"),
        "1x1.gif": save(scenes.image("P", (1, 1)), "GIF"),
        "1x2000.png": save(tall, "PNG"),
        "3000x2.png": save(wide, "PNG"),
        "2x3.bmp": save(scenes.image(size=(2, 3)), "BMP"),
        "as-large-as-the-model.png": save(scenes.image(size=(32, 32)), "PNG"),
    }
