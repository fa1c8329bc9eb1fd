"""The race of the hemispheres: what is drawn is what was given, and the band is of the one that lags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.figures.racing import lag_bands, race_chart
from brainviz.figures.style import HEMISPHERE_COLOURS, Provenance

STAGES = ("pre-training on 4 subjects", "own training")


def curves(n_seeds: int = 1, n_epochs: int = 4) -> pd.DataFrame:
    """Return curves in which the left hemisphere lags first, and the right one last."""
    frames = []
    for number, stage in enumerate(STAGES):
        for seed in range(n_seeds):
            epoch = np.arange(1, n_epochs + 1)
            right = 0.3 + 0.1 * number + 0.02 * epoch + 0.01 * seed
            frame = pd.DataFrame({"epoch": epoch, "s_left": right + 0.01 * (epoch - 2.4), "s_right": right})
            frame["validation_r"] = 0.1 + 0.01 * epoch - 0.005 * seed
            frames.append(frame.assign(stage=stage, seed=seed, kept=epoch == n_epochs - seed))
    return pd.concat(frames, ignore_index=True)


def traces(figure: go.Figure, group: str, axis: str) -> list[Any]:
    return [trace for trace in figure.data if trace.legendgroup == group and trace.xaxis == axis]


def note(figure: go.Figure) -> str:
    return next(each.text.replace("<br>", " ") for each in figure.layout.annotations if each.name == "note")


def area(polygon: np.ndarray) -> float:
    """Return a polygon's area by the shoelace formula."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def between(x: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """Return the area between two curves where the first is the lower one, by a fine grid."""
    fine = np.linspace(x[0], x[-1], 200_001)
    behind = np.maximum(np.interp(fine, x, other) - np.interp(fine, x, one), 0)
    return float(np.trapezoid(behind, fine))


def test_bands_are_the_areas_where_a_hemisphere_lags() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(1.0, 13.0)
    left, right = rng.uniform(0.2, 0.6, (2, 12))
    bands = lag_bands(x, left, right)
    for hemi, (one, other) in {"lh": (left, right), "rh": (right, left)}.items():
        np.testing.assert_allclose(sum(map(area, bands[hemi])), between(x, one, other), rtol=1e-4)


def test_a_band_ends_where_the_curves_cross() -> None:
    (before,), (after,) = (lag_bands([1, 2], [0.2, 0.5], [0.4, 0.4])[hemi] for hemi in ("lh", "rh"))
    np.testing.assert_allclose(before, [[1, 0.4], [5 / 3, 0.4], [5 / 3, 0.4], [1, 0.2]])
    np.testing.assert_allclose(after, [[5 / 3, 0.4], [2, 0.5], [2, 0.4], [5 / 3, 0.4]])


@pytest.mark.parametrize("values", [[], [0.3], [0.3, 0.4]])
def test_there_is_no_band_without_a_difference(values: list[float]) -> None:
    assert lag_bands(range(len(values)), values, values) == {"lh": [], "rh": []}


def test_curves_and_validation_of_both_stages(provenance: Provenance) -> None:
    frame = curves()
    figure = race_chart(frame, provenance)
    for axis, below, stage in (("x", "x3", STAGES[0]), ("x2", "x4", STAGES[1])):
        rows = frame[frame["stage"] == stage]
        for hemi, column in (("lh", "s_left"), ("rh", "s_right")):
            (line,) = traces(figure, hemi, axis)
            np.testing.assert_allclose(line.y, rows[column])
            np.testing.assert_array_equal(line.x, rows["epoch"])
            assert line.line.color == HEMISPHERE_COLOURS[hemi]
        (validation,) = traces(figure, "validation", below)
        np.testing.assert_allclose(validation.y, rows["validation_r"])
        (ring,) = traces(figure, "kept", below)
        assert (list(ring.x), list(ring.y)) == ([4], [0.14])
    titles = [each.text for each in figure.layout.annotations]
    assert set(STAGES) <= set(titles)
    assert "seed" not in note(figure)
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert len(named) == len(set(named)) == 6
    # On axes of their own, as the gaps of the later stage are small.
    assert all(axis.matches is None for axis in figure.select_yaxes())


def test_the_band_is_in_the_colour_of_the_one_that_lags(provenance: Provenance) -> None:
    figure = race_chart(curves(), provenance)
    for axis in ("x", "x2"):
        (left,), (right,) = (traces(figure, f"{hemi} lags", axis) for hemi in ("lh", "rh"))
        assert (left.name, right.name) == ("left lags", "right lags")
        # The left one is behind until epoch 2.4.
        assert (min(left.x), round(max(left.x), 6)) == (1, 2.4)
        assert (round(min(right.x), 6), max(right.x)) == (2.4, 4)
        red, green, blue = (int(HEMISPHERE_COLOURS["lh"][at : at + 2], 16) for at in (1, 3, 5))
        assert left.fillcolor == f"rgba({red}, {green}, {blue}, 0.3)"


def test_of_several_seeds_the_mean_is_bold_and_every_seed_a_thin_line(provenance: Provenance) -> None:
    frame = curves(n_seeds=3)
    figure = race_chart(frame, provenance)
    rows = frame[frame["stage"] == STAGES[0]]
    (line,) = traces(figure, "lh", "x")
    np.testing.assert_allclose(line.y, rows.groupby("epoch")["s_left"].mean())
    thin = [trace for trace in figure.data if trace.name == "seed 2" and trace.xaxis == "x"]
    drawn = [rows[rows["seed"] == 2][column] for column in ("s_left", "s_right")]
    for trace, expected in zip(thin, drawn, strict=True):
        np.testing.assert_allclose(trace.y, expected)
    (ring,) = traces(figure, "kept", "x3")
    assert list(ring.x) == [4, 3, 2]
    assert "mean over 3 seeds" in note(figure)


def test_one_epoch_one_stage_and_nothing_are_drawn(provenance: Provenance) -> None:
    frame = curves(n_epochs=1)
    figure = race_chart(frame[frame["stage"] == STAGES[1]], provenance)
    assert not [trace for trace in figure.data if "lags" in trace.name]
    (line,) = traces(figure, "lh", "x")
    assert len(line.x) == 1
    empty = race_chart(frame.head(0), provenance)
    assert not empty.data
    assert empty.layout.annotations[0].text.startswith("No ")
