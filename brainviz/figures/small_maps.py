"""Small flat maps of several participants beside each other, to compare where something lies; for matplotlib."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import HEMISPHERES
from brainviz.errors import SpecError
from brainviz.figures.meshes import load_mesh
from brainviz.figures.print_panels import colour_map
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The mesh that all are drawn on; data on a finer one are shown by their first vertices.
MESH = "fsaverage5"

#: Participants beside each other, at most; width and height of one, inches.
COLUMNS, WIDTH, HEIGHT = 2, 5.0, 2.2


def small_maps(maps: Mapping[str, Mapping[str, NDArray[np.floating]]], scale: Scale, provenance: Provenance) -> Figure:
    """Draw one flat map per participant, both hemispheres, all in one scale.

    Parameters
    ----------
    maps : mapping of mappings of (10242,) arrays
        Participant -> hemisphere -> one value per vertex of fsaverage5, NaN where there is none, which stays grey.
    scale : Scale
    provenance : Provenance
        Written into the file by `brainviz.figures.print_panels.panel_bytes`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    SpecError
        There is no participant, or a map is not on fsaverage5.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    if not maps:
        raise SpecError("There is nothing to draw.", got="no participant")
    flat = load_mesh(MESH, "flat")
    rows = -(-len(maps) // COLUMNS)
    columns = min(len(maps), COLUMNS)
    figure = Figure(figsize=(columns * WIDTH, rows * HEIGHT + 0.2))
    figure.set_label(json.dumps(provenance.fields(), ensure_ascii=False))
    painted = ScalarMappable(Normalize(scale.low, scale.high), colour_map(scale, None))
    grid = figure.subplots(rows, 2 * columns, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.2})
    figure.subplots_adjust(left=0.005, right=0.9, bottom=0.02, top=0.9)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (name, hemispheres) in enumerate(maps.items()):
        row, column = divmod(place, columns)
        for side, hemi in enumerate(HEMISPHERES):
            axes = grid[row, 2 * column + side]
            values = hemispheres.get(hemi)
            if values is not None and values.shape != flat[hemi].sulcal_depth.shape:
                raise SpecError(f"The map of {name} is not on {MESH}.", got=str(values.shape))
            _draw(axes, flat[hemi], values, painted)
            axes.set_title(f"{name} {hemi}", fontsize=7, pad=1, parse_math=False)
    if scale.kind != "categorical":
        bar = figure.colorbar(painted, cax=figure.add_axes((0.92, 0.2, 0.012, 0.6)))
        bar.set_label(scale.label, fontsize=7)
        bar.ax.tick_params(labelsize=6)
    return figure


def _draw(axes: Axes, mesh: Any, values: NDArray[np.floating] | None, painted: Any) -> None:
    """Draw one hemisphere: its folds in grey, and the triangles whose corners have values in colour."""
    x, y, faces = mesh.coordinates[:, 0], mesh.coordinates[:, 1], mesh.faces
    folds = (mesh.sulcal_depth > 0)[faces].mean(axis=1)
    axes.tripcolor(x, y, faces, facecolors=folds, cmap="Greys", vmin=-1.0, vmax=3.5, rasterized=True)
    if values is not None:
        known = np.isfinite(values)
        # A triangle belongs to the values of those of its corners that have one, as soon as two do.
        counts = known[faces].sum(axis=1)
        shown = counts >= 2
        if shown.any():
            sums = np.where(known, values, 0)[faces].sum(axis=1)
            axes.tripcolor(
                x,
                y,
                faces[shown],
                facecolors=sums[shown] / counts[shown],
                cmap=painted.cmap,
                norm=painted.norm,
                rasterized=True,
            )
    axes.set_aspect("equal")
