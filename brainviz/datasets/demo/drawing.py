"""Draws a demo scene: the background as an array, the objects as polygons at twice the size, then averaged down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brainviz.datasets.demo.scenes import COLOURS, PLACES_TO_BE, Grating, Scene, Thing

#: Pixels on a side of a demo picture.
PICTURE_SIZE = 96
_OVERSAMPLING = 2

Colour = tuple[int, int, int]
INK: Colour = (34, 30, 32)
WHITE: Colour = (246, 244, 238)
SKINS: tuple[Colour, ...] = ((246, 208, 178), (224, 172, 132), (176, 122, 88), (118, 78, 56))
WOODS: tuple[Colour, ...] = ((120, 84, 56), (92, 64, 48))

#: Letters and digits as strokes in a box of width 1 and height 2, so that no font is needed; y grows downwards.
GLYPHS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0, 2), (0.5, 0), (1, 2)), ((0.2, 1.3), (0.8, 1.3))),
    "E": (((1, 0), (0, 0), (0, 2), (1, 2)), ((0, 1), (0.8, 1))),
    "H": (((0, 0), (0, 2)), ((1, 0), (1, 2)), ((0, 1), (1, 1))),
    "I": (((0.5, 0), (0.5, 2)),),
    "K": (((0, 0), (0, 2)), ((1, 0), (0, 1.1), (1, 2))),
    "L": (((0, 0), (0, 2), (1, 2)),),
    "M": (((0, 2), (0, 0), (0.5, 1), (1, 0), (1, 2)),),
    "N": (((0, 2), (0, 0), (1, 2), (1, 0)),),
    "O": (((0.3, 0), (0.7, 0), (1, 0.5), (1, 1.5), (0.7, 2), (0.3, 2), (0, 1.5), (0, 0.5), (0.3, 0)),),
    "S": (((1, 0.2), (0.7, 0), (0.2, 0.1), (0, 0.5), (1, 1.4), (0.8, 1.9), (0.3, 2), (0, 1.8)),),
    "T": (((0, 0), (1, 0)), ((0.5, 0), (0.5, 2))),
    "W": (((0, 0), (0.25, 2), (0.5, 0.8), (0.75, 2), (1, 0)),),
    "1": (((0.2, 0.4), (0.6, 0), (0.6, 2)),),
    "2": (((0, 0.4), (0.3, 0), (0.8, 0), (1, 0.5), (0, 2), (1, 2)),),
    "3": (((0, 0), (1, 0), (0.4, 0.9), (1, 1.2), (1, 1.7), (0.7, 2), (0, 1.9)),),
    "4": (((0.8, 2), (0.8, 0), (0, 1.3), (1, 1.3)),),
    "5": (((1, 0), (0, 0), (0, 0.9), (0.8, 0.8), (1, 1.4), (0.7, 2), (0, 2)),),
    "7": (((0, 0), (1, 0), (0.4, 2)),),
}
LETTERS = "AEHIKLMNOSTW"
DIGITS = "123457"


class Pen:
    """Draws in an object's own frame: x to the right and y downwards, -1..1 over its height."""

    def __init__(self, canvas: ImageDraw.ImageDraw, thing: Thing, pixels: int) -> None:
        self.canvas = canvas
        self.x = (thing.x + 1) / 2 * pixels
        self.y = (1 - thing.y) / 2 * pixels
        self.scale = thing.size * pixels / 2

    def points(self, corners: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(self.x + self.scale * x, self.y + self.scale * y) for x, y in corners]

    def polygon(self, fill: Colour, *corners: tuple[float, float]) -> None:
        self.canvas.polygon(self.points(corners), fill=fill)

    def box(self, fill: Colour, left: float, top: float, right: float, bottom: float) -> None:
        self.canvas.rectangle(sum(self.points([(left, top), (right, bottom)]), ()), fill=fill)

    def oval(self, fill: Colour, x: float, y: float, rx: float, ry: float | None = None) -> None:
        ry = rx if ry is None else ry
        self.canvas.ellipse(sum(self.points([(x - rx, y - ry), (x + rx, y + ry)]), ()), fill=fill)

    def line(self, fill: Colour, width: float, *corners: tuple[float, float]) -> None:
        self.canvas.line(self.points(corners), fill=fill, width=max(1, round(self.scale * width)), joint="curve")

    def pie(self, fill: Colour, x: float, y: float, r: float, start: float, end: float) -> None:
        self.canvas.pieslice(sum(self.points([(x - r, y - r), (x + r, y + r)]), ()), start, end, fill=fill)

    def text(self, fill: Colour, text: str, box: tuple[float, float, float, float], stroke: float) -> None:
        left, top, width, height = box
        step = width / len(text)
        for number, glyph in enumerate(text):
            for stroke_points in GLYPHS[glyph]:
                corners = [(left + step * (number + 0.12 + 0.76 * x), top + height * y / 2) for x, y in stroke_points]
                self.line(fill, stroke, *corners)


