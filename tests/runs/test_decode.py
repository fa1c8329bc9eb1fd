"""Decoder runs against plain re-statements, scikit-learn, and what is planted in the data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import Ridge

from brainviz.datasets import open_dataset
from brainviz.datasets.base import Dataset
from brainviz.datasets.index import build_index
from brainviz.datasets.splits import Split, split_pictures
from brainviz.errors import DatasetError
from brainviz.runs.decode import (
    BIAS,
    CANDIDATES,
    CHOSEN_BY,
    COLUMNS,
    DECODED,
    DECODED_BY_RIDGE,
    HALVES,
    RANKS,
    RIDGE_RANKS,
    ROWS,
    SIDES,
    WEIGHT,
)
from brainviz.runs.embed import read_embeddings
from brainviz.runs.remembered import memo_dir
from brainviz.runs.store import Run, Store
from brainviz.training.decoding import fit_decoders
from brainviz.training.streams import derived_seed

Finish = Callable[..., Run]

#: What is quick: the tests are not about how well anything is decoded.
QUICK: dict[str, Any] = {"kind": "decoder", "subject": "subj01", "iterations": 10}

FMRI = "training_split/training_fmri/{}_training_fmri.npy"

#: Vertices of a hemisphere, and of those that like something: 4 ROIs of 20 on the left, 3 on the right.
N, LIKING = 92, (80, 60)


@pytest.fixture
def copy(shared_root: Path, tmp_path: Path) -> Path:
    """Return a copy of the data set that the test may change."""
    return Path(shutil.copytree(shared_root, tmp_path / "copy"))


def load(run: Run, name: str) -> np.ndarray:
    return np.asarray(np.load(run.file(name)))


def change(root: Path, hemi: str, how: Callable[[np.ndarray], None], subject: str = "subj01") -> None:
    """Change a hemisphere's responses, (n, v), in place."""
    file = root / subject / FMRI.format(hemi)
    responses = np.load(file)
    how(responses)
    np.save(file, responses)


def split_of(dataset: Dataset, run: Run) -> tuple[Split, np.ndarray]:
    """Return the subject's split, and its pictures' digests."""
    index = build_index(dataset, memo_dir())
    spec: Any = run.spec
    digests = np.array(index.subjects[spec.subject].image_digests)
    return split_pictures(index, spec.test_share, spec.split_seed)[spec.subject], digests


def shown_twice(root: Path) -> Dataset:
    """Let subj01's second 60 pictures be the first 60 again; responses keep their signal, noise is new."""
    files = sorted((root / "subj01/training_split/training_images").iterdir())
    rng = np.random.default_rng(0)
    for first, second in zip(files[:60], files[60:], strict=True):
        shutil.copyfile(first, second)
    for hemi in ("lh", "rh"):

        def again(responses: np.ndarray, hemi: str = hemi) -> None:
            own = np.load(root / f"subj01/noise_ceiling/{hemi}_noise_ceiling.npy") > 0.1
            responses[60:, own] = responses[:60, own] + 0.3 * rng.standard_normal((60, own.sum()))

        change(root, hemi, again)
    return open_dataset(root)


def responses_by_picture(run: Run, dataset: Dataset) -> tuple[np.ndarray, list[str], list[str]]:
    """Return z-scored mean responses to every picture, in the order of first sight, training pictures first."""
    split, digests = split_of(dataset, run)
    used = []
    for side, hemi in enumerate(("lh", "rh")):
        columns = load(run, COLUMNS)[load(run, SIDES) == side]
        used.append(np.load(dataset.root / "subj01" / FMRI.format(hemi))[:, columns])
    responses = np.concatenate(used, axis=1)
    train, test = (list(dict.fromkeys(digests[rows])) for rows in (split.train, split.test))
    mean = np.stack([responses[digests == digest].mean(axis=0) for digest in train + test])
    fitted = mean[: len(train)].astype(np.float64)
    return ((mean - fitted.mean(axis=0)) / fitted.std(axis=0)).astype(np.float32), train, test


