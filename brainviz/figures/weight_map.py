"""Weight space: vertices in a plane, those with similar decoding weights near each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.concepts import NONE_COLOUR, left_out, shortened
from brainviz.figures.decoding import CHARACTERS
from brainviz.figures.landscape import ROI_ORDER
from brainviz.figures.style import (
    CATEGORY_COLOURS,
    HEMISPHERE_COLOURS,
    INK,
    Provenance,
    empty_figure,
    escaped,
    finish,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: What vertices can be coloured by.
VERTEX_COLOURS = ("concept", "subject", "roi", "hemi")
#: Name of what belongs to nothing.
NONE = "none"
#: Most vertices that the map draws, and in about how many traces.
MAP_POINTS, MAP_TRACES = 20_000, 48
#: Symbols of categories: with every further one the shades can be used again.
SYMBOLS = ("circle", "diamond", "square", "cross")
#: Longest name in the legend; hover texts have all of it.
LEGEND_CHARACTERS = 24


def weight_map(
    table: pd.DataFrame,
    provenance: Provenance,
    *,
    colour: str,
    highlight: Sequence[int] = (),
    order: Sequence[str] = (),
    title: str = "",
) -> go.Figure:
    """Draw vertices in a plane where those with similar decoding weights are near each other.

    Parameters
    ----------
    table : frame
        Columns ``x``, ``y``, ``concept`` (its name, or ``"none"``), ``subject``, ``hemi``, ``roi`` (may be empty or
        NaN), ``point`` (int); one row per vertex, at most 20,000.
    provenance : Provenance
    colour : {"concept", "subject", "roi", "hemi"}
        What colours mean. Vertices without a concept or a ROI are grey and lie below the others.
    highlight : sequence of int, optional
        Points drawn with a ring.
    order : sequence of str, optional
        All categories in the order of their colours, so that one keeps its colour whichever others are drawn. Without
        it ROIs have a fixed order, and other names are sorted.
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data begin with its number; rings have none, so that a lasso has no point twice. A category is
        drawn in several traces, which have one name and one entry in the legend.

    Raises
    ------
    SpecError
        An unknown `colour`, or more vertices than can be drawn.

    References
    ----------
    McInnes, Healy & Melville 2018, arXiv 1802.03426 (UMAP).
    """
    import plotly.graph_objects as go

    if colour not in VERTEX_COLOURS:
        raise SpecError("Vertices cannot be coloured by this.", got=colour, expected=", ".join(VERTEX_COLOURS))
    if len(table) > MAP_POINTS:
        raise SpecError(
            "These are too many vertices for one map.",
            got=f"{len(table):,}",
            expected=f"at most {MAP_POINTS:,}",
            mend="draw a sample of them.",
        )
    known = table[np.isfinite(table[["x", "y"]].to_numpy(np.float64)).all(axis=1)]
    if known.empty:
        return empty_figure("No vertex has a place in weight space yet.", provenance, title=title)
    named = known.assign(**{name: known[name].astype(object).fillna("").map(str) for name in VERTEX_COLOURS})
    category = named[colour].replace("", NONE)
    size = 3.0 if len(named) > 8000 else 4.0 if len(named) > 2000 else 6.0
    figure = go.Figure(layout={"showlegend": True, "dragmode": "lasso"})
    markers = dict(_vertex_markers(category, colour, order))
    _add_vertices(figure, named[category == NONE], NONE, {"opacity": 0.4, "size": size, **markers.pop(NONE, {})})
    # In turns, a part of every category each, or the last one would hide all others.
    n_parts = max(1, MAP_TRACES // max(len(markers), 1))
    for part in range(n_parts):
        for name, marker in markers.items():
            shown = HEMISPHERE_NAMES.get(name, name) if colour == "hemi" else name
            rows = named[category == name].iloc[part::n_parts]
            _add_vertices(figure, rows, shown, {"opacity": 0.75, "size": size, **marker})
    ringed = named[named["point"].isin(list(highlight))]
    if len(ringed):
        figure.add_scattergl(
            x=ringed["x"].to_numpy(np.float32),
            y=ringed["y"].to_numpy(np.float32),
            mode="markers",
            name="highlighted",
            legendrank=1002,
            marker={"symbol": "circle-open", "size": size + 6, "color": INK, "line": {"width": 1.5}},
            hoverinfo="skip",
        )
    axis = {"showgrid": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(title="UMAP 1", **axis)
    figure.update_yaxes(title="UMAP 2", scaleanchor="x", scaleratio=1, **axis)
    notes = [f"{len(named):,} vertices; neighbours have similar weights, long distances tell little."]
    notes += left_out(len(table) - len(known), "a place")
    height = max(600, 19 * (len(markers) + 2) + 140)
    finish(figure, provenance, height=height, title=title, below=36, characters=CHARACTERS, note=" ".join(notes))
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    return figure.update_layout(
        legend={
            "orientation": "v",
            "x": 1.01,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "itemsizing": "constant",
            "tracegroupgap": 0,
            "font": {"size": 12},
        }
    )


def _add_vertices(figure: go.Figure, rows: pd.DataFrame, name: str, marker: dict[str, Any]) -> None:
    """Draw vertices of one category, which the legend names once."""
    if rows.empty:
        return
    figure.add_scattergl(
        x=rows["x"].to_numpy(np.float32),
        y=rows["y"].to_numpy(np.float32),
        mode="markers",
        name=shortened(name, LEGEND_CHARACTERS),
        legendgroup=name,
        showlegend=not any(trace.legendgroup == name for trace in figure.data),
        legendrank=1001 if name == NONE else 1000,
        marker={"line": {"width": 0}, **marker},
        customdata=[
            [int(point), escaped(concept or NONE), escaped(subject), escaped(_where(hemi, roi))]
            for point, concept, subject, hemi, roi in zip(
                *(rows[column] for column in ("point", "concept", "subject", "hemi", "roi")), strict=True
            )
        ],
        hovertemplate="<b>%{customdata[1]}</b><br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>",
    )


def _where(hemi: str, roi: str) -> str:
    return ", ".join(filter(None, (HEMISPHERE_NAMES.get(hemi, hemi), roi)))


def _vertex_markers(names: Iterable[str], colour: str, order: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield every category that is present with its colour and symbol: none first, so that it lies below."""
    present = set(names)
    if NONE in present:
        yield NONE, {"color": NONE_COLOUR, "symbol": SYMBOLS[0]}
        present.discard(NONE)
    if colour == "hemi":
        for name in [*(hemi for hemi in HEMISPHERE_COLOURS if hemi in present), *sorted(present - {*HEMISPHERE_NAMES})]:
            yield name, {"color": HEMISPHERE_COLOURS.get(name, INK), "symbol": SYMBOLS[0]}
        return
    first = order or (ROI_ORDER if colour == "roi" else ())
    every = [name for name in dict.fromkeys([*first, *sorted(present)]) if name != NONE]
    shades = [
        *CATEGORY_COLOURS,
        *(_mixed(shade, "#000000", 0.55) for shade in CATEGORY_COLOURS),
        *(_mixed(shade, "#FFFFFF", 0.55) for shade in CATEGORY_COLOURS),
    ]
    n = len(shades)
    for rank, name in enumerate(every):
        if name in present:
            yield name, {"color": shades[rank % n], "symbol": SYMBOLS[rank // n % len(SYMBOLS)]}


def _mixed(colour: str, other: str, share: float) -> str:
    """Return a mixture of two colours, `share` of the first."""
    pairs = [(int(colour[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(share * first + (1 - share) * second):02X}" for first, second in pairs)
