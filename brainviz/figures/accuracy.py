"""Classification: accuracy per ROI, what tuning gains in r and costs in accuracy, and which classes are confused."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.panels import LAST_RANK, BarPanels, keyed
from brainviz.figures.style import (
    CATEGORY_COLOURS,
    LINE_PIXELS,
    MUTED,
    Provenance,
    distinct,
    empty_figure,
    escaped,
    finish,
    method_colours,
    signed,
    thinned,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: What tells models apart in the tables of this module.
MODEL = ["subject", "hemi", "roi", "method"]
#: What stands under the bars where no model is tuned; the space is one at which no line is broken.
NOT_TUNED = "no\u00a0ROI"
#: Share of colour in the band of a horizontal line.
BAND_OPACITY = 0.18
#: Symbols of the hemispheres; that of models of no one hemisphere is under "".
HEMISPHERE_SYMBOLS = {"lh": "circle", "rh": "diamond", "": "square"}
#: Above this many points, crosses of intervals would hide them; they are in the hover texts all the same.
INTERVAL_POINTS = 80
#: Up to this many points have their ROI written beside them.
NAMED_POINTS = 40
#: At most so many classes are named on an axis.
CLASS_LABELS = 40
#: Pixels of a class in a confusion matrix, and the least and most of the whole.
CELL_PIXELS, LEAST_PIXELS, MOST_PIXELS = 18, 340, 620
#: The diagonal's colours, from no picture to the highest count: none of viridis.
DIAGONAL_COLOURS = ((0, "#3A3A3A"), (1, "#FFFFFF"))


@dataclass(frozen=True)
class _AccuracyPanels(BarPanels):
    """Bars of accuracies, with a note that says what their intervals are.

    Attributes
    ----------
    pictures : str
        Number of test pictures, in words.
    lines : bool
        Whether horizontal lines will be drawn.
    """

    pictures: str = ""
    lines: bool = False

    def _note(self, figure: go.Figure) -> str:
        parts = []
        n = len(self.subjects)
        if n > 1:
            parts.append(
                f"Bars: mean over {n} subjects, or those of them that have the ROI; dots: subjects. "
                "Their spread is shown by the dots alone, there are no error bars."
            )
        elif self.rows["low"].notna().any():
            parts.append(f"Error bars: 95 % Wilson interval over {self.pictures} test pictures.")
        if self.lines:
            parts.append("Lines: models tuned to no ROI, the same in every panel; bands: their 95 % Wilson interval.")
        return " ".join(parts)


def accuracy_bars(
    table: pd.DataFrame, provenance: Provenance, *, chance: float | None = None, title: str = ""
) -> go.Figure:
    """Draw classification accuracy per ROI, methods side by side, one panel per hemisphere.

    Parameters
    ----------
    table : frame
        Columns ``subject``, ``hemi``, ``roi``, ``method``, ``accuracy`` (0..1), ``low``, ``high`` (95 % Wilson
        interval, or NaN), ``n_test``; one row per model. Models that are tuned to no ROI (untuned, random) have an
        empty ``roi`` (a string, or NaN) and become horizontal lines, or bars if there is nothing else. ROIs are shown
        in order of first appearance.
    provenance : Provenance
    chance : float, optional
        Accuracy of guessing (0..1), a dotted line.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        Two rows are of the same model.
    """
    if table["accuracy"].notna().sum() == 0:
        return empty_figure("No accuracy is known yet.", provenance, title=title)
    named = table.assign(**{name: table[name].fillna("").map(escaped) for name in MODEL})
    twice = named[named.duplicated(MODEL)]
    if len(twice):
        raise SpecError(
            "A bar is one model, and the table has several rows of the same one.",
            got=", ".join(" ".join(filter(None, row)) for row in twice[MODEL].head(3).to_numpy()),
            expected=f"one row per {', '.join(MODEL)}",
            mend="choose one task, one seed and one setting before drawing",
        )
    colours = method_colours(named["method"])
    tuned, fixed = named[named["roi"] != ""], named[(named["roi"] == "") & named["accuracy"].notna()]
    if tuned["accuracy"].notna().sum() == 0:
        tuned, fixed = fixed.assign(subject="tuned to no subject", hemi="", roi=NOT_TUNED), fixed.head(0)
    chart = _AccuracyPanels(
        keyed(tuned, series="method", value="accuracy"),
        {name: colour for name, colour in colours.items() if name in set(tuned["method"])},
        "accuracy",
        None,
        number=".1%",
        pictures=_count(tuned["n_test"]),
        lines=len(fixed) > 0,
    )
    figure = chart.panels()
    chart.add_bars(figure)
    for row in fixed.sort_values("method", key=lambda names: names.map(list(colours).index)).itertuples():
        _add_line(figure, chart, row, colours[str(row.method)])
    if chance is not None:
        _add_across(figure, chart, chance, "chance", f"chance: {chance:.1%}", {"color": MUTED, "dash": "dot"})
    # As many digits as the tick needs: of 1,000 classes, accuracies may all be below 2 %.
    figure.update_yaxes(tickformat=".1~%", rangemode="tozero")
    return titled(chart.finish(figure, provenance), title)


def _count(numbers: pd.Series) -> str:
    """Return a number, or from which to which, in words."""
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _add_line(figure: go.Figure, chart: BarPanels, row: Any, colour: str) -> None:
    """Draw a model that is tuned to no ROI: a line across every panel, its interval as a band behind."""
    said = f"{row.method}: {row.accuracy:.1%}"
    if row.low == row.low:
        said += f"<br>95 % interval over {row.n_test:,} test pictures: {row.low:.1%} to {row.high:.1%}"
        for number, (left, right) in enumerate(_widths(figure, chart), start=1):
            figure.add_scatter(
                x=[left, right, right, left],
                y=[row.low, row.low, row.high, row.high],
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=_pale(colour),
                hoverinfo="skip",
                legendgroup=f"{row.method} line",
                showlegend=False,
                **_cell(chart, number),
            )
    _add_across(figure, chart, row.accuracy, row.method, said, {"color": colour})


def _add_across(figure: go.Figure, chart: BarPanels, height: float, name: str, said: str, line: dict[str, Any]) -> None:
    """Draw a horizontal line across every panel, with a hover text over every place."""
    for number, (left, right) in enumerate(_widths(figure, chart), start=1):
        across = [left, *range(len(chart.places)), right]
        figure.add_scatter(
            x=across,
            y=[height] * len(across),
            mode="lines",
            line={"width": 2, **line},
            name=name,
            legendgroup=f"{name} line",
            legendrank=LAST_RANK,
            showlegend=number == 1,
            hovertext=said,
            hoverinfo="text",
            **_cell(chart, number),
        )


def _widths(figure: go.Figure, chart: BarPanels) -> list[tuple[float, float]]:
    """Return where each panel's axis begins and ends."""
    axes = [figure.layout["xaxis" if number == 1 else f"xaxis{number}"] for number in range(1, _n(chart) + 1)]
    return [(axis.range[0], axis.range[1]) for axis in axes]


