"""Ridge against scikit-learn, closed forms and planted truth."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.ridge import FILTER_TOLERANCE, assign_folds, fit_ridge, predict, prepare_ridge
from brainviz.errors import DatasetError, SpecError

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
ALPHAS = 10.0 ** np.arange(-1, 8)
PRECISIONS = [(np.float64, 1e-8), (np.float32, 2e-4)]
Array = NDArray[np.floating]


def planted(n: int, p: int, v: int, dtype: type = np.float64, noise: float = 1.0) -> tuple[Array, Array]:
    """Features with a spectrum over three decades and means far from 0; targets linear in them, with varied noise."""
    rng = np.random.default_rng(n + p + v)
    spread = np.geomspace(100, 0.1, p)
    X = (rng.standard_normal((n, p)) * spread) @ rng.standard_normal((p, p)) / np.sqrt(p) + 3
    signal = X @ rng.standard_normal((p, v))
    signal /= signal.std(axis=0)
    Y = signal + noise * np.geomspace(0.1, 10, v) * rng.standard_normal((n, v)) + 7
    return X.astype(dtype), Y.astype(dtype)


def slow_scores(X: Array, Y: Array, alphas: Array, fold_of_row: NDArray[np.int64]) -> Array:
    """Mean left-out r per penalty and target: one scikit-learn fit per fold and penalty, one correlation at a time."""
    scores = np.zeros((len(alphas), Y.shape[1]))
    folds = np.unique(fold_of_row)
    for fold in folds:
        train, test = fold_of_row != fold, fold_of_row == fold
        for row, alpha in enumerate(alphas):
            predicted = Ridge(alpha, solver="svd").fit(X[train], Y[train]).predict(X[test]).reshape(Y[test].shape)
            scores[row] += [np.corrcoef(predicted[:, j], Y[test, j])[0, 1] / len(folds) for j in range(Y.shape[1])]
    return scores


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("n", "p", "v"), [(60, 10, 7), (40, 90, 7), (50, 45, 7), (30, 30, 1), (60, 1, 3)])
def test_everything_equals_scikit_learn(n: int, p: int, v: int, dtype: type, tolerance: float, device: str) -> None:
    X, Y = planted(n, p, v, dtype)
    fit = fit_ridge(X, Y, ALPHAS, seed=3, block=2, device=device)
    assert (fit.coef.shape, fit.coef.dtype) == ((p, v), dtype)
    assert (fit.intercept.shape, fit.intercept.dtype) == ((v,), dtype)

    X, Y = X.astype(np.float64), Y.astype(np.float64)
    expected = slow_scores(X, Y, ALPHAS, assign_folds(n, 5, seed=3))
    np.testing.assert_allclose(fit.grid_r, expected, atol=tolerance)
    np.testing.assert_array_equal(fit.alphas, ALPHAS)
    chosen = np.searchsorted(ALPHAS, fit.alpha)
    np.testing.assert_allclose(expected[chosen, np.arange(v)], expected.max(axis=0), atol=tolerance)
    np.testing.assert_allclose(fit.cv_r, expected.max(axis=0), atol=tolerance)

    reference = Ridge(fit.alpha, solver="svd").fit(X, Y)
    coef = reference.coef_.reshape(v, p).T
    np.testing.assert_allclose(fit.coef, coef, atol=tolerance * np.abs(coef).max())
    np.testing.assert_allclose(predict(fit, X), reference.predict(X).reshape(n, v), atol=10 * tolerance)


def test_the_chosen_penalties_are_scikit_learns() -> None:
    X, Y = planted(80, 20, 30)
    expected = ALPHAS[slow_scores(X, Y, ALPHAS, assign_folds(80, 4, seed=1)).argmax(axis=0)]
    np.testing.assert_array_equal(fit_ridge(X, Y, ALPHAS, 4, seed=1).alpha, expected)
    assert len(set(expected)) > 2  # the targets differ in noise


def test_many_penalties_cost_no_accuracy() -> None:
    """They share a dozen filters (a low-rank Cauchy matrix); every score is still the slow one."""
    X, Y = planted(60, 25, 3)
    alphas = np.geomspace(1e-4, 1e8, 40)
    fit = fit_ridge(X, Y, alphas)
    np.testing.assert_allclose(fit.grid_r, slow_scores(X, Y, alphas, assign_folds(60, 5)), atol=1e-8)


@pytest.mark.parametrize("lowest", [-1, 3])
def test_hundreds_of_penalties_need_no_more_filters_than_theory_says(lowest: int) -> None:
    """Cauchy matrices in Beckermann & Townsend (2019): sigma_(k+1) <= 4 exp(-pi^2 k / log(16 gamma)) sigma_1."""
    X, _ = planted(200, 80, 1)
    design = prepare_ridge(X, np.logspace(lowest, 7, 300))
    least, most = design.alphas[[0, -1]]
    for number, fold in enumerate(design.folds):
        low, high = np.linalg.eigvalsh(np.cov(X[design.fold_of_row != number].T) * 159)[[0, -1]]
        gamma = (low + most) * (high + least) / ((low + least) * (high + most))
        enough = 1 + np.log(16 * gamma) * np.log(4 / FILTER_TOLERANCE[torch.float32]) / np.pi**2
        assert len(fold.cast(torch.float32).filters) <= enough < 35


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_targets_on_a_single_axis_are_scored_as_exactly_as_float32_can(noise: float) -> None:
    """The filters are chosen for targets that use all axes; those that only the smallest axis predicts are no worse."""
    rng = np.random.default_rng(8)
    axes = rng.standard_normal((300, 60))
    X = (axes * 100 / np.arange(1, 61)).astype(np.float32)
    Y = (axes + noise * rng.standard_normal((300, 60))).astype(np.float32)
    exact = fit_ridge(X.astype(np.float64), Y.astype(np.float64), ALPHAS)
    np.testing.assert_allclose(fit_ridge(X, Y, ALPHAS).grid_r, exact.grid_r, atol=5e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_and_doing_it_in_steps_change_nothing(dtype: type) -> None:
    X, Y = planted(40, 8, 11, dtype)
    whole, blocked = fit_ridge(X, Y, ALPHAS), fit_ridge(X, Y, ALPHAS, block=3)
    np.testing.assert_allclose(blocked.grid_r, whole.grid_r, atol=1e-5)
    np.testing.assert_allclose(blocked.coef, whole.coef, atol=1e-5)
    design = prepare_ridge(X, ALPHAS)
    np.testing.assert_array_equal(design.select(Y).grid_r, whole.grid_r)
    coef, intercept = design.refit(Y, whole.alpha)
    assert (coef.dtype, intercept.dtype) == (dtype, dtype)
    np.testing.assert_allclose(coef, whole.coef, atol=1e-5)
    np.testing.assert_allclose(intercept, whole.intercept, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize(("n", "p"), [(60, 10), (40, 90)])
def test_predictions_are_those_of_the_coefficients_and_of_scikit_learn(
    n: int, p: int, dtype: type, tolerance: float, device: str
) -> None:
    X, Y = planted(n + 15, p, 7, dtype)
    design = prepare_ridge(X[:n], ALPHAS, device=device)
    alpha = np.geomspace(0.1, 1e5, 7)
    coef, intercept = design.refit(Y[:n], alpha)
    predicted = np.full((15, 7), np.nan, dtype)
    for columns, deviations, means in design.predict(X[n:], Y[:n], alpha, block=3):
        assert deviations.dtype == dtype
        predicted[:, columns] = deviations + means
    np.testing.assert_allclose(predicted, X[n:] @ coef + intercept, atol=10 * tolerance)
    reference = Ridge(alpha, solver="svd").fit(X[:n].astype(np.float64), Y[:n].astype(np.float64))
    np.testing.assert_allclose(predicted, reference.predict(X[n:].astype(np.float64)), atol=10 * tolerance)


def test_the_refit_solves_the_normal_equations() -> None:
    X, Y = planted(60, 12, 5)
    alpha = np.geomspace(0.1, 1e5, 5)
    coef, intercept = prepare_ridge(X, [1.0]).refit(Y, alpha)
    x = X - X.mean(axis=0)
    left = x.T @ x @ coef + alpha * coef
    np.testing.assert_allclose(left, x.T @ Y, atol=1e-9 * np.abs(left).max())
    np.testing.assert_allclose((Y - X @ coef - intercept).mean(axis=0), 0, atol=1e-11)


def test_predictions_of_left_out_rows_have_a_closed_form() -> None:
    """Left out alone, row i is off by e_i / (1 - h_ii), with the errors e and the hat matrix h of the fit to all."""
    n = 12
    X, Y = planted(n, 4, 3)
    x = X - X.mean(axis=0)
    hat = x @ np.linalg.solve(x.T @ x + 2.5 * np.eye(4), x.T) + 1 / n
    expected = (Y - hat @ Y) / (1 - np.diag(hat))[:, None]
    for row in range(n):
        others = np.delete(np.arange(n), row)
        ((_, deviations, means),) = prepare_ridge(X[others], [1.0], 2).predict(X[[row]], Y, 2.5, rows=others)
        np.testing.assert_allclose(Y[row] - means - deviations[0], expected[row], rtol=1e-8)


def test_a_huge_penalty_leaves_r_as_it_is() -> None:
    X, Y = planted(60, 5, 4, np.float32)
    ((_, deviations, _),) = prepare_ridge(X[:40], [1.0]).predict(X[40:], 100 + Y[:40], 1e12)
    x, y = X[:40] - X[:40].mean(axis=0), Y[:40] - Y[:40].mean(axis=0)
    limit = (X[40:] - X[:40].mean(axis=0)).astype(np.float64) @ (x.T @ y)  # what ridge tends to, but for its scale
    np.testing.assert_allclose(pearson_r(deviations, Y[40:]), pearson_r(limit, Y[40:]), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_rows_of_a_larger_memory_map_are_those_of_a_slice(tmp_path: Path, dtype: type) -> None:
    X, Y = planted(40, 8, 6, np.float32)
    Y = (Y * 100).astype(dtype)
    rows = np.random.default_rng(7).permutation(90)[:40]
    larger = np.full((90, 6), np.nan if Y.dtype.kind == "f" else -1).astype(dtype)  # NaN in rows that are not asked for
    larger[rows] = Y
    np.save(tmp_path / "y.npy", larger)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    design = prepare_ridge(X, ALPHAS)
    expected = design.select(Y)
    np.testing.assert_array_equal(design.select(mapped, rows=rows).grid_r, expected.grid_r)
    np.testing.assert_array_equal(design.refit(mapped, 10.0, rows=rows)[0], design.refit(Y, 10.0)[0])
    for (_, one, _), (_, other, _) in zip(
        design.predict(X[:5], mapped, expected.alpha, rows=rows),
        design.predict(X[:5], Y, expected.alpha),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["C", "F"])
def test_only_the_wanted_rows_and_columns_are_copied(order: str) -> None:
    X, Y = planted(40, 8, 3000, np.float32)
    larger = np.asarray(np.tile(Y, (50, 1)), order=order)  # type: ignore[call-overload]
    design = prepare_ridge(X, [1.0])
    tracemalloc.start()
    coef, _ = design.refit(larger, 1.0, rows=np.arange(40), block=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < coef.nbytes + Y.nbytes / 2 < larger.nbytes / 50


def test_a_design_serves_several_sets_of_targets() -> None:
    X, Y = planted(60, 25, 9)
    design = prepare_ridge(X, ALPHAS)
    parts, whole = [design.select(Y[:, :4]), design.select(Y[:, 4:])], design.select(Y)
    np.testing.assert_allclose(np.hstack([part.grid_r for part in parts]), whole.grid_r, atol=1e-12)
    np.testing.assert_array_equal(np.hstack([part.alpha for part in parts]), whole.alpha)


def test_no_targets_give_no_results() -> None:
    X, Y = planted(40, 8, 2)
    fit = fit_ridge(X, Y[:, :0], ALPHAS, extend=True)
    assert (fit.alpha.shape, fit.coef.shape, fit.grid_r.shape) == ((0,), (8, 0), (len(ALPHAS), 0))


def test_the_same_call_gives_the_same_bits() -> None:
    X, Y = planted(40, 8, 5, np.float32)
    first, second = fit_ridge(X, Y, ALPHAS), fit_ridge(X, Y, ALPHAS)
    np.testing.assert_array_equal(first.coef, second.coef)
    np.testing.assert_array_equal(first.cv_r, second.cv_r)


def test_orthonormal_features_have_a_closed_form() -> None:
    """With X'X = I and centred columns, w = X'y / (1 + alpha)."""
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((30, 6)) - rng.standard_normal((1, 6)))[0]
    X = np.linalg.qr(X - X.mean(axis=0))[0]
    Y = rng.standard_normal((30, 4)) + 2
    alpha = np.array([0.1, 1.0, 10.0, 100.0])
    coef, intercept = prepare_ridge(X, ALPHAS).refit(Y, alpha)
    np.testing.assert_allclose(coef, X.T @ Y / (1 + alpha), atol=1e-12)
    np.testing.assert_allclose(intercept, Y.mean(axis=0), atol=1e-12)  # the columns of X have mean 0


def test_planted_truth_is_recovered() -> None:
    rng = np.random.default_rng(1)
    X, truth = rng.standard_normal((400, 10)), rng.standard_normal((10, 6))
    fit = fit_ridge(X, X @ truth + 4 + 0.1 * rng.standard_normal((400, 6)), ALPHAS)
    np.testing.assert_allclose(fit.coef, truth, atol=0.05)
    np.testing.assert_allclose(fit.intercept, 4, atol=0.05)
    assert fit.cv_r.min() > 0.98


def test_noise_asks_for_more_penalty_and_predicts_nothing() -> None:
    X, Y = planted(300, 40, 10)
    noise = np.random.default_rng(2).standard_normal((300, 40))
    clean, useless = fit_ridge(X, Y, ALPHAS), fit_ridge(X, noise, ALPHAS)
    assert np.median(useless.alpha) > np.median(clean.alpha)
    others = np.random.default_rng(3).standard_normal((100, 40))
    assert abs(np.mean(pearson_r(predict(useless, X[:100]), others))) < 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_targets_are_undefined_and_counted(dtype: type) -> None:
    X, Y = planted(40, 6, 5, dtype)
    Y[:, 1] = 0.1  # not exactly representable
    Y[:, 3] = 1e6
    fit = fit_ridge(X, Y, ALPHAS)
    np.testing.assert_array_equal(np.isnan(fit.cv_r), [False, True, False, True, False])
    assert fit.n_undefined == 2
    np.testing.assert_array_equal(fit.alpha[[1, 3]], ALPHAS[-1])
    np.testing.assert_array_equal(fit.coef[:, [1, 3]], 0)
    np.testing.assert_array_equal(fit.intercept[[1, 3]], Y[0, [1, 3]])
    others = fit_ridge(X, Y[:, [0, 2, 4]], ALPHAS)
    np.testing.assert_allclose(fit.cv_r[[0, 2, 4]], others.cv_r, atol=1e-6)


def test_a_fold_without_variance_is_left_out_of_the_mean() -> None:
    X, Y = planted(50, 4, 2)
    fold_of_row = assign_folds(50, 5)
    Y[fold_of_row == 2, 0] = Y[0, 0]  # constant among the left-out rows of fold 2
    Y[fold_of_row != 1, 1] = 0.1  # constant among the training rows of fold 1, and in every other fold
    fit = fit_ridge(X, Y, [1.0])
    by_fold = []
    for fold in (0, 1, 3, 4):
        train, test = fold_of_row != fold, fold_of_row == fold
        predicted = Ridge(1.0).fit(X[train], Y[train, 0]).predict(X[test])
        by_fold.append(np.corrcoef(predicted, Y[test, 0])[0, 1])
    assert fit.cv_r[0] == pytest.approx(np.mean(by_fold))
    assert np.isnan(fit.cv_r[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_offsets_of_a_thousand_times_the_spread_change_nothing(dtype: type) -> None:
    X, Y = planted(60, 8, 4)
    plain = fit_ridge(X, Y, ALPHAS)
    moved = fit_ridge((X + 1e4).astype(dtype), (Y - 1e3).astype(dtype), ALPHAS)
    np.testing.assert_allclose(moved.cv_r, plain.cv_r, atol=2e-3)


def test_repeated_and_constant_features_are_no_problem() -> None:
    X, Y = planted(50, 5, 3)
    twice = np.hstack([X, X, np.full((50, 2), 3.0)])
    fit = fit_ridge(twice, Y, [1.0])
    np.testing.assert_allclose(fit.coef, Ridge(1.0, solver="svd").fit(twice, Y).coef_.T, atol=1e-9)
    np.testing.assert_allclose(fit.coef[10:], 0, atol=1e-12)


def test_the_grid_grows_only_where_it_is_chosen_and_asked_for() -> None:
    X, Y = planted(100, 20, 30)
    narrow = [1.0, 10.0]
    np.testing.assert_array_equal(fit_ridge(X, Y, narrow).alphas, narrow)
    grown = fit_ridge(X, Y, narrow, extend=True)
    np.testing.assert_allclose(np.diff(np.log10(grown.alphas)), 1.0)
    assert len(grown.alphas) > 2
    assert np.mean(grown.alpha == grown.alphas[-1]) <= 0.05 or np.isclose(grown.alphas[-1], 1e6)
    assert np.mean(grown.alpha == grown.alphas[0]) <= 0.05 or np.isclose(grown.alphas[0], 1e-5)
    # The grown grid gives what that grid would have given from the start, and a grid that is wide enough stays.
    np.testing.assert_array_equal(fit_ridge(X, Y, grown.alphas).alpha, grown.alpha)
    wide = np.logspace(-3, 9, 13)
    alpha = fit_ridge(X, Y, wide).alpha
    inside = Y[:, (alpha > wide[0]) & (alpha < wide[-1])]
    assert inside.shape[1] > 20
    np.testing.assert_array_equal(fit_ridge(X, inside, wide, extend=True).alphas, wide)


def test_growth_stops_after_five_decades() -> None:
    """Of a target that the largest axis predicts and the others do not, more penalty is always better."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((40, 20)) * np.r_[10, np.ones(19)]
    fit = fit_ridge(X, 0.3 * X[:, :1] + 5 * rng.standard_normal((40, 1)), [1e-4, 1e-3], extend=True)
    np.testing.assert_allclose(fit.alphas, 10.0 ** np.arange(-4, 3))
    assert fit.alpha == fit.alphas[-1]


