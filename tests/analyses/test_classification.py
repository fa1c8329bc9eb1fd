"""Classification against scikit-learn, closed forms, simulated coverage and planted truth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import optimize, special, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, log_loss
from sklearn.preprocessing import StandardScaler

from brainviz.analyses import classification
from brainviz.analyses.classification import (
    accuracy_difference,
    classify,
    confusion,
    disagreements,
    fit_logistic,
    log_probabilities,
    standardise,
    wilson_interval,
)
from brainviz.errors import DatasetError, SpecError

pytestmark = pytest.mark.usefixtures("one_thread")

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
Features, Labels = NDArray[np.float32], NDArray[np.int64]


def planted(n: int, p: int, n_classes: int, noise: float, seed: int = 0) -> tuple[Features, Labels]:
    """Features around one centre per class, with unequal spreads and means far from 0; every class occurs."""
    rng = np.random.default_rng([n, p, n_classes, seed])
    labels = rng.permutation(np.arange(n) % n_classes)
    centres = rng.standard_normal((n_classes, p))
    X = (centres[labels] + noise * rng.standard_normal((n, p))) * np.geomspace(2, 0.5, p) + 1
    return X.astype(np.float32), labels


def slow_objective(X: Features, y: Labels, coef: NDArray, intercept: NDArray, C: float) -> float:
    """Restate the objective, one image at a time."""
    total = 0.5 * float((coef**2).sum())
    for x, label in zip(X.astype(np.float64), y, strict=True):
        logits = x @ coef + intercept
        total += C * float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])
    return total


def skewed(n: int, p: int, n_classes: int, noise: float = 1.5) -> tuple[Features, Labels]:
    """Features like a tuned network's logits: far from 0, mixed, and spread over four orders of magnitude."""
    X, y = planted(n, p, n_classes, noise)
    mixed, _ = np.linalg.qr(np.random.default_rng(p).standard_normal((p, p)))
    return ((X * np.geomspace(1000, 0.1, p)) @ mixed - 400).astype(np.float32), y


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("make", [planted, skewed])
def test_the_fit_is_scikit_learns(make, C: float, n_classes: int, device: str) -> None:
    """Same objective, same optimum, same probabilities as scikit-learn with second derivatives."""
    X, y = make(300, 10, n_classes, noise=1.5)
    exact = X.astype(np.float64)
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=500).fit(exact - exact.mean(0), y)
    fit = fit_logistic(X, y, n_classes, C=C, device=device)
    assert fit.converged
    assert (fit.coef.shape, fit.intercept.shape) == ((10, n_classes), (n_classes,))
    expected = model.predict_proba(exact - exact.mean(0))
    np.testing.assert_allclose(np.exp(log_probabilities(fit, X)), expected, atol=2e-5)
    assert fit.loss == pytest.approx(slow_objective(X, y, fit.coef, fit.intercept, C), rel=1e-9)


def test_it_settles_where_scikit_learns_l_bfgs_does_not() -> None:
    """On features of very different spread, and at a lower value of the same objective."""
    X, y = skewed(600, 30, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(max_iter=1000).fit(X.astype(np.float64), y)
    assert model.n_iter_[0] == 1000
    fit = fit_logistic(X, y, 8)
    assert fit.converged
    assert fit.n_iter < 500
    assert fit.loss < slow_objective(X, y, model.coef_.T, model.intercept_, 1.0)


def test_more_features_than_images_and_features_that_repeat_are_fitted() -> None:
    X, y = planted(40, 60, 3, noise=1.5)
    X = np.hstack([X, X[:, :5], np.ones((40, 1), np.float32)])
    model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X.astype(np.float64), y)
    fit = fit_logistic(X, y, 3)
    assert fit.converged
    np.testing.assert_allclose(np.exp(log_probabilities(fit, X)), model.predict_proba(X.astype(np.float64)), atol=2e-5)