# --- what is fitted ---------------------------------------------------------------------------------------------------


def test_what_a_run_says_of_itself(finish_concepts: Finish) -> None:
    run = finish_concepts(kind="decoder", subject="subj01")
    result, spec = run.result(), run.spec
    split, _ = split_of(open_dataset(Path(run_root(run))), run)
    assert (result["n_vertices"], result["n_considered"], result["n_constant"]) == (sum(LIKING), 2 * N, 0)
    assert (result["n_train"], result["n_test"], result["n_dimensions"]) == (len(split.train), len(split.test), 128)
    assert load(run, WEIGHT).shape == (140, 128)
    assert (load(run, SIDES) == np.repeat([0, 1], LIKING)).all()
    np.testing.assert_allclose(load(run, CHOSEN_BY), 0.8, rtol=1e-6)
    np.testing.assert_array_equal(load(run, ROWS), split.test)
    assert np.isfinite(result["loss"])
    np.testing.assert_allclose(load(run, HALVES).mean(axis=0), load(run, WEIGHT), atol=1e-6)
    assert spec.n_seeds == 2


def run_root(run: Run) -> str:
    known = json.loads((Store().cache / "datasets" / f"{run.spec.dataset}.json").read_text())
    return str(known["root"])


def test_trials_of_one_picture_are_averaged(finish_concepts: Finish, copy: Path) -> None:
    dataset = shown_twice(copy)
    run = finish_concepts(dataset, **QUICK, selection="noise-ceiling", n_seeds=3, seed=5)
    spec: Any = run.spec
    responses, train, test = responses_by_picture(run, dataset)
    _, digests = split_of(dataset, run)
    embeddings = dict(zip(digests, read_embeddings(Store().run_of(spec.embedding)), strict=True))
    assert len(train) + len(test) == 60
    assert (run.result()["n_train"], run.result()["n_test"]) == (len(train), len(test))
    np.testing.assert_array_equal(digests[load(run, ROWS)], test)
    fit = fit_decoders(
        responses[: len(train)],
        np.stack([embeddings[digest] for digest in train]),
        n_seeds=3,
        temperature=0.3,
        learning_rate=0.05,
        batch_size=128,
        iterations=10,
        noise_sd=6.0,
        seed=derived_seed(5, *b"subj01"),
    )
    np.testing.assert_allclose(load(run, WEIGHT), fit.weight, atol=1e-4)
    np.testing.assert_allclose(load(run, BIAS), fit.bias, atol=1e-4)
    decoded = responses[len(train) :] @ load(run, WEIGHT) + load(run, BIAS)
    decoded /= np.linalg.norm(decoded, axis=1, keepdims=True)
    np.testing.assert_allclose(load(run, DECODED), decoded, atol=1e-5)


def test_constant_vertices_are_left_out_and_counted(finish_concepts: Finish, copy: Path) -> None:
    """A vertex that varies over the held-out pictures alone is constant where it counts."""
    split, _ = split_of(open_dataset(copy), finish_concepts(**QUICK))
    columns = np.flatnonzero(np.load(copy / "subj01/noise_ceiling/lh_noise_ceiling.npy") > 0.1)

    def still(responses: np.ndarray) -> None:
        responses[split.train, columns[0]] = 3.0
        responses[:, columns[1]] = 0.0
        responses[split.train[1:], columns[2]] = 1.0

    change(copy, "lh", still)
    run = finish_concepts(open_dataset(copy), **QUICK)
    assert (run.result()["n_vertices"], run.result()["n_constant"], run.result()["n_considered"]) == (138, 2, 184)
    kept = load(run, COLUMNS)[load(run, SIDES) == 0]
    np.testing.assert_array_equal(kept, columns[2:])
    assert np.isfinite(load(run, WEIGHT)).all()
    everything = finish_concepts(open_dataset(copy), **QUICK, selection="none")
    assert (everything.result()["n_vertices"], everything.result()["n_constant"]) == (182, 2)


