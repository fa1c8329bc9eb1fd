"""The written demo: opened by the Algonauts loader, complete, repeatable, its truth recovered from the files."""

from __future__ import annotations

import csv
import json
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainviz.datasets import open_dataset
from brainviz.datasets.base import HEMISPHERES, Dataset
from brainviz.datasets.demo import write
from brainviz.datasets.demo.areas import ROI_SETS, SUBJECTS
from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.energy import CHANNELS, energy_maps
from brainviz.datasets.demo.pictures import luminance
from brainviz.datasets.demo.plan import OWN_PICTURES, PICTURES, SHARED_PICTURES, TEST_PICTURES, plan_pictures, scene_of
from brainviz.datasets.demo.responses import object_drive, signals
from brainviz.errors import DatasetError

#: Pictures that the truth is recovered from.
ROWS = np.arange(0, SHARED_PICTURES + OWN_PICTURES, 2)

each = pytest.mark.parametrize(("subject", "hemi"), [("subj01", "lh"), ("subj02", "rh"), ("subj04", "lh")])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    start, steps = time.perf_counter(), []
    out = write.write_demo(tmp_path_factory.mktemp("demo") / "demo", lambda done, total: steps.append((done, total)))
    print(f"demo written in {time.perf_counter() - start:.1f} s")
    assert steps == sorted(steps)
    assert steps[-1] == (PICTURES + 2 * len(SUBJECTS),) * 2
    return out


@pytest.fixture(scope="module")
def dataset(root: Path) -> Dataset:
    return open_dataset(root)


def truth(root: Path, subject: str, name: str) -> NDArray[np.generic]:
    return np.load(root / subject / "truth" / f"{name}.npy", allow_pickle=False)


def test_the_loader_opens_it(dataset: Dataset) -> None:
    assert (dataset.name, dataset.mesh, dataset.subjects) == ("demo", "fsaverage5", SUBJECTS)
    assert dataset.defaults["network"] == "alexnet_compact"
    for subject in SUBJECTS:
        assert len(dataset.images(subject)) == SHARED_PICTURES + OWN_PICTURES
        assert len(dataset.test_images(subject)) == TEST_PICTURES
        for hemi in HEMISPHERES:
            values, ceiling = dataset.responses(subject, hemi), dataset.noise_ceiling(subject, hemi)
            assert values.shape == (SHARED_PICTURES + OWN_PICTURES, dataset.n_vertices(subject, hemi))
            assert values.dtype == np.float32
            assert ceiling is not None
            np.testing.assert_array_equal(ceiling, truth(dataset.root, subject, f"{hemi}_signal_share"))
            positions = dataset.positions(subject, hemi)
            assert positions is not None
            assert len(positions) == values.shape[1]
            np.testing.assert_allclose(values[:, ::50].std(0), 1, atol=1e-3)
            assert {"V1v", "V1d", "V1", "early-visual", "FFA-1", "PPA", *ROI_SETS["streams"]} <= set(
                dataset.rois(subject, hemi)
            )


@each
def test_masks_agree_with_the_truth(dataset: Dataset, subject: str, hemi: str) -> None:
    area = truth(dataset.root, subject, f"{hemi}_area")
    for name, mask in dataset.rois(subject, hemi).items():
        if name in (*ROI_SETS["prf-visualrois"], *ROI_SETS["floc-faces"]):
            np.testing.assert_array_equal(mask, area == name)


def test_shared_pictures_are_identical_files(dataset: Dataset) -> None:
    paths = [dict(zip(images.ids, images.paths, strict=True)) for images in map(dataset.images, SUBJECTS)]
    shared = set.intersection(*map(set, paths))
    assert len(shared) == SHARED_PICTURES
    for name in sorted(shared)[::40]:
        assert len({files[name].read_bytes() for files in paths}) == 1


@each
def test_what_is_written_follows_from_the_seed(dataset: Dataset, subject: str, hemi: str) -> None:
    """Pictures are those of their scenes; noiseless responses, from the files' pixels, correlate as the truth says."""
    images = dataset.images(subject)
    scenes = [scene_of(shown.number) for shown in plan_pictures()[subject].training]
    for row in (0, 700):
        assert images[row].tobytes() == draw_scene(scenes[row]).tobytes()
    tuning = _tuning(dataset.root, subject, hemi)
    signal = signals(tuning, _maps(dataset, subject), object_drive([scenes[row] for row in ROWS]))
    measured = dataset.responses(subject, hemi, rows=ROWS)
    r = np.nan_to_num([np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, measured.T, strict=True)])
    share = truth(dataset.root, subject, f"{hemi}_signal_share")
    # The sampling error of r over 650 pictures is below 0.04, and that of its mean over a thousand vertices far less.
    assert np.abs(r - np.sqrt(share)).max() < 0.25
    assert abs((r - np.sqrt(share)).mean()) < 0.01