def test_two_classes_are_penalised_once() -> None:
    """With two classes the minimum over one vector w, written down by itself, is found."""
    X, y = planted(100, 3, 2, noise=2)

    def objective(w: NDArray) -> float:
        return float(np.logaddexp(0, (1 - 2 * y) * (X @ w[:3] + w[3])).sum() + 0.5 * (w[:3] ** 2).sum())

    found = optimize.minimize(objective, np.zeros(4), method="BFGS", options={"gtol": 1e-6})
    fit = fit_logistic(X, y, 2, tol=1e-9)
    assert fit.loss == pytest.approx(found.fun, rel=1e-8)
    np.testing.assert_allclose(fit.coef[:, 1], found.x[:3], atol=1e-4)
    np.testing.assert_array_equal(fit.coef[:, 0], 0)


def test_the_gradient_is_that_of_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = planted(50, 4, 3, noise=1)
    seen = {}

    def minimize(function, start, **_):
        point = np.random.default_rng(0).standard_normal(start.size)
        seen["error"] = optimize.check_grad(lambda w: function(w)[0], lambda w: function(w)[1], point)
        return optimize.OptimizeResult(x=point, fun=0.0, nit=0, success=False)

    monkeypatch.setattr(classification.optimize, "minimize", minimize)
    assert not fit_logistic(X, y, 3).converged
    assert seen["error"] < 1e-5


def test_stopping_early_is_told() -> None:
    X, y = planted(300, 20, 5, noise=2)
    fit = fit_logistic(X, y, 5, max_iter=3)
    assert (fit.n_iter, fit.converged) == (3, False)
    assert fit_logistic(X, y, 5).converged


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("standardised", [False, True])
def test_a_classification_equals_scikit_learns_on_the_same_split(standardised: bool, device: str) -> None:
    X, y = planted(1500, 30, 10, noise=2)
    order = np.random.default_rng(1).permutation(1500)
    train, test = order[:1275], order[1275:]
    found = classify(X, y, train, test, standardised=standardised, device=device)
    scaler = StandardScaler(with_mean=standardised, with_std=standardised).fit(X[train].astype(np.float64))
    ready = scaler.transform(X.astype(np.float64))
    # To the optimum; scikit-learn's default stops near it, and gives the same accuracy.
    model = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(ready[train], y[train])
    usual = LogisticRegression(max_iter=5000).fit(ready[train], y[train])
    assert abs(found.accuracy - usual.score(ready[test], y[test])) <= 0.002
    np.testing.assert_allclose(found.probabilities, model.predict_proba(ready[test]), atol=1e-4)
    assert found.log_loss == pytest.approx(log_loss(y[test], model.predict_proba(ready[test])), abs=1e-5)

    assert found.probabilities.shape == (225, 10)
    assert found.probabilities.dtype == np.float32
    assert (found.n_train, found.n_test, found.n_classes) == (1275, 225, 10)
    np.testing.assert_array_equal(found.correct, found.predicted == y[test])
    assert found.accuracy == found.correct.mean()
    assert (found.accuracy_low, found.accuracy_high) == wilson_interval(int(found.correct.sum()), 225)
    # The fit applies to the features as they were given, whether or not they were standardised for fitting.
    np.testing.assert_allclose(
        special.softmax(X[test].astype(np.float64) @ found.fit.coef + found.fit.intercept, axis=1),
        found.probabilities,
        atol=1e-6,
    )


def test_standardising_changes_what_is_penalised() -> None:
    X, y = planted(300, 10, 3, noise=2)
    X[:, 0] *= 100
    rows = np.arange(300)
    plain, scaled = (classify(X, y, rows[:200], rows[200:], C=0.01, standardised=how) for how in (False, True))
    assert np.abs(plain.probabilities - scaled.probabilities).max() > 0.01


def test_separable_classes_are_all_told_apart() -> None:
    X, y = planted(600, 20, 4, noise=0.05)
    found = classify(X, y, np.arange(500), np.arange(500, 600))
    assert found.accuracy == 1.0
    assert found.accuracy_high == 1.0
    assert 0.95 < found.accuracy_low < 1
    assert found.log_loss < 0.1


