"""Fitting a bottleneck network, one stage at a time: on all subjects together, or on one; the best epoch is kept.

The published training is two stages: one on all subjects, and from there one on each subject alone. All data of a stage
are moved to the device once. Its random streams are its own, and do not depend on what was trained before.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.bottleneck import Bottleneck, draw_noise, mean_cosine, race
from brainviz.training.streams import Streams, derived_seed, streams

BottleneckLoss = Literal["racing", "cosine", "mse"]
BOTTLENECK_LOSSES: tuple[str, ...] = get_args(BottleneckLoss)

#: Rows that are predicted at a time: h of the published width then takes 25 MB.
ROWS_PER_BLOCK = 1024

Progress = Callable[[int, int], None]
#: Told after every epoch: its number from 1, S_L and S_R.
Report = Callable[[int, float, float], None]


@dataclass(frozen=True, eq=False)
class SubjectData:
    """One subject's pictures, of which some choose the epoch and all others are trained on.

    Attributes
    ----------
    features : (n, p) array
        Used as they are: their scale against that of the targets decides how much the leak weighs.
    left, right : (n, k) arrays
        Scores on the principal components of each hemisphere. The PCA is to be fitted on the training pictures only:
        the published code's also saw the validation pictures.
    eigenvalues : (2 k,) array
        Variances of these components, left and then right: of the leak's noise.
    validation : int array
        Rows that choose the epoch and are not trained on; at least 2. Test pictures are to be left out of all arrays.
    """

    features: NDArray[np.floating]
    left: NDArray[np.floating]
    right: NDArray[np.floating]
    eigenvalues: NDArray[np.floating]
    validation: NDArray[np.integer]


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
    """A bottleneck network after one stage of training, and how that went.

    Attributes
    ----------
    network : Bottleneck
        On the CPU, in evaluation mode, as it was after its best epoch.
    curves : Curves
    """

    network: Bottleneck
    curves: Curves


def fit_bottleneck(
    subjects: Sequence[SubjectData],
    *,
    initial: Bottleneck | None = None,
    stage: int = 1,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-3,
    loss: str = "racing",
    leak: bool = True,
    linear: bool = False,
    width: int = 6000,
    dropout: float = 0.2,
    alpha: float = 0.02,
    beta: float = 0.002,
    validation_noise: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    report: Report | None = None,
) -> BottleneckFit:
    """Train a bottleneck network on one subject or more: one stage of the published training.

    Trained by Lion (Chen et al. 2023). A batch holds pictures of one subject. In an epoch every training picture is
    used once, in batches as even in size as they can be; the batches of all subjects come in one random order. After
    each epoch the validation pictures are predicted, always with the same noise, and the epoch with the highest mean r
    over the subjects is kept.

    On the CPU the same arguments give the same weights, bit for bit, at the same versions and number of threads.
    Dropout and noise of training are drawn on the device: other ones on CUDA than on the CPU.

    Parameters
    ----------
    subjects : sequence of SubjectData
        Several for the pre-training, one for that subject's own training.
    initial : Bottleneck, optional
        The network to begin with, which stays as it is: the pre-trained one, for a subject's own training. New weights
        if left out.
    stage : int
        Which of the random streams to take: 0 for the pre-training and 1 for a subject's own training, by convention.
    epochs : int
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
        Of the network, see `Bottleneck`. With `linear` there is no leak. Must be as in `initial`, where that is given.
    validation_noise : bool
        Whether validation pictures are predicted with noise; should be as the pictures of interest are.
    seed : int
        Of everything random, together with `stage`.
    device : torch.device or str
    report : callable, optional
        Called after every epoch with its number, from 1, and the mean cosines S_L and S_R of its pictures.
    progress : callable, optional
        Called after every batch with the batches done and those to do, over all epochs.

    Returns
    -------
    BottleneckFit

    Raises
    ------
    DatasetError
        Shapes that do not fit each other, NaN or infinite values, or validation rows that leave too few of either.
    SpecError
        Settings out of range, an `initial` network that is not as asked for, or weights that stopped being finite.

    References
    ----------
    Ndubuaku 2023, F-BNet, repository HMUNACHI/FBNET (methods, section 9).
    Chen et al. 2023, arXiv 2302.06675 (Lion).
    """
    _check_settings(epochs, batch_size, learning_rate, weight_decay, loss, seed, stage)
    _check_data(subjects)
    seeds, device = streams(seed, stage), torch.device(device)
    n_features, n_components = subjects[0].features.shape[1], subjects[0].left.shape[1]
    if initial is None:
        network = Bottleneck(
            n_features,
            n_components,
            width=width,
            dropout=dropout,
            alpha=alpha,
            beta=beta,
            leak=leak,
            linear=linear,
            seed=seeds.weights,
        )
    else:
        asked = {"features": n_features, "components": n_components, "linear": linear, "leak": leak and not linear}
        _check_initial(initial, asked | {"width": width, "dropout": dropout, "alpha": alpha, "beta": beta})
        network = copy.deepcopy(initial)
    resident = [
        _resident(one, noise_seed(seed, stage, number) if validation_noise else None, device)
        for number, one in enumerate(subjects)
    ]
    plan = _Plan(epochs, batch_size, learning_rate, weight_decay, loss)
    curves = _train(network.to(device), resident, plan, seeds, progress, report)
    return BottleneckFit(network.cpu(), curves)


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


def noise_seed(seed: int, stage: int, number: int) -> int:
    """Return the seed of a subject's noise at validation; `number` is its place in the stage, from 0."""
    return derived_seed(seed, stage, number)


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
    """How a stage is trained."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    loss: str


def _resident(data: SubjectData, seed: int | None, device: torch.device) -> _Subject:
    """Move a subject's data to the device; without a seed there is no noise at validation."""
    train = np.setdiff1d(np.arange(len(data.features)), data.validation)
    y = np.concatenate([data.left, data.right], axis=1)
    noise = None if seed is None else _evaluation_noise(len(data.validation), data.eigenvalues, seed).to(device)
    return _Subject(
        _tensor(data.features[train]).to(device),
        _tensor(y[train]).to(device),
        _tensor(data.eigenvalues).to(device),
        _tensor(data.features[data.validation]).to(device),
        _tensor(y[data.validation]).to(device),
        noise,
    )


