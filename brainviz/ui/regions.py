"""A subject's areas and noise ceiling as places on the mesh, for the brain viewer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import ROI_UNIONS, Dataset
from brainviz.encoding.summaries import GROUPS
from brainviz.ui.sources import Source
from brainviz.ui.viewer_plan import Regions

#: ROIs that are no part of one of these are listed together.
SETS = {
    "Early visual areas": GROUPS["early"],
    "Bodies": GROUPS["bodies"],
    "Faces": GROUPS["faces"],
    "Places": GROUPS["places"],
    "Words": GROUPS["words"],
    "Streams": tuple(roi for name, rois in GROUPS.items() if name.endswith("stream") for roi in rois),
    "Unions": tuple(ROI_UNIONS),
}
OTHERS = "Other areas"
#: Sets whose areas are made of, or lie across, those of the others.
OVERLAPPING = ("Streams", "Unions")


def regions_of(source: Source, subject: str) -> Regions:
    """Return the areas of a subject of both hemispheres, in sets."""
    return _regions(source.index.fingerprint, subject, source.dataset)


@st.cache_resource(show_spinner=False, max_entries=16)
def _regions(fingerprint: str, subject: str, _dataset: Dataset) -> Regions:
    positions: dict[tuple[str, str], NDArray[np.int64]] = {}
    for hemi in _dataset.hemispheres(subject):
        if (places := _dataset.positions(subject, hemi)) is not None:
            positions |= {(hemi, name): places[mask] for name, mask in _dataset.rois(subject, hemi).items()}
    return Regions(in_sets(dict.fromkeys(name for _, name in positions)), positions)


def in_sets(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Arrange areas in sets; each is in one only, and a set that has none is left out."""
    left = dict.fromkeys(names)
    sets = {}
    for title, members in SETS.items():
        if found := tuple(name for name in members if name in left):
            sets[title] = found
            left = {name: None for name in left if name not in found}
    return sets | ({OTHERS: tuple(left)} if left else {})


def usual_borders(regions: Regions, chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the areas that are outlined at first: the chosen ones, or where all vertices are, all but the overlapping.

    Parameters
    ----------
    regions : Regions
    chosen : sequence of str
        ROIs; those without a place of their own, such as all vertices, are passed over.
    """
    if borders := tuple(name for name in chosen if name in regions.names):
        return borders
    return tuple(name for title, names in regions.sets.items() if title not in OVERLAPPING for name in names)


def ceiling_of(source: Source, subject: str) -> pd.DataFrame | None:
    """Return ``hemi``, ``position``, ``value`` of the subject's noise ceiling; None where there is none."""
    return _ceiling(source.index.fingerprint, subject, source.dataset)


@st.cache_resource(show_spinner=False, max_entries=16)
def _ceiling(fingerprint: str, subject: str, _dataset: Dataset) -> pd.DataFrame | None:
    frames = []
    for hemi in _dataset.hemispheres(subject):
        places, values = _dataset.positions(subject, hemi), _dataset.noise_ceiling(subject, hemi)
        if places is not None and values is not None:
            frames.append(pd.DataFrame({"hemi": hemi, "position": places, "value": values}))
    return pd.concat(frames, ignore_index=True) if frames else None
