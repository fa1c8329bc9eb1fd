"""Bars per ROI: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from brainviz.figures.bars import correlation_bars, count_bars, improved_bars
from brainviz.figures.style import METHOD_COLOURS, Provenance


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = [(h, roi, m) for h in ("rh", "lh") for roi in ("V1", "V2") for m in ("contrastive", "untuned")]
    frame = pd.DataFrame(rows, columns=["hemi", "roi", "method"])
    return frame.assign(r_mean=np.arange(len(frame)) / 10)


def test_counts_per_hemisphere(provenance: Provenance) -> None:
    counts = pd.DataFrame({"roi": ["V1", "V1", "V2"], "hemi": ["lh", "rh", "lh"], "vertices": [5, 6, 7]})
    left, right = count_bars(counts, "vertex", provenance).data
    assert (list(left.x), list(left.y), left.name) == (["V1", "V2"], [5, 7], "left hemisphere")
    assert (list(right.x), list(right.y)) == (["V1"], [6])


@pytest.mark.parametrize(("unit", "title"), [("vertex", "vertices"), ("neuron", "neurons")])
def test_counts_are_of_the_data_sets_unit(unit: str, title: str, provenance: Provenance) -> None:
    counts = pd.DataFrame({"roi": ["V4"], "hemi": ["lh"], "vertices": [5]})
    assert count_bars(counts, unit, provenance).layout.yaxis.title.text == title


def test_methods_stand_side_by_side_in_a_panel_per_hemisphere(scores: pd.DataFrame, provenance: Provenance) -> None:
    figure = correlation_bars(scores, provenance)
    assert [(bar.name, bar.xaxis) for bar in figure.data] == [
        ("untuned", "x"), ("contrastive", "x"), ("untuned", "x2"), ("contrastive", "x2"),
    ]  # fmt: skip
    left_untuned = scores[(scores["hemi"] == "lh") & (scores["method"] == "untuned")]
    assert list(figure.data[0].y) == list(left_untuned["r_mean"])
    assert figure.data[0].marker.color == METHOD_COLOURS["untuned"]
    assert sum(bar.showlegend for bar in figure.data) == 2


def test_one_method_alone_is_drawn(scores: pd.DataFrame, provenance: Provenance) -> None:
    assert len(correlation_bars(scores[scores["method"] == "untuned"], provenance).data) == 2


def test_share_improved_is_drawn_over_0_to_1(provenance: Provenance) -> None:
    shares = pd.DataFrame({"roi": ["V1", "V1"], "hemi": ["lh", "rh"], "improved": [0.75, 0.4]})
    figure = improved_bars(shares, provenance)
    assert [list(bar.y) for bar in figure.data] == [[0.75], [0.4]]
    assert list(figure.layout.yaxis.range) == [0, 1]
    assert figure.layout.shapes[0].y0 == 0.5