def test_folds_keep_groups_together_and_balanced() -> None:
    rng = np.random.default_rng(5)
    groups = rng.integers(0, 70, 200)
    folds = assign_folds(200, 5, groups, seed=0)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in np.unique(groups))
    mine = np.bincount(folds)
    theirs = [len(test) for _, test in GroupKFold(5).split(np.zeros(200), groups=groups)]
    np.testing.assert_array_equal(np.sort(mine), np.sort(theirs))
    assert not np.array_equal(folds, assign_folds(200, 5, groups, seed=1))
    np.testing.assert_array_equal(folds, assign_folds(200, 5, groups, seed=0))
    assert set(np.bincount(assign_folds(23, 5))) == {4, 5}


def test_equal_pictures_do_not_leak_between_folds() -> None:
    """Every picture twice, targets pure noise per picture: without groups the twin among the training rows tells."""
    rng = np.random.default_rng(6)
    X, Y = np.repeat(rng.standard_normal((60, 100)), 2, axis=0), np.repeat(rng.standard_normal((60, 20)), 2, axis=0)
    leaking = fit_ridge(X, Y, [1.0]).cv_r.mean()
    honest = fit_ridge(X, Y, [1.0], groups=np.repeat(np.arange(60), 2)).cv_r.mean()
    assert leaking > 0.5
    assert abs(honest) < 0.15