@cache
def _maps(dataset: Dataset, subject: str) -> NDArray[np.float32]:
    images = dataset.images(subject)
    return energy_maps(np.stack([luminance(images[int(row)]) for row in ROWS]))


def _tuning(root: Path, subject: str, hemi: str) -> write.Tuning:
    names = write.Tuning.__dataclass_fields__
    return write.Tuning(**{name: truth(root, subject, f"{hemi}_{name}") for name in names})


@each
def test_receptive_fields_are_recovered_from_the_responses(dataset: Dataset, subject: str, hemi: str) -> None:
    """The cells whose energy correlates with a V1 vertex's response lie, on average, where its field is."""
    maps, tuning = _maps(dataset, subject), _tuning(dataset.root, subject, hemi)
    area = truth(dataset.root, subject, f"{hemi}_area")
    measured = dataset.responses(subject, hemi, rows=ROWS)
    found, planted = [], []
    for v in np.flatnonzero(np.isin(area, ("V1v", "V1d")))[::6]:
        channel = CHANNELS.index(
            min(CHANNELS, key=lambda c: abs(c[0] - tuning.orientation[v]) + abs(c[1] - tuning.wavelength[v]))
        )
        cells = maps[:, channel].reshape(len(maps), -1)
        centred = cells - cells.mean(0)
        r = measured[:, v] @ centred / centred.std(0)
        weight = np.clip(r, 0, None) ** 4
        column = np.arange(cells.shape[1]) % maps.shape[-1]
        found.append((weight * ((column + 0.5) / maps.shape[-1] * 2 - 1)).sum() / weight.sum())
        planted.append(tuning.x[v])
    assert np.corrcoef(found, planted)[0, 1] > 0.8
    assert np.mean(np.sign(found) == (1 if hemi == "lh" else -1)) > 0.9


@each
def test_captions_and_labels_belong_to_the_files(dataset: Dataset, subject: str, hemi: str) -> None:
    with (dataset.root / subject / "truth/pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lists = plan_pictures()[subject]
    assert [row["file"] for row in rows] == [shown.file for shown in (*lists.training, *lists.test)]
    assert all((dataset.root / subject / row["file"]).is_file() for row in rows)
    for row, shown in list(zip(rows, lists.training, strict=False))[::100]:
        scene = scene_of(shown.number)
        assert (row["caption"], row["object"], row["texture"]) == (scene.caption, scene.main.kind, scene.texture)


def test_a_second_call_changes_nothing_and_is_instant(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    start = time.perf_counter()
    assert write.write_demo(root) == root
    assert time.perf_counter() - start < 1
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [path.name for path in root.parent.iterdir()] == ["demo"]  # no temporary folder is left


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds no demo data set"):
        write.write_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def write_little(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Stand in for the long work: one file and the stamp."""

    def little(folder: Path, progress: object) -> None:
        (folder / "content").write_text(content)
        (folder / "demo.json").write_text(json.dumps({"version": write.DEMO_VERSION}))

    monkeypatch.setattr(write, "_write_all", little)


def test_an_older_version_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / "demo.json").write_text(json.dumps({"version": write.DEMO_VERSION - 1}))
    (out / "old").touch()
    write_little(monkeypatch, "new")
    write.write_demo(out)
    assert sorted(path.name for path in out.iterdir()) == ["content", "demo.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_of_two_writers_the_first_to_finish_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "demo"

    def meanwhile(folder: Path, progress: object) -> None:
        write_little(monkeypatch, "first")
        write.write_demo(out)
        (folder / "content").write_text("second")
        (folder / "demo.json").write_text(json.dumps({"version": write.DEMO_VERSION}))

    monkeypatch.setattr(write, "_write_all", meanwhile)
    write.write_demo(out)
    assert (out / "content").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path, progress: object) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(write, "_write_all", failing)
    with pytest.raises(OSError, match="disk full"):
        write.write_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_cannot_be_drawn_are_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="could not be drawn") as caught:
        write._draw_pictures(tmp_path / "nowhere", lambda done: None)
    assert "No such file" in str(caught.value)
