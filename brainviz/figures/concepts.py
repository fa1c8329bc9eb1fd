"""Shared concepts, all together: how large and how reliable they are, and how alike; what their figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.errors import SpecError
from brainviz.figures.decoding import CHARACTERS, legend_aside
from brainviz.figures.style import (
    INK,
    LINE_PIXELS,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    signed,
    thinned,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

#: Width in pixels of a narrow page: what has to find room is laid out for it.
NARROW = 700
#: Pixels of the margins that `finish` gives, together; and of the left one.
MARGINS, LEFT_PIXELS = 90, 60
#: Pixels of a legend on the right, and of a character of small print.
LEGEND_PIXELS, CHARACTER_PIXELS = 130, 6.2
#: Longest name of a concept beside a point or on an axis; hover texts have all of it.
NAME_CHARACTERS = 26
#: Colour of what belongs to no concept.
NONE_COLOUR = "#B8BFC6"
#: From so many participants on, a concept has the last colour.
MOST_PARTICIPANTS = 8
#: Colours of numbers of participants, from where the scale is no longer too pale for white paper.
PARTICIPANT_SCALE, SCALE_START = "Plasma_r", 0.1
#: The shortest axes: of consistency, and of size in decades.
LEAST_CONSISTENCY, LEAST_DECADES = 0.4, 1.0
#: Where the axis of consistency ends at the latest: a cosine is 1 at most.
MOST_CONSISTENCY = 1.03
#: Sides of a point on which its name may stand, best first.
SIDES = ("top center", "bottom center", "middle right", "middle left")
#: Where the matrix's colours end at least, and how far beyond the largest cosine off the diagonal.
LEAST_END, BEYOND = 0.4, 1.25
#: At most so many concepts are named on an axis; pixels of one, and the least and most of the whole.
MATRIX_LABELS, CELL_PIXELS, LEAST_PIXELS, MOST_PIXELS = 40, 18, 300, 460


def shortened(name: object, most: int) -> str:
    """Return a name in one line, of at most so many characters, escaped."""
    line = " ".join(str(name).split())
    return escaped(line if len(line) <= most else f"{line[: most - 1].rstrip()}…")


def concept_chart(table: pd.DataFrame, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Draw concepts as points: how large each is over how alike its directions are in different participants.

    Parameters
    ----------
    table : frame
        Columns ``concept`` (its number), ``name``, ``n_vertices``, ``n_participants``, ``consistency`` (mean cosine
        between participants, −1..1) and, for the hover texts, ``tightness``, ``reseeded``, ``left_out``,
        ``evidence_r``, ``share_left`` (0..1), any of which may be NaN. One row per concept. Concepts without a
        consistency are left out, and the note says how many.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data is the number of its concept. Names stand where there is room, those of the largest
        concepts first; all are in the hover texts.
    """
    import plotly.graph_objects as go

    if table.empty:
        return empty_figure("No concept was found: try a larger eps or fewer participants.", provenance, title=title)
    known = table[table["consistency"].notna() & (table["n_vertices"] > 0)].sort_values("n_vertices", ascending=False)
    if known.empty:
        return empty_figure("No concept has a consistency between participants.", provenance, title=title)
    x, y = known["consistency"].to_numpy(np.float64), np.log10(known["n_vertices"].to_numpy(np.float64))
    lowest, highest = padded(*_at_least(x, LEAST_CONSISTENCY), 0.08)
    ends = (lowest, min(highest, MOST_CONSISTENCY)), padded(*_at_least(y, LEAST_DECADES), 0.12)
    height, across = 520, NARROW - MARGINS - LEGEND_PIXELS
    names = [shortened(name, NAME_CHARACTERS) for name in known["name"]]
    sides = _label_sides(
        (x - ends[0][0]) / (ends[0][1] - ends[0][0]) * across,
        (y - ends[1][0]) / (ends[1][1] - ends[1][0]) * (height - 200),
        names,
        across,
    )
    drawn = known.assign(
        label=[name if side else "" for name, side in zip(names, sides, strict=True)],
        side=[side or SIDES[0] for side in sides],
    )
    figure = go.Figure(layout={"showlegend": True})
    for count in sorted(set(map(int, drawn["n_participants"]))):
        rows = drawn[drawn["n_participants"] == count]
        figure.add_scatter(
            x=rows["consistency"],
            y=rows["n_vertices"],
            mode="markers+text",
            text=rows["label"],
            textposition=rows["side"],
            textfont={"size": 11, "color": INK},
            cliponaxis=False,
            name=f"{count} participant{'s' if count != 1 else ''}",
            marker={"color": participant_colour(count), "size": 11, "line": {"color": "white", "width": 0.8}},
            customdata=rows[["concept"]].to_numpy().tolist(),  # of a typed array, Streamlit makes an object
            hovertext=[_concept_in_words(row) for row in rows.itertuples()],
            hoverinfo="text",
        )
    figure.update_xaxes(title="consistency: cosine between participants' directions", range=ends[0])
    figure.update_yaxes(title="vertices, logarithmic", type="log", range=ends[1], **_log_ticks(*ends[1]))
    notes = []
    if unnamed := sum(not side for side in sides):
        notes.append(f"{unnamed} name{'s are' if unnamed > 1 else ' is'} in the hover texts only.")
    notes += left_out(len(table) - len(known), "a consistency")
    finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes))
    return legend_aside(figure)


