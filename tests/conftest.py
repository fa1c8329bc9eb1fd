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
from brainviz.datasets.demo.drawing import draw_scene
from brainviz.datasets.demo.plan import scene_of
from brainviz.datasets.demo.scenes import CATEGORY_OF
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import split_pictures
from brainviz.datasets.tasks import split
from brainviz.runs import lateralize, preparation
from brainviz.runs.compute import compute
from brainviz.runs.context import Context
from brainviz.runs.landscape import landscape
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.remembered import load_dataset, load_task, memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.spec_base import Spec
from brainviz.runs.specs import ClassificationSpec, LandscapeSpec, LateralizationSpec
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

#: The data set of shared concepts: which ROI likes which of the demo's categories. Everybody has the first three; the
#: last is planted in the first two subjects only, and, as words, on the left only.
SHARED_SUBJECTS = ("subj01", "subj02", "subj03", "subj04")
SHARED_ROIS = {"FFA-1": "faces", "PPA": "places", "EBA": "food", "VWFA-1": "words"}
SHARED_SETS = {"floc-faces": "FFA-1", "floc-places": "PPA", "floc-bodies": "EBA", "floc-words": "VWFA-1"}
SHARED_ROI_SIZE, SHARED_REST = 20, 12

#: Of every subject: pictures of each category that all see, and of its own; single-trial noise ceiling of the vertices
#: that like something, 0.02 for all others.
SHARED_SEEN, SHARED_OWN = 8, 22
SHARED_CEILING = {"subj01": 0.8, "subj02": 0.8, "subj03": 0.8, "subj04": 0.5}

