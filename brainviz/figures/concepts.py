"""Shared concepts: how large and how reliable they are, what belongs to one, where it lies, and weight space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.decoding import CHARACTERS, FEW_NAMES, legend_aside, subject_colours
from brainviz.figures.landscape import ROI_ORDER
from brainviz.figures.scatter import SVG_POINTS
from brainviz.figures.style import (
    CATEGORY_COLOURS,
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
#: Longest name of a concept beside a point or on an axis, of a text, and of a name in a legend; hover texts have all.
NAME_CHARACTERS, TEXT_CHARACTERS, LEGEND_CHARACTERS = 26, 44, 24
#: Titles of the axis of a concept's size; other columns are named as they are.
SIZES = {"n_vertices": "vertices"}
#: From so many participants on, a concept has the last colour.
MOST_PARTICIPANTS = 8
#: Colours of numbers of participants, from where the scale is no longer too pale for white paper.
PARTICIPANT_SCALE, SCALE_START = "Plasma_r", 0.1
#: The shortest axes: of consistency, and of size in decades.
LEAST_CONSISTENCY, LEAST_DECADES = 0.4, 1.0
#: Sides of a point on which its name may stand, best first.
SIDES = ("top center", "bottom center", "middle right", "middle left")
#: Bars of the histogram, and how many of the most and of the least associated pictures have a mark.
BINS, MARKED = 60, 10
#: Colours of what is associated with a concept, and of what is the least.
MOST, LEAST = CATEGORY_COLOURS[5], CATEGORY_COLOURS[4]
#: Pixels of a row of texts, and of ROIs.
TEXT_PIXELS, ROI_PIXELS = 22, 30
#: How much of its row's height the subjects' dots of an ROI take.
LANES = 0.7
#: Grey of the band of chance, and of its edges.
BAND, BAND_EDGE = "rgba(154, 165, 177, 0.3)", "rgba(154, 165, 177, 0.6)"
#: Panels of the scan: title, what its lines are, the columns, solid and dotted, and the format of the axis.
SCAN_PANELS = (
    ("concepts", "their number", ("n_concepts", ""), None),
    ("vertices in concepts", "share of all", ("share", ""), ".0%"),
    ("largest concept", "share of all vertices", ("largest", ""), ".0%"),
    ("participants per concept", "solid: mean; dotted: fewest", ("mean_participants", "fewest_participants"), None),
    ("two halves of the seeds", "solid: Rand; dotted: overlap", ("rand", "overlap"), None),
)
ScanPanel = tuple[str, str, tuple[str, str], str | None]
#: What vertices can be coloured by.
VERTEX_COLOURS = ("concept", "subject", "roi", "hemi")
#: What belongs to nothing.
NONE = "none"
NONE_COLOUR = "#B8BFC6"
#: Most vertices that the map draws.
MAP_POINTS = 20_000
#: Symbols of categories: with every further one the shades can be used again.
SYMBOLS = ("circle", "diamond", "square", "cross")
#: Where the matrix's colours end at least, and how far beyond the largest cosine off the diagonal.
LEAST_END, BEYOND = 0.4, 1.25
#: At most so many concepts are named on an axis; pixels of one, and the least and most of the whole.
MATRIX_LABELS, CELL_PIXELS, LEAST_PIXELS, MOST_PIXELS = 40, 18, 300, 460


def shortened(name: object, most: int) -> str:
    """Return a name in one line, of at most so many characters, escaped."""
    line = " ".join(str(name).split())
    return escaped(line if len(line) <= most else f"{line[: most - 1].rstrip()}…")


def concept_chart(
    table: pd.DataFrame, provenance: Provenance, *, size: str = "n_vertices", title: str = ""
) -> go.Figure:
    """Draw concepts as points: how large each is over how alike its directions are in different participants.

    Parameters
    ----------
    table : frame
        Columns ``concept`` (its number), ``name``, ``n_vertices``, ``n_participants``, ``consistency`` (mean cosine
        between participants, −1..1) and, for the hover texts, ``tightness``, ``reseeded``, ``left_out``,
        ``evidence_r``, ``share_left`` (0..1), any of which may be NaN. One row per concept. Concepts without a
        consistency are left out, and the note says how many.
    provenance : Provenance
    size : str
        The column that tells how large a concept is, upwards on a logarithmic axis.
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data is the number of its concept. Names stand where there is room, those of the largest
        concepts first; all are in the hover texts.

    Raises
    ------
    SpecError
        `size` is no column of numbers in the table.
    """
    import plotly.graph_objects as go

    if table.empty:
        return empty_figure("No concept was found: try a larger eps or fewer participants.", provenance, title=title)
    if size not in table or table[size].dtype.kind not in "iuf":
        raise SpecError("Concepts have no such size.", got=size, expected="a column of numbers, such as n_vertices")
    known = table[table["consistency"].notna() & (table[size] > 0)].sort_values(size, ascending=False)
    if known.empty:
        return empty_figure("No concept has a consistency between participants.", provenance, title=title)
    x, y = known["consistency"].to_numpy(np.float64), np.log10(known[size].to_numpy(np.float64))
    ends = _padded(*_at_least(x, LEAST_CONSISTENCY), 0.08), _padded(*_at_least(y, LEAST_DECADES), 0.12)
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
            y=rows[size],
            mode="markers+text",
            text=rows["label"],
            textposition=rows["side"],
            textfont={"size": 11, "color": INK},
            cliponaxis=False,
            name=f"{count} participant{'s' if count != 1 else ''}",
            marker={"color": participant_colour(count), "size": 11, "line": {"color": "white", "width": 0.8}},
            customdata=rows[["concept"]],
            hovertext=[_concept_in_words(row) for row in rows.itertuples()],
            hoverinfo="text",
        )
    figure.update_xaxes(title="consistency: cosine between participants' directions", range=ends[0])
    figure.update_yaxes(
        title=f"{SIZES.get(size, escaped(size))}, logarithmic", type="log", range=ends[1], **_log_ticks(*ends[1])
    )
    notes = []
    if unnamed := sum(not side for side in sides):
        notes.append(f"{unnamed} name{'s are' if unnamed > 1 else ' is'} in the hover texts only.")
    notes += _left_out(len(table) - len(known), "a consistency")
    finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes))
    return legend_aside(figure)


def participant_colour(n: int) -> str:
    """Return the colour of what this many participants have: the more, the darker."""
    return _shade((min(max(n, 1), MOST_PARTICIPANTS) - 1) / (MOST_PARTICIPANTS - 1))


def _shade(share: float) -> str:
    """Return a colour of the scale, 0 its brightest and 1 its darkest."""
    from plotly.colors import sample_colorscale

    return str(sample_colorscale(PARTICIPANT_SCALE, SCALE_START + (1 - SCALE_START) * share)[0])


def _padded(low: float, high: float, by: float) -> tuple[float, float]:
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


def _left_out(n: int, what: str) -> list[str]:
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


def association_histogram(
    similarity: ArrayLike,
    provenance: Provenance,
    *,
    name: str,
    evidence: ArrayLike | None = None,
    title: str = "",
) -> go.Figure:
    """Draw how much pictures are associated with a concept, with marks at the ten most and the ten least associated.

    Parameters
    ----------
    similarity : (M,) array
        Cosine of every picture's embedding with the concept's direction; NaN is left out.
    provenance : Provenance
    name : str
        The concept.
    evidence : (M,) array, optional
        Mean decoded similarity of those pictures that were held out, NaN for all others; a second panel.
    title : str, optional

    Returns
    -------
    plotly figure
        Custom data of marks and of points is the row of the picture.

    Raises
    ------
    SpecError
        `similarity` is no row of numbers, or `evidence` is not of the same pictures.
    """
    from plotly.subplots import make_subplots

    values = np.asarray(similarity, np.float64)
    seen = np.full(values.shape, np.nan) if evidence is None else np.asarray(evidence, np.float64)
    if values.ndim != 1 or values.shape != seen.shape:
        raise SpecError(
            "Association and evidence are one number per picture each.",
            got=f"shapes {values.shape} and {seen.shape}",
            expected="two arrays of one length",
        )
    rows = np.flatnonzero(np.isfinite(values))
    if not rows.size:
        return empty_figure("No picture has been compared with this concept yet.", provenance, title=title)
    held_out = rows[np.isfinite(seen[rows])]
    panels = 2 if held_out.size else 1
    figure = make_subplots(rows=panels, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    counts, edges = np.histogram(values[rows], bins=min(BINS, max(rows.size, 1)))
    figure.add_bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=counts,
        width=np.diff(edges),
        name="pictures",
        marker={"color": NONE_COLOUR, "line": {"color": "white", "width": 0.5}},
        hovertext=[
            f"{signed(low)} to {signed(high)}: {count:,} picture{'s' if count != 1 else ''}"
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ],
        hoverinfo="text",
        showlegend=False,
        row=1,
        col=1,
    )
    _add_marks(figure, values, rows, below=0.05 * float(counts.max()))
    figure.update_yaxes(title="pictures", range=_padded(0, counts.max(), 0.1), tickformat=",", row=1, col=1)
    notes = []
    if held_out.size:
        draw = figure.add_scatter if held_out.size <= SVG_POINTS else figure.add_scattergl
        draw(
            x=values[held_out],
            y=seen[held_out],
            mode="markers",
            name="held-out picture",
            showlegend=False,
            marker={"color": INK, "size": 4, "opacity": 0.35},
            customdata=held_out[:, None],
            hovertemplate="picture %{customdata[0]}<br>association %{x:.3f}<br>decoded similarity %{y:.3f}"
            "<extra></extra>",
            row=2,
            col=1,
        )
        figure.add_hline(0, line={"color": MUTED, "width": 1.2}, layer="below", row=2, col=1)
        figure.update_yaxes(title="decoded<br>similarity", zeroline=False, row=2, col=1)
        notes.append(f"Below: {held_out.size:,} held-out pictures, as decoded from measured responses.")
    notes += _left_out(values.size - rows.size, "an association")
    figure.update_xaxes(
        title=f"cosine of a picture with “{shortened(name, TEXT_CHARACTERS)}”", zeroline=False, row=panels, col=1
    )
    figure.update_layout(bargap=0)
    height = 320 + 180 * (panels - 1)
    return finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes))


def _add_marks(figure: go.Figure, values: Numbers, rows: NDArray[np.int64], *, below: float) -> None:
    """Mark the pictures that are associated the most and the least, under the bars."""
    ranked = rows[np.argsort(-values[rows], kind="stable")]
    most = ranked[: min(MARKED, -(-len(ranked) // 2))]
    least = ranked[::-1][: min(MARKED, len(ranked) // 2)]
    for words, marked, colour in (("most", most, MOST), ("least", least, LEAST)):
        if not marked.size:
            continue
        figure.add_scatter(
            x=values[marked],
            y=np.full(marked.size, -below),
            mode="markers",
            name=f"{marked.size} {words} associated",
            marker={"symbol": "line-ns", "size": 10, "line": {"color": colour, "width": 2}, "color": colour},
            customdata=marked[:, None],
            hovertext=[
                f"{words} associated, no. {rank}<br>picture {row}: {signed(values[row])}"
                for rank, row in enumerate(marked, start=1)
            ],
            hoverinfo="text",
            row=1,
            col=1,
        )


def evidence_curve(table: pd.DataFrame, provenance: Provenance, *, name: str, title: str = "") -> go.Figure:
    """Draw how much a concept is decoded from responses to held-out pictures, by how CLIP ranks them.

    Parameters
    ----------
    table : frame
        Columns ``bin`` (its name, such as ``"top 5 %"``), ``share`` (where its middle lies among all ranks, 0 the most
        associated, 1 the least), ``value`` (mean decoded similarity), ``low``, ``high`` (95 % interval, or NaN), ``n``
        (held-out pictures); one row per bin. A bin without a value keeps its place.
    provenance : Provenance
    name : str
        The concept.
    title : str, optional

    Returns
    -------
    plotly figure
        Bins stand evenly, in the order of their ranks.
    """
    import plotly.graph_objects as go

    if table["value"].notna().sum() == 0:
        return empty_figure("No held-out picture tells of this concept yet.", provenance, title=title)
    rows = table.sort_values("share", kind="stable")
    places = np.arange(len(rows))
    figure = go.Figure()
    figure.add_scatter(
        x=places,
        y=rows["value"],
        mode="lines+markers",
        name="decoded similarity",
        showlegend=False,
        line={"color": NONE_COLOUR, "width": 2},
        marker={"color": [MOST if value > 0 else LEAST for value in rows["value"]], "size": 9},
        error_y={
            "type": "data",
            "array": rows["high"] - rows["value"],
            "arrayminus": rows["value"] - rows["low"],
            "color": MUTED,
            "thickness": 1.5,
            "width": 4,
        },
        hovertext=[_bin_in_words(row) for row in rows.itertuples()],
        hoverinfo="text",
    )
    figure.add_hline(0, line={"color": MUTED, "width": 1.2}, layer="below")
    labels, across = distinct(rows["bin"]), (NARROW - MARGINS) / len(rows)
    # Two lines are enough for "last 5 %"; what is longer is slanted.
    broken = [label.replace(" ", "<br>", 1) for label in labels]
    slanted = 7 * max(len(line) for label in broken for line in label.split("<br>")) > across
    below = 60 + round(4.5 * max(map(len, labels))) if slanted else 74
    figure.update_xaxes(
        title=f"rank of the pictures by association with “{shortened(name, TEXT_CHARACTERS)}”",
        tickvals=places,
        ticktext=labels if slanted else broken,
        tickangle=-45 if slanted else 0,
        range=[-0.5, len(labels) - 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title="decoded similarity,<br>held-out pictures", zeroline=False)
    note = "Upright bars: 95 % intervals." if rows["low"].notna().any() else ""
    return finish(figure, provenance, height=320 + below, title=title, below=below, characters=CHARACTERS, note=note)


def _bin_in_words(row: Any) -> str:
    """Return the hover text of a rank bin."""
    interval = "" if row.low != row.low else f" (95 % interval {signed(row.low)} to {signed(row.high)})"
    pictures = f"{int(row.n):,} held-out picture{'s' if row.n != 1 else ''}"
    where = "" if row.share != row.share else f", middle at {row.share:.1%} of the ranks"
    return f"{escaped(row.bin)}{where}<br>decoded similarity {signed(row.value)}{interval}<br>{pictures}"


def text_bars(
    texts: Sequence[str],
    cosines: ArrayLike,
    provenance: Provenance,
    *,
    name: str,
    n: int = 12,
    title: str = "",
) -> go.Figure:
    """Draw the texts that are associated most and least with a concept.

    Parameters
    ----------
    texts : sequence of T str
        Words or captions.
    cosines : (T,) array
        Of each text's embedding with the concept's direction; NaN is left out.
    provenance : Provenance
    name : str
        The concept.
    n : int
        How many of the most and of the least associated; of fewer than twice as many texts, all are drawn.
    title : str, optional

    Returns
    -------
    plotly figure
        A bar's custom data is the row of its text.

    Raises
    ------
    SpecError
        Not a cosine for every text, or no text asked for.
    """
    import plotly.graph_objects as go

    values = np.asarray(cosines, np.float64)
    if values.shape != (len(texts),) or n < 1:
        raise SpecError(
            "Every text has one cosine, and at least one is drawn.",
            got=f"{len(texts)} texts, cosines of shape {values.shape}, n = {n}",
        )
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return empty_figure("No text has been compared with this concept yet.", provenance, title=title)
    ranked = known[np.argsort(-values[known], kind="stable")]
    between = len(ranked) - 2 * n
    shown = ranked if between <= 0 else np.concatenate([ranked[:n], ranked[-n:]])
    # Where texts are left out there is a gap.
    places = -(np.arange(len(shown)) + (1.0 * (np.arange(len(shown)) >= n) if between > 0 else 0.0))
    labels = [shortened(texts[row], TEXT_CHARACTERS) for row in shown]
    figure = go.Figure()
    figure.add_bar(
        x=values[shown],
        y=places,
        orientation="h",
        width=0.8,
        marker={"color": [MOST if value > 0 else LEAST for value in values[shown]]},
        name="texts",
        showlegend=False,
        customdata=shown[:, None],
        hovertext=[f"{escaped(texts[row])}<br>cosine {signed(values[row])}" for row in shown],
        hoverinfo="text",
    )
    figure.add_vline(0, line={"color": MUTED, "width": 1.2})
    low, high = min(0.0, float(values[shown].min())), max(0.0, float(values[shown].max()))
    figure.update_xaxes(
        title=f"cosine with “{shortened(name, TEXT_CHARACTERS)}”",
        range=_padded(low, high if high > low else low + 1, 0.04),
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=places, ticktext=labels, range=[places[-1] - 0.7, 0.7], showgrid=False, zeroline=False, ticklen=4
    )
    notes = []
    if between > 0:
        figure.add_hline(-n, line={"color": MUTED, "width": 1, "dash": "dot"})
        notes.append(f"The {n} most and the {n} least associated of {len(ranked):,} texts; dotted: those between.")
    notes += _left_out(len(texts) - len(ranked), "a cosine")
    height = TEXT_PIXELS * (1 - int(places[-1])) + 36 + 24 * bool(title) + 66 + 4 * LINE_PIXELS
    finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes))
    return _flush_left(figure, labels)


def _flush_left(figure: go.Figure, labels: Iterable[str], pixels: float = 6.6) -> go.Figure:
    """Give labels on the left the room they need, and begin what is printed below at the figure's edge."""
    left = max(LEFT_PIXELS, 24 + round(pixels * max((len(label) for label in labels), default=0)))
    for annotation in figure.layout.annotations:
        if annotation.name in ("provenance", "note"):
            annotation.xshift = LEFT_PIXELS - left - 40
    figure.update_yaxes(automargin=False)
    return figure.update_layout(margin_l=left, title={"xref": "container", "x": 0, "pad": {"l": 20}})


