"""Bars over ROIs or groups in one panel per hemisphere, with subjects, intervals, noise ceiling and published values.

The one picture that all comparisons of methods share: a bar is the mean over subjects; several subjects are dots over
it and the error bar is the interval over subjects; a single subject's error bar is its bootstrap interval over test
pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.encoding.published import LABEL as PUBLISHED
from brainviz.encoding.published import PROTOCOL
from brainviz.figures.style import INK, LINE_PIXELS, MUTED, Provenance, finish, signed

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

#: Up to so many bars in a panel, hemispheres stand side by side; with more, one under the other.
SIDE_BY_SIDE = 24
#: Width in pixels that layouts reckon with; figures follow the page's width.
WIDTH = 900
#: Of the room that a place on the axis has, what its bars take; and of its own room, what one bar takes.
PLACE_WIDTH, BAR_WIDTH = 0.8, 0.88
#: In the legend, ceiling and published values come after the bars, whose rank is plotly's 1000.
LAST_RANK = 1001
#: Grey of the noise ceiling's band.
BAND = "rgba(82, 96, 109, 0.25)"
#: What the dots of differences look like, by what the test said.
SIGNIFICANT, NOT_SIGNIFICANT, NOT_TESTED = "q < 0.05", "q ≥ 0.05", "not tested"
DOTS: dict[str, dict[str, Any]] = {
    "": {"color": INK, "line": {"color": "white", "width": 0.5}},
    SIGNIFICANT: {"color": INK, "line": {"color": INK, "width": 1}},
    NOT_SIGNIFICANT: {"color": "white", "line": {"color": INK, "width": 1}},
    NOT_TESTED: {"symbol": "x-thin", "line": {"color": INK, "width": 1}},
}

#: What tells bars apart, in the frames that the helpers of this module pass around: panel, place on the axis, and
#: which of the bars that stand side by side there. Their other columns are subject, value, low and high.
KEYS = ["panel", "place", "series"]


def keyed(
    frame: pd.DataFrame, *, place: str = "roi", series: str = "", one: str = "", value: str = "value"
) -> pd.DataFrame:
    """Return the frame with the columns `KEYS`; without a column for the series all rows belong to `one`."""
    renamed = frame.rename(columns={"hemi": "panel", place: "place", series: "series", value: "value"})
    if not series:
        renamed["series"] = one
    if "panel" not in renamed:
        renamed["panel"] = ""
    return renamed


def in_order(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """Return those of `order` that are among the values."""
    present = set(values)
    return [name for name in order if name in present]


def appearance(sequences: Iterable[Iterable[str]]) -> list[str]:
    """Return all names in order of first appearance; one that only a later sequence has follows its predecessor there.

    So a ROI that the first subject lacks stands where the others have it, and not at the end.
    """
    order: list[str] = []
    for sequence in sequences:
        at = 0
        for name in dict.fromkeys(sequence):
            if name in order:
                at = order.index(name) + 1
            else:
                order.insert(at, name)
                at += 1
    return order


def _records(rows: pd.DataFrame) -> list[Any]:
    return list(rows.itertuples())


@dataclass(frozen=True)
class BarPanels:
    """A bar chart to be: bars side by side at places on an axis, in one panel per hemisphere.

    Attributes
    ----------
    rows : frame
        Columns `KEYS`, ``subject``, ``value``; ``low`` and ``high`` if there are intervals per subject; ``state``, a
        key of `DOTS`, if dots are told apart.
    colours : mapping
        Name of the series -> colour, in the order of the bars at a place.
    label : str
        Title of the value axis.
    spread : frame or None
        Columns `KEYS`, ``low``, ``high``: intervals over subjects.
    number : str
        d3 format of values.
    named : bool
        Whether the legend names the series; not needed where the axis does.
    """

    rows: pd.DataFrame
    colours: Mapping[str, str]
    label: str
    spread: pd.DataFrame | None
    number: str = ".3f"
    named: bool = True

    @cached_property
    def hemispheres(self) -> list[str]:
        """What has a panel; groups of ROIs have one without a name."""
        return in_order(self.rows["panel"], ["", *HEMISPHERE_NAMES])

    @cached_property
    def places(self) -> list[str]:
        """What is on the axis."""
        return appearance(rows["place"] for _, rows in self.rows.groupby(["subject", "panel"], sort=False))

    @cached_property
    def subjects(self) -> list[str]:
        return sorted(set(self.rows["subject"]))

    @property
    def stacked(self) -> bool:
        """Whether the panels are one under the other."""
        return len(self.places) * len(self.colours) > SIDE_BY_SIDE

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of panels."""
        n = len(self.hemispheres)
        return (n, 1) if self.stacked else (1, n)

    @property
    def slot(self) -> float:
        """Room of one bar, in places."""
        return PLACE_WIDTH / len(self.colours)

    @property
    def slot_pixels(self) -> float:
        return WIDTH / self.grid[1] / max(len(self.places), 3) * self.slot

    def panels(self) -> go.Figure:
        """Return empty panels with their axes."""
        from plotly.subplots import make_subplots

        rows, columns = self.grid
        figure = make_subplots(
            rows=rows,
            cols=columns,
            shared_yaxes=True,
            subplot_titles=[HEMISPHERE_NAMES.get(hemi, "") for hemi in self.hemispheres],
            horizontal_spacing=0.03,
            vertical_spacing=0.11,
        )
        figure.update_annotations(font={"size": 14, "color": INK})
        figure.update_layout(barmode="overlay")
        # A few bars alone are not to fill the page.
        room = max(0.5, 2 - len(self.places) / 2)
        figure.update_xaxes(
            tickvals=list(range(len(self.places))),
            ticktext=self.places if self._slanted else [name.replace(" ", "<br>") for name in self.places],
            tickangle=-45 if self._slanted else 0,
            range=[-room, len(self.places) - 1 + room],
            showgrid=False,
            zeroline=False,
        )
        for number in range(2, rows * columns + 1):
            figure.update_layout({f"yaxis{number}": {"matches": "y"}})
        for row in range(1, rows + 1):
            figure.update_xaxes(showticklabels=row == rows, row=row)
            figure.update_yaxes(title={"text": self.label, "font": {"size": 14}}, row=row, col=1)
        return figure

    @property
    def _longest(self) -> float:
        """Pixels of the longest word on the axis."""
        return 7.5 * max((len(word) for name in self.places for word in name.split()), default=0)

    @property
    def _slanted(self) -> bool:
        return self._longest > 0.9 * WIDTH / self.grid[1] / max(len(self.places), 3)

    def add_bars(self, figure: go.Figure) -> None:
        """Draw a bar per place and series, with its error bar, and the subjects' dots."""
        import plotly.graph_objects as go

        heights = self._heights()
        for series, colour in self.colours.items():
            for hemi in self.hemispheres:
                rows = heights[(heights["panel"] == hemi) & (heights["series"] == series)]
                bars = go.Bar(
                    x=self._x(rows),
                    y=rows["value"],
                    width=self.slot * BAR_WIDTH,
                    name=series,
                    marker={"color": colour},
                    error_y={
                        "type": "data",
                        "array": rows["high"] - rows["value"],
                        "arrayminus": rows["value"] - rows["low"],
                        "color": INK,
                        "thickness": 1.2,
                        "width": min(4.0, self.slot_pixels / 4),
                    },
                    customdata=[[self._where(hemi, row.place), self._how(row)] for row in _records(rows)],
                    hovertemplate=f"%{{customdata[0]}}<br>{series}: %{{y:{self.number}}}%{{customdata[1]}}"
                    "<extra></extra>",
                )
                self._add(figure, bars, hemi, group=series, legend=self.named)
                if self._dotted:
                    self._add_dots(figure, hemi, series)

    @property
    def _dotted(self) -> bool:
        return len(self.subjects) > 1 or "state" in self.rows

    def _heights(self) -> pd.DataFrame:
        """Return one row per bar: `KEYS`, value, n (subjects), low, high."""
        heights = self.rows.groupby(KEYS, sort=False)["value"].agg(value="mean", n="count").reset_index()
        intervals = self.rows if len(self.subjects) == 1 else self.spread
        known = heights.head(0) if intervals is None else intervals
        heights = heights.merge(known.reindex(columns=[*KEYS, "low", "high"]), on=KEYS, how="left")
        return heights[heights["n"] > 0]

    def _add_dots(self, figure: go.Figure, hemi: str, series: str) -> None:
        import plotly.graph_objects as go

        of_series = self.rows[(self.rows["panel"] == hemi) & (self.rows["series"] == series)].dropna(subset=["value"])
        states = of_series["state"] if "state" in of_series else of_series["series"].map(lambda _: "")
        # Every subject has its own place across the bar, the same over all bars.
        for state in in_order(states, DOTS):
            rows = of_series[states == state]
            across = (self._numbers(rows["subject"], self.subjects) + 0.5) / len(self.subjects) - 0.5
            dots = go.Scatter(
                x=self._x(rows) + across * self.slot * BAR_WIDTH * 0.8,
                y=rows["value"],
                mode="markers",
                name=state,
                marker={"size": min(max(self.slot_pixels / 3, 3.0), 6.0), **DOTS[state]},
                cliponaxis=False,
                customdata=[
                    [row.subject, self._where(hemi, row.place), self._interval(row, "test pictures")]
                    for row in _records(rows)
                ],
                hovertemplate=f"%{{customdata[0]}}, %{{customdata[1]}}<br>{series}: %{{y:{self.number}}}"
                f"%{{customdata[2]}}{'<br>' if state else ''}{state}<extra></extra>",
            )
            self._add(figure, dots, hemi, group=state or series, legend=bool(state))

    def add_ceiling(self, figure: go.Figure, ceiling: pd.DataFrame) -> None:
        """Draw a band per place; before the bars, so that it lies behind them."""
        import plotly.graph_objects as go

        known = ceiling[ceiling["place"].isin(self.places)].dropna(subset=["low", "high"])
        for hemi in self.hemispheres:
            rows = known[known["panel"] == hemi]
            band = go.Bar(
                x=self._numbers(rows["place"], self.places),
                base=rows["low"],
                y=rows["high"] - rows["low"],
                width=0.96,
                name="noise ceiling",
                legendrank=LAST_RANK,
                # Where lowest and highest are the same there is no area, and a line in its place.
                marker={"color": BAND, "line": {"color": MUTED, "width": 1.5 * (rows["low"] == rows["high"])}},
                customdata=[
                    [
                        self._where(hemi, row.place),
                        signed(row.low) if row.low == row.high else f"{signed(row.low)} to {signed(row.high)}",
                    ]
                    for row in _records(rows)
                ],
                hovertemplate="%{customdata[0]}<br>noise ceiling: %{customdata[1]}<extra></extra>",
            )
            self._add(figure, band, hemi, group="ceiling", legend=True)

    def add_published(self, figure: go.Figure, published: pd.DataFrame) -> None:
        """Draw published values as hollow diamonds, where there is a bar to compare them with."""
        import plotly.graph_objects as go

        drawn = self.rows.dropna(subset=["value"])[KEYS].drop_duplicates()
        known = published.merge(drawn, on=KEYS)
        for hemi in self.hemispheres:
            rows = known[known["panel"] == hemi]
            diamonds = go.Scatter(
                x=self._x(rows),
                y=rows["value"],
                mode="markers",
                name=PUBLISHED,
                legendrank=LAST_RANK,
                marker={
                    "symbol": "diamond",
                    "size": min(max(self.slot_pixels * 0.6, 7.0), 11.0),
                    "color": "rgba(255, 255, 255, 0.6)",
                    "line": {"color": INK, "width": 1.5},
                },
                customdata=[[self._where(hemi, row.place), row.series] for row in _records(rows)],
                hovertemplate=f"%{{customdata[0]}}<br>%{{customdata[1]}}: %{{y:{self.number}}}<br>{PUBLISHED}"
                "<extra></extra>",
            )
            self._add(figure, diamonds, hemi, group="published", legend=True)

    def finish(self, figure: go.Figure, provenance: Provenance) -> go.Figure:
        """Give the figure its look, its size and a note on how to read it."""
        rows, _ = self.grid
        lines = 1 if self._slanted else max(name.count(" ") + 1 for name in self.places)
        below = 16 + 18 * lines + round(0.71 * self._longest if self._slanted else 0)
        note, characters = self._note(figure), 120
        height = rows * 270 + 90 + below + LINE_PIXELS * (2 + len(note) // characters)
        above = 24 if all(self.hemispheres) else 0
        return finish(figure, provenance, height=height, below=below, characters=characters, note=note, above=above)

    def _note(self, figure: go.Figure) -> str:
        """Return in words what bars, dots and error bars are."""
        heights = self._heights()
        intervals = bool(heights["low"].notna().any())
        parts = []
        if len(self.subjects) > 1:
            counts = sorted(set(heights["n"]))
            n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            over = "; error bars: 95 % interval over subjects (t)" if intervals else ""
            parts.append(f"Bars: mean over {n} subjects; dots: subjects{over}.")
        elif intervals:
            parts.append("Error bars: 95 % bootstrap interval over test pictures.")
        drawn = {trace.legendgroup for trace in figure.data}
        if drawn & {SIGNIFICANT, NOT_SIGNIFICANT}:
            parts.append("q: false discovery rate, permutation test over test pictures, per subject.")
        if "ceiling" in drawn:
            several = ", from the lowest subject's to the highest's" if len(self.subjects) > 1 else ""
            parts.append(f"Noise ceiling: mean over vertices of √NC{several}.")
        if "published" in drawn:
            parts.append(f"Published: {PROTOCOL}")
        return " ".join(parts)

    def _add(self, figure: go.Figure, trace: Any, hemi: str, *, group: str, legend: bool) -> None:
        """Add a trace to a hemisphere's panel; a group is named in the legend once."""
        if not len(trace.x):
            return
        named = any(other.legendgroup == group and other.showlegend for other in figure.data)
        trace.update(legendgroup=group, showlegend=legend and not named)
        number = self.hemispheres.index(hemi) + 1
        figure.add_trace(trace, row=number if self.stacked else 1, col=1 if self.stacked else number)

    def _x(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Where the rows' bars stand."""
        places, series = self._numbers(rows["place"], self.places), self._numbers(rows["series"], list(self.colours))
        return places + self.slot * (series - (len(self.colours) - 1) / 2)

    @staticmethod
    def _numbers(names: Iterable[str], among: list[str]) -> NDArray[np.float64]:
        return np.array([among.index(name) for name in names], dtype=np.float64)

    def _where(self, hemi: str, place: str) -> str:
        return f"{HEMISPHERE_NAMES[hemi]}, {place}" if hemi else place

    def _how(self, row: Any) -> str:
        """What is behind a bar, as the end of its hover text."""
        if len(self.subjects) == 1:
            return f"{self._interval(row, 'test pictures')}<br>{self.subjects[0]}"
        return f"<br>mean of {row.n} subject{'s' if row.n > 1 else ''}{self._interval(row, 'subjects')}"

    def _interval(self, row: Any, over: str) -> str:
        low, high = getattr(row, "low", float("nan")), getattr(row, "high", float("nan"))
        if low != low:
            return ""
        written = [f"{value:.1%}" if self.number.endswith("%") else signed(value) for value in (low, high)]
        return f"<br>95 % interval over {over}: {' to '.join(written)}"
