"""Classification: multinomial logistic regression on a network's features, its accuracy, and two networks compared.

Objective, with the rows x_i of X, their classes y_i and penalty strength 1 / C, as in scikit-learn's
`LogisticRegression`::

    min over W, b    C * sum_i [ log sum_c exp(x_i w_c + b_c) - (x_i w_{y_i} + b_{y_i}) ] + 1/2 || W ||^2

b is not penalised. With two classes the first one's w and b are held at 0, as scikit-learn does: the penalty is on the
one vector that is left.

One algorithm on either device: L-BFGS-B (Byrd et al. 1995; SciPy's) from zeros, objective and gradient in torch, all in
float64, to the optimum. What makes that quick is a change of variables that leaves the objective as it is: features are
centred (which only moves b) and turned to their principal axes, and each axis, and b, is scaled so that the objective's
curvature at zero is one for all. A network's logits need it: those of tuned networks are far from 0 and spread over
five orders of magnitude, and there scikit-learn's L-BFGS, in the features' own coordinates, had not settled after 5,000
steps where this takes about 100 to reach the optimum that scikit-learn's ``newton-cholesky`` finds (which needs the
square of p C numbers, too many for a thousand classes).

The features are a network's logits, used as they are (the poster of Mulrooney & Brockmeier 2024), or the layer before
them, ``classifier.5`` of AlexNet, standardised (the authors' code): `classify` takes either.

What the intervals and tests are about: the fitted classifiers are taken as they are, and the test images are a random
sample of independent pictures. What tuning or fitting on other images would have changed is not in them. Where pictures
repeat, give the number of distinct ones its due with a bootstrap over groups of equal images:
`brainviz.encoding.statistics.bootstrap_weights` and `interval` on `Classification.correct`.

References
----------
Wilson 1927, Journal of the American Statistical Association 22, 209-212 (the interval of an accuracy).
McNemar 1947, Psychometrika 12, 153-157 (the paired test; here with the exact binomial distribution).
Newcombe 1998, Statistics in Medicine 17, 2635-2650, method 10 (the interval of a paired difference).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from torch import Tensor

from brainviz.errors import DatasetError, SpecError

#: L-BFGS-B gives up on a step after so many evaluations, and stops at improvements below this share of the objective.
_LINE_SEARCH_STEPS = 50
_NO_IMPROVEMENT = 8 * np.finfo(float).eps

#: Matrix products of fewer multiplications than this are left to one thread: on two busy cores, steps on 2,550 x 80
#: features and 20 classes took 1.4 ms with one thread and 20 to 85 ms with two, which mostly waited for each other.
_ONE_THREAD = 2e8

#: How many classes an error names.
_CLASSES_NAMED = 5


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A fitted logistic regression.

    Attributes
    ----------
    coef : (p, C) float64 array
        With two classes the first column is 0.
    intercept : (C,) float64 array
    n_iter : int
        Steps of L-BFGS.
    converged : bool
        Whether it stopped at the optimum: not at `max_iter`, and not for want of a step that improves.
    loss : float
        The objective of the module, not divided by C n.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    n_iter: int
    converged: bool
    loss: float


@dataclass(frozen=True, eq=False)
class Standardised:
    """Features with mean 0 and variance 1 over the training images.

    Attributes
    ----------
    train, test : (n, p) float64 arrays
    mean, scale : (p,) float64 arrays
        What was subtracted, and what was divided by: 1 for a feature that is constant in the training images.
    """

    train: NDArray[np.float64]
    test: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Classification:
    """How well a network's features tell the classes of test images.

    Attributes
    ----------
    probabilities : (n_test, C) float32 array
        Rows in the order of `test`; each sums to 1.
    predicted : (n_test,) int64 array
        The most probable class.
    correct : (n_test,) bool array
    accuracy, accuracy_low, accuracy_high : float
        Share of the test images classified rightly, and its 95 % Wilson interval.
    log_loss : float
        Mean of -log of the true class's probability, nats; from float64, so that no probability counts as 0.
    n_train, n_test, n_classes : int
    fit : LogisticFit
        For the features as they were given: `standardised` is folded into it.
    """

    probabilities: NDArray[np.float32]
    predicted: NDArray[np.int64]
    correct: NDArray[np.bool_]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    n_train: int
    n_test: int
    n_classes: int
    fit: LogisticFit


def fit_logistic(
    X: NDArray[np.floating],
    y: NDArray[np.integer],
    n_classes: int,
    *,
    C: float = 1.0,
    max_iter: int = 5000,
    tol: float = 1e-6,
    device: str = "cpu",
) -> LogisticFit:
    """Fit a multinomial logistic regression with an L2 penalty.

    Parameters
    ----------
    X : (n, p) array
        Features; computed with in float64.
    y : (n,) int array
        Classes, 0 to `n_classes` - 1; every one must occur, or its intercept would have no optimum.
    n_classes : int
        At least 2.
    C : float
        Strength of the data against the penalty, above 0; scikit-learn's default.
    max_iter : int
        Most steps of L-BFGS.
    tol : float
        Above 0; it stops when no entry of the gradient of the objective divided by C n is larger, in the coordinates in
        which its curvature at zero is one.
    device : str
        Where objective and gradient are computed.

    Returns
    -------
    LogisticFit

    Raises
    ------
    SpecError
        Fewer than two classes, or C, `max_iter` or `tol` out of range.
    DatasetError
        Features that are not finite or do not go with the classes; a class out of range, or without an image.
    """
    if n_classes < 2 or not 0 < C < np.inf or max_iter < 1 or not tol > 0:
        raise SpecError(
            "The logistic regression cannot be fitted with these settings.",
            got=f"{n_classes} classes, C = {C}, max_iter = {max_iter}, tol = {tol}",
            expected="at least 2 classes, C above 0, max_iter at least 1, tol above 0",
        )
    _require_features(X, y)
    _require_classes(y, n_classes)
    absent = np.flatnonzero(np.bincount(y, minlength=n_classes) == 0)
    if absent.size:
        raise DatasetError(
            "Not every class has a training image.",
            got=f"{absent.size} of {n_classes} without one: {_listed(absent)}",
            expected="at least one image per class",
            mend="choose another seed, or leave these classes out.",
        )
    features = torch.from_numpy(np.array(X, dtype=np.float64)).to(device)
    classes = torch.from_numpy(np.asarray(y, np.int64)).to(device)
    small = X.size * n_classes < _ONE_THREAD
    with _threads(1 if small else torch.get_num_threads()):
        return _minimise(features, classes, n_classes, C, max_iter, tol)


def _minimise(X: Tensor, y: Tensor, n_classes: int, C: float, max_iter: int, tol: float) -> LogisticFit:
    """Find the optimum from checked features and classes; X is overwritten.

    With V = D^-1 Q' W, where Q are the principal axes of the centred X with eigenvalues s_j of X'X / n, and
    D_j = (s_j / n_classes + 1 / (C n))^-1/2, the logits are (X Q D) V and the penalty is || Q D V ||^2 = || D V ||^2.
    """
    n, device = len(y), X.device
    rows = torch.arange(n, device=device)
    free = slice(1, None) if n_classes == 2 else slice(None)
    mean = X.mean(0)
    X -= mean
    variances, axes = torch.linalg.eigh(X.T @ X / n)
    scale = (variances.clamp(min=0) / n_classes + 1 / (C * n)).rsqrt()
    axes *= scale
    # The intercept is the weight of one more column, the same for all pictures.
    constant = n_classes**0.5
    columns = torch.full((n, len(axes) + 1), constant, dtype=X.dtype, device=device)
    torch.matmul(X, axes, out=columns[:, :-1])
    del X
    penalty = torch.cat([scale.square(), scale.new_zeros(1)])[:, None] / (C * n)
    shape = (columns.shape[1], 1 if n_classes == 2 else n_classes)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.from_numpy(flat.reshape(shape)).to(device)
        logits = torch.zeros(n, n_classes, dtype=torch.float64, device=device)
        logits[:, free] = columns @ weights
        log_p = torch.log_softmax(logits, dim=1)
        loss = -log_p[rows, y].mean() + (penalty * weights.square()).sum() / 2
        residual = log_p.exp_()
        residual[rows, y] -= 1
        gradient = columns.T @ residual[:, free] / n + penalty * weights
        return float(loss), gradient.cpu().numpy().ravel()

    options = {"maxiter": max_iter, "maxls": _LINE_SEARCH_STEPS, "gtol": tol, "ftol": _NO_IMPROVEMENT}
    found = optimize.minimize(objective, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
    weights = torch.from_numpy(found.x.reshape(shape)).to(device)
    coef = torch.zeros(len(axes), n_classes, dtype=torch.float64, device=device)
    intercept = torch.zeros(n_classes, dtype=torch.float64, device=device)
    coef[:, free] = axes @ weights[:-1]
    intercept[free] = constant * weights[-1]
    intercept -= mean @ coef
    return LogisticFit(
        coef.cpu().numpy(), intercept.cpu().numpy(), int(found.nit), bool(found.success), float(found.fun) * C * n
    )


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Let torch use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def log_probabilities(fit: LogisticFit, X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logarithm of each class's probability for the rows of X, (n, p) -> (n, C)."""
    logits = np.asarray(X, dtype=np.float64) @ fit.coef + fit.intercept
    result: NDArray[np.float64] = special.log_softmax(logits, axis=1)
    return result


