"""Tests of brainviz.datasets.ceiling: reading noise-ceiling SNR, against files that nibabel and numpy wrote."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from brainviz.datasets.ceiling import noise_ceiling, read_ncsnr
from brainviz.encoding import metrics
from brainviz.errors import DatasetError


def _mgh(path: Path, values: np.ndarray, dtype: str = "f4") -> Path:
    nibabel.save(nibabel.MGHImage(values.astype(dtype), np.eye(4)), path)
    return path


@pytest.mark.parametrize("dtype", ["f4", "i4", "i2", "u1"])
@pytest.mark.parametrize("shape", [(300, 1, 1), (1, 300, 1), (1, 1, 300)])
def test_mgh_of_every_type_and_shape(tmp_path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 9, 300)
    positions = np.array([299, 0, 7])
    path = _mgh(tmp_path / "lh.ncsnr.mgh", values.reshape(shape), dtype)
    np.testing.assert_array_equal(read_ncsnr(path, 3, positions, "my own"), values[positions])


def test_only_the_columns_count(tmp_path):
    values = np.full(10_242, np.nan)
    values[[4, 9]] = 0.5, 1.5
    path = _mgh(tmp_path / "rh.ncsnr.mgh", values[:, None, None])
    np.testing.assert_allclose(read_ncsnr(path, 2, np.array([4, 9]), "fsaverage5"), [0.5, 1.5])
    with pytest.raises(DatasetError, match="NaN for all 2 columns"):
        read_ncsnr(path, 2, np.array([1, 2]), "fsaverage5")


def test_values_per_column(tmp_path):
    np.save(tmp_path / "lh_ncsnr.npy", np.array([0.0, np.nan, 2.0], np.float32))
    np.testing.assert_array_equal(read_ncsnr(tmp_path / "lh_ncsnr.npy", 3, None, "none"), [0, np.nan, 2])


def test_damaged_mgh(tmp_path):
    path = _mgh(tmp_path / "lh.ncsnr.mgh", np.ones((500, 1, 1)))
    content = path.read_bytes()
    for length in range(0, len(content), 100):
        path.write_bytes(content[:length])
        if length >= 284 + 4 * 500:  # what follows the values is not needed
            read_ncsnr(path, 3, np.arange(3), "my own")
            continue
        with pytest.raises(DatasetError, match=r"truncated|not an MGH file"):
            read_ncsnr(path, 3, np.arange(3), "my own")
    path.write_bytes(np.random.default_rng(0).bytes(3000))
    with pytest.raises(DatasetError, match="not an MGH file"):
        read_ncsnr(path, 3, np.arange(3), "my own")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_ncsnr(tmp_path / "rh.ncsnr.mgh", 3, np.arange(3), "my own")


def test_a_mesh_that_is_too_small(tmp_path):
    path = _mgh(tmp_path / "lh.ncsnr.mgh", np.ones((500, 1, 1)))
    with pytest.raises(DatasetError, match="does not fit the mesh"):
        read_ncsnr(path, 2, np.array([3, 500]), "my own")
    with pytest.raises(DatasetError, match="one per vertex of fsaverage6"):
        read_ncsnr(path, 2, np.array([3, 4]), "fsaverage6")


def test_the_formula_is_public_under_encoding_too():
    assert metrics.noise_ceiling is noise_ceiling
