"""Ridge for many targets: `fit_ridge` against himalaya's RidgeCV and scikit-learn's, in time, memory and results.

himalaya answers the same question: the same folds, penalties, intercept and criterion (mean Pearson r over folds, a
penalty per target). It runs with both back-ends, in batches tuned beforehand on a smaller part of the data, and with
its defaults. Its numpy back-end has the BLAS of brainviz. scikit-learn's RidgeCV answers another question
(leave-one-out, squared error) and is there for its time. Every run is a process of its own that gets the data from
disk; time and peak memory are counted from when the data are in memory. The fewer the targets, the more the
decompositions weigh, which both sides have to make, and the smaller the ratio.

    python -m bench.ridge [--full] [--images N --features N --targets N --alphas N] [--threads N] [--repeats N]
        [--backends numpy torch]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from bench.machine import machine, numpy_blas
from brainviz.runs.processes import SLEEPING_THREADS

Array = NDArray[Any]

FOLDS = 5
SMALL = {"images": 2000, "features": 500, "targets": 4000, "repeats": 3}
FULL = {"images": 8000, "features": 1000, "targets": 40_000, "repeats": 1}

#: Targets and penalties per batch that himalaya is tried with, and the size of the data it is tried on at most.
BATCHES = [(500, 5), (500, 20), (2000, 5), (2000, 20)]
TUNING_IMAGES, TUNING_TARGETS = 4000, 2000


@dataclass(frozen=True)
class Side:
    """A program to run, and its settings."""

    name: str
    program: str
    settings: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Tune himalaya, run all sides in turn, and print what they took and how far they agree."""
    options = parse_options()
    for name in ("OMP", "MKL", "OPENBLAS"):  # read by the child processes when they load a BLAS
        os.environ[f"{name}_NUM_THREADS"] = str(options.threads)
    os.environ.update(SLEEPING_THREADS)  # as in a worker; it slows neither side
    with tempfile.TemporaryDirectory() as folder:
        sizes = (options.images, options.features, options.targets)
        in_a_process(write_data, Path(folder), *sizes)
        print(
            f"n {sizes[0]}, p {sizes[1]}, {sizes[2]} targets, {options.alphas} penalties, {FOLDS} folds, float32, cpu"
        )
        print(in_a_process(describe), flush=True)
        sides = [
            Side("brainviz", "brainviz"),
            *tuned_himalaya(Path(folder), options),
            *defaults(options),
        ]
        runs: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        for repeat in range(options.repeats):
            for side in sides[:: -1 if repeat % 2 else 1]:
                if side.name not in runs:
                    continue
                try:
                    runs[side.name].append(in_a_process(measure, side, Path(folder), options.alphas, None))
                except BrokenProcessPool:
                    print(f"left out: {side.name}, whose process was killed, most probably for want of memory")
                    del runs[side.name]
                    continue
                print(f"  {side.name}: {describe_run(runs[side.name][-1])}", flush=True)
        report(runs, Path(folder))


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=f"sizes {FULL} instead of {SMALL}")
    for name in SMALL:
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--alphas", type=int, default=20)
    parser.add_argument("--backends", nargs="+", choices=["numpy", "torch"], default=["numpy", "torch"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    for name, default in (FULL if options.full else SMALL).items():
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def in_a_process(function: Any, *arguments: Any) -> Any:
    """Call a function in a new process, so that its memory and its libraries' threads are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


# --- data -------------------------------------------------------------------------------------------------------------


def write_data(folder: Path, n: int, p: int, v: int) -> None:
    """Write scores with the falling spectrum of a layer's principal components, and targets linear in them.

    The targets' noise is such that most are predicted with r between 0.1 and 0.5, as vertices are. An eighth as many
    rows again are held out.
    """
    rng = np.random.default_rng(0)
    rows = n + n // 8
    X = (rng.standard_normal((rows, p)) * 100 / np.sqrt(np.arange(1, p + 1))).astype(np.float32)
    Y = X @ rng.standard_normal((p, v)).astype(np.float32)
    Y /= Y.std(axis=0)
    Y *= rng.permutation(np.geomspace(0.2, 1.5, v)).astype(np.float32)
    for start in range(0, rows, 1000):
        Y[start : start + 1000] += rng.standard_normal(Y[start : start + 1000].shape, dtype=np.float32)
    for name, values in (("X", X), ("Y", Y)):
        np.save(folder / f"{name}.npy", values[:n])
        np.save(folder / f"{name}_test.npy", values[n:])


# --- what runs in a process of its own --------------------------------------------------------------------------------


def describe() -> str:
    """Return versions, BLAS and threads of all sides."""
    import himalaya  # type: ignore[import-untyped]
    import sklearn
    import torch

    mkl = torch.__config__.show().split("Math Kernel Library Version ")[-1].split(" ")[0]
    return "\n".join(
        [
            machine(torch.get_num_threads()),
            f"himalaya's torch back-end: torch {torch.__version__}, "
            + (f"MKL {mkl}" if torch.backends.mkl.is_available() else "its own BLAS"),
            f"brainviz, himalaya's numpy back-end, scikit-learn: {numpy_blas()}",
            f"himalaya {himalaya.__version__}, scikit-learn {sklearn.__version__}",
        ]
    )


def measure(side: Side, folder: Path, n_alphas: int, tuning: tuple[int, int] | None) -> dict[str, Any]:
    """Run a side; return its seconds, processor seconds and MiB. Its results go to a file unless this is `tuning`.

    `tuning` is how many rows and targets to use; None for all.
    """
    from brainviz.encoding.metrics import pearson_r
    from brainviz.encoding.ridge import assign_folds

    X, Y = np.load(folder / "X.npy"), np.load(folder / "Y.npy", mmap_mode="r" if tuning else None)
    if tuning:
        X, Y = X[: tuning[0]], np.array(Y[: tuning[0], : tuning[1]])
    alphas = np.logspace(-1, 7, n_alphas).astype(np.float32)
    run = PROGRAMS[side.program]
    run(X[:100, :20], Y[:100, :10], alphas, assign_folds(100, FOLDS), side.settings)  # libraries start their threads
    fold_of_row = assign_folds(len(X), FOLDS)
    memory, started, before = peak_memory(), time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    alpha, cv_r, coef, intercept = run(X, Y, alphas, fold_of_row, side.settings)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "seconds": seconds,
        "user": after.ru_utime - before.ru_utime,
        "system": after.ru_stime - before.ru_stime,
        "MiB": peak_memory() - memory,
    }
    if not tuning:
        X_test, Y_test = np.load(folder / "X_test.npy"), np.load(folder / "Y_test.npy")
        test_r = pearson_r(X_test @ coef + intercept, Y_test)
        np.savez(folder / f"{side.name}.npz", alpha=alpha, cv_r=cv_r, test_r=test_r)
    return result


def peak_memory() -> float:
    """Return the most memory this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_brainviz(X: Array, Y: Array, alphas: Array, fold_of_row: Array, settings: dict[str, Any]) -> tuple[Array, ...]:
    """Return penalties, cross-validated r, coefficients and intercepts; `fold_of_row` are its own folds."""
    from brainviz.encoding.ridge import fit_ridge

    fit = fit_ridge(X, Y, alphas, FOLDS, **settings)
    return fit.alpha, fit.cv_r, fit.coef, fit.intercept


def run_himalaya(X: Array, Y: Array, alphas: Array, fold_of_row: Array, settings: dict[str, Any]) -> tuple[Array, ...]:
    """As `run_brainviz`."""
    from himalaya.backend import set_backend  # type: ignore[import-untyped]
    from himalaya.ridge import RidgeCV  # type: ignore[import-untyped]
    from himalaya.scoring import correlation_score  # type: ignore[import-untyped]
    from sklearn.model_selection import PredefinedSplit

    backend = set_backend(settings["backend"])
    parameters = {"score_func": correlation_score, **settings["batches"]}
    model = RidgeCV(alphas, fit_intercept=True, solver_params=parameters, cv=PredefinedSplit(fold_of_row))
    model.fit(backend.asarray(X), backend.asarray(Y))
    results = (model.best_alphas_, model.cv_scores_, model.coef_, model.intercept_)
    return tuple(backend.to_numpy(values) for values in results)


def run_sklearn(X: Array, Y: Array, alphas: Array, fold_of_row: Array, settings: dict[str, Any]) -> tuple[Array, ...]:
    """As `run_brainviz`, but chosen by leave-one-out: the score is minus the mean squared error."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas, alpha_per_target=True, **settings).fit(X, Y)
    return model.alpha_, model.best_score_, model.coef_.T, model.intercept_


PROGRAMS = {"brainviz": run_brainviz, "himalaya": run_himalaya, "scikit-learn": run_sklearn}


# --- opponents --------------------------------------------------------------------------------------------------------


def tuned_himalaya(folder: Path, options: argparse.Namespace) -> list[Side]:
    """Return himalaya with either back-end, each with its fastest batches."""
    tuning = (min(options.images, TUNING_IMAGES), min(options.targets, TUNING_TARGETS))
    print(f"himalaya's batches, tried with {tuning[0]} images and {tuning[1]} targets")
    best = []
    for backend in options.backends:
        tried: list[tuple[float, int, Side]] = []
        for targets, alphas in BATCHES:
            batches = {"n_targets_batch": targets, "n_targets_batch_refit": targets, "n_alphas_batch": alphas}
            side = Side(f"himalaya {backend}", "himalaya", {"backend": backend, "batches": batches})
            run = in_a_process(measure, side, folder, options.alphas, tuning)
            tried.append((run["seconds"], len(tried), side))
            print(f"  {backend}, {targets} targets, {alphas} penalties: {run['seconds']:.1f} s", flush=True)
        best.append(min(tried)[2])
        print(f"  {backend}: {json.dumps(best[-1].settings['batches'])}")
    return best


def defaults(options: argparse.Namespace) -> list[Side]:
    """Return himalaya as installed, without batches, and scikit-learn; whichever fits into memory."""
    predictions = options.alphas * options.images / FOLDS * options.targets * 4
    responses = options.images * options.targets * 4
    sides = [
        # Every penalty's predictions, their z-scores and the products are there at once.
        (Side("himalaya as installed", "himalaya", {"backend": "numpy", "batches": {}}), 3 * predictions),
        # Responses decomposed, dual coefficients, errors and squared errors, in float64.
        (Side("scikit-learn", "scikit-learn"), 6 * 2 * responses),
    ]
    free = psutil.virtual_memory().available
    for side, needed in sides:
        if needed + 2 * responses > free:
            print(f"left out: {side.name}, needs {needed / 2**30:.0f} GiB of the {free / 2**30:.0f} GiB that are free")
    return [side for side, needed in sides if needed + 2 * responses <= free]


# --- report -----------------------------------------------------------------------------------------------------------


def describe_run(run: dict[str, Any]) -> str:
    """Return one run's figures."""
    return f"{run['seconds']:.1f} s, processor {run['user']:.1f} + {run['system']:.1f} s, {run['MiB']:.0f} MiB"


def report(runs: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Print medians, ratios to brainviz, and how far the results agree."""
    medians = {
        name: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for name, results in runs.items()
    }
    print(f"\nmedian of {len(runs['brainviz'])}; user: seconds of all threads together; ratios to brainviz")
    print(f"{'':<24}{'wall s':>9}{'user s':>9}{'MiB':>8}{'wall x':>9}{'user x':>9}{'MiB x':>9}")
    mine = medians["brainviz"]
    for name, median in medians.items():
        ratios = "".join(f"{median[key] / max(mine[key], 1e-9):9.1f}" for key in ("seconds", "user", "MiB"))
        print(f"{name:<24}{median['seconds']:9.1f}{median['user']:9.1f}{median['MiB']:8.0f}{ratios}")
    ours = dict(np.load(folder / "brainviz.npz"))
    for name in runs:
        if name.startswith("himalaya"):
            print(f"brainviz and {name}: {agreement(ours, dict(np.load(folder / f'{name}.npz')))}")
    if "scikit-learn" in runs:
        theirs = dict(np.load(folder / "scikit-learn.npz"))
        means = f"{ours['test_r'].mean():.4f} and {theirs['test_r'].mean():.4f}"
        print(f"brainviz and scikit-learn (leave-one-out, squared error): mean test r {means}")


def agreement(ours: dict[str, Array], theirs: dict[str, Array]) -> str:
    """Return in words how far two sides agree."""
    differ = ~np.isclose(ours["alpha"], theirs["alpha"], rtol=1e-4)
    apart = np.abs(ours["cv_r"] - theirs["cv_r"])
    low, middle, high = np.percentile(ours["test_r"], [5, 50, 95])
    return (
        f"same penalty for {1 - differ.mean():.3%} of the targets; CV r differs by at most {apart.max():.1e}, "
        f"by {apart[differ].max(initial=0):.1e} where the penalties do; test r (5, 50, 95 %: {low:.2f} {middle:.2f} "
        f"{high:.2f}) by {np.abs(ours['test_r'] - theirs['test_r']).max():.1e}"
    )


if __name__ == "__main__":
    main()