def participant_colour(n: int) -> str:
    """Return the colour of what this many participants have: the more, the darker."""
    return shade((min(max(n, 1), MOST_PARTICIPANTS) - 1) / (MOST_PARTICIPANTS - 1))


def shade(share: float) -> str:
    """Return a colour of the scale, 0 its brightest and 1 its darkest."""
    from plotly.colors import sample_colorscale

    return str(sample_colorscale(PARTICIPANT_SCALE, SCALE_START + (1 - SCALE_START) * share)[0])


def padded(low: float, high: float, by: float) -> tuple[float, float]:
    """Return ends of an axis, beyond what is drawn by this share of its length."""
    return low - by * (high - low), high + by * (high - low)


def _at_least(values: Numbers, span: float) -> tuple[float, float]:
    """Return lowest and highest value, both moved outwards where they are nearer to each other than the span."""
    low, high = float(values.min()), float(values.max())
    room = max(0.0, span - (high - low)) / 2
    return low - room, high + room


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Return ticks at 1, 2, 5, 10 ... for an axis between these powers of ten."""
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    ticks = [times * 10.0**power for power in powers for times in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= np.log10(tick) <= high]
    return {"tickvals": inside, "ticktext": [f"{tick:,g}" for tick in inside]}


def _label_sides(x: Numbers, y: Numbers, names: Sequence[str], width: float) -> list[str]:
    """Return on which side of its point each name stands: the first that hides nothing, or none.

    Parameters
    ----------
    x, y : (n,) array
        Where points are, in pixels; those that come first choose first.
    names : sequence of n str
    width : float
        Pixels between which names have to stay.
    """
    radius, tall = 7.0, 13.0
    taken = [(a - radius, b - radius, a + radius, b + radius) for a, b in zip(x, y, strict=True)]
    sides = []
    for at, name in enumerate(names):
        wide = CHARACTER_PIXELS * len(name)
        boxes = {
            "top center": (x[at] - wide / 2, y[at] + radius),
            "bottom center": (x[at] - wide / 2, y[at] - radius - tall),
            "middle right": (x[at] + radius, y[at] - tall / 2),
            "middle left": (x[at] - radius - wide, y[at] - tall / 2),
        }
        chosen = ""
        for side in SIDES:
            left, low = boxes[side]
            box = (left, low, left + wide, low + tall)
            if left >= -20 and left + wide <= width + 20 and not any(_overlap(box, other) for other in taken):
                chosen = side
                taken.append(box)
                break
        sides.append(chosen)
    return sides


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def left_out(n: int, what: str) -> list[str]:
    """Return a sentence for the note, if any."""
    return [f"Left out: {n:,} without {what}."] if n else []


def _concept_in_words(row: Any) -> str:
    """Return the hover text of a concept: its name in bold, and what is known of it."""
    left = getattr(row, "share_left", np.nan)
    cosines = (
        ("consistency between participants", "consistency"),
        ("tightness", "tightness"),
        ("found again with other seeds", "reseeded"),
        ("found again with one participant left out", "left_out"),
        ("measured evidence: r", "evidence_r"),
    )
    values = [(words, getattr(row, name, np.nan)) for words, name in cosines]
    return "<br>".join(
        [
            f"<b>{escaped(row.name)}</b> (concept {row.concept})",
            f"{row.n_vertices:,} vertices" + ("" if left != left else f", {left:.0%} in the left hemisphere"),
            f"{row.n_participants:,} participant{'s' if row.n_participants != 1 else ''}",
            *(f"{words} {signed(value)}" for words, value in values if value == value),
        ]
    )


def concept_matrix(
    directions_cosines: ArrayLike, names: Sequence[str], provenance: Provenance, *, title: str = ""
) -> go.Figure:
    """Draw how alike the directions of every pair of concepts are.

    Parameters
    ----------
    directions_cosines : (K, K) array
        Cosines, −1..1; NaN stays white.
    names : sequence of K str
        The concepts. Above 40, only some are named on the axes, all in the hover texts.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
        Colours diverge about 0 and end beyond the largest cosine off the diagonal. A cell's custom data are the numbers
        of its row and of its column.

    Raises
    ------
    SpecError
        The cosines have not a row and a column per name.
    """
    import plotly.graph_objects as go

    cosines, n = np.asarray(directions_cosines, np.float64), len(names)
    if n == 0 and cosines.size == 0:
        return empty_figure("No concept was found.", provenance, title=title)
    if cosines.shape != (n, n):
        raise SpecError(
            "The cosines do not fit the concepts.",
            got=f"cosines of shape {cosines.shape} and {n} names",
            expected="a row and a column per name",
        )
    off = np.abs(cosines[~np.eye(n, dtype=bool)])
    end = min(max(LEAST_END, BEYOND * float(off[np.isfinite(off)].max(initial=0.0))), 1.0)
    labels = distinct(names)
    figure = go.Figure()
    figure.add_heatmap(
        z=cosines.astype(np.float32),
        x=labels,
        y=labels,
        coloraxis="coloraxis",
        hoverongaps=False,
        customdata=np.moveaxis(np.indices((n, n)), 0, -1),
        hovertemplate="%{y}<br>%{x}<br>cosine %{z:.3f}<extra></extra>",
    )
    places = thinned([str(at) for at in range(n)], MATRIX_LABELS)
    shown = [labels[int(at)] for at in places]
    ticks = [shortened(names[int(at)], NAME_CHARACTERS) for at in places]
    plot = min(max(CELL_PIXELS * n, LEAST_PIXELS), MOST_PIXELS)
    longest = max(map(len, ticks))
    font = 11 if n <= MATRIX_LABELS // 2 else 9
    below = 20 + round(0.55 * font * longest)
    grid = {"type": "category", "tickvals": shown, "ticktext": ticks, "tickfont": {"size": font}}
    square = {"showgrid": False, "zeroline": False, "constrain": "domain"}
    notes = [f"Colours end at ±{end:.2f}; the diagonal is 1."] if end < 1 else []
    if len(shown) < n:
        notes.append(f"{len(shown)} of {n} concepts are named on the axes; all in the hover texts.")
    height = plot + below + 36 + 24 * bool(title) + 5 * LINE_PIXELS
    finish(figure, provenance, height=height, title=title, below=below, characters=CHARACTERS, note=" ".join(notes))
    figure.update_xaxes(tickangle=-90, range=[-0.5, n - 0.5], **grid, **square)
    figure.update_yaxes(range=[n - 0.5, -0.5], scaleanchor="x", constraintoward="top", **grid, **square)
    return flush_left(figure, ticks, 0.55 * font).update_layout(
        coloraxis={
            "colorscale": "RdBu_r",
            "cmin": -end,
            "cmax": end,
            "colorbar": {
                "title": {"text": "cosine"},
                "thickness": 14,
                "lenmode": "pixels",
                "len": 240,
                "y": 1,
                "yanchor": "top",
            },
        }
    )


def flush_left(figure: go.Figure, labels: Iterable[str], pixels: float = 6.6) -> go.Figure:
    """Give labels on the left the room they need, and begin what is printed below at the figure's edge."""
    left = max(LEFT_PIXELS, 24 + round(pixels * max((len(label) for label in labels), default=0)))
    for annotation in figure.layout.annotations:
        if annotation.name in ("provenance", "note"):
            annotation.xshift = LEFT_PIXELS - left - 40
    figure.update_yaxes(automargin=False)
    return figure.update_layout(margin_l=left, title={"xref": "container", "x": 0, "pad": {"l": 20}})
