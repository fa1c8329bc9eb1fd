"""One point per vertex: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from brainviz.figures.scatter import SVG_POINTS, vertex_scatter
from brainviz.figures.style import Provenance


def vertices(n: int) -> pd.DataFrame:
    r = np.random.default_rng(0).uniform(-0.1, 0.6, (2, n))
    return pd.DataFrame(
        {"hemi": ["lh", "rh"] * (n // 2), "roi": "V1", "column": np.arange(n), "untuned": r[0], "contrastive": r[1]}
    )


def test_first_method_is_upwards_and_unknown_vertices_are_left_out(provenance: Provenance) -> None:
    frame = vertices(100)
    frame.loc[[0, 2], "untuned"] = np.nan
    figure = vertex_scatter(frame, "contrastive", "untuned", provenance)
    left, right = (trace for trace in figure.data if trace.mode == "markers")
    assert (len(left.x), len(right.x)) == (48, 50)
    np.testing.assert_allclose(right.y, frame.loc[frame["hemi"] == "rh", "contrastive"], rtol=1e-6)
    np.testing.assert_allclose(right.x, frame.loc[frame["hemi"] == "rh", "untuned"], rtol=1e-6)
    assert (left.xaxis, right.xaxis) == ("x", "x2")
    ranges = {getattr(figure.layout, axis).range for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2")}
    assert len(ranges) == 1
    assert figure.layout.yaxis.title.text == "test r, contrastive"


def test_diagonal_runs_through_every_panel(provenance: Provenance) -> None:
    figure = vertex_scatter(vertices(10), "contrastive", "untuned", provenance)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [line.xaxis for line in lines] == ["x", "x2"]
    assert all(tuple(line.x) == tuple(line.y) for line in lines)


def test_share_above_the_diagonal_is_printed_as_given(provenance: Provenance) -> None:
    figure = vertex_scatter(vertices(10), "contrastive", "untuned", provenance, shares={"lh": 0.734, "rh": 0.2})
    left, right = (a.text for a in figure.layout.annotations if a.name is None)
    assert "left hemisphere" in left
    assert "73.4% better with contrastive" in left
    assert "20.0% better" in right
    assert "5 points" in right
    without = vertex_scatter(vertices(10), "contrastive", "untuned", provenance)
    assert not any("better" in a.text for a in without.layout.annotations)


def test_hover_names_the_subject_only_where_there_are_several(provenance: Provenance) -> None:
    one = vertex_scatter(vertices(4), "contrastive", "untuned", provenance).data[0]
    many = vertex_scatter(vertices(4).assign(subject="subj07"), "contrastive", "untuned", provenance).data[0]
    assert [list(row) for row in one.customdata] == [["V1", 0], ["V1", 2]]
    assert [list(row) for row in many.customdata] == [["V1", 0, "subj07"], ["V1", 2, "subj07"]]
    assert "%{customdata[2]}" in many.hovertemplate
    assert "%{customdata[2]}" not in one.hovertemplate
    assert "contrastive %{y:.3f}, untuned %{x:.3f}" in one.hovertemplate


@pytest.mark.parametrize(("n", "kind"), [(SVG_POINTS, "scatter"), (SVG_POINTS + 2, "scattergl")])
def test_many_points_are_drawn_by_webgl(n: int, kind: str, provenance: Provenance) -> None:
    figure = vertex_scatter(vertices(n), "contrastive", "untuned", provenance)
    assert {trace.type for trace in figure.data} == {kind}


def test_more_points_are_drawn_smaller_and_fainter(provenance: Provenance) -> None:
    few, many = (
        vertex_scatter(vertices(n), "contrastive", "untuned", provenance).data[0].marker for n in (100, 40_000)
    )
    assert many.size < few.size
    assert 0.05 < many.opacity < few.opacity


def test_scatter_without_any_known_vertex(provenance: Provenance) -> None:
    figure = vertex_scatter(vertices(4).assign(untuned=np.nan), "contrastive", "untuned", provenance)
    assert not figure.data