#: What makes the runs quick, and finds what is planted all the same.
SHARED_SETTINGS = {"n_seeds": 2, "iterations": 200, "decoder_learning_rate": 0.05, "decoder_temperature": 0.3}
SHARED_SETTINGS |= {"input_noise": 6.0, "eps": 0.4, "scanned_eps": [0.3, 0.4, 0.5], "map_points": 0}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Have small problems computed by one thread: torch's, and those of numpy's products, would wait for each other."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


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


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small data set with concepts that subjects share; tests must not change it.

    Four subjects, both hemispheres, positions on fsaverage5, 120 of the demo's pictures each, 30 with each of four
    categories as main object; 32 of them all subjects see, in an order of their own. ROIs have 20 vertices, which
    respond to pictures of one category (`SHARED_ROIS`), each with a gain of its own, plus noise; 12 vertices in no ROI
    hold noise alone. Words are planted on the left of subj01 and subj02: VWFA-1 holds noise elsewhere. The noise
    ceiling of vertices that like something is 0.8, of subj04 0.5: `vertex_threshold` 0.6 leaves subj04 no vertex, 0.9
    nobody. dataset.toml suggests `clip_compact`, its words for the demo, and `SHARED_SETTINGS`: 2 seeds, 200 steps,
    eps 0.4, no map of weights (`map_points=50` makes one, which takes seconds).
    """
    root = tmp_path_factory.mktemp("shared") / "shared"
    categories = list(dict.fromkeys(SHARED_ROIS.values()))
    wanted = SHARED_SEEN + SHARED_OWN * len(SHARED_SUBJECTS)
    numbers: dict[str, list[int]] = {category: [] for category in categories}
    number = 0
    while any(len(found) < wanted for found in numbers.values()):
        category = CATEGORY_OF[scene_of(number).main.kind]
        if category in numbers and len(numbers[category]) < wanted:
            numbers[category].append(number)
        number += 1
    for place, subject in enumerate(SHARED_SUBJECTS):
        first = SHARED_SEEN + SHARED_OWN * place
        seen = [
            (number, category)
            for category in categories
            for number in numbers[category][:SHARED_SEEN] + numbers[category][first : first + SHARED_OWN]
        ]
        _write_sharer(root / subject, place, [seen[i] for i in np.random.default_rng(place).permutation(len(seen))])
    settings = "".join(f"{name} = {value}\n" for name, value in SHARED_SETTINGS.items())
    (root / "dataset.toml").write_text(
        'name = "Shared"\nmesh = "fsaverage5"\n\n'
        '[defaults]\nclip_network = "clip_compact"\nclip_weights = "demo"\ntexts = "demo-words"\n'
        f'network = "alexnet_compact"\nweights = "demo"\nimage_size = 32\n{settings}'
    )
    return root


@pytest.fixture(scope="session")
def shared_dataset(shared_root: Path) -> Dataset:
    """Return `shared_root`, opened."""
    return open_dataset(shared_root)


@pytest.fixture(scope="session")
def computed_once(tmp_path_factory: pytest.TempPathFactory, shared_dataset: Dataset) -> Path:
    """Return a cache folder of runs that tests computed, for other tests to copy (see `finish_concepts`).

    The digests of `shared_root`'s files are remembered there.
    """
    folder = tmp_path_factory.mktemp("computed")
    build_index(shared_dataset, memo_dir(folder))
    return folder


@pytest.fixture
def shared_cache(cache: Path, computed_once: Path) -> Path:
    """Return the test's cache, which remembers the digests of `shared_root`'s files: half a second less."""
    shutil.copytree(memo_dir(computed_once), memo_dir(cache), dirs_exist_ok=True)
    return cache


@pytest.fixture
def finish_concepts(shared_cache: Path, shared_dataset: Dataset, computed_once: Path) -> Callable[..., Run]:
    """Return a function that leaves a finished concepts run in the test's cache, and all that it builds on.

    Without arguments: all four subjects of `shared_root` (see there for what is planted), both hemispheres, every ROI.
    It takes another data set first, and settings as `make_spec` does (``subject``, ``hemi``, ``roi``, ``eps``,
    ``vertex_threshold``, ``map_points``, ...); with ``kind``, the run is one of another kind about an image-text
    network (``"decoder"`` with ``subject="subj01"``, say).

    Runs are really computed, by the worker's own functions, once per test session for all tests that ask for the same
    with the same data (some seconds the first time), and copied otherwise. It returns the concepts run; its embeddings
    and decoders are ``Store().run_of(spec)`` of the specs in ``run.spec.decoders``, the texts those of
    ``run.spec.described_by``.

    The three categories that everybody has are found as concepts of 4 participants, 160 vertices each; the 40 vertices
    that like words are noise, as only one other participant has them (with ``min_participants=1`` they are the fourth
    concept). ``eps=0.01`` finds no concept at all, ``eps=1.9`` one giant, ``vertex_threshold=0.6`` leaves subj04
    without vertices (and needs ``min_participants`` below 3 to find anything).
    """

    def finish(dataset: Dataset | None = None, *, kind: str = "concepts", **settings: Any) -> Run:
        dataset = dataset or shared_dataset
        index = build_index(dataset, memo_dir())
        return obtain(make_spec(kind, dataset, index, allow_files=True, **settings))

    def obtain(spec: Spec) -> Run:
        for needed in spec.dependencies():
            obtain(needed)
        run, kept = Store().run_of(spec), Store(computed_once).run_of(spec)
        if not run.path.exists():
            if kept.path.exists():
                shutil.copytree(kept.path, run.path)
            else:
                _computed(spec)
                shutil.copytree(run.path, kept.path)
        return run

    return finish


@pytest.fixture
def computed() -> Callable[..., Run]:
    """Return a function that computes a run and what it builds on, here and now, and returns it done."""
    return _computed


def _computed(spec: Spec, store: Store | None = None, events: list[Any] | None = None) -> Run:
    store, me = store or Store(), ProcessIdentity.current()
    for needed in spec.dependencies():
        _computed(needed, store, events)
    run = store.run_of(spec)
    if store.find(spec) and run.state == "done":
        return run
    with locked(run):
        enqueue(run, spec, "cpu")
    assert change_state(run, {"queued"}, "running", process=me, started=time.time())

    def tell(event: Mapping[str, Any]) -> None:
        append_event(run, event)
        if events is not None:
            events.append(event)

    write_json(run.path / "result.json", compute(spec, Context(store, run.path, "cpu", tell)))
    write_manifest(run, {"seconds": 1.0, "device": "cpu", "host": socket.gethostname()}, me)
    assert run.state == "done"
    return run


def _write_sharer(folder: Path, number: int, seen: list[tuple[int, str]]) -> None:
    """Write one subject of `shared_root`: what is seen are numbers of the demo's pictures, with their categories."""
    rng = np.random.default_rng([7, number])
    for part in ("training_split/training_images", "training_split/training_fmri", "roi_masks", "noise_ceiling"):
        (folder / part).mkdir(parents=True)
    for place, (picture, _) in enumerate(seen, start=1):
        name = f"training_split/training_images/train-{place:04d}_nsd-{picture:05d}.png"
        draw_scene(scene_of(picture)).save(folder / name, compress_level=1)
    shown = np.array([category for _, category in seen])
    for side, hemi in enumerate(("lh", "rh")):
        owner = np.repeat([*SHARED_ROIS, ""], [*[SHARED_ROI_SIZE] * len(SHARED_ROIS), SHARED_REST])
        positions = np.sort(rng.choice(MESH_SIZE, len(owner), replace=False))
        responses, ceiling = rng.standard_normal((len(seen), len(owner))), np.full(len(owner), 0.02)
        for roi, category in SHARED_ROIS.items():
            if category == "words" and (number > 1 or side):
                continue
            liked = (shown == category).astype(float)
            liked = (liked - liked.mean()) / liked.std()
            share = SHARED_CEILING[folder.name]
            columns = np.flatnonzero(owner == roi)
            responses[:, columns] *= np.sqrt(1 - share)
            responses[:, columns] += np.sqrt(share) * liked[:, None]
            responses[:, columns] *= rng.uniform(0.5, 2, len(columns))
            ceiling[columns] = share
        np.save(folder / f"training_split/training_fmri/{hemi}_training_fmri.npy", responses.astype(np.float32))
        np.save(folder / f"noise_ceiling/{hemi}_noise_ceiling.npy", ceiling.astype(np.float32))
        masks = {"all-vertices": np.ones(len(owner), np.int64)}
        masks |= {name: (owner == roi).astype(np.int64) for name, roi in SHARED_SETS.items()}
        for name, mask in masks.items():
            on_mesh = np.zeros(MESH_SIZE, np.int64)
            on_mesh[positions] = mask
            np.save(folder / f"roi_masks/{hemi}.{name}_fsaverage_space.npy", on_mesh)
            if name in SHARED_SETS:
                np.save(folder / f"roi_masks/{hemi}.{name}_challenge_space.npy", mask)
    for name, roi in SHARED_SETS.items():
        mapping = np.array({0: "Unknown", 1: roi}, dtype=object)
        np.save(folder / f"roi_masks/mapping_{name}.npy", mapping, allow_pickle=True)


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
