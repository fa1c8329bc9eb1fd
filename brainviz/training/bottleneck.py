"""Fitting bottleneck networks: first on all subjects together, then on each; the epoch with the best r is kept.

All data are moved to the device once. A stage of training (the one on all subjects, and each subject's own) has random
streams of its own, so that what one learns does not depend on how many others there are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.bottleneck import Bottleneck, draw_noise, mean_cosine, race

BottleneckLoss = Literal["racing", "cosine", "mse"]
BOTTLENECK_LOSSES: tuple[str, ...] = get_args(BottleneckLoss)

#: Rows that are predicted at a time: h of the published width then takes 25 MB.
ROWS_PER_BLOCK = 1024

Progress = Callable[[int, int], None]
HemispherePair = tuple[NDArray[np.floating], NDArray[np.floating]]


class Streams(NamedTuple):
    """Seeds of a stage's random streams: weights, order of the batches, dropout and noise, noise at validation."""

    weights: int
    order: int
    draws: int
    validation: int


@dataclass(frozen=True, eq=False)
class Curves:
    """How one stage of training went, over E epochs.

    Attributes
    ----------
    s_left, s_right : (E,) float64 array
        Mean cosines with the targets, over the epoch's pictures as they were trained on: with dropout, and with the
        targets leaking in. The lower one is of the hemisphere that lags.
    loss : (E,) float64 array
        Mean over the same pictures.
    subject_r : (E, S) float64 array
        Of each subject that was trained on, after the epoch: mean Pearson r of the 2 k components over the validation
        pictures. A component that is predicted the same for all of them counts as 0.
    best : int
        The epoch that was kept, from 0: the first of the highest validation r.
    """

    s_left: NDArray[np.float64]
    s_right: NDArray[np.float64]
    loss: NDArray[np.float64]
    subject_r: NDArray[np.float64]
    best: int

    @property
    def validation_r(self) -> NDArray[np.float64]:
        """Mean over the subjects, (E,): what the epoch is chosen by."""
        r: NDArray[np.float64] = self.subject_r.mean(axis=1)
        return r


@dataclass(frozen=True, eq=False)
class BottleneckFit:
    """Bottleneck networks of one or more subjects, and how their fit went.

    Attributes
    ----------
    networks : tuple of Bottleneck
        Of each subject, on the CPU and in evaluation mode.
    curves : tuple of Curves
        Of each subject's own training.
    pretrained : Bottleneck or None
        The network trained on all subjects, from which theirs began; None without pre-training.
    pretraining : Curves or None
    """

    networks: tuple[Bottleneck, ...]
    curves: tuple[Curves, ...]
    pretrained: Bottleneck | None
    pretraining: Curves | None