def roi_shares(
    table: pd.DataFrame, provenance: Provenance, *, name: str, order: Sequence[str] = (), title: str = ""
) -> go.Figure:
    """Draw how much of every ROI belongs to a concept, against what would be expected by chance.

    Parameters
    ----------
    table : frame
        Columns ``hemi``, ``roi``, ``subject``, ``share`` (of the ROI's used vertices that belong to the concept, 0..1),
        ``chance`` (the concept's share of all used vertices of that subject, or NaN), ``n`` (used vertices of the ROI);
        one row per hemisphere, ROI and subject. Rows without a share are left out.
    provenance : Provenance
    name : str
        The concept.
    order : sequence of str, optional
        All subjects in the order of their colours.
    title : str, optional

    Returns
    -------
    plotly figure
        One panel per hemisphere; ROIs are sorted by their mean over subjects and hemispheres.

    Raises
    ------
    SpecError
        Two rows are of the same hemisphere, ROI and subject.
    """
    from plotly.subplots import make_subplots

    known = table.dropna(subset=["share"])
    if known.empty:
        return empty_figure("No ROI has vertices that were used.", provenance, title=title)
    twice = known[known.duplicated(["hemi", "roi", "subject"])]
    if len(twice):
        raise SpecError(
            "A dot is one ROI of one subject, and the table has several rows of the same one.",
            got=", ".join(f"{row.subject} {row.hemi} {row.roi}" for row in twice.head(3).itertuples()),
            expected="one row per hemi, roi, subject",
        )
    # The mean of the hemispheres' means, so that subjects that lack one do not count less there.
    by_hemisphere = known.groupby(["roi", "hemi"], sort=False)["share"].mean()
    rois = list(by_hemisphere.groupby("roi", sort=False).mean().sort_values(kind="stable").index)
    hemispheres = [hemi for hemi in HEMISPHERE_NAMES if (known["hemi"] == hemi).any()]
    colours = subject_colours(known["subject"], order)
    # A subject may have no ROI in the left hemisphere.
    first = {subject: min(known.loc[known["subject"] == subject, "hemi"]) for subject in colours}
    lanes = {subject: LANES * (0.5 - (at + 0.5) / len(colours)) for at, subject in enumerate(colours)}
    figure = make_subplots(
        cols=len(hemispheres),
        shared_yaxes=True,
        horizontal_spacing=0.06,
        subplot_titles=[HEMISPHERE_NAMES[hemi] for hemi in hemispheres],
    )
    figure.update_annotations(font={"size": 14, "color": INK})
    for number, hemi in enumerate(hemispheres, start=1):
        of_hemi = known[known["hemi"] == hemi]
        heights = {roi: float(at) for at, roi in enumerate(rois)}
        _add_chance(figure, of_hemi, len(rois) - 0.4, number)
        for subject, colour in colours.items():
            rows = of_hemi[of_hemi["subject"] == subject]
            figure.add_scatter(
                x=rows["share"],
                y=[heights[roi] + lanes[subject] for roi in rows["roi"]],
                mode="markers",
                name=escaped(subject),
                legendgroup=subject,
                showlegend=hemi == first[subject],
                cliponaxis=False,
                marker={"color": colour, "size": 7 if len(colours) <= 4 else 6, "line": {"color": INK, "width": 0.4}},
                hovertext=[_share_in_words(row) for row in rows.itertuples()],
                hoverinfo="text",
                row=1,
                col=number,
            )
        if len(colours) > 1:
            _add_means(figure, of_hemi, heights, number)
    highest = float(np.nanmax(known[["share", "chance"]].to_numpy(np.float64)))
    figure.update_xaxes(
        range=[-0.02 * (highest or 1), 1.05 * (highest or 1)],
        tickformat=".0~%" if highest > 0.05 else ".1~%",
        nticks=5,
        zeroline=False,
    )
    labels = [shortened(roi, NAME_CHARACTERS) for roi in rois]
    figure.update_yaxes(
        tickvals=np.arange(len(rois)), range=[-0.6, len(rois) - 0.4], showgrid=False, zeroline=False, ticklen=4
    )
    figure.update_yaxes(ticktext=labels, col=1, row=1)
    figure.update_yaxes(
        minor={"tickvals": np.arange(len(rois) - 1) + 0.5, "showgrid": True, "gridcolor": GRID, "ticks": ""}
    )
    figure.update_xaxes(title="share of the ROI")
    notes = [
        f"Dots: share of the ROI's used vertices that belong to “{shortened(name, TEXT_CHARACTERS)}”, a subject each."
    ]
    if len(colours) > 1:
        notes.append("Black: mean over subjects.")
    if known["chance"].notna().any():
        several = ", from the lowest subject's to the highest's" if len(colours) > 1 else ""
        notes.append(f"Grey: chance, the concept's share of all used vertices{several}.")
    plot = max(ROI_PIXELS * len(rois), 90, 24 * (len(colours) + 2) + 12 if len(colours) + 2 > FEW_NAMES else 0)
    height = plot + 24 + 36 + 24 * bool(title) + 66 + 4 * LINE_PIXELS
    finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes), above=24)
    return legend_aside(_flush_left(figure, labels))