X0, Y0 = planted(20, 3, 2)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"alphas": [0.0, 1.0]}, SpecError, "penalties"),
        ({"alphas": []}, SpecError, "penalties"),
        ({"alphas": [np.nan]}, SpecError, "penalties"),
        ({"n_folds": 1}, SpecError, "folds"),
        ({"block": 0}, SpecError, "block"),
        ({"n_folds": 11}, DatasetError, "too few images"),
        ({"n_folds": 40}, DatasetError, "too few images"),
        ({"groups": np.repeat([0, 1, 2], [8, 8, 4])}, DatasetError, "too few images"),
        ({"groups": np.arange(19)}, DatasetError, "group"),
        ({"X": X0[:-1]}, DatasetError, "go with"),
        ({"Y": Y0[:, 0]}, DatasetError, "go with"),
        ({"X": X0[:, 0]}, DatasetError, "matrix"),
        ({"X": np.where(X0[3, 1] == X0, np.nan, X0)}, DatasetError, "NaN"),
        ({"Y": np.where(Y0[3, 1] == Y0, np.inf, Y0)}, DatasetError, "column 1"),
        ({"X": np.ones_like(X0)}, DatasetError, "same"),
    ],
)
def test_what_cannot_be_fitted_is_refused(arguments: dict[str, object], kind: type[Exception], words: str) -> None:
    call: dict[str, object] = {"X": X0, "Y": Y0, "alphas": ALPHAS, **arguments}
    with pytest.raises(kind, match=words):
        fit_ridge(**call)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.arange(19), "rows"),
        (np.arange(20) - 1, "rows"),
        (np.arange(20) + 1, "between 0 and 19"),
        (np.arange(20.0), "float64"),
        (np.ones(20, dtype=bool), "bool"),
    ],
)
def test_rows_that_do_not_go_with_the_features_are_refused(rows: NDArray[np.int64], words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        prepare_ridge(X0, ALPHAS).select(Y0, rows=rows)


def test_responses_that_are_not_finite_are_named_by_their_column() -> None:
    Y = np.tile(Y0, 4)
    Y[5, 4], Y[7, 5] = np.nan, -np.inf
    design = prepare_ridge(X0, ALPHAS)
    with pytest.raises(DatasetError, match="column 4 and 1 of those after it"):
        design.select(Y, block=3)
    with pytest.raises(DatasetError, match="column 4"):
        list(design.predict(X0, Y, 1.0, block=3))


@pytest.mark.parametrize("X", [X0[:, :2], X0[0], np.where(X0[3, 1] == X0, np.nan, X0)])
def test_features_that_do_not_belong_to_the_model_are_refused(X: Array) -> None:
    with pytest.raises(DatasetError):
        predict(fit_ridge(X0, Y0, ALPHAS), X)
    with pytest.raises(DatasetError):
        list(prepare_ridge(X0, ALPHAS).predict(X, Y0, 1.0))


@pytest.mark.parametrize("alpha", [[1.0, 2.0, 3.0], 0.0, [1.0, np.nan]])
def test_penalties_that_cannot_be_fitted_with_are_refused(alpha: float | list[float]) -> None:
    with pytest.raises(SpecError):
        prepare_ridge(X0, ALPHAS).refit(Y0, alpha)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("rotated", [False, True])
def test_scores_of_a_pca_are_on_their_axes_already(dtype: type, tolerance: float, rotated: bool) -> None:
    """Then no decomposition is needed, and the outcome is what it is for the same features turned."""
    X, Y = planted(80, 12, 5)
    scores = PCA(svd_solver="full").fit_transform(X) * np.geomspace(1, 1e-3, 12)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))[0] if rotated else np.eye(12)
    fit = fit_ridge((scores @ turn).astype(dtype), Y.astype(dtype), ALPHAS, seed=2)
    np.testing.assert_allclose(
        fit.cv_r, slow_scores(scores, Y, ALPHAS, assign_folds(80, 5, seed=2)).max(axis=0), atol=10 * tolerance
    )
    reference = Ridge(fit.alpha, solver="svd").fit(scores, Y)
    np.testing.assert_allclose(turn @ fit.coef, reference.coef_.T, atol=100 * tolerance)
    axes = prepare_ridge((scores @ turn).astype(dtype), ALPHAS).axes
    assert axes.directions is not None
    assert bool((axes.directions.count_nonzero(dim=0) == 1).all()) is not rotated