def fit_bottleneck(
    features: Sequence[NDArray[np.floating]],
    targets: Sequence[HemispherePair],
    eigenvalues: Sequence[NDArray[np.floating]],
    validation: Sequence[NDArray[np.integer]],
    *,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-3,
    loss: str = "racing",
    leak: bool = True,
    linear: bool = False,
    pretrain: bool = True,
    width: int = 6000,
    dropout: float = 0.2,
    alpha: float = 0.02,
    beta: float = 0.002,
    validation_noise: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> BottleneckFit:
    """Fit a bottleneck network to each subject, from one that is trained on all of them.

    Trained by Lion (Chen et al. 2023). A batch holds pictures of one subject. In an epoch every training picture is
    used once, in batches as even in size as they can be; the batches of all subjects come in one random order. After
    each epoch the validation pictures are predicted, always with the same noise, and the epoch with the highest mean r
    is kept: that of the subjects' mean in pre-training, and each subject's own after that.

    On the CPU the same arguments give the same weights, bit for bit, at the same versions and number of threads.
    Dropout and noise of training are drawn on the device: other ones on CUDA than on the CPU.

    Parameters
    ----------
    features : sequence of (n_s, p) arrays
        Of each subject's pictures. Used as they are: their scale against that of the targets decides how much the leak
        weighs.
    targets : sequence of pairs of (n_s, k) arrays
        Each subject's scores on the principal components of the left and of the right hemisphere. The PCA is to be
        fitted on the training pictures only: the published code's also saw the validation pictures.
    eigenvalues : sequence of (2 k,) arrays
        Variances of these components, left and then right: of the leak's noise.
    validation : sequence of int arrays
        Rows of each subject that choose the epoch and are not trained on; at least 2. All others are trained on.
    epochs : int
        Of the pre-training, and again of each subject's own training.
    batch_size : int
        At most this many pictures.
    learning_rate, weight_decay : float
        Lion moves every weight by the learning rate in every step, whatever the gradient: 700 steps of 1e-4 take it
        0.07 at most, which is little for the `linear` network. The weight decay is decoupled; 1e-3 is optax's
        default, which the published code leaves as it is.
    loss : {"racing", "cosine", "mse"}
        `racing_loss`; minus the mean of the two hemispheres' cosines; or the mean squared error. As Lion's steps have
        the same length whatever the gradient's, factors do not matter.
    leak, linear, width, dropout, alpha, beta
        Of the network, see `Bottleneck`. With `linear` there is no leak.
    pretrain : bool
        False starts each subject from initial weights of its own. A single subject has nobody to share with, and is
        never pre-trained.
    validation_noise : bool
        Whether validation pictures are predicted with noise; should be as the pictures of interest are.
    seed : int
        Of everything random.
    device : torch.device or str
    progress : callable, optional
        Called after every batch with the batches done and those to do, over all stages.

    Returns
    -------
    BottleneckFit

    Raises
    ------
    DatasetError
        Shapes that do not fit each other, NaN or infinite values, or validation rows that leave too few of either.
    SpecError
        Settings out of range, or weights that stopped being finite.

    References
    ----------
    Ndubuaku 2023, F-BNet, repository HMUNACHI/FBNET (methods, section 9).
    Chen et al. 2023, arXiv 2302.06675 (Lion).
    """
    _check_settings(epochs, batch_size, learning_rate, weight_decay, loss, seed)
    _check_data(features, targets, eigenvalues, validation)
    device = torch.device(device)
    subjects = [
        _resident(*data, streams(seed, number).validation if validation_noise else None, device)
        for number, data in enumerate(zip(features, targets, eigenvalues, validation, strict=True), start=1)
    ]

    def start(stage: int) -> Bottleneck:
        return Bottleneck(
            features[0].shape[1],
            targets[0][0].shape[1],
            width=width,
            dropout=dropout,
            alpha=alpha,
            beta=beta,
            leak=leak,
            linear=linear,
            seed=streams(seed, stage).weights,
        ).to(device)

    together = pretrain and len(subjects) > 1
    steps = (2 if together else 1) * epochs * sum(one.n_batches(batch_size) for one in subjects)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps)

    plan = _Plan(epochs, batch_size, learning_rate, weight_decay, loss, advance)
    pretrained, pretraining = None, None
    if together:
        pretrained = start(0)
        pretraining = _train(pretrained, subjects, plan, streams(seed, 0))
    networks, curves = [], []
    for number, subject in enumerate(subjects, start=1):
        network = copy.deepcopy(pretrained) if pretrained is not None else start(number)
        curves.append(_train(network, [subject], plan, streams(seed, number)))
        networks.append(network.cpu())
    if pretrained is not None:
        pretrained.cpu()
    return BottleneckFit(tuple(networks), tuple(curves), pretrained, pretraining)


