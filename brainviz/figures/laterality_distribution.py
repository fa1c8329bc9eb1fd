"""Laterality indices of single pictures: a row per model, a point per picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainviz.figures.laterality_marks import (
    add_key,
    hemispheres_present,
    left_out_words,
    marker_shape,
    method_symbols,
    model_colour,
)
from brainviz.figures.style import (
    INK,
    LINE_PIXELS,
    MUTED,
    Provenance,
    distinct,
    empty_figure,
    finish,
    signed,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

#: The shortest axis of indices: so far on both sides of 0.
LEAST_INDEX = 0.2
#: From so many pictures on, a row of the distribution has a shape; of fewer it would tell of no more than its width.
SHAPE_PICTURES = 10
#: Pixels of a row of the distribution, and the least of all.
ROW_PIXELS, LEAST_PIXELS = 62, 120
#: Above this many pictures, points are smaller.
FEW_PICTURES = 200
#: Spreads successive whole numbers evenly over 0..1 (fractional part of their multiples).
GOLDEN = 0.6180339887498949


def index_distribution(table: pd.DataFrame, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Draw the laterality indices of single pictures: a row per model, with every picture as a point.

    Parameters
    ----------
    table : frame
        Columns ``model`` (its name), ``hemi`` (``"lh"``, ``"rh"`` or empty), ``method``, ``image`` (int, the picture's
        row), ``index`` (−1..1), ``run``. Models are shown in order of first appearance, the first at the top. Pictures
        without an index are left out, and the note says how many.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data are the id of its run and the picture's row; nothing else answers to clicks. Points of a
        row are spread upwards and downwards to be told apart, a picture in the same way in every row.
    """
    import plotly.graph_objects as go

    known = table.dropna(subset=["index"]).fillna({"model": "", "hemi": "", "method": "", "run": ""})
    if known.empty:
        return empty_figure("No picture has a laterality index yet.", provenance, title=title)
    models = list(known.groupby(["model", "hemi", "method"], sort=False))
    labels = distinct(key[0] for key, _ in models)
    symbols = method_symbols(known["method"])
    figure, named = go.Figure(), []
    for row, ((key, pictures), label) in enumerate(zip(models, labels, strict=True)):
        hemi, method = str(key[1]), str(key[2])
        # The first model is at the top.
        height = len(models) - 1 - row
        values = pictures["index"].to_numpy(np.float64)
        colour, mean = model_colour(hemi, method), float(values.mean())
        if len(values) >= SHAPE_PICTURES and np.ptp(values) > 0:
            _add_shape(figure, values, height, colour)
        size = 6 if len(values) <= FEW_PICTURES else 4
        figure.add_scatter(
            x=values,
            y=height - 0.08 - 0.32 * (pictures["image"].to_numpy(np.float64) * GOLDEN % 1),
            mode="markers",
            name=label,
            showlegend=False,
            cliponaxis=False,
            marker={"color": colour, "size": size, "opacity": 0.65, **marker_shape(symbols[method], size)},
            customdata=[[run, int(image)] for run, image in zip(pictures["run"], pictures["image"], strict=True)],
            hovertemplate=f"{label}<br>image %{{customdata[1]}}: %{{x:.3f}}<extra></extra>",
        )
        figure.add_scatter(
            x=[mean, mean],
            y=[height - 0.44, height + 0.44],
            mode="lines",
            name="mean",
            showlegend=False,
            line={"color": INK, "width": 2.5},
            hoverinfo="skip",
        )
        words = f"mean {signed(mean)}, {len(values):,} picture{'s' if len(values) != 1 else ''}"
        named.append(f"{label}<br><span style='font-size:11px;color:{MUTED}'>{words}</span>")
    add_key(figure, hemispheres_present(str(key[1]) for key, _ in models), symbols)
    figure.add_vline(0, line={"color": MUTED, "width": 1.2}, layer="below")
    end = max(LEAST_INDEX, min(1.05 * float(known["index"].abs().max()), 1.0))
    figure.update_layout(violinmode="overlay")
    figure.update_xaxes(title="laterality index of a picture (−1 left half, +1 right half)", range=[-end, end])
    figure.update_yaxes(
        tickvals=list(range(len(models)))[::-1], ticktext=named, range=[-0.55, len(models) - 0.4], showgrid=False
    )
    notes = ["Points: single pictures; shape: how densely they lie; upright line: mean."]
    notes += left_out_words(len(table) - len(known), "an index")
    height = max(ROW_PIXELS * len(models), LEAST_PIXELS) + 36 + 24 * bool(title) + 66 + 3 * LINE_PIXELS
    finish(figure, provenance, height=height, title=title, characters=120, note=" ".join(notes))
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure


def _add_shape(figure: go.Figure, values: Numbers, height: float, colour: str) -> None:
    """Draw how densely values lie, on a row's upper side."""
    figure.add_violin(
        x=values,
        y0=height,
        orientation="h",
        side="positive",
        width=0.84,
        points=False,
        spanmode="hard",
        fillcolor=colour,
        opacity=0.3,
        line={"width": 0},
        showlegend=False,
        hoverinfo="skip",
    )
