"""Picture files byte by byte, for what Pillow reads but does not write."""

import struct
import zlib

import numpy as np

# Adam7: first row and column, and the steps, of each pass.
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
# TIFF's tags, and the codes and sizes of the types that are needed here.
SHORT, LONG = 3, 4


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: np.ndarray, bits: int, colour: int, *, interlaced=False, before=(), after=()) -> bytes:
    """`samples` is [height, width, channels]; `colour` is PNG's colour type. `before` and `after` are chunks (name,
    data) on either side of the pixels."""
    height, width, _ = samples.shape

    def rows(part: np.ndarray) -> bytes:
        if part.size == 0:
            return b""
        if bits == 16:
            lines = [line.astype(">u2").tobytes() for line in part]
        elif bits == 8:
            lines = [line.astype(np.uint8).tobytes() for line in part]
        else:
            lines = [pack_bits(line.reshape(-1), bits) for line in part]
        return b"".join(b"\0" + line for line in lines)

    passes = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [samples]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    pixels = (b"IDAT", zlib.compress(b"".join(map(rows, passes)), 9))
    chunks = [(b"IHDR", header), *before, pixels, *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in chunks)


def pack_bits(values: np.ndarray, bits: int) -> bytes:
    """Values of 1, 2 or 4 bits, the first in the highest bits; the last byte is filled up."""
    planes = (values[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(planes.reshape(-1)).tobytes()


def tiff(
    strips: list[bytes], width: int, height: int, tags: dict[int, tuple[int, ...]], *, big_endian=False, big=False
) -> bytes:
    """`tags` beside the offsets: numbers that fit 16 bits are SHORT, others LONG; 324 and 325 where they say tiles."""
    order = ">" if big_endian else "<"
    tiled = 322 in tags
    head = struct.pack(order + "2sHHHQ", b"MM" if big_endian else b"II", 43, 8, 0, 0) if big else struct.pack(
        order + "2sHI", b"MM" if big_endian else b"II", 42, 0
    )
    body, offsets = b"", []
    for strip in strips:
        offsets.append(len(head) + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    entries = {256: (width,), 257: (height,), **tags}
    entries[324 if tiled else 273] = tuple(offsets)
    entries[325 if tiled else 279] = tuple(len(strip) for strip in strips)
    directory_at = len(head) + len(body)
    count, offset, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    size = struct.calcsize(order + count) + len(entries) * (12 + 8 * big) + struct.calcsize(order + offset)
    directory, spill = struct.pack(order + count, len(entries)), b""
    for tag, values in sorted(entries.items()):
        kind = SHORT if max(values) < 1 << 16 and tag not in (273, 279, 324, 325) else LONG
        data = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(data) > inline:
            at, spilt = directory_at + size + len(spill), data
            data, spill = struct.pack(order + offset, at), spill + spilt + b"\0" * (len(spilt) % 2)
        directory += struct.pack(order + "HH" + offset, tag, kind, len(values)) + data.ljust(inline, b"\0")
    directory += struct.pack(order + offset, 0)
    start = struct.pack(order + offset, directory_at)
    return head[: -len(start)] + start + body + directory + spill


def bmp(pixels: bytes, width: int, height: int, bits: int, *, compression=0, palette=b"", header=40, masks=()) -> bytes:
    """A negative `height` is of rows from the top. `masks` of red, green, blue (and alpha) come with compression 3."""
    colours = len(palette) // 4
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, colours, 0)
    mask_bytes = struct.pack(f"<{len(masks)}I", *masks)
    info = info + mask_bytes if header == 40 else (info + mask_bytes).ljust(header, b"\0")
    offset = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(pixels), 0, 0, offset) + info + palette + pixels


def bmp_rows(samples: np.ndarray) -> bytes:
    """Rows of bytes, [height, bytes], each filled up to 4 bytes, the last one first."""
    return b"".join(row.tobytes().ljust(-(-row.size // 4) * 4, b"\0") for row in samples[::-1])


def core_bmp(rows: bytes, width: int, height: int, bits: int, palette: bytes) -> bytes:
    """With OS/2's short header, and a palette of three bytes a colour."""
    offset = 14 + 12 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    return head + struct.pack("<IHHHH", 12, width, height, 1, bits) + palette + rows


def ico(images: list[tuple[int, int, int, bytes]]) -> bytes:
    """Of (width, height, bits, PNG or bitmap without file header)."""
    directory, body = struct.pack("<HHH", 0, 1, len(images)), b""
    for width, height, bits, data in images:
        at = 6 + 16 * len(images) + len(body)
        directory += struct.pack("<BBBBHHII", width % 256, height % 256, 0, 0, 1, bits, len(data), at)
        body += data
    return directory + body


def icon_bitmap(samples: np.ndarray, bits: int, palette: bytes = b"", mask: np.ndarray | None = None) -> bytes:
    """Twice as high as the picture: below its rows come those of the mask, one bit a pixel."""
    height, row = samples.shape
    width = row * 8 // bits
    mask = np.zeros((height, width), np.uint8) if mask is None else mask
    mask_rows = bmp_rows(np.stack([np.packbits(line) for line in mask]))
    info = struct.pack("<IiiHHIIiiII", 40, width, 2 * height, 1, bits, 0, 0, 0, 0, len(palette) // 4, 0)
    return info + palette + bmp_rows(samples) + mask_rows


def gif(frames: list[dict], width: int, height: int, palette: bytes | None, background: int = 0) -> bytes:
    """Frames are {at: (x, y), indices: [h, w], palette?, transparent?, interlaced?}; 8 bits, and no compression to
    speak of. `palette` has 256 colours, or is None."""
    flags = 0xF7 if palette else 0x70
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, flags, background, 0) + (palette or b"")
    for frame in frames:
        indices = frame["indices"]
        if "transparent" in frame:
            out += b"!\xf9\x04" + struct.pack("<BHBB", 1, 10, frame["transparent"], 0)
        flags = (0x87 if "palette" in frame else 0) | (0x40 if frame.get("interlaced") else 0)
        out += b"," + struct.pack("<HHHHB", *frame["at"], indices.shape[1], indices.shape[0], flags)
        out += frame.get("palette", b"")
        if frame.get("interlaced"):
            indices = np.concatenate([indices[0::8], indices[4::8], indices[2::4], indices[1::2]])
        data = _lzw_of_literals(indices.reshape(-1).tolist())
        blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
        out += b"\x08" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    return out + b";"


def _lzw_of_literals(values: list[int]) -> bytes:
    """LZW that clears its table before codes need ten bits."""
    bits, count = 0, 0
    out = bytearray()

    def put(code: int) -> None:
        nonlocal bits, count
        bits |= code << count
        count += 9
        while count >= 8:
            out.append(bits & 255)
            bits >>= 8
            count -= 8

    for at, value in enumerate(values):
        if at % 200 == 0:
            put(256)
        put(value)
    put(257)
    out.append(bits & 255)
    return bytes(out)
