"""Lateralization: laterality indices of models and of single pictures, attribution maps over pictures, mean maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.accuracy import titled
from brainviz.figures.panels import WIDTH, BarPanels, in_order
from brainviz.figures.style import (
    GRID,
    HEMISPHERE_COLOURS,
    INK,
    LINE_PIXELS,
    MUTED,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    method_colours,
    signed,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

#: Inferno as plotly has it, but for its first colour: Streamlit takes #000001 to #000010 for placeholders of a theme's
#: colours, and would put violet where black belongs.
INFERNO = (
    *((0, "rgb(0,0,4)"), (0.111, "#1b0c41"), (0.222, "#4a0c6b"), (0.333, "#781c6d"), (0.444, "#a52c60")),
    *((0.556, "#cf4446"), (0.667, "#ed6925"), (0.778, "#fb9b06"), (0.889, "#f7d13d"), (1, "#fcffa4")),
)

#: What the dots can be -> title of the axis.
QUANTITIES = {
    "index": "laterality index<br>(−1 left half, +1 right half)",
    "difference": "tuned minus untuned",
    "contrast": "left minus right model",
}
#: Subject of the rows that sum up all subjects.
ALL = "all"
#: Up to so many subjects, the small dots have interval bars as well.
BARRED_SUBJECTS = 4
#: Dots have a star where q, the false discovery rate, is less.
SIGNIFICANT = 0.05
#: The shortest value axes: so far on both sides of 0.
LEAST_DOTS, LEAST_INDEX = 0.1, 0.2
#: Symbols of models that are tuned to nothing, which are open, and of tuned ones, in order of their names.
OPEN_SYMBOLS = {"untuned": "circle-open", "random": "square-open"}
TUNED_SYMBOLS = ("circle", "diamond", "square", "triangle-up")
#: From so many pictures on, a row of the distribution has a shape; of fewer it would tell of no more than its width.
SHAPE_PICTURES = 10
#: Pixels of a row of the distribution, and the least of all.
ROW_PIXELS, LEAST_PIXELS = 62, 120
#: Above this many pictures, points are smaller.
FEW_PICTURES = 200
#: Spreads successive whole numbers evenly over 0..1 (fractional part of their multiples).
GOLDEN = 0.6180339887498949
#: Overlays are drawn with at most so many values per side, in steps of a hundredth of where the colours end.
MAP_SIDE, STEPS = 112, 100
#: Share of the values, in percent, that the colours of overlays tell apart unless the caller says otherwise.
PERCENTILE = 99.5
#: Characters that all pictures together may take: plotly writes them 8 % longer, maps need some more, and a figure is
#: to stay below 4 MB. What is tried for this, one after the other: bits per colour, and pixels per pixel drawn.
PICTURE_CHARACTERS = 2_700_000
PICTURE_STEPS = ((8, 1), (6, 1), (5, 1), (4, 1), (8, 2), (6, 2), (5, 2), (6, 4))
#: Pixels: the widest cell of the grid, the room between cells, beside the grid for its colour bar, of a character.
CELL_PIXELS, GAP_PIXELS, BAR_PIXELS, CHARACTER_PIXELS = 260, 6, 100, 6.8
#: Pixels of the margins.
LEFT_PIXELS, RIGHT_PIXELS = 60, 20
#: Share of the usual width that a narrow page leaves to a figure.
NARROW = 0.6

#: Characters of a line of a row's label.
LABEL_CHARACTERS = 16
#: Pixels of a mean map, of the room beside it, of its colour bar with labels, and of its profile.
MAP_PIXELS, BESIDE_PIXELS, SCALE_PIXELS, PROFILE_PIXELS = 210, 20, 100, 90
#: Titles of the colour bars of mean maps and of their difference.
BARS = {"coloraxis": "1 = even", "coloraxis2": "difference"}


@dataclass(frozen=True)
class _DotPanels(BarPanels):
    """The places of `BarPanels` with dots in place of the bars, all hemispheres in one panel.

    Attributes
    ----------
    words : str
        The note.
    """

    words: str = ""

    def _note(self, figure: go.Figure) -> str:
        return self.words

    @property
    def names(self) -> list[str]:
        """The subjects, without the summary of all."""
        return [subject for subject in self.subjects if subject != ALL]

    @property
    def several(self) -> bool:
        """Whether a slot holds more than one dot."""
        return len(self.subjects) > 1

    def x(self, rows: pd.DataFrame) -> Numbers:
        """Return where dots stand: subjects side by side in their slot, and on their right the summary of all."""
        slots = self._x(rows)
        if not self.several:
            return slots
        across = 0.55 if ALL in self.subjects else 0.9
        lanes = [
            0.3 if subject == ALL else -0.45 + across * (self.names.index(subject) + 0.5) / len(self.names)
            for subject in rows["subject"]
        ]
        return slots + self.slot * np.array(lanes, np.float64)


def index_dots(table: pd.DataFrame, provenance: Provenance, *, quantity: str = "index", title: str = "") -> go.Figure:
    """Draw one number per model as a dot with its interval, ROIs beside each other.

    Parameters
    ----------
    table : frame
        Columns ``subject``, ``roi``, ``hemi`` (``"lh"``, ``"rh"``: whose model it is; empty for a contrast),
        ``method``, ``value``, ``low``, ``high`` (95 % interval, or NaN), ``run`` (may be empty), and ``q``, the false
        discovery rate, if there is one. ROIs are shown in order of first appearance. Of several subjects every one is
        a small dot; rows of the subject ``"all"`` sum them up and are large. Rows without a value are left out, and the
        note says how many.
    provenance : Provenance
    quantity : {"index", "difference", "contrast"}
        What the values are: laterality indices, those of tuned models minus those of the untuned network, or those of
        the left hemisphere's model minus those of the right one's.
    title : str, optional

    Returns
    -------
    plotly figure
        A dot's custom data is the id of its run.

    Raises
    ------
    SpecError
        An unknown `quantity`.
    """
    if quantity not in QUANTITIES:
        raise SpecError("Dots cannot show this.", got=quantity, expected=", ".join(QUANTITIES))
    if table["value"].notna().sum() == 0:
        return empty_figure("No laterality index is known yet.", provenance, title=title)
    rows = table.assign(
        **{name: table[name].fillna("").map(str) for name in ("subject", "hemi", "method", "run")},
        panel="",
        place=table["roi"].map(escaped),
        q=table.get("q", np.nan),
    )
    rows["series"] = rows["hemi"] + " " + rows["method"]
    known = rows["value"].notna()
    symbols = _symbols(rows.loc[known, "method"])
    # Both hemispheres' models stand beside each other, each with its controls.
    hemispheres = _hemispheres(rows.loc[known, "hemi"])
    models = {f"{hemi} {method}": (hemi, method) for hemi in hemispheres for method in symbols}
    present = in_order(rows.loc[known, "series"], models)
    chart = _DotPanels(rows, {series: _colour(*models[series]) for series in present}, QUANTITIES[quantity], None)
    # Large dots are drawn last, over the small ones.
    large = (rows["subject"] == ALL) | (not chart.several)
    barred = large | (len(chart.names) <= BARRED_SUBJECTS)
    rows = rows.assign(
        large=large,
        low=rows["low"].where(barred),
        high=rows["high"].where(barred),
        said=[_dot_in_words(row, quantity) for row in rows.itertuples()],
    )[known]

    figure = chart.panels()
    for is_large in (False, True):
        for series in present:
            _add_dots(figure, chart, rows[(rows["series"] == series) & (rows["large"] == is_large)], symbols)
    span = max(LEAST_DOTS, float(np.nanmax(np.abs(rows[["value", "low", "high"]].to_numpy(np.float64)))))
    stars = rows[rows["q"] < SIGNIFICANT]
    limit = max([1.05 * span, *(_add_stars(figure, chart, stars, 0.07 * span) + 0.05 * span)])
    _add_key(figure, hemispheres, symbols)
    figure.add_hline(0, line={"color": MUTED, "width": 1.2}, layer="below")
    figure.update_xaxes(minor={"tickvals": np.arange(len(chart.places) - 1) + 0.5, "showgrid": True, "gridcolor": GRID})
    figure.update_yaxes(range=[-limit, limit], zeroline=False)

    notes = []
    if rows["low"].notna().any():
        notes.append("Upright bars: 95 % intervals.")
    if chart.several:
        notes.append("Small: one subject each; large: all subjects." if large.any() else "Dots: one subject each.")
    if len(stars):
        notes.append("Star: q < 0.05 (Benjamini-Hochberg over ROIs).")
    notes += _left_out(int((~known).sum()), "a value")
    return titled(replace(chart, words=" ".join(notes)).finish(figure, provenance), title)


def _hemispheres(names: Iterable[str]) -> list[str]:
    """Return the hemispheres that are present, those of no one hemisphere first, left before right."""
    present = list(names)
    return in_order(present, dict.fromkeys(["", *HEMISPHERE_NAMES, *present]))


def _symbols(methods: Iterable[str]) -> dict[str, str]:
    """Return the methods' symbols, in the order in which figures show the methods."""
    order = list(method_colours(methods))
    tuned = dict(zip(sorted(set(order) - set(OPEN_SYMBOLS)), cycle(TUNED_SYMBOLS), strict=False))
    return {method: OPEN_SYMBOLS.get(method) or tuned[method] for method in order}


