"""One point per vertex: the r of two methods against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.style import HEMISPHERE_COLOURS, INK, Provenance, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Above this many points, WebGL draws them; below, SVG is sharper and leaves the graphics contexts to the brains.
SVG_POINTS = 4000


def vertex_scatter(
    vertices: pd.DataFrame,
    first: str,
    second: str,
    provenance: Provenance,
    *,
    shares: Mapping[str, float] | None = None,
    label: str = "test r",
) -> go.Figure:
    """Draw every vertex's r with one method over its r with another, one panel per hemisphere.

    Parameters
    ----------
    vertices : frame
        Columns ``hemi``, ``roi``, ``column``, one of r named as each method, and ``subject`` if there are several; rows
        with NaN in one of the methods are left out.
    first, second : str
        The methods: `first` upwards, `second` to the right, so that vertices above the diagonal are better with
        `first`.
    provenance : Provenance
    shares : mapping, optional
        Hemisphere -> share of its vertices above the diagonal (0..1), printed in its panel.
    label : str
        What the axes show of a method.

    Returns
    -------
    plotly figure
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    known = vertices.dropna(subset=[first, second])
    hemispheres = [hemi for hemi in HEMISPHERE_NAMES if (known["hemi"] == hemi).any()]
    figure = make_subplots(cols=max(len(hemispheres), 1), horizontal_spacing=0.04)
    ends = _ends(known, first, second)
    draw = go.Scatter if len(known) <= SVG_POINTS else go.Scattergl
    several = "subject" in known
    for number, hemi in enumerate(hemispheres, start=1):
        rows, name = known[known["hemi"] == hemi], HEMISPHERE_NAMES[hemi]
        points = draw(
            x=rows[second].to_numpy(np.float32),
            y=rows[first].to_numpy(np.float32),
            mode="markers",
            name=name,
            marker=_marker(len(rows), HEMISPHERE_COLOURS[hemi]),
            customdata=rows[["roi", "column", *(["subject"] if several else [])]],
            hovertemplate=f"{'%{customdata[2]}, ' if several else ''}{name}, %{{customdata[0]}}, "
            f"column %{{customdata[1]}}<br>{first} %{{y:.3f}}, {second} %{{x:.3f}}<extra></extra>",
        )
        # Of the same kind as the points: WebGL lies above everything that is not.
        diagonal = draw(x=ends, y=ends, mode="lines", line={"color": INK, "width": 1.2}, hoverinfo="skip")
        for trace in (points, diagonal):
            figure.add_trace(trace, row=1, col=number)
        share = None if shares is None else shares.get(hemi)
        _print(
            figure, number, name, "" if share is None else f"{share:.1%} better with {first}", f"{len(rows):,} points"
        )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title=f"{label}, {second}", range=ends, constrain="domain", constraintoward="left")
    for number in range(1, max(len(hemispheres), 1) + 1):
        # A unit is as long upwards as to the right. The panels have one range; the second needs no numbers of its own.
        figure.update_yaxes(
            range=ends,
            constrain="domain",
            constraintoward="top",
            scaleanchor=f"x{number}" if number > 1 else "x",
            showticklabels=number == 1,
            row=1,
            col=number,
        )
    figure.update_yaxes(title=f"{label}, {first}", row=1, col=1)
    return finish(figure, provenance, height=520, characters=90)


def _ends(known: pd.DataFrame, first: str, second: str) -> list[float]:
    """Return the range that both axes share."""
    values = known[[first, second]].to_numpy(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    pad = 0.04 * (high - low or 1.0)
    return [low - pad, high + pad]


def _marker(n: int, colour: str) -> dict[str, object]:
    """Return the look of `n` points: the more there are, the smaller and the more transparent."""
    opacity = min(0.65, 40 / max(n, 1) ** 0.5)
    return {"size": round(2 + 5 * opacity, 1), "opacity": round(opacity, 2), "color": colour}


def _print(figure: go.Figure, number: int, title: str, *lines: str) -> None:
    """Print lines in a panel's upper left corner, where few points lie, the first in bold."""
    axis = "" if number == 1 else str(number)
    figure.add_annotation(
        text="<br>".join([f"<b>{title}</b>", *(line for line in lines if line)]),
        x=0.02,
        y=0.98,
        xref=f"x{axis} domain",
        yref=f"y{axis} domain",
        xanchor="left",
        yanchor="top",
        align="left",
        showarrow=False,
        bgcolor="rgba(255, 255, 255, 0.8)",
        font={"size": 13, "color": INK},
    )
