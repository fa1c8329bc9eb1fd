"""Tests of brainviz.datasets.index: digests against hashlib, and what is remembered."""

from __future__ import annotations

import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from brainviz.datasets import index as index_module
from brainviz.datasets import npy, open_dataset
from brainviz.datasets.images import pixel_digest
from brainviz.datasets.index import ColumnFault, build_index, examine_file, remembered_index


@pytest.fixture
def memo(tmp_path):
    return tmp_path / "memo"


def test_digests_of_pictures_and_what_makes_a_fingerprint(tiny_dataset, memo):
    found = build_index(tiny_dataset, memo)
    assert list(found.subjects) == ["subj01", "subj02"]
    for subject, known in found.subjects.items():
        assert known.image_digests == tuple(pixel_digest(image) for image in tiny_dataset.images(subject))
        assert len(known.digest) == 64
    assert len(found.fingerprint) == 64
    assert found.subjects["subj01"].image_digests[2] == found.subjects["subj02"].image_digests[0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i4"])
def test_examine_file(tmp_path, monkeypatch, order, dtype):
    monkeypatch.setattr(npy, "BLOCK_BYTES", 500)
    values = np.asarray(np.random.default_rng(0).integers(1, 100, (60, 20)), dtype, order=order)
    constant = [1, 4, 5, 6, 7, 9, 12]
    values[:, constant] = 3
    wrong = []
    if np.dtype(dtype).kind == "f":
        values[50, 2], values[0, 3], values[7, 9] = np.nan, np.inf, np.nan
        wrong, constant = [2, 3, 9], [1, 4, 5, 6, 7, 12]
    np.save(tmp_path / "a.npy", values)
    facts = examine_file(tmp_path / "a.npy")
    assert facts.digest == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    assert facts.not_finite == ColumnFault(len(wrong), tuple(wrong))
    assert facts.constant == ColumnFault(len(constant), tuple(constant[:5]))


def test_files_that_are_no_matrix(tmp_path):
    np.save(tmp_path / "mask.npy", np.arange(5))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    assert examine_file(tmp_path / "mask.npy").problem == ""
    for name in ("mask.npy", "junk.npy"):
        assert examine_file(tmp_path / name).digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert "not a whole NumPy file" in examine_file(tmp_path / "junk.npy").problem
    assert examine_file(tmp_path / "none.npy").digest == ""


def test_second_call_reads_nothing(tiny_dataset, memo, monkeypatch):
    assert remembered_index(tiny_dataset, memo) is None
    calls: list[tuple[int, int]] = []
    first = build_index(tiny_dataset, memo, lambda *step: calls.append(step))
    assert [done for done, _ in calls] == list(range(1, calls[0][1] + 1))

    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(index_module, "examine_file", refuse)
    monkeypatch.setattr(index_module, "examine_picture", refuse)
    assert remembered_index(tiny_dataset, memo) == first
    assert build_index(open_dataset(tiny_dataset.root), memo) == first


@pytest.mark.parametrize("change", ["responses", "mask", "mapping", "picture", "order", "gone", "mesh"])
def test_what_changes_the_fingerprint(tiny_copy, memo, change):
    before = build_index(open_dataset(tiny_copy), memo)
    fmri = tiny_copy / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    pictures = sorted((tiny_copy / "subj01/training_split/training_images").iterdir())
    masks = tiny_copy / "subj01/roi_masks"
    if change == "responses":
        values = np.load(fmri)
        values[17, 3] += 1e-3
        np.save(fmri, values)
    elif change == "mask":
        np.save(masks / "lh.floc-faces_challenge_space.npy", np.zeros(120, np.int64))
    elif change == "mapping":
        shutil.copy(masks / "mapping_floc-faces.npy", masks / "mapping_prf-visualrois.npy")
    elif change == "picture":
        Image.new("RGB", (32, 32)).save(pictures[4])
    elif change == "order":
        pictures[0].rename(pictures[0].with_name("train-9999_x.png"))
    elif change == "gone":
        shutil.rmtree(tiny_copy / "subj01/noise_ceiling")
    else:
        (tiny_copy / "dataset.toml").write_text('mesh = "none"\n')
    data = open_dataset(tiny_copy)
    after = build_index(data, memo)
    assert after.fingerprint != before.fingerprint
    assert remembered_index(data, memo) == after
    assert after.subjects["subj02"] == before.subjects["subj02"]
    assert (after.subjects["subj01"] == before.subjects["subj01"]) == (change == "mesh")


def test_what_does_not_change_the_fingerprint(tiny_copy, tiny_dataset, memo, tmp_path):
    """Another place or name, other times, another file with the same pixels, other file names in the same order."""
    before = build_index(tiny_dataset, memo)
    moved = tiny_copy.rename(tmp_path / "elsewhere")
    (moved / "dataset.toml").write_text('name = "X"\nmesh = "fsaverage5"\n')
    for path in moved.rglob("*.npy"):
        os.utime(path, (0, 0))
    picture = next((moved / "subj01/training_split/training_images").iterdir())
    Image.open(picture).save(picture, compress_level=0)
    picture.rename(picture.with_name(picture.name.replace("_", "_x")))
    (moved / "subj01/training_split/training_images/Thumbs.db").touch()
    assert build_index(open_dataset(moved), memo).fingerprint == before.fingerprint


def test_changed_file_is_read_again_and_only_that(tiny_copy, memo, monkeypatch):
    data = open_dataset(tiny_copy)
    build_index(data, memo)
    picture = data.images("subj02").paths[7]
    Image.new("RGB", (32, 32), (1, 2, 3)).save(picture)
    assert remembered_index(data, memo) is None
    read = []
    original = index_module.examine_picture
    monkeypatch.setattr(index_module, "examine_picture", lambda path: read.append(path) or original(path))
    after = build_index(data, memo)
    assert read == [picture]
    assert after.subjects["subj02"].image_digests[7] == pixel_digest(Image.new("RGB", (32, 32), (1, 2, 3)))


def test_undecodable_picture_has_an_empty_digest(tiny_copy, memo):
    data = open_dataset(tiny_copy)
    data.images("subj01").paths[3].write_bytes(b"no picture")
    for _ in range(2):
        assert build_index(data, memo).subjects["subj01"].image_digests[3] == ""
    assert remembered_index(data, memo) == build_index(data, memo)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": 0, "files": {"x": 1}}', '{"version": 1}', "\x00"])
def test_damaged_memory_is_no_memory(tiny_dataset, memo, content):
    expected = build_index(tiny_dataset, memo)
    for path in memo.rglob("*.json"):
        path.write_text(content)
    assert remembered_index(tiny_dataset, memo) is None
    assert build_index(tiny_dataset, memo) == expected
    assert remembered_index(tiny_dataset, memo) == expected
