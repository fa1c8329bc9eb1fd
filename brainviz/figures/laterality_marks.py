"""What figures about lateralization have in common: symbols and colours of models, their key, words for notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.panels import in_order
from brainviz.figures.style import HEMISPHERE_COLOURS, INK, MUTED, escaped, method_colours

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Symbols of models that are tuned to nothing, which are open, and of tuned ones, in order of their names.
OPEN_SYMBOLS = {"untuned": "circle-open", "random": "square-open"}
TUNED_SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def hemispheres_present(names: Iterable[str]) -> list[str]:
    """Return the hemispheres that are present, those of no one hemisphere first, left before right."""
    present = list(names)
    return in_order(present, dict.fromkeys(["", *HEMISPHERE_NAMES, *present]))


def method_symbols(methods: Iterable[str]) -> dict[str, str]:
    """Return the methods' symbols, in the order in which figures show the methods."""
    order = list(method_colours(methods))
    tuned = dict(zip(sorted(set(order) - set(OPEN_SYMBOLS)), cycle(TUNED_SYMBOLS), strict=False))
    return {method: OPEN_SYMBOLS.get(method) or tuned[method] for method in order}


def model_colour(hemi: str, method: str) -> str:
    """Return its hemisphere's colour; grey for random weights, that of ink for what has no hemisphere."""
    return MUTED if method == "random" else HEMISPHERE_COLOURS.get(hemi, INK)


def whose_model(hemi: str) -> str:
    """Return in words whose model it is."""
    return f"{HEMISPHERE_NAMES.get(hemi, escaped(hemi))}'s model"


def left_out_words(n: int, what: str) -> list[str]:
    """Return a sentence for the note, if any."""
    return [f"Left out: {n:,} without {what}."] if n else []


def marker_shape(symbol: str, size: float) -> dict[str, Any]:
    """Return a marker's symbol and line: open ones are drawn by it, filled ones are set off from each other."""
    if symbol.endswith("-open"):
        return {"symbol": symbol, "line": {"width": 1.8 if size > 6 else 1.2}}
    return {"symbol": symbol, "line": {"color": "white", "width": 0.8 if size > 6 else 0.4}}


def add_key(figure: go.Figure, hemispheres: Iterable[str], symbols: Mapping[str, str]) -> None:
    """Name colours and symbols in the legend, each by itself; so there is nothing to switch off by a click there."""
    named = [hemi for hemi in hemispheres if hemi]
    entries = [(whose_model(hemi), {"color": model_colour(hemi, ""), **marker_shape("circle", 9)}) for hemi in named]
    if len(symbols) > 1 or not named:
        entries += [
            (escaped(method), {"color": model_colour("", method), **marker_shape(symbol, 9)})
            for method, symbol in symbols.items()
        ]
    for name, marker in entries:
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, showlegend=True, marker={"size": 9, **marker})
    figure.update_layout(legend={"itemclick": False, "itemdoubleclick": False})
