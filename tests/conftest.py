"""Fixtures for all tests: a tiny data set on disk with planted truth, and a cache folder of the test's own."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from brainviz.analyses.lateralization import mean_map
from brainviz.datasets import open_dataset
from brainviz.datasets.base import ALL_VERTICES, Dataset
from brainviz.datasets.splits import split_pictures
from brainviz.datasets.tasks import split
from brainviz.runs import lateralize, preparation
from brainviz.runs.context import Context
from brainviz.runs.landscape import landscape
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.remembered import load_dataset, load_task
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, EncodingSpec, LandscapeSpec, LateralizationSpec
from brainviz.runs.store import (
    Run,
    Store,
    append_event,
    change_state,
    enqueue,
    locked,
    write_array,
    write_json,
    write_manifest,
)

N_IMAGES, N_TEST_IMAGES, SIZE, MESH_SIZE = 40, 4, 32, 10_242

#: ROI set -> names of its values, from 1; as many vertices each as TINY_SIZES says.
TINY_SETS = {"prf-visualrois": ("V1v", "V1d", "V2v", "hV4"), "floc-faces": ("OFA", "FFA-1")}
TINY_SIZES = {"V1v": 30, "V1d": 28, "V2v": 26, "FFA-1": 24}
#: Vertices in no ROI.
TINY_REST = 12

#: The tiny classification task: its classes, and how many pictures each has. 12 of all are test pictures.
TINY_CLASSES, TINY_PER_CLASS = ("cat", "dog", "fish", "owl"), 20


@pytest.fixture(autouse=True)
def own_main_module() -> Iterator[None]:
    """Put the main module back, which Streamlit's AppTest replaces: new processes would run its script again."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(autouse=True)
def no_user_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's brainviz.toml, whichever it is."""
    config = tmp_path_factory.getbasetemp() / "empty-brainviz.toml"
    config.touch()
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that BRAINVIZ_CACHE names."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("BRAINVIZ_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data that lies beside the repository, or skip the test."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.exists():
        pytest.skip("needs the real data in ../shared/data, which are not here")
    return folder


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny data set in the Algonauts layout; tests must not change it (see `tiny_copy`).

    Two subjects, both hemispheres, positions on fsaverage5, 40 pictures of 32 x 32 pixels each. Responses are the mean
    colours of the picture's quarters, mixed at random, plus noise. subj02 lacks FFA-1 on the left and has no noise
    ceiling; its first picture is subj01's third. hV4 and OFA are empty.
    """
    root = tmp_path_factory.mktemp("tiny") / "tiny"
    shared = _picture(np.random.default_rng(99))
    for number, subject in enumerate(("subj01", "subj02")):
        _write_subject(root / subject, number, shared)
    (root / "dataset.toml").write_text(
        'name = "Tiny"\nmesh = "fsaverage5"\n\n'
        '[defaults]\nnetwork = "alexnet_compact"\nweights = "demo"\nimage_size = 32\n'
    )
    return root


@pytest.fixture(scope="session")
def tiny_dataset(tiny_root: Path) -> Dataset:
    """Return `tiny_root`, opened."""
    return open_dataset(tiny_root)


@pytest.fixture
def tiny_copy(tiny_root: Path, tmp_path: Path) -> Path:
    """Return a copy of `tiny_root` that the test may damage."""
    return Path(shutil.copytree(tiny_root, tmp_path / "tiny"))


@pytest.fixture
def serve(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that names a data set in brainviz.toml, and reads it unless told not to."""

    def name_it(name: str, root: Path, *, read: bool = True) -> None:
        config = tmp_path / "brainviz.toml"
        config.write_text(f"[datasets]\n{name} = {str(root)!r}\n")
        monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))
        if read:
            monkeypatch.setattr(sys, "argv", ["preparation", name])
            assert preparation.main() == 0

    return name_it


