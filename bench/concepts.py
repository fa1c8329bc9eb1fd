"""Speed and memory of `cluster_shared` against scikit-learn's DBSCAN on the same points.

Points are float32, 512 coordinates: `--share` of them in 30 clusters, of sizes that fall off like 1, 1/2, ... 1/30 and
of different spread, shared by 8 participants; the rest is noise in all directions. A cluster's points are its centre
plus normal noise in every direction, normalised: their cosines with the centre lie around 0.75 to 0.95, as of a von
Mises-Fisher distribution. With eps 0.35 the tight clusters have core points throughout, the wide ones have core, border
and noise points. Every run is a process of its own that has the points in memory before time is counted, with as many
threads on every side, in alternating order. Memory is the largest amount of resident memory during a run beyond that
before it: that of the points, and of the libraries once they have been used, does not count.

- scikit-learn: ``DBSCAN(eps, min_samples=m + 1, metric="cosine", algorithm="brute")``
- brainviz, plain: ``cluster_shared(points, None, eps, m)``, the same rule
- brainviz, shared: the rule by participants, at least 3 others
- brainviz, streamed: the same, no bits kept

scikit-learn takes products in float32 and compares what rounding leaves of them; where the sides differ, who is right
is found by products in float64, for every point that is concerned. brainviz takes products in bfloat16 where the
processor has instructions for it, and again in float64 where that leaves a pair in doubt.

    python -m bench.concepts [--sizes N ...] [--threads N] [--repeats N] [--eps E] [--share S] [--sides S ...]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.optimize import nnls

from bench.machine import machine, numpy_blas
from brainviz.runs.processes import SLEEPING_THREADS

Array = NDArray[Any]
Run = dict[str, float]

N_COORDINATES, N_CLUSTERS, N_PARTICIPANTS = 512, 30, 8

#: Plain mode: other points near a core point. The rule by participants: other participants.
MIN_POINTS, MIN_PARTICIPANTS = 20, 3

SIDES = ("scikit-learn", "plain", "shared", "streamed")
GIB = 2**30


def main() -> None:
    """Run all sides in turn for every size, and print what they took, how far they agree, and what is claimed."""
    options = parse_options()
    for name in ("OMP", "MKL", "OPENBLAS"):  # read by the child processes when they load a BLAS
        os.environ[f"{name}_NUM_THREADS"] = str(options.threads)
    os.environ.update(SLEEPING_THREADS)  # as in a worker; it slows no side
    print(f"{N_COORDINATES} coordinates, float32, {options.share:.0%} in {N_CLUSTERS} clusters, eps {options.eps}, cpu")
    print(in_a_process(describe, options.threads))
    runs: dict[int, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in options.sizes:
            folder = Path(name) / str(size)
            folder.mkdir()
            in_a_process(write_data, folder, size, options.share)
            runs[size] = run_sides(folder, size, options)
            report(runs[size], size)
            if runs[size].get("scikit-learn") and runs[size].get("plain"):
                print(in_a_process(compare, folder, options.eps), flush=True)
    growth(runs)
    claims(runs)


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 40_000, 80_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--eps", type=float, default=0.35)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    return parser.parse_args()


def in_a_process(function: Any, *arguments: Any) -> Any:
    """Call a function in a new process, so that its memory and its libraries' threads are its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run_sides(folder: Path, size: int, options: argparse.Namespace) -> dict[str, list[Run]]:
    """Run every side, there and back; leave out what would not fit into memory, and say so."""
    runs: dict[str, list[Run]] = {side: [] for side in options.sides}
    print(f"\nN = {size}", flush=True)
    for repeat in range(options.repeats):
        for side in options.sides[:: -1 if repeat % 2 else 1]:
            needed, free = likely_memory(side, size, options.share), psutil.virtual_memory().available
            if needed > 0.9 * free:
                print(
                    f"  {side}: left out, it may need {needed / GIB:.1f} GiB and {free / GIB:.1f} are free", flush=True
                )
                continue
            run = in_a_process(PROGRAMS[side], folder, options.eps)
            runs[side].append(run)
            print(
                f"  {side}: {run['wall']:.1f} s, processor {run['processor']:.1f} s, added {run['added'] / GIB:.2f} GiB"
            )
    return runs


def likely_memory(side: str, size: int, share: float) -> float:
    """Return bytes that a run may need at most, its points included."""
    points = size * N_COORDINATES * 4
    if side != "scikit-learn":
        return 3 * points + 2**28 + (size**2 / 16 if side != "streamed" else 0)
    # Neighbours as int64, the largest of the clusters counted whole; two distances per chunk's pair, in float64.
    sizes = share * size * cluster_shares()
    return float(4 * points + 8 * np.sum(sizes**2) + 3 * GIB)


def cluster_shares() -> Array:
    """Return the clusters' shares of the points in clusters."""
    shares = 1 / np.arange(1, N_CLUSTERS + 1)
    return np.asarray(shares / shares.sum())


# --- what runs in a process of its own --------------------------------------------------------------------------------


