"""Shared concepts against a slow plain re-statement of the rule, exact arithmetic, and scikit-learn's DBSCAN."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from brainviz.analyses import components, near_points
from brainviz.analyses.concepts import (
    Clustering,
    ScanRow,
    cluster_shared,
    concept_vectors,
    expand_within,
    scan,
    shared_dbscan,
)
from brainviz.analyses.near_points import NOISE
from brainviz.errors import DatasetError, SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
Array = NDArray[Any]


@pytest.fixture(params=[8, 16, 64, 2048])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Points on a side of a block: few, so that there are many, the last one not full; and few groups at once."""
    monkeypatch.setattr(near_points, "BLOCK", request.param)
    monkeypatch.setattr(components, "GROUPS", 3)
    return int(request.param)


@pytest.fixture(params=[False, True])
def rough(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether products are bfloat16 first, however many pairs they leave in doubt, on any processor."""
    monkeypatch.setattr(near_points, "has_bfloat16", lambda: request.param)
    monkeypatch.setattr(near_points, "DOUBT", 1)
    return bool(request.param)


def clustered(
    n: int = 203, p: int = 8, *, n_centres: int = 5, n_participants: int = 5, spread: float = 0.45, seed: int = 0
) -> tuple[Array, Array]:
    """Unit vectors around some centres, of any length, a third of them anywhere; and whose each is.

    Every centre has points of some of the participants only, by another number of points each.
    """
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_centres, p))
    centre = rng.integers(n_centres, size=n)
    X = centres[centre] + spread * np.sqrt(p) * rng.uniform(0.3, 1, (n, 1)) * rng.standard_normal((n, p))
    noise = rng.random(n) < 1 / 3
    X[noise] = rng.standard_normal((int(noise.sum()), p))
    who = np.minimum(rng.integers(n_participants, size=n), rng.integers(1, n_participants + 1, n_centres)[centre])
    return (X * rng.uniform(0.1, 10, (n, 1))).astype(np.float32), who


# --- the rule, stated plainly -----------------------------------------------------------------------------------------


def restate(
    n: int,
    who: Sequence[int],
    min_participants: int,
    near: Callable[[int, int], bool],
    nearer: Callable[[int, int], Any],
    vector: Callable[[int], Any],
) -> Clustering:
    """Methods, section 8, point by point.

    `nearer(i, j)` is larger the nearer j is to i; `vector(j)` decides between those as near.
    """
    ball = [[j for j in range(n) if j == i or near(i, j)] for i in range(n)]
    reached = [len({who[j] for j in ball[i]} - {who[i]}) for i in range(n)]
    core = [reached[i] >= min_participants for i in range(n)]
    label = [NOISE] * n
    n_clusters = 0
    for start in range(n):
        if core[start] and label[start] == NOISE:
            label[start] = n_clusters
            queue = deque([start])
            while queue:
                for j in ball[queue.popleft()]:
                    if core[j] and label[j] == NOISE:
                        label[j] = n_clusters
                        queue.append(j)
            n_clusters += 1
    for i in range(n):
        cores = [j for j in ball[i] if core[j]]
        if not core[i] and cores:
            nearest = max(nearer(i, j) for j in cores)
            label[i] = label[min((j for j in cores if nearer(i, j) == nearest), key=vector)]
    members = [[i for i in range(n) if label[i] == k] for k in range(n_clusters)]
    order = sorted(range(n_clusters), key=lambda k: (-len(members[k]), min(vector(i) for i in members[k])))
    number = {k: place for place, k in enumerate(order)} | {NOISE: NOISE}
    return Clustering(np.array([number[k] for k in label]), np.array(core), np.array(reached))


def restate_vectors(X: Array, who: Sequence[int], eps: float, min_participants: int) -> Clustering:
    """The rule in float64, sums without rounding; what is within 1e-12 of eps is at eps."""
    x = [[float(value) for value in row] for row in X]
    length = [math.sqrt(math.fsum(value * value for value in row)) for row in x]

    @cache
    def cosine(i: int, j: int) -> float:
        return math.fsum(a * b for a, b in zip(x[i], x[j], strict=True)) / (length[i] * length[j])

    return restate(
        len(x),
        who,
        min_participants,
        lambda i, j: 1 - cosine(i, j) <= eps + 1e-12,
        cosine,
        lambda j: [value / length[j] for value in x[j]],
    )


def restate_whole_numbers(X: Array, who: Sequence[int], eps: Fraction, min_participants: int) -> Clustering:
    """The rule in exact arithmetic, by cosines' squares with their signs."""
    x = [[int(value) for value in row] for row in X]

    def square(value: Fraction) -> Fraction:
        return abs(value) * value

    @cache
    def cosine(i: int, j: int) -> Fraction:
        length = sum(a * a for a in x[i]) * sum(b * b for b in x[j])
        return square(Fraction(sum(a * b for a, b in zip(x[i], x[j], strict=True)))) / length

    return restate(
        len(x),
        who,
        min_participants,
        lambda i, j: cosine(i, j) >= square(1 - eps),
        cosine,
        lambda j: [square(Fraction(value)) / sum(a * a for a in x[j]) for value in x[j]],
    )


def assert_same(found: Clustering, expected: Clustering) -> None:
    assert np.array_equal(found.reached, expected.reached)
    assert np.array_equal(found.core, expected.core)
    assert np.array_equal(found.labels, expected.labels)
    assert found.labels.dtype == np.int64
    assert found.core.dtype == bool


def taken(clustering: Clustering, order: Array) -> Clustering:
    """The same points in another order."""
    return Clustering(clustering.labels[order], clustering.core[order], clustering.reached[order])


# --- the participant rule ---------------------------------------------------------------------------------------------


@cache
def expected(seed: int, eps: float, min_participants: int) -> Clustering:
    X, who = clustered(seed=seed)
    return restate_vectors(X, who.tolist(), eps, min_participants)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("eps", "min_participants"), [(0.1, 1), (0.2, 1), (0.2, 2), (0.2, 4), (0.4, 3)])
