"""Speed of `bhattacharyya` against the plain double loop over pairs of models, in numpy, on the same probabilities.

The loop is `-np.mean(np.log(np.sum(np.sqrt(p_u * p_v), -1)))` for every pair u < v, in float32 as the probabilities
are. Every run is a process of its own that has the probabilities in memory before time is counted, with one thread
unless told otherwise, in alternating order. How long the loop takes depends on whether the process gives the memory of
a pair's temporary arrays back to the system and asks for it anew each time: as a rule glibc does, until an array of
that size has been freed before. Both are timed: `loop`, as a fresh process runs it, and `loop, memory kept`, its best
case (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`). A random sample of pairs is timed and scaled to all of them,
unless `--pairs 0` has all of them run. Lastly the time of brainviz for half to four times as many models.

    python -m bench.landscape [--models N --images N --classes N] [--pairs N] [--threads N] [--repeats N]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.machine import machine, numpy_blas
from brainviz.runs.processes import SLEEPING_THREADS

Array = NDArray[Any]

#: What has glibc keep the memory of arrays that are freed.
KEEP = {"MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TOP_PAD_": str(2**26)}

#: Name -> program, environment.
SIDES: dict[str, tuple[str, dict[str, str]]] = {
    "brainviz": ("brainviz", {}),
    "loop": ("loop", {}),
    "loop, memory kept": ("loop", KEEP),
}


def main() -> None:
    """Run all sides in turn, and print what they took and how far they agree."""
    options = parse_options()
    for name in ("OMP", "MKL", "OPENBLAS"):  # read by the child processes when they load a BLAS
        os.environ[f"{name}_NUM_THREADS"] = str(options.threads)
    os.environ.update(SLEEPING_THREADS)  # as in a worker; it slows neither side
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_a_process(write_data, folder, options.models, options.images, options.classes)
        n_pairs = options.models * (options.models - 1) // 2
        print(f"{options.models} models, {options.images} images, {options.classes} classes, float32, cpu")
        print(in_a_process(describe, options.threads))
        timed = "all" if options.pairs == 0 else f"a random {min(options.pairs, n_pairs)}, scaled,"
        print(f"loop: {timed} of {n_pairs} pairs", flush=True)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for repeat in range(options.repeats):
            for side in list(SIDES)[:: -1 if repeat % 2 else 1]:
                program, environment = SIDES[side]
                with environ(environment):
                    runs[side].append(in_a_process(PROGRAMS[program], folder, options.models, options.pairs))
                run = runs[side][-1]
                print(f"  {side}: {run['wall']:.2f} s, processor {run['processor']:.2f} s", flush=True)
        report(runs, folder, options)
        growth(folder, options)


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"models": 300, "images": 500, "classes": 1000, "threads": 1, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--pairs", type=int, default=3000, help="how many pairs the loop is timed with; 0: all")
    return parser.parse_args()


def in_a_process(function: Any, *arguments: Any) -> Any:
    """Call a function in a new process, so that its memory and its libraries' threads are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextmanager
def environ(settings: dict[str, str]) -> Iterator[None]:
    """Have processes that are started meanwhile find these settings."""
    os.environ.update(settings)
    yield
    for name in settings:
        del os.environ[name]


# --- what runs in a process of its own --------------------------------------------------------------------------------


def write_data(folder: Path, n_models: int, n_images: int, n_classes: int) -> None:
    """Write softmaxes of logits that the models share in part; some models are sure of themselves, others are not."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n_images, n_classes), dtype=np.float32)
    P = np.lib.format.open_memmap(folder / "P.npy", "w+", np.float32, (n_models, n_images, n_classes))
    for sharpness, model in zip(rng.uniform(1, 5, n_models), P, strict=True):
        logits = sharpness * (shared + 0.5 * rng.standard_normal(shared.shape))
        probabilities = np.exp(logits - logits.max(-1, keepdims=True))
        model[:] = probabilities / probabilities.sum(-1, keepdims=True)


def describe(threads: int) -> str:
    """Return versions, BLAS and threads."""
    return f"{machine(threads)}; {numpy_blas()}"


def run_brainviz(folder: Path, n_models: int, n_pairs: int) -> dict[str, float]:
    """Return seconds, wall and processor, and the rate of a large product in the same process."""
    import torch

    from brainviz.analyses.landscape import bhattacharyya

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    P = np.array(np.load(folder / "P.npy", mmap_mode="r")[:n_models])
    bhattacharyya(P[:20, :2])  # libraries start their threads
    clock = Clock()
    D = bhattacharyya(P)
    result = {**clock.read(), "rate": product_rate()}
    np.save(folder / f"D{n_models}.npy", D)
    return result


def run_loop(folder: Path, n_models: int, n_pairs: int) -> dict[str, float]:
    """Return seconds, wall and processor, for all pairs."""
    P = np.load(folder / "P.npy")
    pairs = list(combinations(range(n_models), 2))
    if 0 < n_pairs < len(pairs):
        chosen = np.sort(np.random.default_rng(1).choice(len(pairs), n_pairs, replace=False))
    else:
        chosen = np.arange(len(pairs))
    d = np.empty(len(chosen))
    clock = Clock()
    for row, index in enumerate(chosen):
        u, v = pairs[index]
        d[row] = -np.mean(np.log(np.sum(np.sqrt(P[u] * P[v]), -1)))
    seconds = clock.read()
    np.savez(folder / "loop.npz", u=[pairs[index][0] for index in chosen], v=[pairs[index][1] for index in chosen], d=d)
    return {name: value * len(pairs) / len(chosen) for name, value in seconds.items()}


class Clock:
    """Counts wall seconds and the processor's, of all threads."""

    def __init__(self) -> None:
        self.wall, self.used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)

    def read(self) -> dict[str, float]:
        """Return the seconds since this clock was made."""
        wall, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        processor = used.ru_utime - self.used.ru_utime + used.ru_stime - self.used.ru_stime
        return {"wall": wall - self.wall, "processor": processor}


