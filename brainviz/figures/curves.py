"""Curves over training epochs: loss, and retrieval on validation pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brainviz.figures.style import CATEGORY_COLOURS, Provenance, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Up to so many epochs, each has a mark on the axis.
FEW_EPOCHS = 5


def training_curves(events: Mapping[str, Sequence[Mapping[str, Any]]], provenance: Provenance) -> go.Figure:
    """Draw loss (left) and retrieval accuracy (right) per epoch, one line per run.

    Parameters
    ----------
    events : mapping
        Name of the run -> its epochs in order, each with ``epoch`` and ``loss``, and ``retrieval_top1`` (0..1)
        where there were validation pictures.
    provenance : Provenance

    Returns
    -------
    plotly figure
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.14)
    for number, (name, epochs) in enumerate(events.items()):
        colour = CATEGORY_COLOURS[(number + 4) % len(CATEGORY_COLOURS)]
        for column, quantity in ((1, "loss"), (2, "retrieval_top1")):
            known = [event for event in epochs if event.get(quantity) is not None]
            figure.add_scatter(
                x=[event["epoch"] for event in known],
                y=[event[quantity] for event in known],
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line={"color": colour},
                marker={"size": 5},
                row=1,
                col=column,
            )
    last = max((event["epoch"] for epochs in events.values() for event in epochs), default=0)
    # Left alone, plotly would mark half epochs in short runs.
    figure.update_xaxes(title="epoch", rangemode="tozero", dtick=1 if last <= FEW_EPOCHS else None)
    figure.update_yaxes(title="loss", row=1, col=1)
    figure.update_yaxes(title="top-1 retrieval, validation", tickformat=".0%", rangemode="tozero", row=1, col=2)
    return finish(figure, provenance, height=340)
