"""What a demo picture shows: a background and up to four objects of named kinds, chosen by a seeded generator.

Positions are in picture units: x from -1 (left edge) to 1 (right edge), y from -1 (bottom) to 1 (top). A size is the
object's half-height in the same units. Orientations are those of the bars, in degrees counter-clockwise from the
horizontal, 0 to 180.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: The kinds of objects in each category.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "faces": ("woman", "man", "cat"),
    "bodies": ("person", "dog", "hand"),
    "places": ("house", "tower", "church"),
    "words": ("word", "number", "sign"),
    "food": ("apple", "banana", "pizza", "cake"),
    "shapes": ("disc", "square", "triangle", "star"),
}
KINDS: tuple[str, ...] = tuple(kind for kinds in CATEGORIES.values() for kind in kinds)
CATEGORY_OF: dict[str, str] = {kind: category for category, kinds in CATEGORIES.items() for kind in kinds}

#: Colours (RGB, 0..255) of the part of an object that carries its colour: hair, clothes, walls, letters, plates, ...
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 52, 44),
    "yellow": (240, 196, 40),
    "green": (52, 152, 74),
    "blue": (48, 86, 192),
}

#: The backbone's classes: the kind and the colour of the main object.
CLASSES: tuple[str, ...] = tuple(f"{colour} {kind}" for kind in KINDS for colour in COLOURS)

#: Ground textures, by the orientation of their bars in degrees: labels unlike the backbone's classes.
TEXTURES: dict[str, float] = {"horizontal": 0.0, "rising": 45.0, "vertical": 90.0, "falling": 135.0}

PLACES_TO_BE: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {  # sky, ground
    "meadow": ((150, 196, 232), (116, 160, 92)),
    "beach": ((176, 214, 236), (214, 196, 150)),
    "dusk": ((232, 178, 160), (112, 98, 108)),
    "street": ((196, 200, 206), (134, 132, 130)),
    "room": ((226, 216, 198), (158, 122, 92)),
    "night": ((44, 52, 88), (60, 66, 70)),
}


@dataclass(frozen=True)
class Thing:
    """One object. `variant` seeds the details of its drawing."""

    kind: str
    colour: str
    x: float
    y: float
    size: float
    variant: int

    @property
    def label(self) -> str:
        """Its class, e.g. ``"red house"``."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Grating:
    """A patch of soft stripes: a Gaussian window of width `sigma` (infinite: everywhere on the ground)."""

    x: float
    y: float
    sigma: float
    orientation: float
    wavelength: float  # picture units
    phase: float
    contrast: float


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn. The first thing is the main one: the largest, and drawn last."""

    setting: str
    horizon: float
    tilt: float  # degrees
    texture: str
    ground: Grating
    patches: tuple[Grating, ...]
    things: tuple[Thing, ...]

    @property
    def main(self) -> Thing:
        """The main object."""
        return self.things[0]

    @property
    def caption(self) -> str:
        """One English sentence, e.g. ``"a large red house on the left and a small green dog, on a beach"``."""
        parts = [_phrase(thing) for thing in self.things]
        listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
        where = {"meadow": "in a meadow", "beach": "on a beach", "street": "in a street", "room": "in a room"}
        return f"{listed} {where.get(self.setting, f'at {self.setting}')}, with {self.texture} stripes on the ground"


_NOUNS = {
    "woman": "face of a woman with {colour} hair",
    "man": "face of a man in a {colour} cap",
    "cat": "face of a {colour} cat",
    "person": "person in {colour}",
    "hand": "hand with a {colour} sleeve",
    "word": "word in {colour} letters",
    "number": "number in {colour} digits",
}


def _phrase(thing: Thing) -> str:
    side = "on the left" if thing.x < -0.25 else "on the right" if thing.x > 0.25 else "in the middle"
    size = "large" if thing.size > 0.36 else "small" if thing.size < 0.24 else "middle-sized"
    plain = "{kind} on a {colour} plate" if CATEGORY_OF[thing.kind] == "food" else "{colour} {kind}"
    return f"a {size} {_NOUNS.get(thing.kind, plain).format(kind=thing.kind, colour=thing.colour)} {side}"


def sample_scene(rng: np.random.Generator) -> Scene:
    """Return a scene drawn at random; every kind, colour, texture and setting is equally likely."""
    texture = str(rng.choice(list(TEXTURES)))
    ground = Grating(
        x=0.0,
        y=0.0,
        sigma=np.inf,
        orientation=float((TEXTURES[texture] + rng.normal(0, 6)) % 180),
        wavelength=float(rng.uniform(0.14, 0.34)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        contrast=float(rng.uniform(0.06, 0.16)),
    )
    return Scene(
        setting=str(rng.choice(list(PLACES_TO_BE))),
        horizon=float(rng.uniform(-0.55, 0.55)),
        tilt=float(rng.normal(0, 5)),
        texture=texture,
        ground=ground,
        patches=tuple(_sample_patch(rng) for _ in range(rng.integers(1, 5))),
        things=_sample_things(rng),
    )


def _sample_patch(rng: np.random.Generator) -> Grating:
    return Grating(
        x=float(rng.uniform(-0.95, 0.95)),
        y=float(rng.uniform(-0.95, 0.95)),
        sigma=float(rng.uniform(0.18, 0.38)),
        orientation=float(rng.uniform(0, 180)),
        wavelength=float(np.exp(rng.uniform(np.log(0.14), np.log(0.4)))),
        phase=float(rng.uniform(0, 2 * np.pi)),
        contrast=float(rng.uniform(0.15, 0.4)),
    )


def _sample_things(rng: np.random.Generator) -> tuple[Thing, ...]:
    """Draw one to four objects, the first the largest; one that finds no free place in 20 trials is left out."""
    things: list[Thing] = []
    for number in range(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.2, 0.15])):
        size = rng.uniform(0.28, 0.5) if number == 0 else rng.uniform(0.14, 0.26)
        reach = 0.98 - size
        for _ in range(20):
            x, y = rng.uniform(-reach, reach, 2)
            if all(np.hypot(x - other.x, y - other.y) > 0.85 * (size + other.size) for other in things):
                kind, colour = str(rng.choice(KINDS)), str(rng.choice(list(COLOURS)))
                things.append(Thing(kind, colour, float(x), float(y), float(size), int(rng.integers(2**31))))
                break
    return tuple(things)
