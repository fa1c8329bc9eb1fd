"""The one training loop: every network and objective, batches of any size in bounded memory, repeatable bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD
from brainviz.models.contrastive import ContrastiveNetwork
from brainviz.models.regression import RegressionNetwork
from brainviz.training.batches import DeviceImages
from brainviz.training.losses import contrastive_loss
from brainviz.training.retrieval import retrieval_top1

#: Bytes that the activations of one batch may take on the CPU. A constant, because how a batch is divided decides which
#: dropout masks are drawn: the same run must divide alike whatever else the machine is doing.
CPU_ACTIVATION_BYTES = int(2.5 * 2**30)

#: Share of the free memory of a CUDA device that the activations of one batch may take.
CUDA_ACTIVATION_SHARE = 0.5

Report = Callable[[dict[str, Any]], None]


class Objective(Protocol):
    """What the loop minimises and watches: functions of the backbone's logits and the responses of the same batch.

    Attributes
    ----------
    figures : tuple of str
        Names of what `monitor` returns.
    """

    figures: ClassVar[tuple[str, ...]]

    def loss(self, logits: Tensor, responses: Tensor) -> Tensor:
        """Return the loss of a whole batch, a scalar, from (B, n_logits) and (B, v)."""

    def monitor(self, logits: Tensor, responses: Tensor) -> dict[str, float | None]:
        """Return the figures to watch on pictures that are not fitted."""


@dataclass(frozen=True)
class ContrastiveObjective:
    """The contrastive loss of a network's embeddings, watched by top-1 retrieval (brain to image)."""

    network: ContrastiveNetwork
    temperature: float = 0.3
    variant: str = "paper"

    figures: ClassVar[tuple[str, ...]] = ("retrieval_top1",)

    def loss(self, logits: Tensor, responses: Tensor) -> Tensor:
        z_brain, z_image = self.network.embed_brain(responses), self.network.embed_image(logits)
        return contrastive_loss(z_brain, z_image, self.temperature, self.variant)

    def monitor(self, logits: Tensor, responses: Tensor) -> dict[str, float | None]:
        return {"retrieval_top1": retrieval_top1(self.network.embed_brain(responses), self.network.embed_image(logits))}


@dataclass(frozen=True)
class RegressionObjective:
    """Mean squared error of the predicted responses.

    Watched by mean Pearson r over the vertices, and by top-1 retrieval: of the pictures whose predicted response
    pattern is most like the measured one (cosine, each vertex centred over the pictures).
    """

    network: RegressionNetwork

    figures: ClassVar[tuple[str, ...]] = ("retrieval_top1", "r_mean")

    def loss(self, logits: Tensor, responses: Tensor) -> Tensor:
        return functional.mse_loss(self.network.predict(logits), responses)

    def monitor(self, logits: Tensor, responses: Tensor) -> dict[str, float | None]:
        predicted = self.network.predict(logits)
        # Asked of the values themselves: after centring, rounding would make a constant vertex look like noise.
        varies = (predicted.amax(0) > predicted.amin(0)) & (responses.amax(0) > responses.amin(0))
        predicted, measured = predicted - predicted.mean(0), responses - responses.mean(0)
        known = functional.cosine_similarity(predicted, measured, dim=0)[varies]
        return {
            "retrieval_top1": retrieval_top1(measured, predicted),
            "r_mean": known.mean().item() if len(known) else None,
        }


@dataclass(frozen=True)
class FitResult:
    """How a fit went.

    Attributes
    ----------
    epochs : int
    loss : float
        Mean over the pictures of the last epoch.
    monitored : dict
        The objective's figures after the last epoch; each None without validation pictures.
    seconds : float
        Of the whole fit.
    images_per_second : float
        Pictures fitted per second of training, validation not counted.
    batch_size, micro_batch_size : int
        Pictures per step, and pictures passed through the backbone at once.
    """

    epochs: int
    loss: float
    monitored: dict[str, float | None]
    seconds: float
    images_per_second: float
    batch_size: int
    micro_batch_size: int


