"""What each part of a bottleneck network adds: the mean r of every variant, its difference to full, and r per ROI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainviz.figures.panels import LAST_RANK, BarPanels, in_order, keyed
from brainviz.figures.style import INK, LINE_PIXELS, MUTED, Provenance, empty_figure, escaped, finish, signed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Colours of the variants, in the order in which figures show them: Okabe & Ito's, and one more.
VARIANT_COLOURS = {
    "full": "#D55E00",
    "no leak": "#E69F00",
    "no pre-training": "#56B4E9",
    "plain cosine": "#0072B2",
    "MSE": "#882255",
    "linear": "#999999",
}
#: Colour of the reconstruction ceiling's band, and of its line where lowest and highest are the same.
CEILING, CEILING_LINE = "rgba(230, 159, 0, 0.30)", "#B77F00"
#: Pixels of a variant's row, and of what is above and below the rows.
ROW_PIXELS, AROUND_PIXELS = 50, 190
#: Of a variant's row, how far apart subjects stand at most.
ASIDE = 0.5
#: Characters of a line below a figure, which is read on narrow screens, too.
CHARACTERS = 80


def ablation_chart(
    scores: pd.DataFrame, provenance: Provenance, *, seeds: pd.DataFrame, over: pd.DataFrame, title: str = ""
) -> go.Figure:
    """Draw the mean r of each variant of the network (left), and by how much it differs from the full one (right).

    Parameters
    ----------
    scores : frame
        Columns ``subject``, ``variant``, ``r``, ``low``, ``high``, ``difference``, ``difference_low``,
        ``difference_high`` (less the full network; NaN where there is none), ``reconstruction_r``; one row each.
    provenance : Provenance
    seeds : frame
        Columns ``subject``, ``variant``, ``seed``, ``r``. Of one subject, several seeds are drawn as ticks.
    over : frame
        The same columns as `scores` but ``subject`` and ``reconstruction_r``: means over subjects with their
        intervals. Empty for one subject.
    title : str, optional

    Returns
    -------
    plotly figure
        Of several subjects, large dots are means over them, and small ones subjects.
    """
    from plotly.subplots import make_subplots

    if scores.empty:
        return empty_figure("No network has been trained yet.", provenance, title=title)
    variants = in_order(scores["variant"], VARIANT_COLOURS)
    subjects = sorted(set(scores["subject"]))
    figure = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_widths=[0.58, 0.42],
        subplot_titles=["mean test r", "difference to full"],
    )
    figure.update_annotations(font={"size": 14, "color": INK})
    _add_ceiling_band(figure, scores["reconstruction_r"])
    several = len(subjects) > 1
    for column, value in enumerate(("r", "difference"), start=1):
        place = {"row": 1, "col": column}
        ends = ("low", "high") if value == "r" else ("difference_low", "difference_high")
        if several:
            _add_subjects(figure, scores, value, (variants, subjects), place)
        elif value == "r":
            _add_ticks(figure, seeds, variants, place)
        _add_dots(figure, over if several else scores, (value, *ends), variants, place)
    figure.add_vline(0, line={"color": MUTED, "width": 1.5}, row=1, col=2)
    figure.update_yaxes(
        tickvals=list(range(len(variants))), ticktext=variants, range=[len(variants) - 0.5, -0.5], zeroline=False
    )
    figure.update_xaxes(tickformat=".3~f", nticks=6)
    notes = (
        f"Large dots: mean over {len(subjects)} subjects, with its 95 % interval (t); small dots: subjects."
        if several
        else "Bars: 95 % bootstrap interval over test pictures, of the mean over seeds; that of a difference is paired."
    )
    if not several and seeds.groupby("variant")["seed"].nunique().gt(1).any():
        notes += " Ticks: single seeds."
    height = AROUND_PIXELS + ROW_PIXELS * len(variants) + LINE_PIXELS
    return finish(figure, provenance, height=height, title=title, characters=CHARACTERS, note=notes, above=24, below=40)


def _add_ceiling_band(figure: go.Figure, ceiling: pd.Series) -> None:
    """Draw the reconstruction ceiling, from the lowest to the highest: a line where both are equal."""
    known = ceiling.dropna()
    if known.empty:
        return
    low, high = float(known.min()), float(known.max())
    words = " to ".join(dict.fromkeys([signed(low), signed(high)]))
    # Shapes are in no legend: a trace without a point names it, before, as plotly leaves out shapes of empty panels.
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        name=f"reconstruction ceiling, {words}",
        legendgroup="ceiling",
        marker={"symbol": "square", "size": 12, "color": CEILING, "line": {"width": 1.5, "color": CEILING_LINE}},
        row=1,
        col=1,
    )
    figure.add_vrect(
        low, high, fillcolor=CEILING, line={"width": 1.5, "color": CEILING_LINE}, layer="below", row=1, col=1
    )


def _add_dots(
    figure: go.Figure, rows: pd.DataFrame, columns: tuple[str, str, str], variants: Sequence[str], place: dict[str, int]
) -> None:
    """Draw a dot per variant with its interval."""
    value, low, high = columns
    known = rows.dropna(subset=[value])
    figure.add_scatter(
        x=known[value],
        y=_rows_of(known, variants),
        mode="markers",
        showlegend=False,
        marker={"size": 11, "color": [VARIANT_COLOURS[name] for name in known["variant"]]},
        error_x={
            "type": "data",
            "array": known[high] - known[value],
            "arrayminus": known[value] - known[low],
            "color": INK,
            "thickness": 1.4,
            "width": 5,
        },
        hovertext=[
            f"{escaped(name)}: {signed(at)}"
            + ("" if least != least else f"<br>95 % interval {signed(least)} to {signed(most)}")
            for name, at, least, most in known[["variant", *columns]].itertuples(index=False, name=None)
        ],
        hoverinfo="text",
        **place,
    )


def _add_subjects(
    figure: go.Figure,
    scores: pd.DataFrame,
    value: str,
    order: tuple[Sequence[str], Sequence[str]],
    place: dict[str, int],
) -> None:
    """Draw every subject as a small dot, each at its own height within a variant's row."""
    variants, subjects = order
    known = scores.dropna(subset=[value])
    aside = [ASIDE * ((subjects.index(name) + 0.5) / len(subjects) - 0.5) for name in known["subject"]]
    figure.add_scatter(
        x=known[value],
        y=_rows_of(known, variants) + aside,
        mode="markers",
        showlegend=False,
        marker={"size": 5, "color": INK, "opacity": 0.6},
        hovertext=[
            f"{escaped(row.subject)}, {escaped(row.variant)}: {signed(getattr(row, value))}"
            for row in known.itertuples()
        ],
        hoverinfo="text",
        **place,
    )


