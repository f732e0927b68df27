"""Pictures of coloured shapes, their captions and boxes: all the data that the demo's models know.

A scene is one to three objects, clearly apart from left to right, and its caption reads them in that order:

    a red circle
    a red circle left of a blue square
    a red circle, a blue square and a green triangle
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 50),
    "green": (40, 160, 70),
    "blue": (40, 80, 210),
    "purple": (140, 60, 180),
    "black": (22, 22, 22),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
ID2LABEL = dict(enumerate(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))
LABEL2ID = {label: id_ for id_, label in ID2LABEL.items()}
MAX_OBJECTS = 3

# A background this near (Euclidean, in RGB) to an object's colour would hide the object.
MIN_CONTRAST = 115.0
COLOUR_JITTER = 16
# Shapes are drawn this much larger and then averaged down: smooth edges.
OVERSAMPLING = 2


@dataclass(frozen=True)
class Thing:
    """One object of a scene."""

    colour: str
    shape: str

    def __str__(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.label}"

    @property
    def label(self) -> str:
        """The class that classifiers and detectors know it by, one of ID2LABEL's."""
        return f"{self.colour} {self.shape}"


# Left, top, right, bottom: in pixels of the canvas, or as shares of the picture's width and height.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scene:
    """What a picture shows, from left to right."""

    things: list[Thing]
    boxes: list[Box]  # tight around each thing's outline, as shares

    def mirrored(self) -> "Scene":
        """What the picture shows when left and right are swapped."""
        boxes = [(1 - right, top, 1 - left, bottom) for left, top, right, bottom in self.boxes]
        return Scene(self.things[::-1], boxes[::-1])


def caption(things: list[Thing]) -> str:
    """The caption of objects given from left to right."""
    match things:
        case [only]:
            return str(only)
        case [left, right]:
            return f"{left} left of {right}"
        case [*before, last]:
            return f"{', '.join(map(str, before))} and {last}"
    raise ValueError("a scene has at least one object")


def draw_things(rng: np.random.Generator, count: int) -> list[Thing]:
    """`count` objects, each colour and shape as likely as any other."""
    colours = list(COLOURS)
    return [Thing(colours[rng.integers(len(colours))], SHAPES[rng.integers(len(SHAPES))]) for _ in range(count)]


def draw_size(rng: np.random.Generator, long_side: tuple[int, int] = (96, 288)) -> tuple[int, int]:
    """Width and height between 4:3 upright and 16:9 lying."""
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(16 / 9)))
    long = rng.integers(long_side[0], long_side[1] + 1)
    return (int(long), round(long / aspect)) if aspect >= 1 else (round(long * aspect), int(long))


def draw_picture(rng: np.random.Generator, things: list[Thing], size: tuple[int, int]) -> Image.Image:
    """`things` as an RGB picture of `size` (width, height): places, sizes, tilt, shading and noise are drawn."""
    return draw_scene(rng, things, size)[0]


def draw_scene(
    rng: np.random.Generator, things: list[Thing], size: tuple[int, int]
) -> tuple[Image.Image, Scene]:
    """The picture that draw_picture draws, and where in it each thing is."""
    width, height = size
    colours = [_jitter(rng, COLOURS[thing.colour]) for thing in things]
    canvas = _background(rng, colours, width * OVERSAMPLING, height * OVERSAMPLING)
    pen = ImageDraw.Draw(canvas)
    boxes = []
    for thing, colour, (x, y, radius) in zip(things, colours, _places(rng, len(things), canvas.size), strict=True):
        left, top, right, bottom = _draw(pen, thing.shape, colour, x, y, radius, math.radians(rng.uniform(-12, 12)))
        boxes.append(
            (
                float(left / canvas.width),
                float(top / canvas.height),
                float(right / canvas.width),
                float(bottom / canvas.height),
            )
        )
    canvas = canvas.reduce(OVERSAMPLING)
    return _noise(rng, canvas), Scene(things, boxes)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def draw_jpeg(rng: np.random.Generator, count: int) -> tuple[bytes, Scene]:
    """A JPEG file with `count` objects, of random size and quality, and what it shows."""
    things = draw_things(rng, count)
    picture, scene = draw_scene(rng, things, draw_size(rng))
    return jpeg(picture, int(rng.integers(60, 96))), scene


