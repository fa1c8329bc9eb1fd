"""What all figures share: colours, layout, and the provenance line printed under every one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from brainviz import __version__

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Okabe & Ito's colours, told apart with any kind of colour vision (Wong 2011, Nature Methods 8:441).
METHOD_COLOURS = {"untuned": "#0072B2", "contrastive": "#D55E00"}
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


def finish(
    figure: go.Figure, provenance: Provenance, *, height: int, title: str = "", below: int = 56, characters: int = 130
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
        Length at which the provenance goes on in a new line: less for a narrow figure.

    Returns
    -------
    plotly figure
        The same one.
    """
    lines = wrap(provenance.line(), characters)
    figure.update_layout(
        template="plotly_white",
        height=height,
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}} if title else None,
        font={"family": "Source Sans, Source Sans Pro, Arial, sans-serif", "size": 14, "color": INK},
        margin={"l": 60, "r": 30, "t": 60 if title else 36, "b": below + 10 + LINE_PIXELS * len(lines)},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        paper_bgcolor="white",
        plot_bgcolor="white",
    )
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor="#9AA5B1")
    figure.add_annotation(
        text="<br>".join(lines),
        name="provenance",
        showarrow=False,
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        yshift=-below,
        align="left",
        font={"size": 11, "color": MUTED},
    )
    return figure