def _add_ticks(figure: go.Figure, seeds: pd.DataFrame, variants: Sequence[str], place: dict[str, int]) -> None:
    """Draw every seed of variants that have several as an upright tick."""
    several = seeds[seeds.groupby("variant")["seed"].transform("nunique") > 1]
    if several.empty:
        return
    figure.add_scatter(
        x=several["r"],
        y=_rows_of(several, variants),
        mode="markers",
        showlegend=False,
        marker={
            "symbol": "line-ns",
            "size": 16,
            "line": {"width": 1.5, "color": [VARIANT_COLOURS[name] for name in several["variant"]]},
        },
        hovertext=[
            f"{escaped(name)}, seed {seed}: {signed(r)}"
            for name, seed, r in zip(several["variant"], several["seed"], several["r"], strict=True)
        ],
        hoverinfo="text",
        **place,
    )


def _rows_of(rows: pd.DataFrame, variants: Sequence[str]) -> NDArray[np.float64]:
    return np.array([variants.index(name) for name in rows["variant"]], dtype=np.float64)


@dataclass(frozen=True)
class _VariantPanels(BarPanels):
    """Bars of variants, with the reconstruction ceiling behind them."""

    def add_reconstruction(self, figure: go.Figure, ceiling: pd.DataFrame) -> None:
        """Draw the reconstruction ceiling as a band per place, as `add_ceiling` does the noise ceiling."""
        before = len(figure.data)
        self.add_ceiling(figure, ceiling)
        for trace in figure.data[before:]:
            trace.update(
                name="reconstruction ceiling",
                legendgroup="reconstruction",
                legendrank=LAST_RANK,
                marker={"color": CEILING, "line": {"color": CEILING_LINE}},
                hovertemplate=trace.hovertemplate.replace("noise", "reconstruction"),
            )

    def _note(self, figure: go.Figure) -> str:
        words = f"{super()._note(figure)} Bars and intervals are of the mean over seeds."
        if any(trace.legendgroup == "reconstruction" for trace in figure.data):
            words += (
                " Reconstruction ceiling: mean r of the test responses with what their own principal components give "
                "back; from the lowest to the highest of subjects and seeds."
            )
        return words


def variant_bars(
    scores: pd.DataFrame,
    provenance: Provenance,
    *,
    reconstruction: pd.DataFrame,
    ceiling: pd.DataFrame | None = None,
    spread: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw mean r per ROI, variants of the network side by side, one panel per hemisphere.

    Parameters
    ----------
    scores : frame
        Columns ``subject``, ``hemi``, ``roi``, ``variant``, ``r``, ``low``, ``high`` (95 % bootstrap interval over test
        pictures).
    provenance : Provenance
    reconstruction : frame
        Columns ``hemi``, ``roi``, ``low``, ``high``: the reconstruction ceiling, a band behind the bars.
    ceiling : frame, optional
        As for `brainviz.figures.bars.correlation_bars`: the noise ceiling.
    spread : frame, optional
        Columns ``hemi``, ``roi``, ``variant``, ``low``, ``high``: 95 % t interval over subjects.

    Returns
    -------
    plotly figure
    """
    if scores.empty:
        return empty_figure("No ROI of these is in the data.", provenance)
    present = set(scores["variant"])
    chart = _VariantPanels(
        keyed(scores, series="variant", value="r"),
        {name: colour for name, colour in VARIANT_COLOURS.items() if name in present},
        "mean test r",
        None if spread is None else keyed(spread, series="variant"),
    )
    figure = chart.panels()
    chart.add_reconstruction(figure, keyed(reconstruction))
    if ceiling is not None:
        chart.add_ceiling(figure, keyed(ceiling))
    chart.add_bars(figure)
    return chart.finish(figure, provenance)
