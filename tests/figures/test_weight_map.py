"""The map of weight space: every vertex is a point with its number; colours stay, names of any length are cut."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.concepts import NONE_COLOUR
from brainviz.figures.style import HEMISPHERE_COLOURS, Provenance
from brainviz.figures.weight_map import MAP_POINTS, MAP_TRACES, weight_map
from tests.drawn import by_name, printed

LONG = "people in groups seated around a table on which there is <food>"
SUBJECTS = ("subj01", "subj02", "subj05")


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


def in_legend(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend]


DRAWN: dict[str, Callable[[Provenance], go.Figure]] = {
    "map": lambda p: weight_map(vertices(), p, colour="concept", title="A title"),
}
EMPTY: dict[str, Callable[[Provenance], go.Figure]] = {
    "map": lambda p: weight_map(vertices(0), p, colour="concept"),
    "map of NaN": lambda p: weight_map(vertices().assign(x=np.nan), p, colour="roi"),
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


def test_vertices_are_points_with_their_numbers_and_none_lies_below(provenance: Provenance) -> None:
    frame = vertices()
    figure = weight_map(frame, provenance, colour="concept")
    assert in_legend(figure) == ["none", "faces", "places"]
    assert {trace.type for trace in figure.data} == {"scattergl"}
    for trace in figure.data:
        rows = frame.set_index("point").loc[[row[0] for row in trace.customdata]]
        assert set(rows["concept"]) == {trace.name} == {trace.legendgroup}
        np.testing.assert_allclose(trace.x, rows["x"], rtol=1e-6)
        np.testing.assert_allclose(trace.y, rows["y"], rtol=1e-6)
    assert sorted(row[0] for trace in figure.data for row in trace.customdata) == list(frame["point"])
    assert [trace.name for trace in figure.data].count("none") == 1
    assert figure.data[0].marker.color == NONE_COLOUR
    # In the legend it comes last.
    assert figure.data[0].legendrank > figure.data[1].legendrank
    assert figure.layout.dragmode == "lasso"
    assert figure.layout.yaxis.scaleanchor == "x"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("UMAP 1", "UMAP 2")
    assert "%{customdata[3]}" in figure.data[1].hovertemplate
    assert list(figure.data[1].customdata[0]) == [1001, "faces", "subj01", "right hemisphere, V1v"]
    assert "60 vertices" in printed(figure)


def test_categories_are_drawn_in_turns_so_that_none_hides_the_others(provenance: Provenance) -> None:
    names = [trace.name for trace in weight_map(vertices(600), provenance, colour="subject").data]
    assert names == [*SUBJECTS] * (len(names) // 3)
    assert 10 < len(names) <= MAP_TRACES


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
    assert in_legend(figure) == names
    assert sum(len(trace.x) for trace in figure.data) == 60
    if colour == "hemi":
        assert [trace.marker.color for trace in figure.data[:2]] == list(HEMISPHERE_COLOURS.values())


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
    assert ring.customdata is None
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
