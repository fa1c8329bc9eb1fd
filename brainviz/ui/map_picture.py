"""A map on the cortex as files: one HTML page to turn in a browser, and panels for print."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainviz.config import mesh_folder
from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures.meshes import N_VERTICES, onto, resolution
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale, palettes
from brainviz.ui.look import VIEWS, Look
from brainviz.ui.viewer import Regions, Tested

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Surfaces that can be printed from several sides; a flat map is printed anyway.
SOLID = ("inflated", "pial", "white", "sphere")


@dataclass(frozen=True)
class MapPicture:
    """How a map is drawn, for exports that look like what is on the page.

    Attributes
    ----------
    scale : Scale
    provenance : Provenance
    look : Look
        Of the page: panels have its limits, threshold, colours, surface and borders, and leave grey what it leaves
        grey; the page to turn has its limits, threshold and surface.
    regions : Regions
    mesh : str
        The mesh that positions are on.
    ceiling : frame, optional
        ``hemi``, ``position``, ``value``.
    tested : Tested, optional
    """

    scale: Scale
    provenance: Provenance
    look: Look
    regions: Regions
    mesh: str
    ceiling: pd.DataFrame | None = None
    tested: Tested | None = None

    @property
    def shown_scale(self) -> Scale:
        """The scale within the limits that the visitor has chosen."""
        if self.look.limits is None:
            return self.scale
        low, high = self.look.limits
        if self.scale.kind == "diverging":  # as on the page, 0 stays in the middle
            low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
        return replace(self.scale, low=low, high=high)

    @property
    def left_out(self) -> str:
        """What is grey besides the vertices below the threshold, in words; empty where nothing is."""
        words = []
        if self.look.floor > 0 and self.ceiling is not None:
            words.append(f"noise ceiling of {self.look.floor:g} or more")
        if self.look.tested and self.tested is not None:
            words.append(self.tested.label[0].lower() + self.tested.label[1:])
        return "; ".join(words)

    def html_figure(self, values: pd.DataFrame) -> go.Figure:
        """Return a figure of fsaverage5 that can be turned: the whole map, from the named view."""
        from brainviz.figures.surface import surface_figure

        view = self.look.cameras[0] if self.look.cameras[0] in VIEWS else "lateral"
        surface = self.look.surface if self.look.surface in SOLID[:3] else "inflated"
        return surface_figure(
            _on_mesh(self.painted(values), N_VERTICES),
            self.shown_scale,
            self.provenance,
            surface=surface,
            view=view,
            threshold=self.look.threshold,
            title=self.left_out,
        )

    def panels(self, values: pd.DataFrame, format: Literal["png", "svg", "pdf"]) -> bytes:
        """Return lateral, medial, ventral and flat views of both hemispheres, 300 dpi."""
        from brainviz.figures.print_panels import panel_bytes, print_panels

        surface = self.look.surface if self.look.surface in SOLID else "inflated"
        folder = mesh_folder()
        mesh = resolution(self.mesh, folder, surface=surface)
        n = MESH_VERTICES[mesh]
        figure = print_panels(
            _on_mesh(self.painted(values), n),
            self.shown_scale,
            self.provenance,
            mesh=mesh,
            folder=folder,
            surface=surface,
            rois={hemi: self._masks(hemi, n) for hemi in HEMISPHERES},
            threshold=self.look.threshold,
            title=self.left_out,
            colours=self.look.colours if self.look.colours in palettes(self.scale) else None,
        )
        return panel_bytes(figure, format)

    def painted(self, values: pd.DataFrame) -> pd.DataFrame:
        """Return the values without those that the page leaves grey for their noise ceiling or for want of a test."""
        if self.look.floor > 0 and self.ceiling is not None:
            known = values.merge(self.ceiling, on=["hemi", "position"], how="left", suffixes=("", "_ceiling"))
            low = ~(known["value_ceiling"].to_numpy() >= self.look.floor)
            values = values.assign(value=values["value"].mask(low))
        if self.look.tested and self.tested is not None:
            inside = np.zeros(len(values), bool)
            for hemi, positions in self.tested.positions.items():
                inside |= ((values["hemi"] == hemi) & values["position"].isin(positions)).to_numpy()
            values = values.assign(value=values["value"].where(inside))
        return values

    def _masks(self, hemi: str, n: int) -> dict[str, NDArray[np.bool_]]:
        masks = {}
        for name in self.look.borders:
            if (hemi, name) in self.regions.positions:
                positions = self.regions.positions[hemi, name]
                masks[name] = np.zeros(n, bool)
                masks[name][positions[positions < n]] = True
        return masks


def _on_mesh(values: pd.DataFrame, n: int) -> dict[str, NDArray[np.float32]]:
    return {
        str(hemi): onto(rows["value"].to_numpy(np.float32), rows["position"].to_numpy(np.int64), n)
        for hemi, rows in values.groupby("hemi")
    }
