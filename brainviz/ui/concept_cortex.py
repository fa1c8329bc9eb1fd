"""Values of vertices on the cortex, for the Concepts page: small maps of every participant, and one to turn."""

from __future__ import annotations

import io
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import MESH_VERTICES
from brainviz.figures.meshes import onto
from brainviz.figures.small_maps import MESH, small_maps
from brainviz.figures.style import Provenance
from brainviz.figures.surface import Scale
from brainviz.ui.binding import bound, keep_among, say_unknown
from brainviz.ui.brain import has_place, show_brain, vertex_input
from brainviz.ui.concept_results import ConceptResults
from brainviz.ui.downloads import PRINT_FORMATS, download, map_downloads
from brainviz.ui.look import Look
from brainviz.ui.map_picture import MapPicture
from brainviz.ui.regions import regions_of, usual_borders

#: Pixels per inch of small maps on the page.
SMALL_DPI = 130

#: Participant -> hemisphere -> one value per vertex of the small maps' mesh.
SmallMaps = dict[str, dict[str, NDArray[np.floating]]]


def show_cortex(shown: ConceptResults, values: pd.DataFrame, title: str, stem: str) -> None:
    """Draw a value per vertex of every participant: small maps of all, and one live.

    Parameters
    ----------
    shown : ConceptResults
    values : frame
        ``subject hemi column position value``.
    title, stem : str
        Of the maps and of files.
    """
    mesh = shown.source.dataset.mesh
    scale = cosine_scale(values["value"])
    if has_place(mesh):
        _show_small(shown, values, scale, title, stem)
    subjects = [subject for subject in shown.subjects if (values["subject"] == subject).any()]
    say_unknown("who", subjects, "participant")
    keep_among("who", subjects, subjects[0])
    subject = st.selectbox("To turn and to click", subjects, **bound("who"), width=240)
    provenance = shown.about(str(subject), title)
    regions = regions_of(shown.source, str(subject))
    if has_place(mesh):
        vertex_input()
    maps = (shown.brain_map(values, str(subject), title),)
    look = show_brain(
        maps,
        mesh,
        scale,
        provenance,
        Look(borders=usual_borders(regions, ()), surface="inflated", cameras=("ventral",)),
        key="concept_brain",
        regions=regions,
    )
    map_downloads(
        maps[0].values,
        maps[0].values,
        MapPicture(maps, scale, provenance, look, regions, mesh),
        [shown.spec],
        label=scale.label,
        stem=f"{stem}_{subject}",
    )


def cosine_scale(values: pd.Series) -> Scale:
    """Return the scale of cosines, centred on 0, to the largest of nearly all of them."""
    known = np.abs(values.dropna().to_numpy())
    top = float(np.quantile(known, 0.995)) if len(known) else 1.0
    limit = min(1.0, max(0.1, np.ceil(top * 10) / 10))
    return Scale("cosine", -limit, limit, "diverging")


def _show_small(shown: ConceptResults, values: pd.DataFrame, scale: Scale, title: str, stem: str) -> None:
    n = MESH_VERTICES[MESH]
    maps: SmallMaps = {}
    for (subject, hemi), rows in values.groupby(["subject", "hemi"], sort=False):
        inside = rows[(rows["position"] >= 0) & (rows["position"] < n)]
        of_hemi = onto(inside["value"].to_numpy(np.float32), inside["position"].to_numpy(np.int64), n)
        maps.setdefault(str(subject), {})[str(hemi)] = of_hemi
    provenance = shown.about(words=title)
    st.image(_small_png(maps, scale, provenance), width="stretch")
    with st.popover("Files of all participants", icon=":material/download:"):
        for kind in PRINT_FORMATS:
            download(
                kind.upper(),
                partial(_small_file, maps, scale, provenance, kind),
                f"{stem}_participants.{kind}",
                key=f"small_{kind}",
            )


# Drawing takes seconds, and a page draws them at every click.
@st.cache_data(show_spinner="Drawing the maps", max_entries=32)
def _small_png(maps: SmallMaps, scale: Scale, provenance: Provenance) -> bytes:
    content = io.BytesIO()
    small_maps(maps, scale, provenance).savefig(content, format="png", dpi=SMALL_DPI)
    return content.getvalue()


def _small_file(maps: SmallMaps, scale: Scale, provenance: Provenance, kind: Literal["png", "svg", "pdf"]) -> bytes:
    from brainviz.figures.print_panels import panel_bytes

    return panel_bytes(small_maps(maps, scale, provenance), kind)
