"""One point per test picture: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from brainviz.figures.response_scatter import response_scatter
from brainviz.figures.style import METHOD_COLOURS, Provenance


def responses(n: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    measured = rng.standard_normal(n)
    names = [f"pic-{number}" for number in range(n)]
    return pd.DataFrame({"picture": names, "measured": measured, "predicted": 0.4 * measured + 0.1})


def test_predicted_is_upwards_over_measured(provenance: Provenance) -> None:
    frame = responses()
    figure = response_scatter(frame, "contrastive", 0.42, provenance, unit="standard deviations")
    (points,) = (trace for trace in figure.data if trace.mode == "markers")
    np.testing.assert_array_equal(points.x, frame["measured"])
    np.testing.assert_array_equal(points.y, frame["predicted"])
    assert [row[0] for row in points.customdata] == list(frame["picture"])
    assert points.marker.color == METHOD_COLOURS["contrastive"]
    assert figure.layout.xaxis.title.text == "measured response (standard deviations)"
    assert figure.layout.yaxis.title.text == "predicted (standard deviations)"
    for axis, name in ((figure.layout.xaxis, "measured"), (figure.layout.yaxis, "predicted")):
        assert axis.range[0] < frame[name].min()
        assert axis.range[1] > frame[name].max()


def test_the_dotted_line_is_where_both_are_equal_and_lies_inside(provenance: Provenance) -> None:
    figure = response_scatter(responses(), "untuned", 0.42, provenance)
    (line,) = (trace for trace in figure.data if trace.mode == "lines")
    assert tuple(line.x) == tuple(line.y)
    assert tuple(line.y) == tuple(figure.layout.yaxis.range)
    apart = responses().assign(predicted=lambda frame: frame["predicted"] + 100)
    assert [trace.mode for trace in response_scatter(apart, "untuned", 0.4, provenance).data] == ["markers"]


@pytest.mark.parametrize(("r", "words"), [(0.4216, "r = 0.422"), (-0.1, "r = −0.100"), (np.nan, "r is undefined")])
def test_r_is_printed_as_given(r: float, words: str, provenance: Provenance) -> None:
    figure = response_scatter(responses(), "untuned", r, provenance)
    (text,) = (a.text for a in figure.layout.annotations if a.name is None)
    assert words in text
    assert "50 test pictures" in text


def test_constant_and_undefined_predictions_can_be_drawn(provenance: Provenance) -> None:
    for value in (0.0, np.nan):
        figure = response_scatter(responses().assign(predicted=value), "untuned", np.nan, provenance)
        low, high = figure.layout.yaxis.range
        assert low < high