# --- which vertices ---------------------------------------------------------------------------------------------------


def test_none_uses_every_vertex(finish_concepts: Finish) -> None:
    run = finish_concepts(**QUICK, selection="none")
    assert run.result()["n_vertices"] == 2 * N
    np.testing.assert_array_equal(load(run, COLUMNS), np.tile(np.arange(N), 2))
    assert np.isnan(load(run, CHOSEN_BY)).all()


def test_a_ceiling_of_averaged_responses_is_turned_into_that_of_a_single_trial(
    finish_concepts: Finish, copy: Path
) -> None:
    """With every picture shown three times, ncsnr^2 = NC / (1 - NC) / 3: a ceiling of 0.8 is one of 4 / 7."""
    file = copy / "dataset.toml"
    file.write_text(f"repeats = 3\n{file.read_text()}")
    dataset = open_dataset(copy)
    run = finish_concepts(dataset, **QUICK, vertex_threshold=0.57)
    assert run.result()["n_vertices"] == 140
    np.testing.assert_allclose(load(run, CHOSEN_BY), 4 / 7, rtol=1e-5)
    assert finish_concepts(dataset, **QUICK, vertex_threshold=0.58).result()["n_vertices"] == 0
    assert finish_concepts(**QUICK, vertex_threshold=0.58).result()["n_vertices"] == 140


def test_a_ceiling_may_follow_from_repeats(finish_concepts: Finish, copy: Path) -> None:
    dataset = shown_twice(copy)
    run = finish_concepts(dataset, **QUICK, selection="repeats", vertex_threshold=0.5)
    split, digests = split_of(dataset, run)
    ceilings = []
    for hemi in ("lh", "rh"):
        responses = np.load(copy / "subj01" / FMRI.format(hemi)).astype(np.float64)[split.train]
        pairs = [np.flatnonzero(digests[split.train] == digest) for digest in set(digests[split.train])]
        # Of two trials, the variance of the noise is half the mean squared difference.
        noise = np.mean([(responses[a] - responses[b]) ** 2 / 2 for a, b in pairs], axis=0)
        signal = np.maximum(responses.var(axis=0, ddof=1) - noise, 0)
        ceilings.append(signal / (signal + noise))
    chosen = [np.flatnonzero(ceiling > 0.5) for ceiling in ceilings]
    np.testing.assert_array_equal(load(run, COLUMNS), np.concatenate(chosen))
    np.testing.assert_array_equal(load(run, SIDES), np.repeat([0, 1], [len(each) for each in chosen]))
    expected = np.concatenate([ceiling[each] for ceiling, each in zip(ceilings, chosen, strict=True)])
    np.testing.assert_allclose(load(run, CHOSEN_BY), expected, rtol=1e-4)
    assert len(expected) == 140


def test_repeats_that_there_are_not_choose_nothing(finish_concepts: Finish) -> None:
    run = finish_concepts(**QUICK, selection="repeats")
    assert (run.state, run.result()["n_vertices"]) == ("done", 0)


def test_encoding_finds_the_vertices_that_like_something(finish_concepts: Finish) -> None:
    run = finish_concepts(**QUICK, selection="encoding", vertex_threshold=0.4)
    planted = np.concatenate([np.arange(N)[:count] for count in LIKING])
    liking = finish_concepts(**QUICK)
    assert len(planted) == 140
    assert set(zip(load(run, SIDES), load(run, COLUMNS), strict=True)) == set(
        zip(load(liking, SIDES), load(liking, COLUMNS), strict=True)
    )
    assert (load(run, CHOSEN_BY) > 0.4).all()


def test_a_data_set_without_a_ceiling_is_told_so(finish_concepts: Finish, copy: Path) -> None:
    shutil.rmtree(copy / "subj01/noise_ceiling")
    with pytest.raises(DatasetError, match="no noise ceiling to choose vertices by"):
        finish_concepts(open_dataset(copy), **QUICK, selection="noise-ceiling")


