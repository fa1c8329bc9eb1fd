"""Figures of the model landscape: places, colours, paths and matrices are what was given, at one model and at 300."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.landscape import (
    MODEL_LABELS,
    NAMED_MODELS,
    ROI_ORDER,
    dissimilarity_heatmap,
    landscape_scatter,
    stress_curve,
)
from brainviz.figures.style import HEMISPHERE_COLOURS, METHOD_COLOURS, Provenance
from tests.drawn import printed

ROIS = ("V1v", "V2v", "hV4")
REFERENCES = ("untuned", "random", "oracle")


def landscape(n_subjects: int, rois: tuple[str, ...] = ROIS) -> pd.DataFrame:
    """Tuned models, each with coordinates of its own, and the three that are tuned to nothing."""
    rows = [
        (f"subj{s + 1:02d}", hemi, roi, "early", "contrastive")
        for s, hemi, roi in product(range(n_subjects), ("lh", "rh"), rois)
    ]
    rows += [("", "", "", "", method) for method in REFERENCES]
    frame = pd.DataFrame(rows, columns=["subject", "hemi", "roi", "group", "method"])
    rng = np.random.default_rng(0)
    return frame.assign(
        **{name: rng.normal(0, 1, len(frame)) for name in ("x", "y", "z")},
        model=[" ".join(filter(None, row[:3])) or row[4] for row in rows],
        accuracy=rng.uniform(0.2, 0.6, len(frame)),
        r=rng.uniform(0.1, 0.5, len(frame)),
        run=[f"{number:064x}" if row[2] else "" for number, row in enumerate(rows)],
    )


def points(figure: go.Figure) -> dict[str, Any]:
    """Return the traces that are models, by name."""
    return {trace.name: trace for trace in figure.data if trace.mode.startswith("markers")}


@pytest.mark.parametrize("colour", ["roi", "group", "hemi", "subject", "method", "accuracy", "r"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_model_is_a_point_at_its_place(colour: str, dimensions: int, provenance: Provenance) -> None:
    frame = landscape(2)
    figure = landscape_scatter(frame, provenance, colour=colour, dimensions=dimensions)
    coordinates = ["x", "y", "z"][:dimensions]
    places = {
        row[1]: (row[0], place)
        for trace in points(figure).values()
        for row, place in zip(trace.customdata, zip(*(trace[name] for name in coordinates), strict=True), strict=True)
    }
    expected = {
        row["model"]: (row["run"], tuple(row[name] for name in coordinates)) for row in frame.to_dict("records")
    }
    assert places == expected
    assert {trace.type for trace in figure.data} == {"scatter" if dimensions == 2 else "scatter3d"}


def test_a_unit_is_as_long_along_every_axis(provenance: Provenance) -> None:
    titles = ("InPCA 1 (+)", "InPCA 2 (−, imaginary)", "InPCA 3 (+)")
    flat, deep = (landscape_scatter(landscape(1), provenance, colour="roi", dimensions=n, axes=titles) for n in (2, 3))
    assert (flat.layout.yaxis.scaleanchor, flat.layout.yaxis.scaleratio) == ("x", 1)
    assert (flat.layout.xaxis.title.text, flat.layout.yaxis.title.text) == titles[:2]
    assert flat.layout.dragmode == "lasso"
    assert deep.layout.scene.aspectmode == "data"
    assert tuple(deep.layout.scene[f"{name}axis"].title.text for name in "xyz") == titles


@pytest.mark.parametrize(
    ("dimensions", "symbols"), [(2, ("star", "diamond", "cross")), (3, ("square", "diamond", "cross"))]
)
def test_models_tuned_to_nothing_are_black_larger_and_named(
    dimensions: int, symbols: tuple[str, ...], provenance: Provenance
) -> None:
    drawn = points(landscape_scatter(landscape(8), provenance, colour="subject", dimensions=dimensions))
    for name, symbol in zip(REFERENCES, symbols, strict=True):
        assert (drawn[name].marker.symbol, drawn[name].marker.color) == (symbol, "#000000")
        assert drawn[name].marker.size > drawn["subj01"].marker.size
        assert tuple(drawn[name].text) == (name,)
        assert "text" in drawn[name].mode
        assert drawn[name].showlegend is False


def test_an_untuned_model_of_a_roi_is_a_point_like_others(provenance: Provenance) -> None:
    frame = landscape(1).assign(method="untuned")
    drawn = points(landscape_scatter(frame, provenance, colour="method"))
    assert {name: trace.marker.symbol for name, trace in drawn.items()} == {"untuned": "star"}
    figure = landscape_scatter(frame, provenance, colour="roi")
    assert len(points(figure)["V1v"].x) == 2


def test_a_roi_keeps_its_colour_whichever_others_are_drawn(provenance: Provenance) -> None:
    few, many = (points(landscape_scatter(landscape(1, rois), provenance, colour="roi")) for rois in (ROIS, ROI_ORDER))
    for roi in ROIS:
        assert few[roi].marker.color == many[roi].marker.color
        assert few[roi].marker.symbol == many[roi].marker.symbol
    looks = {(many[roi].marker.color, many[roi].marker.symbol) for roi in ROI_ORDER}
    assert len(looks) == len(ROI_ORDER) > 30


def test_a_given_order_keeps_the_colours_of_subjects(provenance: Provenance) -> None:
    frame, order = landscape(5), [f"subj{number:02d}" for number in range(1, 9)]
    part = frame[frame["subject"].isin(["subj03", "subj05"])]
    every, some = (points(landscape_scatter(f, provenance, colour="subject", order=order)) for f in (frame, part))
    assert [name for name in some if name.startswith("subj")] == ["subj03", "subj05"]
    assert every["subj05"].marker.color == some["subj05"].marker.color
    assert every["subj01"].marker.color != every["subj05"].marker.color


def test_hemispheres_and_methods_have_their_colours(provenance: Provenance) -> None:
    hemispheres = points(landscape_scatter(landscape(1), provenance, colour="hemi"))
    assert hemispheres["left hemisphere"].marker.color == HEMISPHERE_COLOURS["lh"]
    assert hemispheres["right hemisphere"].marker.color == HEMISPHERE_COLOURS["rh"]
    assert len(hemispheres["right hemisphere"].x) == 3
    methods = points(landscape_scatter(landscape(1), provenance, colour="method"))
    assert methods["contrastive"].marker.color == METHOD_COLOURS["contrastive"]


def test_models_without_a_category_are_drawn_apart(provenance: Provenance) -> None:
    frame = landscape(1)
    frame.loc[[0, 1], "group"] = ["", None]
    drawn = points(landscape_scatter(frame, provenance, colour="group"))
    assert (len(drawn["none"].x), len(drawn["early"].x)) == (2, 4)
    assert drawn["none"].marker.color != drawn["early"].marker.color


@pytest.mark.parametrize(("colour", "title"), [("accuracy", "accuracy"), ("r", "mean r")])
def test_numbers_have_a_uniform_scale_and_a_colour_bar(colour: str, title: str, provenance: Provenance) -> None:
    frame = landscape(2)
    frame.loc[0, colour] = np.nan
    figure = landscape_scatter(frame, provenance, colour=colour)
    drawn = points(figure)
    tuned = frame[frame["roi"] != ""].dropna(subset=[colour])
    np.testing.assert_array_equal(drawn[""].marker.color, tuned[colour])
    assert drawn[""].marker.coloraxis == "coloraxis"
    assert [row[1] for row in drawn["not known"].customdata] == [frame.loc[0, "model"]]
    assert figure.layout.coloraxis.colorbar.title.text == title
    assert figure.layout.coloraxis.colorscale[0][1] == "#440154"  # viridis


def test_what_a_model_says_of_itself(provenance: Provenance) -> None:
    frame = landscape(1, ("<b>V1</b>",)).head(1).assign(accuracy=0.4567, r=-0.1234)
    (said,) = landscape_scatter(frame, provenance, colour="roi").data[0].hovertext
    assert said.split("<br>") == [
        "<b>subj01 lh &lt;b&gt;V1&lt;/b&gt;</b>", "subj01, left hemisphere, &lt;b&gt;V1&lt;/b&gt;",
        "early, contrastive", "accuracy 45.7%", "mean r −0.123", "run 00000000",
    ]  # fmt: skip
    unknown = frame.assign(subject=np.nan, hemi=None, accuracy=np.nan, r=np.nan, run=None, group="")
    (said,) = landscape_scatter(unknown, provenance, colour="roi").data[0].hovertext
    assert said.split("<br>")[1:] == ["&lt;b&gt;V1&lt;/b&gt;", "contrastive"]


def test_names_in_legend_and_text_are_no_tags(provenance: Provenance) -> None:
    figure = landscape_scatter(landscape(1, ("<b>V1</b>",)), provenance, colour="roi", labels=True)
    trace = points(figure)["&lt;b&gt;V1&lt;/b&gt;"]
    assert trace.text[0] == "subj01 lh &lt;b&gt;V1&lt;/b&gt;"
    # What a page reads back is the name itself.
    assert trace.customdata[0][1] == "subj01 lh <b>V1</b>"


def test_few_models_are_named_many_only_if_asked(provenance: Provenance) -> None:
    few, many = landscape(NAMED_MODELS // 6), landscape(NAMED_MODELS // 6 + 1)
    for frame, labels, named in ((few, None, True), (many, None, False), (many, True, True), (few, False, False)):
        drawn = points(landscape_scatter(frame, provenance, colour="method", labels=labels))
        assert ("text" in drawn["contrastive"].mode) == named


def test_three_hundred_models_of_thirty_rois(provenance: Provenance) -> None:
    few, many = (
        landscape_scatter(landscape(n, rois), provenance, colour="roi") for n, rois in ((1, ROIS), (5, ROI_ORDER[:30]))
    )
    assert sum(len(trace.x) for trace in points(many).values()) == 303
    assert (few.layout.legend.orientation, many.layout.legend.orientation) == ("h", "v")
    # A line of the legend takes 20 pixels or so.
    assert many.layout.height - many.layout.margin.t - many.layout.margin.b > 30 * 20
    assert points(many)["V1v"].marker.size < points(few)["V1v"].marker.size


def paths(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == "lines" and not trace.showlegend]


def test_a_path_runs_through_the_means_in_the_order_given(provenance: Provenance) -> None:
    frame = pd.concat([landscape(2), landscape(2).assign(x=lambda f: f["x"] + 1)])
    figure = landscape_scatter(frame, provenance, colour="roi", path=("hV4", "V2v", "PPA", "V1v"))
    drawn = paths(figure)
    means = frame.groupby(["subject", "hemi", "roi"])[["x", "y"]].mean()
    expected = {
        (hemi, subject): means.loc[[(subject, hemi, roi) for roi in ("hV4", "V2v", "V1v")]].to_numpy()
        for subject, hemi in product(("subj01", "subj02"), ("lh", "rh"))
    }
    assert len(drawn) == len(expected)
    for line, arrow in zip(drawn, (a for a in figure.layout.annotations if a.name == "path"), strict=True):
        hemi = {shade: hemi for hemi, shade in HEMISPHERE_COLOURS.items()}[line.line.color]
        stops = np.column_stack([line.x, line.y])
        assert any(key[0] == hemi and np.allclose(stops, wanted) for key, wanted in expected.items())
        np.testing.assert_allclose([(arrow.ax, arrow.ay), (arrow.x, arrow.y)], stops[-2:])
        assert (arrow.axref, arrow.showarrow, arrow.arrowcolor) == ("x", True, line.line.color)
        assert line.hoverinfo == "skip"
    assert "hV4, V2v, V1v, in this order" in printed(figure)
    legend = [trace.name for trace in figure.data if trace.showlegend and trace.mode == "lines"]
    assert legend == ["path, left hemisphere", "path, right hemisphere"]


def test_methods_have_paths_of_their_own(provenance: Provenance) -> None:
    frame = landscape(1)
    both = pd.concat([frame, frame.assign(method="regression", x=frame["x"] + 5)])
    figure = landscape_scatter(both, provenance, colour="roi", path=ROIS)
    assert len(paths(figure)) == 4


@pytest.mark.parametrize("nothing", ["", None])
def test_pooled_models_have_a_path_too(nothing: str | None, provenance: Provenance) -> None:
    frame = landscape(1).query("hemi == 'lh'").assign(subject=nothing, hemi=nothing, method="pooled")
    figure = landscape_scatter(frame, provenance, colour="roi", path=ROIS)
    (line,) = paths(figure)
    np.testing.assert_allclose(line.x, frame["x"])
    assert [trace.name for trace in figure.data if trace.showlegend and trace.mode == "lines"] == ["path"]


def test_a_path_in_space_goes_from_pale_to_full_colour(provenance: Provenance) -> None:
    frame = landscape(1)
    figure = landscape_scatter(frame, provenance, colour="roi", dimensions=3, path=ROIS)
    left, right = paths(figure)
    rows = frame[frame["hemi"] == "lh"].set_index("roi").loc[list(ROIS)]
    for name in "xyz":
        np.testing.assert_allclose(left[name], rows[name])
    assert list(left.line.color) == [0, 1, 2]
    for line, hemi in ((left, "lh"), (right, "rh")):
        pale, full = (colour for _, colour in line.line.colorscale)
        assert full == HEMISPHERE_COLOURS[hemi]
        assert all(int(pale[at : at + 2], 16) > int(full[at : at + 2], 16) for at in (1, 3, 5))


def test_a_path_of_one_roi_is_none(provenance: Provenance) -> None:
    figure = landscape_scatter(landscape(1), provenance, colour="roi", path=("V1v", "PPA"))
    assert not paths(figure)
    assert printed(figure) == ""


def test_models_without_a_place_are_left_out_and_counted(provenance: Provenance) -> None:
    frame = landscape(1)
    frame.loc[0, "x"] = np.nan
    frame.loc[1, "y"] = np.inf
    frame.loc[2, "z"] = np.nan
    flat, deep = (landscape_scatter(frame, provenance, colour="roi", dimensions=n, path=ROIS) for n in (2, 3))
    assert sum(len(trace.x) for trace in points(flat).values()) == len(frame) - 2
    assert sum(len(trace.x) for trace in points(deep).values()) == len(frame) - 3
    assert "2 models without coordinates" in printed(flat)
    assert "3 models without coordinates" in printed(deep)


@pytest.mark.parametrize("frame", [landscape(1).head(0), landscape(1).assign(x=np.nan)], ids=["no rows", "no place"])
def test_an_empty_landscape_says_so(frame: pd.DataFrame, provenance: Provenance) -> None:
    figure = landscape_scatter(frame, provenance, colour="roi")
    assert not figure.data
    assert "No model" in printed(figure, "empty")


def test_the_references_alone(provenance: Provenance) -> None:
    frame = landscape(0)
    assert set(points(landscape_scatter(frame, provenance, colour="r"))) == set(REFERENCES)
    assert set(points(landscape_scatter(frame, provenance, colour="roi", path=ROIS))) == set(REFERENCES)


@pytest.mark.parametrize("wrong", [{"colour": "layer"}, {"dimensions": 4}, {"axes": ("one",)}])
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, Any], provenance: Provenance) -> None:
    with pytest.raises(SpecError):
        landscape_scatter(landscape(1), provenance, **{"colour": "roi", **wrong})


def test_stress_is_a_curve_whose_marks_tell_the_signs(provenance: Provenance) -> None:
    figure = stress_curve([0.3, 0.5, 0.6, 0.6], [1, -1, 1, 0], provenance)
    line, positive, negative, zero = figure.data
    assert (list(line.x), list(line.y)) == ([1, 2, 3, 4], [0.3, 0.5, 0.6, 0.6])
    assert (list(positive.x), list(positive.y)) == ([1, 3], [0.3, 0.6])
    assert (list(negative.x), list(negative.y), list(zero.x)) == ([2], [0.5], [4])
    assert len({trace.marker.symbol for trace in (positive, negative, zero)}) == 3
    assert "imaginary" in negative.name
    assert figure.layout.yaxis.range[0] == 0
    assert figure.layout.yaxis.range[1] >= 1
    assert figure.layout.yaxis.tickformat == ".0%"


def test_stress_of_nothing_and_of_other_axes(provenance: Provenance) -> None:
    figure = stress_curve([], [], provenance)
    assert not figure.data
    assert "No axis" in printed(figure, "empty")
    with pytest.raises(SpecError):
        stress_curve([0.5], [1, 1], provenance)


def dissimilarities(n: int) -> np.ndarray:
    points_ = np.random.default_rng(0).normal(0, 1, (n, 3))
    return np.asarray(((points_[:, None] - points_[None]) ** 2).sum(-1))


def test_rows_and_columns_are_in_the_order_given(provenance: Provenance) -> None:
    D = dissimilarities(4)
    figure = dissimilarity_heatmap(D, ["a", "b", "c", "d"], [2, 0, 3, 1], provenance)
    (cells,) = figure.data
    assert list(cells.x) == list(cells.y) == ["c", "a", "d", "b"]
    np.testing.assert_allclose(cells.z[0][1], D[2, 0], rtol=1e-6)
    np.testing.assert_allclose(cells.z[2][3], D[3, 1], rtol=1e-6)
    np.testing.assert_array_equal(np.diagonal(cells.z), 0)
    for part in ("%{x}", "%{y}", "%{z"):
        assert part in cells.hovertemplate
    assert figure.layout.coloraxis.colorbar.title.text == "nats"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, D.max())
    assert figure.layout.yaxis.scaleanchor == "x"
    # The first model is at the top and on the left.
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert figure.layout.xaxis.range[0] < figure.layout.xaxis.range[1]


def test_strips_show_the_groups_along_both_axes(provenance: Provenance) -> None:
    groups = ["early", "late", "early", ""]
    figure = dissimilarity_heatmap(dissimilarities(4), list("abcd"), [0, 2, 1, 3], provenance, groups=groups)
    legend = {trace.name: trace.marker.color for trace in figure.data[1:]}
    assert set(legend) == {"early", "late"}
    assert legend["early"] != legend["late"]
    rows = [shape for shape in figure.layout.shapes if shape.x1 <= -0.5]
    columns = [shape for shape in figure.layout.shapes if shape.y1 <= -0.5]
    assert [(s.name, s.y0, s.y1) for s in rows] == [("early", -0.5, 1.5), ("late", 1.5, 2.5)]
    assert [(s.name, s.x0, s.x1) for s in columns] == [("early", -0.5, 1.5), ("late", 1.5, 2.5)]
    assert all(shape.fillcolor == legend[shape.name] for shape in figure.layout.shapes)
    assert figure.layout.xaxis.range[0] <= min(shape.x0 for shape in rows)
    assert figure.layout.yaxis.range[1] <= min(shape.y0 for shape in columns)
    plain = dissimilarity_heatmap(dissimilarities(4), list("abcd"), range(4), provenance)
    assert not plain.layout.shapes
    assert plain.layout.xaxis.range[0] == -0.5


@pytest.mark.parametrize(
    ("groups", "colours"),
    [(["lh", "rh"], HEMISPHERE_COLOURS), (["contrastive", "untuned"], METHOD_COLOURS)],
)
def test_strips_of_hemispheres_and_methods_have_their_colours(
    groups: list[str], colours: dict[str, str], provenance: Provenance
) -> None:
    figure = dissimilarity_heatmap(dissimilarities(2), ["a", "b"], [0, 1], provenance, groups=groups)
    assert {trace.name: trace.marker.color for trace in figure.data[1:]} == {name: colours[name] for name in groups}


def test_thirty_groups_have_thirty_colours(provenance: Provenance) -> None:
    groups = list(ROI_ORDER[:30])
    figure = dissimilarity_heatmap(dissimilarities(30), groups, range(30), provenance, groups=groups)
    assert len({trace.marker.color for trace in figure.data[1:]}) == 30
    few = dissimilarity_heatmap(dissimilarities(2), ["a", "b"], [0, 1], provenance, groups=["PPA", "V1v"])
    colours = {trace.name: trace.marker.color for trace in figure.data[1:]}
    assert {trace.name: trace.marker.color for trace in few.data[1:]} == {
        name: colours[name] for name in ("V1v", "PPA")
    }


@pytest.mark.parametrize(("n", "named"), [(MODEL_LABELS, 60), (MODEL_LABELS + 1, 31), (300, 60)])
def test_many_models_have_fewer_labels_but_all_cells(n: int, named: int, provenance: Provenance) -> None:
    names = [f"model {number}" for number in range(n)]
    figure = dissimilarity_heatmap(dissimilarities(n), names, range(n), provenance)
    assert len(figure.layout.xaxis.tickvals) == len(figure.layout.yaxis.tickvals) == named
    assert figure.data[0].z.shape == (n, n)
    assert (f"of {n} models" in printed(figure)) == (n > MODEL_LABELS)
    assert figure.layout.height < 1000


def test_colours_may_end_below_the_farthest_models(provenance: Provenance) -> None:
    figure = dissimilarity_heatmap(dissimilarities(4), list("abcd"), range(4), provenance, highest=0.25)
    assert figure.layout.coloraxis.cmax == 0.25
    assert "end at 0.25 nats" in printed(figure)


def test_unknown_and_identical_dissimilarities(provenance: Provenance) -> None:
    D = np.array([[0, np.nan], [np.nan, 0]])
    figure = dissimilarity_heatmap(D, ["a <i>", "a <i>"], [0, 1], provenance)
    assert figure.layout.coloraxis.cmax > 0
    assert np.isnan(figure.data[0].z[0][1])
    assert figure.data[0].hoverongaps is False
    assert list(figure.data[0].x) == ["a &lt;i&gt;", "a &lt;i&gt; (2)"]


@pytest.mark.parametrize(
    "wrong",
    [{"D": np.zeros((3, 3))}, {"order": [0, 0]}, {"order": [0]}, {"groups": ["early"]}, {"names": ["a"]}],
    ids=["other matrix", "one twice", "one missing", "group missing", "name missing"],
)
def test_other_models_in_the_parts_are_refused(wrong: dict[str, Any], provenance: Provenance) -> None:
    asked: dict[str, Any] = {"D": np.zeros((2, 2)), "names": ["a", "b"], "order": [1, 0], **wrong}
    with pytest.raises(SpecError, match="not of the same models"):
        dissimilarity_heatmap(**asked, provenance=provenance)


def test_no_models_to_compare(provenance: Provenance) -> None:
    figure = dissimilarity_heatmap(np.zeros((0, 0)), [], [], provenance)
    assert not figure.data
    assert "No model" in printed(figure, "empty")
