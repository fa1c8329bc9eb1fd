"""Maps on the cortex: one value per vertex on both hemispheres of fsaverage5, over sulcal grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES, HEMISPHERES
from brainviz.figures.meshes import Mesh, fsaverage5, patch
from brainviz.figures.style import CATEGORY_COLOURS, HEMISPHERE_COLOURS, INK, Provenance, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class View:
    """A direction to look from.

    Attributes
    ----------
    eye : tuple of float
        Where the left hemisphere is seen from; for the right one x is mirrored.
    up : tuple of float
    millimetres : float
        Length of one unit of plotly's scene. The projection is orthographic, so this alone decides the size; it is as
        small as lets every surface fit, and the same for all surfaces.
    """

    eye: tuple[float, float, float]
    up: tuple[float, float, float]
    millimetres: float


VIEWS = {
    "lateral": View((-2, 0, 0), (0, 0, 1), 106),
    "medial": View((2, 0, 0), (0, 0, 1), 106),
    "ventral": View((0, 0, -2), (0, 1, 0), 120),
    "posterior": View((0, -2, 0), (0, 0, 1), 82),
}

GREYS = [[0.0, "#DEDEDE"], [1.0, "#A3A3A3"]]
#: Perceptually uniform and safe for colour-blind readers: viridis, and cmocean's balance
#: (Thyng et al. 2016, Oceanography 29:9).
COLOUR_SCALES = {"sequential": "Viridis", "diverging": "balance"}


@dataclass(frozen=True)
class Scale:
    """What colours mean.

    Attributes
    ----------
    label : str
        Quantity and unit, beside the colour bar.
    low, high : float
        Values at the ends; beyond them the end's colour is used.
    kind : {"sequential", "diverging", "categorical"}
        Diverging scales should have ``low == -high``.
    names : tuple of str
        Categorical only: name of value 0, 1, ...
    """

    label: str
    low: float
    high: float
    kind: Literal["sequential", "diverging", "categorical"] = "sequential"
    names: tuple[str, ...] = ()


def correlation_scale(maps: Sequence[NDArray[np.floating]]) -> Scale:
    """Return one scale for correlation maps that are to be compared: 0 to their 99th percentile, rounded up to 0.05."""
    return Scale("Pearson r", 0.0, _round_up(maps), "sequential")


def difference_scale(maps: Sequence[NDArray[np.floating]], label: str) -> Scale:
    """Return a scale centred on 0 for differences between correlation maps; the label says of which."""
    limit = _round_up([np.abs(values) for values in maps])
    return Scale(label, -limit, limit, "diverging")


def roi_scale(names: Sequence[str]) -> Scale:
    """Return the scale of a map whose value k stands for ``names[k]``."""
    return Scale("", -0.5, len(names) - 0.5, "categorical", tuple(names))


def palettes(scale: Scale) -> dict[str, NDArray[np.uint8]]:
    """Return the colours that a scale can be drawn in, the usual ones first.

    All are perceptually uniform and safe for colour-blind readers: viridis and cividis; cmocean's balance and delta
    (Thyng et al. 2016, Oceanography 29:9) for diverging scales.

    Returns
    -------
    dict of (256, 3) uint8 arrays
        Name -> colours from the scale's low to its high end; for categories one named ``"categories"``, a row each.
    """
    from matplotlib import colormaps
    from plotly.colors import cmocean, sample_colorscale, unlabel_rgb

    if scale.kind == "categorical":
        count = range(len(scale.names))
        chosen = [CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)] for number in count]
        rows = [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in chosen]
        return {"categories": np.array(rows, np.uint8).reshape(-1, 3)}
    if scale.kind == "sequential":
        shades = {name: colormaps[name](np.arange(256))[:, :3] * 255 for name in ("viridis", "cividis")}
    else:
        steps = np.linspace(0, 1, 256).tolist()
        shades = {
            name: np.array([unlabel_rgb(colour) for colour in sample_colorscale(colours, steps)])
            for name, colours in (("balance", cmocean.balance), ("delta", cmocean.delta))
        }
    return {name: colours.round().astype(np.uint8) for name, colours in shades.items()}


def _round_up(maps: Sequence[NDArray[np.floating]], step: float = 0.05) -> float:
    values = np.concatenate([np.ravel(values) for values in maps]) if maps else np.zeros(0)
    values = values[np.isfinite(values)]
    top = float(np.percentile(values, 99)) if len(values) else 0.0
    return round(float(max(np.ceil(top / step - 1e-9), 1)) * step, 10)


def surface_figure(
    maps: Mapping[str, NDArray[np.floating]],
    scale: Scale,
    provenance: Provenance,
    *,
    surface: str = "inflated",
    view: str = "lateral",
    threshold: float = 0.0,
    title: str = "",
) -> go.Figure:
    """Draw a map on both hemispheres of fsaverage5.

    Parameters
    ----------
    maps : mapping of (10242,) arrays
        Keys ``"lh"`` and/or ``"rh"``; NaN where there is no value, which shows the sulcal grey.
    scale : Scale
    provenance : Provenance
    surface : {"inflated", "pial", "white"}
    view : {"lateral", "medial", "ventral", "posterior"}
    threshold : float
        Values nearer to 0 than this are not painted.
    title : str, optional

    Returns
    -------
    plotly figure
        One scene per hemisphere; arrays are float32 and int32.
    """
    import plotly.graph_objects as go

    meshes = fsaverage5(surface)
    figure = go.Figure()
    for number, hemi in enumerate(HEMISPHERES, start=1):
        scene = "scene" if number == 1 else f"scene{number}"
        figure.add_trace(_sulcal_grey(meshes[hemi]).update(scene=scene))
        if hemi in maps:
            figure.add_trace(_paint(meshes[hemi], maps[hemi], scale, threshold, hemi).update(scene=scene))
        left = 0.0 if hemi == "lh" else 0.5
        figure.update_layout({scene: _scene(meshes[hemi], hemi, view, [left, left + 0.5])})
        figure.add_annotation(
            text=f"{HEMISPHERE_NAMES[hemi]}{'' if hemi in maps else ' (no data)'}",
            x=left + 0.25,
            y=1,
            xref="paper",
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"color": INK},
        )
    figure.update_layout(coloraxis=_colour_axis(scale), uirevision=f"{surface} {view}")
    # Room below for the colour bar, then the provenance.
    finish(figure, provenance, height=480, title=title, below=64)
    return figure.update_layout(margin={"l": 0, "r": 0})


def _scene(mesh: Mesh, hemi: str, view: str, domain: list[float]) -> dict[str, Any]:
    seen = VIEWS[view]
    mirror = 1 if hemi == "lh" else -1
    # Room for the paint, which lies a little above the surface: a scene cuts off what is outside its axes.
    low, high = mesh.coordinates.min(axis=0) - 1, mesh.coordinates.max(axis=0) + 1
    axes = {
        f"{axis}axis": {"visible": False, "showspikes": False, "range": [float(low[n]), float(high[n])]}
        for n, axis in enumerate("xyz")
    }
    return axes | {
        "domain": {"x": domain, "y": [0, 1]},
        "aspectmode": "manual",
        "aspectratio": {axis: float(high[n] - low[n]) / seen.millimetres for n, axis in enumerate("xyz")},
        "bgcolor": "white",
        "camera": {
            "eye": {"x": mirror * seen.eye[0], "y": seen.eye[1], "z": seen.eye[2]},
            "up": dict(zip("xyz", seen.up, strict=True)),
            "projection": {"type": "orthographic"},
        },
    }


def _sulcal_grey(mesh: Mesh) -> go.Mesh3d:
    import plotly.graph_objects as go

    x, y, z = mesh.coordinates.T
    i, j, k = mesh.faces.T
    return go.Mesh3d(
        x=x,
        y=y,
        z=z,
        i=i,
        j=j,
        k=k,
        # Two greys tell sulci from gyri and leave every colour to the data.
        intensity=(mesh.sulcal_depth > 0).astype(np.float32),
        colorscale=GREYS,
        cmin=0,
        cmax=1,
        showscale=False,
        hoverinfo="skip",
        lighting={"ambient": 0.75, "diffuse": 0.4, "specular": 0.02},
    )


def _paint(mesh: Mesh, values: NDArray[np.floating], scale: Scale, threshold: float, hemi: str) -> go.Mesh3d:
    import plotly.graph_objects as go

    shown = np.where(np.abs(values) >= threshold, values, np.nan) if threshold > 0 else values
    categorical = scale.kind == "categorical"
    painted = patch(mesh, shown, smooth=not categorical)
    x, y, z = painted.coordinates.T
    i, j, k = painted.faces.T
    if categorical:
        text = [
            f"{hemi} vertex {vertex}: {scale.names[int(v)]}"
            for vertex, v in zip(painted.vertices, painted.values, strict=True)
        ]
    else:
        text = [f"{hemi} vertex {vertex}: {v:.3f}" for vertex, v in zip(painted.vertices, painted.values, strict=True)]
    return go.Mesh3d(
        x=x,
        y=y,
        z=z,
        i=i,
        j=j,
        k=k,
        intensity=painted.values,
        coloraxis="coloraxis",
        text=text,
        hoverinfo="text",
        # No shading: a colour on the cortex is the colour in the bar.
        lighting={"ambient": 1.0, "diffuse": 0.0, "specular": 0.0, "fresnel": 0.0},
    )


def _colour_axis(scale: Scale) -> dict[str, Any]:
    bar: dict[str, Any] = {
        "orientation": "h",
        "title": {"text": scale.label, "side": "bottom"},
        "len": 0.4 if scale.kind != "categorical" else 0.9,
        "thickness": 12,
        "x": 0.5,
        "y": 0,
        "yanchor": "top",
        "ypad": 0,
    }
    if scale.kind != "categorical":
        return {"colorscale": COLOUR_SCALES[scale.kind], "cmin": scale.low, "cmax": scale.high, "colorbar": bar}
    count = len(scale.names)
    steps: list[list[Any]] = []
    for number in range(count):
        colour = CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)]
        steps += [[number / count, colour], [(number + 1) / count, colour]]
    bar |= {"tickvals": list(range(count)), "ticktext": list(scale.names), "ticks": ""}
    return {"colorscale": steps or None, "cmin": scale.low, "cmax": scale.high, "colorbar": bar}


def strip_figure(
    maps: Mapping[str, NDArray[np.floating]], label: str, provenance: Provenance, *, title: str = ""
) -> go.Figure:
    """Draw values that have no place on a known mesh: sorted from high to low, one line per hemisphere.

    Parameters
    ----------
    maps : mapping of (v,) arrays
        One value per column of the responses; NaN is left out.
    label : str
        Quantity and unit.
    provenance : Provenance
    title : str, optional

    Returns
    -------
    plotly figure
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for hemi, values in maps.items():
        columns = np.flatnonzero(np.isfinite(values))
        order = columns[np.argsort(-values[columns], kind="stable")]
        figure.add_scatter(
            y=values[order],
            mode="lines+markers",
            name=HEMISPHERE_NAMES[hemi],
            marker={"size": 4, "color": HEMISPHERE_COLOURS[hemi]},
            customdata=order,
            hovertemplate="column %{customdata}: %{y:.3f}<extra></extra>",
        )
    figure.update_xaxes(title="rank")
    figure.update_yaxes(title=label)
    return finish(figure, provenance, height=420, title=title)
