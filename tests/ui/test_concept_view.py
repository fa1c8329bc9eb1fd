"""Parts of one concept's page that can be computed by hand: rows of pictures, shares of ROIs, the scale of cosines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from brainviz.datasets.base import MIN_ROI_VERTICES
from brainviz.ui.concept_cortex import cosine_scale
from brainviz.ui.concept_pictures import BETWEEN, ROW, rank_rows
from brainviz.ui.concept_view import number_words, roi_table

# --- rows of pictures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2000, 9041])
def test_rows_are_parts_of_the_ranking(m: int) -> None:
    ranked = np.random.default_rng(0).permutation(m).tolist()
    rows = rank_rows(np.array(ranked))
    best, *between, worst = rows.items()
    assert best == ("Most associated", ranked[:ROW])
    assert worst == ("Least associated, from the last one", ranked[::-1][:ROW])
    assert len(between) == len(BETWEEN)
    for (words, row), share in zip(between, BETWEEN, strict=True):
        first = ranked.index(row[0])
        assert row == ranked[first : first + ROW]
        assert words == f"At {share:.0%}: ranks {first + 1:,} to {first + ROW:,} of {m:,}"
        assert first + ROW / 2 == pytest.approx(share * m, abs=1)


@pytest.mark.parametrize("m", [100, 600, 1400])
def test_rows_that_would_meet_are_left_out(m: int) -> None:
    """A label never names another rank than that of its pictures."""
    rows = rank_rows(np.arange(m))
    for words, row in rows.items():
        if words.startswith("At"):
            assert words.split(": ")[1] == f"ranks {row[0] + 1:,} to {row[-1] + 1:,} of {m:,}"
            assert (row[0] + row[-1] + 1) / 2 / m == pytest.approx(float(words.split("%")[0][3:]) / 100, abs=1 / m)
    drawn = [number for row in rows.values() for number in row]
    assert len(set(drawn)) == len(drawn)
    assert not any(words.startswith("At 1%") for words in rows)


@pytest.mark.parametrize("n", [0, 1, 7, 2 * ROW])
def test_few_pictures_are_one_row(n: int) -> None:
    assert list(rank_rows(np.arange(n)).values()) == [list(range(n))]


def test_another_number_of_pictures_in_a_row() -> None:
    assert rank_rows(np.arange(100), 3)["Most associated"] == [0, 1, 2]
    assert rank_rows(np.arange(100), 3)["Least associated, from the last one"] == [99, 98, 97]


# --- shares of ROIs ---------------------------------------------------------------------------------------------------


def results(points: pd.DataFrame, rois: dict[tuple[str, str], dict[str, np.ndarray]]) -> Any:
    """Return what `roi_table` reads of results: points, and the data set's masks."""
    dataset = SimpleNamespace(rois=lambda subject, hemi: rois.get((subject, hemi), {}))
    return SimpleNamespace(points=points, source=SimpleNamespace(dataset=dataset))


def vertices(subject: str, hemi: str, concept: list[int], first: int = 0) -> pd.DataFrame:
    columns = np.arange(first, first + len(concept))
    return pd.DataFrame({"subject": subject, "hemi": hemi, "column": columns, "concept": concept})


def test_shares_are_of_used_vertices() -> None:
    n = MIN_ROI_VERTICES
    # The hemisphere has 3 n columns, of which the first n are not used.
    points = pd.concat(
        [vertices("a", "lh", [1] * (n // 2) + [0] * (n // 2) + [-1] * n, n), vertices("b", "rh", [1] * n)]
    )
    first, second, unused = (
        np.repeat(row, n) for row in ([True, True, False], [False, False, True], [True, False, False])
    )
    rois = {
        ("a", "lh"): {"first": first, "second": second, "unused": unused},
        ("b", "rh"): {"whole": np.ones(n, bool)},
        ("b", "lh"): {"first": np.ones(n, bool)},
    }
    table = roi_table(results(points, rois), 1)
    found = {(row.subject, row.hemi, row.roi): (row.share, row.chance, row.n) for row in table.itertuples()}
    assert found == {
        ("a", "lh", "first"): (0.5, 0.25, n),
        ("a", "lh", "second"): (0.0, 0.25, n),
        ("b", "rh", "whole"): (1.0, 1.0, n),
    }


def test_chance_is_of_both_hemispheres() -> None:
    n = MIN_ROI_VERTICES
    points = pd.concat([vertices("a", "lh", [0] * n), vertices("a", "rh", [1] * n)])
    whole = {"whole": np.ones(n, bool)}
    table = roi_table(results(points, {("a", "lh"): whole, ("a", "rh"): whole}), 0)
    assert list(zip(table["hemi"], table["share"], table["chance"], strict=True)) == [("lh", 1, 0.5), ("rh", 0, 0.5)]


def test_rois_with_too_few_used_vertices_are_left_out() -> None:
    n = MIN_ROI_VERTICES - 1
    table = roi_table(results(vertices("a", "lh", [0] * n), {("a", "lh"): {"small": np.ones(n, bool)}}), 0)
    assert table.empty
    assert list(table.columns) == ["hemi", "roi", "subject", "share", "chance", "n"]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ([0.2, -0.31, 0.1], 0.4),
        ([-0.31, np.nan], 0.4),
        ([0.01, -0.02], 0.1),
        ([0.99, 0.2], 1.0),
        ([1.0000001], 1.0),
        ([], 1.0),
        ([np.nan], 1.0),
        ([0.0], 0.1),
    ],
)
def test_the_scale_of_cosines_is_centred_on_0_and_holds_them(values: list[float], limit: float) -> None:
    scale = cosine_scale(pd.Series(values, dtype=float))
    assert (scale.low, scale.high) == pytest.approx((-limit, limit))
    assert (scale.label, scale.kind) == ("cosine", "diverging")


def test_a_single_outlier_does_not_stretch_the_scale() -> None:
    assert cosine_scale(pd.Series([0.15] * 1999 + [0.95])).high == pytest.approx(0.2)


def test_measures_in_words() -> None:
    assert [number_words(value) for value in (0.456, -0.1, np.nan)] == ["0.46", "-0.10", "–"]
