"""What is said of picked vertices, against the arrays of runs with planted predictions, and plain re-statements."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import fetch_surf_fsaverage
from nilearn.surface import load_surf_mesh
from PIL import Image

from brainviz.datasets import open_dataset
from brainviz.encoding.statistics import bootstrap_weights, interval
from brainviz.runs import preparation
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.requests import make_spec
from brainviz.runs.store import Run
from brainviz.ui.comparison import Finished
from brainviz.ui.sources import Source
from brainviz.ui.vertex_facts import (
    MOST_BOOTSTRAPPED,
    THUMBNAIL,
    Picked,
    extremes,
    fits,
    holding,
    mean_interval,
    method_rows,
    places,
    responses,
    thumbnail,
)

LAYERS = ("classifier.5", "classifier.6")
TEST_ROWS = np.arange(24, 40)


@pytest.fixture
def planted(finish_run: Callable[..., Run]) -> Callable[..., Finished]:
    """Return a function that finishes an encoding run of any areas, of which the second layer is the own best.

    Predictions are half the measured responses and noise, less an offset; r is their correlation, at the first layer
    0.05 less. The interval of r is r - 0.1 to r + 0.2; alpha is the layer's number and the vertex's.
    """

    def finish(source: Source, method: str = "untuned", hemi: str = "lh", roi: str = "V1v", **fields: Any) -> Finished:
        dataset, subject = source.dataset, fields.pop("subject", "subj01")
        settings: dict[str, Any] = {"network": "alexnet_compact", "weights": "demo", "image_size": 32, "layers": LAYERS}
        settings |= {"n_bootstrap": 200} | fields
        spec = make_spec(
            "encoding", dataset, source.index, subject=subject, hemi=hemi, roi=roi, method=method, **settings
        )
        assert isinstance(spec, EncodingSpec)
        areas: list[dict[str, Any]] = []
        columns, measured = [], []
        for where, name in spec.areas:
            columns.append(dataset.columns(subject, where, name))
            measured.append(dataset.responses(subject, where, name, TEST_ROWS).T)
            start = areas[-1]["stop"] if areas else 0
            areas.append({"hemi": where, "roi": name, "start": start, "stop": start + len(columns[-1])})
        truth = np.concatenate(measured).astype(float)
        e = len(truth)
        predicted = (0.5 * truth + np.random.default_rng(len(method)).normal(0, 0.5, truth.shape)).astype(np.float32)
        with np.errstate(invalid="ignore"):
            r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(truth, predicted, strict=True)])
        offset = np.linspace(1, 2, e)
        arrays = {
            "r": np.stack([r - 0.05, r]),
            "alpha": 1000.0 * np.arange(2)[:, None] + np.arange(e),
            "own": np.ones(e, np.int64),
            "r_low": r - 0.1,
            "r_high": r + 0.2,
            "predicted": (predicted - offset[:, None]).astype(np.float32),
            "offset": offset,
            "test_rows": TEST_ROWS,
            "columns": np.concatenate(columns),
        }
        return method, finish_run(spec, {"layer": LAYERS[1]}, contents={"areas": areas}, **arrays)

    return finish


def measured_of(source: Source, columns: tuple[int, ...], hemi: str = "lh") -> np.ndarray:
    return np.asarray(source.dataset.responses("subj01", hemi))[TEST_ROWS][:, list(columns)].astype(float)


def predicted_of(run: Run, columns: tuple[int, ...]) -> np.ndarray:
    place = [int(np.flatnonzero(run.array("columns") == column)[0]) for column in columns]
    return np.asarray((run.array("predicted")[place] + run.array("offset")[place, None]).T, float)


# --- where it is ------------------------------------------------------------------------------------------------------


def test_places_are_on_the_pial_surface(source: Source) -> None:
    columns = (0, 31, 119)
    where = places(source, "subj01", Picked("rh", columns))
    positions = source.dataset.positions("subj01", "rh")
    assert positions is not None
    np.testing.assert_array_equal(where["position"], positions[list(columns)])
    pial = load_surf_mesh(fetch_surf_fsaverage("fsaverage5")["pial_right"]).coordinates
    np.testing.assert_allclose(where[["x", "y", "z"]], pial[positions[list(columns)]], rtol=1e-6)
    np.testing.assert_allclose(where["ceiling"], 0.8, rtol=1e-6)
    assert list(where["rois"]) == ["V1v, V1", "V1d, V1", ""]
    assert holding(where) == {"V1": 2, "V1v": 1, "V1d": 1}


def test_what_is_not_known_of_a_place(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    assert places(source, "subj02", Picked("lh", (0,)))["ceiling"].isna().all()
    # A finer mesh than the one at hand begins with its vertices.
    dataset = source.dataset
    monkeypatch.setattr(dataset, "mesh", "fsaverage")
    monkeypatch.setattr(type(dataset), "positions", lambda *_: np.array([5, 150_000]))
    where = places(source, "subj01", Picked("lh", (0, 1)))
    assert where["x"].notna().tolist() == [True, False]
    monkeypatch.setattr(dataset, "mesh", "none")
    monkeypatch.setattr(type(dataset), "positions", lambda *_: None)
    where = places(source, "subj01", Picked("lh", (0, 1)))
    assert where["position"].tolist() == [-1, -1]
    assert where[["x", "y", "z"]].isna().all(axis=None)


# --- how well it is predicted -----------------------------------------------------------------------------------------


def test_fits_are_those_of_the_run(source: Source, planted: Any) -> None:
    runs = [planted(source), planted(source, "contrastive", epochs=2)]
    frame = fits(runs, "subj01", Picked("lh", (4, 7)))
    assert frame[["method", "column"]].to_numpy().tolist() == [
        *(["untuned", 4], ["untuned", 7]),
        *(["contrastive", 4], ["contrastive", 7]),
    ]
    for method, run in runs:
        mine = frame[frame["method"] == method]
        np.testing.assert_array_equal(mine["r"], run.array("r")[1, [4, 7]])
        np.testing.assert_array_equal(mine["low"], run.array("r_low")[[4, 7]])
        np.testing.assert_array_equal(mine["high"], run.array("r_high")[[4, 7]])
        assert set(mine["run"]) == {run.id}
    assert frame["alpha"].tolist() == [1004, 1007] * 2
    assert set(frame["layer"]) == {"classifier.6"}
    assert frame["own"].all()


def test_another_layer_has_no_interval_unless_it_is_the_own_best(source: Source, planted: Any) -> None:
    runs = [planted(source)]
    frame = fits(runs, "subj01", Picked("lh", (4,)), "classifier.5")
    fixed, best = frame.to_dict("records")
    assert (fixed["at"], fixed["layer"], fixed["own"], fixed["alpha"]) == ("classifier.5", "classifier.5", False, 4)
    np.testing.assert_allclose(fixed["r"], best["r"] - 0.05)
    assert np.isnan(fixed["low"])
    assert best["layer"] == "classifier.6"
    same = fits(runs, "subj01", Picked("lh", (4,)), "classifier.6")
    assert same["low"].iloc[0] == same["low"].iloc[1]
    assert len(method_rows(runs, source, "subj01", Picked("lh", (4,)), "classifier.6")) == 1
    assert len(method_rows(runs, source, "subj01", Picked("lh", (4,)), "classifier.5")) == 2


def test_a_vertex_of_two_areas_is_taken_from_the_first(source: Source, planted: Any) -> None:
    both = planted(source, hemi="both", roi="V1,V1v,FFA-1")
    (column,) = source.dataset.columns("subj01", "rh", "FFA-1")[:1]
    frame = fits([both], "subj01", Picked("rh", (3, int(column))))
    assert dict(zip(frame["column"], frame["roi"], strict=True)) == {3: "V1", column: "FFA-1"}
    # On the run's vertex axis, areas are sorted by name: on the right FFA-1, then V1, after all of the left.
    left = 24 + 58 + 30
    assert dict(zip(frame["column"], frame["vertex"], strict=True)) == {3: left + 24 + 3, column: left}
    later = [planted(source, roi="V1v"), both]
    assert fits(later, "subj01", Picked("lh", (3,)))["run"].tolist() == [later[0][1].id]


def test_vertices_without_results(source: Source, planted: Any) -> None:
    runs = [planted(source)]
    assert fits(runs, "subj01", Picked("lh", (119,))).empty
    assert fits(runs, "subj01", Picked("rh", (0,))).empty
    assert fits(runs, "subj02", Picked("lh", (0,))).empty
    assert responses(runs, source, "subj01", Picked("lh", (119,)), "untuned") is None
    assert responses(runs, source, "subj01", Picked("lh", (0,)), "contrastive") is None


def test_rows_of_methods_are_means_over_a_patch(source: Source, planted: Any) -> None:
    runs = [planted(source), planted(source, "contrastive", epochs=2)]
    columns = (4, 7, 9, 119)
    rows = method_rows(runs, source, "subj01", Picked("lh", columns)).set_index("method")
    for method, run in runs:
        r = run.array("r")[1, [4, 7, 9]]
        np.testing.assert_allclose(rows.loc[method, "r"], r.mean())
        np.testing.assert_allclose(rows.loc[method, "r_over_ceiling"], r.mean() / np.sqrt(0.8), rtol=1e-6)
    assert rows["n_vertices"].tolist() == [3, 3]
    assert rows["alpha"].tolist() == [1007, 1007]
    other = planted(source, subject="subj02")
    assert np.isnan(method_rows([other], source, "subj02", Picked("lh", (4,)))["r_over_ceiling"].item())


# --- responses to the test pictures -----------------------------------------------------------------------------------


def test_responses_of_a_vertex_are_in_the_units_of_the_data(source: Source, planted: Any) -> None:
    runs = [planted(source)]
    found = responses(runs, source, "subj01", Picked("lh", (7,)), "untuned")
    assert found is not None
    np.testing.assert_array_equal(found.rows, TEST_ROWS)
    np.testing.assert_allclose(found.measured, measured_of(source, (7,))[:, 0])
    np.testing.assert_allclose(found.predicted, predicted_of(runs[0][1], (7,))[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.r, runs[0][1].array("r")[1, 7], rtol=1e-5)
    assert (found.n_vertices, found.constant) == (1, 0)


def test_responses_of_a_patch_are_averaged_in_standard_deviations(source: Source, planted: Any) -> None:
    runs = [planted(source, roi="V1v"), planted(source, roi="V1d")]
    columns = (2, 7, 33, 119)
    found = responses(runs, source, "subj01", Picked("lh", columns), "untuned")
    assert found is not None
    measured = measured_of(source, columns[:3])
    predicted = np.hstack([predicted_of(runs[0][1], columns[:2]), predicted_of(runs[1][1], columns[2:3])])
    mean, deviation = measured.mean(axis=0), measured.std(axis=0)
    np.testing.assert_allclose(found.measured, ((measured - mean) / deviation).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.predicted, ((predicted - mean) / deviation).mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.r, np.corrcoef(found.measured, found.predicted)[0, 1])
    assert (found.n_vertices, found.constant) == (3, 0)


def test_constant_vertices_are_left_out_of_a_patch(tiny_copy: Path, serve: Callable[..., None], planted: Any) -> None:
    path = tiny_copy / "subj01/training_split/training_fmri/lh_training_fmri.npy"
    recorded = np.load(path)
    recorded[:, 7] = 0.5
    np.save(path, recorded)
    serve("tiny", tiny_copy)
    report = preparation.report("tiny")
    assert report is not None
    assert report.index is not None
    source = Source("tiny", open_dataset("tiny"), report.index, report)
    runs = [planted(source)]
    found = responses(runs, source, "subj01", Picked("lh", (4, 7)), "untuned")
    assert found is not None
    assert (found.n_vertices, found.constant) == (1, 1)
    assert np.isfinite(found.measured).all()
    alone = responses(runs, source, "subj01", Picked("lh", (7,)), "untuned")
    assert alone is not None
    assert np.isnan(alone.r)
    np.testing.assert_allclose(alone.measured, 0.5)
    low, high = mean_interval(runs, source, "subj01", Picked("lh", (4, 7)), "untuned")
    assert low < runs[0][1].array("r")[1, 4] < high
    assert np.isnan(mean_interval(runs, source, "subj01", Picked("lh", (7,)), "untuned")).all()


def test_the_interval_of_a_patch_is_over_the_runs_own_resamples(source: Source, planted: Any) -> None:
    method, run = planted(source)
    columns = (4, 7, 9)
    measured, predicted = measured_of(source, columns), predicted_of(run, columns)
    # No two of these pictures are equal, so each is a group of its own, numbered by its digest.
    digests = np.array(source.index.subjects["subj01"].image_digests)[TEST_ROWS]
    assert len(set(digests)) == len(digests)
    weights = bootstrap_weights(len(TEST_ROWS), 200, run.spec.seed, np.unique(digests, return_inverse=True)[1])
    means = []
    for times in weights.astype(int):
        drawn = np.repeat(np.arange(len(TEST_ROWS)), times)
        means.append(np.mean([np.corrcoef(measured[drawn, v], predicted[drawn, v])[0, 1] for v in range(3)]))
    expected = interval(np.array(means), estimate=run.array("r")[1, list(columns)].mean())
    found = mean_interval([(method, run)], source, "subj01", Picked("lh", columns), "untuned")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    row = method_rows([(method, run)], source, "subj01", Picked("lh", columns)).iloc[0]
    assert (row["low"], row["high"]) == found
    fixed = method_rows([(method, run)], source, "subj01", Picked("lh", columns), "classifier.5")
    assert fixed["low"].isna().tolist() == [True, False]


def test_a_patch_that_is_too_large_has_no_interval(
    source: Source, planted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_BOOTSTRAPPED > 100
    monkeypatch.setattr("brainviz.ui.vertex_facts.MOST_BOOTSTRAPPED", 2)
    runs = [planted(source)]
    assert np.isnan(mean_interval(runs, source, "subj01", Picked("lh", (4, 7, 9)), "untuned")).all()


def test_extremes_are_in_order_and_never_shared() -> None:
    values = np.random.default_rng(0).permutation(20).astype(float)
    highest, lowest = extremes(values)
    assert values[highest].tolist() == [19, 18, 17, 16, 15, 14]
    assert values[lowest].tolist() == [0, 1, 2, 3, 4, 5]
    highest, lowest = extremes(np.array([3.0, 1.0, 2.0]))
    assert (highest.tolist(), lowest.tolist()) == ([0], [1])


def test_thumbnails_are_small_and_keep_their_shape(
    source: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = Image.open(BytesIO(thumbnail(source, "subj01", 3)))
    original = source.dataset.images("subj01")[3]
    assert (own.format, own.size) == ("JPEG", original.size)
    difference = np.asarray(own, float).mean((0, 1)) - np.asarray(original, float).mean((0, 1))
    assert np.abs(difference).max() < 3
    monkeypatch.setattr(type(source.dataset), "images", lambda *_: [Image.new("RGB", (400, 200))])
    assert Image.open(BytesIO(thumbnail(source, "subj02", 0))).size == (THUMBNAIL, THUMBNAIL // 2)


def test_frames_have_one_row_per_pick(source: Source, planted: Any) -> None:
    frame = fits([planted(source, roi="V1")], "subj01", Picked("lh", tuple(range(58))))
    assert isinstance(frame, pd.DataFrame)
    assert not frame.duplicated(["method", "column"]).any()
    assert len(frame) == 58
