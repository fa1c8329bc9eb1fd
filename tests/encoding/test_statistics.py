"""Bootstrap, intervals, permutation test, false discovery and spread, against explicit loops, scipy and enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from brainviz.encoding import statistics
from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.statistics import (
    bootstrap_r,
    bootstrap_weights,
    false_discovery,
    interval,
    permutation_test,
    spread,
)
from brainviz.errors import DatasetError, SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def _correlated(n: int, v: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two methods' predictions and the responses, (n, v) each."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, v))
    first, second, measured = (signal + c * rng.standard_normal((n, v)) for c in (1.0, 0.6, 0.9))
    return first, second, measured


# --- bootstrap --------------------------------------------------------------------------------------------------------


def test_weights_count_draws_with_replacement() -> None:
    weights = bootstrap_weights(50, 4000, seed=1)
    assert weights.shape == (4000, 50)
    assert weights.dtype == np.float32
    np.testing.assert_array_equal(weights, np.round(weights))
    np.testing.assert_array_equal(weights.sum(1), 50)
    # A count is binomial(50, 1/50); its mean over 4000 resamples has a standard error of 0.016, its variance 0.04.
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.08)
    np.testing.assert_allclose(weights.var(0), 1 - 1 / 50, atol=0.2)


def test_weights_depend_on_the_seed_only_and_begin_alike() -> None:
    weights = bootstrap_weights(30, 20, seed=3)
    np.testing.assert_array_equal(bootstrap_weights(30, 20, seed=3), weights)
    np.testing.assert_array_equal(bootstrap_weights(30, 7, seed=3), weights[:7])
    assert np.any(bootstrap_weights(30, 20, seed=4) != weights)


def test_equal_pictures_are_drawn_together() -> None:
    groups = np.array(["a", "b", "a", "c", "d", "b", "a"])
    weights = bootstrap_weights(7, 500, seed=0, groups=groups)
    for name in "ab":
        np.testing.assert_array_equal(np.ptp(weights[:, groups == name], axis=1), 0)
    np.testing.assert_array_equal(weights[:, [0, 1, 3, 4]].sum(1), 4)  # four groups, four draws
    relabelled = np.array([1, 5, 1, 7, 9, 5, 1])
    np.testing.assert_array_equal(bootstrap_weights(7, 500, seed=0, groups=relabelled), weights)


@pytest.mark.parametrize(
    ("n", "count", "groups"), [(1, 5, None), (5, 0, None), (5, 5, np.zeros(4)), (5, 5, np.zeros((5, 1)))]
)
def test_weights_refuse_what_cannot_be_drawn(n: int, count: int, groups: np.ndarray | None) -> None:
    with pytest.raises(SpecError):
        bootstrap_weights(n, count, 0, groups)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bootstrap_r_is_pearson_r_of_the_images_that_were_drawn(dtype: type, device: str) -> None:
    predicted, _, measured = (values.astype(dtype) for values in _correlated(60, 9))
    weights = bootstrap_weights(60, 25, seed=0)
    replicates = bootstrap_r(predicted, measured, weights, device=device)
    assert replicates.shape == (25, 9)
    assert replicates.dtype == np.float32
    for row, counts in zip(replicates, weights.astype(int), strict=True):
        drawn = np.repeat(np.arange(60), counts)
        np.testing.assert_allclose(row, pearson_r(predicted[drawn], measured[drawn]), atol=1e-5)


def test_weights_of_one_give_pearson_r_whatever_offset_and_scale() -> None:
    predicted, _, measured = _correlated(1350, 40)
    predicted, measured = 1e-6 * predicted + 1e3, 1e6 * measured - 1e9
    replicates = bootstrap_r(predicted, measured, np.ones((1, 1350), np.float32))
    np.testing.assert_allclose(replicates[0], pearson_r(predicted, measured), atol=1e-5)


def test_bootstrap_r_does_not_depend_on_blocks_and_takes_memory_maps(tmp_path, monkeypatch) -> None:
    predicted, _, measured = (values.astype(np.float32) for values in _correlated(20, 11))
    weights = bootstrap_weights(20, 30, seed=0)
    whole = bootstrap_r(predicted, measured, weights)
    np.save(tmp_path / "a.npy", predicted)
    np.save(tmp_path / "b.npy", np.asfortranarray(measured))
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("a.npy", "b.npy")]
    monkeypatch.setattr(statistics, "VALUES_PER_BLOCK", 5 * 30 * 3)
    np.testing.assert_allclose(bootstrap_r(*mapped, weights), whole, atol=1e-6)


def test_bootstrap_r_is_nan_where_nothing_varies() -> None:
    predicted, _, measured = _correlated(12, 5)
    predicted[:, 1] = 0.1
    measured[3, 2] = np.nan
    measured[:, 3] = 0.0
    measured[0, 3] = 1.0  # one image with a response: constant in every resample without it
    weights = bootstrap_weights(12, 300, seed=0)
    undefined = np.isnan(bootstrap_r(predicted, measured, weights))
    np.testing.assert_array_equal(undefined[:, [0, 1, 2, 4]], np.tile([False, True, True, False], (300, 1)))
    np.testing.assert_array_equal(undefined[:, 3], weights[:, 0] == 0)


def test_bootstrap_r_refuses_what_does_not_fit() -> None:
    weights = np.ones((2, 5), np.float32)
    with pytest.raises(DatasetError, match="do not match"):
        bootstrap_r(np.zeros((5, 2)), np.zeros((5, 3)), weights)
    with pytest.raises(SpecError, match="do not fit the images"):
        bootstrap_r(np.zeros((6, 2)), np.zeros((6, 2)), weights)


# --- intervals --------------------------------------------------------------------------------------------------------


def test_percentile_interval_is_numpys_nanquantile(monkeypatch) -> None:
    replicates = np.random.default_rng(0).standard_normal((101, 3, 4))
    replicates[:40, 1, 2] = np.nan
    replicates[1:, 2, 0] = np.nan
    for level in (0.95, 0.5):
        expected = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
        np.testing.assert_allclose(interval(replicates, level), expected, atol=1e-12)
        monkeypatch.setattr(statistics, "VALUES_PER_BLOCK", 202)
        np.testing.assert_allclose(interval(replicates, level), expected, atol=1e-12)
    low, high = interval(replicates[:, 0, 0])
    assert low.shape == ()
    assert low < high


def test_bias_corrected_interval_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    replicates = rng.gamma(2.0, size=(2000, 3))
    estimate = np.array([1.2, 1.7, 3.0])
    low, high = interval(replicates, 0.9, estimate=estimate)
    for j in range(3):
        z0 = stats.norm.ppf(np.mean(replicates[:, j] < estimate[j]))
        shares = stats.norm.cdf(2 * z0 + stats.norm.ppf([0.05, 0.95]))
        np.testing.assert_allclose((low[j], high[j]), np.quantile(replicates[:, j], shares), rtol=1e-9)


def test_interval_around_the_median_needs_no_correction() -> None:
    replicates = np.random.default_rng(2).standard_normal((999, 5)).astype(np.float32)
    np.testing.assert_allclose(interval(replicates, estimate=np.median(replicates, axis=0)), interval(replicates))


def test_intervals_of_nothing() -> None:
    replicates = np.full((50, 3), np.nan)
    replicates[:, 1] = 0.4
    low, high = interval(replicates, estimate=np.array([0.1, 0.4, np.nan]))
    np.testing.assert_allclose(low, [np.nan, 0.4, np.nan])
    np.testing.assert_allclose(high, [np.nan, 0.4, np.nan])
    replicates[:, 2] = np.arange(50)
    assert np.isnan(interval(replicates, estimate=np.array([0.1, 0.4, np.nan]))[0][2])
    np.testing.assert_allclose(interval(replicates, estimate=np.array([0, 0.4, 1e6]))[1][1:], [0.4, 49])


@pytest.mark.parametrize(
    ("replicates", "level", "estimate"),
    [
        (np.zeros((0, 2)), 0.95, None),
        (np.zeros(3), 1.0, None),
        (np.float64(1), 0.9, None),
        (np.zeros((3, 2)), 0.9, 1.0),
    ],
)
def test_interval_refuses(replicates: np.ndarray, level: float, estimate: float | None) -> None:
    with pytest.raises(SpecError):
        interval(replicates, level, estimate=estimate)


# --- permutation test -------------------------------------------------------------------------------------------------


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def _every_exchange(first, second, measured, patterns) -> np.ndarray:
    """Return mean r_first - mean r_second for every 0/1 pattern over the images, exchanged one by one."""
    first, second = _standardise(first), _standardise(second)
    statistic = []
    for pattern in patterns:
        one = np.where(np.array(pattern)[:, None] == 1, second, first)
        other = np.where(np.array(pattern)[:, None] == 1, first, second)
        statistic.append(pearson_r(one, measured).mean() - pearson_r(other, measured).mean())
    return np.array(statistic)


@pytest.mark.parametrize("device", DEVICES)
def test_p_is_that_of_every_possible_exchange(device: str) -> None:
    first, second, measured = _correlated(10, 4, seed=5)
    exact = _every_exchange(first, second, measured, product((0, 1), repeat=10))
    outcome = permutation_test(first, second, measured, [np.arange(4)], n_permutations=20_000, seed=0, device=device)
    p = np.mean(np.abs(exact) >= abs(exact[0]) - 1e-9)
    assert 0.02 < p < 0.98
    assert outcome.p[0] == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / 20_000))
    assert outcome.difference[0] == pytest.approx(exact[0], abs=1e-6)


def test_p_is_scipys_for_one_vertex() -> None:
    first, second, measured = _correlated(9, 1, seed=2)
    both = np.concatenate([_standardise(first), _standardise(second)])[:, 0]

    def statistic(one, other):  # of the numbers of the predictions, which is what scipy exchanges
        return stats.pearsonr(both[one], measured[:, 0])[0] - stats.pearsonr(both[other], measured[:, 0])[0]

    exact = stats.permutation_test(
        (np.arange(9), np.arange(9, 18)), statistic, permutation_type="samples", vectorized=False, n_resamples=np.inf
    )
    outcome = permutation_test(first, second, measured, [np.array([0])], n_permutations=20_000)
    assert outcome.p[0] == pytest.approx(exact.pvalue, abs=0.02)
    assert outcome.difference[0] == pytest.approx(exact.statistic, abs=1e-6)


def test_equal_pictures_are_exchanged_together() -> None:
    first, second, measured = _correlated(8, 3, seed=9)
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    patterns = [np.array(each)[groups] for each in product((0, 1), repeat=3)]
    exact = _every_exchange(first, second, measured, patterns)
    p = np.mean(np.abs(exact) >= abs(exact[0]) - 1e-9)
    outcome = permutation_test(first, second, measured, [np.arange(3)], n_permutations=20_000, groups=groups)
    assert outcome.p[0] == pytest.approx(p, abs=0.02)
    assert outcome.p[0] > 1 / 8  # the identity and its mirror image alone are two of eight patterns


def test_areas_are_tested_each_for_itself_whatever_the_blocks(monkeypatch) -> None:
    first, second, measured = _correlated(40, 30, seed=3)
    rng = np.random.default_rng(0)
    areas = [np.arange(30), rng.permutation(30)[:7], np.array([3]), np.array([29, 3, 11])]
    whole = permutation_test(first, second, measured, areas, n_permutations=300, seed=2)
    expected = pearson_r(first, measured) - pearson_r(second, measured)
    np.testing.assert_allclose(whole.difference, [expected[area].mean() for area in areas], atol=1e-6)
    for number, area in enumerate(areas):
        alone = permutation_test(first, second, measured, [area], n_permutations=300, seed=2)
        assert alone.p[0] == whole.p[number]
    monkeypatch.setattr(statistics, "VALUES_PER_BLOCK", 3 * 301 * 4)
    again = permutation_test(first, second, measured, areas, n_permutations=300, seed=2)
    np.testing.assert_array_equal(again.p, whole.p)
    np.testing.assert_allclose(again.difference, whole.difference, atol=1e-9)
    assert np.any(permutation_test(first, second, measured, areas, n_permutations=300, seed=3).p != whole.p)


def test_scale_and_offset_of_a_prediction_do_not_matter() -> None:
    first, second, measured = _correlated(50, 6, seed=4)
    plain = permutation_test(first, second, measured, [np.arange(6)], n_permutations=200)
    scaled = permutation_test(1e-3 * first + 70, 1e4 * second, 3 - 2 * measured, [np.arange(6)], n_permutations=200)
    np.testing.assert_allclose(scaled.difference, -plain.difference, atol=1e-6)
    np.testing.assert_array_equal(scaled.p, plain.p)


def test_a_better_method_gets_the_smallest_p_and_an_equal_one_the_largest() -> None:
    rng = np.random.default_rng(6)
    measured = rng.standard_normal((120, 8))
    good = measured + 0.5 * rng.standard_normal((120, 8))
    poor = measured + 3.0 * rng.standard_normal((120, 8))
    areas = [np.arange(8)]
    outcome = permutation_test(good, poor, measured, areas, n_permutations=199)
    assert outcome.p[0] == 1 / 200  # (1 + 0) / (1 + 199)
    assert outcome.difference[0] > 0.3
    assert permutation_test(poor, good, measured, areas, n_permutations=199).difference == -outcome.difference
    same = permutation_test(good, 2 * good + 1, measured, areas, n_permutations=199)
    assert same.p[0] == 1
    assert same.difference[0] == pytest.approx(0, abs=1e-6)


def test_vertices_that_one_method_lacks_are_left_out_of_both() -> None:
    first, second, measured = _correlated(30, 6, seed=7)
    kept = permutation_test(first, second, measured, [np.array([0, 4, 5])], n_permutations=100)
    first[:, 1], second[7, 2], measured[:, 3] = 0.3, np.nan, -1.0
    areas = [np.arange(6), np.array([1, 2]), np.array([], np.int64)]
    outcome = permutation_test(first, second, measured, areas, n_permutations=100)
    np.testing.assert_allclose(outcome.difference, [kept.difference[0], np.nan, np.nan])
    np.testing.assert_allclose(outcome.p, [kept.p[0], np.nan, np.nan])


def test_permutation_test_refuses() -> None:
    values = np.random.default_rng(0).standard_normal((6, 3))
    areas = [np.arange(3)]
    with pytest.raises(DatasetError):
        permutation_test(values, values[:, :2], values, areas)
    with pytest.raises(DatasetError):
        permutation_test(values[:5], values, values, areas)
    with pytest.raises(SpecError, match="columns from 0 to 2"):
        permutation_test(values, values, values, [np.array([3])])
    with pytest.raises(SpecError, match="0 permutations"):
        permutation_test(values, values, values, areas, n_permutations=0)
    with pytest.raises(SpecError, match="one group per image"):
        permutation_test(values, values, values, areas, groups=np.zeros(5))
    assert permutation_test(values, values, values, []).p.shape == (0,)


# --- over ROIs and subjects -------------------------------------------------------------------------------------------


def test_false_discovery_counted_by_hand() -> None:
    # Sorted .01 .02 .03 .5: times 4/rank is .04 .04 .04 .5; each takes the smallest at its rank or above.
    np.testing.assert_allclose(false_discovery([0.03, np.nan, 0.5, 0.01, 0.02]), [0.04, np.nan, 0.5, 0.04, 0.04])
    np.testing.assert_allclose(false_discovery([0.04, 0.005]), [0.04, 0.01])
    np.testing.assert_array_equal(false_discovery([np.nan]), [np.nan])
    assert false_discovery([]).shape == (0,)


def test_spread_is_the_t_interval() -> None:
    values = [0.31, 0.4, np.nan, 0.28, 0.37]
    found = spread(values, 0.9)
    expected = stats.ttest_1samp(np.array(values)[[0, 1, 3, 4]], 0).confidence_interval(0.9)
    assert (found.n, found.mean) == (4, pytest.approx(0.34))
    assert found.sd == pytest.approx(np.std([0.31, 0.4, 0.28, 0.37], ddof=1))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_spread_of_one_or_none() -> None:
    one, none = spread([0.3, np.nan]), spread([np.nan])
    assert (one.n, one.mean) == (1, 0.3)
    assert np.isnan([one.sd, one.low, one.high, none.mean, none.sd, none.low]).all()
    assert none.n == 0