def _colour(hemi: str, method: str) -> str:
    return MUTED if method == "random" else HEMISPHERE_COLOURS.get(hemi, INK)


def _whose(hemi: str) -> str:
    """Return in words whose model it is."""
    return f"{HEMISPHERE_NAMES.get(hemi, escaped(hemi))}'s model"


def _left_out(n: int, what: str) -> list[str]:
    """Return a sentence for the note, if any."""
    return [f"Left out: {n:,} without {what}."] if n else []


def _dot_in_words(row: Any, quantity: str) -> str:
    """Return the hover text of a dot."""
    interval = "" if row.low != row.low else f" (95 % interval {signed(row.low)} to {signed(row.high)})"
    subject = "all subjects" if row.subject == ALL else escaped(row.subject)
    lines = [
        ", ".join(filter(None, (subject, row.place))),
        ", ".join(filter(None, (_whose(row.hemi) if row.hemi else "", escaped(row.method)))),
        f"{QUANTITIES[quantity].split('<br>')[0]}: {signed(row.value)}{interval}",
        "" if row.q != row.q else "q < 0.001" if row.q < 0.001 else f"q = {row.q:.3f}",
        f"run {escaped(row.run[:8])}" if row.run else "",
    ]
    return "<br>".join(filter(None, lines))