def test_the_participant_rule(
    eps: float, min_participants: int, streamed: bool, device: str, block: int, rough: bool
) -> None:
    for seed in range(3):
        X, who = clustered(seed=seed)
        found = cluster_shared(X, who, eps, min_participants, streamed=streamed, device=device)
        assert_same(found, expected(seed, eps, min_participants))


def test_the_data_of_these_tests_have_clusters_borders_and_noise() -> None:
    for seed in range(3):
        found = expected(seed, 0.2, 2)
        assert found.n_clusters >= 3
        assert (found.labels == NOISE).sum() > 20
        assert ((found.labels != NOISE) & ~found.core).sum() > 5
        assert len(set(expected(seed, 0.2, 4).labels.tolist())) < len(set(found.labels.tolist()))


@pytest.mark.parametrize("streamed", [False, True])
def test_any_order_of_the_points(streamed: bool, block: int) -> None:
    X, who = clustered()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        found = cluster_shared(X[order], who[order], 0.2, 2, streamed=streamed)
        assert_same(found, taken(expected(0, 0.2, 2), order))


def test_lengths_names_and_types_do_not_matter() -> None:
    X, who = clustered()
    names = np.array(["mia", "adam", "zoe", "eve", "bob"])[who]
    for other in (X.astype(np.float64), X * np.float32(4), X.astype(np.float64) * 1e-200, X.astype(np.float64) * 1e200):
        assert_same(cluster_shared(other, names, 0.2, 2), expected(0, 0.2, 2))
    assert_same(cluster_shared(X[:, ::-1].copy()[:, ::-1], list(names), 0.2, 2), expected(0, 0.2, 2))
    assert np.array_equal(shared_dbscan(X, who, 0.2, 2), expected(0, 0.2, 2).labels)


# --- at the threshold -------------------------------------------------------------------------------------------------


def grid(n_participants: int = 4) -> tuple[Array, Array]:
    """All vectors of three whole numbers from -2 to 2 but 0: duplicates, opposite ones, and many that are at eps."""
    X = np.array([row for row in itertools.product(range(-2, 3), repeat=3) if any(row)])
    return X, np.random.default_rng(0).integers(n_participants, size=len(X))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("min_participants", [1, 2, 3])