def predict(
    network: Bottleneck,
    features: NDArray[np.floating],
    eigenvalues: NDArray[np.floating] | None = None,
    *,
    noise_seed: int | None = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Predict the components of both hemispheres, with noise that is the same every time or without noise.

    Parameters
    ----------
    network : Bottleneck
        Used on its device, in evaluation mode; left in the mode that it was in.
    features : (n, p) array
    eigenvalues : (2 k,) array, optional
        Variances of the noise; not needed without noise, or by a network without a leak.
    noise_seed : int or None
        Of the noise, which is drawn on the CPU and so the same on every device; None for none.

    Returns
    -------
    left, right : (n, k) float32 arrays

    Raises
    ------
    DatasetError
        Features or eigenvalues do not fit the network, or hold NaN or infinite values.
    """
    if features.ndim != 2 or features.shape[1] != network.n_features:
        raise DatasetError(
            "The features do not fit the bottleneck network.",
            got=f"shape {features.shape}",
            expected=f"(pictures, {network.n_features})",
            mend="take the features that the network was fitted to.",
        )
    _require_finite("features", features)
    device = next(network.parameters()).device
    noise = None
    if network.leaks and noise_seed is not None:
        if eigenvalues is None:
            raise DatasetError(
                "The noise needs the eigenvalues of the components.",
                mend="pass those that the network was fitted with, or noise_seed=None for a prediction without noise.",
            )
        _check_eigenvalues(eigenvalues, network.n_components)
        noise = _evaluation_noise(len(features), eigenvalues, noise_seed).to(device)
    left, right = (
        _evaluate(network, _tensor(features).to(device), noise)
        .cpu()
        .numpy()
        .reshape(len(features), 2, network.n_components)
        .swapaxes(0, 1)
    )
    return np.ascontiguousarray(left), np.ascontiguousarray(right)


def streams(seed: int, stage: int) -> Streams:
    """Return the seeds of a stage's random streams, of 32 bits each: torch reads no more of them on the CPU.

    Parameters
    ----------
    seed : int
        Of the fit; 0 or more.
    stage : int
        0 for the pre-training, and the number of a subject, from 1, for its own training. Its validation noise is the
        same in both.
    """
    return Streams(*map(int, np.random.SeedSequence(seed, spawn_key=(stage,)).generate_state(4)))


@dataclass(frozen=True, eq=False)
class _Subject:
    """One subject's data on the device.

    Attributes
    ----------
    x, y : (n_train, p) and (n_train, 2 k) tensors
    eigenvalues : (2 k,) tensor
    x_validation, y_validation : (n_validation, p) and (n_validation, 2 k) tensors
    noise : (n_validation, 2 k) tensor or None
        The same after every epoch, so that epochs differ in their weights only.
    """

    x: Tensor
    y: Tensor
    eigenvalues: Tensor
    x_validation: Tensor
    y_validation: Tensor
    noise: Tensor | None

    def n_batches(self, batch_size: int) -> int:
        return math.ceil(len(self.x) / batch_size)


@dataclass(frozen=True)
class _Plan:
    """What all stages of a fit have in common."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    loss: str
    advance: Callable[[], None]


def _resident(
    features: NDArray[np.floating],
    targets: HemispherePair,
    eigenvalues: NDArray[np.floating],
    validation: NDArray[np.integer],
    noise_seed: int | None,
    device: torch.device,
) -> _Subject:
    """Move a subject's data to the device; without a seed there is no noise at validation."""
    train = np.setdiff1d(np.arange(len(features)), validation)
    y = np.concatenate(targets, axis=1)
    noise = None if noise_seed is None else _evaluation_noise(len(validation), eigenvalues, noise_seed).to(device)
    return _Subject(
        _tensor(features[train]).to(device),
        _tensor(y[train]).to(device),
        _tensor(eigenvalues).to(device),
        _tensor(features[validation]).to(device),
        _tensor(y[validation]).to(device),
        noise,
    )


def _tensor(values: NDArray[np.floating]) -> Tensor:
    """Return a float32 tensor; copied only where it must be (torch takes no array that cannot be written)."""
    return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))


def _evaluation_noise(n_rows: int, eigenvalues: NDArray[np.floating], seed: int) -> Tensor:
    return draw_noise(n_rows, _tensor(eigenvalues), torch.Generator().manual_seed(seed))