def _add_chance(figure: go.Figure, rows: pd.DataFrame, top: float, number: int) -> None:
    """Draw from where to where the subjects' chance is, a band behind all ROIs of a panel, or a line."""
    chance = rows["chance"].dropna()
    if chance.empty:
        return
    low, high = float(chance.min()), float(chance.max())
    words = f"chance: {low:.1%}" + (f" to {high:.1%}, by subject" if high > low else "")
    figure.add_scatter(
        x=[low, high, high, low, low],
        y=[-0.6, -0.6, top, top, -0.6],
        mode="lines",
        fill="toself",
        fillcolor=BAND,
        line={"color": BAND_EDGE, "width": 1.5},
        name="chance",
        legendgroup="chance",
        showlegend=number == 1,
        hoveron="fills+points",
        text=words,
        hoverinfo="text",
        row=1,
        col=number,
    )


def _add_means(figure: go.Figure, rows: pd.DataFrame, heights: dict[str, float], number: int) -> None:
    """Draw the mean over subjects of every ROI as a thick upright line."""
    means = rows.groupby("roi", sort=False)["share"].agg(["mean", "count"])
    middles, half = np.array([heights[str(roi)] for roi in means.index]), 0.42
    values, gaps = means["mean"].to_numpy(np.float64), np.full(len(means), np.nan)
    figure.add_scatter(
        x=np.column_stack([values, values, values, gaps]).ravel(),
        y=np.column_stack([middles - half, middles, middles + half, gaps]).ravel(),
        mode="lines",
        name="mean",
        legendgroup="mean",
        showlegend=number == 1,
        line={"color": INK, "width": 3},
        hovertext=[
            f"{escaped(roi)}<br>mean over {n} subject{'s' if n != 1 else ''}: {mean:.1%}"
            for roi, mean, n in zip(means.index, means["mean"], means["count"], strict=True)
            for _ in range(4)
        ],
        hoverinfo="text",
        row=1,
        col=number,
    )


