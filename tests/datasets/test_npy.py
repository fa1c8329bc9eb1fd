"""Tests of brainviz.datasets.npy: headers against the file's size, and block-wise reading against numpy."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from brainviz.datasets import npy
from brainviz.errors import DatasetError


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i2"])
@pytest.mark.parametrize("block_bytes", [1, 300, 1 << 20])
def test_read_float32_is_numpy_indexing(tmp_path, monkeypatch, order, dtype, block_bytes):
    monkeypatch.setattr(npy, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    values = np.asarray(rng.integers(-100, 100, (23, 17)), dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    file = npy.open_npy(tmp_path / "a.npy")
    assert file.shape == (23, 17)
    expected = values.astype(np.float32)
    rows, columns = rng.permutation(23)[:9], rng.permutation(17)[:5]
    for r, c in [(None, None), (rows, None), (None, columns), (rows, columns), (rows[[0, 0, 3]], columns[[2, 2]])]:
        got = npy.read_float32(file, c, r)
        wanted = expected if r is None else expected[r]
        np.testing.assert_array_equal(got, wanted if c is None else wanted[:, c])
        assert got.dtype == np.float32
        assert got.dtype.isnative
        assert got.flags.c_contiguous


def test_no_rows_and_no_columns(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3), np.float32))
    file = npy.open_npy(tmp_path / "a.npy")
    none = np.empty(0, int)
    assert npy.read_float32(file, none).shape == (4, 0)
    assert npy.read_float32(file, None, none).shape == (0, 3)


def test_map_is_read_only(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 3), np.float32, order="F"))
    mapped = npy.open_npy(tmp_path / "a.npy").map()
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 2


def test_file_that_shrinks_between_opening_and_reading(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((40, 30), np.float32))
    file = npy.open_npy(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DatasetError, match="can no longer be read"):
        npy.read_float32(file)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data + b"x", "longer than its header"),
        (lambda data: data[:40], "not a whole NumPy file"),
        (lambda data: b"", "not a whole NumPy file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n", "not a whole NumPy file"),
        (lambda data: data[:20] + b"\xff\x00((((" + data[26:], "not a whole NumPy file"),
    ],
)
def test_damaged_files(tmp_path, damage, words):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((4, 3), np.float32))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=words):
        npy.open_npy(path)


def test_missing_file_broken_link_and_folder(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        npy.open_npy(tmp_path / "a.npy")
    (tmp_path / "b.npy").symlink_to(tmp_path / "nowhere.npy")
    with pytest.raises(DatasetError, match="link to a file that is not there"):
        npy.open_npy(tmp_path / "b.npy")
    (tmp_path / "c.npy").mkdir()
    with pytest.raises(DatasetError, match="cannot be read"):
        npy.open_npy(tmp_path / "c.npy")


def test_python_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="Python objects"):
        npy.open_npy(tmp_path / "a.npy")


def test_no_mutated_header_raises_anything_else(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((4, 3), np.float32))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(400):
        mutated = bytearray(data)
        for position in rng.integers(0, 128, rng.integers(1, 4)):
            mutated[position] = rng.integers(256)
        path.write_bytes(mutated)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                npy.open_npy(path)
            except DatasetError:
                continue


def test_many_threads_may_read_headers_at_once(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), "f4"))
    with ThreadPoolExecutor(8) as pool:
        shapes = list(pool.map(lambda _: npy.open_npy(tmp_path / "a.npy").shape, range(2000)))
    assert set(shapes) == {(3, 4)}