def standardise(X_train: NDArray[np.floating], X_test: NDArray[np.floating]) -> Standardised:
    """Give features mean 0 and variance 1 over the training images (scikit-learn's `StandardScaler`, in float64).

    Parameters
    ----------
    X_train, X_test : (n, p) arrays
        Nothing of the test images enters mean or scale.

    Raises
    ------
    DatasetError
        Features that are not finite, or the two have different numbers of them.
    """
    from sklearn.preprocessing import StandardScaler

    for X in (X_train, X_test):
        _require_features(X, np.zeros(len(X), np.int64))
    if X_train.shape[1] != X_test.shape[1]:
        raise DatasetError(
            "Training and test images have different features.", got=f"shapes {X_train.shape} and {X_test.shape}"
        )
    scaler = StandardScaler().fit(np.asarray(X_train, np.float64))
    train, test = (scaler.transform(np.asarray(X, np.float64)) for X in (X_train, X_test))
    return Standardised(train, test, scaler.mean_, scaler.scale_)


def classify(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    test: NDArray[np.integer],
    *,
    n_classes: int | None = None,
    standardised: bool = False,
    C: float = 1.0,
    max_iter: int = 5000,
    tol: float = 1e-6,
    device: str = "cpu",
) -> Classification:
    """Fit a logistic regression on training images, and classify test images.

    Nothing in it is random: the seed of a classification is that of its split (`brainviz.datasets.tasks.split`).

    Parameters
    ----------
    features : (n, p) array
        One row per image; may be memory-mapped.
    labels : (n,) int array
        Classes from 0.
    train, test : int arrays
        Row numbers; no row may be in both.
    n_classes : int, optional
        By default one more than the largest label.
    standardised : bool
        Whether to standardise the features by the training images first: False for logits (the poster's way), True for
        ``classifier.5`` (the authors' code).
    C, max_iter, tol, device
        As in `fit_logistic`.

    Returns
    -------
    Classification

    Raises
    ------
    SpecError
        As `fit_logistic`; or rows in both parts, out of range, or none.
    DatasetError
        As `fit_logistic`.
    """
    _require_rows(len(labels), train, test)
    known = int(labels.max()) + 1 if n_classes is None else n_classes
    _require_classes(labels, known)
    if len(features) != len(labels):
        raise _mismatch(features, labels)
    X_train, X_test = np.asarray(features[train]), np.asarray(features[test])
    _require_features(X_test, labels[test])
    if standardised:
        scaled = standardise(X_train, X_test)
        fit = fit_logistic(scaled.train, labels[train], known, C=C, max_iter=max_iter, tol=tol, device=device)
        coef = fit.coef / scaled.scale[:, None]
        fit = replace(fit, coef=coef, intercept=fit.intercept - scaled.mean @ coef)
    else:
        fit = fit_logistic(X_train, labels[train], known, C=C, max_iter=max_iter, tol=tol, device=device)
    log_p, truth = log_probabilities(fit, X_test), labels[test]
    predicted = log_p.argmax(axis=1).astype(np.int64)
    correct = predicted == truth
    low, high = wilson_interval(int(correct.sum()), len(test))
    return Classification(
        probabilities=np.exp(log_p).astype(np.float32),
        predicted=predicted,
        correct=correct,
        accuracy=float(correct.mean()),
        accuracy_low=low,
        accuracy_high=high,
        log_loss=float(-log_p[np.arange(len(test)), truth].mean()),
        n_train=len(train),
        n_test=len(test),
        n_classes=known,
        fit=fit,
    )


