"""Speed of training a bottleneck network against a plain PyTorch loop; or time and memory of a subject's whole job.

Both sides train the published network (width 6000, batch 128, leak, racing loss, Lion) on the same random data and
predict the validation pictures after every epoch:

* `brainviz`: `fit_bottleneck`.
* `plain`: the loop as it is usually written, and as the published code has it: the data stay on the host, a DataLoader
  collects every batch, noise is drawn on the host, the loss is asked for after every batch. Modules are torch's, Lion
  timm's. The published code also projects every batch of responses onto their PCA again, which this loop is spared.

The first epoch of a run is left out, so that neither what setting up takes nor the first use of memory counts. Sides
take turns, and the median over the repeats is reported.

With `--full`, instead: from random responses of low rank on disk and given features to the correlation of every vertex
on test pictures, with a PCA of each hemisphere and ten epochs of training from random weights (to start from trained
ones would cost the same). The data are written by another process; peak memory is that of the job with all libraries,
and counts the pages of the files that it reads.

    python -m bench.bottleneck [--images N --epochs N --repeats N] [--threads N] [--device cpu|cuda]
    python -m bench.bottleneck --full [--images N --vertices N N --epochs N] [--scratch FOLDER]
"""

from __future__ import annotations

import argparse
import copy
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from bench.machine import device_name, machine, numpy_blas, torch_blas
from brainviz.runs.processes import SLEEPING_THREADS

os.environ.update(SLEEPING_THREADS)  # as in a worker; read when the libraries below are loaded

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from timm.optim.lion import Lion
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.pca import fit_pca, principal_axes
from brainviz.models.bottleneck import Bottleneck
from brainviz.training.bottleneck import SubjectData, fit_bottleneck, predict

BATCH_SIZE, DROPOUT, ALPHA, BETA, LEARNING_RATE, WEIGHT_DECAY = 128, 0.2, 0.02, 0.002, 1e-4, 1e-3
TEST_SHARE, VALIDATION_SHARE = 0.15, 0.1

#: What the whole job of a subject of full size may take.
CLAIMED_MINUTES, CLAIMED_GIB = 6, 10

Array = NDArray[np.float32]


