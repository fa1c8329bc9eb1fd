"""How much every position in the pictures matters on average: mean maps of both hemispheres' models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.errors import SpecError
from brainviz.figures.cells import INFERNO, RIGHT_PIXELS, axis_name, colour_bar, diverging, write_name
from brainviz.figures.laterality_marks import whose_model
from brainviz.figures.panels import WIDTH
from brainviz.figures.style import INK, LINE_PIXELS, MUTED, Provenance, empty_figure, escaped, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go

Numbers = NDArray[np.float64]

#: Pixels of a mean map, of the room beside it, of its colour bar with labels, and of its profile.
MAP_PIXELS, BESIDE_PIXELS, SCALE_PIXELS, PROFILE_PIXELS = 210, 20, 100, 90
#: Pixels of the margin on the left.
LEFT_PIXELS = 60
#: Titles of the colour bars of mean maps and of their difference.
BARS = {"coloraxis": "1 = even", "coloraxis2": "difference"}


def position_maps(
    left: ArrayLike | None, right: ArrayLike | None, provenance: Provenance, *, less: str = "", title: str = ""
) -> go.Figure:
    """Draw how much every position in the pictures matters on average to the models of both hemispheres.

    Below each map is its profile, the mean over its rows.

    Parameters
    ----------
    left, right : (h, w) array or None
        Mean maps of the left and of the right hemisphere's model: share of attribution mass per position times the
        number of positions, so that 1 is even. Without one of them, the other is drawn alone.
    provenance : Provenance
    less : str, optional
        The network whose maps were subtracted from both: then they are drawn about 0.
    title : str, optional

    Returns
    -------
    plotly figure

    Raises
    ------
    SpecError
        A map has not two dimensions, or the maps have different shapes.
    """
    import plotly.graph_objects as go

    given = dict(zip(HEMISPHERE_NAMES, (left, right), strict=True))
    maps = {whose_model(hemi): np.asarray(given[hemi], np.float64) for hemi in given if given[hemi] is not None}
    shapes = {values.shape for values in maps.values()}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise SpecError("Mean maps have one shape.", got=" and ".join(map(str, shapes)), expected="(h, w), of both")
    maps = {name: values for name, values in maps.items() if np.isfinite(values).any()}
    if not maps:
        return empty_figure("No mean map is known yet.", provenance, title=title)
    height, width = shapes.pop()
    panels = [
        _Panel(f"{name} − {less}" if less else name, values, number * (MAP_PIXELS + BESIDE_PIXELS), bool(less))
        for number, (name, values) in enumerate(maps.items())
    ]
    if len(panels) == 2:
        start = panels[1].start + MAP_PIXELS + SCALE_PIXELS
        panels.append(_Panel("left minus right", panels[0].values - panels[1].values, start, difference=True))
    figure = go.Figure()
    for number, panel in enumerate(panels, start=1):
        _add_map(figure, panel, number, number + len(panels))
    down, whole = round(MAP_PIXELS * height / width), WIDTH - LEFT_PIXELS - RIGHT_PIXELS
    plot = _place_panels(figure, panels, down, whole)
    note = "Maps: 1 is as much as if all positions mattered alike. Curves: means over the height; dashed: the middle."
    if less:
        note = f"Maps: less those of the {escaped(less)} network, in units of even spread. {note.split('. ', 1)[1]}"
    finish(
        figure,
        provenance,
        height=plot + 18 + 36 + 24 * bool(title) + 40 + 3 * LINE_PIXELS,
        title=title,
        below=30,
        characters=110,
        note=note,
        above=18,
    )
    figure.update_layout(margin={"l": LEFT_PIXELS, "r": RIGHT_PIXELS}, showlegend=False)
    for axis, bar_title in BARS.items():
        of_axis = [panel for panel in panels if panel.coloraxis == axis]
        if of_axis:
            end = max(_highest(panel.values) for panel in of_axis) or 1.0
            scale = {"colorscale": INFERNO, "cmin": 0, "cmax": end} if axis == "coloraxis" else diverging(end)
            bar = colour_bar((of_axis[-1].start + MAP_PIXELS) / whole, 1.0, max(down, 130), bar_title)
            figure.update_layout({axis: {**scale, "colorbar": bar}})
    return figure


def _place_panels(figure: go.Figure, panels: Sequence[_Panel], down: int, whole: int) -> int:
    """Give maps, so many pixels high, and the profiles below them their axes; return how high all are together."""
    height, width = panels[0].values.shape
    plot = down + BESIDE_PIXELS + PROFILE_PIXELS
    # Profiles have axes of one length, so that slopes can be compared: maps' from 0 on, the difference's around 0.
    length = max(1.1 * _highest(panel.profile) * (2 if panel.difference else 1) for panel in panels) or 1.0
    for number, panel in enumerate(panels, start=1):
        below, first = number + len(panels), number == 1
        across = {
            "domain": [panel.start / whole, (panel.start + MAP_PIXELS) / whole],
            "range": [-0.5, width - 0.5],
            "constrain": "domain",
            "showgrid": False,
            "zeroline": False,
        }
        figure.update_layout(
            {
                f"xaxis{number}": {
                    **across,
                    "anchor": axis_name("y", number),
                    "matches": None if first else "x",
                    "showticklabels": False,
                },
                f"yaxis{number}": {
                    "domain": [1 - down / plot, 1],
                    "range": [height - 0.5, -0.5],
                    "constrain": "domain",
                    "anchor": axis_name("x", number),
                    "matches": None if first else "y",
                    "scaleanchor": "x" if first else None,
                    "showticklabels": False,
                },
                f"xaxis{below}": {
                    **across,
                    "anchor": f"y{below}",
                    "matches": "x",
                    "tickvals": [width / 4 - 0.5, 3 * width / 4 - 0.5],
                    "ticktext": ["left half", "right half"],
                },
                f"yaxis{below}": {
                    "domain": [0, PROFILE_PIXELS / plot],
                    "range": [-length / 2, length / 2] if panel.difference else [0, length],
                    "anchor": f"x{below}",
                    "showticklabels": first or panel.difference,
                    "nticks": 4,
                    "title": {"text": "mean over<br>the height" if first else "", "font": {"size": 12}},
                },
            }
        )
        x, y = (f"{axis_name(letter, number)} domain" for letter in "xy")
        write_name(figure, [panel.name], x, y, x=0.5, y=1, yanchor="bottom", yshift=1)
    return plot


def _highest(values: Numbers) -> float:
    """Return the highest absolute value."""
    return float(np.nanmax(np.abs(values), initial=0.0))


@dataclass(frozen=True)
class _Panel:
    """A mean map or the difference of two.

    Attributes
    ----------
    name : str
    values : (h, w) array
    start : int
        Where it begins, in pixels.
    difference : bool
    """

    name: str
    values: Numbers
    start: int
    difference: bool = False

    @property
    def coloraxis(self) -> str:
        return "coloraxis2" if self.difference else "coloraxis"

    @property
    def profile(self) -> Numbers:
        """Mean over the known values of every column, (w,)."""
        return np.asarray(np.ma.masked_invalid(self.values).mean(axis=0).filled(np.nan), np.float64)


def _add_map(figure: go.Figure, panel: _Panel, number: int, below: int) -> None:
    """Draw a map, the profile below it, and the midline in both."""
    height, width = panel.values.shape
    middle = (width - 1) / 2
    figure.add_heatmap(
        z=panel.values.astype(np.float32),
        coloraxis=panel.coloraxis,
        zsmooth=False,
        hoverongaps=False,
        name=panel.name,
        hovertemplate=f"{panel.name}<br>column %{{x}}, row %{{y}}: %{{z:.3f}}<extra></extra>",
        xaxis=axis_name("x", number),
        yaxis=axis_name("y", number),
    )
    figure.add_scatter(
        x=np.arange(width),
        y=panel.profile,
        mode="lines",
        name=panel.name,
        line={"color": INK, "width": 2},
        hovertemplate=f"{panel.name}<br>column %{{x}}: %{{y:.3f}}<extra></extra>",
        xaxis=f"x{below}",
        yaxis=f"y{below}",
    )
    on_map, colour = (height - 0.5, -0.5), INK if panel.difference else "white"
    for at, y, ends, shade in (
        (number, axis_name("y", number), on_map, colour),
        (below, f"y{below} domain", (0, 1), MUTED),
    ):
        figure.add_shape(
            type="line",
            name="middle",
            x0=middle,
            x1=middle,
            y0=ends[0],
            y1=ends[1],
            xref=axis_name("x", at),
            yref=y,
            line={"color": shade, "width": 1.2, "dash": "dash"},
        )