@pytest.mark.parametrize("eps", ["1/20", "1/10", "1/5", "3/10", "1/3", "1/2", "7/10", "1", "3/2", "19/10"])
def test_points_exactly_at_eps(
    eps: str, min_participants: int, streamed: bool, rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_points, "BLOCK", 32)
    X, who = grid()
    X, who = X[::2], who[::2]
    exact = restate_whole_numbers(X, who.tolist(), Fraction(eps), min_participants)
    for kind in (np.int64, np.float32, np.float64, np.int8):
        assert_same(
            cluster_shared(X.astype(kind), who, float(Fraction(eps)), min_participants, streamed=streamed), exact
        )


def test_clusters_of_one_size_and_points_between_them_in_any_order() -> None:
    X, _ = grid()
    who = np.random.default_rng(3).integers(8, size=len(X))
    exact = restate_whole_numbers(X, who.tolist(), Fraction(1, 10), 1)
    sizes = np.bincount(exact.labels[exact.labels != NOISE])
    assert len(set(sizes.tolist())) < len(sizes)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(X))
        assert_same(cluster_shared(X[order], who[order], 0.1, 1), taken(exact, order))
        longer = np.hstack([np.zeros((len(X), 6)), X])  # told apart by the last coordinates only
        assert_same(cluster_shared(longer[order], who[order], 0.1, 1), taken(exact, order))


