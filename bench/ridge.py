"""Speed of `fit_ridge` against scikit-learn, on the same data and penalties.

Two opponents. "Ridge" is the plain recipe with the same folds and criterion: one `Ridge` fit per fold and penalty,
Pearson r of the left-out rows, then a refit of the targets that share a penalty. "RidgeCV" is scikit-learn's own fast
way, leave-one-out with a penalty per target, which answers another question (squared error, no folds).

    python -m bench.ridge [--images 8000 --features 1000 --targets 40000 --alphas 20] [--dtype float32] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

# Threads that wait for work must not take the cores from threads that have some; read when a BLAS is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge, RidgeCV
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.ridge import RidgeFit, assign_folds, fit_ridge

Array = NDArray[np.floating[Any]]


def main() -> None:
    """Time the three in turn, and print times, ratios and how far the results differ."""
    options = parse_options()
    X, Y = planted(options.images, options.features, options.targets, np.dtype(options.dtype))
    alphas = np.logspace(-1, 7, options.alphas)
    runs: dict[str, Callable[[], Any]] = {
        "brainviz": lambda: fit_ridge(X, Y, alphas),
        "Ridge": lambda: ridge_per_fold(X, Y, alphas),
        "RidgeCV": lambda: RidgeCV(alphas, alpha_per_target=True).fit(X, Y),
    }
    torch.set_num_threads(options.threads)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    with threadpool_limits(options.threads):
        describe(options)
        for repeat in range(options.repeats):
            for name in sorted(runs, reverse=bool(repeat % 2)):
                started = time.perf_counter()
                results[name] = runs[name]()
                seconds[name].append(time.perf_counter() - started)
    for name, times in seconds.items():
        print(f"{name:<9} {np.median(times):8.2f} s   ({', '.join(f'{t:.2f}' for t in times)})")
    report_differences(results["brainviz"], *results["Ridge"])
    for opponent in ("Ridge", "RidgeCV"):
        print(f"ratio {opponent} / brainviz: {np.median(seconds[opponent]) / np.median(seconds['brainviz']):.1f}")


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--targets", type=int, default=4000)
    parser.add_argument("--alphas", type=int, default=20)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def planted(n: int, p: int, v: int, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Scores with the falling spectrum of a layer's principal components; targets linear in them, with varied noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * 300 / np.sqrt(np.arange(1, p + 1))
    signal = X @ rng.standard_normal((p, v))
    noise = np.geomspace(0.5, 5, v) * rng.standard_normal((n, v))
    return X.astype(dtype), (signal / signal.std(axis=0) + noise).astype(dtype)


def ridge_per_fold(X: Array, Y: Array, alphas: Array) -> tuple[Array, Array, Array]:
    """Return penalties (v,), mean left-out r (v,) and coefficients (p, v), from one fit per fold and penalty."""
    fold_of_row = assign_folds(len(X), 5)
    scores = np.zeros((len(alphas), Y.shape[1]))
    for fold in range(5):
        train, test = fold_of_row != fold, fold_of_row == fold
        X_train, Y_train, Y_test = X[train], Y[train], Y[test]
        for row, alpha in enumerate(alphas):
            predicted = Ridge(alpha).fit(X_train, Y_train).predict(X[test])
            scores[row] += pearson_r(predicted, Y_test) / 5
    best = scores.argmax(axis=0)
    coef = np.empty((X.shape[1], Y.shape[1]), Y.dtype)
    for row in np.unique(best):
        coef[:, best == row] = Ridge(alphas[row]).fit(X, Y[:, best == row]).coef_.reshape(-1, len(coef)).T
    return alphas[best], scores.max(axis=0), coef


def describe(options: argparse.Namespace) -> None:
    """Print the sizes, and the BLAS, threads and dtype of both sides."""
    print(f"n {options.images}, p {options.features}, {options.targets} targets, {options.alphas} penalties, 5 folds")
    print(f"{options.dtype}, cpu, {torch.get_num_threads()} threads")
    blas = {f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in threadpool_info()}
    print(f"numpy and scikit-learn: {'; '.join(sorted(blas))}")
    print(f"torch {torch.__version__}: {'MKL' if torch.backends.mkl.is_available() else 'its own BLAS'}")


def report_differences(mine: RidgeFit, alpha: Array, cv_r: Array, coef: Array) -> None:
    """Print how often the penalties agree, and how far scores and coefficients differ."""
    same = mine.alpha == alpha
    worst = np.abs(mine.cv_r - cv_r).max()
    relative = np.linalg.norm((mine.coef - coef)[:, same]) / np.linalg.norm(coef[:, same])
    print(f"same penalty for {same.mean():.2%} of the targets")
    print(f"largest difference: CV r {worst:.1e}, coefficients {relative:.1e} (relative, norm)")


if __name__ == "__main__":
    main()
