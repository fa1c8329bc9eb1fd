"""What colours mean: limits and palettes; and the strip of values that have no place."""

import numpy as np
import pytest

from brainviz.figures.style import Provenance
from brainviz.figures.surface import (
    Scale,
    correlation_scale,
    difference_scale,
    palettes,
    roi_scale,
    strip_figure,
)


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


def test_strip_is_sorted_and_keeps_the_columns(provenance: Provenance) -> None:
    figure = strip_figure({"lh": np.array([0.1, np.nan, 0.5, 0.3])}, "Pearson r", provenance)
    np.testing.assert_allclose(figure.data[0].y, [0.5, 0.3, 0.1])
    assert list(figure.data[0].customdata) == [2, 3, 0]
