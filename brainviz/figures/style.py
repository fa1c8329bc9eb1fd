"""What all figures share: colours, layout, and the provenance line printed under every one."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from brainviz import __version__

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Okabe & Ito's colours, told apart with any kind of colour vision (Wong 2011, Nature Methods 8:441). The order is the
#: one in which figures show the methods: the control first, what is tuned most closely last.
METHOD_COLOURS = {"random": "#999999", "untuned": "#0072B2", "regression": "#56B4E9", "contrastive": "#D55E00"}
#: For methods that have no colour of their own.
OTHER_METHOD_COLOURS = ("#882255", "#E69F00", "#009E73", "#CC79A7", "#F0E442")
HEMISPHERE_COLOURS = {"lh": "#009E73", "rh": "#CC79A7"}
CATEGORY_COLOURS = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#882255",
    "#44AA99",
    "#999933",
)
#: Height of a line of the provenance.
LINE_PIXELS = 15
INK, MUTED, GRID = "#1F2933", "#52606D", "#E4E7EB"

#: Plotly's settings for every figure, on the page and in exported HTML: nothing is sent anywhere, and the picture
#: saves as a sharp PNG.
PLOTLY_CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "responsive": True,
    "toImageButtonOptions": {"format": "png", "scale": 2},
}


@dataclass(frozen=True)
class Provenance:
    """Where a figure's numbers come from; printed under it and written into every export.

    Attributes
    ----------
    dataset, subject : str
        Name of the data set and of the subject.
    rois : tuple of str
        ROIs shown.
    split : str
        Which pictures the numbers are about, e.g. ``"15 % test pictures, seed 0"``.
    method : str
        How they were obtained, e.g. ``"contrastive"``.
    runs : tuple of str
        Ids of the runs.
    version : str
        Version of brainviz.
    """

    dataset: str
    subject: str
    rois: tuple[str, ...] = ()
    split: str = ""
    method: str = ""
    runs: tuple[str, ...] = ()
    version: str = __version__

    def fields(self) -> dict[str, Any]:
        """Return everything that is known, run ids in full."""
        return {name: value for name, value in asdict(self).items() if value}

    def line(self) -> str:
        """Return one line for print: run ids shortened to 8 digits, at most four of them."""
        parts = [self.dataset, self.subject, _few(self.rois, 6), self.split, self.method]
        if self.runs:
            parts.append(f"run{'s' if len(self.runs) > 1 else ''} {_few([run[:8] for run in self.runs], 4)}")
        parts.append(f"brainviz {self.version}")
        return " · ".join(part for part in parts if part)


def _few(names: Sequence[str], most: int) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def method_colours(methods: Iterable[str]) -> dict[str, str]:
    """Return the methods' colours, in the order in which figures show them.

    Methods that `METHOD_COLOURS` does not know come last, by name, with the colours of `OTHER_METHOD_COLOURS`.
    """
    present = set(methods)
    known = {name: colour for name, colour in METHOD_COLOURS.items() if name in present}
    others = sorted(present - set(METHOD_COLOURS))
    return known | dict(zip(others, cycle(OTHER_METHOD_COLOURS), strict=False))


def signed(value: float, decimals: int = 3) -> str:
    """Return a value in words, with the minus sign that plotly's own numbers have."""
    return f"{value:.{decimals}f}".replace("-", "−")


def escaped(name: object) -> str:
    """Return a name such that plotly shows it letter by letter: its texts and hover texts know tags of HTML."""
    return html.escape(str(name), quote=False)


def distinct(names: Iterable[object]) -> list[str]:
    """Return the names, escaped, for an axis with one place per name: the second of the same name gets a number."""
    labels: dict[str, None] = {}
    for name in names:
        label, number = escaped(name), 1
        while label in labels:
            number += 1
            label = f"{escaped(name)} ({number})"
        labels[label] = None
    return list(labels)


def thinned(labels: Sequence[str], most: int) -> list[str]:
    """Return every second, third ... label, from the first on, so that at most `most` are left."""
    return list(labels[:: max(1, -(-len(labels) // most))])


def empty_figure(words: str, provenance: Provenance, *, title: str = "") -> go.Figure:
    """Return a figure without axes that says in words why there is nothing to see."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_annotation(
        text=words, name="empty", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"color": MUTED}
    )
    figure.update_layout(xaxis={"visible": False}, yaxis={"visible": False})
    return finish(figure, provenance, height=220, title=title)


def finish(
    figure: go.Figure,
    provenance: Provenance,
    *,
    height: int,
    title: str = "",
    below: int = 56,
    characters: int = 130,
    note: str = "",
    above: int = 0,
) -> go.Figure:
    """Give a figure the common look and print its provenance underneath.

    Parameters
    ----------
    figure : plotly figure
        Changed in place.
    provenance : Provenance
    height : int
        Pixels, the provenance line included.
    title : str, optional
    below : int
        Pixels under the plot for tick labels and axis title, before the provenance begins.
    characters : int
        Length at which note and provenance go on in a new line: less for a narrow figure.
    note : str, optional
        How to read the figure, printed before the provenance.
    above : int
        Pixels between the plot and the legend, for the titles of panels.

    Returns
    -------
    plotly figure
        The same one.
    """
    lines = [escaped(line) for line in wrap(provenance.line(), characters)]
    note_lines = wrap(note, characters)
    top = (60 if title else 36) + above
    bottom = below + 10 + LINE_PIXELS * (len(lines) + len(note_lines))
    figure.update_layout(
        template="plotly_white",
        height=height,
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}} if title else None,
        font={"family": "Source Sans, Source Sans Pro, Arial, sans-serif", "size": 14, "color": INK},
        margin={"l": 60, "r": 30, "t": top, "b": bottom},
        legend={
            "orientation": "h",
            # On the right are the buttons that appear over a figure.
            "x": 1 if title else 0,
            "xanchor": "right" if title else "left",
            "y": 1.02 + above / (height - top - bottom),
            "yanchor": "bottom",
        },
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor="#9AA5B1")
    for name, printed, start in (("provenance", lines, len(note_lines)), ("note", note_lines, 0)):
        if printed:
            figure.add_annotation(
                text="<br>".join(printed),
                name=name,
                showarrow=False,
                x=0,
                y=0,
                xref="paper",
                yref="paper",
                xanchor="left",
                yanchor="top",
                yshift=-below - LINE_PIXELS * start,
                align="left",
                font={"size": 11, "color": MUTED},
            )
    return figure
