"""The brain on a page: one place that draws a map on the cortex, or says why it cannot.

Pages hand over columns, positions and values, and know nothing of how the picture is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from brainviz.datasets.base import MESH_VERTICES
from brainviz.figures.meshes import N_VERTICES, SURFACES, shown_on_fsaverage5, to_fsaverage5
from brainviz.figures.style import PLOTLY_CONFIG, Provenance
from brainviz.figures.surface import VIEWS, Scale, strip_figure, surface_figure
from brainviz.ui.binding import bound
from brainviz.ui.errors import plain

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: Rows of the table that stands beside a strip.
TABLE_ROWS = 200


@dataclass(frozen=True)
class BrainView:
    """How the brain is looked at."""

    surface: str
    view: str
    threshold: float


def brain_controls(mesh: str, *, threshold: bool = True) -> BrainView:
    """Draw the controls of the brain, bound to the URL; none where the data set has no mesh that can be drawn.

    Parameters
    ----------
    mesh : str
        The data set's mesh.
    threshold : bool
        Whether a threshold makes sense for the map.
    """
    if not shown_on_fsaverage5(mesh):
        return BrainView("inflated", "medial", 0.0)
    limit = 0.0
    with st.container(horizontal=True, gap="medium"):
        surface = st.segmented_control("Surface", list(SURFACES), default="inflated", required=True, **bound("surface"))
        view = st.segmented_control(
            "View",
            list(VIEWS),
            default="medial",
            required=True,
            **bound("view"),
            help="Where the brain is seen from. Drag it to turn it, scroll to come nearer.",
        )
        if threshold:
            limit = st.slider(
                "Threshold",
                0.0,
                0.5,
                0.0,
                0.01,
                **bound("threshold"),
                width=260,
                help="Vertices whose value is nearer to 0 than this are left grey.",
            )
    return BrainView(surface or "inflated", view or "medial", limit)


def show_brain(
    values: pd.DataFrame, mesh: str, scale: Scale, provenance: Provenance, view: BrainView, *, key: str
) -> go.Figure:
    """Draw one value per vertex on both hemispheres; without a known mesh, a sorted strip and a table.

    Parameters
    ----------
    values : frame
        Columns ``hemi``, ``column``, ``position``, ``value``; one row per vertex.
    mesh : str
        The mesh that positions are on.
    scale : Scale
    provenance : Provenance
    view : BrainView
    key : str
        Of the chart.

    Returns
    -------
    plotly figure
        What was drawn, for export.
    """
    if not shown_on_fsaverage5(mesh):
        return _show_strip(values, mesh, scale, provenance, key)
    maps = {
        str(hemi): to_fsaverage5(rows["value"].to_numpy(np.float32), rows["position"].to_numpy())
        for hemi, rows in values.groupby("hemi")
    }
    figure = surface_figure(maps, scale, provenance, surface=view.surface, view=view.view, threshold=view.threshold)
    st.plotly_chart(
        figure,
        config=PLOTLY_CONFIG,
        theme=None,
        key=key,
        alt=f"{scale.label or 'ROIs'} on the cortex, {view.view} view",
    )
    if MESH_VERTICES[mesh] > N_VERTICES:
        shown = sum(int(np.isfinite(values_of_hemi).sum()) for values_of_hemi in maps.values())
        st.caption(
            f"The data are on {mesh}; the picture is of fsaverage5, which is its first {N_VERTICES:,} vertices per "
            f"hemisphere ({shown:,} of the {len(values):,} vertices here). Tables and downloads hold all of them."
        )
    return figure


def _show_strip(values: pd.DataFrame, mesh: str, scale: Scale, provenance: Provenance, key: str) -> go.Figure:
    why = "has no mesh" if mesh == "none" else f"is on a mesh that brainviz does not know ({mesh})"
    st.info(
        f"This data set {plain(why)}, so there is no place on a cortex to draw the values at. "
        "They are shown sorted instead."
    )
    maps = {}
    for hemi, rows in values.groupby("hemi"):
        known = rows.sort_values("column")
        full = np.full(int(known["column"].max()) + 1, np.nan, np.float32)
        full[known["column"]] = known["value"]
        maps[str(hemi)] = full
    figure = strip_figure(maps, scale.label, provenance)
    chart, table = st.columns([2, 1])
    chart.plotly_chart(figure, config=PLOTLY_CONFIG, theme=None, key=key, alt=f"{scale.label}, sorted")
    table.dataframe(
        values.sort_values("value", ascending=False)[["hemi", "column", "value"]].head(TABLE_ROWS),
        hide_index=True,
        height=400,
    )
    return figure
