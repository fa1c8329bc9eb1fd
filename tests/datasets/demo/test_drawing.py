"""Drawing: every kind leaves its mark where it should, and the same scene gives the same pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from brainviz.datasets.demo.drawing import DRAWERS, GLYPHS, PICTURE_SIZE, draw_scene
from brainviz.datasets.demo.scenes import COLOURS, KINDS, Grating, Scene, Thing, sample_scene

BARE = replace(sample_scene(np.random.default_rng(0)), things=(), patches=())


def pixels(scene: Scene) -> NDArray[np.int64]:
    return np.asarray(draw_scene(scene), np.int64)


def test_pictures_are_rgb_and_repeatable() -> None:
    scene = sample_scene(np.random.default_rng(3))
    picture = draw_scene(scene)
    assert (picture.mode, picture.size) == ("RGB", (PICTURE_SIZE, PICTURE_SIZE))
    assert picture.tobytes() == draw_scene(scene).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_where_the_scene_says(kind: str) -> None:
    """To the right x grows, upwards y; the object stays within a square of its size, and carries its colour."""
    thing = Thing(kind, "red", x=0.4, y=0.45, size=0.4, variant=5)
    changed = np.abs(pixels(replace(BARE, things=(thing,))) - pixels(BARE)).sum(2) > 30
    rows, columns = np.nonzero(changed)
    x, y = (columns + 0.5) / PICTURE_SIZE * 2 - 1, 1 - (rows + 0.5) / PICTURE_SIZE * 2
    assert abs(x.mean() - 0.4) < 0.12
    assert abs(y.mean() - 0.45) < 0.17
    assert np.abs(x - 0.4).max() < 0.4 * 1.25
    assert np.abs(y - 0.45).max() < 0.4 * 1.1
    blue = pixels(replace(BARE, things=(replace(thing, colour="blue"),)))
    assert np.any(blue != pixels(replace(BARE, things=(thing,))))


def test_kinds_differ_from_each_other() -> None:
    drawn = {kind: pixels(replace(BARE, things=(Thing(kind, "blue", 0.0, 0.0, 0.6, 1),))).tobytes() for kind in KINDS}
    assert set(DRAWERS) == set(KINDS)
    assert len(set(drawn.values())) == len(KINDS)


def test_the_main_object_covers_the_others() -> None:
    large, small = Thing("square", "red", 0, 0, 0.5, 0), Thing("disc", "blue", 0, 0, 0.3, 0)
    centre = pixels(replace(BARE, things=(large, small)))[PICTURE_SIZE // 2, PICTURE_SIZE // 2]
    assert np.abs(centre - COLOURS["red"]).max() < 3


@pytest.mark.parametrize(("orientation", "axis"), [(0.0, 0), (90.0, 1)])
def test_the_orientation_is_that_of_the_bars(orientation: float, axis: int) -> None:
    """Horizontal bars (0 degrees) change along the rows, vertical ones (90) along the columns."""
    bars = Grating(0, 0, np.inf, orientation, 0.3, 0.0, 0.15)
    picture = pixels(replace(BARE, horizon=2.0, tilt=0.0, ground=bars)).sum(2)
    along, across = (np.abs(np.diff(picture, axis=n)).mean() for n in (1 - axis, axis))
    assert across > 5 * along


def test_glyphs_stay_in_their_box() -> None:
    for strokes in GLYPHS.values():
        corners = np.array([corner for stroke in strokes for corner in stroke])
        assert corners.min() >= 0
        assert np.all(corners.max(0) <= (1, 2))