def test_a_point_as_near_to_two_clusters_joins_that_of_the_smallest_core_point() -> None:
    """Two groups in the plane, the same but for their side, and a point halfway."""
    steps = np.array([[3, 4, 0], [3, 4, 1], [3, 4, -1]])
    X = np.vstack([steps, steps * [-1, 1, 1], [[0, 1, 0]], [[0, 0, 1]]])
    who = [0, 1, 2, 0, 1, 2, 0, 0]
    for order in (np.arange(8), np.arange(8)[::-1], np.random.default_rng(0).permutation(8)):
        found = cluster_shared(X[order], np.array(who)[order], 0.2, 2)
        labels = found.labels[np.argsort(order)].tolist()
        # The halfway point is exactly at eps from one core point of either group, both of its own participant.
        assert labels[3:7] == [0, 0, 0, 0]
        assert labels[:3] == [1, 1, 1]
        assert labels[7] == NOISE
        assert found.core.sum() == 6


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("p", [512, 2048])
def test_pairs_nearer_to_the_threshold_than_float32_can_tell(
    p: int, streamed: bool, rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points around one of equal entries, whose products in float32 all round the same way: the worst case."""
    monkeypatch.setattr(near_points, "BLOCK", 128)
    rng = np.random.default_rng(0)
    hub = np.ones(p) / np.sqrt(p)
    away = rng.standard_normal((400, p))
    away -= np.outer(away @ hub, hub)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cosine = 0.6 + np.concatenate([rng.uniform(-1e-6, 1e-6, 200), rng.uniform(-3e-8, 3e-8, 200)])
    X = np.vstack([hub, cosine[:, None] * hub + np.sqrt(1 - cosine[:, None] ** 2) * away])
    near = np.array([math.fsum((hub * row).tolist()) / np.linalg.norm(row) for row in X[1:]]) >= 0.6
    single = (X[1:].astype(np.float32) @ X[0].astype(np.float32)) >= np.float32(0.6)
    assert (near != single).any()
    who = np.array([0] + [1] * 400)
    found = cluster_shared(X, who, 0.4, 1, streamed=streamed)
    assert np.array_equal(found.core[1:], near)
    assert np.array_equal(found.labels[1:] == 0, near)


@pytest.mark.parametrize("flipped", [150, 211, 213, 330])
def test_products_that_are_rounded_once_more_in_bfloat16(
    flipped: int, rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of 1 and -1, exact in bfloat16 when normalised; their products, in steps of 1/512, are not."""
    monkeypatch.setattr(near_points, "BLOCK", 128)
    rng = np.random.default_rng(0)
    n_flipped = np.repeat(np.arange(flipped - 4, flipped + 5), 30)
    X = np.ones((1 + len(n_flipped), 1024))
    for row, count in zip(X[1:], n_flipped, strict=True):
        row[rng.permutation(1024)[:count]] = -1
    who = np.array([0] + [1] * len(n_flipped))
    for eps in np.arange(2 * flipped - 3, 2 * flipped + 4) / 1024:  # also between the steps
        found = cluster_shared(X, who, eps, 1)
        assert np.array_equal(found.core[1:], 2 * n_flipped / 1024 <= eps)
        assert np.array_equal(found.labels[1:] == 0, found.core[1:])


def test_the_nearer_of_two_that_float32_cannot_tell_apart() -> None:
    """A point between two clusters, near one core point of each; and which of these is nearer by 1e-8 or less."""
    rng = np.random.default_rng(0)
    winners = []
    for _ in range(30):
        hub, *away = np.linalg.qr(rng.standard_normal((512, 3)))[0].T
        cosine = np.array([0.7, 0.65, 0.65, 0.65, 0.65] * 2)
        cosine[[0, 5]] += rng.uniform(0, 1e-8, 2)
        side = np.repeat(np.array(away), 5, axis=0)
        X = np.vstack([hub, cosine[:, None] * hub + np.sqrt(1 - cosine**2)[:, None] * side])
        found = cluster_shared(X, [0, 1, 2, 3, 4, 5, 2, 1, 3, 4, 5], 0.31, 3)
        assert found.core.tolist() == [False] + [True] * 10
        nearest = max((1, 6), key=lambda k, X=X: math.fsum((hub * X[k]).tolist()) / np.sqrt(math.fsum(X[k] ** 2)))
        assert found.labels[0] == found.labels[nearest] != found.labels[7 - nearest]
        winners.append(nearest)
    assert 5 < winners.count(1) < 25


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_what_products_in_bfloat16_are_certain_of(threshold: float) -> None:
    """Near pairs are among those that may be near, those that are certain are near, and few are in doubt."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 512)) + rng.uniform(0, 4, (300, 1)) * np.linspace(-1, 1, 512)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    cosine = X @ X.T
    near = cosine >= threshold
    found = near_points.Rough(X.astype(np.float32), threshold, 1e-4)
    possible, certain = (np.unpackbits(bits, axis=1, count=300).view(bool) for bits in found.bounds(*[slice(300)] * 2))
    assert (certain <= near).all()
    assert (near <= possible).all()
    assert 0.0 < np.mean(near) < 1
    assert np.mean(possible & ~certain) < 0.1 * np.mean(possible)
    assert threshold - 0.012 < found.low < threshold < found.high < threshold + 0.012
    single = cluster_shared(X, None, 1 - threshold, 3)
    for doubt in (0, 1):  # float32 after all; float64 for each pair in doubt
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(near_points, "BLOCK", 64)
            patch.setattr(near_points, "has_bfloat16", lambda: True)
            patch.setattr(near_points, "DOUBT", doubt)
            assert_same(cluster_shared(X, None, 1 - threshold, 3), single)


# --- plain DBSCAN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("n", "p", "eps", "min_participants"), [(203, 8, 0.12, 3), (203, 8, 0.2, 6), (1501, 24, 0.3, 9), (700, 64, 0.5, 6)]
)
def test_without_participants_it_is_dbscan(
    n: int, p: int, eps: float, min_participants: int, streamed: bool, rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_points, "BLOCK", 128)
    X = clustered(n, p)[0].astype(np.float64)
    oracle = DBSCAN(eps=eps, min_samples=min_participants + 1, metric="cosine").fit(X)
    found = cluster_shared(X, None, eps, min_participants, streamed=streamed)
    core = np.isin(np.arange(n), oracle.core_sample_indices_)
    assert np.array_equal(found.core, core)
    assert np.array_equal(found.labels == NOISE, oracle.labels_ == NOISE)
    assert adjusted_rand_score(oracle.labels_[core], found.labels[core]) == 1
    assert found.n_clusters == oracle.labels_.max() + 1 > 1
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert np.array_equal(found.reached, (1 - unit @ unit.T <= eps).sum(1) - 1)
    border = np.flatnonzero(~core & (found.labels != NOISE))
    assert len(border)
    nearest = np.flatnonzero(core)[(unit[border] @ unit[core].T).argmax(1)]
    assert np.array_equal(found.labels[border], found.labels[nearest])
    assert (np.diff(np.bincount(found.labels[found.labels != NOISE])) <= 0).all()
    # Participants that have a point each are the same.
    assert_same(cluster_shared(X, np.arange(n)[::-1], eps, min_participants, streamed=streamed), found)


# --- few points, one cluster, none ------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_one_point_and_one_participant(streamed: bool) -> None:
    for who in (None, [7]):
        found = cluster_shared([[1.0, 2.0]], who, 0.5, 1, streamed=streamed)
        assert found.labels.tolist() == [NOISE]
        assert found.reached.tolist() == [0]
        assert found.n_clusters == 0
    X, _ = clustered()
    alone = cluster_shared(X, np.zeros(len(X)), 0.5, 1, streamed=streamed)
    assert not alone.core.any()
    assert (alone.labels == NOISE).all()
    assert not alone.reached.any()


@pytest.mark.parametrize("streamed", [False, True])
def test_all_noise_and_all_one_cluster(streamed: bool, block: int) -> None:
    X, who = clustered()
    assert (cluster_shared(X, who, 1e-6, 1, streamed=streamed).labels == NOISE).all()
    assert (cluster_shared(X, who, 0.2, 5, streamed=streamed).labels == NOISE).all()
    together = cluster_shared(X, who, 1.99, 4, streamed=streamed)
    assert (together.labels == 0).all()
    assert (together.reached == 4).all()
    same = cluster_shared(np.ones((100, 3)), np.arange(100) % 4, 1e-9, 3, streamed=streamed)
    assert (same.labels == 0).all()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chain_is_one_cluster_however_it_is_cut_into_blocks(streamed: bool, block: int) -> None:
    """Points on a circle, each near the next two only; and two such chains that do not meet."""
    angle = np.linspace(0, 3, 301)
    angle[150:] += 0.1
    X, who = np.stack([np.cos(angle), np.sin(angle)], axis=1), np.arange(301) % 3
    order = np.random.default_rng(0).permutation(301)
    labels = cluster_shared(X[order], who[order], 1 - np.cos(0.021), 2, streamed=streamed).labels[np.argsort(order)]
    assert (labels[:150] == 1).all()
    assert (labels[150:] == 0).all()


@pytest.mark.parametrize(("eps", "min_participants"), [(0, 1), (2, 1), (-0.1, 1), (np.nan, 1), (0.5, 0)])
def test_settings_out_of_range(eps: float, min_participants: int) -> None:
    X, who = clustered(20)
    with pytest.raises(SpecError, match="these settings"):
        cluster_shared(X, who, eps, min_participants)
    with pytest.raises(SpecError, match="these settings"):
        scan(X, who, [0.5, eps], [1, min_participants])
    if not 0 < eps < 2:
        with pytest.raises(SpecError, match="so far"):
            expand_within(X, who, np.zeros(20, int), eps)


def test_points_that_are_none() -> None:
    X, who = clustered(20)
    for value, wrong in ((0, "no direction"), (np.nan, "no finite"), (np.inf, "no finite"), (-np.inf, "no finite")):
        bad = X.copy()
        bad[3] = value
        for function in (
            lambda x: cluster_shared(x, who, 0.5, 1),
            lambda x: scan(x, who, [0.5], [1]),
            lambda x: expand_within(x, who, np.zeros(20, int), 0.5),
            lambda x: concept_vectors(x, np.zeros(20, int)),
        ):
            with pytest.raises(DatasetError, match=wrong):
                function(bad)
    for shape in (np.zeros((0, 3)), np.ones(3), np.ones((2, 2, 2)), np.ones((3, 0))):
        with pytest.raises(DatasetError, match="no finite"):
            cluster_shared(shape, None, 0.5, 1)
    for wrong_who in (who[:-1], who[:, None], 3):
        with pytest.raises(DatasetError, match="needs a participant"):
            cluster_shared(X, wrong_who, 0.5, 1)


def test_progress_ends_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_points, "BLOCK", 64)
    X, who = clustered()
    for streamed, eps in itertools.product((False, True), (0.2, 1e-6)):
        for function in (
            lambda tell, s=streamed, e=eps: cluster_shared(X, who, e, 2, streamed=s, progress=tell),
            lambda tell, s=streamed, e=eps: scan(X, who, [e, 2 * e], [2, 3], streamed=s, progress=tell),
        ):
            calls: list[tuple[int, int]] = []
            function(lambda done, of, calls=calls: calls.append((done, of)))
            shares = [done / of for done, of in calls]
            assert len(shares) >= 10
            assert shares == sorted(shares)
            assert shares[-1] == 1


def peak(function: Callable[[], object]) -> int:
    """Return the largest amount of memory in use while a function runs, beyond that before."""
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamed, memory is a few times that of the points; kept, it is a bit per pair of points besides."""
    monkeypatch.setattr(near_points, "BLOCK", 512)
    monkeypatch.setattr(near_points, "has_bfloat16", lambda: False)  # torch's memory is not traced
    n = 20_000
    X, who = clustered(n, 16, n_centres=8, spread=0.2)
    assert cluster_shared(X, who, 0.1, 2).n_clusters >= 2
    streamed = peak(lambda: cluster_shared(X, who, 0.1, 2, streamed=True))
    kept = peak(lambda: cluster_shared(X, who, 0.1, 2))
    assert streamed < 6 * X.nbytes + 5 * 512**2 * 4 < n * n / 8 / 3
    assert kept - streamed < 1.2 * n * n / 16


# --- the second stage -------------------------------------------------------------------------------------------------


def restate_expansion(X: Array, who: Array, labels: Array, radius: float) -> list[int]:
    unit = [[value / math.sqrt(math.fsum(v * v for v in row)) for value in row] for row in X.astype(float).tolist()]
    found = labels.tolist()
    for i in np.flatnonzero(labels == NOISE):
        members = [j for j in range(len(X)) if who[j] == who[i] and labels[j] != NOISE]
        near = [(-math.fsum(a * b for a, b in zip(unit[i], unit[j], strict=True)), unit[j], j) for j in members]
        if near and 1 + min(near)[0] <= radius + 1e-12:
            found[i] = int(labels[min(near)[2]])
    return found


@pytest.mark.parametrize("radius", [0.05, 0.2, 0.35, 1.5])
def test_noise_joins_the_nearest_member_of_its_participant(radius: float, block: int) -> None:
    X, who = clustered()
    labels = expected(0, 0.1, 2).labels
    found = expand_within(X, who, labels, radius)
    assert found.dtype == np.int64
    assert found.tolist() == restate_expansion(X, who, labels, radius)
    assert (found != labels).any() == (radius > 0.1)  # eps: what is nearer to a member has joined, or is near no core
    order = np.random.default_rng(1).permutation(len(X))
    assert np.array_equal(expand_within(X[order], who[order], labels[order], radius), found[order])


def test_expansion_stays_within_the_participant_and_is_done_once() -> None:
    """On a circle: a member, its participant's points 0.1, 0.2 and 0.3 further on, and another participant's."""
    angle = np.array([0, 0.1, 0.2, 0.3, 0.1])
    X, who = np.stack([np.cos(angle), np.sin(angle)], axis=1), np.array([5, 5, 5, 5, 6])
    labels = np.array([3, -1, -1, -1, -1])
    assert expand_within(X, who, labels, 1 - np.cos(0.21)).tolist() == [3, 3, 3, -1, -1]
    assert labels.tolist() == [3, -1, -1, -1, -1]


def test_members_as_near_as_each_other_and_at_the_radius() -> None:
    X = np.array([[0, 5], [3, 4], [-3, 4], [-6, 8], [1, -7]])
    for labels, winner in (([-1, 0, 1, 1, 2], 1), ([-1, 1, 0, 0, 2], 0), ([-1, 0, 2, 1, 2], 1)):
        for order in itertools.permutations(range(5)):
            at = np.array(order)
            found = expand_within(X[at], np.zeros(5), np.array(labels)[at], 0.2)
            assert found[np.argsort(at)].tolist() == [winner, *labels[1:]]
    assert expand_within(X, np.zeros(5), [-1, 0, 1, 1, 2], 0.199).tolist() == [-1, 0, 1, 1, 2]


def test_nothing_to_expand() -> None:
    X, who = clustered(20)
    for labels in (np.full(20, NOISE), np.zeros(20, np.int32), np.where(who == 0, 0, NOISE)):
        outside = who != 0
        assert np.array_equal(expand_within(X, who, labels, 0.6)[outside], labels[outside])
    assert np.array_equal(expand_within(X, np.arange(20), np.arange(20) - 1, 1.9), np.arange(20) - 1)


def test_labels_that_do_not_fit() -> None:
    X, who = clustered(20)
    for labels in (np.zeros(19, int), np.zeros((20, 1), int), np.zeros(20), np.full(20, -2)):
        with pytest.raises(DatasetError, match="needs a cluster"):
            expand_within(X, who, labels, 0.5)


# --- scan -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_scan_is_as_many_clusterings(streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_points, "BLOCK", 64)
    X, who = clustered()
    eps_values, levels = [0.2, 0.05, 0.4], [3, 1, 2, 4, 2]
    rows = scan(X, who, eps_values, levels, streamed=streamed)
    assert [(row.eps, row.min_participants) for row in rows] == list(itertools.product(eps_values, levels))
    for row in rows:
        labels = cluster_shared(X, who, row.eps, row.min_participants).labels
        inside = [labels == k for k in range(labels.max() + 1)]
        having = [len(set(who[members])) for members in inside]
        expected_row = ScanRow(
            eps=row.eps,
            min_participants=row.min_participants,
            n_concepts=len(inside),
            share=float(np.mean(labels != NOISE)),
            mean_participants=float(np.mean(having)) if having else 0,
            fewest_participants=min(having, default=0),
            largest=max((float(members.mean()) for members in inside), default=0),
        )
        assert row == expected_row
    assert {row.n_concepts for row in rows} >= {0, 1, 2}


def test_scan_without_participants_or_values() -> None:
    X, who = clustered()
    (row,) = scan(X, None, [0.2], [3])
    labels = cluster_shared(X, None, 0.2, 3).labels
    sizes = np.bincount(labels[labels != NOISE])
    assert row.fewest_participants == sizes.min()
    assert row.mean_participants == pytest.approx(sizes.mean())
    assert row.largest == sizes.max() / len(X)
    assert scan(X, who, [], [1]) == []
    assert scan(X, who, [0.2], []) == []


def test_scan_takes_products_once_for_all_numbers_of_participants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_points, "BLOCK", 32)
    X, who = clustered()
    counted: list[int] = []
    products = near_points.Graph.products

    def count(graph: Any, rows: Any, columns: Any) -> Any:
        found = products(graph, rows, columns)
        counted.append(found.size)
        return found

    monkeypatch.setattr(near_points.Graph, "products", count)
    n_blocks = -(-len(X) // 32)
    for streamed in (False, True):
        counted.clear()
        scan(X, who, [0.2], [1, 2, 3, 4], streamed=streamed)
        half = (len(X) ** 2 + n_blocks * 32**2) / 2  # blocks of the diagonal are whole
        # Those of border points with core points come on top where bits are kept; streamed, all products come twice.
        assert sum(counted) <= (2 if streamed else 1.5) * half + n_blocks * 32**2


# --- concept vectors --------------------------------------------------------------------------------------------------


def test_concept_vectors_are_mean_directions(block: int) -> None:
    X, _ = clustered()
    labels = expected(0, 0.2, 2).labels
    found = concept_vectors(X, labels)
    assert found.dtype == np.float64
    for k in range(labels.max() + 1):
        members = X[labels == k].astype(np.float64)
        mean = np.mean([row / np.sqrt(row @ row) for row in members], axis=0)
        np.testing.assert_allclose(found[k], mean / np.sqrt(mean @ mean), atol=1e-12)


def test_concept_vectors_where_there_are_none() -> None:
    assert concept_vectors(np.ones((3, 2)), [NOISE] * 3).shape == (0, 2)
    np.testing.assert_allclose(concept_vectors([[3.0, 4], [1, 0]], [1, -1]), [[0, 0], [0.6, 0.8]])
    assert not concept_vectors([[1.0, 0], [-2, 0]], [0, 0]).any()
