"""One shared concept: how pictures and texts are associated with it, what responses say of it, where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.concepts import (
    MARGINS,
    NAME_CHARACTERS,
    NONE_COLOUR,
    Numbers,
    flush_left,
    left_out,
    padded,
    shortened,
)
from brainviz.figures.decoding import CHARACTERS, FEW_NAMES, legend_aside, subject_colours
from brainviz.figures.scatter import SVG_POINTS
from brainviz.figures.style import (
    CATEGORY_COLOURS,
    GRID,
    INK,
    LINE_PIXELS,
    MUTED,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    signed,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Width in pixels of figures that stand side by side on a narrow page, and characters of a line below them.
HALF, HALF_CHARACTERS = 480, 75
#: Longest text beside a bar or in a note; hover texts have all of it.
TEXT_CHARACTERS = 44
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
    figure.update_yaxes(title="pictures", range=padded(0, counts.max(), 0.1), tickformat=",", row=1, col=1)
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
    notes += left_out(values.size - rows.size, "an association")
    figure.update_xaxes(
        title=f"cosine of a picture with “{shortened(name, NAME_CHARACTERS)}”", zeroline=False, row=panels, col=1
    )
    figure.update_layout(bargap=0)
    height = 340 + 180 * (panels - 1)
    return finish(figure, provenance, height=height, title=title, characters=HALF_CHARACTERS, note=" ".join(notes))


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
    labels, across = distinct(rows["bin"]), (HALF - MARGINS) / len(rows)
    # Two lines are enough for "last 5 %"; what is longer is slanted.
    broken = [label.replace(" ", "<br>", 1) for label in labels]
    slanted = 7 * max(len(line) for label in broken for line in label.split("<br>")) > across
    below = 60 + round(4.5 * max(map(len, labels))) if slanted else 74
    figure.update_xaxes(
        title=f"rank by association with “{shortened(name, NAME_CHARACTERS)}”",
        tickvals=places,
        ticktext=labels if slanted else broken,
        tickangle=-45 if slanted else 0,
        range=[-0.5, len(labels) - 0.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(title="decoded similarity,<br>held-out pictures", zeroline=False)
    note = "Upright bars: 95 % intervals." if rows["low"].notna().any() else ""
    return finish(
        figure, provenance, height=340 + below, title=title, below=below, characters=HALF_CHARACTERS, note=note
    )


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
        range=padded(low, high if high > low else low + 1, 0.04),
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=places, ticktext=labels, range=[places[-1] - 0.7, 0.7], showgrid=False, zeroline=False, ticklen=4
    )
    notes = []
    if between > 0:
        figure.add_hline(-n, line={"color": MUTED, "width": 1, "dash": "dot"})
        notes.append(f"The {n} most and the {n} least associated of {len(ranked):,} texts; dotted: those between.")
    notes += left_out(len(texts) - len(ranked), "a cosine")
    height = TEXT_PIXELS * (1 - int(places[-1])) + 36 + 24 * bool(title) + 66 + 4 * LINE_PIXELS
    finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=" ".join(notes))
    return flush_left(figure, labels)


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
    return legend_aside(flush_left(figure, labels))


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
