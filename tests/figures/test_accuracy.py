"""Figures of classification: bars, lines and points are what was given, at one model and at 300."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.accuracy import (
    CLASS_LABELS,
    INTERVAL_POINTS,
    NAMED_POINTS,
    accuracy_bars,
    confusion_heatmap,
    trade_off,
)
from brainviz.figures.style import METHOD_COLOURS, Provenance
from tests.drawn import printed

ROIS = ("V1v", "V2v")


def accuracies(n_subjects: int, rois: tuple[str, ...] = ROIS, *, references: bool = True) -> pd.DataFrame:
    """Every accuracy differs from every other; intervals reach 0.01 down and 0.02 up."""
    rows = [
        (f"subj{s + 1:02d}", hemi, roi, method)
        for s in range(n_subjects)
        for hemi in ("rh", "lh")
        for roi in rois
        for method in ("contrastive", "regression")
    ]
    rows += [("", "", "", "untuned"), ("", "", "", "random")] if references else []
    frame = pd.DataFrame(rows, columns=["subject", "hemi", "roi", "method"])
    accuracy = 0.1 + 0.8 * np.random.default_rng(0).permutation(len(frame)) / len(frame)
    return frame.assign(accuracy=accuracy, low=accuracy - 0.01, high=accuracy + 0.02, n_test=1200)


def models(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    gain, drop = rng.normal(0.02, 0.01, n), rng.normal(0.05, 0.03, n)
    return pd.DataFrame(
        {
            "subject": [f"subj{number % 8 + 1:02d}" for number in range(n)],
            "hemi": [("lh", "rh")[number % 2] for number in range(n)],
            "roi": [ROIS[number // 2 % 2] for number in range(n)],
            "method": [("contrastive", "regression")[number // 4 % 2] for number in range(n)],
            "gain": gain, "gain_low": gain - 0.001, "gain_high": gain + 0.003,
            "drop": drop, "drop_low": drop - 0.01, "drop_high": drop + 0.02,
            "run": [f"{number:064x}" for number in range(n)],
        }
    )  # fmt: skip


def traces(figure: go.Figure, kind: str, **properties: Any) -> list[Any]:
    return [
        trace
        for trace in figure.data
        if trace.type == kind and all(getattr(trace, name) == value for name, value in properties.items())
    ]


def one(frame: pd.DataFrame, column: str, **keys: str) -> float:
    for name, key in keys.items():
        frame = frame[frame[name] == key]
    return float(frame[column].mean())


@pytest.mark.parametrize("n_subjects", [1, 3])
def test_bars_are_means_over_subjects_in_the_colour_of_their_method(n_subjects: int, provenance: Provenance) -> None:
    frame = accuracies(n_subjects)
    figure = accuracy_bars(frame, provenance)
    for hemi, axis in (("lh", "x"), ("rh", "x2")):
        bars = traces(figure, "bar", xaxis=axis)
        assert [bar.name for bar in bars] == ["regression", "contrastive"]
        for bar in bars:
            assert bar.marker.color == METHOD_COLOURS[bar.name]
            np.testing.assert_allclose(
                bar.y, [one(frame, "accuracy", hemi=hemi, roi=roi, method=bar.name) for roi in ROIS]
            )
    assert list(figure.layout.xaxis.ticktext) == list(ROIS)
    assert figure.layout.yaxis.title.text == "accuracy"
    assert figure.layout.yaxis.tickformat.endswith("%")


def test_one_subjects_error_bars_are_its_wilson_interval(provenance: Provenance) -> None:
    figure = accuracy_bars(accuracies(1), provenance)
    for bar in traces(figure, "bar"):
        np.testing.assert_allclose(bar.error_y.arrayminus, 0.01)
        np.testing.assert_allclose(bar.error_y.array, 0.02)
    assert not traces(figure, "scatter", mode="markers")
    assert "Wilson interval over 1,200 test pictures" in printed(figure)
    frame = accuracies(1)
    frame.loc[0, "n_test"] = 900
    assert "over 900 to 1,200 test pictures" in printed(accuracy_bars(frame, provenance))


def test_several_subjects_are_dots_without_error_bars_and_the_note_says_so(provenance: Provenance) -> None:
    frame = accuracies(3)
    figure = accuracy_bars(frame, provenance)
    assert all(np.isnan(np.asarray(bar.error_y.array, float)).all() for bar in traces(figure, "bar"))
    dots = traces(figure, "scatter", mode="markers")
    drawn = sorted(y for trace in dots for y in trace.y)
    np.testing.assert_allclose(drawn, sorted(frame.loc[frame["roi"] != "", "accuracy"]))
    assert "dots: subjects" in printed(figure)
    assert "no error bars" in printed(figure)
    assert "Error bars: 95" not in printed(figure)


def test_untuned_and_random_are_lines_with_bands_across_every_panel(provenance: Provenance) -> None:
    frame = accuracies(2)
    figure = accuracy_bars(frame, provenance)
    for method in ("untuned", "random"):
        height = one(frame, "accuracy", method=method)
        lines = traces(figure, "scatter", name=method)
        assert [line.xaxis for line in lines] == ["x", "x2"]
        assert [line.showlegend for line in lines] == [True, False]
        for line in lines:
            assert set(line.y) == {height}
            assert (line.x[0], line.x[-1]) == tuple(figure.layout.xaxis.range)
            assert line.line.color == METHOD_COLOURS[method]
            assert f"{height:.1%}" in line.hovertext
            assert f"{height - 0.01:.1%} to {height + 0.02:.1%}" in line.hovertext
        bands = traces(figure, "scatter", fill="toself", legendgroup=f"{method} line")
        assert [band.xaxis for band in bands] == ["x", "x2"]
        for band in bands:
            low, high = height - 0.01, height + 0.02
            np.testing.assert_allclose(band.y, [low, low, high, high])
            assert (min(band.x), max(band.x)) == tuple(figure.layout.xaxis.range)
            red = int(METHOD_COLOURS[method][1:3], 16)
            assert band.fillcolor.startswith(f"rgba({red}, ")
    assert "Lines: models tuned to no ROI" in printed(figure)
    assert "Lines" not in printed(accuracy_bars(accuracies(2, references=False), provenance))


def test_lines_without_an_interval_have_no_band(provenance: Provenance) -> None:
    frame = accuracies(1)
    frame.loc[frame["method"] == "untuned", ["low", "high"]] = np.nan
    figure = accuracy_bars(frame, provenance)
    assert len(traces(figure, "scatter", name="untuned")) == 2
    assert {band.legendgroup for band in traces(figure, "scatter", fill="toself")} == {"random line"}


def test_chance_is_a_dotted_line(provenance: Provenance) -> None:
    lines = traces(accuracy_bars(accuracies(1), provenance, chance=0.125), "scatter", name="chance")
    assert [set(line.y) for line in lines] == [{0.125}, {0.125}]
    assert {line.line.dash for line in lines} == {"dot"}
    assert not traces(accuracy_bars(accuracies(1), provenance), "scatter", name="chance")


def test_models_without_a_roi_are_bars_where_there_is_nothing_else(provenance: Provenance) -> None:
    frame = accuracies(0)
    figure = accuracy_bars(frame, provenance, chance=0.1)
    bars = {bar.name: bar for bar in traces(figure, "bar")}
    assert {name: bar.y[0] for name, bar in bars.items()} == dict(zip(frame["method"], frame["accuracy"], strict=True))
    np.testing.assert_allclose(bars["untuned"].error_y.array, 0.02)
    assert [trace.name for trace in traces(figure, "scatter")] == ["chance"]


def test_missing_names_are_as_good_as_empty_ones(provenance: Provenance) -> None:
    frame = accuracies(1)
    missing = frame.assign(**{name: frame[name].replace("", None) for name in ("subject", "hemi", "roi")})
    assert missing["roi"].isna().sum() == 2
    assert accuracy_bars(missing, provenance) == accuracy_bars(frame, provenance)


def test_unknown_accuracies_leave_a_gap(provenance: Provenance) -> None:
    frame = accuracies(1)
    frame.loc[(frame["roi"] == "V1v") & (frame["hemi"] == "lh"), ["accuracy", "low", "high"]] = np.nan
    frame.loc[frame["method"] == "random", "accuracy"] = np.nan
    figure = accuracy_bars(frame, provenance)
    assert [len(bar.x) for bar in traces(figure, "bar")] == [1, 2, 1, 2]
    assert list(figure.layout.xaxis.ticktext) == list(ROIS)
    assert not traces(figure, "scatter", name="random")


def test_the_same_model_twice_is_refused_by_name(provenance: Provenance) -> None:
    frame = accuracies(1)
    with pytest.raises(SpecError, match="subj01 rh V1v contrastive"):
        accuracy_bars(pd.concat([frame, frame.head(1)]), provenance)


def test_three_hundred_models_stay_legible(provenance: Provenance) -> None:
    frame = accuracies(8, tuple(f"R{number}" for number in range(20)))
    figure = accuracy_bars(frame, provenance, chance=0.1)
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]
    assert sum(bool(trace.showlegend) for trace in figure.data) == 5
    assert len(traces(figure, "scatter", name="untuned")) == 2


def test_a_title_keeps_the_height_of_the_plot(provenance: Provenance) -> None:
    plain, titled = (accuracy_bars(accuracies(1), provenance, title=title) for title in ("", "Places"))
    plots = [f.layout.height - f.layout.margin.t - f.layout.margin.b for f in (plain, titled)]
    assert plots[0] == plots[1]
    assert titled.layout.title.text == "Places"


def test_names_of_rois_are_no_tags(provenance: Provenance) -> None:
    figure = accuracy_bars(accuracies(1, ("<b>V1</b>",)), provenance)
    assert list(figure.layout.xaxis.ticktext) == ["&lt;b&gt;V1&lt;/b&gt;"]
    assert "<b>" not in figure.data[0].customdata[0][0]


@pytest.mark.parametrize("n_subjects", [0, 2])
def test_without_accuracies_the_figure_says_so(n_subjects: int, provenance: Provenance) -> None:
    frame = accuracies(n_subjects).assign(accuracy=np.nan)
    figure = accuracy_bars(frame.head(8 * n_subjects), provenance, chance=0.1)
    assert not figure.data
    assert "No accuracy" in printed(figure, "empty")


def test_trade_off_has_the_gain_to_the_right_and_the_drop_upwards_in_points(provenance: Provenance) -> None:
    frame = models(16)
    figure = trade_off(frame, provenance)
    assert [trace.name for trace in figure.data] == [
        "regression, left hemisphere", "regression, right hemisphere",
        "contrastive, left hemisphere", "contrastive, right hemisphere",
    ]  # fmt: skip
    for trace in figure.data:
        method, hemi = trace.name.split(", ")
        rows = frame[(frame["method"] == method) & (frame["hemi"] == {"l": "lh", "r": "rh"}[hemi[0]])]
        np.testing.assert_allclose(trace.x, rows["gain"])
        np.testing.assert_allclose(trace.y, 100 * rows["drop"])
        np.testing.assert_allclose(trace.error_x.arrayminus, 0.001)
        np.testing.assert_allclose(trace.error_x.array, 0.003)
        np.testing.assert_allclose(trace.error_y.arrayminus, 1)
        np.testing.assert_allclose(trace.error_y.array, 2)
        assert trace.marker.color == METHOD_COLOURS[method]
        assert [row[0] for row in trace.customdata] == list(rows["run"])
    symbols = {trace.name.split(", ")[1]: trace.marker.symbol for trace in figure.data}
    assert symbols == {"left hemisphere": "circle", "right hemisphere": "diamond"}
    assert "percentage points" in figure.layout.yaxis.title.text


def test_of_one_method_the_rois_have_colours_and_names(provenance: Provenance) -> None:
    frame = models(16).assign(method="contrastive")
    figure = trade_off(frame, provenance)
    colours = {trace.name.split(", ")[0]: trace.marker.color for trace in figure.data}
    assert set(colours) == set(frame["roi"])
    assert len(set(colours.values())) == len(colours)
    assert all(set(trace.text) == {trace.name.split(", ")[0]} and "text" in trace.mode for trace in figure.data)
    many = trade_off(models(NAMED_POINTS + 1), provenance)
    assert {trace.mode for trace in many.data} == {"markers"}


def test_trade_off_has_lines_at_0(provenance: Provenance) -> None:
    shapes = trade_off(models(4), provenance).layout.shapes
    assert [(s.y0, s.y1) for s in shapes if s.xref.endswith("domain")] == [(0, 0)]
    assert [(s.x0, s.x1) for s in shapes if s.yref.endswith("domain")] == [(0, 0)]


def test_trade_off_names_a_model_when_pointed_at(provenance: Provenance) -> None:
    frame = models(1).assign(gain=-0.02, gain_low=-0.03, gain_high=-0.01, drop=0.05, drop_low=np.nan, roi="a<b")
    (said,) = trade_off(frame, provenance).data[0].hovertext
    lines = said.split("<br>")
    assert lines[:3] == ["subj01, left hemisphere, a&lt;b", "contrastive", "gain in r: −0.020 (−0.030 to −0.010)"]
    assert lines[3:] == ["drop in accuracy: 5.0 percentage points", "run 00000000"]


@pytest.mark.parametrize(("n", "visible"), [(INTERVAL_POINTS, True), (INTERVAL_POINTS + 1, False), (300, False)])
def test_crosses_of_many_models_are_left_to_the_hover_texts(n: int, visible: bool, provenance: Provenance) -> None:
    figure = trade_off(models(n), provenance)
    assert {trace.error_x.visible for trace in figure.data} == {trace.error_y.visible for trace in figure.data}
    assert {trace.error_x.visible for trace in figure.data} == {visible}
    assert ("Crosses" in printed(figure)) == visible
    assert ("hover texts" in printed(figure)) != visible
    assert sum(len(trace.x) for trace in figure.data) == n
    assert all(" to " in said for trace in figure.data for said in trace.hovertext)


def test_trade_off_leaves_out_what_is_unknown_and_counts_it(provenance: Provenance) -> None:
    frame = models(8)
    frame.loc[0, "gain"] = frame.loc[[3, 4], "drop"] = np.nan
    figure = trade_off(frame, provenance)
    assert sum(len(trace.x) for trace in figure.data) == 5
    assert "Left out: 3 " in printed(figure)
    assert "Left out" not in printed(trade_off(models(8), provenance))


def test_models_of_no_hemisphere_have_a_symbol_of_their_own(provenance: Provenance) -> None:
    frame = models(3).assign(hemi=["lh", "", "both"], method="pooled")
    left, neither = trade_off(frame.assign(roi="V1"), provenance).data
    assert (left.name, neither.name) == ("V1, left hemisphere", "V1")
    assert len(neither.x) == 2
    assert neither.marker.symbol not in ("circle", "diamond")


@pytest.mark.parametrize("frame", [models(0), models(3).assign(gain=np.nan)], ids=["no rows", "no gain"])
def test_trade_off_of_nothing_says_so(frame: pd.DataFrame, provenance: Provenance) -> None:
    figure = trade_off(frame, provenance)
    assert not figure.data
    assert "No model" in printed(figure, "empty")


COUNTS = np.array([[50, 2, 0], [99, 7, 1], [3, 0, 12]])


def test_confusion_has_rows_downwards_and_the_true_counts(provenance: Provenance) -> None:
    figure = confusion_heatmap(COUNTS, ["cat", "dog", "cow"], provenance, names=("true", "predicted"))
    off, diagonal = figure.data
    assert (list(off.x), list(off.y)) == (["cat", "dog", "cow"], ["cat", "dog", "cow"])
    for trace in (off, diagonal):
        np.testing.assert_array_equal(trace.customdata, COUNTS)
        assert "true: %{y}" in trace.hovertemplate
        assert "predicted: %{x}" in trace.hovertemplate
        assert "%{customdata:,}" in trace.hovertemplate
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("predicted", "true")
    assert figure.layout.yaxis.range == (2.5, -0.5)
    assert figure.layout.yaxis.scaleanchor == "x"


def test_colours_are_for_the_counts_off_the_diagonal(provenance: Provenance) -> None:
    figure = confusion_heatmap(COUNTS, ["cat", "dog", "cow"], provenance)
    off, diagonal = (np.asarray(trace.z, float) for trace in figure.data)
    on = np.eye(3, dtype=bool)
    assert np.isnan(off[on]).all()
    assert np.isnan(diagonal[~on]).all()
    np.testing.assert_allclose(off[~on], np.log10(1 + COUNTS[~on]), rtol=1e-6)
    np.testing.assert_allclose(diagonal[on], [50, 7, 12])
    axes = [figure.layout[trace.coloraxis] for trace in figure.data]
    assert (axes[0].cmin, axes[0].cmax) == (0, pytest.approx(2))  # log10(1 + 99)
    assert (axes[1].cmin, axes[1].cmax) == (0, 50)
    assert axes[0].colorscale[0][1] == "#440154"  # viridis
    assert list(axes[0].colorbar.ticktext) == ["0", "1", "3", "10", "30", "99"]
    np.testing.assert_allclose(10.0 ** np.asarray(axes[0].colorbar.tickvals) - 1, [0, 1, 3, 10, 30, 99])
    for _, colour in axes[1].colorscale:
        assert colour[1:3] == colour[3:5] == colour[5:7]


@pytest.mark.parametrize(("n", "named"), [(CLASS_LABELS, 40), (CLASS_LABELS + 1, 21), (300, 38)])
def test_many_classes_have_fewer_labels_but_all_cells(n: int, named: int, provenance: Provenance) -> None:
    figure = confusion_heatmap(np.eye(n, dtype=int), [f"class {number}" for number in range(n)], provenance)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert len(axis.tickvals) == named
        assert axis.tickvals[0] == "class 0"
    assert figure.data[0].z.shape == (n, n)
    assert len(figure.data[0].x) == n
    assert (f"of {n} classes" in printed(figure)) == (n > CLASS_LABELS)
    assert figure.layout.height < 1000


def test_classes_of_the_same_name_keep_a_row_each(provenance: Provenance) -> None:
    figure = confusion_heatmap(COUNTS, ["crane", "<i>", "crane"], provenance)
    assert list(figure.data[0].y) == ["crane", "&lt;i&gt;", "crane (2)"]


def test_a_perfect_classifier_has_a_scale_all_the_same(provenance: Provenance) -> None:
    figure = confusion_heatmap(np.diag([3, 4]), ["a", "b"], provenance)
    assert figure.layout.coloraxis.cmax > figure.layout.coloraxis.cmin
    assert confusion_heatmap([[5]], ["a"], provenance).data[1].z[0][0] == 5


@pytest.mark.parametrize(
    "counts",
    [np.zeros((2, 3)), np.ones((3, 3)), [[1.0, np.nan], [0, 1]], [[1, -1], [0, 1]], [[0.5, 0], [0, 1]]],
    ids=["not square", "other classes", "NaN", "negative", "a share"],
)
def test_what_is_no_table_of_counts_is_refused(counts: Any, provenance: Provenance) -> None:
    with pytest.raises(SpecError):
        confusion_heatmap(counts, ["a", "b"], provenance)


@pytest.mark.parametrize("n", [0, 2])
def test_confusion_of_no_pictures_says_so(n: int, provenance: Provenance) -> None:
    figure = confusion_heatmap(np.zeros((n, n), int), ["a", "b"][:n], provenance)
    assert not figure.data
    assert "No test picture" in printed(figure, "empty")
