"""Speed of the whole encoding job for one ROI, eight layers of AlexNet, against the plain recipe of methods section 2.

Both sides start from the same features of the layers and use the same folds, penalties and number of components; both
choose a penalty per vertex and a layer for the ROI by cross-validation, and report r on test pictures. The plain recipe
is what a careful user writes with scikit-learn and scipy: a PCA per fold and layer, a `Ridge` fit per fold and penalty,
a `pearsonr` per vertex. brainviz fits one PCA per layer, on all training pictures, so that the cross-validated r differ
a little.

    python -m bench.encoding [--data demo --subject subj01 --hemi lh --roi all --images 300]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainviz.runs.processes import SLEEPING_THREADS

os.environ.update(SLEEPING_THREADS)  # as in a worker; read when the libraries below are loaded

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ConstantInputWarning, pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import nn

from bench.machine import machine, numpy_blas, torch_blas
from brainviz import open_dataset
from brainviz.datasets.images import pixel_digest
from brainviz.encoding.features import layer_features
from brainviz.encoding.metrics import pearson_r
from brainviz.encoding.pca import fit_pca
from brainviz.encoding.ridge import assign_folds, prepare_ridge
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD, candidate_layers, load_backbone

NETWORK = "alexnet"
IMAGE_SIZE = 224
N_COMPONENTS = 1000
N_FOLDS = 5
ALPHAS = np.logspace(-1, 7, 9)
TEST_SHARE = 0.15


@dataclass(frozen=True)
class Job:
    """What both sides are given.

    Attributes
    ----------
    features : dict
        Layer -> (n, p) float32.
    responses : (n, v) float32 array
    train, test : int arrays
        Rows.
    groups : (n,) int array
        Equal pictures have equal numbers.
    n_components : int
        At most; as many as the smallest training part of a fold allows.
    """

    features: dict[str, NDArray[np.float32]]
    responses: NDArray[np.float32]
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.int64]
    n_components: int

    def only(self, layer: str) -> Job:
        """Return the job with one layer and a few vertices."""
        return replace(self, features={layer: self.features[layer]}, responses=self.responses[:, :8])


@dataclass(frozen=True)
class Outcome:
    """Layer -> mean cross-validated r over vertices; the chosen layer; r per vertex on the test pictures."""

    cv_r: dict[str, float]
    layer: str
    r: NDArray[np.float64]


class Clock:
    """Wall and CPU seconds per named part."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a part."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] += time.perf_counter() - wall
        self.cpu[name] += time.process_time() - cpu

    def __str__(self) -> str:
        parts = "; ".join(f"{name} {self.wall[name]:.1f} s ({self.cpu[name]:.1f} CPU)" for name in self.wall)
        return f"{sum(self.wall.values()):8.1f} s wall, {sum(self.cpu.values()):8.1f} s CPU   [{parts}]"