def _share_in_words(row: Any) -> str:
    """Return the hover text of a subject's ROI."""
    chance = "" if row.chance != row.chance else f"<br>chance: {row.chance:.1%}"
    return (
        f"{escaped(row.subject)}, {HEMISPHERE_NAMES.get(row.hemi, escaped(row.hemi))}, {escaped(row.roi)}"
        f"<br>{row.share:.1%} of {int(row.n):,} used vertices{chance}"
    )


def scan_chart(
    table: pd.DataFrame, provenance: Provenance, *, chosen: tuple[float, int] | None, title: str = ""
) -> go.Figure:
    """Draw what the settings of the clustering make of the vertices, in small panels over eps.

    Parameters
    ----------
    table : frame
        Columns ``eps``, ``min_participants``, ``n_concepts``, ``share`` (of all vertices that are in concepts, 0..1),
        ``mean_participants``, ``fewest_participants`` (over concepts), ``largest`` (share of all vertices in the
        largest concept), ``rand``, ``overlap`` (agreement of the clusters from two halves of the decoder's seeds;
        NaN where they were not compared); one row per eps and min_participants.
    provenance : Provenance
    chosen : (float, int) or None
        The eps and min_participants that were used, marked in every panel.
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data are its eps and its min_participants.
    """
    from plotly.subplots import make_subplots

    if table.empty:
        return empty_figure("No settings have been tried yet.", provenance, title=title)
    rows = table.sort_values(["min_participants", "eps"])
    # Without concepts there is no number of participants per concept.
    found = rows["n_concepts"] > 0
    rows = rows.assign(**{column: rows[column].where(found) for column in SCAN_PANELS[3][2]})
    figure = make_subplots(
        rows=2,
        cols=3,
        horizontal_spacing=0.09,
        vertical_spacing=0.24,
        specs=[[{}, {}, {}], [{}, {}, None]],
        subplot_titles=[
            f"{words}<br><span style='font-size:11px;color:{MUTED}'>{lines}</span>"
            for words, lines, _, _ in SCAN_PANELS
        ],
    )
    figure.update_annotations(font={"size": 13, "color": INK})
    settings = sorted(set(map(int, rows["min_participants"])))
    shades = {at_least: _shade(rank / len(settings)) for rank, at_least in enumerate(settings, start=1)}
    for number, panel in enumerate(SCAN_PANELS):
        _add_scan_panel(figure, rows, number, panel, shades)
        if chosen is not None:
            _mark_chosen(figure, rows, number, panel, chosen)
    eps = sorted(set(rows["eps"]))
    figure.update_xaxes(
        range=_padded(eps[0], eps[-1] if len(eps) > 1 else eps[0] + 0.05, 0.06), tickangle=0, nticks=5, zeroline=False
    )
    figure.update_xaxes(title={"text": "eps", "standoff": 4}, row=2)
    figure.update_xaxes(title={"text": "eps", "standoff": 4}, row=1, col=3)
    notes = ["eps: largest cosine distance between neighbours."]
    if chosen is not None and not _chosen(rows, chosen).any():
        notes.append("The settings that were chosen are not in the scan.")
    finish(figure, provenance, height=560, title=title, characters=CHARACTERS, note=" ".join(notes), above=28)
    return figure.update_layout(
        legend={"orientation": "v", "x": 0.74, "xanchor": "left", "y": 0.36, "yanchor": "top", "tracegroupgap": 0}
    )