def product_rate(size: int = 2000, repeats: int = 5) -> float:
    """Return the rate of a float32 product of (size, size) matrices, in operations per second: the best of some."""
    left, right = np.random.default_rng(0).random((2, size, size), dtype=np.float32)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


PROGRAMS = {"brainviz": run_brainviz, "loop": run_loop}


# --- report -----------------------------------------------------------------------------------------------------------


def report(runs: dict[str, list[dict[str, float]]], folder: Path, options: argparse.Namespace) -> None:
    """Print medians, ratios to brainviz, how far the results agree, and the share of what the machine can do."""
    medians = {
        side: {name: statistics.median(run[name] for run in results) for name in results[0]}
        for side, results in runs.items()
    }
    mine = medians["brainviz"]
    print(f"\nmedian of {options.repeats}, all pairs u < v; ratios to brainviz, and of the fastest runs")
    print(f"{'':<20}{'wall s':>9}{'processor s':>13}{'wall x':>9}{'processor x':>13}{'fastest x':>11}")
    for side, median in medians.items():
        fastest = min(run["wall"] for run in runs[side]) / min(run["wall"] for run in runs["brainviz"])
        ratios = f"{median['wall'] / mine['wall']:9.1f}{median['processor'] / mine['processor']:13.1f}{fastest:11.1f}"
        print(f"{side:<20}{median['wall']:9.2f}{median['processor']:13.2f}{ratios}")
    operations = options.models * (options.models + 1) * options.images * options.classes
    rate = max(run["rate"] for run in runs["brainviz"])
    achieved = operations / min(run["wall"] for run in runs["brainviz"])
    print(
        f"half the products: {operations / 1e9:.0f} GFLOP, at {achieved / 1e9:.0f} GFLOP/s, all else included: "
        f"{achieved / rate:.0%} of the {rate / 1e9:.0f} GFLOP/s of one large product"
    )
    D, loop = np.load(folder / f"D{options.models}.npy"), np.load(folder / "loop.npz")
    P = np.load(folder / "P.npy", mmap_mode="r")
    ours = D[loop["u"], loop["v"]]
    print(f"d from {ours.min():.3g} to {ours.max():.3g}")
    print(f"brainviz and the loop: {difference(ours, loop['d'])}")
    some = np.linspace(0, len(ours) - 1, min(100, len(ours))).astype(int)
    exact = [
        -np.mean(np.log(np.sum(np.sqrt(P[u].astype(np.float64) * P[v]), -1)))
        for u, v in zip(loop["u"][some], loop["v"][some], strict=True)
    ]
    print(f"brainviz and the loop in float64, {len(some)} pairs: {difference(ours[some], np.array(exact))}")


def difference(ours: Array, theirs: Array) -> str:
    """Return in words how far two results agree."""
    apart = np.abs(ours - theirs)
    return f"at most {apart.max():.1e} apart, {(apart / theirs).max():.1e} of d"


def growth(folder: Path, options: argparse.Namespace) -> None:
    """Print the time of brainviz for up to four times as many models, and a tenth of the images: the fastest run.

    The products grow with the square of the number of models, reading and taking roots with the number: the power comes
    near to 2 as the models become many.
    """
    n_images = max(options.images // 10, 1)
    many = folder / "many"
    many.mkdir()
    in_a_process(write_data, many, 4 * options.models, n_images, options.classes)
    print(f"\ngrowth with the number of models, {n_images} images, fastest of {options.repeats} runs")
    sizes = [options.models // 2, options.models, 2 * options.models, 4 * options.models]
    seconds = [min(in_a_process(run_brainviz, many, size, 0)["wall"] for _ in range(options.repeats)) for size in sizes]
    for index, (size, time_taken) in enumerate(zip(sizes, seconds, strict=True)):
        exponent = ""
        if index:
            power = np.log(time_taken / seconds[index - 1]) / np.log(size / sizes[index - 1])
            exponent = f", grown with the power {power:.2f}"
        print(f"  {size} models: {time_taken:.2f} s, {time_taken / size**2 * 1e6:.1f} us per pair (u, v){exponent}")


if __name__ == "__main__":
    main()