def _train(network: Bottleneck, subjects: Sequence[_Subject], plan: _Plan, seeds: Streams) -> Curves:
    """Train the network in place, on one subject or more, and leave it at its best epoch in evaluation mode."""
    from timm.optim.lion import Lion  # takes seconds to import, and is always there: open_clip needs timm

    optimizer: torch.optim.Optimizer = Lion(
        list(network.parameters()), lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    order = torch.Generator().manual_seed(seeds.order)
    draws = torch.Generator(subjects[0].x.device).manual_seed(seeds.draws)
    n = sum(len(one.x) for one in subjects)
    figures, r = np.empty((plan.epochs, 3)), np.empty((plan.epochs, len(subjects)))
    best, best_state = -1, {}
    for epoch in range(plan.epochs):
        network.train()
        totals = torch.zeros(3, device=draws.device)  # summed up there: asking for a number would wait for the device
        for subject, rows in _batches(subjects, plan.batch_size, order):
            outcome = _loss(network, subject, rows, plan.loss, draws)
            optimizer.zero_grad()
            outcome[0].backward()
            optimizer.step()
            totals += len(rows) * outcome.detach()
            plan.advance()
        network.eval()
        r[epoch] = [_validation_r(network, one) for one in subjects]
        figures[epoch] = totals.cpu().numpy() / n
        if not (np.isfinite(figures[epoch]).all() and np.isfinite(r[epoch]).all()):
            raise SpecError(
                f"The bottleneck network stopped being finite in epoch {epoch + 1}: the training diverged.",
                got=f"a learning rate of {plan.learning_rate:g}",
                mend=f"choose a learning rate below {plan.learning_rate:g}; 1e-4 is the usual one.",
            )
        if best < 0 or r[epoch].mean() > r[best].mean():
            best, best_state = epoch, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(best_state)
    network.zero_grad()  # frees the gradients
    return Curves(figures[:, 1], figures[:, 2], figures[:, 0], r, best)


def _batches(
    subjects: Sequence[_Subject], batch_size: int, generator: torch.Generator
) -> Iterator[tuple[_Subject, Tensor]]:
    """Yield one epoch's batches: a subject, and the numbers of its training pictures, on the device."""
    batches: list[tuple[_Subject, Tensor]] = []
    for one in subjects:
        rows = torch.randperm(len(one.x), generator=generator).to(one.x.device)
        batches += [(one, part) for part in rows.tensor_split(one.n_batches(batch_size))]
    for number in torch.randperm(len(batches), generator=generator).tolist():
        yield batches[number]


def _loss(network: Bottleneck, subject: _Subject, rows: Tensor, loss: str, draws: torch.Generator) -> Tensor:
    """Return the loss of a batch, S_L and S_R, (3,)."""
    x, y = subject.x[rows], subject.y[rows]
    noise = draw_noise(len(rows), subject.eigenvalues, draws) if network.leaks else None
    predicted = network(x, y, noise, draws)
    s_left, s_right = map(mean_cosine, predicted, y.chunk(2, dim=1))
    if loss == "racing":
        value = race(s_left, s_right)
    elif loss == "cosine":
        value = -(s_left + s_right) / 2
    else:
        value = functional.mse_loss(torch.cat(predicted, dim=1), y)
    return torch.stack([value, s_left, s_right])


def _evaluate(network: Bottleneck, x: Tensor, noise: Tensor | None) -> Tensor:
    """Predict both hemispheres' components, (n, 2 k), in evaluation mode."""
    training = network.training
    network.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, max(1, len(x)), ROWS_PER_BLOCK):  # once at least, for the shape
            rows = slice(start, start + ROWS_PER_BLOCK)
            parts.append(torch.cat(network(x[rows], noise=None if noise is None else noise[rows]), dim=1))
    network.train(training)
    return torch.cat(parts)


def _validation_r(network: Bottleneck, subject: _Subject) -> float:
    """Mean Pearson r of the components over the validation pictures, in float64; NaN where predictions are infinite."""
    predicted = _evaluate(network, subject.x_validation, subject.noise if network.leaks else None)
    if not predicted.isfinite().all():
        return math.nan
    a, b = predicted.double(), subject.y_validation.double()
    # The float64 sum of equal float32 numbers is exact: a constant column becomes 0, and so does its r.
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return float(functional.cosine_similarity(a, b, dim=0).mean())