def _chosen(rows: pd.DataFrame, chosen: tuple[float, int]) -> NDArray[np.bool_]:
    eps, at_least = (rows[name].to_numpy(np.float64) for name in ("eps", "min_participants"))
    return np.asarray(np.isclose(eps, chosen[0], rtol=0, atol=1e-9) & (at_least == chosen[1]))


def _add_scan_panel(
    figure: go.Figure, rows: pd.DataFrame, number: int, panel: ScanPanel, shades: dict[int, str]
) -> None:
    """Draw one quantity, or two, over eps: a line per number of participants."""
    words, _, columns, number_format = panel
    place = _place(number)
    for at_least, colour in shades.items():
        of_setting = rows[rows["min_participants"] == at_least]
        for column, dash in zip(columns, ("solid", "dot"), strict=True):
            if not column or of_setting[column].isna().all():
                continue
            value = f"%{{y:{number_format or '.3~f'}}}"
            figure.add_scatter(
                x=of_setting["eps"],
                y=of_setting[column],
                mode="lines+markers",
                name=f"at least {at_least} other{'s' if at_least != 1 else ''}",
                legendgroup=str(at_least),
                showlegend=number == 0,
                line={"color": colour, "width": 2, "dash": dash},
                marker={"size": 5},
                customdata=of_setting[["eps", "min_participants"]],
                hovertemplate=f"eps %{{x}}, at least {at_least} other participants<br>"
                f"{words} ({column.replace('_', ' ')}): {value}<extra></extra>",
                **place,
            )
    figure.update_yaxes(tickformat=number_format, rangemode="tozero", nticks=6, **place)