def fit(
    network: nn.Module,
    objective: Objective,
    images: NDArray[np.uint8],
    responses: NDArray[np.floating],
    fit_rows: NDArray[np.integer],
    validation_rows: NDArray[np.integer] | None = None,
    *,
    epochs: int = 30,
    batch_size: int = 1024,
    learning_rate: float = 1e-4,
    seed: int = 0,
    device: torch.device | str = "cpu",
    report: Report = lambda event: None,
    activation_bytes: int | None = None,
) -> FitResult:
    """Train `network` in place with Adam: no weight decay, schedule, augmentation or early stopping.

    The loss is always that of the full batch. Where the backbone's activations for it exceed `activation_bytes`, the
    batch passes through in micro-batches with gradient caching (see `gradient_step`).

    On the CPU the same arguments give the same weights, bit for bit, at the same versions and number of threads; on
    CUDA the backbone runs in bfloat16 autocast. The network is left on `device`, in eval mode; the global random state
    and determinism settings are left as they were. `BatchNorm` layers of the backbone keep their statistics
    (see `set_training`).

    Parameters
    ----------
    network : nn.Module
        With a ``backbone`` that maps (B, 3, s, s) to logits; all its parameters are trained.
    objective : Objective
    images : (n, s, s, 3) uint8 array
    responses : (n, v) array
        Row i belongs to picture i.
    fit_rows, validation_rows : (m,) int array
        Rows to fit, and rows to watch after every epoch (none by default).
    epochs, batch_size : int
        The batch size falls to the number of rows to fit; a last batch of one picture is dropped.
    learning_rate : float
    seed : int
        Of the order of the pictures and of dropout.
    device : torch.device or str
    report : callable
        Called with ``{"note": sentence}`` for what the user should know, and once per epoch with ``epoch, epochs, loss,
        images_per_second, seconds`` (since the start) and the objective's figures (None without validation rows).
    activation_bytes : int, optional
        By default `CPU_ACTIVATION_BYTES`, or `CUDA_ACTIVATION_SHARE` of what is free.

    Raises
    ------
    DatasetError
        Responses with NaN or infinite values, rows that do not exist, fewer than two pictures to fit.
    SpecError
        Settings out of range, rows both fitted and watched, or a loss that stopped being finite.
    """
    start = time.perf_counter()
    device = torch.device(device)
    watched_rows = np.empty(0, dtype=np.int64) if validation_rows is None else validation_rows
    _check_settings(epochs, batch_size, learning_rate)
    _check_data(images, responses, fit_rows, watched_rows)
    if batch_size > len(fit_rows):
        report({"note": f"The batch size falls from {batch_size} to {len(fit_rows)}, the number of pictures to fit."})
        batch_size = len(fit_rows)

    with _repeatable(seed, device):
        network.to(device).to(memory_format=torch.channels_last)
        fitted, watched = _Pairs(images, responses, fit_rows, device), _Pairs(images, responses, watched_rows, device)
        limit = micro_batch_size(network, fitted.images, activation_bytes or _activation_bytes(device))
        micro = math.ceil(batch_size / math.ceil(batch_size / limit))  # as many parts as it takes, of one size
        if micro < batch_size:
            report({"note": f"A batch passes through the network {micro} pictures at a time; its loss is of all."})
        optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
        order = torch.Generator().manual_seed(seed)
        training_seconds, pictures = 0.0, 0
        for epoch in range(1, epochs + 1):
            epoch_start = time.perf_counter()
            loss, n = _train_epoch(network, objective, fitted, optimiser, batch_size, micro, order)
            epoch_seconds = time.perf_counter() - epoch_start
            training_seconds, pictures = training_seconds + epoch_seconds, pictures + n
            _require_finite_loss(loss, epoch, learning_rate)
            figures = _monitor(network, objective, watched, micro)
            timing = {"images_per_second": n / epoch_seconds, "seconds": time.perf_counter() - start}
            report({"epoch": epoch, "epochs": epochs, "loss": loss, **figures, **timing})
        network.eval()
    rate = pictures / training_seconds
    return FitResult(epochs, loss, figures, time.perf_counter() - start, rate, batch_size, micro)


