"""Tests of brainviz.datasets.masks: values per column and positions on the mesh."""

from __future__ import annotations

import numpy as np
import pytest

from brainviz.datasets.masks import read_integers, read_labels, read_labels_on_mesh, read_positions, roi_masks
from brainviz.errors import DatasetError


@pytest.fixture
def save(tmp_path):
    def write(values) -> object:
        np.save(tmp_path / "m.npy", np.asarray(values))
        return tmp_path / "m.npy"

    return write


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, ">i4"])
def test_whole_numbers_of_any_type(save, dtype):
    values = read_integers(save(np.array([0, 1, 1], dtype)))
    assert values.dtype == np.int64
    assert values.tolist() == [0, 1, 1]


@pytest.mark.parametrize("wrong", [[0.0, 1.0], [[0, 1]], ["a"], 3])
def test_other_arrays_are_no_masks(save, wrong):
    with pytest.raises(DatasetError, match="not a mask"):
        read_integers(save(wrong))


def test_labels(save):
    assert read_labels(save([0, 2, 1]), 3).tolist() == [0, 2, 1]
    with pytest.raises(DatasetError, match="does not match the responses"):
        read_labels(save([0, 2, 1]), 4)
    assert read_labels_on_mesh(save([9, 8, 7, 6]), np.array([0, 3])).tolist() == [9, 6]
    with pytest.raises(DatasetError, match="shorter than the mesh"):
        read_labels_on_mesh(save([9, 8]), np.array([0, 3]))
    assert len(read_integers(save(np.empty(0, int)))) == 0


def test_positions(save):
    assert read_positions(save([0, 1, 1, 0, 1]), 3, "a mesh of my own").tolist() == [1, 2, 4]
    with pytest.raises(DatasetError, match="does not match the responses"):
        read_positions(save([0, 1, 1, 0, 1]), 4, "none")
    with pytest.raises(DatasetError, match="name the right mesh"):
        read_positions(save([0, 1, 1, 0, 1]), 3, "fsaverage5")
    with pytest.raises(DatasetError, match='mesh = "fsaverage6"'):
        read_positions(save(np.ones(40_962, int)), 40_962, "fsaverage5")


def test_roi_masks_are_named_and_not_empty():
    masks = roi_masks(np.array([0, 1, 3, 3, 9]), {0: "Unknown", 1: "A", 2: "empty", 3: "B", 9: "all"})
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "A": [False, True, False, False, False],
        "B": [False, False, True, True, False],
    }
