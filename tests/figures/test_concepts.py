"""Figures of all concepts: points and cells are what was given; none, one, forty, and names of any length."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.concepts import (
    LEAST_END,
    MATRIX_LABELS,
    NAME_CHARACTERS,
    concept_chart,
    concept_matrix,
    participant_colour,
    shortened,
)
from brainviz.figures.style import Provenance
from tests.drawn import by_name, numbers, printed

LONG = "people in groups seated around a table on which there is <food>"


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


DRAWN: dict[str, Callable[[Provenance], go.Figure]] = {
    "chart": lambda p: concept_chart(concepts(3), p, title="A title"),
    "matrix": lambda p: concept_matrix(np.eye(2), ["a", "b"], p, title="A title"),
}
EMPTY: dict[str, Callable[[Provenance], go.Figure]] = {
    "chart": lambda p: concept_chart(concepts(0), p),
    "chart without consistency": lambda p: concept_chart(concepts(2).assign(consistency=np.nan), p),
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
