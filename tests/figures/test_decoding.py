"""Figures of decoding: every curve is what was given, with its interval, and chance belongs to its pictures."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.errors import SpecError
from brainviz.figures.decoding import FEW_NAMES, loss_curves, retrieval_curves, subject_colours
from brainviz.figures.style import CATEGORY_COLOURS, Provenance
from tests.drawn import printed

KS = (1, 5, 10, 50)
SUBJECTS = ("subj01", "subj02", "subj05")


def retrieval(
    subjects: tuple[str, ...] = SUBJECTS, n: tuple[int, ...] = (1000,), *, ridge: bool = True
) -> pd.DataFrame:
    """Every value differs from every other; intervals reach 0.01 down and 0.02 up."""
    rows = [
        (subject, k, 0.1 * (at + 1) + 0.01 * i, k / n[at % len(n)], n[at % len(n)])
        for at, subject in enumerate(subjects)
        for i, k in enumerate(KS)
    ]
    frame = pd.DataFrame(rows, columns=["subject", "k", "decoder", "chance", "n"])
    frame["ridge"] = frame["decoder"] / 2 if ridge else np.nan
    for what in ("decoder", "ridge"):
        frame[f"{what}_low"], frame[f"{what}_high"] = frame[what] - 0.01, frame[what] + 0.02
    return frame


def lines(figure: go.Figure, name: str) -> list[go.Scatter]:
    """Drawn lines of a kind; entries of the legend hold no value."""
    return [trace for trace in figure.data if trace.name == name and trace.x[0] is not None]


def keys(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.showlegend is not False}


def test_decoder_and_ridge_are_lines_in_the_colour_of_their_subject(provenance: Provenance) -> None:
    frame = retrieval()
    figure = retrieval_curves(frame, provenance)
    for what, dash in (("decoder", "solid"), ("ridge", "dot")):
        drawn = lines(figure, what)
        assert len(drawn) == len(SUBJECTS)
        for at, (trace, subject) in enumerate(zip(drawn, SUBJECTS, strict=True)):
            rows = frame[frame["subject"] == subject]
            # Beside each other by less than a tenth.
            np.testing.assert_allclose(trace.x, KS, rtol=0.1)
            np.testing.assert_allclose(trace.y, rows[what])
            np.testing.assert_allclose(trace.error_y.arrayminus, 0.01)
            np.testing.assert_allclose(trace.error_y.array, 0.02)
            assert trace.error_y.visible == (what == "decoder")
            assert (trace.line.dash, trace.line.color) == (dash, CATEGORY_COLOURS[at])
            assert trace.legendgroup == subject
            assert trace.hovertext[1].startswith(
                f"{subject}, first 5 of 1,000<br>{what}: {rows[what].iloc[1]:.1%} (95 %"
            )
            assert "chance: 0.5%" in trace.hovertext[1]
    middle = [lines(figure, "decoder")[at].x[0] for at in range(3)]
    assert middle[0] < middle[1] < middle[2]
    assert middle[1] == pytest.approx(1)


def test_axes_have_the_ks_that_there_are_and_shares_in_percent(provenance: Provenance) -> None:
    figure = retrieval_curves(retrieval(), provenance)
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.tickvals) == list(KS)
    assert figure.layout.xaxis.range[0] < 0 < np.log10(50) < figure.layout.xaxis.range[1]
    assert figure.layout.yaxis.tickformat.endswith("%")
    assert "held-out" in figure.layout.yaxis.title.text
    assert "all 1,000 are ranked" in printed(figure)


def test_chance_is_one_line_per_number_of_pictures(provenance: Provenance) -> None:
    (only,) = lines(retrieval_curves(retrieval(), provenance), "chance")
    np.testing.assert_allclose(only.y, np.array(KS) / 1000)
    np.testing.assert_allclose(only.x, KS)
    assert only.line.dash == "dash"
    figure = retrieval_curves(retrieval(n=(1000, 500, 1000)), provenance)
    fewer, more = lines(figure, "chance")
    np.testing.assert_allclose(fewer.y, 2 * np.array(more.y))
    assert "of 500:" in fewer.hovertemplate
    assert "all 500 to 1,000 are ranked" in printed(figure)
    assert sum(trace.name == "chance" and trace.showlegend is not False for trace in figure.data) == 1


def test_without_a_ridge_there_is_no_word_of_it(provenance: Provenance) -> None:
    figure = retrieval_curves(retrieval(ridge=False), provenance)
    assert not lines(figure, "ridge")
    assert list(keys(figure)) == ["decoder", "chance", *SUBJECTS]
    assert "ridge" not in printed(figure)
    assert list(keys(retrieval_curves(retrieval(), provenance))) == ["decoder", "ridge", "chance", *SUBJECTS]


def test_unknown_values_are_gaps_and_unknown_intervals_are_not_claimed(provenance: Provenance) -> None:
    frame = retrieval(("subj01",))
    frame.loc[1, ["decoder", "decoder_low", "decoder_high", "ridge"]] = np.nan
    frame.loc[2, "decoder"] = np.nan
    (decoder,) = lines(retrieval_curves(frame, provenance), "decoder")
    np.testing.assert_array_equal(np.isnan(np.asarray(decoder.y, float)), [False, True, True, False])
    without = frame.assign(decoder_low=np.nan, decoder_high=np.nan)
    figure = retrieval_curves(without, provenance)
    assert "95 % interval" not in lines(figure, "decoder")[0].hovertext[0]
    assert "intervals of the decoder" not in printed(figure)


def test_a_subject_keeps_its_colour_when_another_is_missing(provenance: Provenance) -> None:
    order = ("subj01", "subj02", "subj03", "subj05")
    every, some = (
        {trace.name: trace.marker.color for trace in keys(figure).values() if trace.name.startswith("subj")}
        for figure in (
            retrieval_curves(retrieval(), provenance, order=order),
            retrieval_curves(retrieval(("subj05",)), provenance, order=order),
        )
    )
    assert some == {"subj05": CATEGORY_COLOURS[3]}
    assert every["subj05"] == some["subj05"]
    curves = {"subj05": np.ones((2, 2))}
    assert loss_curves(curves, provenance, order=order).data[0].line.color == some["subj05"]


def test_subjects_that_are_not_in_the_order_come_last_and_colours_begin_again() -> None:
    assert list(subject_colours(["b", "new", "a"], ["b", "c", "a"])) == ["b", "a", "new"]
    assert subject_colours(["new"], ["b", "c", "a"]) == {"new": CATEGORY_COLOURS[3]}
    many = subject_colours([f"s{number:02d}" for number in range(12)])
    assert many["s10"] == CATEGORY_COLOURS[0]


def test_a_long_legend_is_a_column_beside_the_title(provenance: Provenance) -> None:
    few = retrieval_curves(retrieval(("subj01",), ridge=False), provenance, title="Retrieval")
    many = retrieval_curves(retrieval(), provenance, title="Retrieval")
    assert len(keys(few)) <= FEW_NAMES < len(keys(many))
    assert (few.layout.legend.orientation, many.layout.legend.orientation) == ("h", "v")
    assert many.layout.title.text == "Retrieval"


def test_the_same_point_twice_is_refused_by_name(provenance: Provenance) -> None:
    frame = retrieval()
    with pytest.raises(SpecError, match="subj01 at k = 5"):
        retrieval_curves(pd.concat([frame, frame.iloc[[1]]]), provenance)


def test_names_of_subjects_are_no_tags(provenance: Provenance) -> None:
    figure = retrieval_curves(retrieval(("<b>x",)), provenance)
    assert "&lt;b&gt;x" in keys(figure)
    assert all("<b>" not in said for trace in lines(figure, "decoder") for said in trace.hovertext)


@pytest.mark.parametrize("rows", [0, 4])
def test_without_retrieval_the_figure_says_so(rows: int, provenance: Provenance) -> None:
    frame = retrieval().assign(decoder=np.nan, ridge=np.nan).head(rows)
    figure = retrieval_curves(frame, provenance)
    assert not figure.data
    assert "No held-out picture" in printed(figure, "empty")
    assert "brainviz" in printed(figure, "provenance")


def test_loss_is_a_line_per_subject_over_iterations(provenance: Provenance) -> None:
    curves = {name: np.column_stack([[50, 100, 150], [3.0, 2.0, 1.0 + at]]) for at, name in enumerate(SUBJECTS)}
    curves["subj02"][1, 1] = np.nan
    figure = loss_curves(curves, provenance)
    for at, (trace, subject) in enumerate(zip(figure.data, SUBJECTS, strict=True)):
        np.testing.assert_array_equal(trace.x, curves[subject][:, 0])
        np.testing.assert_array_equal(trace.y, curves[subject][:, 1])
        assert (trace.name, trace.mode, trace.line.color) == (subject, "lines", CATEGORY_COLOURS[at])
    assert figure.layout.xaxis.title.text == "iterations"
    assert "loss" in figure.layout.yaxis.title.text
    assert "brainviz" in printed(figure, "provenance")
    assert loss_curves({"subj01": [[5, 1.0]]}, provenance).data[0].mode == "markers"


@pytest.mark.parametrize("curves", [{}, {"subj01": np.empty((0, 2))}, {"subj01": [[5, np.nan]]}, {"subj01": []}])
def test_without_losses_the_figure_says_so(curves: dict[str, np.ndarray], provenance: Provenance) -> None:
    figure = loss_curves(curves, provenance)
    assert not figure.data
    assert "No decoder" in printed(figure, "empty")


def test_what_is_no_loss_curve_is_refused_by_name(provenance: Provenance) -> None:
    with pytest.raises(SpecError, match="subj02"):
        loss_curves({"subj01": np.ones((3, 2)), "subj02": np.ones((2, 3))}, provenance)
