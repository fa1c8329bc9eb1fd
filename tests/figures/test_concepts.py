"""Figures of shared concepts: points, bars and cells are what was given; none, one, forty, and names of any length."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from numpy.typing import NDArray

from brainviz.errors import SpecError
from brainviz.figures.concepts import (
    LEAST,
    LEAST_END,
    MAP_POINTS,
    MARKED,
    MATRIX_LABELS,
    MOST,
    NAME_CHARACTERS,
    NONE_COLOUR,
    association_histogram,
    concept_chart,
    concept_matrix,
    evidence_curve,
    participant_colour,
    roi_shares,
    scan_chart,
    shortened,
    text_bars,
    weight_map,
)
from brainviz.figures.scatter import SVG_POINTS
from brainviz.figures.style import CATEGORY_COLOURS, HEMISPHERE_COLOURS, Provenance

LONG = "people in groups seated around a table on which there is <food>"
SUBJECTS = ("subj01", "subj02", "subj05")


def concepts(k: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "concept": np.arange(k), "name": [f"concept {number}" for number in range(k)],
            "n_vertices": np.sort(rng.integers(20, 4000, k))[::-1], "n_participants": 4 + np.arange(k) % 5,
            "consistency": rng.uniform(0.2, 0.9, k), "tightness": rng.uniform(0.5, 0.8, k),
            "reseeded": rng.uniform(0.5, 1, k), "left_out": rng.uniform(0.5, 1, k),
            "evidence_r": rng.uniform(-0.1, 0.5, k), "share_left": rng.uniform(0, 1, k),
        }
    )  # fmt: skip


def shares(rois: tuple[str, ...] = ("V1v", "EBA", "FFA-1"), subjects: tuple[str, ...] = SUBJECTS) -> pd.DataFrame:
    """Later ROIs have larger shares, and the right hemisphere twice those of the left one."""
    rows = [
        (hemi, roi, subject, (1 + side) * (0.02 * (r + 1) + 0.001 * s), 0.01 * (s + 1), 100 + r)
        for side, hemi in enumerate(("lh", "rh"))
        for r, roi in enumerate(rois)
        for s, subject in enumerate(subjects)
    ]
    return pd.DataFrame(rows, columns=["hemi", "roi", "subject", "share", "chance", "n"])


def scanned(settings: tuple[int, ...] = (2, 3)) -> pd.DataFrame:
    rows = [
        (eps, m, int(100 * eps) - 40 - m if eps > 0.5 else 0, eps / 2, m + 2.5, m + 1, eps / 4, 0.9, 0.8)
        for m in settings
        for eps in (0.5, 0.55, 0.6, 0.65)
    ]
    columns = "eps min_participants n_concepts share mean_participants fewest_participants largest rand overlap"
    frame = pd.DataFrame(rows, columns=columns.split())
    frame.loc[frame["min_participants"] != 3, ["rand", "overlap"]] = np.nan
    return frame


def vertices(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n), "y": rng.normal(size=n), "point": 1000 + np.arange(n),
            "concept": [("none", "faces", "places")[at % 3] for at in range(n)],
            "subject": [SUBJECTS[at // 3 % 3] for at in range(n)],
            "hemi": [("lh", "rh")[at % 2] for at in range(n)],
            "roi": [("", "V1v", "EBA", None)[at % 4] for at in range(n)],
        }
    )  # fmt: skip


def printed(figure: go.Figure, name: str = "note") -> str:
    texts = [annotation.text for annotation in figure.layout.annotations if annotation.name == name]
    return texts[0].replace("<br>", " ") if texts else ""


def by_name(figure: go.Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def numbers(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)


# What every figure has.

DRAWN: dict[str, Callable[[Provenance], go.Figure]] = {
    "chart": lambda p: concept_chart(concepts(3), p, title="A title"),
    "histogram": lambda p: association_histogram(np.arange(30.0), p, name="faces", title="A title"),
    "evidence": lambda p: evidence_curve(bins(), p, name="faces", title="A title"),
    "texts": lambda p: text_bars(["a", "b"], [1, 2], p, name="faces", title="A title"),
    "rois": lambda p: roi_shares(shares(), p, name="faces", title="A title"),
    "scan": lambda p: scan_chart(scanned(), p, chosen=(0.6, 3), title="A title"),
    "map": lambda p: weight_map(vertices(), p, colour="concept", title="A title"),
    "matrix": lambda p: concept_matrix(np.eye(2), ["a", "b"], p, title="A title"),
}
EMPTY: dict[str, Callable[[Provenance], go.Figure]] = {
    "chart": lambda p: concept_chart(concepts(0), p),
    "chart without consistency": lambda p: concept_chart(concepts(2).assign(consistency=np.nan), p),
    "histogram": lambda p: association_histogram([], p, name="faces"),
    "histogram of NaN": lambda p: association_histogram([np.nan], p, name="faces"),
    "evidence": lambda p: evidence_curve(bins().head(0), p, name="faces"),
    "evidence of NaN": lambda p: evidence_curve(bins().assign(value=np.nan), p, name="faces"),
    "texts": lambda p: text_bars([], [], p, name="faces"),
    "texts of NaN": lambda p: text_bars(["a"], [np.nan], p, name="faces"),
    "rois": lambda p: roi_shares(shares(()), p, name="faces"),
    "rois of NaN": lambda p: roi_shares(shares().assign(share=np.nan), p, name="faces"),
    "scan": lambda p: scan_chart(scanned(()), p, chosen=None),
    "map": lambda p: weight_map(vertices(0), p, colour="concept"),
    "map of NaN": lambda p: weight_map(vertices().assign(x=np.nan), p, colour="roi"),
    "matrix": lambda p: concept_matrix(np.empty((0, 0)), [], p),
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


def test_names_are_cut_and_are_no_tags() -> None:
    assert shortened("faces", 5) == "faces"
    assert shortened("two  lines\n<b>", 20) == "two lines &lt;b&gt;"
    assert shortened("abcd efgh", 6) == "abcd…"


# Concepts as points.


def test_concepts_are_points_with_their_numbers_in_the_colour_of_their_participants(provenance: Provenance) -> None:
    frame = concepts(12)
    figure = concept_chart(frame, provenance)
    assert [trace.name for trace in figure.data] == [f"{n} participants" for n in range(4, 9)]
    for n, trace in zip(range(4, 9), figure.data, strict=True):
        rows = frame.set_index("concept").loc[[row[0] for row in trace.customdata]]
        assert set(rows["n_participants"]) == {n}
        np.testing.assert_array_equal(trace.x, rows["consistency"])
        np.testing.assert_array_equal(trace.y, rows["n_vertices"])
        assert trace.marker.color == participant_colour(n)
    assert sum(len(trace.x) for trace in figure.data) == 12
    assert "consistency" in figure.layout.xaxis.title.text
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", "vertices, logarithmic")
    low, high = figure.layout.yaxis.range
    assert low < np.log10(frame["n_vertices"].min())
    assert np.log10(frame["n_vertices"].max()) < high
    assert "2,000" in figure.layout.yaxis.ticktext


def test_a_number_of_participants_has_one_colour(provenance: Provenance) -> None:
    colours = [participant_colour(n) for n in range(1, 9)]
    assert len(set(colours)) == 8
    assert participant_colour(20) == colours[-1]
    some = concept_chart(concepts(12).query("n_participants == 6"), provenance)
    assert some.data[0].marker.color == by_name(concept_chart(concepts(12), provenance))["6 participants"].marker.color


def test_hovering_tells_all_that_is_known_of_a_concept(provenance: Provenance) -> None:
    frame = concepts(1).assign(
        name=LONG, n_vertices=1234, n_participants=1, consistency=0.5, tightness=0.6, reseeded=np.nan, left_out=0.7,
        evidence_r=-0.1, share_left=0.25,
    )  # fmt: skip
    (trace,) = concept_chart(frame, provenance).data
    assert trace.hovertext[0].split("<br>") == [
        "<b>people in groups seated around a table on which there is &lt;food&gt;</b> (concept 0)",
        "1,234 vertices, 25% in the left hemisphere",
        "1 participant",
        "consistency between participants 0.500",
        "tightness 0.600",
        "found again with one participant left out 0.700",
        "measured evidence: r −0.100",
    ]
    assert len(trace.text[0]) <= NAME_CHARACTERS
    assert trace.text[0].endswith("…")
    few = frame[["concept", "name", "n_vertices", "n_participants", "consistency"]]
    assert concept_chart(few, provenance).data[0].hovertext[0].count("<br>") == 3


def test_names_stand_where_they_hide_nothing_and_the_note_counts_the_rest(provenance: Provenance) -> None:
    apart = concepts(3).assign(consistency=[0.1, 0.5, 0.9], n_vertices=[3000, 300, 30])
    figure = concept_chart(apart, provenance)
    assert [name for trace in figure.data for name in trace.text] == list(apart["name"])
    assert "hover" not in printed(figure)
    together = concept_chart(concepts(6).assign(consistency=0.5, n_vertices=300), provenance)
    named = [name for trace in together.data for name in trace.text if name]
    assert 1 <= len(named) <= 4
    sides = [side for trace in together.data for side, name in zip(trace.textposition, trace.text, strict=True) if name]
    assert len(set(sides)) == len(sides)
    assert f"{6 - len(named)} name" in printed(together)
    forty = concept_chart(concepts(40), provenance)
    assert sum(len(trace.x) for trace in forty.data) == 40
    assert 15 < sum(name != "" for trace in forty.data for name in trace.text) < 40


def test_concepts_without_a_consistency_are_left_out_and_counted(provenance: Provenance) -> None:
    frame = concepts(5)
    frame.loc[[1, 3], "consistency"] = np.nan
    figure = concept_chart(frame, provenance)
    assert sorted(row[0] for trace in figure.data for row in trace.customdata) == [0, 2, 4]
    assert "Left out: 2 without a consistency." in printed(figure)


def test_another_size_can_be_upwards(provenance: Provenance) -> None:
    figure = concept_chart(concepts(4).assign(n_pictures=[1, 10, 100, 1000]), provenance, size="n_pictures")
    assert sorted(y for trace in figure.data for y in trace.y) == [1, 10, 100, 1000]
    assert figure.layout.yaxis.title.text == "n_pictures, logarithmic"
    for size in ("volume", "name"):
        with pytest.raises(SpecError, match=size):
            concept_chart(concepts(4), provenance, size=size)


# Pictures of one concept.


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


def bins() -> pd.DataFrame:
    value = np.array([-0.1, 0.2, 0.05, np.nan])
    return pd.DataFrame(
        {
            "bin": ["last 5 %", "top 5 %", "middle", "<none>"], "share": [0.975, 0.025, 0.5, 0.7], "value": value,
            "low": value - 0.01, "high": value + 0.02, "n": [50, 1, 1000, 0],
        }
    )  # fmt: skip


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


# Where a concept lies.


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


# Settings of the clustering.


def test_the_scan_has_a_panel_per_quantity_with_a_line_per_number_of_participants(provenance: Provenance) -> None:
    frame = scanned()
    figure = scan_chart(frame, provenance, chosen=(0.6, 3))
    panels: dict[str, list[Any]] = {}
    for trace in figure.data:
        if trace.legendgroup != "chosen":
            panels.setdefault(trace.yaxis, []).append(trace)
    quantities = [["n_concepts"], ["share"], ["largest"], ["mean_participants", "fewest_participants"]]
    for axis, columns in zip(("y", "y2", "y3", "y4"), quantities, strict=True):
        drawn = iter(panels[axis])
        for setting in (2, 3):
            rows = frame[frame["min_participants"] == setting]
            for column, dash in zip(columns, ("solid", "dot"), strict=False):
                trace = next(drawn)
                expected = rows[column].where(rows["n_concepts"] > 0) if "participants" in column else rows[column]
                np.testing.assert_allclose(numbers(trace.y), expected)
                np.testing.assert_array_equal(trace.customdata, rows[["eps", "min_participants"]])
                assert trace.line.dash == dash
                assert trace.name == f"at least {setting} others"
    assert [trace.line.dash for trace in panels["y5"]] == ["solid", "dot"]
    assert len({trace.line.color for trace in panels["y"]}) == 2
    assert len({trace.line.color for trace in panels["y5"]}) == 1
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "at least 2 others", "at least 3 others", "chosen: eps 0.6, 3",
    ]  # fmt: skip
    assert figure.layout.yaxis2.tickformat == ".0%"
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert any(title.startswith("participants per concept<br>") for title in titles)


def test_what_was_chosen_is_marked_in_every_panel(provenance: Provenance) -> None:
    frame = scanned()
    figure = scan_chart(frame, provenance, chosen=(0.6, 3))
    rings = [trace for trace in figure.data if trace.legendgroup == "chosen"]
    row = frame[np.isclose(frame["eps"], 0.6) & (frame["min_participants"] == 3)].iloc[0]
    expected = [
        ["n_concepts"], ["share"], ["largest"], ["mean_participants", "fewest_participants"], ["rand", "overlap"],
    ]  # fmt: skip
    assert [ring.yaxis for ring in rings] == ["y", "y2", "y3", "y4", "y5"]
    for ring, columns in zip(rings, expected, strict=True):
        np.testing.assert_allclose(ring.y, [row[column] for column in columns])
        assert set(ring.x) == {0.6}
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.6, 0.6)] * 5
    elsewhere = scan_chart(frame, provenance, chosen=(0.62, 3))
    assert "not in the scan" in printed(elsewhere)
    assert len(elsewhere.layout.shapes) == 5
    none = scan_chart(frame, provenance, chosen=None)
    assert not none.layout.shapes
    assert "not in the scan" not in printed(none)


def test_a_scan_of_one_setting_or_without_concepts_is_drawn(provenance: Provenance) -> None:
    one = scan_chart(scanned((3,)).head(1), provenance, chosen=(0.5, 3))
    low, high = one.layout.xaxis.range
    assert low < 0.5 < high
    assert by_name(one)["at least 3 others"].y[0] is not None
    assert scan_chart(scanned((0,)).assign(n_concepts=0), provenance, chosen=None).data


# Weight space.


def test_vertices_are_points_with_their_numbers_and_none_lies_below(provenance: Provenance) -> None:
    frame = vertices()
    figure = weight_map(frame, provenance, colour="concept")
    assert [trace.name for trace in figure.data] == ["none", "faces", "places"]
    assert {trace.type for trace in figure.data} == {"scattergl"}
    for trace in figure.data:
        rows = frame[frame["concept"] == trace.name]
        assert [row[0] for row in trace.customdata] == list(rows["point"])
        np.testing.assert_allclose(trace.x, rows["x"], rtol=1e-6)
        np.testing.assert_allclose(trace.y, rows["y"], rtol=1e-6)
    assert figure.data[0].marker.color == NONE_COLOUR
    # In the legend it comes last.
    assert figure.data[0].legendrank > figure.data[1].legendrank
    assert figure.layout.dragmode == "lasso"
    assert figure.layout.yaxis.scaleanchor == "x"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("UMAP 1", "UMAP 2")
    assert "%{customdata[3]}" in figure.data[1].hovertemplate
    assert list(figure.data[1].customdata[0]) == [1001, "faces", "subj01", "right hemisphere, V1v"]
    assert "60 vertices" in printed(figure)


@pytest.mark.parametrize(
    ("colour", "names"),
    [
        ("subject", list(SUBJECTS)),
        ("hemi", ["left hemisphere", "right hemisphere"]),
        ("roi", ["none", "V1v", "EBA"]),
    ],
)
def test_vertices_can_have_other_colours(colour: str, names: list[str], provenance: Provenance) -> None:
    figure = weight_map(vertices(), provenance, colour=colour)
    assert [trace.name for trace in figure.data] == names
    assert sum(len(trace.x) for trace in figure.data) == 60
    if colour == "hemi":
        assert [trace.marker.color for trace in figure.data] == list(HEMISPHERE_COLOURS.values())


@pytest.mark.parametrize(("colour", "order"), [("concept", ("faces", "places")), ("subject", SUBJECTS), ("roi", ())])
def test_a_category_keeps_its_colour_when_another_is_missing(
    colour: str, order: tuple[str, ...], provenance: Provenance
) -> None:
    every = by_name(weight_map(vertices(), provenance, colour=colour, order=order))
    first = {"concept": "faces", "subject": "subj01", "roi": "V1v"}[colour]
    frame = vertices().query(f"{colour} != '{first}'")
    some = by_name(weight_map(frame, provenance, colour=colour, order=order))
    assert set(every) - set(some) == {first}
    assert all(every[name].marker.color == trace.marker.color for name, trace in some.items())


def test_highlighted_points_have_a_ring(provenance: Provenance) -> None:
    frame = vertices()
    figure = weight_map(frame, provenance, colour="concept", highlight=[1003, 1010, 99])
    ring = figure.data[-1]
    assert (ring.name, ring.marker.symbol) == ("highlighted", "circle-open")
    assert [row[0] for row in ring.customdata] == [1003, 1010]
    np.testing.assert_allclose(ring.x, frame["x"].iloc[[3, 10]], rtol=1e-6)
    assert "highlighted" not in by_name(weight_map(frame, provenance, colour="concept", highlight=[99]))


def test_forty_concepts_are_told_apart_and_long_names_are_cut(provenance: Provenance) -> None:
    frame = vertices(400).assign(concept=[f"{at % 40:02d} {LONG}" for at in range(400)])
    figure = weight_map(frame, provenance, colour="concept")
    looks = {(trace.marker.color, trace.marker.symbol) for trace in figure.data}
    assert len(figure.data) == len(looks) == 40
    assert all(trace.name.endswith("…") for trace in figure.data)
    assert figure.layout.height > 800


def test_vertices_without_a_place_are_counted_and_too_many_are_refused(provenance: Provenance) -> None:
    frame = vertices()
    frame.loc[[0, 5], "y"] = np.nan
    assert "Left out: 2 without a place." in printed(weight_map(frame, provenance, colour="roi"))
    with pytest.raises(SpecError, match="accuracy"):
        weight_map(frame, provenance, colour="accuracy")
    with pytest.raises(SpecError, match="sample"):
        weight_map(vertices(MAP_POINTS + 1), provenance, colour="roi")


def test_categories_of_a_parquet_table_are_as_good_as_names(provenance: Provenance) -> None:
    frame = vertices()
    categorical = frame.astype(dict.fromkeys(("concept", "subject", "hemi", "roi"), "category"))
    assert weight_map(categorical, provenance, colour="roi") == weight_map(frame, provenance, colour="roi")


# How alike concepts are.


def test_cosines_are_cells_whose_colours_diverge_about_0(provenance: Provenance) -> None:
    cosines = np.array([[1, 0.6, -0.2], [0.6, 1, np.nan], [-0.2, np.nan, 1]])
    figure = concept_matrix(cosines, ["faces", "<b>", "faces"], provenance)
    (cells,) = figure.data
    np.testing.assert_allclose(numbers(cells.z), cosines, rtol=1e-6)
    assert list(cells.x) == list(cells.y) == ["faces", "&lt;b&gt;", "faces (2)"]
    assert list(cells.customdata[0][2]) == [0, 2]
    axis = figure.layout.coloraxis
    assert axis.cmin == -axis.cmax
    assert axis.cmax == pytest.approx(0.75)
    assert "±0.75" in printed(figure)
    assert figure.layout.yaxis.range == (2.5, -0.5)
    assert "%{z:.3f}" in cells.hovertemplate


@pytest.mark.parametrize(("n", "named"), [(1, 1), (MATRIX_LABELS, 40), (MATRIX_LABELS + 1, 21)])
def test_few_and_many_concepts_have_a_cell_each(n: int, named: int, provenance: Provenance) -> None:
    figure = concept_matrix(np.eye(n), [f"{LONG} {number}" for number in range(n)], provenance)
    assert np.shape(figure.data[0].z) == (n, n)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert len(axis.tickvals) == len(axis.ticktext) == named
        assert all(len(name) <= NAME_CHARACTERS for name in axis.ticktext)
    assert figure.layout.coloraxis.cmax == LEAST_END
    assert (f"of {n} concepts" in printed(figure)) == (n > MATRIX_LABELS)
    assert figure.layout.height < 900


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (2,)])
def test_cosines_that_do_not_fit_the_names_are_refused(shape: tuple[int, ...], provenance: Provenance) -> None:
    with pytest.raises(SpecError, match="do not fit"):
        concept_matrix(np.zeros(shape), ["a", "b"], provenance)
