"""A map on the cortex as files: one HTML page to turn in a browser, and panels for print."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainviz.config import mesh_folder
from brainviz.datasets.base import HEMISPHERES, MESH_VERTICES
from brainviz.figures.meshes import onto, resolution
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale, palettes
from brainviz.ui.brain import summary_words
from brainviz.ui.look import Look
from brainviz.ui.viewer_page import viewer_page
from brainviz.ui.viewer_plan import BrainMap, Regions, Tested

#: Surfaces that can be printed from several sides; a flat map is printed anyway.
SOLID = ("inflated", "pial", "white", "sphere")


@dataclass(frozen=True)
class MapPicture:
    """How maps are drawn, for exports that look like what is on the page.

    Attributes
    ----------
    maps : one or two of BrainMap
    scale : Scale
    provenance : Provenance
    look : Look
        Of the page: exports have its limits, threshold, colours, surface and borders, and leave grey what it leaves
        grey.
    regions : Regions
    mesh : str
        The mesh that positions are on.
    ceiling : frame, optional
        ``hemi``, ``position``, ``value``.
    tested : Tested, optional
    """

    maps: tuple[BrainMap, ...]
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
        """What decides which vertices are left grey, in words; empty where nothing does."""
        words = []
        if self.look.threshold > 0:
            words.append(f"threshold {self.look.threshold:g}")
        if self.look.floor > 0 and self.ceiling is not None:
            words.append(f"noise ceiling of {self.look.floor:g} or more")
        if self.look.tested and self.tested is not None:
            words.append(self.tested.label[0].lower() + self.tested.label[1:])
        return "; ".join(words)

    def page(self) -> str:
        """Return one HTML page with all maps on fsaverage5, to turn and to look at as on the page."""
        return viewer_page(
            self.maps,
            self.scale,
            self.look,
            self.provenance,
            title=f"{self.provenance.subject}: {self.scale.label}, {', '.join(each.title for each in self.maps)}",
            summary=summary_words(self.maps, self.scale),
            regions=self.regions,
            ceiling=self.ceiling,
            tested=self.tested,
            usual_borders=self.look.borders,
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
            roi_order=self.regions.names,
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