def _n(chart: BarPanels) -> int:
    return len(chart.hemispheres)


def _cell(chart: BarPanels, number: int) -> dict[str, int]:
    """Return row and column of the panel with this number."""
    return {"row": number, "col": 1} if chart.stacked else {"row": 1, "col": number}


def _pale(colour: str) -> str:
    """Return the colour for an area through which something is seen."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {BAND_OPACITY})"


def titled(figure: go.Figure, title: str) -> go.Figure:
    """Write a title over a finished figure, as `finish` does it."""
    if not title:
        return figure
    room = 24
    return figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}},
        height=figure.layout.height + room,
        margin_t=figure.layout.margin.t + room,
        legend={"x": 1, "xanchor": "right"},
    )


def trade_off(table: pd.DataFrame, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Draw what tuning costs in classification accuracy over what it gains in predicting responses, a point per model.

    Parameters
    ----------
    table : frame
        Columns ``subject``, ``hemi``, ``roi``, ``method``, ``run`` and, both against the untuned network: ``gain``,
        ``gain_low``, ``gain_high``, r averaged over the ROI's vertices; ``drop``, ``drop_low``, ``drop_high``, the loss
        of accuracy as a share of the same test pictures (0.05 is drawn as 5 percentage points; positive is worse).
        Intervals may be NaN. Models without a gain or a drop are left out, and the note says how many.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
        A point's custom data is the id of its run. Colours are the methods'; of one method alone, the ROIs'.
    """
    import plotly.graph_objects as go

    known = table.dropna(subset=["gain", "drop"])
    if known.empty:
        return empty_figure("No model has both a gain in r and a drop in accuracy yet.", provenance, title=title)
    figure = go.Figure(layout={"showlegend": True})
    crosses = len(known) <= INTERVAL_POINTS
    by, shades = "method", method_colours(known["method"])
    if len(shades) == 1:
        by, shades = "roi", dict(zip(dict.fromkeys(known["roi"]), cycle(CATEGORY_COLOURS), strict=False))
    for (name, colour), (hemi, symbol) in product(shades.items(), HEMISPHERE_SYMBOLS.items()):
        of_hemi = ~known["hemi"].isin(HEMISPHERE_NAMES) if hemi == "" else known["hemi"] == hemi
        rows = known[(known[by] == name) & of_hemi]
        if rows.empty:
            continue
        figure.add_scatter(
            x=rows["gain"],
            y=100 * rows["drop"],
            mode="markers+text" if len(known) <= NAMED_POINTS else "markers",
            text=[escaped(roi) for roi in rows["roi"]],
            textposition="top right",
            textfont={"size": 10, "color": MUTED},
            name=", ".join([escaped(name), *([HEMISPHERE_NAMES[hemi]] if hemi else [])]),
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 10 if crosses else 7,
                "opacity": 0.9 if crosses else 0.7,
                "line": {"color": "white", "width": 0.8},
            },
            error_x=_cross(rows, "gain", 1, colour, crosses),
            error_y=_cross(rows, "drop", 100, colour, crosses),
            customdata=rows[["run"]],
            hovertext=[_model_in_words(row) for row in rows.itertuples()],
            hoverinfo="text",
        )
    for add in (figure.add_hline, figure.add_vline):
        add(0, line={"color": MUTED, "width": 1.2}, layer="below")
    figure.update_xaxes(title="gain in r over untuned, mean over the ROI's vertices", zeroline=False)
    figure.update_yaxes(title="drop in accuracy against untuned<br>(percentage points)", zeroline=False)
    note = ["Right: predicts responses better than untuned; up: classifies worse."]
    intervals = known[["gain_low", "gain_high", "drop_low", "drop_high"]].notna().any(axis=None)
    if intervals:
        note.append(f"{'Crosses: 95 % intervals' if crosses else '95 % intervals are in the hover texts'}.")
    if len(known) < len(table):
        note.append(f"Left out: {len(table) - len(known)} without a gain or a drop.")
    return finish(figure, provenance, height=520, title=title, characters=100, note=" ".join(note))


