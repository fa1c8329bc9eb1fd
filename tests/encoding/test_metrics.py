"""Pearson r, noise ceilings and scores against scipy, closed forms and hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from brainviz.encoding import metrics
from brainviz.encoding.metrics import algonauts_score, noise_ceiling, pearson_r, share_improved
from brainviz.errors import DatasetError, SpecError


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pearson_r_is_scipys(dtype: type) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((50, 7)).astype(dtype)
    b = (a + rng.standard_normal((50, 7))).astype(dtype)
    expected = [pearsonr(a[:, j].astype(float), b[:, j].astype(float)).statistic for j in range(7)]
    np.testing.assert_allclose(pearson_r(a, b), expected, rtol=1e-12)


def test_pearson_r_survives_large_offsets_and_scales() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 40, 3))
    np.testing.assert_allclose(pearson_r(a * 1e-6 + 1e3, b * 1e6 - 1e9), pearson_r(a, b), atol=1e-6)


def test_pearson_r_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 20, 11))
    whole = pearson_r(a, b)
    monkeypatch.setattr(metrics, "COLUMNS_PER_BLOCK", 3)
    np.testing.assert_array_equal(pearson_r(a, b), whole)


def test_a_constant_column_is_nan_and_leaves_the_others_alone() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 30, 4)).astype(np.float32)
    a[:, 1] = 0.1  # not exactly representable: the mean differs from it by rounding
    b[:, 2] = 1e8
    b[4, 3] = np.nan
    np.testing.assert_array_equal(np.isnan(pearson_r(a, b)), [False, True, True, True])


def test_pearson_r_of_a_column_with_itself_is_one() -> None:
    a = np.random.default_rng(4).standard_normal((9, 100))
    np.testing.assert_allclose(pearson_r(a, -3 * a + 2), -1.0, rtol=1e-12)
    assert pearson_r(a, a).max() <= 1.0


@pytest.mark.parametrize("shapes", [((5, 2), (5, 3)), ((5,), (5,)), ((1, 2), (1, 2))])
def test_pearson_r_refuses_what_it_cannot_correlate(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(DatasetError):
        pearson_r(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_noise_ceiling_closed_forms() -> None:
    # One trial per image: snr^2 / (snr^2 + 1); three: snr^2 / (snr^2 + 1/3); mixed, as counts or listed.
    snr = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(noise_ceiling(snr, 1), [0, 1 / 2, 4 / 5])
    np.testing.assert_allclose(noise_ceiling(snr, 3), [0, 3 / 4, 12 / 13])
    t = (5 / 3 + 3 / 2 + 2) / 10
    expected = snr**2 / (snr**2 + t)
    np.testing.assert_allclose(noise_ceiling(snr, {3: 5, 2: 3, 1: 2}), expected)
    np.testing.assert_allclose(noise_ceiling(snr, [3] * 5 + [2] * 3 + [1] * 2), expected)


def test_noise_ceiling_is_the_explainable_variance_of_averaged_trials() -> None:
    rng = np.random.default_rng(5)
    signal_sd, noise_sd, n = 0.7, 1.1, 200_000
    signal = signal_sd * rng.standard_normal(n)
    average = signal + noise_sd * rng.standard_normal((3, n)).mean(axis=0)
    explained = np.corrcoef(signal, average)[0, 1] ** 2
    np.testing.assert_allclose(noise_ceiling([signal_sd / noise_sd], 3), [explained], atol=0.005)


@pytest.mark.parametrize(("ncsnr", "repeats"), [([-1.0], 3), ([np.inf], 3), ([1.0], 0), ([1.0], []), ([1.0], {3: 0})])
def test_noise_ceiling_refuses_impossible_values(ncsnr: list[float], repeats: object) -> None:
    with pytest.raises(DatasetError):
        noise_ceiling(ncsnr, repeats)  # type: ignore[arg-type]


def test_algonauts_score_counted_by_hand() -> None:
    score = algonauts_score([0.5, -0.3, 0.9, 0.4, np.nan, 0.2], [0.5, 0.4, 0.5, 0.0, 0.5, np.nan])
    np.testing.assert_allclose(score.per_vertex, [50.0, 0.0, 100.0, np.nan, 0.0, np.nan])
    assert float(score) == score.mean == pytest.approx(150 / 4)
    assert (score.n_excluded, score.n_undefined) == (2, 1)


def test_algonauts_score_without_any_ceiling_is_nan() -> None:
    score = algonauts_score([0.5], [0.0])
    assert np.isnan(float(score))
    assert score.n_excluded == 1


@pytest.mark.parametrize(("r", "ceiling"), [([0.1, 0.2], [0.5]), ([0.1], [50.0]), ([0.1], [-0.1])])
def test_algonauts_score_refuses_wrong_ceilings(r: list[float], ceiling: list[float]) -> None:
    with pytest.raises(DatasetError):
        algonauts_score(r, ceiling)


def test_share_improved_counts_where_both_are_finite() -> None:
    assert share_improved([0.2, 0.1, 0.5, np.nan, 0.3], [0.1, 0.2, 0.5, 0.1, np.nan]) == pytest.approx(1 / 3)
    assert np.isnan(share_improved([np.nan], [0.1]))
    with pytest.raises(SpecError):
        share_improved([0.1], [0.1, 0.2])