def _add_dots(figure: go.Figure, chart: _DotPanels, rows: pd.DataFrame, symbols: Mapping[str, str]) -> None:
    """Draw the dots of one method and hemisphere, either large or small ones."""
    if rows.empty:
        return
    hemi, method, large = (rows[name].iloc[0] for name in ("hemi", "method", "large"))
    colour = _colour(hemi, method)
    lane = chart.slot_pixels / max(len(chart.names), 1)
    size = min(max(chart.slot_pixels * 0.6, 5.5), 11.0) if large else min(max(lane * 0.6, 4.0), 8.0)
    figure.add_scatter(
        x=chart.x(rows),
        y=rows["value"],
        mode="markers",
        name=", ".join(filter(None, (_whose(hemi) if hemi else "", escaped(method)))),
        showlegend=False,
        marker={"color": colour, "size": size, **_shape(symbols[method], size)},
        error_y={
            "type": "data",
            "array": rows["high"] - rows["value"],
            "arrayminus": rows["value"] - rows["low"],
            "color": colour,
            "thickness": 1.6 if large else 0.8,
            "width": min(3.0, chart.slot_pixels / 4) if large else 0,
        },
        customdata=rows[["run"]],
        hovertext=rows["said"],
        hoverinfo="text",
    )


def _shape(symbol: str, size: float) -> dict[str, Any]:
    """Return a marker's symbol and line: open ones are drawn by it, filled ones are set off from each other."""
    if symbol.endswith("-open"):
        return {"symbol": symbol, "line": {"width": 1.8 if size > 6 else 1.2}}
    return {"symbol": symbol, "line": {"color": "white", "width": 0.8 if size > 6 else 0.4}}


def _add_stars(figure: go.Figure, chart: _DotPanels, rows: pd.DataFrame, above: float) -> Numbers:
    """Draw stars so far above dots and their intervals; return how high they are."""
    heights = np.asarray(rows[["value", "high"]].max(axis=1) + above, np.float64)
    if len(rows):
        figure.add_scatter(
            x=chart.x(rows),
            y=heights,
            mode="markers",
            name="star",
            showlegend=False,
            marker={"symbol": "star", "size": min(max(chart.slot_pixels * 0.5, 5.0), 9.0), "color": INK},
            hoverinfo="skip",
        )
    return heights