def _cross(rows: pd.DataFrame, quantity: str, times: float, colour: str, visible: bool) -> dict[str, Any]:
    """Return the error bars of one direction."""
    return {
        "type": "data",
        "array": times * (rows[f"{quantity}_high"] - rows[quantity]),
        "arrayminus": times * (rows[quantity] - rows[f"{quantity}_low"]),
        "color": _pale(colour).replace(str(BAND_OPACITY), "0.5"),
        "thickness": 1,
        "width": 0,
        "visible": visible,
    }


def _model_in_words(row: Any) -> str:
    """Return the hover text of a model in `trade_off`."""
    where = [row.subject, HEMISPHERE_NAMES.get(row.hemi, row.hemi), row.roi]
    gain = f"gain in r: {signed(row.gain)}{_interval(row.gain_low, row.gain_high, signed)}"
    drop = f"drop in accuracy: {_points(row.drop)}{_interval(row.drop_low, row.drop_high, _points)} percentage points"
    lines = [", ".join(escaped(part) for part in where if part), escaped(row.method), gain, drop]
    return "<br>".join([*lines, f"run {escaped(row.run)[:8]}"])


def _points(share: float) -> str:
    return f"{100 * share:.1f}".replace("-", "−")


def _interval(low: float, high: float, written: Any) -> str:
    return "" if low != low else f" ({written(low)} to {written(high)})"


