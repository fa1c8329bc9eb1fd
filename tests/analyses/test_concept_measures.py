"""Measures of how far concepts can be trusted, against scikit-learn, NumPy and plain re-statements."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import adjusted_rand_score

from brainviz.analyses.concept_measures import (
    Agreement,
    agreement,
    best_matches,
    consistency,
    correlations,
    evidence_bins,
    map_weights,
    participant_vectors,
    sample_points,
    turned_at_random,
)
from brainviz.errors import DatasetError


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# --- agreement of clusterings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_scikit_learns_over_the_points_in_both(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.integers(-1, 4, 200)
    other = np.where(rng.random(200) < 0.6, one, rng.integers(-1, 5, 200))
    both = [i for i in range(200) if one[i] >= 0 and other[i] >= 0]
    either = [i for i in range(200) if one[i] >= 0 or other[i] >= 0]
    found = agreement(one, other)
    assert found.rand == pytest.approx(adjusted_rand_score(one[both], other[both]))
    assert found.overlap == len(both) / len(either)


def test_other_numbers_of_the_same_clusters_agree() -> None:
    assert agreement([0, 0, 1, 1, -1, 2], [2, 2, 0, 0, -1, 1]) == Agreement(1.0, 1.0)


def test_clusterings_without_common_points() -> None:
    apart, nothing = agreement([0, 0, -1], [-1, -1, 0]), agreement([-1, -1], [-1, -1])
    assert np.isnan(apart.rand)
    assert apart.overlap == 0
    assert np.isnan([nothing.rand, nothing.overlap]).all()
    with pytest.raises(DatasetError, match="other points"):
        agreement([0, 1], [0, 1, 1])


# --- participants -----------------------------------------------------------------------------------------------------


def test_a_participants_direction_is_the_mean_of_its_own_unit_vectors() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((60, 7)) * rng.uniform(0.1, 9, (60, 1))
    who, labels = rng.integers(0, 3, 60), rng.integers(-1, 4, 60)
    labels[(who == 1) & (labels == 2)] = -1
    found = participant_vectors(points, who, labels, 5)
    assert found.shape == (4, 5, 7)
    for concept, participant in itertools.product(range(4), range(5)):
        own = points[(who == participant) & (labels == concept)]
        if not len(own):
            assert np.isnan(found[concept, participant]).all()
        else:
            np.testing.assert_allclose(found[concept, participant], unit(unit(own).mean(axis=0)))
    assert np.isnan(found[2, 1]).all()
    assert np.isnan(found[:, 3:]).all()
    assert participant_vectors(points, who, np.full(60, -1), 3).shape == (0, 3, 7)


def test_consistency_is_the_cosine_with_the_mean_of_the_others() -> None:
    rng = np.random.default_rng(1)
    each = unit(rng.standard_normal((3, 4, 6)))
    each[1, 2] = np.nan
    each[2, 1:] = np.nan
    found = consistency(each)
    for concept, participant in itertools.product(range(3), range(4)):
        others = [each[concept, i] for i in range(4) if i != participant and np.isfinite(each[concept, i]).all()]
        if np.isnan(each[concept, participant]).any() or not others:
            assert np.isnan(found[concept, participant])
        else:
            expected = each[concept, participant] @ unit(np.mean(others, axis=0))
            assert found[concept, participant] == pytest.approx(expected)


def test_consistency_in_closed_form() -> None:
    same, right, angle = [1.0, 0.0], [0.0, 1.0], np.sqrt(0.5)
    found = consistency(np.array([[same, same, same], [same, same, right], [same, [-1.0, 0.0], right]]))
    np.testing.assert_allclose(found[:2], [[1, 1, 1], [angle, angle, 0]], atol=1e-12)
    # The others of the third cancel each other out: they have no direction.
    np.testing.assert_allclose(found[2], [-angle, -angle, np.nan], atol=1e-12)


def test_best_matches() -> None:
    np.testing.assert_allclose(best_matches(np.eye(3), [[0.0, 0.6, 0.8], [-1.0, 0.0, 0.0]]), [0, 0.6, 0.8])
    assert np.isnan(best_matches(np.eye(3), np.zeros((0, 3)))).all()
    assert len(best_matches(np.zeros((0, 3)), np.eye(3))) == 0


# --- chance -----------------------------------------------------------------------------------------------------------


def test_turned_vectors_keep_what_a_participant_has_and_lose_what_participants_share() -> None:
    rng = np.random.default_rng(6)
    shared = rng.standard_normal((40, 64))
    vectors, who = np.tile(shared, (3, 1)), np.repeat([0, 1, 2], 40)
    turned = turned_at_random(vectors, who, seed=1)
    for participant in range(3):
        own = turned[who == participant].astype(np.float64)
        np.testing.assert_allclose(own @ own.T, shared @ shared.T, atol=1e-3)
    unit = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    across = (unit[:40] * unit[40:80]).sum(axis=1)
    assert abs(across.mean()) < 4 / np.sqrt(40 * 64)
    np.testing.assert_array_equal(turned, turned_at_random(vectors, who, seed=1))
    assert np.abs(turned - turned_at_random(vectors, who, seed=2)).max() > 0.1


def test_a_single_cluster_says_nothing_of_agreement() -> None:
    one, two = np.zeros(9, int), np.array([0, 0, 0, 1, 1, 1, -1, -1, -1])
    assert np.isnan(agreement(one, one).rand)
    assert np.isnan(agreement(one, two).rand)
    assert (agreement(two, two).rand, agreement(one, one).overlap) == (1, 1)


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_correlations_are_numpys_over_the_known_columns() -> None:
    rng = np.random.default_rng(2)
    one = rng.standard_normal((5, 40))
    other = one + rng.standard_normal((5, 40))
    other[:, ::3] = np.nan
    one[0, 1] = np.nan
    other[3, 1:] = np.nan
    one[4] = 2.0
    found = correlations(one, other)
    for row in range(3):
        known = [i for i in range(40) if np.isfinite(one[row, i]) and np.isfinite(other[row, i])]
        assert found[row] == pytest.approx(np.corrcoef(one[row, known], other[row, known])[0, 1])
    assert np.isnan(found[3:]).all()
    assert correlations(np.zeros((0, 9)), np.zeros((0, 9))).shape == (0,)


def test_evidence_bins_hold_pictures_of_neighbouring_ranks() -> None:
    rng = np.random.default_rng(3)
    similarity = rng.permutation(np.linspace(-1, 1, 55))
    evidence = np.where(np.arange(55) % 5 == 0, np.nan, similarity**3)
    known = sorted((i for i in range(55) if i % 5), key=lambda i: -similarity[i])
    bins = evidence_bins(similarity, evidence, 8)
    sizes = [11, 11, 11, 11]
    assert [each.n for each in bins] == sizes
    start = 0
    for each, size in zip(bins, sizes, strict=True):
        values = evidence[known[start : start + size]]
        assert each.value == pytest.approx(values.mean())
        assert each.share == pytest.approx((start + size / 2) / 44)
        reach = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (each.low, each.high) == pytest.approx((reach.low, reach.high))
        start += size
    assert [each.n for each in evidence_bins(similarity, evidence, 8, least=1)] == [6, 6, 6, 6, 5, 5, 5, 5]


def test_the_interval_of_a_bin_is_the_one_theory_says() -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal(2000)
    (only,) = evidence_bins(np.zeros(2000), values, 1)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (only.high - only.low) / 2 == pytest.approx(half, rel=0.1)
    assert (only.share, only.n) == (0.5, 2000)


def test_few_pictures_make_few_bins() -> None:
    (both,) = evidence_bins([3.0, 2.0, 1.0], [0.3, np.nan, 0.1])
    assert (both.n, both.value) == (2, pytest.approx(0.2))
    assert np.isnan([both.low, both.high]).all()  # two pictures tell nothing of how much they scatter
    assert evidence_bins([1.0, 2.0], [np.nan, np.nan]) == []
    assert evidence_bins([], []) == []


# --- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_members", "n_others", "n", "expected"),
    [(50, 1000, 100, (50, 50)), (10, 1000, 100, (10, 90)), (300, 40, 200, (160, 40)), (30, 20, 500, (30, 20))],
)
def test_a_sample_is_half_members_as_far_as_there_are_so_many(
    n_members: int, n_others: int, n: int, expected: tuple[int, int]
) -> None:
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat([3, -1], [n_members, n_others]))
    drawn = sample_points(labels, n, rng)
    assert (np.diff(drawn) > 0).all()
    assert ((labels[drawn] == 3).sum(), (labels[drawn] == -1).sum()) == expected


@pytest.mark.slow
def test_the_map_keeps_groups_apart_and_is_the_same_each_time() -> None:
    rng = np.random.default_rng(6)
    centres = unit(rng.standard_normal((3, 20)))
    group = np.repeat(range(3), 15)
    points = (centres[group] + 0.05 * rng.standard_normal((45, 20))) * rng.uniform(0.1, 10, (45, 1))
    places = map_weights(points, n_neighbors=10, seed=1)
    assert (places.shape, places.dtype) == ((45, 2), np.float32)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(45)
    assert (group[apart.argmin(axis=1)] == group).all()
    np.testing.assert_array_equal(places, map_weights(points, n_neighbors=10, seed=1))
    assert map_weights(points[:5]).shape == (5, 2)


def test_a_map_needs_points() -> None:
    with pytest.raises(DatasetError, match="more points"):
        map_weights(np.eye(3))