def main() -> None:
    """Time both sides of the training, or the whole job."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        print(describe(options), flush=True)
        for device in options.device:
            if options.full:
                whole_job(device, options)
            else:
                compare(device, options)
        if "cuda" not in options.device:
            why = "not asked for" if torch.cuda.is_available() else "there is none here"
            print(f"GPU: {why}; nothing is said about it by this run")


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a subject's whole job instead")
    sizes = {"images": 9000, "features": 300, "components": 75, "width": 6000, "repeats": 3}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--epochs", type=int, help="1 that is timed per repeat; 10 with --full")
    parser.add_argument("--vertices", type=int, nargs=2, default=[19_004, 20_544], help="of both hemispheres")
    parser.add_argument("--scratch", type=Path, help="folder for the responses, 1.4 GiB at full size")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    parser.add_argument("--device", nargs="+", choices=("cpu", "cuda"), default=devices)
    options = parser.parse_args()
    if options.epochs is None:
        options.epochs = 10 if options.full else 1
    return options


def describe(options: argparse.Namespace) -> str:
    """Return sizes, versions, BLAS and threads."""
    return (
        f"{options.images} pictures, {options.features} features, {options.components} components per hemisphere, "
        f"width {options.width}, batch {BATCH_SIZE}, float32 (no TF32)\n"
        f"{machine(options.threads)}; {torch_blas()}; {numpy_blas()}"
    )


def wait_for(device: str) -> None:
    """Wait until the device has done what it was given to do."""
    if device == "cuda":
        torch.cuda.synchronize()


# --- training ---------------------------------------------------------------------------------------------------------


def compare(device: str, options: argparse.Namespace) -> None:
    """Time both sides on one device and print what an epoch takes."""
    data = random_data(options)
    n_batches = -(-(len(data.features) - len(data.validation)) // BATCH_SIZE)
    seconds: dict[str, list[tuple[float, float]]] = {"brainviz": [], "plain": []}
    for repeat in range(options.repeats):
        for side in list(seconds)[:: -1 if repeat % 2 else 1]:
            ends: list[tuple[float, float]] = []

            def count(done: int, _: int, ends: list[tuple[float, float]] = ends) -> None:
                if done % n_batches == 0:
                    wait_for(device)
                    ends.append((time.perf_counter(), time.process_time()))

            if side == "brainviz":
                fit_bottleneck(
                    [data],
                    epochs=options.epochs + 1,
                    batch_size=BATCH_SIZE,
                    learning_rate=LEARNING_RATE,
                    weight_decay=WEIGHT_DECAY,
                    width=options.width,
                    dropout=DROPOUT,
                    alpha=ALPHA,
                    beta=BETA,
                    device=device,
                    progress=count,
                )
            else:
                plain_loop(data, options.width, options.epochs + 1, device, count)
            # Between the ends of the first and the last epoch's batches: that many epochs, each with its validation.
            wall, cpu = np.subtract(ends[-1], ends[0]) / options.epochs
            seconds[side].append((float(wall), float(cpu)))
    print(f"\n{device_name(device)}: an epoch of {n_batches} batches, median of {options.repeats} (each)")
    medians = {}
    for side, times in seconds.items():
        wall, cpu = map(statistics.median, zip(*times, strict=True))
        medians[side] = wall, cpu
        each = ", ".join(f"{one:.2f}" for one, _ in times)
        print(f"  {side:<10}{wall:8.2f} s{1 / wall:9.3f} epochs per second, {cpu:.2f} s of CPU   ({each})")
    wall_ratio, cpu_ratio = np.divide(medians["plain"], medians["brainviz"])
    print(
        f"  brainviz is {wall_ratio:.2f} times as fast ({cpu_ratio:.2f} by CPU seconds, which others' load sways less)"
    )


def random_data(options: argparse.Namespace) -> SubjectData:
    """Return random features and components, with the falling variances of a PCA."""
    rng = np.random.default_rng(0)
    variances = np.tile(1000 / np.arange(1, options.components + 1), 2).astype(np.float32)
    features = rng.standard_normal((options.images, options.features), dtype=np.float32)
    scores = rng.standard_normal((options.images, len(variances)), dtype=np.float32) * np.sqrt(variances)
    left, right = np.split(scores, 2, axis=1)
    return SubjectData(features, left, right, variances, np.arange(round(VALIDATION_SHARE * options.images)))


class Plain(nn.Module):
    """The network in torch's own modules, with their initial weights."""

    def __init__(self, n_features: int, n_components: int, width: int) -> None:
        super().__init__()
        self.widen, self.residual = nn.Linear(n_features, width), nn.Linear(width, width)
        self.prelu, self.dropout = nn.PReLU(), nn.Dropout(DROPOUT)
        self.theta = nn.Linear(2 * n_components, width)
        self.left, self.right = nn.Linear(width, n_components), nn.Linear(width, n_components)

    def forward(self, x: Tensor, y: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        h = self.widen(x)
        h = self.dropout(h + self.prelu(self.residual(h)))
        if y is None:
            h = (h - (ALPHA + BETA) * self.theta(noise)) / (1 + ALPHA + BETA)
        else:
            h = (h + ALPHA * self.theta(y) + BETA * self.theta(noise)) / (1 + ALPHA + BETA)
        return self.left(h), self.right(h)


def plain_loop(
    data: SubjectData, width: int, epochs: int, device: str, progress: Callable[[int, int], None]
) -> dict[str, Tensor]:
    """Train in the usual way; return the weights of the best epoch."""
    torch.manual_seed(0)
    is_train = np.ones(len(data.features), bool)
    is_train[data.validation] = False
    sets = [
        TensorDataset(*(torch.from_numpy(values[rows]) for values in (data.features, data.left, data.right)))
        for rows in (is_train, ~is_train)
    ]
    loader = DataLoader(sets[0], batch_size=BATCH_SIZE, shuffle=True)
    sd = torch.from_numpy(data.eigenvalues).sqrt()
    network = Plain(data.features.shape[1], data.left.shape[1], width).to(device)
    optimizer: torch.optim.Optimizer = Lion(list(network.parameters()), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_state, losses = -np.inf, network.state_dict(), []
    for _ in range(epochs):
        network.train()
        for batch in loader:
            x, left, right = (values.to(device) for values in batch)
            noise = (torch.randn(len(x), len(sd)) * sd).to(device)
            predicted = network(x, torch.cat([left, right], dim=1), noise)
            s_left = functional.cosine_similarity(predicted[0], left, dim=1).mean()
            s_right = functional.cosine_similarity(predicted[1], right, dim=1).mean()
            loss = -(torch.minimum(s_left, s_right) + (s_left + s_right) / 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            progress(len(losses), epochs * len(loader))
        network.eval()
        x, left, right = (values.to(device) for values in sets[1].tensors)
        with torch.no_grad():
            found = torch.cat(network(x, None, (torch.randn(len(x), len(sd)) * sd).to(device)), dim=1).cpu().numpy()
        measured = torch.cat([left, right], dim=1).cpu().numpy()
        r = float(np.mean([np.corrcoef(found[:, i], measured[:, i])[0, 1] for i in range(len(sd))]))
        if r > best:
            best, best_state = r, copy.deepcopy(network.state_dict())
    return best_state


# --- the whole job ----------------------------------------------------------------------------------------------------


class Clock:
    """Prints wall and CPU seconds of named parts, and the peak memory after each."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure the block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu
        print(f"  {name:<28}{wall:8.1f} s ({cpu:.1f} CPU), peak {peak_gib():.2f} GiB", flush=True)


def peak_gib() -> float:
    """Return the most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def whole_job(device: str, options: argparse.Namespace) -> None:
    """Write the data, do the job on one device, and print what it took."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        sizes = (options.images, options.features, options.vertices)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            pool.submit(write_data, Path(name), *sizes).result()
        print(f"\n{device_name(device)}: {options.vertices} vertices, {options.epochs} epochs")
        print(f"from {peak_gib():.2f} GiB")
        clock = Clock()
        ours, ceiling = encode(Path(name), clock, device, options)
    print(f"mean r over vertices {np.mean(ours):.3f}; of responses rebuilt from components {np.mean(ceiling):.3f}")
    minutes, peak = clock.wall / 60, peak_gib()
    print(f"in all {minutes:.2f} minutes ({clock.cpu / 60:.2f} CPU), peak memory {peak:.2f} GiB")
    if options.images >= 9000 and sum(options.vertices) >= 39_548 and options.epochs >= 10:
        held = minutes <= CLAIMED_MINUTES and peak <= CLAIMED_GIB
        print(f"claim, {CLAIMED_MINUTES} minutes and {CLAIMED_GIB} GiB: {'holds' if held else 'DOES NOT HOLD'} here")
    else:
        print("the claim is about full size, and not tested by this run")


def write_data(folder: Path, n: int, p: int, n_vertices: list[int]) -> None:
    """Write features with the falling spectrum of a PCA, and responses: 100 non-linear functions of them, and noise."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, p), dtype=np.float32) / np.sqrt(np.arange(1, p + 1, dtype=np.float32))
    np.save(folder / "features.npy", features)
    latent = np.tanh(2 * features @ rng.standard_normal((p, 100), dtype=np.float32))
    latent /= np.sqrt(np.arange(1, 101, dtype=np.float32))
    for hemi, v in zip(("lh", "rh"), n_vertices, strict=True):
        tuning = rng.standard_normal((100, v), dtype=np.float32)
        responses = np.lib.format.open_memmap(folder / f"{hemi}.npy", mode="w+", dtype=np.float32, shape=(n, v))
        for start in range(0, n, 500):
            signal = latent[start : start + 500] @ tuning
            responses[start : start + 500] = signal + 3 * rng.standard_normal(signal.shape, dtype=np.float32)
        responses.flush()


def encode(
    folder: Path, clock: Clock, device: str, options: argparse.Namespace
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do a subject's whole job; return r of every vertex on test pictures, and what its components alone allow."""
    features: Array = np.load(folder / "features.npy")
    order = np.random.default_rng(1).permutation(len(features))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    validation = np.arange(round(VALIDATION_SHARE * len(train)))
    fit_rows = train[len(validation) :]
    pcas, axes = {}, {}
    for hemi in ("lh", "rh"):
        responses = np.load(folder / f"{hemi}.npy", mmap_mode="r")
        with clock.part(f"PCA, {hemi}"):
            pcas[hemi] = fit_pca(responses, fit_rows, options.components, device=device)
        with clock.part(f"axes, {hemi}"):
            axes[hemi] = principal_axes(responses, fit_rows, pcas[hemi])
    with clock.part("training"):
        eigenvalues = np.concatenate([pca.explained_variance for pca in pcas.values()])
        left, right = (pca.scores[train] for pca in pcas.values())
        data = SubjectData(features[train], left, right, eigenvalues, validation)
        settings = {"epochs": options.epochs, "batch_size": BATCH_SIZE, "width": options.width}
        network: Bottleneck = fit_bottleneck([data], **settings, device=device).network
    with clock.part("prediction"):
        predicted = dict(zip(pcas, predict(network, features[test], eigenvalues), strict=True))
    r: list[NDArray[np.float64]] = []
    ceiling: list[NDArray[np.float64]] = []
    with clock.part("vertices and their r"):
        for hemi, pca in pcas.items():
            measured = np.load(folder / f"{hemi}.npy", mmap_mode="r")[test]
            mean, components = axes[hemi]
            for found, scores in ((r, predicted[hemi]), (ceiling, pca.scores[test])):
                found.append(pearson_r(scores @ components + mean.astype(np.float32), measured))
    return np.concatenate(r), np.concatenate(ceiling)


if __name__ == "__main__":
    main()