def confusion_heatmap(
    counts: ArrayLike,
    classes: Sequence[str],
    provenance: Provenance,
    *,
    names: tuple[str, str] = ("A", "B"),
    title: str = "",
) -> go.Figure:
    """Draw how many test pictures belong to each pair of classes.

    Either the true class against the one that a model predicts, or the predictions of two models against each other.
    The colours are for what is off the diagonal, on a logarithmic scale up to the highest count there; the diagonal,
    which would outshine it, has greys of its own.

    Parameters
    ----------
    counts : (C, C) array of int
        Rows are the classes of the first of `names`, columns those of the second.
    classes : sequence of C str
        Above 40, only some are named on the axes, all in the hover texts.
    provenance : Provenance
    names : pair of str
        What rows and columns are, e.g. ``("true class", "predicted by contrastive V1v")``.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        `counts` is not square with a row per class, or holds something that is no count.
    """
    import plotly.graph_objects as go

    table = np.asarray(counts)
    if table.shape != (len(classes), len(classes)):
        raise SpecError(
            "The counts do not fit the classes.",
            got=f"counts of shape {table.shape} and {len(classes)} classes",
            expected="a row and a column per class",
        )
    if table.size and not (np.isfinite(table).all() and (table >= 0).all() and (table == np.round(table)).all()):
        raise SpecError("A count is a number of pictures.", expected="whole numbers, 0 or more")
    if table.sum() == 0:
        return empty_figure("No test picture was counted.", provenance, title=title)
    labels, off = distinct(classes), ~np.eye(len(classes), dtype=bool)
    highest, on_diagonal = int(table[off].max(initial=0)), int(np.diagonal(table).max())
    figure = go.Figure()
    # As small as the counts allow: 1,000 classes are a million cells.
    exact = table.astype(np.min_scalar_type(int(table.max())))
    drawn = (
        ("off", np.where(off, np.log10(1.0 + table), np.nan), "coloraxis"),
        ("diagonal", np.where(off, np.nan, table), "coloraxis2"),
    )
    for name, z, axis in drawn:
        figure.add_heatmap(
            z=z.astype(np.float32),
            x=labels,
            y=labels,
            name=name,
            coloraxis=axis,
            customdata=exact,
            hoverongaps=False,
            hovertemplate=f"{escaped(names[0])}: %{{y}}<br>{escaped(names[1])}: %{{x}}<br>"
            "%{customdata:,} test pictures<extra></extra>",
        )
    shown, n = thinned(labels, CLASS_LABELS), len(labels)
    plot = min(max(CELL_PIXELS * n, LEAST_PIXELS), MOST_PIXELS)
    longest = max(len(html.unescape(label)) for label in shown)
    grid = {"type": "category", "tickvals": shown, "tickfont": {"size": 11}, "showgrid": False, "constrain": "domain"}
    below = 40 + round(5.5 * longest)
    figure.update_xaxes(title={"text": escaped(names[1]), "standoff": 8}, tickangle=-90, range=[-0.5, n - 0.5], **grid)
    # The first class is at the top, as in a table, and a cell is as high as it is wide.
    figure.update_yaxes(title=escaped(names[0]), range=[n - 0.5, -0.5], scaleanchor="x", constraintoward="top", **grid)
    note = "Colour: counts off the diagonal, logarithmic. The diagonal has greys, by its own scale."
    if len(shown) < n:
        note += f" {len(shown)} of {n:,} classes are named on the axes; all in the hover texts."
    finish(figure, provenance, height=plot + below + 36 + 5 * LINE_PIXELS, title=title, below=below, note=note)
    figure.update_xaxes(zeroline=False)
    figure.update_yaxes(zeroline=False)
    ticks = _log_ticks(highest)
    bar = {"thickness": 14, "lenmode": "fraction", "len": 0.5}
    return figure.update_layout(
        coloraxis={
            "colorscale": "Viridis",
            "cmin": 0,
            "cmax": float(np.log10(1 + max(highest, 1))),
            "colorbar": {
                **bar,
                "title": {"text": "pictures<br>off the<br>diagonal"},
                "tickvals": np.log10(1.0 + ticks),
                "ticktext": [f"{count:,}" for count in ticks],
                "y": 1,
                "yanchor": "top",
            },
        },
        coloraxis2={
            "colorscale": DIAGONAL_COLOURS,
            "cmin": 0,
            "cmax": max(on_diagonal, 1),
            "colorbar": {**bar, "title": {"text": "on the<br>diagonal"}, "y": 0.48, "yanchor": "top"},
        },
    )


def _log_ticks(highest: int) -> NDArray[np.int64]:
    """Return the counts that the logarithmic scale names: 0, 1, 3, 10, 30 ... and the highest."""
    highest = max(highest, 1)
    steps = [times * 10**power for power in range(len(str(highest))) for times in (1, 3)]
    return np.array([0, *(step for step in steps if step < 0.7 * highest), highest], np.int64)