def write_data(folder: Path, size: int, share: float) -> None:
    """Write points and participants, in random order; a cluster has points of 2 to 8 participants."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((N_CLUSTERS, N_COORDINATES))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    to_centre = rng.permutation(np.linspace(0.75, 0.95, N_CLUSTERS))  # cosine of a cluster's points with its centre
    spread = np.sqrt((1 / to_centre**2 - 1) / N_COORDINATES)
    n_having = rng.integers(2, N_PARTICIPANTS + 1, N_CLUSTERS)
    cluster = rng.choice(N_CLUSTERS, size, p=cluster_shares())
    cluster[rng.random(size) >= share] = -1
    points = np.lib.format.open_memmap(folder / "points.npy", "w+", np.float32, (size, N_COORDINATES))
    for start in range(0, size, 5000):
        own = cluster[start : start + 5000]
        some = rng.standard_normal((len(own), N_COORDINATES))
        inside = own >= 0
        # Some points lie further out than others.
        far = spread[own[inside]] * rng.lognormal(0, 0.25, inside.sum())
        some[inside] = centres[own[inside]] + far[:, None] * some[inside]
        points[start : start + 5000] = some / np.linalg.norm(some, axis=1, keepdims=True)
    who = rng.integers(N_PARTICIPANTS, size=size)
    np.save(folder / "who.npy", np.where(cluster >= 0, who % n_having[cluster], who))


def describe(threads: int) -> str:
    """Return versions, BLAS and threads, and the rate of a large product."""
    import sklearn

    return f"{machine(threads)}; scikit-learn {sklearn.__version__}, {numpy_blas()}"


def run_sklearn(folder: Path, eps: float) -> Run:
    """Cluster with scikit-learn; write the result, return seconds and added memory."""
    from sklearn.cluster import DBSCAN

    def cluster(points: Array) -> tuple[Array, Array]:
        found = DBSCAN(eps=eps, min_samples=MIN_POINTS + 1, metric="cosine", algorithm="brute").fit(points)
        return found.labels_, np.isin(np.arange(len(points)), found.core_sample_indices_)

    return measure(folder, "scikit-learn", cluster)


def run_plain(folder: Path, eps: float) -> Run:
    """Cluster with brainviz, every point a participant of its own."""
    from brainviz.analyses.concepts import cluster_shared

    def cluster(points: Array) -> tuple[Array, Array]:
        found = cluster_shared(points, None, eps, MIN_POINTS)
        return found.labels, found.core

    return measure(folder, "plain", cluster)


def run_shared(folder: Path, eps: float) -> Run:
    """Cluster with brainviz by participants."""
    return measure(folder, "shared", by_participants(folder, eps, streamed=False))


def run_streamed(folder: Path, eps: float) -> Run:
    """Cluster with brainviz by participants, and keep no bits."""
    return measure(folder, "streamed", by_participants(folder, eps, streamed=True))


def by_participants(folder: Path, eps: float, *, streamed: bool) -> Callable[[Array], tuple[Array, Array]]:
    """Return what clusters points by the rule of participants."""
    from brainviz.analyses.concepts import cluster_shared

    who = np.load(folder / "who.npy")

    def cluster(points: Array) -> tuple[Array, Array]:
        found = cluster_shared(points, who[: len(points)], eps, MIN_PARTICIPANTS, streamed=streamed)
        return found.labels, found.core

    return cluster


PROGRAMS = {"scikit-learn": run_sklearn, "plain": run_plain, "shared": run_shared, "streamed": run_streamed}


def measure(folder: Path, side: str, cluster: Callable[[Array], tuple[Array, Array]]) -> Run:
    """Cluster all points; write labels and core flags, return seconds, wall and processor, and added bytes."""
    points = np.load(folder / "points.npy")
    cluster(points[:3000])  # libraries are loaded, and start their threads
    process = psutil.Process()
    with Peak() as peak:
        before, wall = process.cpu_times(), time.perf_counter()
        labels, core = cluster(points)
        wall, after = time.perf_counter() - wall, process.cpu_times()
    np.savez(folder / f"{side}.npz", labels=labels, core=core)
    inside = labels >= 0
    return {
        "wall": wall,
        "processor": after.user + after.system - before.user - before.system,
        "added": peak.added,
        "clusters": int(labels.max()) + 1,
        "core": int(core.sum()),
        "border": int((inside & ~core).sum()),
        "noise": int((~inside).sum()),
    }


class Peak:
    """Watches this process's resident memory, 50 times a second."""

    def __init__(self) -> None:
        self._process, self._done = psutil.Process(), threading.Event()
        self.before = self._process.memory_info().rss
        self.added = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.added = max(self.added, self._process.memory_info().rss - self.before)


