"""The scan of settings: every panel has its lines, what was chosen is marked, one setting or no concept is drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from brainviz.figures.concept_scan import scan_chart
from brainviz.figures.style import Provenance
from tests.drawn import by_name, numbers, printed


def scanned(settings: tuple[int, ...] = (2, 3)) -> pd.DataFrame:
    rows = [
        (eps, m, int(100 * eps) - 40 - m if eps > 0.5 else 0, eps / 2, m + 2.5, m + 1, eps / 4, 0.9, 0.8, m, eps / 9)
        for m in settings
        for eps in (0.5, 0.55, 0.6, 0.65)
    ]
    columns = "eps min_participants n_concepts share mean_participants fewest_participants largest rand overlap"
    columns += " n_concepts_by_chance share_by_chance"
    frame = pd.DataFrame(rows, columns=columns.split())
    frame.loc[frame["min_participants"] != 3, ["rand", "overlap"]] = np.nan
    return frame


DRAWN: dict[str, Callable[[Provenance], go.Figure]] = {
    "scan": lambda p: scan_chart(scanned(), p, chosen=(0.6, 3), title="A title"),
}
EMPTY: dict[str, Callable[[Provenance], go.Figure]] = {
    "scan": lambda p: scan_chart(scanned(()), p, chosen=None),
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


def test_the_scan_has_a_panel_per_quantity_with_a_line_per_number_of_participants(provenance: Provenance) -> None:
    frame = scanned()
    figure = scan_chart(frame, provenance, chosen=(0.6, 3))
    panels: dict[str, list[Any]] = {}
    for trace in figure.data:
        if trace.legendgroup != "chosen":
            panels.setdefault(trace.yaxis, []).append(trace)
    quantities = [
        ["n_concepts", "n_concepts_by_chance"],
        ["share", "share_by_chance"],
        ["largest"],
        ["mean_participants", "fewest_participants"],
    ]
    for axis, columns in zip(("y", "y2", "y3", "y4"), quantities, strict=True):
        drawn = iter(panels[axis])
        for setting in (2, 3):
            rows = frame[frame["min_participants"] == setting]
            for column, dash in zip(columns, ("solid", "dot"), strict=False):
                trace = next(drawn)
                expected = rows[column].where(rows["n_concepts"] > 0) if "participants" in column else rows[column]
                np.testing.assert_allclose(numbers(trace.y), np.log1p(expected) if axis == "y" else expected)
                np.testing.assert_array_equal(
                    trace.customdata, rows[["eps", "min_participants"]].assign(drawn=expected)
                )
                assert trace.line.dash == dash
                assert trace.name == f"at least {setting} others"
    assert [trace.line.dash for trace in panels["y5"]] == ["solid", "dot"]
    assert len({trace.line.color for trace in panels["y"]}) == 2
    assert len({trace.line.color for trace in panels["y5"]}) == 1
    assert [trace.name for trace in figure.data if trace.showlegend] == [
        "at least 2 others", "at least 3 others", "chosen: eps 0.6, 3",
    ]  # fmt: skip
    assert figure.layout.yaxis2.tickformat == ".0%"
    ticks = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert ticks == {text: pytest.approx(np.log1p(int(text))) for text in ("0", "1", "3", "10")}
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert any(title.startswith("participants per concept<br>") for title in titles)


def test_what_was_chosen_is_marked_in_every_panel(provenance: Provenance) -> None:
    frame = scanned()
    figure = scan_chart(frame, provenance, chosen=(0.6, 3))
    rings = [trace for trace in figure.data if trace.legendgroup == "chosen"]
    row = frame[np.isclose(frame["eps"], 0.6) & (frame["min_participants"] == 3)].iloc[0]
    expected = [
        ["n_concepts", "n_concepts_by_chance"],
        ["share", "share_by_chance"],
        ["largest"],
        ["mean_participants", "fewest_participants"],
        ["rand", "overlap"],
    ]
    assert [ring.yaxis for ring in rings] == ["y", "y2", "y3", "y4", "y5"]
    for ring, columns in zip(rings, expected, strict=True):
        expected_y = [row[column] for column in columns]
        np.testing.assert_allclose(ring.y, np.log1p(expected_y) if ring.yaxis == "y" else expected_y)
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