def _place(number: int) -> dict[str, int]:
    """Return row and column of a panel of the scan."""
    return {"row": number // 3 + 1, "col": number % 3 + 1}


def _mark_chosen(
    figure: go.Figure, rows: pd.DataFrame, number: int, panel: ScanPanel, chosen: tuple[float, int]
) -> None:
    """Mark the chosen eps by a line, and the values of the chosen settings by rings."""
    columns, place = panel[2], _place(number)
    figure.add_vline(chosen[0], line={"color": MUTED, "width": 1, "dash": "dash"}, layer="below", **place)
    picked = rows[_chosen(rows, chosen)]
    drawn = [(row.eps, getattr(row, column)) for row in picked.itertuples() for column in columns if column]
    figure.add_scatter(
        x=[x for x, _ in drawn],
        y=[y for _, y in drawn],
        mode="markers",
        name=f"chosen: eps {chosen[0]:g}, {chosen[1]}",
        legendgroup="chosen",
        showlegend=number == 0 and len(drawn) > 0,
        marker={"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2}},
        hoverinfo="skip",
        **place,
    )


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
        A point's custom data begin with its number, those of a ring too: a lasso around it may have a point twice.

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
            mend="draw a sample of them",
        )
    known = table[np.isfinite(table[["x", "y"]].to_numpy(np.float64)).all(axis=1)]
    if known.empty:
        return empty_figure("No vertex has a place in weight space yet.", provenance, title=title)
    named = known.assign(**{name: known[name].astype(object).fillna("").map(str) for name in VERTEX_COLOURS})
    category = named[colour].replace("", NONE)
    size = 3.0 if len(named) > 8000 else 4.0 if len(named) > 2000 else 6.0
    figure = go.Figure(layout={"showlegend": True, "dragmode": "lasso"})
    for name, marker in _vertex_markers(category, colour, order):
        rows = named[category == name]
        shown = HEMISPHERE_NAMES.get(name, name) if colour == "hemi" else name
        figure.add_scattergl(
            x=rows["x"].to_numpy(np.float32),
            y=rows["y"].to_numpy(np.float32),
            mode="markers",
            name=shortened(shown, LEGEND_CHARACTERS),
            legendrank=1001 if name == NONE else 1000,
            marker={"size": size, "opacity": 0.4 if name == NONE else 0.75, "line": {"width": 0}, **marker},
            customdata=[
                [int(row.point), *map(escaped, (row.concept or NONE, row.subject, _where(row.hemi, row.roi)))]
                for row in rows.itertuples()
            ],
            hovertemplate="<b>%{customdata[1]}</b><br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>",
        )
    ringed = named[named["point"].isin(list(highlight))]
    if len(ringed):
        figure.add_scattergl(
            x=ringed["x"].to_numpy(np.float32),
            y=ringed["y"].to_numpy(np.float32),
            mode="markers",
            name="highlighted",
            legendrank=1002,
            marker={"symbol": "circle-open", "size": size + 6, "color": INK, "line": {"width": 1.5}},
            customdata=ringed[["point"]],
            hoverinfo="skip",
        )
    axis = {"showgrid": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    figure.update_xaxes(title="UMAP 1", **axis)
    figure.update_yaxes(title="UMAP 2", scaleanchor="x", scaleratio=1, **axis)
    notes = [f"{len(named):,} vertices; neighbours have similar weights, long distances tell little."]
    notes += _left_out(len(table) - len(known), "a place")
    height = max(600, 19 * len(figure.data) + 140)
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
    return _flush_left(figure, ticks, 0.55 * font).update_layout(
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