@pytest.fixture(scope="session")
def tiny_task_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny classification task, one folder of noise per class; tests must not change it."""
    root = tmp_path_factory.mktemp("task") / "animals"
    rng = np.random.default_rng(7)
    for name in TINY_CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(TINY_PER_CLASS):
            picture = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(picture).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture
def serve_task(serve: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that names a classification task beside the data set served, and reads it unless told not to.

    Call `serve` first.
    """

    def name_it(name: str, root: Path, *, read: bool = True) -> None:
        with (tmp_path / "brainviz.toml").open("a") as config:
            config.write(f"[tasks]\n{name} = {str(root)!r}\n")
        if read:
            monkeypatch.setattr(sys, "argv", ["preparation", preparation.task_key(name)])
            assert preparation.main() == 0

    return name_it


@pytest.fixture
def finish_run(cache: Path) -> Callable[..., Run]:
    """Return a function that writes a finished run, without computing it.

    It takes the run's scalars and events, its tables (``name.parquet``) and other contents (``name.json``) by name, and
    its arrays.
    """

    def finish(
        spec: Spec,
        scalars: dict[str, Any],
        events: Iterable[dict[str, Any]] = (),
        *,
        tables: Mapping[str, pd.DataFrame] = MappingProxyType({}),
        contents: Mapping[str, Any] = MappingProxyType({}),
        **arrays: np.ndarray,
    ) -> Run:
        me = ProcessIdentity.current()
        run = Store().run_of(spec)
        with locked(run):
            enqueue(run, spec, "cpu")
        assert change_state(run, {"queued"}, "running", process=me, started=time.time())
        for event in events:
            append_event(run, event)
        for name, array in arrays.items():
            write_array(run.path / f"{name}.npy", array)
        for name, table in tables.items():
            table.to_parquet(run.path / f"{name}.parquet", index=False)
        for name, content in contents.items():
            write_json(run.path / f"{name}.json", content)
        write_json(run.path / "result.json", scalars)
        write_manifest(run, {"seconds": 12.0, "host": socket.gethostname()}, me)
        assert run.state == "done"
        return run

    return finish