def _tensor(values: NDArray[np.floating]) -> Tensor:
    """Return a float32 tensor; copied only where it must be (torch takes no array that cannot be written)."""
    return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))


def _evaluation_noise(n_rows: int, eigenvalues: NDArray[np.floating], seed: int) -> Tensor:
    return draw_noise(n_rows, _tensor(eigenvalues), torch.Generator().manual_seed(seed))


def _train(
    network: Bottleneck,
    subjects: Sequence[_Subject],
    plan: _Plan,
    seeds: Streams,
    progress: Progress | None,
    report: Report | None,
) -> Curves:
    """Train the network in place, on one subject or more, and leave it at its best epoch in evaluation mode."""
    from timm.optim.lion import Lion  # takes seconds to import, and is always there: open_clip needs timm

    optimizer: torch.optim.Optimizer = Lion(
        list(network.parameters()), lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    order = torch.Generator().manual_seed(seeds.order)
    draws = torch.Generator(subjects[0].x.device).manual_seed(seeds.draws)
    n = sum(len(one.x) for one in subjects)
    done, steps = 0, plan.epochs * sum(one.n_batches(plan.batch_size) for one in subjects)
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
            done += 1
            if progress is not None:
                progress(done, steps)
        network.eval()
        r[epoch] = [_validation_r(network, one) for one in subjects]
        figures[epoch] = totals.cpu().numpy() / n
        if report is not None:
            report(epoch + 1, *map(float, figures[epoch, 1:]))
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
    epochs: int, batch_size: int, learning_rate: float, weight_decay: float, loss: str, seed: int, stage: int
) -> None:
    if loss not in BOTTLENECK_LOSSES:
        raise SpecError(
            "Unknown loss of the bottleneck network.", got=repr(loss), expected=", ".join(BOTTLENECK_LOSSES)
        )
    finite = math.isfinite(learning_rate) and math.isfinite(weight_decay)
    if min(epochs, batch_size) < 1 or not finite or learning_rate <= 0 or min(weight_decay, seed, stage) < 0:
        raise SpecError(
            "The settings of the bottleneck network's training are out of range.",
            got=f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}, weight decay {weight_decay},"
            f" seed {seed}, stage {stage}",
            expected="at least 1 epoch and a batch size of 1; a learning rate above 0; weight decay, seed and stage"
            " 0 or more",
        )


def _check_initial(initial: Bottleneck, asked: dict[str, float]) -> None:
    """Refuse a network that is not as asked for; what a linear one has no use for does not matter."""
    found: dict[str, float] = {
        "features": initial.n_features,
        "components": initial.n_components,
        "linear": initial.linear,
        "leak": initial.leaks,
    }
    if not initial.linear:
        found["width"] = initial.widen.out_features
        found |= {"dropout": initial.dropout, "alpha": initial.alpha, "beta": initial.beta}
    different = [name for name, value in found.items() if value != asked[name]]
    if different:
        got, expected = (", ".join(f"{name} {values[name]}" for name in different) for values in (found, asked))
        raise SpecError(
            "The network to begin with is not the one asked for.",
            got=got,
            expected=expected,
            mend="train both stages with the same settings and sizes.",
        )


def _check_data(subjects: Sequence[SubjectData]) -> None:
    if not subjects:
        raise DatasetError("There is no subject to train on.", expected="at least one")
    widths = set()
    for number, one in enumerate(subjects, start=1):
        of = f" (subject {number} of {len(subjects)})"
        shapes = [np.shape(values) for values in (one.features, one.left, one.right)]
        matrices = all(len(shape) == 2 and min(shape) > 0 for shape in shapes)
        if not matrices or shapes[1] != shapes[2] or shapes[0][0] != shapes[1][0]:
            raise DatasetError(
                f"Features and targets do not match{of}.",
                got=f"shapes {', '.join(map(str, shapes))}",
                expected="(pictures, features) and two of (pictures, components), a row of each per picture and"
                " at least one column",
            )
        widths.add((shapes[0][1], shapes[1][1]))
        for name, values in (("features", one.features), ("targets", one.left), ("targets", one.right)):
            _require_finite(name, values, of)
        _check_eigenvalues(one.eigenvalues, shapes[1][1], of)
        _check_rows(one.validation, shapes[0][0], of)
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