@pytest.mark.parametrize("selection", ["noise-ceiling", "encoding"])
def test_a_threshold_above_everything_is_a_result(finish_concepts: Finish, selection: str) -> None:
    run = finish_concepts(**QUICK, selection=selection, vertex_threshold=0.99)
    result = run.result()
    assert (run.state, result["n_vertices"], result["n_considered"]) == ("done", 0, 2 * N)
    assert "top1" not in result
    assert load(run, WEIGHT).shape == (0, 128)
    assert [len(load(run, name)) for name in (COLUMNS, SIDES, CHOSEN_BY)] == [0, 0, 0]
    assert not run.has(DECODED)


def test_a_vertex_of_two_rois_counts_once(finish_concepts: Finish) -> None:
    every = finish_concepts(**QUICK)
    both = finish_concepts(**QUICK, roi="FFA-1,all,PPA")
    assert both.id != every.id
    assert both.result()["n_considered"] == 2 * N
    for name in (COLUMNS, SIDES, CHOSEN_BY, WEIGHT, DECODED):
        np.testing.assert_array_equal(load(both, name), load(every, name))


def test_rois_in_any_order_are_put_in_the_order_of_the_data(finish_concepts: Finish, shared_dataset: Dataset) -> None:
    run = finish_concepts(**QUICK, hemi="rh", roi="PPA,EBA")
    columns = np.sort(np.concatenate([shared_dataset.columns("subj01", "rh", roi) for roi in ("PPA", "EBA")]))
    np.testing.assert_array_equal(load(run, COLUMNS), columns)
    assert set(load(run, SIDES)) == {1}
    assert run.result()["n_considered"] == 40


# --- held-out pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["noise-ceiling", "repeats", "encoding", "none"])
def test_held_out_pictures_have_no_part_in_the_weights(finish_concepts: Finish, copy: Path, selection: str) -> None:
    values = {**QUICK, "selection": selection} | ({} if selection == "none" else {"vertex_threshold": 0.3})
    before = finish_concepts(shown_twice(copy), **values)
    test = split_of(open_dataset(copy), before)[0].test
    rng = np.random.default_rng(1)
    for hemi in ("lh", "rh"):

        def other(responses: np.ndarray) -> None:
            responses[test] = 50 * rng.standard_normal((len(test), responses.shape[1]))

        change(copy, hemi, other)
    after = finish_concepts(open_dataset(copy), **values)
    assert after.id != before.id
    assert after.result()["n_vertices"] == before.result()["n_vertices"] > 0
    for name in (WEIGHT, BIAS, HALVES, COLUMNS, CHOSEN_BY, CANDIDATES):
        np.testing.assert_array_equal(load(after, name), load(before, name))
    assert np.abs(load(after, DECODED) - load(before, DECODED)).max() > 0.1
    assert np.abs(load(after, DECODED_BY_RIDGE) - load(before, DECODED_BY_RIDGE)).max() > 0.1


def test_the_retrieval_table_is_what_one_counts(finish_concepts: Finish) -> None:
    run = finish_concepts(**QUICK, n_candidates=15)
    result, spec = run.result(), run.spec
    embeddings = np.asarray(read_embeddings(Store().run_of(spec.dependencies()[0])))[load(run, ROWS)]
    candidates = load(run, CANDIDATES)
    assert len(candidates) == result["n_candidates"] == 15 < result["n_test"]
    assert len(set(candidates)) == 15
    assert [row["k"] for row in result["retrieval"]] == [1, 5, 10]
    for name, decoded, ranks in (("decoder", DECODED, RANKS), ("ridge", DECODED_BY_RIDGE, RIDGE_RANKS)):
        vectors, places = load(run, decoded), []
        for candidate in candidates:
            cosines = {other: float(vectors[candidate] @ embeddings[other]) for other in candidates}
            places.append(1 + sum(cosine > cosines[candidate] for cosine in cosines.values()))
        np.testing.assert_array_equal(load(run, ranks), np.stack([places, places], axis=1))
        for row in result["retrieval"]:
            assert row["chance"] == pytest.approx(row["k"] / 15)
            found = np.array(places) <= row["k"]
            assert row[name] == pytest.approx(found.mean())
            wilson = binomtest(int(found.sum()), 15).proportion_ci(0.95, "wilson")
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx((wilson.low, wilson.high))
            assert row[f"{name}_high"] - row[f"{name}_low"] > 0.1  # also where none is found, or all
    first = result["retrieval"][0]
    assert (result["top1"], result["top1_ridge"], result["top1_chance"]) == (
        first["decoder"],
        first["ridge"],
        first["chance"],
    )


