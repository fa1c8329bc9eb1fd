"""One point per vertex: the r of two methods against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.style import HEMISPHERE_COLOURS, MUTED, Provenance, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Above this many points, WebGL draws them; below, SVG is sharper and leaves the graphics contexts to the brains.
SVG_POINTS = 4000


def vertex_scatter(vertices: pd.DataFrame, provenance: Provenance) -> go.Figure:
    """Draw the contrastive r of every vertex over its untuned r; points above the diagonal improved.

    Parameters
    ----------
    vertices : frame
        Columns ``hemi``, ``roi``, ``column``, ``untuned``, ``contrastive``; rows with NaN are left out.
    provenance : Provenance
    """
    import plotly.graph_objects as go

    known = vertices.dropna(subset=["untuned", "contrastive"])
    draw = go.Scatter if len(known) <= SVG_POINTS else go.Scattergl
    figure = go.Figure()
    for hemi, name in HEMISPHERE_NAMES.items():
        rows = known[known["hemi"] == hemi]
        if rows.empty:
            continue
        figure.add_trace(
            draw(
                x=rows["untuned"].to_numpy(np.float32),
                y=rows["contrastive"].to_numpy(np.float32),
                mode="markers",
                name=name,
                marker={"size": 5, "opacity": 0.6, "color": HEMISPHERE_COLOURS[hemi]},
                customdata=rows[["roi", "column"]],
                hovertemplate="%{customdata[0]}, column %{customdata[1]}<br>"
                "untuned %{x:.3f}, contrastive %{y:.3f}<extra></extra>",
            )
        )
    values = known[["untuned", "contrastive"]].to_numpy(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = 0.04 * (high - low or 1.0)
    ends = [low - pad, high + pad]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": MUTED, "dash": "dot", "width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.update_xaxes(title="test r, untuned", range=ends)
    figure.update_yaxes(title="test r, contrastive", range=ends)
    return finish(figure, provenance, height=460, characters=90)
