"""Bars per ROI: what is drawn is what was given."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.encoding.published import LABEL, PROTOCOL, published_groups, published_rois
from brainviz.figures.bars import correlation_bars, count_bars, difference_bars, group_bars, improved_bars
from brainviz.figures.style import METHOD_COLOURS, Provenance

METHODS = ("contrastive", "random", "untuned", "regression")


def scores(n_subjects: int, rois: tuple[str, ...] = ("V1v", "V2v"), methods: tuple[str, ...] = METHODS) -> pd.DataFrame:
    """Every value differs from every other; intervals reach 0.01 down and 0.02 up."""
    rows = [
        (f"subj{s + 1:02d}", hemi, roi, method)
        for s in range(n_subjects)
        for hemi in ("rh", "lh")
        for roi in rois
        for method in methods
    ]
    frame = pd.DataFrame(rows, columns=["subject", "hemi", "roi", "method"])
    r = np.random.default_rng(0).permutation(len(frame)) / len(frame) * 0.5
    return frame.assign(r=r, low=r - 0.01, high=r + 0.02)


def spread_of(frame: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    means = frame.groupby(keys)[value].mean().reset_index()
    return means.assign(low=means[value] - 0.03, high=means[value] + 0.04)


def traces(figure: go.Figure, kind: str, **properties: Any) -> list[Any]:
    return [
        trace
        for trace in figure.data
        if trace.type == kind and all(getattr(trace, name) == value for name, value in properties.items())
    ]


def value(frame: pd.DataFrame, column: str, **keys: str) -> float:
    for name, key in keys.items():
        frame = frame[frame[name] == key]
    return float(frame[column].mean())


def legend(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend]


def note(figure: go.Figure) -> str:
    texts = [annotation.text for annotation in figure.layout.annotations if annotation.name == "note"]
    return texts[0].replace("<br>", " ") if texts else ""


def test_counts_per_hemisphere(provenance: Provenance) -> None:
    counts = pd.DataFrame({"roi": ["V1", "V1", "V2"], "hemi": ["lh", "rh", "lh"], "vertices": [5, 6, 7]})
    left, right = count_bars(counts, "vertex", provenance).data
    assert (list(left.x), list(left.y), left.name) == (["V1", "V2"], [5, 7], "left hemisphere")
    assert (list(right.x), list(right.y)) == (["V1"], [6])


@pytest.mark.parametrize(("unit", "title"), [("vertex", "vertices"), ("neuron", "neurons")])
def test_counts_are_of_the_data_sets_unit(unit: str, title: str, provenance: Provenance) -> None:
    counts = pd.DataFrame({"roi": ["V4"], "hemi": ["lh"], "vertices": [5]})
    assert count_bars(counts, unit, provenance).layout.yaxis.title.text == title


@pytest.mark.parametrize("n_subjects", [1, 3])
def test_bars_are_means_over_subjects(n_subjects: int, provenance: Provenance) -> None:
    frame = scores(n_subjects)
    figure = correlation_bars(frame, provenance)
    for hemi, axis in (("lh", "x"), ("rh", "x2")):
        bars = traces(figure, "bar", xaxis=axis)
        assert [bar.name for bar in bars] == ["random", "untuned", "regression", "contrastive"]
        for bar in bars:
            assert bar.marker.color == METHOD_COLOURS[bar.name]
            expected = [value(frame, "r", hemi=hemi, roi=roi, method=bar.name) for roi in ("V1v", "V2v")]
            np.testing.assert_allclose(bar.y, expected)
    assert legend(figure) == ["random", "untuned", "regression", "contrastive"]


def test_bars_stand_beside_each_other_at_their_roi(provenance: Provenance) -> None:
    figure = correlation_bars(scores(1), provenance)
    left = traces(figure, "bar", xaxis="x")
    edges = sorted((x - bar.width / 2, x + bar.width / 2) for bar in left for x in bar.x)
    assert all(before[1] < after[0] for before, after in pairwise(edges))
    assert all(set(np.round(bar.x)) == {0, 1} for bar in left)
    assert list(figure.layout.xaxis.ticktext) == ["V1v", "V2v"]


def test_one_subjects_error_bars_are_its_bootstrap_interval(provenance: Provenance) -> None:
    figure = correlation_bars(scores(1), provenance)
    assert not traces(figure, "scatter")
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.arrayminus, 0.01)
        np.testing.assert_allclose(bar.error_y.array, 0.02)
    assert "bootstrap interval over test pictures" in note(figure)
    assert "dots" not in note(figure)


def test_several_subjects_are_dots_and_error_bars_their_spread(provenance: Provenance) -> None:
    frame = scores(3)
    figure = correlation_bars(frame, provenance, spread=spread_of(frame, ["hemi", "roi", "method"], "r"))
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.arrayminus, 0.03)
        np.testing.assert_allclose(bar.error_y.array, 0.04)
        (dots,) = traces(figure, "scatter", xaxis=bar.xaxis, legendgroup=bar.legendgroup)
        assert len(dots.y) == 6
        for x, y, (subject, where, said) in zip(dots.x, dots.y, dots.customdata, strict=True):
            hemi, roi = ("lh" if where.startswith("left") else "rh"), where.split(", ")[1]
            assert y == value(frame, "r", subject=subject, hemi=hemi, roi=roi, method=bar.name)
            assert f"{y - 0.01:.3f}".replace("-", "−") in said
            assert abs(x - bar.x[["V1v", "V2v"].index(roi)]) < bar.width / 2
    assert "mean over 3 subjects" in note(figure)
    assert "interval over subjects" in note(figure)


def test_several_subjects_without_a_spread_have_no_error_bars(provenance: Provenance) -> None:
    figure = correlation_bars(scores(2), provenance)
    assert all(np.isnan(np.asarray(bar.error_y.array, float)).all() for bar in traces(figure, "bar"))
    assert "error bars" not in note(figure)


def test_a_subjects_place_across_the_bars_is_always_the_same(provenance: Provenance) -> None:
    frame = scores(3, methods=("untuned",))
    first, second = (correlation_bars(part, provenance) for part in (frame, frame.sample(frac=1, random_state=1)))
    places = []
    for figure in (first, second):
        across: dict[str, set[float]] = {}
        for dots in traces(figure, "scatter"):
            for x, (subject, *_) in zip(dots.x, dots.customdata, strict=True):
                across.setdefault(subject, set()).add(round(x - round(x), 9))
        assert all(len(found) == 1 for found in across.values())
        places.append(across)
    assert places[0] == places[1]
    assert len(set(map(frozenset, places[0].values()))) == 3


def test_missing_rois_and_undefined_values_leave_a_gap(provenance: Provenance) -> None:
    frame = scores(2, methods=("untuned",))
    frame.loc[(frame["hemi"] == "rh") & (frame["roi"] == "V1v"), "r"] = np.nan
    frame.loc[(frame["hemi"] == "lh") & (frame["roi"] == "V2v") & (frame["subject"] == "subj01"), "r"] = np.nan
    figure = correlation_bars(frame, provenance)
    left, right = traces(figure, "bar")
    assert [list(bar.x) for bar in (left, right)] == [[0, 1], [1]]
    assert left.y[1] == value(frame, "r", hemi="lh", roi="V2v", subject="subj02")
    assert "mean of 1 subject<" in left.customdata[1][1] + "<"
    assert "mean over 1 to 2 subjects" in note(figure)
    assert [len(dots.x) for dots in traces(figure, "scatter")] == [3, 2]


def test_one_method_in_one_roi_of_one_hemisphere(provenance: Provenance) -> None:
    frame = scores(1, rois=("V1v",), methods=("untuned",)).query("hemi == 'rh'")
    figure = correlation_bars(frame, provenance, label="mean cross-validated r (authors' protocol)")
    (bar,) = figure.data
    assert (len(bar.x), bar.showlegend) == (1, True)
    assert figure.layout.yaxis.title.text == "mean cross-validated r (authors' protocol)"
    assert figure.layout.xaxis.range[1] - figure.layout.xaxis.range[0] >= 3


def test_many_bars_put_hemispheres_under_each_other(provenance: Provenance) -> None:
    rois = tuple(f"R{n}" for n in range(28))
    wide, long = correlation_bars(scores(1), provenance), correlation_bars(scores(8, rois), provenance)
    assert wide.layout.yaxis.domain == wide.layout.yaxis2.domain
    assert long.layout.xaxis.domain == long.layout.xaxis2.domain
    assert long.layout.yaxis.domain[0] > long.layout.yaxis2.domain[1]
    assert long.layout.yaxis2.matches == wide.layout.yaxis2.matches == "y"


def test_noise_ceiling_is_a_band_behind_the_bars(provenance: Provenance) -> None:
    ceiling = pd.DataFrame(
        {"hemi": ["lh", "lh", "rh", "lh"], "roi": ["V1v", "V2v", "V1v", "EBA"], "low": [0.6, 0.5, np.nan, 0.4],
         "high": [0.7, 0.5, np.nan, 0.4]}
    )  # fmt: skip
    figure = correlation_bars(scores(3), provenance, ceiling=ceiling)
    (band,) = traces(figure, "bar", name="noise ceiling")
    assert figure.data[0] is band
    assert (list(band.x), list(band.base)) == ([0, 1], [0.6, 0.5])
    np.testing.assert_allclose(band.y, [0.1, 0])
    # Without an area there is a line.
    assert [width > 0 for width in band.marker.line.width] == [False, True]
    assert [said for _, said in band.customdata] == ["0.600 to 0.700", "0.500"]
    assert legend(figure).count("noise ceiling") == 1
    assert "√NC" in note(figure)


def test_published_values_are_diamonds_over_their_bars(provenance: Provenance) -> None:
    figure = correlation_bars(scores(1, rois=("V1v", "V2d")), provenance, published=published_rois())
    left, right = traces(figure, "scatter", name=LABEL)
    np.testing.assert_allclose(sorted(left.y), [0.434, 0.463])
    np.testing.assert_allclose(sorted(right.y), [0.441, 0.471])
    bars = {bar.name: bar.x[0] for bar in traces(figure, "bar", xaxis="x")}
    assert sorted(left.x) == sorted(bars[method] for method in ("untuned", "contrastive"))
    assert legend(figure)[-1] == LABEL
    assert PROTOCOL in note(figure)


def test_published_values_without_a_bar_are_not_drawn(provenance: Provenance) -> None:
    figure = correlation_bars(scores(1, methods=("random",)), provenance, published=published_rois())
    assert not traces(figure, "scatter")
    assert PROTOCOL not in note(figure)


def differences(n_subjects: int) -> pd.DataFrame:
    frame = scores(n_subjects, methods=("contrastive",)).rename(columns={"r": "difference"})
    return frame.drop(columns="method").assign(significant=None)


def test_dots_of_differences_say_what_the_test_said(provenance: Provenance) -> None:
    frame = differences(3)
    frame["significant"] = ([True, False, np.nan, None] * 3)[: len(frame)]
    figure = difference_bars(frame, provenance, first="contrastive", second="untuned")
    for state, colour in (("q < 0.05", True), ("q ≥ 0.05", False), ("not tested", None)):
        drawn = sorted(y for dots in traces(figure, "scatter", name=state) for y in dots.y)
        asked = frame["significant"].isna() if colour is None else frame["significant"].map(lambda s, c=colour: s is c)
        assert drawn == sorted(frame.loc[asked, "difference"])
    assert set(legend(figure)) == {"q < 0.05", "q ≥ 0.05", "not tested"}
    assert traces(figure, "scatter", name="q ≥ 0.05")[0].marker.color == "white"
    assert figure.layout.yaxis.title.text == "r of contrastive minus r of untuned"
    assert "permutation test" in note(figure)
    untested = difference_bars(differences(3), provenance, first="contrastive", second="untuned")
    assert "permutation test" not in note(untested)


@pytest.mark.parametrize("kind", [bool, "boolean"])
def test_tests_may_come_as_any_kind_of_truth(kind: Any, provenance: Provenance) -> None:
    frame = differences(1).assign(significant=[True, False, True, False])
    figure = difference_bars(frame.astype({"significant": kind}), provenance, first="a", second="b")
    assert sorted({trace.name for trace in traces(figure, "scatter")}) == ["q < 0.05", "q ≥ 0.05"]
    # One subject: its dot stands at the end of the bar, which has its own interval.
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.array, 0.02)


def test_differences_over_subjects_have_their_spread(provenance: Provenance) -> None:
    frame = differences(3)
    spread = spread_of(frame, ["hemi", "roi"], "difference")
    figure = difference_bars(frame, provenance, first="a", second="b", spread=spread)
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.array, 0.04)


def test_share_improved_is_drawn_over_0_to_1_with_one_half_marked(provenance: Provenance) -> None:
    shares = pd.DataFrame(
        {
            "subject": "subj01",
            "roi": ["V1", "V1"],
            "hemi": ["lh", "rh"],
            "improved": [0.75, 0.4],
            "low": 0.1,
            "high": 0.2,
        }
    )
    figure = improved_bars(shares, provenance, first="contrastive", second="random")
    assert [list(bar.y) for bar in traces(figure, "bar")] == [[0.75], [0.4]]
    assert figure.layout.yaxis.range[0] == 0
    assert figure.layout.yaxis.range[1] >= 1
    assert [shape.y0 for shape in figure.layout.shapes] == [0.5, 0.5]
    # Columns low and high beside the share are those of the difference.
    assert all(np.isnan(np.asarray(bar.error_y.array, float)).all() for bar in traces(figure, "bar"))


def test_share_improved_over_subjects(provenance: Provenance) -> None:
    frame = scores(4, methods=("contrastive",)).rename(columns={"r": "improved"})
    spread = spread_of(frame, ["hemi", "roi"], "improved")
    figure = improved_bars(frame, provenance, first="a", second="b", spread=spread)
    assert len(traces(figure, "scatter")) == 2
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.arrayminus, 0.03)
        assert "%<" in bar.customdata[0][1] + "<"


def test_groups_have_one_panel(provenance: Provenance) -> None:
    frame = scores(3, rois=("all ROIs", "early", "streams")).query("hemi == 'lh'").rename(columns={"roi": "group"})
    frame = frame.drop(columns="hemi")
    spread = spread_of(frame, ["group", "method"], "r")
    figure = group_bars(frame, provenance, spread=spread, published=published_groups())
    bars = traces(figure, "bar")
    assert [bar.name for bar in bars] == ["random", "untuned", "regression", "contrastive"]
    for bar in bars:
        expected = [value(frame, "r", group=group, method=bar.name) for group in ("all ROIs", "early", "streams")]
        np.testing.assert_allclose(bar.y, expected)
        np.testing.assert_allclose(bar.error_y.array, 0.04)
    (diamonds,) = traces(figure, "scatter", name=LABEL)
    np.testing.assert_allclose(sorted(diamonds.y), [0.366, 0.381, 0.386, 0.386, 0.409, 0.417])


def test_every_hover_names_where_and_gives_three_decimals(provenance: Provenance) -> None:
    ceiling = pd.DataFrame({"hemi": ["lh"], "roi": ["V1v"], "low": [0.61234], "high": [0.71234]})
    figure = correlation_bars(scores(2), provenance, ceiling=ceiling, published=published_rois())
    for trace in figure.data:
        assert all("hemisphere, V" in " ".join(map(str, row)) for row in trace.customdata)
        assert trace.name == "noise ceiling" or "%{y:.3f}" in trace.hovertemplate
    assert traces(figure, "bar", name="noise ceiling")[0].customdata[0][1] == "0.612 to 0.712"