def _jitter(rng: np.random.Generator, colour: tuple[int, int, int]) -> tuple[int, int, int]:
    r, g, b = np.clip(np.array(colour) + rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3), 0, 255)
    return int(r), int(g), int(b)


def _background(rng: np.random.Generator, colours: list, width: int, height: int) -> Image.Image:
    """A plain or softly graded ground on which every one of `colours` stands out."""
    while True:
        tint = rng.uniform(0, 1) ** 2 * 70
        ground = np.clip(rng.uniform(0, 255) + rng.uniform(-tint, tint, 3), 0, 255)
        slope = rng.uniform(-22, 22, 3) if rng.random() < 0.5 else np.zeros(3)
        ends = np.clip([ground - slope, ground + slope], 0, 255)
        if all(math.dist(end, colour) >= MIN_CONTRAST for end in ends for colour in colours):
            break
    ramp = np.linspace(ends[0], ends[1], 16).astype(np.uint8)
    strip = ramp[:, None, :] if rng.random() < 0.5 else ramp[None, :, :]
    return Image.fromarray(strip).resize((width, height), Image.Resampling.BILINEAR)


def _places(rng: np.random.Generator, count: int, size: tuple[int, int]) -> list[tuple[float, float, float]]:
    """Centre and radius of each object, left to right, in columns that do not touch."""
    width, height = size
    gap = 0.05 * width
    shares = rng.uniform(0.8, 1.2, count)
    columns = shares / shares.sum() * (width - gap * (count + 1))
    places, left = [], gap
    for column in columns:
        most = min(column / 2, 0.42 * height, 0.27 * width)
        radius = most * rng.uniform(0.78, 1.0)
        x = left + rng.uniform(radius, column - radius)
        y = rng.uniform(radius + 0.04 * height, height * 0.96 - radius)
        places.append((x, y, radius))
        left += column + gap
    return places


def _draw(pen: ImageDraw.ImageDraw, shape: str, colour: tuple, x: float, y: float, radius: float, tilt: float) -> Box:
    """Draws a shape, and returns the box around its outline."""
    if shape in ("circle", "ring"):
        box = (x - radius, y - radius, x + radius, y + radius)
        if shape == "circle":
            pen.ellipse(box, fill=colour)
        else:
            pen.ellipse(box, outline=colour, width=max(2, round(radius * 0.36)))
        return box
    cos, sin = math.cos(tilt), math.sin(tilt)
    points = [(x + radius * (u * cos - v * sin), y + radius * (u * sin + v * cos)) for u, v in _OUTLINES[shape]]
    pen.polygon(points, fill=colour)
    across, down = zip(*points, strict=True)
    return min(across), min(down), max(across), max(down)


def _ray(turn: float, length: float = 1.0) -> tuple[float, float]:
    angle = 2 * math.pi * turn - math.pi / 2
    return length * math.cos(angle), length * math.sin(angle)


def _heart(turn: float) -> tuple[float, float]:
    t = 2 * math.pi * turn
    across = 16 * math.sin(t) ** 3
    up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
    return across / 17, -(up + 2.5) / 17


# Outlines within the unit circle, y downwards.
_OUTLINES = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "triangle": [(0.0, -0.92), (0.96, 0.8), (-0.96, 0.8)],
    "star": [_ray(i / 10, 1.0 if i % 2 == 0 else 0.42) for i in range(10)],
    "heart": [_heart(i / 48) for i in range(48)],
}


def _noise(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Grain as of a camera, in half of the pictures."""
    if rng.random() < 0.5:
        return picture
    pixels = np.asarray(picture, dtype=np.float32)
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(1, 10)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