def _check_settings(
    epochs: int, batch_size: int, learning_rate: float, weight_decay: float, loss: str, seed: int
) -> None:
    if loss not in BOTTLENECK_LOSSES:
        raise SpecError(
            "Unknown loss of the bottleneck network.", got=repr(loss), expected=", ".join(BOTTLENECK_LOSSES)
        )
    finite = math.isfinite(learning_rate) and math.isfinite(weight_decay)
    if min(epochs, batch_size) < 1 or not finite or learning_rate <= 0 or weight_decay < 0 or seed < 0:
        raise SpecError(
            "The settings of the bottleneck network's training are out of range.",
            got=f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}, weight decay {weight_decay},"
            f" seed {seed}",
            expected="at least 1 epoch and a batch size of 1; a learning rate above 0; weight decay and seed 0 or more",
        )


def _check_data(
    features: Sequence[NDArray[np.floating]],
    targets: Sequence[HemispherePair],
    eigenvalues: Sequence[NDArray[np.floating]],
    validation: Sequence[NDArray[np.integer]],
) -> None:
    counts = [len(features), len(targets), len(eigenvalues), len(validation)]
    if min(counts) < 1 or len(set(counts)) > 1:
        raise DatasetError(
            "The subjects do not match.",
            got="{} of features, {} of targets, {} of eigenvalues, {} of validation rows".format(*counts),
            expected="one of each per subject, and at least one subject",
        )
    widths = set()
    for s, (x, pair, variances, rows) in enumerate(zip(features, targets, eigenvalues, validation, strict=True)):
        of = f" (subject {s + 1} of {len(features)})"
        shapes = [np.shape(values) for values in (x, *pair)]
        paired = len(pair) == 2 and len(shapes[0]) == len(shapes[1]) == 2 and shapes[1] == shapes[2]
        if not paired or len(x) != len(pair[0]) or min(shapes[0][1], shapes[1][1]) < 1:
            raise DatasetError(
                f"Features and targets do not match{of}.",
                got=f"shapes {', '.join(map(str, shapes))}",
                expected="(pictures, features) and two of (pictures, components), a row of each per picture and"
                " at least one column",
            )
        widths.add((shapes[0][1], shapes[1][1]))
        for name, values in (("features", x), ("targets", pair[0]), ("targets", pair[1])):
            _require_finite(name, values, of)
        _check_eigenvalues(variances, shapes[1][1], of)
        _check_rows(rows, len(x), of)
    if len(widths) > 1:
        raise DatasetError(
            "All subjects need the same number of features, and of components.",
            got=", ".join(f"{p} features and {k} components" for p, k in sorted(widths)),
            mend="fit both PCAs with a number of components that every subject has pictures for.",
        )


def _check_eigenvalues(eigenvalues: NDArray[np.floating], n_components: int, of: str = "") -> None:
    if np.shape(eigenvalues) != (2 * n_components,):
        raise DatasetError(
            f"The eigenvalues do not match the components{of}.",
            got=f"shape {np.shape(eigenvalues)}",
            expected=f"({2 * n_components},): those of the left hemisphere, then those of the right",
        )
    if not (np.isfinite(eigenvalues).all() and np.min(eigenvalues) >= 0):
        raise DatasetError(
            f"Eigenvalues are variances{of}.", got=f"from {np.min(eigenvalues)}", expected="finite, and 0 or more"
        )


def _check_rows(rows: NDArray[np.integer], n: int, of: str) -> None:
    n_distinct = len(np.unique(rows))
    integer = np.ndim(rows) == 1 and np.issubdtype(np.asarray(rows).dtype, np.integer)
    if not integer or n_distinct != len(rows) or not 2 <= n_distinct < n or min(rows) < 0 or max(rows) >= n:
        raise DatasetError(
            f"These validation rows cannot be used{of}.",
            got=f"{np.size(rows)} rows, {n_distinct} of them distinct, for {n} pictures",
            expected=f"at least 2 distinct row numbers from 0 to {n - 1}, with pictures left to train on",
        )


def _require_finite(name: str, values: NDArray[Any], of: str = "") -> None:
    unusable = ~np.isfinite(values)
    if unusable.any():
        raise DatasetError(
            f"The {name} hold NaN or infinite values{of}.",
            got=f"{int(unusable.sum())} values, in {int(unusable.any(axis=0).sum())} of {values.shape[1]} columns",
            mend="leave out vertices that are NaN before the PCA." if name == "targets" else "compute them again.",
        )