class _Pairs:
    """Some rows of the data, pictures and responses, on the device."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        responses: NDArray[np.floating],
        rows: NDArray[np.integer],
        device: torch.device,
    ) -> None:
        self.images = DeviceImages(images, rows, device, IMAGENET_MEAN, IMAGENET_STD)
        self.responses = torch.from_numpy(np.asarray(responses[rows], dtype=np.float32)).to(device)


def _train_epoch(
    network: nn.Module,
    objective: Objective,
    pairs: _Pairs,
    optimiser: torch.optim.Optimizer,
    batch_size: int,
    micro: int,
    order: torch.Generator,
) -> tuple[float, int]:
    """Visit all pairs once; return the mean loss over the pictures, and how many these were."""
    set_training(network)
    total, n = torch.zeros((), device=pairs.responses.device), 0
    for index in batches(len(pairs.images), batch_size, order):
        optimiser.zero_grad(set_to_none=True)
        loss = gradient_step(network, objective, pairs.images, pairs.responses, index, micro)
        optimiser.step()
        total, n = total + loss * len(index), n + len(index)
    return total.item() / n, n


@torch.no_grad()
def _monitor(network: nn.Module, objective: Objective, pairs: _Pairs, micro: int) -> dict[str, float | None]:
    """Return the objective's figures for all pairs, in eval mode; None for each where there are no pairs."""
    if len(pairs.images) == 0:
        return dict.fromkeys(objective.figures)
    network.eval()
    parts = torch.arange(len(pairs.images)).split(micro)
    return objective.monitor(torch.cat([_logits(network, pairs.images.batch(part)) for part in parts]), pairs.responses)