def main() -> None:
    """Run both sides on the same features, and print settings, times, ratios and how far the results differ."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads), tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        extraction = Clock()
        job = prepare(options, Path(folder), extraction)
        describe(options, job)
        print(f"pictures and features: {extraction}", flush=True)
        for side in (brainviz_side, plain_side):  # loading of libraries and first starts of threads count for neither
            run(side, job.only("classifier.6"))
        ours, ours_time = run(brainviz_side, job)
        print(f"brainviz:      {ours_time}", flush=True)
        plain, plain_time = run(plain_side, job)
        print(f"plain recipe:  {plain_time}")
    report(ours, plain)
    common = sum(extraction.wall.values())
    for what, first, second, shared in (
        ("wall", plain_time.wall, ours_time.wall, common),
        ("CPU", plain_time.cpu, ours_time.cpu, sum(extraction.cpu.values())),
    ):
        p, b = sum(first.values()), sum(second.values())
        print(f"ratio ({what}): {p / b:.1f}; with the extraction on both sides {(p + shared) / (b + shared):.1f}")


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo", help="name or folder of a data set in the Algonauts layout")
    parser.add_argument("--subject", default="subj01")
    parser.add_argument("--hemi", default="lh", choices=["lh", "rh"])
    parser.add_argument("--roi", default="all")
    parser.add_argument("--images", type=int, default=300, help="training and test pictures together")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--scratch", type=Path, help="folder for features larger than 1 GiB (4 bytes x 206,000 each)")
    return parser.parse_args()


def prepare(options: argparse.Namespace, folder: Path, clock: Clock) -> Job:
    """Read pictures and responses, and compute the features of all layers."""
    dataset = open_dataset(options.data)
    pictures = dataset.images(options.subject)
    rows = np.arange(min(options.images, len(pictures)))
    responses = dataset.responses(options.subject, options.hemi, options.roi, rows)

    def decode(row: int) -> Image.Image:
        picture: Image.Image = pictures[row]
        return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)

    with clock.part("decoding"), ThreadPoolExecutor(options.threads) as pool:
        decoded = list(pool.map(decode, rows.tolist()))
    groups = np.unique([pixel_digest(picture) for picture in decoded], return_inverse=True)[1]
    images = np.stack([np.asarray(picture) for picture in decoded])
    with clock.part("network"):
        layers = candidate_layers(NETWORK)
        features = layer_features(random_network(), layers, images, IMAGENET_MEAN, IMAGENET_STD, folder=folder)
    is_test = np.isin(
        groups, np.random.default_rng(0).permutation(groups.max() + 1)[: round(TEST_SHARE * groups.max())]
    )
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    smallest = len(train) - np.bincount(assign_folds(len(train), N_FOLDS, groups[train])).max()
    return Job(features, responses, train, test, groups, min(N_COMPONENTS, int(smallest) - 1))


def random_network() -> nn.Module:
    """Return the network with He's random weights: they keep the scale of activations, as trained ones do.

    torchvision's own shrink it from layer to layer, until the penalties leave nothing of the logits.
    """
    torch.manual_seed(0)
    backbone = load_backbone(NETWORK, "random", "")
    for module in backbone.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return backbone


def describe(options: argparse.Namespace, job: Job) -> None:
    """Print the sizes, and the BLAS, threads and dtype of both sides."""
    sizes = ", ".join(f"{layer} {features.shape[1]}" for layer, features in job.features.items())
    print(f"{options.data} {options.subject} {options.hemi} {options.roi}: {job.responses.shape[1]} vertices")
    print(f"{len(job.train)} training and {len(job.test)} test pictures; {NETWORK}, random weights, {IMAGE_SIZE} px")
    print(f"features: {sizes}")
    print(f"at most {job.n_components} components, {len(ALPHAS)} penalties, {N_FOLDS} folds")
    print(f"float32, cpu; {machine(torch.get_num_threads())}")
    print(f"numpy, scipy and scikit-learn: {numpy_blas()}; {torch_blas()}")


def run(side: Callable[[Job, Clock], Outcome], job: Job) -> tuple[Outcome, Clock]:
    """Return what a side finds, and its times."""
    clock = Clock()
    return side(job, clock), clock


# --- brainviz ---------------------------------------------------------------------------------------------------------


def brainviz_side(job: Job, clock: Clock) -> Outcome:
    """Return what brainviz finds: one PCA and one ridge design per layer, all penalties and vertices at once."""
    cv_r: dict[str, float] = {}
    for layer, features in job.features.items():
        with clock.part("PCA"):
            scores = fit_pca(features, job.train, job.n_components).scores
        with clock.part("ridge"):
            design = prepare_ridge(scores[job.train], ALPHAS, N_FOLDS, groups=job.groups[job.train])
            selection = design.select(job.responses, rows=job.train)
        cv_r[layer] = float(np.nanmean(selection.cv_r))
        if cv_r[layer] == max(cv_r.values()):
            best = design, selection.alpha, scores[job.test]
    design, alpha, new = best
    measured = job.responses[job.test]
    r = np.empty(measured.shape[1])
    with clock.part("test"):
        for columns, predicted, _ in design.predict(new, job.responses, alpha, rows=job.train):
            r[columns] = pearson_r(predicted, measured[:, columns])
    return Outcome(cv_r, max(cv_r, key=cv_r.__getitem__), r)


# --- the plain recipe -------------------------------------------------------------------------------------------------


def plain_side(job: Job, clock: Clock) -> Outcome:
    """Return what the recipe finds, step by step as it is written down."""
    Y, Y_test = job.responses[job.train], job.responses[job.test]
    fold_of_row = assign_folds(len(job.train), N_FOLDS, job.groups[job.train])
    cv_r, penalties = {}, {}
    for layer, features in job.features.items():
        X = features[job.train]
        r = np.zeros((len(ALPHAS), Y.shape[1]))
        for fold in range(N_FOLDS):
            fitted, left_out = fold_of_row != fold, fold_of_row == fold
            with clock.part("PCA"):
                pca = PCA(min(job.n_components, X.shape[1]), random_state=0).fit(X[fitted])
                scores, new = pca.transform(X[fitted]), pca.transform(X[left_out])
            for number, alpha in enumerate(ALPHAS):
                with clock.part("ridge"):
                    predicted = Ridge(alpha).fit(scores, Y[fitted]).predict(new)
                with clock.part("correlation"):
                    r[number] += correlations(predicted, Y[left_out]) / N_FOLDS
        penalties[layer] = ALPHAS[r.argmax(axis=0)]
        cv_r[layer] = float(np.nanmean(r.max(axis=0)))
    layer = max(cv_r, key=cv_r.__getitem__)
    X, X_test = job.features[layer][job.train], job.features[layer][job.test]
    with clock.part("PCA"):
        pca = PCA(min(job.n_components, X.shape[1]), random_state=0).fit(X)
        scores, new = pca.transform(X), pca.transform(X_test)
    predicted = np.empty_like(Y_test)
    with clock.part("ridge"):
        for alpha in np.unique(penalties[layer]):
            chosen = penalties[layer] == alpha
            predicted[:, chosen] = Ridge(alpha).fit(scores, Y[:, chosen]).predict(new).reshape(len(new), -1)
    with clock.part("correlation"):
        return Outcome(cv_r, layer, correlations(predicted, Y_test))


def correlations(predicted: NDArray[np.floating[Any]], measured: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Pearson r of every column, one after the other; NaN for a constant one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return np.array([pearsonr(predicted[:, i], measured[:, i]).statistic for i in range(measured.shape[1])])


def report(ours: Outcome, plain: Outcome) -> None:
    """Print what both sides found."""
    print("mean cross-validated r per layer (one PCA on all training pictures; a PCA per fold):")
    for layer, r in ours.cv_r.items():
        print(
            f"  {layer:<14} brainviz {r:.4f}   plain {plain.cv_r[layer]:.4f}   difference {r - plain.cv_r[layer]:+.4f}"
        )
    largest = max(abs(r - plain.cv_r[layer]) for layer, r in ours.cv_r.items())
    print(f"largest difference {largest:.4f}")
    print(f"chosen layer: brainviz {ours.layer}, plain {plain.layer}")
    print(f"mean test r: brainviz {np.nanmean(ours.r):.4f}, plain {np.nanmean(plain.r):.4f}")


if __name__ == "__main__":
    main()
