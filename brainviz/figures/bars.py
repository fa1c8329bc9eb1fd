"""Bars per ROI: vertex counts, correlations of two methods side by side, share of vertices improved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.style import HEMISPHERE_COLOURS, METHOD_COLOURS, MUTED, Provenance, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def count_bars(counts: pd.DataFrame, unit: str, provenance: Provenance) -> go.Figure:
    """Draw the number of vertices of every ROI, hemispheres side by side.

    Parameters
    ----------
    counts : frame
        Columns ``roi``, ``hemi``, ``vertices``.
    unit : str
        What one column of the responses is, e.g. ``"vertex"``.
    provenance : Provenance
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for hemi in _in_order(counts["hemi"], HEMISPHERE_NAMES):
        rows = counts[counts["hemi"] == hemi]
        figure.add_bar(
            x=rows["roi"], y=rows["vertices"], name=HEMISPHERE_NAMES[hemi], marker_color=HEMISPHERE_COLOURS[hemi]
        )
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="vertices" if unit == "vertex" else f"{unit}s")
    figure.update_xaxes(tickangle=-35 if counts["roi"].nunique() > 12 else 0)
    return finish(figure, provenance, height=360)


def correlation_bars(scores: pd.DataFrame, provenance: Provenance) -> go.Figure:
    """Draw mean test r per ROI, methods side by side, one panel per hemisphere.

    Parameters
    ----------
    scores : frame
        Columns ``roi``, ``hemi``, ``method``, ``r_mean``.
    provenance : Provenance
    """
    from plotly.subplots import make_subplots

    hemispheres = _in_order(scores["hemi"], HEMISPHERE_NAMES)
    figure = make_subplots(
        rows=1,
        cols=len(hemispheres),
        shared_yaxes=True,
        subplot_titles=[HEMISPHERE_NAMES[h] for h in hemispheres],
        horizontal_spacing=0.04,
    )
    for column, hemi in enumerate(hemispheres, start=1):
        for method in _in_order(scores["method"], METHOD_COLOURS):
            rows = scores[(scores["hemi"] == hemi) & (scores["method"] == method)]
            figure.add_bar(
                x=rows["roi"],
                y=rows["r_mean"],
                name=method,
                legendgroup=method,
                showlegend=column == 1,
                marker_color=METHOD_COLOURS[method],
                hovertemplate="%{x}: %{y:.3f}",
                row=1,
                col=column,
            )
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="mean test r", row=1, col=1)
    return _titled(finish(figure, provenance, height=380, characters=80))


def improved_bars(shares: pd.DataFrame, provenance: Provenance) -> go.Figure:
    """Draw the share of vertices whose r rose, per ROI and hemisphere, with one half marked.

    Parameters
    ----------
    shares : frame
        Columns ``roi``, ``hemi``, ``improved`` (0..1).
    provenance : Provenance
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for hemi in _in_order(shares["hemi"], HEMISPHERE_NAMES):
        rows = shares[shares["hemi"] == hemi]
        figure.add_bar(
            x=rows["roi"],
            y=rows["improved"],
            name=HEMISPHERE_NAMES[hemi],
            marker_color=HEMISPHERE_COLOURS[hemi],
            hovertemplate="%{x}: %{y:.0%}",
        )
    figure.add_hline(y=0.5, line={"color": MUTED, "dash": "dot", "width": 1})
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="vertices improved", range=[0, 1], tickformat=".0%")
    return finish(figure, provenance, height=380, characters=60)


def _in_order(values: pd.Series, order: Sequence[str] | dict[str, str]) -> list[str]:
    present = set(values)
    return [name for name in order if name in present]


def _titled(figure: go.Figure) -> go.Figure:
    """Move the legend off the panel titles."""
    figure.update_layout(legend={"y": 1.1}, margin={"t": 60})
    return figure
