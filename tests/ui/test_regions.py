"""A subject's areas and noise ceiling as places on the mesh, on the tiny data set's planted facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brainviz.datasets import open_dataset
from brainviz.runs import preparation
from brainviz.ui.regions import OTHERS, OVERLAPPING, SETS, ceiling_of, in_sets, regions_of, usual_borders
from brainviz.ui.sources import Source
from brainviz.ui.viewer_plan import Regions


@pytest.fixture
def without_mesh(serve: Callable[..., None], tiny_copy: Path) -> Source:
    text = (tiny_copy / "dataset.toml").read_text()
    (tiny_copy / "dataset.toml").write_text(text.replace('"fsaverage5"', '"none"'))
    serve("tiny", tiny_copy)
    report = preparation.report("tiny")
    assert report is not None
    assert report.index is not None
    return Source("tiny", open_dataset("tiny"), report.index, report)


def test_areas_are_where_the_masks_say(source: Source) -> None:
    regions = regions_of(source, "subj01")
    assert set(regions.names) == {"V1v", "V1d", "V2v", "FFA-1", "V1"}
    for hemi in ("lh", "rh"):
        places, masks = source.dataset.positions("subj01", hemi), source.dataset.rois("subj01", hemi)
        assert places is not None
        for name in regions.names:
            np.testing.assert_array_equal(regions.positions[hemi, name], places[masks[name]])
    assert [len(regions.positions["lh", name]) for name in ("V1v", "V1d", "V1", "FFA-1")] == [30, 28, 58, 24]


def test_an_area_that_a_hemisphere_lacks(source: Source) -> None:
    positions = regions_of(source, "subj02").positions
    assert ("lh", "FFA-1") not in positions
    assert len(positions["rh", "FFA-1"]) == 24


def test_subjects_are_told_apart(source: Source) -> None:
    first, second = (regions_of(source, subject).positions["lh", "V1v"] for subject in ("subj01", "subj02"))
    assert not np.array_equal(first, second)


def test_without_a_mesh_nothing_has_a_place(without_mesh: Source) -> None:
    regions = regions_of(without_mesh, "subj01")
    assert (regions.names, dict(regions.positions)) == ((), {})
    assert ceiling_of(without_mesh, "subj01") is None


def test_every_area_is_in_one_set() -> None:
    names = ["V1", "FFA-1", "V1v", "PPA", "lateral", "mine", "hV4", "EBA", "early-visual", "OTS", "VWFA-1"]
    sets = in_sets(names)
    listed = [name for members in sets.values() for name in members]
    assert sorted(listed) == sorted(names)
    assert sets["Early visual areas"] == ("V1v", "hV4")
    assert sets["Faces"] == ("FFA-1",)
    assert sets["Unions"] == ("V1", "early-visual")
    assert sets[OTHERS] == ("OTS", "mine") or sets[OTHERS] == ("mine", "OTS")


def test_sets_without_areas_are_left_out() -> None:
    assert in_sets([]) == {}
    assert list(in_sets(["PPA"])) == ["Places"]
    assert list(in_sets(["of my own"])) == [OTHERS]


def test_overlapping_sets_are_sets() -> None:
    assert set(OVERLAPPING) <= set(SETS)


def test_at_first_the_chosen_areas_are_outlined(source: Source) -> None:
    regions = regions_of(source, "subj01")
    assert usual_borders(regions, ["FFA-1", "V1"]) == ("FFA-1", "V1")
    assert usual_borders(regions, ["V1v", "OFA"]) == ("V1v",)


def test_where_all_vertices_are_chosen_the_smallest_areas_are_outlined(source: Source) -> None:
    regions = regions_of(source, "subj01")
    assert usual_borders(regions, ["all"]) == ("V1v", "V1d", "V2v", "FFA-1")
    assert usual_borders(Regions({}, {}), ["all"]) == ()


def test_ceiling(source: Source) -> None:
    ceiling = ceiling_of(source, "subj01")
    assert ceiling is not None
    assert list(ceiling.columns) == ["hemi", "position", "value"]
    assert ceiling["hemi"].value_counts().to_dict() == {"lh": 120, "rh": 120}
    np.testing.assert_allclose(ceiling["value"], 0.8)
    places = source.dataset.positions("subj01", "rh")
    np.testing.assert_array_equal(ceiling.loc[ceiling["hemi"] == "rh", "position"], places)


def test_a_subject_without_a_ceiling(source: Source) -> None:
    assert ceiling_of(source, "subj02") is None


def test_another_state_of_the_files_is_looked_up_anew(source: Source, without_mesh: Source) -> None:
    """What is remembered goes by the data set's fingerprint."""
    other = replace(without_mesh, index=replace(without_mesh.index, fingerprint="f" * 64))
    assert regions_of(source, "subj01").names
    assert not regions_of(other, "subj01").names
