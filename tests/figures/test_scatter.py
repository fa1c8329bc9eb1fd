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


def test_scatter_has_a_point_per_known_vertex(provenance: Provenance) -> None:
    frame = vertices(100)
    frame.loc[[0, 2], "untuned"] = np.nan
    figure = vertex_scatter(frame, provenance)
    assert [len(trace.x) for trace in figure.data[:2]] == [48, 50]
    np.testing.assert_allclose(figure.data[1].y, frame.loc[frame["hemi"] == "rh", "contrastive"], rtol=1e-6)
    assert figure.layout.xaxis.range == figure.layout.yaxis.range


@pytest.mark.parametrize(("n", "kind"), [(SVG_POINTS, "scatter"), (SVG_POINTS + 2, "scattergl")])
def test_many_points_are_drawn_by_webgl(n: int, kind: str, provenance: Provenance) -> None:
    assert vertex_scatter(vertices(n), provenance).data[0].type == kind


def test_scatter_without_any_known_vertex(provenance: Provenance) -> None:
    frame = vertices(4).assign(untuned=np.nan)
    assert len(vertex_scatter(frame, provenance).data) == 1
