"""Maps on the cortex: what is sent to the browser, colour limits, threshold, views."""

import base64
import json

import numpy as np
import pytest

from brainviz.figures.meshes import N_VERTICES
from brainviz.figures.style import Provenance
from brainviz.figures.surface import (
    VIEWS,
    Scale,
    correlation_scale,
    difference_scale,
    palettes,
    roi_scale,
    strip_figure,
    surface_figure,
)


def some_map(n: int = 500, seed: int = 0) -> np.ndarray:
    """Return a map with values at the first `n` vertices."""
    full = np.full(N_VERTICES, np.nan, np.float32)
    full[:n] = np.random.default_rng(seed).uniform(-0.2, 0.6, n)
    return full


def test_correlation_scale_is_shared_and_begins_at_0() -> None:
    scale = correlation_scale([np.linspace(0, 0.2, 1001), np.linspace(0, 0.405, 1001)])
    assert (scale.low, scale.high, scale.kind) == (0.0, 0.4, "sequential")


def test_difference_scale_is_centred_and_ignores_nan() -> None:
    scale = difference_scale([np.array([np.nan, 0.02, -0.12])], "Δr")
    assert (scale.low, scale.high, scale.kind) == (-0.15, 0.15, "diverging")


@pytest.mark.parametrize("maps", [[], [np.full(3, np.nan)], [np.zeros(4)]])
def test_scales_of_nothing_are_not_empty(maps: list) -> None:
    assert correlation_scale(maps).high > 0
    assert difference_scale(maps, "Δr").high > 0


@pytest.mark.parametrize(
    ("scale", "ends"),
    [
        # The ends of matplotlib's and cmocean's tables.
        (correlation_scale([]), {"viridis": ("#440154", "#fde725"), "cividis": ("#00224e", "#fee838")}),
        (difference_scale([], "Δr"), {"balance": ("#171c42", "#3c0911"), "delta": ("#101f3f", "#172312")}),
    ],
)
def test_palettes_run_from_low_to_high(scale: Scale, ends: dict[str, tuple[str, str]]) -> None:
    found = palettes(scale)
    assert list(found) == list(ends)
    for name, colours in found.items():
        assert colours.shape == (256, 3)
        assert colours.dtype == np.uint8
        expected = [[int(end[at : at + 2], 16) for at in (1, 3, 5)] for end in ends[name]]
        np.testing.assert_allclose(colours[[0, -1]].astype(int), expected, atol=1)
        # No step that could be seen as an edge.
        assert np.abs(np.diff(colours.astype(int), axis=0)).max() <= 6


def test_palette_of_categories_has_a_row_each_and_begins_anew() -> None:
    (colours,) = palettes(roi_scale([f"area {number}" for number in range(13)])).values()
    assert colours.shape == (13, 3)
    np.testing.assert_array_equal(colours[10:], colours[:3])
    assert len(np.unique(colours[:10], axis=0)) == 10
    assert palettes(roi_scale([]))["categories"].shape == (0, 3)


def test_two_scenes_each_with_grey_and_paint(provenance: Provenance) -> None:
    maps = {"lh": some_map(), "rh": some_map(seed=1)}
    figure = surface_figure(maps, correlation_scale(list(maps.values())), provenance)
    assert [trace.scene for trace in figure.data] == ["scene", "scene", "scene2", "scene2"]
    for grey, paint in (figure.data[:2], figure.data[2:]):
        assert len(grey.x) == N_VERTICES
        assert set(np.unique(grey.intensity)) == {0, 1}
        assert paint.coloraxis == "coloraxis"
    assert figure.layout.coloraxis.colorbar.title.text == "Pearson r"


def test_arrays_are_sent_as_float32_and_int32(provenance: Provenance) -> None:
    figure = surface_figure({"lh": some_map()}, correlation_scale([]), provenance)
    for trace in json.loads(figure.to_json())["data"]:
        assert {trace[name]["dtype"] for name in ("x", "y", "z", "intensity")} == {"f4"}
        # plotly packs small indices even tighter.
        assert {trace[name]["dtype"] for name in "ijk"} <= {"i4", "u2", "i2"}
        assert len(base64.b64decode(trace["x"]["bdata"])) == 4 * len(
            figure.data[0].x if trace["hoverinfo"] == "skip" else figure.data[1].x
        )


def test_missing_hemisphere_is_grey_and_says_so(provenance: Provenance) -> None:
    figure = surface_figure({"rh": some_map()}, correlation_scale([]), provenance)
    assert len(figure.data) == 3
    assert "left hemisphere (no data)" in [note.text for note in figure.layout.annotations]


def test_threshold_hides_what_is_near_0(provenance: Provenance) -> None:
    values = np.full(N_VERTICES, np.nan)
    values[:4] = [0.05, -0.3, 0.2, -0.1]
    figure = surface_figure({"lh": values}, difference_scale([values], "Δr"), provenance, threshold=0.15)
    assert set(np.unique(figure.data[1].intensity)) == {np.float32(-0.3), np.float32(0.2)}


def test_every_painted_vertex_says_its_value(provenance: Provenance) -> None:
    values = np.full(N_VERTICES, np.nan)
    values[77] = 0.25
    figure = surface_figure({"lh": values}, correlation_scale([]), provenance)
    assert set(figure.data[1].text) == {"lh vertex 77: 0.250"}


def test_rois_have_a_colour_and_a_name_each(provenance: Provenance) -> None:
    values = np.full(N_VERTICES, np.nan)
    values[:3] = [0, 1, 1]
    figure = surface_figure({"lh": values}, roi_scale(["V1", "V2"]), provenance)
    axis = figure.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-0.5, 1.5)
    assert list(axis.colorbar.ticktext) == ["V1", "V2"]
    assert set(figure.data[1].text) == {"lh vertex 0: V1", "lh vertex 1: V2", "lh vertex 2: V2"}


@pytest.mark.parametrize("view", VIEWS)
def test_views_mirror_the_hemispheres(view: str, provenance: Provenance) -> None:
    figure = surface_figure({}, correlation_scale([]), provenance, view=view)
    left, right = figure.layout.scene.camera.eye, figure.layout.scene2.camera.eye
    assert left.x == -right.x
    assert (left.y, left.z) == (right.y, right.z)


def test_lateral_view_of_the_left_hemisphere_is_from_the_left(provenance: Provenance) -> None:
    assert surface_figure({}, correlation_scale([]), provenance).layout.scene.camera.eye.x < 0


def test_provenance_is_printed(provenance: Provenance) -> None:
    figure = surface_figure({}, correlation_scale([]), provenance)
    assert provenance.line() in [note.text for note in figure.layout.annotations]


def test_strip_is_sorted_and_keeps_the_columns(provenance: Provenance) -> None:
    figure = strip_figure({"lh": np.array([0.1, np.nan, 0.5, 0.3])}, "Pearson r", provenance)
    np.testing.assert_allclose(figure.data[0].y, [0.5, 0.3, 0.1])
    assert list(figure.data[0].customdata) == [2, 3, 0]