def compare(folder: Path, eps: float) -> str:
    """Return in words how far scikit-learn and brainviz agree, and who is right where they do not."""
    ours, theirs = (np.load(folder / f"{side}.npz") for side in ("plain", "scikit-learn"))
    both = ours["core"] & theirs["core"]
    core, noise = ours["core"] != theirs["core"], (ours["labels"] < 0) != (theirs["labels"] < 0)
    pairs = np.unique(np.stack([ours["labels"][both], theirs["labels"][both]]), axis=1)
    same = len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))
    words = (
        f"  agreement with scikit-learn: {core.sum()} core flags and {noise.sum()} points that are noise differ, "
        f"partition of core points {'the same' if same else 'NOT the same'}"
    )
    if not (core.any() or noise.any()):
        return words
    points = np.load(folder / "points.npy").astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    differing = np.flatnonzero(core | noise)
    near = 1 - points[differing] @ points.T <= eps
    is_core = near.sum(axis=1) > MIN_POINTS
    has_core = (near & ours["core"]).any(axis=1)
    right = (is_core == ours["core"][differing]) & (has_core == (ours["labels"][differing] >= 0))
    return f"{words}; in float64, brainviz is right about {right.sum()} of the {len(differing)} points concerned"


# --- report -----------------------------------------------------------------------------------------------------------


def median(runs: list[Run], name: str) -> float:
    """Return the median of one number of several runs."""
    return statistics.median(run[name] for run in runs)


def report(runs: dict[str, list[Run]], size: int) -> None:
    """Print medians and their ratios to those of brainviz in plain mode."""
    plain = runs.get("plain")
    print(f"  median of {max(map(len, runs.values()))}; ratios to plain")
    print(f"  {'':<14}{'wall s':>8}{'x':>6}{'proc. s':>9}{'x':>6}{'GiB':>7}{'x':>6}   clusters, core, border, noise")
    for side, some in runs.items():
        if not some:
            continue
        cells = ""
        for name, width, unit in (("wall", 8, 1.0), ("processor", 9, 1.0), ("added", 7, GIB)):
            value = median(some, name)
            ratio = f"{value / median(plain, name):6.2f}" if plain else f"{'':6}"
            cells += f"{value / unit:{width}.{2 if name == 'added' else 1}f}{ratio}"
        counts = ", ".join(f"{some[0][name]}" for name in ("clusters", "core", "border", "noise"))
        print(f"  {side:<14}{cells}   {counts}")


def growth(runs: dict[int, dict[str, list[Run]]]) -> None:
    """Print the powers of N with which time and memory grow, and what they make of 320 000 points.

    The estimate is a N + b N^2, neither below 0, fitted to the relative errors: the power between small sizes, where
    what grows with N still counts, or waits for other work on the machine, is no law.
    """
    sizes, target = sorted(runs), 320_000
    print("\ngrowth with N")
    for side in SIDES:
        have = [size for size in sizes if runs[size].get(side)]
        if len(have) < 2:
            continue
        for name, unit, word in (("wall", 60.0, "min"), ("processor", 60.0, "min"), ("added", GIB, "GiB")):
            values = np.array([median(runs[size][side], name) for size in have])
            powers = np.diff(np.log(values)) / np.diff(np.log(have))
            n = np.array(have, float)
            a, b = nnls(np.stack([n, n**2], axis=1) / values[:, None], np.ones(len(n)))[0]
            told = ", ".join(f"{power:.2f}" for power in powers)
            there = (a * target + b * target**2) / unit
            print(f"  {side:<14}{name:<10} with the power {told}; {target} points: {there:.1f} {word}")


def claims(runs: dict[int, dict[str, list[Run]]]) -> None:
    """Print what is claimed, and whether it holds."""
    print("\nclaims")
    for size in sorted(runs):
        sides = {side: some for side, some in runs[size].items() if some}
        if "plain" not in sides:
            continue
        if "scikit-learn" in sides and size >= 40_000:
            times = median(sides["scikit-learn"], "wall") / median(sides["plain"], "wall")
            print(f"  N = {size}: at least 3 times as fast as scikit-learn: {holds(times >= 3)}, {times:.1f} times")
            share = median(sides["plain"], "added") / median(sides["scikit-learn"], "added")
            print(f"  N = {size}: at most half of its added memory: {holds(share <= 0.5)}, {share:.2f}")
        if "shared" in sides:
            for name in ("wall", "processor"):
                times = median(sides["shared"], name) / median(sides["plain"], name)
                print(
                    f"  N = {size}: participants within 1.3 times of plain, {name}: {holds(times <= 1.3)}, {times:.2f}"
                )
    n = 320_000
    # The points in float32 and in bfloat16, and a quarter GiB for blocks and a few numbers per point.
    copy = n * N_COORDINATES * 6 + 2**28
    needed = {"bits, half of N^2 / 8": (copy + n**2 / 16, 13.0), "streamed": (float(copy), 2.0)}
    for word, (n_bytes, limit) in needed.items():
        print(f"  N = {n}, {word}: below {limit:.0f} GiB: {holds(n_bytes < limit * GIB)}, {n_bytes / GIB:.1f} by count")


def holds(is_so: bool) -> str:
    """Return in words whether a claim holds."""
    return "holds" if is_so else "DOES NOT HOLD"


if __name__ == "__main__":
    main()
