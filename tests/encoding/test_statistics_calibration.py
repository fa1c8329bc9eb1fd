"""Whether intervals and tests keep their promise: simulated experiments whose population r is known in closed form.

An experiment is a ROI: n images drawn at random, fixed predictors, and v vertices with a signal of 20 features, whose
tuning and noise are partly shared. ``measured = rho s + sqrt(1 - rho^2) e``, ``predicted = c s + sqrt(1 - c^2) d``
with signal s, error d and noise e of variance 1, all independent: the population r is ``rho c``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom

from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.statistics import bootstrap_r, bootstrap_weights, interval, permutation_test

FEATURES = 20

#: How unlikely a count must be before a test fails.
UNLIKELY = 1e-4


@dataclass
class Experiments:
    """Predictions and responses of E experiments side by side, (n, E * v), and both population r, (E, v)."""

    first: np.ndarray
    second: np.ndarray
    measured: np.ndarray
    truth: tuple[np.ndarray, np.ndarray]

    @property
    def areas(self) -> list[np.ndarray]:
        return list(np.arange(self.truth[0].size).reshape(self.truth[0].shape))

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Return the mean over each experiment's vertices; `values` (..., E * v)."""
        return values.reshape(*values.shape[:-1], *self.truth[0].shape).mean(-1, dtype=np.float64)


def _experiments(
    seed: int,
    n: int,
    count: int,
    v: int,
    shared: float,
    quality: tuple[float, float] | None = None,
    *,
    heavy: bool = False,
    uneven: bool = False,
    repeated: bool = False,
) -> Experiments:
    """Simulate `count` experiments of n images and v vertices, of whose variance the part `shared` is in common.

    `quality` gives c of both methods, else it is drawn per vertex; with `uneven`, vertices differ, by as much up in the
    one method as down in the other. `heavy` draws from Student's t (6) in place of the normal distribution. `repeated`
    shows every picture twice.
    """
    rng = np.random.default_rng([seed, n, count, v])

    def draw(*shape: int) -> np.ndarray:
        values = rng.standard_t(6, shape) * np.sqrt(4 / 6) if heavy else rng.standard_normal(shape)
        return values.astype(np.float32)

    def in_part_common(*shape: int) -> np.ndarray:
        return np.sqrt(shared) * draw(*shape[:-1], 1) + np.sqrt(1 - shared) * draw(*shape)

    def tuning() -> np.ndarray:
        weights = in_part_common(count, FEATURES, v)
        return weights / np.linalg.norm(weights, axis=-2, keepdims=True)

    pictures = n // 2 if repeated else n
    signal = draw(count, pictures, FEATURES) @ tuning()
    errors = [draw(count, pictures, FEATURES) @ tuning() for _ in range(2)]
    if repeated:
        signal, *errors = (np.repeat(each, 2, axis=1) for each in (signal, *errors))
    noise = in_part_common(count, n, v)
    rho = rng.uniform(0.3, 0.7, (count, 1, v))
    c = rng.uniform(0.6, 1.0, (2, count, 1, v)) if quality is None else np.empty((2, count, 1, v))
    if quality is not None:
        rho = np.full_like(rho, 0.6)
        c[0], c[1] = quality
    if uneven:
        step = rng.uniform(-0.2, 0.2, (count, 1, v))
        step -= step.mean(-1, keepdims=True)
        c += np.stack([step, -step])
    measured = rho * signal + np.sqrt(1 - rho**2) * noise
    first, second = (each * signal + np.sqrt(1 - each**2) * error for each, error in zip(c, errors, strict=True))

    def side_by_side(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values.transpose(1, 0, 2).reshape(n, -1), np.float32)

    truth = (rho * c[0])[:, 0], (rho * c[1])[:, 0]
    return Experiments(side_by_side(first), side_by_side(second), side_by_side(measured), truth)


def _misses(n: int, count: int, v: int, shared: float, *, rounds: int, resamples: int = 1000, **other: bool) -> dict:
    """Count truths below and above the interval: bias-corrected of mean r, and percentile of mean r and difference."""
    found = {name: np.zeros(2, int) for name in ("r", "r, percentile", "difference")}
    for seed in range(rounds):
        data = _experiments(seed, n, count, v, shared, **other)
        weights = bootstrap_weights(n, resamples, seed)
        first, second = (data.mean(bootstrap_r(each, data.measured, weights)) for each in (data.first, data.second))
        estimate = data.mean(pearson_r(data.first, data.measured))
        truth, truth_second = (each.mean(1) for each in data.truth)
        for name, truths, (low, high) in (
            ("r", truth, interval(first, estimate=estimate)),
            ("r, percentile", truth, interval(first)),
            ("difference", truth - truth_second, interval(first - second)),
        ):
            found[name] += [np.count_nonzero(truths < low), np.count_nonzero(truths > high)]
    return found


