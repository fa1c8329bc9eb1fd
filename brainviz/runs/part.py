"""A finished bottleneck run of all vertices, read as if it had been asked for some ROIs only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES
from brainviz.runs.store import Run

if TYPE_CHECKING:
    import pandas as pd

#: Arrays whose last or first axis runs over the vertices.
BY_LAYER = ("r", "cv_r", "alpha", "protocol_r")
BY_VERTEX = ("own", "r_low", "r_high", "predicted", "offset", "columns", "positions", "reconstruction_r", "plain_r")


@dataclass(frozen=True, eq=False)
class PartOfRun(Run):
    """A finished run of all vertices, as an encoding run of some areas would be.

    Attributes
    ----------
    areas : mapping of (str, str) to (v,) int array
        Hemisphere and ROI to the columns of its vertices. A ROI that the run does not report on is left out.
    """

    areas: Mapping[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)

    @cached_property
    def _whole_table(self) -> pd.DataFrame:
        return super().table("rois")

    @cached_property
    def _vertices(self) -> dict[tuple[str, str], NDArray[np.int64]]:
        """Where the areas are on the run's own vertex axis."""
        start = {span["hemi"]: span["start"] for span in super().json("areas")}
        known = set(zip(self._whole_table["hemi"], self._whole_table["roi"], strict=True))
        return {area: start[area[0]] + columns for area, columns in self.areas.items() if area in known}

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """Rows of the table about these areas, and about the ROIs of whole hemispheres."""
        table = self._whole_table
        mine = [
            (hemi, roi) in self._vertices or (hemi, ALL_VERTICES) in self._vertices
            for hemi, roi in zip(table["hemi"], table["roi"], strict=True)
        ]
        return np.flatnonzero(mine)

    def json(self, name: str) -> Any:
        if name != "areas":
            return super().json(name)
        ends = np.cumsum([len(vertices) for vertices in self._vertices.values()]).tolist()
        return [
            {"hemi": hemi, "roi": roi, "start": end - len(vertices), "stop": end}
            for ((hemi, roi), vertices), end in zip(self._vertices.items(), ends, strict=True)
        ]

    def table(self, name: str) -> pd.DataFrame:
        return self._whole_table.iloc[self._rows].reset_index(drop=True) if name == "rois" else super().table(name)

    def array(self, name: str) -> NDArray[Any]:
        values = super().array(name)
        if name == "replicates":
            return values[:, self._rows]
        if name not in (*BY_LAYER, *BY_VERTEX):
            return values
        vertices = np.concatenate(list(self._vertices.values()))
        return values[:, vertices] if name in BY_LAYER else values[vertices]
