"""Figures of one concept: bars and dots are what was given; nothing, little and much, and names of any length."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.concept_details import (
    LEAST,
    MARKED,
    MOST,
    association_histogram,
    evidence_curve,
    roi_shares,
    text_bars,
)
from brainviz.figures.scatter import SVG_POINTS
from brainviz.figures.style import CATEGORY_COLOURS, Provenance
from tests.drawn import by_name, numbers, printed

LONG = "people in groups seated around a table on which there is <food>"
SUBJECTS = ("subj01", "subj02", "subj05")


def shares(rois: tuple[str, ...] = ("V1v", "EBA", "FFA-1"), subjects: tuple[str, ...] = SUBJECTS) -> pd.DataFrame:
    """Later ROIs have larger shares, and the right hemisphere twice those of the left one."""
    rows = [
        (hemi, roi, subject, (1 + side) * (0.02 * (r + 1) + 0.001 * s), 0.01 * (s + 1), 100 + r)
        for side, hemi in enumerate(("lh", "rh"))
        for r, roi in enumerate(rois)
        for s, subject in enumerate(subjects)
    ]
    return pd.DataFrame(rows, columns=["hemi", "roi", "subject", "share", "chance", "n"])


def bins() -> pd.DataFrame:
    value = np.array([-0.1, 0.2, 0.05, np.nan])
    return pd.DataFrame(
        {
            "bin": ["last 5 %", "top 5 %", "middle", "<none>"], "share": [0.975, 0.025, 0.5, 0.7], "value": value,
            "low": value - 0.01, "high": value + 0.02, "n": [50, 1, 1000, 0],
        }
    )  # fmt: skip


DRAWN: dict[str, Callable[[Provenance], go.Figure]] = {
    "histogram": lambda p: association_histogram(np.arange(30.0), p, name="faces", title="A title"),
    "evidence": lambda p: evidence_curve(bins(), p, name="faces", title="A title"),
    "texts": lambda p: text_bars(["a", "b"], [1, 2], p, name="faces", title="A title"),
    "rois": lambda p: roi_shares(shares(), p, name="faces", title="A title"),
}
EMPTY: dict[str, Callable[[Provenance], go.Figure]] = {
    "histogram": lambda p: association_histogram([], p, name="faces"),
    "histogram of NaN": lambda p: association_histogram([np.nan], p, name="faces"),
    "evidence": lambda p: evidence_curve(bins().head(0), p, name="faces"),
    "evidence of NaN": lambda p: evidence_curve(bins().assign(value=np.nan), p, name="faces"),
    "texts": lambda p: text_bars([], [], p, name="faces"),
    "texts of NaN": lambda p: text_bars(["a"], [np.nan], p, name="faces"),
    "rois": lambda p: roi_shares(shares(()), p, name="faces"),
    "rois of NaN": lambda p: roi_shares(shares().assign(share=np.nan), p, name="faces"),
}


@pytest.mark.parametrize("which", DRAWN)
def test_provenance_and_title_are_on_the_figure(which: str, provenance: Provenance) -> None:
    figure = DRAWN[which](provenance)
    assert figure.data
    assert printed(figure, "provenance") == provenance.line()
    assert figure.layout.title.text == "A title"


@pytest.mark.parametrize("which", EMPTY)
def test_a_figure_of_nothing_says_so(which: str, provenance: Provenance) -> None:
    figure = EMPTY[which](provenance)
    assert not figure.data
    assert printed(figure, "empty").startswith("No ")
    assert printed(figure, "provenance") == provenance.line()


def test_the_histogram_counts_every_picture_once(provenance: Provenance) -> None:
    values = np.random.default_rng(0).normal(0.2, 0.05, 5000)
    values[:7] = np.nan
    figure = association_histogram(values, provenance, name=LONG)
    bars = figure.data[0]
    assert bars.type == "bar"
    assert sum(bars.y) == 4993
    left, right = numbers(bars.x) - numbers(bars.width) / 2, numbers(bars.x) + numbers(bars.width) / 2
    for low, high, count in list(zip(left, right, bars.y, strict=True))[:-1]:
        # An edge is a value only for the lowest and the highest.
        assert count == ((values >= low - 1e-12) & (values < high - 1e-12)).sum()
    assert "picture" in bars.hovertext[0]
    assert figure.layout.yaxis.title.text == "pictures"
    assert "people in groups" in figure.layout.xaxis.title.text
    assert "Left out: 7 without an association." in printed(figure)


def test_the_most_and_the_least_associated_pictures_are_marked(provenance: Provenance) -> None:
    values = np.random.default_rng(0).permutation(50) / 100
    values[3] = np.nan
    ranked = [row for row in np.argsort(-values) if row != 3]
    marks = by_name(association_histogram(values, provenance, name="faces"))
    for name, rows, colour in (
        (f"{MARKED} most associated", ranked[:10], MOST),
        (f"{MARKED} least associated", ranked[::-1][:10], LEAST),
    ):
        assert [row[0] for row in marks[name].customdata] == rows
        np.testing.assert_array_equal(marks[name].x, values[rows])
        assert set(marks[name].y) == {marks[name].y[0]}
        assert marks[name].y[0] < 0
        assert marks[name].marker.line.color == colour
        assert f"no. 2<br>picture {rows[1]}: " in marks[name].hovertext[1]


def test_of_few_pictures_none_is_marked_twice(provenance: Provenance) -> None:
    figure = association_histogram([0.3, 0.1, 0.2], provenance, name="faces")
    assert [[row[0] for row in trace.customdata] for trace in figure.data[1:]] == [[0, 2], [1]]
    only = association_histogram([0.3], provenance, name="faces")
    assert [trace.name for trace in only.data] == ["pictures", "1 most associated"]
    assert sum(only.data[0].y) == 1


@pytest.mark.parametrize(("n", "kind"), [(100, "scatter"), (SVG_POINTS + 1, "scattergl")])
def test_evidence_of_held_out_pictures_is_a_second_panel(n: int, kind: str, provenance: Provenance) -> None:
    rng = np.random.default_rng(0)
    values, evidence = rng.normal(size=n + 20), rng.normal(size=n + 20)
    evidence[:20] = np.nan
    figure = association_histogram(values, provenance, name="faces", evidence=evidence)
    points = by_name(figure)["held-out picture"]
    assert points.type == kind
    np.testing.assert_array_equal(np.ravel(points.customdata), np.arange(20, n + 20))
    np.testing.assert_allclose(points.x, values[20:])
    np.testing.assert_allclose(points.y, evidence[20:])
    assert figure.layout.xaxis.matches == "x2"
    assert "decoded" in figure.layout.yaxis2.title.text
    assert f"{n:,} held-out pictures" in printed(figure)
    none = association_histogram(values, provenance, name="faces", evidence=np.full(n + 20, np.nan))
    assert "held-out picture" not in by_name(none)
    assert "yaxis2" not in none.layout


@pytest.mark.parametrize(("similarity", "evidence"), [(np.ones(3), np.ones(4)), (np.ones((2, 2)), None)])
def test_association_that_is_not_one_number_per_picture_is_refused(
    similarity: Any, evidence: Any, provenance: Provenance
) -> None:
    with pytest.raises(SpecError, match="one number per picture"):
        association_histogram(similarity, provenance, name="faces", evidence=evidence)


def test_evidence_is_in_the_order_of_ranks_with_intervals_and_a_line_at_0(provenance: Provenance) -> None:
    figure = evidence_curve(bins(), provenance, name=LONG)
    (curve,) = figure.data
    np.testing.assert_array_equal(curve.x, range(4))
    np.testing.assert_allclose(numbers(curve.y), [0.2, 0.05, np.nan, -0.1])
    np.testing.assert_allclose(numbers(curve.error_y.arrayminus), [0.01, 0.01, np.nan, 0.01])
    np.testing.assert_allclose(numbers(curve.error_y.array), [0.02, 0.02, np.nan, 0.02])
    assert list(figure.layout.xaxis.ticktext) == ["top<br>5 %", "middle", "&lt;none&gt;", "last<br>5 %"]
    assert [(shape.y0, shape.y1) for shape in figure.layout.shapes] == [(0, 0)]
    assert curve.hovertext[0].split("<br>") == [
        "top 5 %, middle at 2.5% of the ranks",
        "decoded similarity 0.200 (95 % interval 0.190 to 0.220)",
        "1 held-out picture",
    ]
    assert "people in groups" in figure.layout.xaxis.title.text
    assert "decoded similarity" in figure.layout.yaxis.title.text
    assert "95 % intervals" in printed(figure)


def test_without_intervals_none_is_claimed_and_long_names_of_bins_are_slanted(provenance: Provenance) -> None:
    figure = evidence_curve(bins().assign(low=np.nan, high=np.nan), provenance, name="faces")
    assert "interval" not in printed(figure)
    assert "interval" not in figure.data[0].hovertext[0]
    assert figure.layout.xaxis.tickangle == 0
    assert evidence_curve(bins().assign(bin=LONG), provenance, name="faces").layout.xaxis.tickangle == -45
    assert len(evidence_curve(bins().iloc[[1]], provenance, name="faces").data[0].x) == 1


def test_texts_run_from_the_most_to_the_least_associated_with_a_gap_between(provenance: Provenance) -> None:
    cosines = np.random.default_rng(0).permutation(100) / 100 - 0.5
    cosines[7] = np.nan
    texts = [f"text {row}" for row in range(100)]
    figure = text_bars(texts, cosines, provenance, name=LONG, n=3)
    ranked = [row for row in np.argsort(-cosines) if row != 7]
    (bars,) = figure.data
    rows = [*ranked[:3], *ranked[-3:]]
    np.testing.assert_array_equal(np.ravel(bars.customdata), rows)
    np.testing.assert_array_equal(bars.x, cosines[rows])
    np.testing.assert_array_equal(bars.y, [0, -1, -2, -4, -5, -6])
    assert list(figure.layout.yaxis.ticktext) == [texts[row] for row in rows]
    assert list(bars.marker.color) == [MOST] * 3 + [LEAST] * 3
    assert "3 most and the 3 least associated of 99 texts" in printed(figure)
    assert "Left out: 1 without a cosine." in printed(figure)
    low, high = figure.layout.xaxis.range
    assert low < cosines[rows].min() < 0 < cosines[rows].max() < high


def test_of_few_texts_all_are_drawn_once_and_long_ones_are_cut(provenance: Provenance) -> None:
    figure = text_bars([LONG, "b", LONG], [0.2, 0.3, 0.1], provenance, name="faces", n=2)
    (bars,) = figure.data
    np.testing.assert_array_equal(np.ravel(bars.customdata), [1, 0, 2])
    np.testing.assert_array_equal(bars.y, [0, -1, -2])
    assert figure.layout.yaxis.ticktext[1].endswith("…")
    assert bars.hovertext[1] == "people in groups seated around a table on which there is &lt;food&gt;<br>cosine 0.200"
    assert figure.layout.xaxis.range[0] < 0
    assert not printed(figure)
    assert figure.layout.margin.l > text_bars(["a"], [1], provenance, name="faces").layout.margin.l
    with pytest.raises(SpecError, match="one cosine"):
        text_bars(["a", "b"], [0.1], provenance, name="faces")
    with pytest.raises(SpecError, match="n = 0"):
        text_bars(["a"], [0.1], provenance, name="faces", n=0)


def test_shares_are_dots_in_the_row_of_their_roi_and_rois_are_sorted_by_mean(provenance: Provenance) -> None:
    frame = shares(("V1v", "FFA-1", "EBA")).sample(frac=1, random_state=0)
    figure = roi_shares(frame, provenance, name="faces")
    # The lowest is at the bottom, where the axis begins.
    assert list(figure.layout.yaxis.ticktext) == ["V1v", "FFA-1", "EBA"]
    for hemi, axis in (("lh", "x"), ("rh", "x2")):
        for at, subject in enumerate(SUBJECTS):
            (dots,) = [trace for trace in figure.data if trace.name == subject and trace.xaxis == axis]
            assert dots.marker.color == CATEGORY_COLOURS[at]
            assert dots.showlegend == (hemi == "lh")
            rows = frame[(frame["hemi"] == hemi) & (frame["subject"] == subject)].set_index("roi")["share"]
            for x, y in zip(dots.x, dots.y, strict=True):
                assert x == rows[["V1v", "FFA-1", "EBA"][round(y)]]
    assert [a.text for a in figure.layout.annotations[:2]] == ["left hemisphere", "right hemisphere"]
    assert "used vertices" in printed(figure)
    assert "“faces”" in printed(figure)
    dots = by_name(figure)["subj02"]
    assert dots.hovertext[0].startswith("subj02, ")
    assert " used vertices<br>chance: 2.0%" in dots.hovertext[0]


def test_the_mean_is_a_thick_line_and_chance_a_band_from_the_lowest_to_the_highest(provenance: Provenance) -> None:
    figure = roi_shares(shares(), provenance, name="faces")
    means = [trace for trace in figure.data if trace.name == "mean"]
    assert len(means) == 2
    left = numbers(means[0].x).reshape(-1, 4)
    np.testing.assert_allclose(left[:, :3], np.repeat([[0.021], [0.041], [0.061]], 3, axis=1))
    np.testing.assert_allclose(numbers(means[0].y).reshape(-1, 4)[:, 1], [0, 1, 2])
    assert "mean over 3 subjects: 2.1%" in means[0].hovertext[0]
    bands = [trace for trace in figure.data if trace.name == "chance"]
    assert [(min(band.x), max(band.x)) for band in bands] == [(0.01, 0.03), (0.01, 0.03)]
    assert bands[0].text == "chance: 1.0% to 3.0%, by subject"
    assert "from the lowest subject's" in printed(figure)
    one = roi_shares(shares(subjects=("subj01",)), provenance, name="faces")
    assert "mean" not in by_name(one)
    assert by_name(one)["chance"].text == "chance: 1.0%"
    assert "lowest" not in printed(one)
    assert "chance" not in by_name(roi_shares(shares().assign(chance=np.nan), provenance, name="faces"))


def test_subjects_keep_their_colours_and_gaps_stay_gaps(provenance: Provenance) -> None:
    frame = shares()
    frame.loc[(frame["hemi"] == "lh") & (frame["subject"] == "subj05"), "share"] = np.nan
    figure = roi_shares(frame[frame["subject"] != "subj01"], provenance, name="faces", order=SUBJECTS)
    colours = {trace.name: trace.marker.color for trace in figure.data if trace.name in SUBJECTS}
    assert colours == {"subj02": CATEGORY_COLOURS[1], "subj05": CATEGORY_COLOURS[2]}
    # A subject of the right hemisphere alone is in the legend all the same, once.
    shown = [trace.name for trace in figure.data if trace.showlegend and trace.name in SUBJECTS]
    assert sorted(shown) == ["subj02", "subj05"]
    right = roi_shares(frame[frame["hemi"] == "rh"], provenance, name="faces")
    assert {trace.xaxis for trace in right.data} == {"x"}
    assert right.layout.annotations[0].text == "right hemisphere"


def test_many_rois_and_subjects_have_room_and_the_same_dot_twice_is_refused(provenance: Provenance) -> None:
    many = shares(tuple(f"{LONG} {at}" for at in range(36)), tuple(f"subj{at:02d}" for at in range(8)))
    figure = roi_shares(many, provenance, name=LONG)
    assert len(figure.layout.yaxis.tickvals) == 36
    assert figure.layout.height > 36 * 25
    with pytest.raises(SpecError, match="subj01 lh V1v"):
        roi_shares(pd.concat([shares(), shares().head(1)]), provenance, name="faces")