@torch.no_grad()
def embeddings(
    network: ContrastiveNetwork,
    images: NDArray[np.uint8],
    responses: NDArray[np.floating],
    rows: NDArray[np.integer],
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Return what a fitted contrastive network makes of responses and pictures, (m, z) each, float32 on its device.

    Parameters
    ----------
    network : ContrastiveNetwork
        Is left in eval mode.
    images, responses
        As in `fit`.
    rows : (m,) int array
    batch_size : int
        Pictures passed at once; does not change the result.
    """
    network.eval()
    pairs = _Pairs(images, responses, rows, next(network.parameters()).device)
    parts = torch.arange(len(rows)).split(batch_size)
    z_image = torch.cat([network.embed_image(_logits(network, pairs.images.batch(part))) for part in parts])
    return network.embed_brain(pairs.responses), z_image


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the numbers 0..n-1 in a new random order, `batch_size` at a time; a last batch of one is dropped."""
    for index in torch.randperm(n, generator=generator).split(batch_size):
        if len(index) > 1:
            yield index


def gradient_step(
    network: nn.Module, objective: Objective, images: DeviceImages, responses: Tensor, index: Tensor, micro: int
) -> Tensor:
    """Add the gradients of one batch's loss to the network's parameters, and return the loss (detached).

    With more than `micro` pictures the gradients are cached: (1) logits of the batch, micro-batch by micro-batch,
    without graph; (2) loss of the full batch, and its gradient with respect to the logits; (3) every micro-batch
    again, with the dropout masks of (1), its part of that gradient propagated back. By the chain rule the outcome is
    the full batch's gradient, since no layer of the backbone mixes pictures (see `set_training`).

    References
    ----------
    Gao, Zhang, Han & Callan 2021, arXiv 2101.06983 (gradient cache).
    """
    device = responses.device
    paired = responses[index.to(device)]
    if len(index) <= micro:
        loss = objective.loss(_logits(network, images.batch(index)), paired)
        loss.backward()
        return loss.detach()

    parts, states, outputs = index.split(micro), [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(device))
            outputs.append(_logits(network, images.batch(part)))
    logits = torch.cat(outputs).requires_grad_()
    loss = objective.loss(logits, paired)
    loss.backward()
    assert logits.grad is not None
    after = _random_state(device)
    for part, state, gradient in zip(parts, states, logits.grad.split(micro), strict=True):
        _set_random_state(device, state)
        _logits(network, images.batch(part)).backward(gradient)
    _set_random_state(device, after)
    return loss.detach()


def set_training(network: nn.Module) -> None:
    """Put the network in training mode, except for the batch normalisation of its backbone.

    Those layers go on normalising with the statistics of their pre-training (their scale and shift are trained).
    Otherwise the tuned network would differ from the untuned control also by statistics re-estimated on a few pictures;
    and a picture's logits would depend on the others in its micro-batch, so that gradient caching were not exact.
    """
    network.train()
    for module in network.get_submodule("backbone").modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def micro_batch_size(network: nn.Module, images: DeviceImages, activation_bytes: int) -> int:
    """Return how many pictures may pass through the backbone at once within `activation_bytes`, at least one.

    What one picture takes is measured: what autograd keeps for the backward pass of two pictures beyond that of one,
    and twice the largest part of it for the gradients on their way.
    """
    set_training(network)
    growth = [two - one for one, two in zip(_kept(network, images, 1), _kept(network, images, 2), strict=False)]
    return max(1, activation_bytes // max(1, sum(growth) + 2 * max(growth, default=0)))


def _kept(network: nn.Module, images: DeviceImages, n: int) -> list[int]:
    """Sizes, in bytes and in order, of all that autograd keeps (weights included) when n pictures pass the backbone."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    pictures = images.batch(torch.zeros(n, dtype=torch.long))
    state = _random_state(pictures.device)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = _logits(network, pictures)  # held until all is counted, so that no memory is counted twice
    _set_random_state(pictures.device, state)
    del logits
    return list(kept.values())


def _logits(network: nn.Module, pictures: Tensor) -> Tensor:
    """Pass pictures through the backbone, on CUDA in bfloat16 where autocast allows; float32 comes out."""
    backbone = network.get_submodule("backbone")
    logits: Tensor
    if pictures.device.type != "cuda":
        logits = backbone(pictures)
        return logits
    # A context of its own per pass: autocast's cache of cast weights must not survive from a pass without graph.
    with torch.autocast("cuda", torch.bfloat16):
        logits = backbone(pictures)
    return logits.float()


def _activation_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(CUDA_ACTIVATION_SHARE * torch.cuda.mem_get_info(device)[0])
    return CPU_ACTIVATION_BYTES


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def _repeatable(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators and, on the CPU, allow deterministic algorithms only; restore all afterwards.

    Not on CUDA, where several layers (adaptive pooling) have no deterministic backward pass.
    """
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            if device.type == "cpu":
                torch.use_deterministic_algorithms(True)
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def _check_settings(epochs: int, batch_size: int, learning_rate: float) -> None:
    if epochs < 1 or batch_size < 2 or not (math.isfinite(learning_rate) and learning_rate > 0):
        raise SpecError(
            "The training settings are out of range.",
            got=f"{epochs} epochs, batch size {batch_size}, learning rate {learning_rate}",
            expected="at least 1 epoch, a batch size of at least 2, and a learning rate above 0",
        )


def _check_data(
    images: NDArray[np.uint8],
    responses: NDArray[np.floating],
    fit_rows: NDArray[np.integer],
    validation_rows: NDArray[np.integer],
) -> None:
    if responses.ndim != 2 or len(responses) != len(images):
        raise DatasetError(
            "Responses and pictures do not match.",
            got=f"responses {responses.shape}, {len(images)} pictures",
            expected="one row of responses per picture",
        )
    if len(fit_rows) < 2:
        raise DatasetError("There are too few pictures to train on.", got=str(len(fit_rows)), expected="at least 2")
    if len(np.intersect1d(fit_rows, validation_rows)):
        raise SpecError(
            "Some pictures are both fitted and kept out for validation.", mend="make the two sets of rows disjoint."
        )
    rows = np.concatenate([fit_rows, validation_rows])
    if rows.min() < 0 or rows.max() >= len(images):
        raise DatasetError(
            "A row is asked for that no picture belongs to.",
            got=f"rows {rows.min()} to {rows.max()}",
            expected=f"rows 0 to {len(images) - 1}",
        )
    unusable = ~np.isfinite(responses[rows])
    if unusable.any():
        raise DatasetError(
            "The responses hold NaN or infinite values.",
            got=f"{int(unusable.sum())} values, in {int(unusable.any(axis=0).sum())} of {responses.shape[1]} vertices",
            mend="leave these vertices out of the ROI, or mend the responses file; the data check names them.",
        )


def _require_finite_loss(loss: float, epoch: int, learning_rate: float) -> None:
    if not math.isfinite(loss):
        raise SpecError(
            f"The loss stopped being finite in epoch {epoch}: the training diverged.",
            got=f"loss {loss}",
            mend=f"choose a learning rate below {learning_rate:g}.",
        )
