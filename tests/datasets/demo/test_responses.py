"""Responses: the planted tuning is what comes out, with the stated shares of signal and noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES
from brainviz.datasets.demo.areas import EARLY, FOOD_PATCH, Areas, place_areas
from brainviz.datasets.demo.energy import CHANNELS, GRID
from brainviz.datasets.demo.responses import (
    BILATERAL_AREA,
    FOOD_SUBJECTS,
    PREFERENCE,
    Tuning,
    measure,
    object_drive,
    plan_tuning,
    signals,
    z_scored,
)
from brainviz.datasets.demo.scenes import CATEGORIES, CATEGORY_OF, KINDS, sample_scene


def plan(subject: str, hemi: str) -> tuple[Areas, Tuning]:
    rng = np.random.default_rng([7, int(subject[-1]), HEMISPHERES.index(hemi)])
    areas = place_areas(subject, hemi, rng)
    return areas, plan_tuning(subject, hemi, areas, rng)


PLANNED = {(subject, hemi): plan(subject, hemi) for subject in ("subj01", "subj02") for hemi in HEMISPHERES}
each = pytest.mark.parametrize(("subject", "hemi"), PLANNED)


def area_of(subject: str, hemi: str) -> NDArray[np.str_]:
    areas, _ = PLANNED[subject, hemi]
    return areas.area[areas.keep]


@each
def test_early_fields_lie_in_the_opposite_half(subject: str, hemi: str) -> None:
    area, tuning = area_of(subject, hemi), PLANNED[subject, hemi][1]
    side = 1 if hemi == "lh" else -1
    for name in EARLY:
        member = area == name
        assert (tuning.x[member] * side).min() > -1e-9
        assert np.abs(tuning.x[member]).max() <= 0.9
        if name.endswith("v"):
            assert tuning.y[member].min() > -1e-9  # ventral areas see the upper half
        elif name.endswith("d"):
            assert tuning.y[member].max() < 1e-9
        assert np.corrcoef(np.hypot(tuning.x, tuning.y)[member], tuning.sigma[member])[0, 1] > 0.99
    widths = [tuning.sigma[np.char.startswith(area, name)].mean() for name in ("V1", "V2", "V3", "hV4")]
    assert widths == sorted(widths)


@each
def test_one_higher_area_has_large_fields_across_the_midline(subject: str, hemi: str) -> None:
    area, tuning = area_of(subject, hemi), PLANNED[subject, hemi][1]
    member = area == BILATERAL_AREA
    assert np.abs(tuning.x[member]).max() < 0.4
    assert tuning.sigma[member].min() > np.nanmax(tuning.sigma[np.isin(area, EARLY)]) * 0.9
    assert np.isnan(tuning.sigma[~member & ~np.isin(area, EARLY)]).all()


@each
def test_category_areas_prefer_their_category_and_food_only_where_planted(subject: str, hemi: str) -> None:
    area, tuning = area_of(subject, hemi), PLANNED[subject, hemi][1]
    of_category = np.array([[CATEGORY_OF[kind] == category for kind in KINDS] for category in CATEGORIES])
    means = tuning.category_weights @ (of_category / of_category.sum(1, keepdims=True)).T
    for name, category in PREFERENCE.items():
        chosen = means[area == name].argmax(1) == list(CATEGORIES).index(category)
        assert chosen.size == 0 or chosen.mean() > 0.95
    food = means[area == FOOD_PATCH].argmax(1) == list(CATEGORIES).index("food")
    assert food.mean() > 0.95 if subject in FOOD_SUBJECTS else food.mean() < 0.5


def test_words_lean_left_and_faces_right() -> None:
    for subject in ("subj01", "subj02"):
        mass = {
            (hemi, category): sum(
                PLANNED[subject, hemi][1].signal_share[area_of(subject, hemi) == name].sum()
                for name, preferred in PREFERENCE.items()
                if preferred == category
            )
            for hemi in HEMISPHERES
            for category in ("words", "faces")
        }
        assert mass["lh", "words"] > 1.5 * mass["rh", "words"]
        assert mass["rh", "faces"] > 1.5 * mass["lh", "faces"]


def test_signals_are_weighted_energy_and_weighted_objects() -> None:
    """Against a plain re-statement, vertex by vertex."""
    tuning = PLANNED["subj01", "rh"][1]
    area = area_of("subj01", "rh")
    rng = np.random.default_rng(0)
    energy = rng.gamma(2.0, 1.0, (50, len(CHANNELS), GRID, GRID))
    scenes = [sample_scene(np.random.default_rng([9, number])) for number in range(50)]
    out = signals(tuning, energy, object_drive(scenes))
    centres = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    for name in ("V1v", "V3d", "FFA-1", BILATERAL_AREA):
        v = int(np.flatnonzero(area == name)[3])
        category = [
            sum(thing.size * tuning.category_weights[v, KINDS.index(thing.kind)] for thing in scene.things)
            for scene in scenes
        ]
        share = tuning.field_share[v]
        expected = np.sqrt(1 - share) * z(np.array(category))
        if share:
            squared = (centres[None, :] - tuning.x[v]) ** 2 + (-centres[:, None] - tuning.y[v]) ** 2
            window = np.exp(-squared / (2 * tuning.sigma[v] ** 2))
            maps = energy[:, CHANNELS.index((tuning.orientation[v], tuning.wavelength[v]))]
            field = np.sqrt([(window * one).sum() / window.sum() for one in maps])
            expected = expected + np.sqrt(share) * z(field)
        np.testing.assert_allclose(out[:, v], z(expected), atol=1e-4)


def z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = values.std()
    return (values - values.mean()) / spread if spread else values - values.mean()


def test_the_squared_correlation_with_the_signal_is_the_signal_share() -> None:
    rng = np.random.default_rng(3)
    signal = z_scored(rng.standard_normal((6000, 5), np.float32))
    share = np.array([0.0, 0.2, 0.5, 0.8, 1.0])
    values = measure(signal, share, rng)
    np.testing.assert_allclose((values * signal).mean(0) ** 2, share, atol=0.03)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-4)


def test_constant_columns_are_zero_not_nan() -> None:
    np.testing.assert_array_equal(z_scored(np.full((4, 2), 3.0, np.float32)), 0)
