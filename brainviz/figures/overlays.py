"""Attribution maps over pictures: a grid of pictures, with what every model looks at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import SpecError
from brainviz.figures.cells import INFERNO, RIGHT_PIXELS, axis_name, colour_bar, diverging, write_name
from brainviz.figures.panels import WIDTH
from brainviz.figures.style import LINE_PIXELS, Provenance, empty_figure, escaped, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

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
#: Share of the usual width that a narrow page leaves to a figure.
NARROW = 0.6
#: Characters of a line of a row's label.
LABEL_CHARACTERS = 16


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
        axes = {"xaxis": axis_name("x", number), "yaxis": axis_name("y", number)}
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
        scale = diverging(STEPS) if signed_maps else {"colorscale": INFERNO, "cmin": 0, "cmax": STEPS}
        ticks = np.linspace(-1 if signed_maps else 0, 1, 5)
        bar = {
            **colour_bar(layout.share, 1.0, max(min(layout.plot, 320), 130), "attribution<br>(1 = average)"),
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
            "anchor": axis_name("y", number),
            **hidden,
        }
        axes[f"yaxis{number}"] = {
            "domain": [max(1 - (top + down) / plot, 0), 1 - top / plot],
            "range": [height - 0.5, -0.5],
            "matches": None if first else "y",
            "scaleanchor": "x" if first else None,
            "anchor": axis_name("x", number),
            **hidden,
        }
    figure.update_layout(axes)
    # A narrow page draws the columns closer together, and letters as large; words stay whole where they fit at all.
    word = max(len(word) for column in columns for word in column.split() or [""])
    room, narrow = (int(share * across / CHARACTER_PIXELS) for share in (1.0, NARROW))
    names = [wrap(column, max(min(max(narrow, word), room), 4)) for column in columns]
    for number, name in enumerate(names, start=1):
        write_name(figure, name, f"{axis_name('x', number)} domain", "y domain", x=0.5, y=1, yanchor="bottom", yshift=1)
    for number, label in enumerate(labels):
        beside = f"{axis_name('y', number * len(columns) + 1)} domain"
        write_name(figure, label, "x domain", beside, x=0, y=0.5, xanchor="right", xshift=-6, align="right")
    taken = len(columns) * (across + GAP_PIXELS) - GAP_PIXELS
    return _GridLayout(left, round(plot), 16 * max(map(len, names)), taken / whole)
