"""Scenes: drawn at random, repeatable, inside the picture, and described by their captions."""

from __future__ import annotations

import numpy as np
import pytest

from brainviz.datasets.demo.scenes import (
    CATEGORIES,
    CATEGORY_OF,
    CLASSES,
    COLOURS,
    KINDS,
    TEXTURES,
    Scene,
    sample_scene,
)


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return [sample_scene(np.random.default_rng([1, number])) for number in range(1500)]


def test_the_same_seed_gives_the_same_scene(many: list[Scene]) -> None:
    assert sample_scene(np.random.default_rng([1, 7])) == many[7]
    assert len(set(many)) == len(many)


def test_classes_are_kinds_times_colours() -> None:
    assert len(CLASSES) == len(KINDS) * len(COLOURS) == 80
    assert {CATEGORY_OF[kind] for kind in KINDS} == set(CATEGORIES)


def test_every_kind_texture_and_side_is_about_equally_likely(many: list[Scene]) -> None:
    for values, names in (
        ([scene.main.kind for scene in many], KINDS),
        ([scene.texture for scene in many], TEXTURES),
        ([scene.main.x > 0 for scene in many], (False, True)),
    ):
        expected = len(many) / len(names)
        counts = np.array([values.count(name) for name in names])
        assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_objects_lie_inside_and_the_first_is_the_largest(many: list[Scene]) -> None:
    for scene in many:
        assert 1 <= len(scene.things) <= 4
        assert scene.main.size == max(thing.size for thing in scene.things)
        for thing in scene.things:
            assert max(abs(thing.x), abs(thing.y)) + thing.size < 1
    assert {len(scene.things) for scene in many} == {1, 2, 3, 4}


def test_the_caption_names_every_object(many: list[Scene]) -> None:
    for scene in many[:200]:
        assert "{" not in scene.caption
        assert scene.texture in scene.caption
        for thing in scene.things:
            assert thing.kind in scene.caption
            assert thing.colour in scene.caption