def _add_key(figure: go.Figure, hemispheres: Iterable[str], symbols: Mapping[str, str]) -> None:
    """Name colours and symbols in the legend, each by itself; so there is nothing to switch off by a click there."""
    named = [hemi for hemi in hemispheres if hemi]
    entries = [(_whose(hemi), {"color": _colour(hemi, ""), **_shape("circle", 9)}) for hemi in named]
    if len(symbols) > 1 or not named:
        entries += [
            (escaped(method), {"color": _colour("", method), **_shape(symbol, 9)}) for method, symbol in symbols.items()
        ]
    for name, marker in entries:
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, showlegend=True, marker={"size": 9, **marker})
    figure.update_layout(legend={"itemclick": False, "itemdoubleclick": False})


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
    symbols = _symbols(known["method"])
    figure, named = go.Figure(), []
    for row, ((key, pictures), label) in enumerate(zip(models, labels, strict=True)):
        hemi, method = str(key[1]), str(key[2])
        # The first model is at the top.
        height = len(models) - 1 - row
        values = pictures["index"].to_numpy(np.float64)
        colour, mean = _colour(hemi, method), float(values.mean())
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
            marker={"color": colour, "size": size, "opacity": 0.65, **_shape(symbols[method], size)},
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
    _add_key(figure, _hemispheres(str(key[1]) for key, _ in models), symbols)
    figure.add_vline(0, line={"color": MUTED, "width": 1.2}, layer="below")
    end = max(LEAST_INDEX, min(1.05 * float(known["index"].abs().max()), 1.0))
    figure.update_layout(violinmode="overlay")
    figure.update_xaxes(title="laterality index of a picture (−1 left half, +1 right half)", range=[-end, end])
    figure.update_yaxes(
        tickvals=list(range(len(models)))[::-1], ticktext=named, range=[-0.55, len(models) - 0.4], showgrid=False
    )
    notes = ["Points: single pictures; shape: how densely they lie; upright line: mean."]
    notes += _left_out(len(table) - len(known), "an index")
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