def test_random_labels_are_at_chance() -> None:
    """The number of right ones is binomial with 1/C: within the 99.9 % interval, for each of three seeds."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((1200, 10)).astype(np.float32), rng.integers(5, size=1200)
        found = classify(X, y, np.arange(600), np.arange(600, 1200))
        low, high = stats.binom.interval(0.999, 600, 1 / 5)
        assert low <= found.correct.sum() <= high


def test_a_class_without_test_images_keeps_its_column() -> None:
    X, y = planted(90, 5, 3, noise=0.5)
    test = np.flatnonzero(y != 2)[:20]
    train = np.setdiff1d(np.arange(90), test)
    assert classify(X, y, train, test, n_classes=3).probabilities.shape == (20, 3)


def test_standardise_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 3, (50, 4)), rng.normal(0, 1, (10, 4))
    train[:, 2] = 7.1
    found = standardise(train, test)
    scaler = StandardScaler().fit(train)
    np.testing.assert_allclose(found.train, scaler.transform(train))
    np.testing.assert_allclose(found.test, (test - train.mean(0)) / np.where(train.std(0) < 1e-9, 1, train.std(0)))
    np.testing.assert_allclose(found.train.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.scale[[0, 1, 3]], train.std(0)[[0, 1, 3]])
    assert found.scale[2] == 1


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (450, 1000), (1, 1)])
def test_wilson_solves_its_equation(k: int, n: int) -> None:
    """The bounds are the shares p at which k/n is 1.96 standard errors away, and agree with SciPy's."""
    low, high = wilson_interval(k, n)
    reference = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    for p in (low, high):
        if 0 < p < 1:
            assert abs(k / n - p) == pytest.approx(stats.norm.ppf(0.975) * np.sqrt(p * (1 - p) / n))
    assert 0 <= low <= k / n <= high <= 1


def pairs(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Published examples of the method: Altman et al. 2000, Statistics with Confidence, table 6.2; and Bentur et al.
        # 2009 in Fagerland, Lydersen & Laake 2014, Statistics in Medicine 33, 2850-2875.
        ((14, 5, 0, 22), 0.011, 0.226),
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_newcombes_interval_is_the_published_one(table: tuple[int, int, int, int], low: float, high: float) -> None:
    found = accuracy_difference(*pairs(*table))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-4)


@pytest.mark.parametrize("cells", [(0.5, 0.1, 0.1, 0.3), (0.6, 0.15, 0.05, 0.2), (0.9, 0.06, 0.02, 0.02)])
def test_newcombes_interval_covers(cells: tuple[float, float, float, float]) -> None:
    """In 95 % of samples, give or take two points (three standard errors of the simulation, and the method's own)."""
    tables = np.random.default_rng(0).multinomial(80, cells, size=1500)
    truth = cells[1] - cells[2]
    bounds = np.array([classification._paired_interval(*map(int, table), 0.95) for table in tables])
    assert 0.93 < np.mean((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])) < 0.985


def test_mcnemar_is_a_binomial_test_of_the_disagreements() -> None:
    found = accuracy_difference(*pairs(40, 15, 4, 21))
    assert (found.only_a, found.only_b, found.n) == (15, 4, 80)
    assert found.difference == pytest.approx(11 / 80)
    assert found.p == pytest.approx(stats.binomtest(15, 19, 0.5).pvalue)
    assert found.p == pytest.approx(2 * sum(stats.binom.pmf(k, 19, 0.5) for k in range(5)))
    other = accuracy_difference(*reversed(pairs(40, 15, 4, 21)))
    assert (other.difference, other.p) == pytest.approx((-found.difference, found.p))
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


def test_equal_classifiers_do_not_differ() -> None:
    found = accuracy_difference(*pairs(30, 0, 0, 20))
    assert (found.difference, found.p) == (0, 1)
    assert found.low < 0 < found.high
    perfect = accuracy_difference(*pairs(50, 0, 0, 0))
    assert perfect.low < 0 < perfect.high
    opposite = accuracy_difference(*pairs(0, 50, 0, 0))
    assert opposite.difference == 1
    assert opposite.low < opposite.high <= 1


def test_confusion_equals_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(4, size=100), rng.integers(3, size=100)
    found = confusion(labels, predicted, 5)
    np.testing.assert_array_equal(found, confusion_matrix(labels, predicted, labels=range(5)))
    assert found.sum() == 100


