"""Decoding pictures' embeddings from responses: how often held-out pictures are found again, and how training went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from brainviz.errors import SpecError
from brainviz.figures.style import CATEGORY_COLOURS, MUTED, Provenance, empty_figure, escaped, finish

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: What is drawn of each subject, and how its line looks.
DASHES = {"decoder": "solid", "ridge": "dot"}
#: Subjects' points stand side by side, so far apart in decades of k, that intervals do not hide each other.
STEP = 0.011
#: Characters of a line below a figure that is 700 pixels wide.
CHARACTERS = 115
#: Above this many names the legend is a column on the right, where it cannot meet the title.
FEW_NAMES = 4


def subject_colours(subjects: Iterable[object], order: Sequence[str] = ()) -> dict[str, str]:
    """Return a colour for every subject that is present, in the order of the legend.

    Parameters
    ----------
    subjects : iterable of str
    order : sequence of str, optional
        All subjects of the data set: then one keeps its colour whichever others are present. Those that are not in it
        come last, by name.
    """
    present = {str(subject) for subject in subjects}
    every = dict.fromkeys([*order, *sorted(present)])
    n = len(CATEGORY_COLOURS)
    return {name: CATEGORY_COLOURS[rank % n] for rank, name in enumerate(every) if name in present}


def legend_aside(figure: go.Figure) -> go.Figure:
    """Make the legend of a finished figure a column on the right if it has more than a few names."""
    if sum(trace.showlegend is not False for trace in figure.data) > FEW_NAMES:
        column = {"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top"}
        figure.update_layout(legend={**column, "tracegroupgap": 0})
    return figure


def retrieval_curves(
    table: pd.DataFrame, provenance: Provenance, *, order: Sequence[str] = (), title: str = ""
) -> go.Figure:
    """Draw how many held-out pictures are among the first k when all are ranked by a decoded embedding.

    Parameters
    ----------
    table : frame
        Columns ``subject``, ``k``, ``decoder``, ``decoder_low``, ``decoder_high``, ``ridge``, ``ridge_low``,
        ``ridge_high``, ``chance`` (shares, 0..1; 95 % intervals, or NaN) and ``n``, the number of pictures ranked; one
        row per subject and k. NaN leaves a gap. Without a ridge baseline its columns are NaN.
    provenance : Provenance
    order : sequence of str, optional
        All subjects in the order of their colours, so that one keeps its colour whichever others are drawn.
    title : str, optional

    Returns
    -------
    plotly figure
        Chance is one line per number of pictures.

    Raises
    ------
    SpecError
        Two rows are of the same subject and k.
    """
    import plotly.graph_objects as go

    known = table.sort_values(["subject", "k"])
    if known[list(DASHES)].isna().all(axis=None):
        return empty_figure("No held-out picture has been ranked yet.", provenance, title=title)
    twice = known[known.duplicated(["subject", "k"])]
    if len(twice):
        raise SpecError(
            "A point is one subject's, and the table has several rows of the same one.",
            got=", ".join(f"{row.subject} at k = {row.k}" for row in twice.head(3).itertuples()),
            expected="one row per subject and k",
        )
    figure = go.Figure(layout={"showlegend": True})
    for n in sorted(set(known["n"])):
        _add_chance(figure, known[known["n"] == n].drop_duplicates("k").sort_values("k"), int(n))
    colours = subject_colours(known["subject"], order)
    for number, (subject, colour) in enumerate(colours.items()):
        rows = known[known["subject"] == subject]
        aside = 10 ** (STEP * (number - (len(colours) - 1) / 2))
        for what, dash in DASHES.items():
            if rows[what].notna().any():
                _add_line(figure, rows, what, colour, aside, dash)
    drawn = {trace.name for trace in figure.data}
    for what in DASHES:
        if what in drawn:
            _add_key(figure, what, DASHES[what])
    _add_key(figure, "chance", "dash")
    for subject, colour in colours.items():
        of_subject = {"color": colour, "symbol": "circle", "size": 9}
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=escaped(subject), legendgroup=subject, marker=of_subject
        )
    ks = sorted(set(known["k"]))
    figure.update_xaxes(
        title="k, logarithmic",
        type="log",
        tickvals=ks,
        ticktext=[f"{k:,}" for k in ks],
        range=[float(np.log10(ks[0])) - 0.12, float(np.log10(ks[-1])) + 0.12],
    )
    figure.update_yaxes(title="held-out pictures<br>among the first k", tickformat=".1~%", rangemode="tozero")
    notes = [
        f"Every held-out picture's embedding is decoded, and all {_count(known['n'])} are ranked by likeness to it."
    ]
    if known[["decoder_low", "decoder_high"]].notna().any(axis=None):
        notes.append("Upright bars: 95 % intervals of the decoder.")
    if known[["ridge_low", "ridge_high"]].notna().any(axis=None):
        notes.append("Those of the ridge are in the hover texts.")
    finish(figure, provenance, height=460, title=title, characters=CHARACTERS, note=" ".join(notes))
    return legend_aside(figure)


def _count(numbers: pd.Series) -> str:
    """Return a number, or from which to which, in words."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _add_chance(figure: go.Figure, rows: pd.DataFrame, n: int) -> None:
    """Draw what guessing finds among this many pictures."""
    figure.add_scatter(
        x=rows["k"],
        y=rows["chance"],
        mode="lines",
        name="chance",
        showlegend=False,
        legendgroup="chance",
        line={"color": MUTED, "width": 1.5, "dash": "dash"},
        hovertemplate=f"chance, first %{{x}} of {n:,}: %{{y:.1%}}<extra></extra>",
    )


