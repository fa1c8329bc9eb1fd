"""Maps of one value per vertex: what their colours mean, and values that have no place on a known mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERE_NAMES
from brainviz.figures.style import CATEGORY_COLOURS, HEMISPHERE_COLOURS, Provenance, finish

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