def overlay_grid(
    pictures: ArrayLike,
    maps: ArrayLike,
    columns: Sequence[str],
    rows: Sequence[str],
    provenance: Provenance,
    *,
    opacity: float = 0.6,
    signed_maps: bool = True,
    highest: float | None = None,
    title: str = "",
) -> go.Figure:
    """Draw attribution maps over pictures, a row per picture and a column per model, with one scale of colours.

    So that the figure stays light, maps are drawn with at most 112 values per side (means over blocks), in steps of a
    hundredth of where the colours end; and where pictures would need more than 2.7 MB, their colours have fewer levels
    or, if that is not enough, they are drawn with fewer pixels.

    Parameters
    ----------
    pictures : (n, k, h, w, 3) array of uint8
        What each cell shows beneath: a picture, or its mirror image in another column.
    maps : (n, k, mh, mw) array
        Attribution in units of the average, so that 1 means as much as on average. A map may be coarser than the
        picture and is stretched over it. NaN is not drawn: a cell of nothing else is the picture alone.
    columns : sequence of k str
    rows : sequence of n str
    provenance : Provenance
    opacity : float
        Of the maps, 0..1.
    signed_maps : bool
        Whether negative values have colours of their own.
    highest : float, optional
        Where the colours end, in units of the average, above 0; by default the 99.5th percentile of all absolute
        values.
    title : str, optional

    Returns
    -------
    plotly figure
        Values of its heat maps are in hundredths of where the colours end.

    Raises
    ------
    SpecError
        Pictures, maps, columns and rows do not fit each other, pictures are not uint8, or `highest` is not above 0.
    """
    import plotly.graph_objects as go

    shown, values, cells = np.asarray(pictures), np.asarray(maps, np.float64), (len(rows), len(columns))
    if 0 in cells:
        return empty_figure("No picture is chosen yet.", provenance, title=title)
    _require_cells(shown, values, cells)
    if highest is not None and not highest > 0:
        raise SpecError("Colours end above 0.", got=str(highest), expected="a number above 0")
    end = _end(values) if highest is None else highest
    height, width = shown.shape[2:4]
    drawn = _at_most(values, MAP_SIDE)
    sources, coarser = _sources(shown.reshape(-1, height, width, 3))
    beneath = _stretched(-(-height // coarser), -(-width // coarser), (height, width))
    over = _stretched(drawn.shape[2], drawn.shape[3], (height, width))
    figure = go.Figure()
    for number, (row, column) in enumerate(np.ndindex(*cells), start=1):
        axes = {"xaxis": _axis("x", number), "yaxis": _axis("y", number)}
        figure.add_trace(go.Image(source=sources[number - 1], zsmooth=False, hoverinfo="skip", **beneath, **axes))
        steps = np.clip(np.round(drawn[row, column] / end * STEPS), -STEPS, STEPS)
        known = np.isfinite(steps)
        if known.any():
            figure.add_heatmap(
                # A byte per value, where none is missing.
                z=steps.astype(np.int8 if known.all() else np.float32),
                coloraxis="coloraxis",
                opacity=opacity,
                zsmooth=False,
                hoverongaps=False,
                hovertemplate=f"{escaped(rows[row])}<br>{escaped(columns[column])}<br>"
                f"%{{z}} % of {end:.3g} times the average<extra></extra>",
                **over,
                **axes,
            )
    layout = _lay_out(figure, columns, rows, (height, width))
    painted = any(trace.type == "heatmap" for trace in figure.data)
    note = f"Colours end at {end:.3g} times the average attribution; beyond, they stay the same." if painted else ""
    finish(
        figure,
        provenance,
        height=layout.plot + layout.above + 36 + 24 * bool(title) + 22 + 3 * LINE_PIXELS,
        title=title,
        below=12,
        characters=110,
        note=note,
        above=layout.above,
    )
    figure.update_layout(margin={"l": layout.left, "r": RIGHT_PIXELS})
    if painted:
        scale = _diverging(STEPS) if signed_maps else {"colorscale": INFERNO, "cmin": 0, "cmax": STEPS}
        ticks = np.linspace(-1 if signed_maps else 0, 1, 5)
        bar = {
            **_bar(layout.share, 1.0, max(min(layout.plot, 320), 130), "attribution<br>(1 = average)"),
            "tickvals": STEPS * ticks,
            "ticktext": [f"{tick * end:.2g}".replace("-", "−") for tick in ticks],
        }
        figure.update_layout(coloraxis={**scale, "colorbar": bar})
    return figure


def _require_cells(pictures: NDArray[Any], maps: Numbers, cells: tuple[int, int]) -> None:
    fits = pictures.ndim == 5 and maps.ndim == 4 and pictures.shape[:2] == maps.shape[:2] == cells
    if not fits or pictures.shape[-1] != 3 or pictures.dtype != np.uint8 or 0 in (*pictures.shape, *maps.shape):
        raise SpecError(
            "Pictures and maps do not fill the cells of the grid.",
            got=f"pictures {pictures.shape} of {pictures.dtype}, maps {maps.shape}, {cells[0]} rows, "
            f"{cells[1]} columns",
            expected="pictures (rows, columns, h, w, 3) of uint8, maps (rows, columns, mh, mw)",
        )


def _stretched(rows: int, columns: int, shape: tuple[int, int]) -> dict[str, float]:
    """Return where the values of a picture or map are so that it fills pixels 0, 1 ... of this shape to their edges."""
    dy, dx = shape[0] / rows, shape[1] / columns
    return {"x0": -0.5 + dx / 2, "dx": dx, "y0": -0.5 + dy / 2, "dy": dy}


def _end(values: Numbers) -> float:
    """Return where the colours end: almost all absolute values are less."""
    known = np.abs(values[np.isfinite(values)])
    return float(np.percentile(known, PERCENTILE) or known.max() or 1) if known.size else 1.0


def _at_most(maps: Numbers, side: int) -> Numbers:
    """Return maps (..., h, w) with at most so many rows and columns: means over blocks of one size, without NaN."""
    known = np.isfinite(maps)
    down, across = (_blocks(n, side) for n in maps.shape[-2:])
    sums, shares = (
        np.tensordot(np.tensordot(part, down, (-2, 1)), across, (-2, 1))
        for part in (np.where(known, maps, 0.0), known.astype(np.float64))
    )
    return np.where(shares > 0, sums / np.where(shares > 0, shares, 1.0), np.nan)


def _blocks(n: int, most: int) -> Numbers:
    """Return how much each of n pixels counts in the mean of each block, (blocks, n); blocks may end within pixels."""
    blocks = -(-n // -(-n // most))
    edges, pixels = np.linspace(0, n, blocks + 1)[:, None], np.arange(n)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return np.asarray(np.clip(overlap, 0, None) * blocks / n)


def _sources(pictures: NDArray[np.uint8]) -> tuple[list[str], int]:
    """Return pictures (m, h, w, 3) as data URIs, as fine as they may be together, and pixels per pixel drawn."""
    sources: list[str] = []
    # The same picture is in many cells.
    known = {picture.tobytes(): picture for picture in pictures}
    for bits, coarser in PICTURE_STEPS:
        encoded = {content: _data_uri(picture, bits, coarser) for content, picture in known.items()}
        sources = [encoded[picture.tobytes()] for picture in pictures]
        if sum(map(len, sources)) <= PICTURE_CHARACTERS:
            break
    return sources, coarser


def _data_uri(picture: NDArray[np.uint8], bits: int, coarser: int) -> str:
    from PIL import Image

    levels, (height, width) = 2**bits - 1, picture.shape[:2]
    rounded = np.round(np.round(np.arange(256) / 255 * levels) / levels * 255).astype(np.uint8)
    image = Image.fromarray(picture)
    if coarser > 1:
        image = image.resize((-(-width // coarser), -(-height // coarser)), Image.Resampling.BOX)
    file = io.BytesIO()
    Image.fromarray(rounded[np.asarray(image)]).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclass(frozen=True)
class _GridLayout:
    """Where the cells of `overlay_grid` are.

    Attributes
    ----------
    left, plot, above : int
        Pixels of the margin with the rows' names, of the height of all cells, and of the columns' names.
    share : float
        How much of the width between the margins the cells take.
    """

    left: int
    plot: int
    above: int
    share: float


def _lay_out(figure: go.Figure, columns: Sequence[str], rows: Sequence[str], shape: tuple[int, int]) -> _GridLayout:
    """Give every cell its axes, all of which zoom together, and names to rows and columns."""
    height, width = shape
    labels = [wrap(row, LABEL_CHARACTERS) for row in rows]
    left = 16 + round(CHARACTER_PIXELS * max((len(line) for label in labels for line in label), default=0))
    whole = WIDTH - left - RIGHT_PIXELS
    across = min((whole - BAR_PIXELS + GAP_PIXELS) / len(columns) - GAP_PIXELS, CELL_PIXELS)
    down = across * height / width
    plot = len(rows) * (down + GAP_PIXELS) - GAP_PIXELS
    axes: dict[str, Any] = {}
    for number, (row, column) in enumerate(np.ndindex(len(rows), len(columns)), start=1):
        start, top, first = column * (across + GAP_PIXELS), row * (down + GAP_PIXELS), number == 1
        hidden = {"visible": False, "constrain": "domain"}
        axes[f"xaxis{number}"] = {
            "domain": [start / whole, (start + across) / whole],
            "range": [-0.5, width - 0.5],
            "matches": None if first else "x",
            "anchor": _axis("y", number),
            **hidden,
        }
        axes[f"yaxis{number}"] = {
            "domain": [max(1 - (top + down) / plot, 0), 1 - top / plot],
            "range": [height - 0.5, -0.5],
            "matches": None if first else "y",
            "scaleanchor": "x" if first else None,
            "anchor": _axis("x", number),
            **hidden,
        }
    figure.update_layout(axes)
    # A narrow page draws the columns closer together, and letters as large; words stay whole where they fit at all.
    word = max(len(word) for column in columns for word in column.split() or [""])
    room, narrow = (int(share * across / CHARACTER_PIXELS) for share in (1.0, NARROW))
    names = [wrap(column, max(min(max(narrow, word), room), 4)) for column in columns]
    for number, name in enumerate(names, start=1):
        _name(figure, name, f"{_axis('x', number)} domain", "y domain", x=0.5, y=1, yanchor="bottom", yshift=1)
    for number, label in enumerate(labels):
        beside = f"{_axis('y', number * len(columns) + 1)} domain"
        _name(figure, label, "x domain", beside, x=0, y=0.5, xanchor="right", xshift=-6, align="right")
    taken = len(columns) * (across + GAP_PIXELS) - GAP_PIXELS
    return _GridLayout(left, round(plot), 16 * max(map(len, names)), taken / whole)


def _axis(letter: str, number: int) -> str:
    """Return what plotly calls an axis."""
    return letter if number == 1 else f"{letter}{number}"


def _name(figure: go.Figure, lines: Iterable[str], xref: str, yref: str, **place: Any) -> None:
    """Write a name of a row, a column or a panel."""
    text = "<br>".join(escaped(line) for line in lines)
    figure.add_annotation(
        text=text, name="name", showarrow=False, xref=xref, yref=yref, font={"size": 13, "color": INK}, **place
    )


def _diverging(end: float) -> dict[str, Any]:
    """Return a scale of colours from −end to end, white at 0."""
    return {"colorscale": "RdBu_r", "cmin": -end, "cmax": end}


def _bar(x: float, y: float, length: float, title: str) -> dict[str, Any]:
    """Return a colour bar whose left upper corner is at this place of the paper, of this many pixels."""
    place = {"x": x, "xanchor": "left", "y": y, "yanchor": "top"}
    text = {"text": title, "font": {"size": 11}}
    return {**place, "lenmode": "pixels", "len": length, "thickness": 13, "title": text, "tickfont": {"size": 11}}


def position_maps(
    left: ArrayLike | None, right: ArrayLike | None, provenance: Provenance, *, less: str = "", title: str = ""
) -> go.Figure:
    """Draw how much every position in the pictures matters on average to the models of both hemispheres.

    Below each map is its profile, the mean over its rows.

    Parameters
    ----------
    left, right : (h, w) array or None
        Mean maps of the left and of the right hemisphere's model: share of attribution mass per position times the
        number of positions, so that 1 is even. Without one of them, the other is drawn alone.
    provenance : Provenance
    less : str, optional
        The network whose maps were subtracted from both: then they are drawn about 0.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        A map has not two dimensions, or the maps have different shapes.
    """
    import plotly.graph_objects as go

    given = dict(zip(HEMISPHERE_NAMES, (left, right), strict=True))
    maps = {_whose(hemi): np.asarray(given[hemi], np.float64) for hemi in given if given[hemi] is not None}
    shapes = {values.shape for values in maps.values()}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise SpecError("Mean maps have one shape.", got=" and ".join(map(str, shapes)), expected="(h, w), of both")
    maps = {name: values for name, values in maps.items() if np.isfinite(values).any()}
    if not maps:
        return empty_figure("No mean map is known yet.", provenance, title=title)
    height, width = shapes.pop()
    panels = [
        _Panel(f"{name} − {less}" if less else name, values, number * (MAP_PIXELS + BESIDE_PIXELS), bool(less))
        for number, (name, values) in enumerate(maps.items())
    ]
    if len(panels) == 2:
        start = panels[1].start + MAP_PIXELS + SCALE_PIXELS
        panels.append(_Panel("left minus right", panels[0].values - panels[1].values, start, difference=True))
    figure = go.Figure()
    for number, panel in enumerate(panels, start=1):
        _add_map(figure, panel, number, number + len(panels))
    down, whole = round(MAP_PIXELS * height / width), WIDTH - LEFT_PIXELS - RIGHT_PIXELS
    plot = _place_panels(figure, panels, down, whole)
    note = "Maps: 1 is as much as if all positions mattered alike. Curves: means over the height; dashed: the middle."
    if less:
        note = f"Maps: less those of the {escaped(less)} network, in units of even spread. {note.split('. ', 1)[1]}"
    finish(
        figure,
        provenance,
        height=plot + 18 + 36 + 24 * bool(title) + 40 + 3 * LINE_PIXELS,
        title=title,
        below=30,
        characters=110,
        note=note,
        above=18,
    )
    figure.update_layout(margin={"l": LEFT_PIXELS, "r": RIGHT_PIXELS}, showlegend=False)
    for axis, bar_title in BARS.items():
        of_axis = [panel for panel in panels if panel.coloraxis == axis]
        if of_axis:
            end = max(_highest(panel.values) for panel in of_axis) or 1.0
            scale = {"colorscale": INFERNO, "cmin": 0, "cmax": end} if axis == "coloraxis" else _diverging(end)
            bar = _bar((of_axis[-1].start + MAP_PIXELS) / whole, 1.0, max(down, 130), bar_title)
            figure.update_layout({axis: {**scale, "colorbar": bar}})
    return figure


def _place_panels(figure: go.Figure, panels: Sequence[_Panel], down: int, whole: int) -> int:
    """Give maps, so many pixels high, and the profiles below them their axes; return how high all are together."""
    height, width = panels[0].values.shape
    plot = down + BESIDE_PIXELS + PROFILE_PIXELS
    # Profiles have axes of one length, so that slopes can be compared: maps' from 0 on, the difference's around 0.
    length = max(1.1 * _highest(panel.profile) * (2 if panel.difference else 1) for panel in panels) or 1.0
    for number, panel in enumerate(panels, start=1):
        below, first = number + len(panels), number == 1
        across = {
            "domain": [panel.start / whole, (panel.start + MAP_PIXELS) / whole],
            "range": [-0.5, width - 0.5],
            "constrain": "domain",
            "showgrid": False,
            "zeroline": False,
        }
        figure.update_layout(
            {
                f"xaxis{number}": {
                    **across,
                    "anchor": _axis("y", number),
                    "matches": None if first else "x",
                    "showticklabels": False,
                },
                f"yaxis{number}": {
                    "domain": [1 - down / plot, 1],
                    "range": [height - 0.5, -0.5],
                    "constrain": "domain",
                    "anchor": _axis("x", number),
                    "matches": None if first else "y",
                    "scaleanchor": "x" if first else None,
                    "showticklabels": False,
                },
                f"xaxis{below}": {
                    **across,
                    "anchor": f"y{below}",
                    "matches": "x",
                    "tickvals": [width / 4 - 0.5, 3 * width / 4 - 0.5],
                    "ticktext": ["left half", "right half"],
                },
                f"yaxis{below}": {
                    "domain": [0, PROFILE_PIXELS / plot],
                    "range": [-length / 2, length / 2] if panel.difference else [0, length],
                    "anchor": f"x{below}",
                    "showticklabels": first or panel.difference,
                    "nticks": 4,
                    "title": {"text": "mean over<br>the height" if first else "", "font": {"size": 12}},
                },
            }
        )
        x, y = (f"{_axis(letter, number)} domain" for letter in "xy")
        _name(figure, [panel.name], x, y, x=0.5, y=1, yanchor="bottom", yshift=1)
    return plot


def _highest(values: Numbers) -> float:
    """Return the highest absolute value."""
    return float(np.nanmax(np.abs(values), initial=0.0))


@dataclass(frozen=True)
class _Panel:
    """A mean map or the difference of two.

    Attributes
    ----------
    name : str
    values : (h, w) array
    start : int
        Where it begins, in pixels.
    difference : bool
    """

    name: str
    values: Numbers
    start: int
    difference: bool = False

    @property
    def coloraxis(self) -> str:
        return "coloraxis2" if self.difference else "coloraxis"

    @property
    def profile(self) -> Numbers:
        """Mean over the known values of every column, (w,)."""
        return np.asarray(np.ma.masked_invalid(self.values).mean(axis=0).filled(np.nan), np.float64)


def _add_map(figure: go.Figure, panel: _Panel, number: int, below: int) -> None:
    """Draw a map, the profile below it, and the midline in both."""
    height, width = panel.values.shape
    middle = (width - 1) / 2
    figure.add_heatmap(
        z=panel.values.astype(np.float32),
        coloraxis=panel.coloraxis,
        zsmooth=False,
        hoverongaps=False,
        name=panel.name,
        hovertemplate=f"{panel.name}<br>column %{{x}}, row %{{y}}: %{{z:.3f}}<extra></extra>",
        xaxis=_axis("x", number),
        yaxis=_axis("y", number),
    )
    figure.add_scatter(
        x=np.arange(width),
        y=panel.profile,
        mode="lines",
        name=panel.name,
        line={"color": INK, "width": 2},
        hovertemplate=f"{panel.name}<br>column %{{x}}: %{{y:.3f}}<extra></extra>",
        xaxis=f"x{below}",
        yaxis=f"y{below}",
    )
    on_map, colour = (height - 0.5, -0.5), INK if panel.difference else "white"
    for at, y, ends, shade in (
        (number, _axis("y", number), on_map, colour),
        (below, f"y{below} domain", (0, 1), MUTED),
    ):
        figure.add_shape(
            type="line",
            name="middle",
            x0=middle,
            x1=middle,
            y0=ends[0],
            y1=ends[1],
            xref=_axis("x", at),
            yref=y,
            line={"color": shade, "width": 1.2, "dash": "dash"},
        )