def darker(colour: Colour, share: float = 0.6) -> Colour:
    """Return the colour with its brightness multiplied by `share`."""
    return (int(colour[0] * share), int(colour[1] * share), int(colour[2] * share))


def _face(pen: Pen, skin: Colour, mouth: float) -> None:
    pen.oval(skin, 0, 0.05, 0.62, 0.8)
    for side in (-1, 1):
        pen.oval(WHITE, 0.26 * side, -0.12, 0.15, 0.1)
        pen.oval(INK, 0.26 * side, -0.12, 0.08)
        pen.line(INK, 0.07, (0.12 * side, -0.3), (0.42 * side, -0.32))
    pen.line(darker(skin, 0.7), 0.07, (0, -0.05), (-0.07, 0.22), (0.05, 0.24))
    pen.line((150, 40, 44), 0.1, (-0.24, 0.46), (0, 0.46 + mouth), (0.24, 0.46))


def _woman(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.oval(colour, 0, -0.15, 0.8, 0.85)
    pen.box(colour, -0.8, -0.15, 0.8, 0.75)
    _face(pen, SKINS[rng.integers(4)], rng.uniform(0, 0.12))
    pen.pie(colour, 0, -0.2, 0.66, 180, 360)
    for side in (-1, 1):
        pen.oval(WHITE, 0.26 * side, -0.1, 0.14, 0.09)
        pen.oval(INK, 0.26 * side, -0.1, 0.08)


def _man(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    skin = SKINS[rng.integers(4)]
    pen.polygon(colour, (-0.9, 1), (-0.4, 0.68), (0.4, 0.68), (0.9, 1))
    for side in (-1, 1):
        pen.oval(skin, 0.62 * side, 0.02, 0.12, 0.18)
    _face(pen, skin, rng.uniform(-0.06, 0.1))
    pen.box(colour, -0.58, -0.62, 0.58, -0.42)
    pen.pie(colour, 0, -0.45, 0.58, 180, 360)
    pen.box(darker(colour), -0.75, -0.46, 0.75, -0.38)


def _cat(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        pen.polygon(colour, (0.3 * side, -0.55), (0.72 * side, -0.98), (0.82 * side, -0.1))
        pen.polygon((236, 170, 170), (0.45 * side, -0.55), (0.65 * side, -0.78), (0.7 * side, -0.3))
    pen.oval(colour, 0, 0.08, 0.86, 0.72)
    for side in (-1, 1):
        pen.oval((226, 232, 130), 0.36 * side, -0.05, 0.18, 0.16)
        pen.oval(INK, 0.36 * side, -0.05, 0.06, 0.15)
        for slope in (-0.12, 0.02, 0.16):
            pen.line(WHITE, 0.04, (0.25 * side, 0.34), (0.98 * side, 0.3 + slope))
    pen.polygon((226, 120, 130), (-0.13, 0.2), (0.13, 0.2), (0, 0.36))
    pen.line(INK, 0.05, (-0.2, 0.5), (0, 0.38), (0.2, 0.5))


def _person(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    skin, lift = SKINS[rng.integers(4)], rng.uniform(-0.5, 0.35)
    spread = rng.uniform(0.12, 0.4)
    for side in (-1, 1):
        pen.line(darker(colour), 0.17, (0.1 * side, 0.25), (spread * side, 0.95))
        pen.line(skin, 0.12, (0.2 * side, -0.42), (0.5 * side, -0.1 + lift * 0.5), (0.62 * side, lift))
    pen.polygon(colour, (-0.28, -0.5), (0.28, -0.5), (0.2, 0.3), (-0.2, 0.3))
    pen.oval(skin, 0, -0.73, 0.2, 0.22)
    pen.pie(INK, 0, -0.76, 0.2, 180, 360)


def _dog(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    side = rng.choice([-1, 1])
    for x in (-0.6, -0.38, 0.3, 0.52):
        pen.line(darker(colour, 0.8), 0.15, (x, 0.1), (x + rng.uniform(-0.1, 0.1), 0.75))
    pen.oval(colour, 0, -0.02, 0.75, 0.33)
    pen.line(colour, 0.13, (-0.65 * side, -0.1), (-0.95 * side, -0.55))
    pen.oval(colour, 0.72 * side, -0.38, 0.28, 0.26)
    pen.oval(colour, 0.92 * side, -0.28, 0.2, 0.13)
    pen.oval(INK, 1.05 * side, -0.32, 0.07)
    pen.oval(darker(colour, 0.5), 0.55 * side, -0.4, 0.11, 0.25)
    pen.oval(INK, 0.76 * side, -0.46, 0.05)


def _hand(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    skin = SKINS[rng.integers(4)]
    side = rng.choice([-1, 1])
    pen.box(colour, -0.42, 0.62, 0.42, 1)
    pen.box(skin, -0.3, 0.4, 0.3, 0.66)
    pen.oval(skin, 0, 0.2, 0.45, 0.42)
    for x, top in ((-0.33, -0.6), (-0.11, -0.85), (0.12, -0.8), (0.34, -0.55)):
        pen.line(skin, 0.19, (x, 0.1), (x * 1.45, top))
    pen.line(skin, 0.21, (0.3 * side, 0.35), (0.75 * side, -0.05))


def _house(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.box(colour, -0.75, -0.2, 0.75, 0.85)
    pen.polygon(WOODS[rng.integers(2)], (-0.95, -0.2), (0, -0.9), (0.95, -0.2))
    pen.box(WOODS[0], -0.15, 0.3, 0.2, 0.85)
    for x in (-0.5, 0.5):
        pen.box(WHITE, x - 0.18, 0, x + 0.18, 0.32)
        pen.line(INK, 0.04, (x, 0), (x, 0.32))
        pen.line(INK, 0.04, (x - 0.18, 0.16), (x + 0.18, 0.16))


def _tower(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    width = rng.uniform(0.38, 0.5)
    pen.box(colour, -width, -0.95, width, 0.95)
    pen.box(darker(colour, 0.75), width * 0.6, -0.95, width, 0.95)
    for row in range(7):
        for column in (-0.72, -0.24, 0.22):
            shade = WHITE if rng.random() < 0.7 else INK
            pen.box(shade, width * column, -0.82 + 0.24 * row, width * (column + 0.28), -0.7 + 0.24 * row)


def _church(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    side = rng.choice([-1, 1])
    left, right = sorted((-0.2 * side, 0.9 * side))
    pen.box(colour, left, 0.05, right, 0.9)
    pen.polygon(WOODS[1], (-0.3 * side, 0.05), (0, -0.3), (0.7 * side, -0.3), (0.98 * side, 0.05))
    pen.box(darker(colour, 0.85), -0.5 * side - 0.24, -0.35, -0.5 * side + 0.24, 0.9)
    pen.polygon(WOODS[0], (-0.5 * side - 0.3, -0.35), (-0.5 * side, -0.98), (-0.5 * side + 0.3, -0.35))
    pen.oval(WHITE, -0.5 * side, -0.1, 0.13)
    for x in (0.15, 0.5):
        pen.box(WHITE, x * side - 0.08, 0.3, x * side + 0.08, 0.65)


def _word(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    text = "".join(rng.choice(list(LETTERS), rng.integers(3, 6)))
    for ink, stroke in ((WHITE, 0.3), (darker(colour, 0.85), 0.13)):
        pen.text(ink, text, (-1, -0.5, 2, 1), stroke)


def _number(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    text = "".join(rng.choice(list(DIGITS), rng.integers(2, 4)))
    for ink, stroke in ((WHITE, 0.36), (darker(colour, 0.85), 0.17)):
        pen.text(ink, text, (-0.85, -0.6, 1.7, 1.2), stroke)


def _sign(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.line(WOODS[1], 0.12, (0, 0.2), (0, 1))
    pen.box(colour, -0.95, -0.7, 0.95, 0.3)
    text = "".join(rng.choice(list(LETTERS), 3))
    pen.text(WHITE, text, (-0.75, -0.5, 1.5, 0.6), 0.12)


def _plate(pen: Pen, colour: Colour) -> None:
    pen.oval(colour, 0, 0.45, 0.98, 0.42)
    pen.oval(darker(colour, 0.8), 0, 0.42, 0.72, 0.26)


def _apple(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _plate(pen, colour)
    skin = ((190, 40, 44), (150, 178, 60))[rng.integers(2)]
    for side in (-1, 1):
        pen.oval(skin, 0.2 * side, -0.05, 0.4, 0.5)
    pen.line(WOODS[1], 0.09, (0, -0.45), (0.1, -0.85))
    pen.oval((70, 140, 60), 0.3, -0.72, 0.22, 0.1)
    pen.oval((250, 220, 210), -0.3, -0.2, 0.08, 0.14)


def _banana(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _plate(pen, colour)
    side = rng.choice([-1, 1])
    arc = [(-0.9, -0.55), (-0.7, 0.05), (-0.25, 0.35), (0.3, 0.35), (0.75, 0.05), (0.95, -0.45)]
    pen.line((246, 214, 90), 0.34, *[(x * side, y) for x, y in arc])
    pen.line(WOODS[1], 0.12, (-0.93 * side, -0.6), (-0.97 * side, -0.8))
    pen.line((206, 160, 40), 0.06, *[(x * 0.95 * side, y + 0.05) for x, y in arc[1:-1]])


def _pizza(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _plate(pen, colour)
    pen.polygon((196, 136, 70), (-0.75, -0.75), (0.75, -0.75), (0, 0.75))
    pen.polygon((248, 206, 96), (-0.6, -0.55), (0.6, -0.55), (0, 0.68))
    for x, y in ((-0.25, -0.3), (0.25, -0.25), (0, 0.1), (rng.uniform(-0.1, 0.1), 0.4)):
        pen.oval((188, 48, 36), x, y, 0.12)


def _cake(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    _plate(pen, colour)
    pen.box((150, 96, 60), -0.6, -0.3, 0.6, 0.5)
    pen.box((250, 226, 214), -0.6, -0.35, 0.6, -0.1)
    pen.box((250, 226, 214), -0.6, 0.12, 0.6, 0.2)
    for x in (-0.35, 0, 0.35):
        pen.line(WHITE, 0.09, (x, -0.35), (x, -0.72))
        pen.oval((250, 180, 60), x, -0.82, 0.07, 0.11)


def _disc(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.oval(colour, 0, 0, 0.9)


def _square(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.box(colour, -0.8, -0.8, 0.8, 0.8)


def _triangle(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    pen.polygon(colour, (-0.9, 0.75), (0.9, 0.75), (0, -0.9))


def _star(pen: Pen, colour: Colour, rng: np.random.Generator) -> None:
    radii, turns = np.tile([0.98, 0.4], 5), np.pi * np.arange(10) / 5
    pen.polygon(colour, *zip(radii * np.sin(turns), -radii * np.cos(turns), strict=True))


DRAWERS: dict[str, Callable[[Pen, Colour, np.random.Generator], None]] = {
    "woman": _woman,
    "man": _man,
    "cat": _cat,
    "person": _person,
    "dog": _dog,
    "hand": _hand,
    "house": _house,
    "tower": _tower,
    "church": _church,
    "word": _word,
    "number": _number,
    "sign": _sign,
    "apple": _apple,
    "banana": _banana,
    "pizza": _pizza,
    "cake": _cake,
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
}


@cache
def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y of every pixel's centre in picture units, each (PICTURE_SIZE, PICTURE_SIZE)."""
    centres = ((np.arange(PICTURE_SIZE) + 0.5) / PICTURE_SIZE * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(centres, -centres)
    return x, y


def _stripes(grating: Grating) -> NDArray[np.float32]:
    x, y = _grid()
    angle = np.float32(np.deg2rad(grating.orientation))
    across = -np.sin(angle) * x + np.cos(angle) * y
    phase = across * np.float32(2 * np.pi / grating.wavelength) + np.float32(grating.phase)
    wave: NDArray[np.float32] = np.float32(grating.contrast) * np.sin(phase)
    if np.isfinite(grating.sigma):
        squared = (x - np.float32(grating.x)) ** 2 + (y - np.float32(grating.y)) ** 2
        wave *= np.exp(squared * np.float32(-0.5 / grating.sigma**2))
    return wave


def _background(scene: Scene) -> NDArray[np.uint8]:
    """Return sky and ground with their stripes, (PICTURE_SIZE, PICTURE_SIZE, 3)."""
    x, y = _grid()
    edge = np.float32(scene.horizon) + np.float32(np.tan(np.deg2rad(scene.tilt))) * x
    ground = np.clip((edge - y) * (PICTURE_SIZE / 2) + 0.5, 0, 1)
    sky_colour, ground_colour = (np.array(colour, np.float32) for colour in PLACES_TO_BE[scene.setting])
    colour = sky_colour + ground[..., None] * (ground_colour - sky_colour)
    light = 1 + 0.08 * (y - edge) + ground * _stripes(scene.ground)
    for patch in scene.patches:
        light = light + _stripes(patch)
    pixels: NDArray[np.uint8] = np.clip(colour * light[..., None], 0, 255).astype(np.uint8)
    return pixels


def draw_scene(scene: Scene) -> Image.Image:
    """Return the scene as an RGB picture of `PICTURE_SIZE` pixels on a side."""
    pixels = PICTURE_SIZE * _OVERSAMPLING
    large = Image.fromarray(_background(scene)).resize((pixels, pixels), Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    for thing in reversed(scene.things):
        DRAWERS[thing.kind](Pen(canvas, thing, pixels), COLOURS[thing.colour], np.random.default_rng(thing.variant))
    return large.reduce(_OVERSAMPLING)