def _rejections(n: int, count: int, v: int, shared: float, *, rounds: int, permutations: int, **other) -> int:
    """Count experiments with p <= 0.05."""
    total = 0
    for seed in range(rounds):
        data = _experiments(seed, n, count, v, shared, **other)
        groups = np.repeat(np.arange(n // 2), 2) if other.get("repeated") else None
        outcome = permutation_test(
            data.first,
            data.second,
            data.measured,
            data.areas,
            n_permutations=permutations,
            seed=seed,
            groups=groups,
        )
        total += np.count_nonzero(outcome.p <= 0.05)
    return total


def _assert_rate(count: int, of: int, low: float, high: float) -> None:
    """Fail if the count is unlikely for every rate from `low` to `high`."""
    assert binom.cdf(count, of, low) > UNLIKELY, f"{count} of {of} ({count / of:.4f}) is less than a rate of {low}"
    assert binom.sf(count - 1, of, high) > UNLIKELY, f"{count} of {of} ({count / of:.4f}) is more than {high}"


# --- quick ------------------------------------------------------------------------------------------------------------


def test_intervals_cover_the_truth_about_19_times_in_20() -> None:
    found = _misses(150, 250, 20, 0.5, rounds=4, resamples=300)
    for name in ("r", "difference"):
        _assert_rate(sum(found[name]), 1000, 0.04, 0.065)
        assert min(found[name]) > 8  # of 25 expected on each side


def test_intervals_of_single_vertices_cover_the_truth() -> None:
    found = _misses(150, 2000, 1, 0.0, rounds=2, resamples=400)
    for name in ("r", "difference"):
        _assert_rate(sum(found[name]), 4000, 0.045, 0.06)


def test_two_equally_good_methods_are_told_apart_once_in_20() -> None:
    rejected = _rejections(100, 250, 10, 0.5, rounds=6, permutations=199, quality=(0.7, 0.7))
    _assert_rate(rejected, 1500, 0.045, 0.055)


def test_a_better_method_is_found() -> None:
    # At 100 images, .10 in r: about 9 times in 10.
    rejected = _rejections(100, 100, 10, 0.3, rounds=1, permutations=199, quality=(0.85, 0.68))
    assert rejected > 75


# --- slow -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("v", [1, 50, 400])
@pytest.mark.parametrize("n", [100, 200, 1000])
def test_coverage(n: int, v: int, shared: float) -> None:
    """Bias-corrected intervals of mean r, and percentile intervals of differences, miss between 4 and 7 % of truths."""
    count = {1: 2000, 50: 50, 400: 10}[v]
    rounds = max(2, {1: 4, 50: 20, 400: 40}[v] // (5 if n == 1000 else 1))
    found = _misses(n, count, v, shared, rounds=rounds)
    total = count * rounds
    text = {
        name: f"{1 - sum(each) / total:.3f} (below {each[0] / total:.3f}, above {each[1] / total:.3f})"
        for name, each in found.items()
    }
    print(f"\n{n} images, {v} vertices, {shared} of the variance shared, {total} experiments: {text}")
    for name in ("r", "difference"):
        _assert_rate(sum(found[name]), total, 0.04, 0.07)


@pytest.mark.slow
def test_the_percentile_interval_of_a_mean_over_many_vertices_lies_too_low() -> None:
    """Why `interval` takes the estimate: at 100 images and 400 vertices with noise of their own."""
    found = _misses(100, 10, 400, 0.0, rounds=60)
    print(f"\nof 600: {found}")
    assert found["r, percentile"][1] > 3 * found["r, percentile"][0]
    assert sum(found["r"]) < sum(found["r, percentile"])


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize(
    "how",
    [{"v": 1}, {"v": 20}, {"v": 200}, {"v": 20, "uneven": True}, {"v": 20, "heavy": True}, {"v": 20, "repeated": True}],
)
def test_type_one_error(n: int, how: dict) -> None:
    """Between 4 and 6.5 % at the level 0.05 (the two z-scores make the test approximate at 30 images)."""
    count = {1: 1000, 20: 100, 200: 25}[how["v"]]
    rounds = {1: 4, 20: 30, 200: 60}[how["v"]] // (3 if n == 300 else 1)
    rejected = _rejections(
        n, count, shared=0.5 * (how["v"] > 1), rounds=max(1, rounds), permutations=499, quality=(0.7, 0.7), **how
    )
    total = count * max(1, rounds)
    print(f"\n{n} images, {how}: {rejected} of {total} rejected ({rejected / total:.4f})")
    _assert_rate(rejected, total, 0.04, 0.065)


@pytest.mark.slow
def test_equal_pictures_that_are_taken_for_different_ones_cost_the_level() -> None:
    """Why `groups`: shown twice and exchanged one by one, pictures reject too often."""
    rejected, total = 0, 0
    for seed in range(30):
        data = _experiments(seed, 100, 100, 20, 0.0, quality=(0.7, 0.7), repeated=True)
        rejected += np.count_nonzero(
            permutation_test(data.first, data.second, data.measured, data.areas, n_permutations=199).p <= 0.05
        )
        total += 100
    print(f"\n{rejected} of {total}")
    assert binom.sf(rejected - 1, total, 0.055) < UNLIKELY


@pytest.mark.slow
@pytest.mark.parametrize(("difference", "least"), [(0.03, 0.12), (0.06, 0.55), (0.12, 0.99)])
def test_power(difference: float, least: float) -> None:
    """Mean r .36 + difference against .36, 200 images, 20 vertices."""
    rejected = _rejections(200, 100, 20, 0.3, rounds=5, permutations=499, quality=(0.6 + difference / 0.6, 0.6))
    print(f"\ndifference {difference}: {rejected} of 500 found")
    assert rejected / 500 > least


@pytest.mark.slow
def test_resampled_shares_of_vertices_improved_are_drawn_towards_one_half() -> None:
    """Why there is no bootstrap interval of the share: all vertices are truly improved, and it says so of none."""
    missed, above = 0, 0
    for seed in range(10):
        data = _experiments(seed, 200, 10, 200, 0.0, quality=(0.75, 0.65))
        weights = bootstrap_weights(200, 500, seed)
        first, second = (bootstrap_r(each, data.measured, weights) for each in (data.first, data.second))
        shares = data.mean((first > second).astype(np.float32))
        observed = data.mean(pearson_r(data.first, data.measured) > pearson_r(data.second, data.measured))
        missed += np.count_nonzero(interval(shares)[1] < 1)
        above += np.count_nonzero(observed > shares.mean(0))
    print(
        f"\n{missed} of 100 intervals end below the true share, {above} observed shares lie above the replicates' mean"
    )
    assert above > 90
    assert missed > 90