def wilson_interval(n_correct: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share, for independent images (Wilson 1927); within 0..1 by construction.

    Raises
    ------
    SpecError
        No image, more right ones than images, or a level that is not between 0 and 1.
    """
    if not 0 <= n_correct <= n or n < 1 or not 0 < level < 1:
        raise SpecError(
            "There is no share to take an interval of.",
            got=f"{n_correct} of {n}, level {level}",
            expected="a share of at least one image, and a level between 0 and 1",
        )
    z = float(stats.norm.ppf((1 + level) / 2))
    share = n_correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Where none or all are right the bound is the share itself; rounding would miss it by 1e-17.
    low = 0.0 if n_correct == 0 else float(centre - reach)
    return low, 1.0 if n_correct == n else float(centre + reach)


@dataclass(frozen=True)
class AccuracyDifference:
    """Accuracy of one classifier minus that of another on the same test images.

    Attributes
    ----------
    difference, low, high : float
        With its interval, as a share of the images.
    p : float
        Two-sided, of the hypothesis that both are right equally often.
    only_a, only_b : int
        Images that only the first, and only the second, gets right.
    n : int
    """

    difference: float
    low: float
    high: float
    p: float
    only_a: int
    only_b: int
    n: int


def accuracy_difference(correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95) -> AccuracyDifference:
    """Compare two classifiers on the same test images: McNemar's exact test, and an interval of the difference.

    Of the images that only one of the two gets right, each is as likely to be the first's under the null hypothesis: p
    is that of a binomial test with 1/2; 1 where there is no such image. The interval is Newcombe's method 10, which
    joins the two Wilson intervals with the correlation of the two classifiers; unlike one from the normal
    distribution it has the right coverage for few images, and is never empty. The two may disagree at the margin: the
    exact test is conservative.

    Parameters
    ----------
    correct_a, correct_b : (n,) bool arrays
        Which images each classifier gets right, in the same order.
    level : float
        Of the interval, between 0 and 1.

    Raises
    ------
    SpecError
        A level out of range.
    DatasetError
        Not the same images, none, or values that are not true or false.

    References
    ----------
    McNemar 1947; Newcombe 1998, method 10: see the module.
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0 or a.dtype != bool or b.dtype != bool:
        raise DatasetError(
            "The two classifiers were not tested on the same images.",
            got=f"{a.dtype} {a.shape} and {b.dtype} {b.shape}",
            expected="two bool arrays of one length, with at least one image",
        )
    n, both, neither = len(a), int((a & b).sum()), int((~a & ~b).sum())
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    low, high = _paired_interval(both, only_a, only_b, neither, level)
    return AccuracyDifference((only_a - only_b) / n, low, high, p, only_a, only_b, n)


def _paired_interval(both: int, only_a: int, only_b: int, neither: int, level: float) -> tuple[float, float]:
    """Return Newcombe's interval (1998, method 10) of the difference of two paired shares."""
    n, right_a, right_b = both + only_a + only_b + neither, both + only_a, both + only_b
    low_a, high_a = wilson_interval(right_a, n, level)
    low_b, high_b = wilson_interval(right_b, n, level)
    down_a, up_a, down_b, up_b = right_a / n - low_a, high_a - right_a / n, right_b / n - low_b, high_b - right_b / n
    # The correlation of the two, a positive one with a continuity correction; 0 where either is always or never right.
    product = float(both * neither - only_a * only_b)
    if product > 0:
        product = max(product - n / 2, 0.0)
    margins = right_a * (n - right_a) * right_b * (n - right_b)
    phi = product / np.sqrt(margins) if margins else 0.0
    difference = (only_a - only_b) / n
    return (
        float(difference - np.sqrt(max(down_a**2 - 2 * phi * down_a * up_b + up_b**2, 0.0))),
        float(difference + np.sqrt(max(up_a**2 - 2 * phi * up_a * down_b + down_b**2, 0.0))),
    )


def confusion(labels: NDArray[np.integer], predicted: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Count the test images of each class that were taken for each class.

    Parameters
    ----------
    labels, predicted : (n,) int arrays
        True and predicted classes.
    n_classes : int

    Returns
    -------
    (C, C) int64 array
        Rows are true classes, columns predicted ones.

    Raises
    ------
    DatasetError
        The two have different lengths, or a class is out of range.
    """
    _require_same_images(labels, predicted)
    for classes in (labels, predicted):
        _require_classes(classes, n_classes)
    pairs = np.asarray(labels, np.int64) * n_classes + predicted
    return np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Disagreements:
    """Which test images two classifiers get right: int64 arrays of positions, ascending; together they are all."""

    only_a: NDArray[np.int64]
    only_b: NDArray[np.int64]
    both: NDArray[np.int64]
    neither: NDArray[np.int64]


def disagreements(
    labels: NDArray[np.integer], predicted_a: NDArray[np.integer], predicted_b: NDArray[np.integer]
) -> Disagreements:
    """Say which test images only the first, only the second, both, or neither of two classifiers get right.

    Parameters
    ----------
    labels, predicted_a, predicted_b : (n,) int arrays
        True classes, and those that each classifier predicts, in the same order.

    Raises
    ------
    DatasetError
        They have different lengths.
    """
    _require_same_images(labels, predicted_a)
    _require_same_images(labels, predicted_b)
    a, b = np.asarray(predicted_a) == labels, np.asarray(predicted_b) == labels
    return Disagreements(*(np.flatnonzero(which) for which in (a & ~b, b & ~a, a & b, ~a & ~b)))


def _require_features(X: NDArray[np.floating], y: NDArray[np.integer]) -> None:
    if X.ndim != 2 or len(X) != len(y) or X.shape[1] == 0:
        raise _mismatch(X, y)
    broken = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if broken.size:
        raise DatasetError(
            "Some features are not numbers.",
            got=f"NaN or infinite values for {broken.size} of {len(X)} images, the first at row {broken[0]}",
            expected="finite numbers",
            mend="look at the network that gave them: its weights may have diverged.",
        )


def _mismatch(X: NDArray[np.floating], y: NDArray[np.integer]) -> DatasetError:
    return DatasetError(
        "Features and classes do not match.",
        got=f"features {X.shape}, {len(y)} classes",
        expected="a (images, features) matrix with at least one feature, and one class per image",
    )


def _require_classes(y: NDArray[np.integer], n_classes: int) -> None:
    numbers = np.asarray(y)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iu":
        raise DatasetError(
            "The classes are not a list of whole numbers.",
            got=f"{numbers.dtype} {numbers.shape}",
            expected="one integer per image, at least one image",
        )
    if numbers.min() < 0 or numbers.max() >= n_classes:
        raise DatasetError(
            "A class is out of range.",
            got=f"classes from {numbers.min()} to {numbers.max()}",
            expected=f"0 to {n_classes - 1}",
        )


def _require_rows(n: int, train: NDArray[np.integer], test: NDArray[np.integer]) -> None:
    rows = np.concatenate([train, test])
    if len(train) == 0 or len(test) == 0 or rows.min() < 0 or rows.max() >= n or np.intersect1d(train, test).size:
        raise SpecError(
            "The images are not divided into a training and a test part.",
            got=f"{len(train)} and {len(test)} rows of {n} images, {np.intersect1d(train, test).size} of them in both",
            expected=f"rows from 0 to {n - 1}, at least one in each part, none in both",
        )


def _require_same_images(labels: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
    if np.shape(labels) != np.shape(predicted):
        raise DatasetError(
            "Classes and predictions are not about the same images.",
            got=f"shapes {np.shape(labels)} and {np.shape(predicted)}",
        )


def _listed(classes: NDArray[np.integer]) -> str:
    more = ", ..." if classes.size > _CLASSES_NAMED else ""
    return ", ".join(str(number) for number in classes[:_CLASSES_NAMED]) + more