def test_the_baseline_is_ridge_with_penalties_from_leaving_pictures_out(
    finish_concepts: Finish, shared_dataset: Dataset
) -> None:
    """Every dimension has the penalty with the smallest error over training pictures left out one at a time."""
    run = finish_concepts(**QUICK, ridge_alphas="100,1000,10000", seed=2)
    responses, train, _ = responses_by_picture(run, shared_dataset)
    _, digests = split_of(shared_dataset, run)
    of = dict(zip(digests, read_embeddings(Store().run_of(run.spec.dependencies()[0])), strict=True))
    X, Y = responses[: len(train)].astype(np.float64), np.stack([of[digest] for digest in train]).astype(np.float64)
    alphas = np.array([100.0, 1000.0, 10000.0])
    errors = np.zeros((len(alphas), Y.shape[1]))
    for number, alpha in enumerate(alphas):
        for left_out in range(len(X)):
            others = np.arange(len(X)) != left_out
            errors[number] += (
                Ridge(alpha=alpha).fit(X[others], Y[others]).predict(X[[left_out]])[0] - Y[left_out]
            ) ** 2
    best = alphas[errors.argmin(axis=0)]
    expected = Ridge(alpha=best).fit(X, Y).predict(responses[len(train) :])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(load(run, DECODED_BY_RIDGE), expected, atol=1e-4)
    assert run.result()["ridge_at_edge"] == pytest.approx(np.mean(best != 1000))


def test_participants_have_random_numbers_of_their_own(finish_concepts: Finish, copy: Path) -> None:
    """Two with as many vertices would else begin from the same weights, and vertices would be alike by that alone."""
    barely = {**QUICK, "selection": "none", "iterations": 1, "decoder_learning_rate": 1e-9, "n_seeds": 1}
    runs = [finish_concepts(open_dataset(copy), **{**barely, "subject": subject}) for subject in ("subj01", "subj02")]
    one, other = (load(run, WEIGHT) for run in runs)
    assert one.shape == other.shape
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert abs(cosines.mean()) < 4 / np.sqrt(one.size)


def test_too_few_distinct_held_out_pictures_are_told(finish_concepts: Finish, copy: Path) -> None:
    """Ten trials of one picture are no ten pictures: nothing can be looked up among them."""
    for subject in ("subj02", "subj03", "subj04"):
        shutil.rmtree(copy / subject)
    files = sorted((copy / "subj01/training_split/training_images").iterdir())
    for number, file in enumerate(files[12:], start=12):
        shutil.copyfile(files[number % 12], file)
    with pytest.raises(DatasetError, match="too few held-out pictures"):
        finish_concepts(open_dataset(copy), **QUICK, test_share=0.05)


def test_decoding_is_above_chance_with_the_fixtures_settings(finish_concepts: Finish) -> None:
    """Only four categories are planted: who knows the category finds the picture about four times as often."""
    results = [finish_concepts(kind="decoder", subject=f"subj0{n}").result() for n in (1, 2, 3, 4)]
    assert np.mean([result["top1"] / result["top1_chance"] for result in results]) > 2.5
