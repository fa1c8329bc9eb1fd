"""Pieces of figures whose cells are pictures or maps: names of axes, rows and columns, scales of colours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from brainviz.figures.style import INK, escaped

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Inferno as plotly has it, but for its first colour: Streamlit takes #000001 to #000010 for placeholders of a theme's
#: colours, and would put violet where black belongs.
INFERNO = (
    *((0, "rgb(0,0,4)"), (0.111, "#1b0c41"), (0.222, "#4a0c6b"), (0.333, "#781c6d"), (0.444, "#a52c60")),
    *((0.556, "#cf4446"), (0.667, "#ed6925"), (0.778, "#fb9b06"), (0.889, "#f7d13d"), (1, "#fcffa4")),
)
#: Pixels of the margin on the right.
RIGHT_PIXELS = 20


def axis_name(letter: str, number: int) -> str:
    """Return what plotly calls an axis."""
    return letter if number == 1 else f"{letter}{number}"


def write_name(figure: go.Figure, lines: Iterable[str], xref: str, yref: str, **place: Any) -> None:
    """Write a name of a row, a column or a panel."""
    text = "<br>".join(escaped(line) for line in lines)
    figure.add_annotation(
        text=text, name="name", showarrow=False, xref=xref, yref=yref, font={"size": 13, "color": INK}, **place
    )


def diverging(end: float) -> dict[str, Any]:
    """Return a scale of colours from −end to end, white at 0."""
    return {"colorscale": "RdBu_r", "cmin": -end, "cmax": end}


def colour_bar(x: float, y: float, length: float, title: str) -> dict[str, Any]:
    """Return a colour bar whose left upper corner is at this place of the paper, of this many pixels."""
    place = {"x": x, "xanchor": "left", "y": y, "yanchor": "top"}
    text = {"text": title, "font": {"size": 11}}
    return {**place, "lenmode": "pixels", "len": length, "thickness": 13, "title": text, "tickfont": {"size": 11}}
