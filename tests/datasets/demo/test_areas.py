"""Areas: connected, disjoint, anatomically where they belong, and different from subject to subject."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from brainviz.datasets.base import HEMISPHERES, MIN_ROI_VERTICES
from brainviz.datasets.demo.areas import EARLY, FOOD_PATCH, MISSING, ROI_SETS, SUBJECTS, Areas, place_areas

PLACED = {
    (subject, hemi): place_areas(subject, hemi, np.random.default_rng([5, number]))
    for number, subject in enumerate(SUBJECTS)
    for hemi in HEMISPHERES
}
each = pytest.mark.parametrize(("subject", "hemi"), PLACED)


def pial(hemi: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from nilearn.datasets import load_fsaverage

    mesh = load_fsaverage("fsaverage5")["pial"].parts[{"lh": "left", "rh": "right"}[hemi]]
    return np.asarray(mesh.coordinates), np.asarray(mesh.faces)


def present(areas: Areas) -> set[str]:
    return set(np.unique(areas.area)) - {""}


@each
def test_every_area_is_one_connected_patch(subject: str, hemi: str) -> None:
    areas, (coordinates, faces) = PLACED[subject, hemi], pial(hemi)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = csr_array((np.ones(len(edges)), edges.T), shape=(len(coordinates),) * 2)
    for name in present(areas):
        members = np.flatnonzero(areas.area == name)
        assert connected_components(graph[members][:, members], directed=False)[0] == 1, name
        assert MIN_ROI_VERTICES <= len(members) <= 150, name


@each
def test_subjects_lack_what_they_should(subject: str, hemi: str) -> None:
    every = set(EARLY) | {"EBA", "FBA-1", "OFA", "FFA-1", "PPA", "OPA", FOOD_PATCH}
    found = present(PLACED[subject, hemi])
    assert not found & set(MISSING[subject][hemi])
    assert every - set(MISSING[subject][hemi]) <= found


@each
def test_labels_use_the_published_values_and_agree_with_the_areas(subject: str, hemi: str) -> None:
    areas = PLACED[subject, hemi]
    for key, names in ROI_SETS.items():
        label = areas.labels[key]
        assert label.dtype == np.int64
        assert not label[~areas.keep].any()
        if key != "streams":
            for code, name in enumerate(names, 1):
                np.testing.assert_array_equal(label == code, areas.area == name)
    assert np.all(areas.keep[areas.area != ""])
    assert 1000 < areas.keep.sum() < 1700


@each
def test_areas_lie_where_anatomy_says(subject: str, hemi: str) -> None:
    """Millimetres on fsaverage's pial surface: x lateral, y anterior, z superior; the pole is at about y = -105."""
    areas, (coordinates, _) = PLACED[subject, hemi], pial(hemi)
    outwards = (-1 if hemi == "lh" else 1, 1, 1)
    centre = {name: coordinates[areas.area == name].mean(0) * outwards for name in present(areas)}
    assert centre["V1v"][0] < 18  # medial
    assert centre["V1v"][1] < -80  # posterior
    heights = [centre[name][2] for name in ("V2v", "V1v", "V1d", "V2d", "V3d")]
    assert heights == sorted(heights)  # the ventral half of the bands lies below the calcarine sulcus
    assert centre["V3v"][0] > centre["V2v"][0] > centre["V1v"][0]
    assert centre["hV4"][0] > centre["V3v"][0]
    assert centre["FFA-1"][2] < -10  # ventral
    assert centre["PPA"][0] < centre["FFA-1"][0] - 5  # medial of it
    assert centre["OFA"][1] < centre["FFA-1"][1] < centre.get("FFA-2", centre["FFA-1"] + 1)[1]
    assert centre["EBA"][0] > 40  # lateral
    assert centre["OPA"][2] > 10  # dorsal


@each
def test_the_visual_field_is_laid_out_over_the_early_areas(subject: str, hemi: str) -> None:
    areas = PLACED[subject, hemi]
    for name in EARLY:
        angle, eccentricity = (values[areas.area == name] for values in (areas.angle, areas.eccentricity))
        assert eccentricity.min() >= 0
        assert eccentricity.max() <= 1
        if name.endswith("v"):
            assert angle.min() >= 0
        elif name.endswith("d"):
            assert angle.max() <= 0
    assert np.isnan(areas.angle[~np.isin(areas.area, EARLY)]).all()


def test_subjects_differ_and_repeat() -> None:
    for hemi in HEMISPHERES:
        masks = [PLACED[subject, hemi].area == "V1v" for subject in SUBJECTS]
        assert len({mask.tobytes() for mask in masks}) == len(SUBJECTS)
        assert len({mask.sum() for mask in masks}) > 1
        assert (masks[0] & masks[1]).sum() > 0.5 * masks[0].sum()  # yet at the same place
        again = place_areas("subj02", hemi, np.random.default_rng([5, 1]))
        np.testing.assert_array_equal(again.area, PLACED["subj02", hemi].area)