def _add_line(figure: go.Figure, rows: pd.DataFrame, what: str, colour: str, aside: float, dash: str) -> None:
    """Draw one subject's decoder or ridge."""
    is_decoder = what == "decoder"
    figure.add_scatter(
        x=rows["k"].to_numpy(np.float64) * aside,
        y=rows[what],
        mode="lines+markers",
        name=what,
        showlegend=False,
        legendgroup=rows["subject"].iloc[0],
        line={"color": colour, "width": 2 if is_decoder else 1.5, "dash": dash},
        marker={"size": 7 if is_decoder else 5, "symbol": "circle" if is_decoder else "circle-open"},
        error_y={
            "type": "data",
            "array": rows[f"{what}_high"] - rows[what],
            "arrayminus": rows[what] - rows[f"{what}_low"],
            "color": colour,
            "thickness": 1.2,
            "width": 0,
            "visible": is_decoder,
        },
        hovertext=[
            _in_words(row, what, *(getattr(row, f"{what}{end}") for end in ("", "_low", "_high")))
            for row in rows.itertuples()
        ],
        hoverinfo="text",
    )


def _in_words(row: Any, what: str, value: float, low: float, high: float) -> str:
    """Return the hover text of a point."""
    interval = "" if low != low else f" (95 % interval {low:.1%} to {high:.1%})"
    chance = "" if row.chance != row.chance else f"<br>chance: {row.chance:.1%}"
    return f"{escaped(row.subject)}, first {int(row.k):,} of {int(row.n):,}<br>{what}: {value:.1%}{interval}{chance}"


def _add_key(figure: go.Figure, name: str, dash: str) -> None:
    """Name a kind of line in the legend, in grey as it is of every subject."""
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": MUTED, "dash": dash, "width": 1.5},
    )


def loss_curves(
    curves: Mapping[str, ArrayLike], provenance: Provenance, *, order: Sequence[str] = (), title: str = ""
) -> go.Figure:
    """Draw the loss of every subject's decoder over the iterations of its training.

    Parameters
    ----------
    curves : mapping
        Subject -> (k, 2) array: iterations done, and the loss on training pictures. NaN leaves a gap.
    provenance : Provenance
    order : sequence of str, optional
        All subjects in the order of their colours.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        A curve has not two columns.
    """
    import plotly.graph_objects as go

    arrays = {subject: np.asarray(curve, np.float64) for subject, curve in curves.items()}
    for subject, curve in arrays.items():
        if curve.size and (curve.ndim != 2 or curve.shape[1] != 2):
            raise SpecError(
                "A loss curve has two columns.",
                got=f"shape {curve.shape} of {subject}",
                expected="(k, 2): iterations and loss",
            )
    arrays = {
        subject: curve for subject, curve in arrays.items() if curve.size and np.isfinite(curve).all(axis=1).any()
    }
    if not arrays:
        return empty_figure("No decoder has been trained yet.", provenance, title=title)
    figure = go.Figure(layout={"showlegend": True})
    for subject, colour in subject_colours(arrays, order).items():
        iterations, loss = arrays[subject].T
        figure.add_scatter(
            x=iterations,
            y=loss,
            mode="lines" if len(loss) > 1 else "markers",
            name=escaped(subject),
            line={"color": colour, "width": 1.8},
            hovertemplate=f"{escaped(subject)}<br>%{{x:,}} iterations: loss %{{y:.3f}}<extra></extra>",
        )
    figure.update_xaxes(title="iterations", rangemode="tozero", tickformat=",")
    figure.update_yaxes(title="loss on training pictures", rangemode="tozero")
    return legend_aside(finish(figure, provenance, height=340, title=title, characters=CHARACTERS))
