"""Laterality indices of models: a dot with its interval per model, ROIs beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.errors import SpecError
from brainviz.figures.accuracy import titled
from brainviz.figures.laterality_marks import (
    add_key,
    hemispheres_present,
    left_out_words,
    marker_shape,
    method_symbols,
    model_colour,
    whose_model,
)
from brainviz.figures.panels import BarPanels, in_order
from brainviz.figures.style import GRID, INK, MUTED, Provenance, empty_figure, escaped, signed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

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
#: The shortest value axis: so far on both sides of 0.
LEAST_DOTS = 0.1


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
    symbols = method_symbols(rows.loc[known, "method"])
    # Both hemispheres' models stand beside each other, each with its controls.
    hemispheres = hemispheres_present(rows.loc[known, "hemi"])
    models = {f"{hemi} {method}": (hemi, method) for hemi in hemispheres for method in symbols}
    present = in_order(rows.loc[known, "series"], models)
    chart = _DotPanels(rows, {series: model_colour(*models[series]) for series in present}, QUANTITIES[quantity], None)
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
    add_key(figure, hemispheres, symbols)
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
    notes += left_out_words(int((~known).sum()), "a value")
    return titled(replace(chart, words=" ".join(notes)).finish(figure, provenance), title)


def _dot_in_words(row: Any, quantity: str) -> str:
    """Return the hover text of a dot."""
    interval = "" if row.low != row.low else f" (95 % interval {signed(row.low)} to {signed(row.high)})"
    subject = "all subjects" if row.subject == ALL else escaped(row.subject)
    lines = [
        ", ".join(filter(None, (subject, row.place))),
        ", ".join(filter(None, (whose_model(row.hemi) if row.hemi else "", escaped(row.method)))),
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
    colour = model_colour(hemi, method)
    lane = chart.slot_pixels / max(len(chart.names), 1)
    size = min(max(chart.slot_pixels * 0.6, 5.5), 11.0) if large else min(max(lane * 0.6, 4.0), 8.0)
    figure.add_scatter(
        x=chart.x(rows),
        y=rows["value"],
        mode="markers",
        name=", ".join(filter(None, (whose_model(hemi) if hemi else "", escaped(method)))),
        showlegend=False,
        marker={"color": colour, "size": size, **marker_shape(symbols[method], size)},
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