def test_disagreements_divide_the_images() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    found = disagreements(labels, np.array([0, 1, 0, 1, 2]), np.array([0, 0, 2, 1, 0]))
    assert [part.tolist() for part in (found.both, found.only_a, found.only_b, found.neither)] == [
        [0],
        [1],
        [2],
        [3, 4],
    ]


X3, Y3 = planted(30, 4, 3, noise=1)
ROWS = np.arange(30)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": np.zeros(30, int)}, "2 of 3 without one: 1, 2"),
        ({"y": np.where(Y3 == 1, 3, Y3)}, "A class is out of range"),
        ({"y": np.where(Y3 == 1, -1, Y3)}, "classes from -1"),
        ({"y": Y3.astype(float)}, "not a list of whole numbers"),
        (
            {"X": np.where(ROWS[:, None] == 7, np.nan, X3)},
            "NaN or infinite values for 1 of 30 images, the first at row 7",
        ),
        ({"X": np.where(ROWS[:, None] == 7, np.inf, X3)}, "NaN or infinite"),
        ({"X": X3[:-1]}, "do not match"),
        ({"X": X3[:, :0]}, "do not match"),
    ],
)
def test_bad_data_are_refused(change: dict, words: str) -> None:
    given = {"X": X3, "y": Y3} | change
    with pytest.raises(DatasetError, match=words):
        fit_logistic(given["X"], given["y"], 3)


@pytest.mark.parametrize(
    "settings", [{"C": 0}, {"C": -1}, {"C": np.nan}, {"max_iter": 0}, {"tol": 0}, {"n_classes": 1}]
)
def test_settings_out_of_range_are_refused(settings: dict) -> None:
    options = {"n_classes": 3} | settings
    with pytest.raises(SpecError, match="at least 2 classes"):
        fit_logistic(X3, Y3, **options)


@pytest.mark.parametrize(
    ("train", "test"),
    [(ROWS, ROWS[:3]), (ROWS[:0], ROWS), (ROWS, ROWS[:0]), (ROWS[:5], ROWS + 5), (ROWS[:5] - 1, ROWS)],
)
def test_parts_that_overlap_or_leave_the_data_are_refused(train: Labels, test: Labels) -> None:
    with pytest.raises(SpecError, match="training and a test part"):
        classify(X3, Y3, train, test)


def test_bad_test_images_are_refused() -> None:
    broken = X3.copy()
    broken[29] = np.nan
    for standardised in (False, True):
        with pytest.raises(DatasetError, match="NaN or infinite"):
            classify(broken, Y3, ROWS[:20], ROWS[20:], standardised=standardised)
    with pytest.raises(DatasetError, match="out of range"):
        classify(X3, Y3, ROWS[:20], ROWS[20:], n_classes=2)
    with pytest.raises(SpecError, match="1 classes"):
        classify(X3, np.zeros(30, int), ROWS[:20], ROWS[20:])
    with pytest.raises(DatasetError, match="do not match"):
        classify(X3[:25], Y3, ROWS[:20], ROWS[20:])
    with pytest.raises(DatasetError, match="different features"):
        standardise(X3, X3[:, :2])


def test_comparisons_of_other_images_are_refused() -> None:
    a, b = pairs(3, 2, 1, 4)
    for left, right in ((a, b[:-1]), (a[:0], b[:0]), (a.astype(int), b)):
        with pytest.raises(DatasetError, match="same images"):
            accuracy_difference(left, right)
    with pytest.raises(DatasetError, match="same images"):
        disagreements(Y3, Y3, Y3[:-1])
    with pytest.raises(DatasetError, match="same images"):
        confusion(Y3, Y3[:-1], 3)
    with pytest.raises(DatasetError, match="out of range"):
        confusion(Y3, Y3 + 1, 3)
    for k, n, level in ((5, 4, 0.95), (0, 0, 0.95), (1, 2, 1.0)):
        with pytest.raises(SpecError, match="share"):
            wilson_interval(k, n, level)