@pytest.fixture
def finish_encoding_run(finish_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that writes a finished encoding run of one ROI from planted r (layers, vertices).

    The layer with the highest mean cv_r is its own best; without a cv_r it is 0.8 r. The authors' score is as cv_r.
    Replicates of a mean are the mean
    plus `resamples`, the same for all runs, times `noise`: their interval is the mean -0.019 to +0.019 for noise 0.01.
    The noise ceiling is the data set's.
    """

    def finish(
        spec: EncodingSpec, dataset: Dataset, r: np.ndarray, cv_r: np.ndarray | None = None, noise: float = 0.01
    ) -> Run:
        ((hemi, roi),) = spec.areas
        columns, layers = dataset.columns(spec.subject, hemi, roi), spec.features.layers
        assert r.shape == (len(layers), len(columns))
        cv_r = 0.8 * r if cv_r is None else cv_r
        masks = dataset.rois(spec.subject, hemi) if roi == ALL_VERTICES else {}
        parts = {roi: np.arange(len(columns))} | {name: np.flatnonzero(mask) for name, mask in masks.items()}
        ceiling = dataset.noise_ceiling(spec.subject, hemi)
        ceiling = np.full(len(columns), np.nan) if ceiling is None else ceiling[columns].astype(float)
        resamples = np.linspace(-2, 2, 201, dtype=np.float32)
        rows, replicates = [], []
        for name, part in parts.items():
            own = int(np.nanmean(cv_r[:, part], axis=1).argmax())
            for number, layer in enumerate(layers):
                mine, mean, root = r[number, part], float(np.nanmean(r[number, part])), np.sqrt(ceiling[part])
                replicates.append(mean + noise * resamples)
                low, high = np.quantile(replicates[-1], [0.025, 0.975])
                known = bool(np.isfinite(root).any())
                rows.append(
                    {"hemi": hemi, "roi": name, "layer": layer, "own": number == own, "n_vertices": len(part)}
                    | {"nan_vertices": int(np.isnan(mine).sum()), "r_mean": mean, "r_low": low, "r_high": high}
                    | {"r_median": float(np.nanmedian(mine)), "cv_r_mean": float(np.nanmean(cv_r[number, part]))}
                    | {"cv_r_median": float(np.nanmedian(cv_r[number, part])), "protocol_own": number == own}
                    | {"protocol_r_mean": float(np.nanmean(cv_r[number, part]))}
                    | {"ceiling": ceiling[part].mean(), "ceiling_r": root.mean(), "no_ceiling": 0 if known else np.nan}
                    | {"r_over_ceiling": float(np.nanmean(mine / root)) if known else np.nan}
                    | {"algonauts_score": float(np.nanmean(100 * mine**2 / root**2)) if known else np.nan}
                )
        own = int(np.nanmean(cv_r, axis=1).argmax())
        best, n_test = r[own], 6
        arrays = {"r": r, "cv_r": cv_r, "alpha": np.ones_like(r), "own": np.full(len(columns), own), "columns": columns}
        arrays |= {"protocol_r": cv_r, "offset": np.zeros(len(columns))}
        arrays |= {"r_low": best - 0.1, "r_high": best + 0.1, "replicates": np.stack(replicates, axis=1)}
        arrays |= {"predicted": np.zeros((len(columns), n_test), np.float32), "test_rows": np.arange(n_test)}
        positions = dataset.positions(spec.subject, hemi)
        if positions is not None:
            arrays["positions"] = positions[columns]
        scalars = {"layer": layers[own], "n_train": 34, "n_test": n_test, "n_vertices": len(columns)}
        scalars |= {"nan_vertices": int(np.isnan(best).sum()), "r_mean": float(np.nanmean(best))}
        scalars |= {"r_median": float(np.nanmedian(best)), "cv_r_mean": 0.2, "cv_r_median": 0.2}
        areas = [{"hemi": hemi, "roi": roi, "start": 0, "stop": len(columns)}]
        return finish_run(spec, scalars, tables={"rois": pd.DataFrame(rows)}, contents={"areas": areas}, **arrays)

    return finish


@pytest.fixture
def finish_classification_run(finish_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that writes a finished classification run from the test pictures that are got right.

    Of each readout, their numbers, or how many of the first; the last given holds for further readouts. A wrong answer
    is the class after the true one. The answer's probability rises from 0.5 to 0.9 over the test pictures, the rest is
    shared by the other classes. Intervals are the accuracy -0.05 to +0.05.
    """

    def finish(spec: ClassificationSpec, *right: int | Iterable[int]) -> Run:
        task, index = load_task(spec.task_fingerprint)
        train, test = split(task.labels, spec.task_seed, spec.task_test_share, groups=index.image_digests)
        labels, n_classes, places = task.labels[test], len(task.classes), np.arange(len(test))
        certainty = np.linspace(0.5, 0.9, len(test))
        arrays, found = {"rows": test, "labels": labels}, {}
        for number, layer in enumerate(spec.readouts):
            given = right[min(number, len(right) - 1)]
            correct = np.isin(places, range(given) if isinstance(given, int) else list(given))
            probabilities = np.tile((1 - certainty[:, None]) / (n_classes - 1), n_classes)
            probabilities[places, np.where(correct, labels, (labels + 1) % n_classes)] = certainty
            arrays[f"probabilities_{layer}"] = probabilities.astype(np.float32)
            accuracy = float(correct.mean())
            interval = {"accuracy_low": accuracy - 0.05, "accuracy_high": accuracy + 0.05}
            found[layer] = {"accuracy": accuracy, **interval, "log_loss": 1.0, "iterations": 9, "converged": True}
        scalars = {**found[spec.readouts[0]], "n_train": len(train), "n_test": len(test), "n_classes": n_classes}
        return finish_run(spec, scalars | {"by_readout": found}, contents={"classes": list(task.classes)}, **arrays)

    return finish


@pytest.fixture
def finish_lateralization_run(finish_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that writes a finished lateralization run from the indices of its first test pictures.

    Every mirror image has the same index as its picture, unless `index` is (n, 2). A map, 4 x 8, has that index: its
    rows are alike but for their signs and sizes, its halves even; without an index it is 0 everywhere. Intervals of the
    mean are -0.05 to +0.05. `rows` are other pictures than the first; `weights` a readout that works, (p, K).
    """

    def finish(
        spec: LateralizationSpec,
        index: Any,
        *,
        rows: Iterable[int] | None = None,
        weights: np.ndarray | None = None,
    ) -> Run:
        index = np.asarray(index, np.float64)
        index = np.stack([index, index], axis=1) if index.ndim == 1 else index
        if spec.classification is not None:
            of_task = spec.classification
            task, found = load_task(of_task.task_fingerprint)
            _, test = split(task.labels, of_task.task_seed, of_task.task_test_share, groups=found.image_digests)
        else:
            assert spec.encoding is not None
            features = spec.encoding.features
            _, facts = load_dataset(spec.dataset)
            test = split_pictures(facts, features.test_share, features.split_seed)[spec.subject].test
        shown = test[: len(index)] if rows is None else np.array(list(rows))
        assert len(shown) == len(index) <= len(test)
        known = np.isfinite(index.mean(axis=1))
        signs = np.array([3.0, -1.0, 1.0, -2.0])[:, None] * np.linspace(0.5, 1.5, len(index))[:, None, None, None]
        halves = np.repeat(np.stack([1 - np.nan_to_num(index), 1 + np.nan_to_num(index)], axis=-1), 4, axis=-1)
        maps = (halves[:, :, None, :] * signs * np.isfinite(index)[:, :, None, None]).astype(np.float32)
        scales = np.abs(maps).max(axis=(2, 3))
        shrunk = (maps / np.where(scales > 0, scales, 1)[:, :, None, None]).astype(np.float16)
        targets = np.zeros(len(shown), np.int64) if spec.classification is None else task.labels[shown]
        n_targets = 1 if spec.classification is None else len(task.classes)
        weights = np.ones((4, n_targets), np.float32) if weights is None else weights
        files = {
            lateralize.MAPS: shrunk,
            lateralize.SCALES: scales,
            lateralize.INDEX: index,
            lateralize.VALUES: np.linspace(0, 1, index.size).reshape(index.shape),
            lateralize.POSITIONS: mean_map(maps),
            lateralize.ROWS: shown,
            lateralize.GROUPS: np.arange(len(shown)),
            lateralize.TARGETS: targets,
            lateralize.WEIGHTS: weights,
            lateralize.INTERCEPT: np.zeros(n_targets, np.float32),
        }
        mean = float(index.mean(axis=1)[known].mean()) if known.any() else None
        low, high = (None if mean is None else mean + by for by in (-0.05, 0.05))
        scalars = {"index": mean, "index_low": low, "index_high": high, "n_images": int(known.sum())}
        scalars |= {"n_without_index": int((~known).sum()), "map_size": list(maps.shape[2:]), "value_mean": 0.5}
        return finish_run(spec, scalars, **{name.removesuffix(".npy"): array for name, array in files.items()})

    return finish


@pytest.fixture
def finish_landscape_run(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Return a function that computes a landscape of finished classification runs here and now, and returns it done.

    UMAP, which takes seconds to compile, is replaced unless it is wanted: model i is at (i, -i, 2 i), at stress 0.25.
    """

    def planted(D: np.ndarray, n_components: int, **settings: Any) -> Any:
        from brainviz.analyses.landscape import Embedding  # torch: most tests do without

        return Embedding(np.outer(np.arange(len(D)), [1.0, -1.0, 2.0])[:, :n_components], 0.25)

    def finish(spec: LandscapeSpec, *, umap: bool = False) -> Run:
        me, run = ProcessIdentity.current(), Store().run_of(spec)
        with locked(run):
            enqueue(run, spec, "cpu")
        assert change_state(run, {"queued"}, "running", process=me, started=time.time())
        events: list[Mapping[str, Any]] = []
        with monkeypatch.context() as patched:
            if not umap:
                patched.setattr("brainviz.analyses.landscape.umap", planted)
            result = landscape(spec, Context(Store(), run.path, "cpu", events.append))
        write_json(run.path / "result.json", result)
        write_manifest(run, {"seconds": 1.0, "host": socket.gethostname()}, me)
        assert run.state == "done"
        return run

    return finish


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Return four noisy coloured quarters, (SIZE, SIZE, 3) uint8."""
    quarters = rng.uniform(40, 215, (2, 2, 3)).repeat(SIZE // 2, axis=0).repeat(SIZE // 2, axis=1)
    return (quarters + rng.normal(0, 10, quarters.shape)).clip(0, 255).astype(np.uint8)


def _write_subject(folder: Path, number: int, shared: np.ndarray) -> None:
    rng = np.random.default_rng(number)
    pictures = [_picture(rng) for _ in range(N_IMAGES + N_TEST_IMAGES)]
    ids = [f"pic-{1000 * number + i:05d}" for i in range(len(pictures))]
    place = 2 if number == 0 else 0
    pictures[place], ids[place] = shared, "pic-09999"
    for folder_name, prefix, first, last in (
        ("training_split/training_images", "train", 0, N_IMAGES),
        ("test_split/test_images", "test", N_IMAGES, None),
    ):
        (folder / folder_name).mkdir(parents=True)
        for i, (picture, name) in enumerate(zip(pictures[first:last], ids[first:last], strict=True), start=1):
            Image.fromarray(picture).save(folder / folder_name / f"{prefix}-{i:04d}_{name}.png")
    colours = np.array([p.reshape(2, SIZE // 2, 2, SIZE // 2, 3).mean((1, 3)).ravel() for p in pictures[:N_IMAGES]])
    colours = (colours - colours.mean(0)) / colours.std(0)
    for hemi in ("lh", "rh"):
        _write_hemisphere(folder, hemi, colours, lacks={"FFA-1"} if (number, hemi) == (1, "lh") else set(), rng=rng)
        if number == 0:
            (folder / "noise_ceiling").mkdir(exist_ok=True)
            n = np.load(folder / f"training_split/training_fmri/{hemi}_training_fmri.npy", mmap_mode="r").shape[1]
            np.save(folder / f"noise_ceiling/{hemi}_noise_ceiling.npy", np.full(n, 0.8, np.float32))
    for roi_set, names in TINY_SETS.items():
        mapping = np.array({0: "Unknown", **dict(enumerate(names, start=1))}, dtype=object)
        np.save(folder / f"roi_masks/mapping_{roi_set}.npy", mapping, allow_pickle=True)


def _write_hemisphere(folder: Path, hemi: str, colours: np.ndarray, lacks: set[str], rng: np.random.Generator) -> None:
    """Write responses (signal share 0.8), and masks in both spaces; ROIs lie one after the other on the mesh."""
    sizes = {name: 0 if name in lacks else size for name, size in TINY_SIZES.items()}
    owner = np.repeat([*sizes, ""], [*sizes.values(), TINY_REST])
    positions = np.sort(rng.choice(MESH_SIZE, len(owner), replace=False))
    mixing = rng.standard_normal((colours.shape[1], len(owner))) / np.sqrt(colours.shape[1])
    responses = np.sqrt(0.8) * colours @ mixing + np.sqrt(0.2) * rng.standard_normal((len(colours), len(owner)))
    for part in ("training_split/training_fmri", "roi_masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    np.save(folder / f"training_split/training_fmri/{hemi}_training_fmri.npy", responses.astype(np.float32))

    def save_mask(name: str, values: np.ndarray) -> None:
        on_mesh = np.zeros(MESH_SIZE, np.int64)
        on_mesh[positions] = values
        np.save(folder / f"roi_masks/{hemi}.{name}_fsaverage_space.npy", on_mesh)

    save_mask("all-vertices", np.ones(len(owner), np.int64))
    for roi_set, names in TINY_SETS.items():
        labels = np.zeros(len(owner), np.int64)
        for value, name in enumerate(names, start=1):
            labels[owner == name] = value
        save_mask(roi_set, labels)
        np.save(folder / f"roi_masks/{hemi}.{roi_set}_challenge_space.npy", labels)
