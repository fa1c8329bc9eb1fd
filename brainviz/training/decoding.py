"""Fitting decoders: one linear layer from responses to image embeddings, averaged over seeds that are trained together.

Seeds are the leading dimension of one batched model, as many at a time as fit into memory. A seed's initial weights,
order of the pictures and noise come from streams of its own, so that what it learns depends neither on how many others
there are nor on which are trained beside it: only how products are rounded may differ with the size of a group.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from brainviz.errors import DatasetError, SpecError
from brainviz.models.decoder import Decoders
from brainviz.training.losses import contrastive_loss
from brainviz.training.streams import Streams, streams

#: Points of the loss curve: each is a mean over as many iterations, after which the loss is looked at and reported.
LOSS_POINTS = 100

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class DecoderFit:
    """Decoders averaged over seeds, and how their fit went.

    Attributes
    ----------
    weight : (v, p) float32 array
        Mean over the seeds.
    bias : (p,) float32 array
    halves_weight : (2, v, p) float32 array or None
        Means over the even and over the odd seeds, to judge what other seeds would change; None for a single seed.
    loss : (k,) float64 array
        Mean over the seeds, and over the iterations since the point before.
    loss_iterations : (k,) int64 array
        How many iterations were done at each point.
    seconds : float
    n_seeds, seeds_per_group : int
        How many decoders were averaged, and how many were trained at once, at most.
    batch_size : int
        Pictures per step.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    halves_weight: NDArray[np.float32] | None
    loss: NDArray[np.float64]
    loss_iterations: NDArray[np.int64]
    seconds: float
    n_seeds: int
    seeds_per_group: int
    batch_size: int


def fit_decoders(
    responses: NDArray[np.floating],
    embeddings: NDArray[np.floating],
    *,
    n_seeds: int = 50,
    temperature: float = 0.03,
    learning_rate: float = 1e-4,
    batch_size: int = 128,
    iterations: int = 5001,
    noise_sd: float = 1.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    memory: int = 4 * 2**30,
    progress: Progress | None = None,
) -> DecoderFit:
    """Fit linear decoders from responses to embeddings, and average them.

    Each minimises the symmetric InfoNCE loss (`contrastive_loss`) of the cosines between what it decodes and the
    embeddings, by Adam, in batches of pictures in a new random order every epoch; the last pictures of an epoch that do
    not fill a batch are left out. Every time a picture is used, new Gaussian noise is added to its responses.

    On the CPU the same arguments give the same weights, bit for bit, at the same versions and number of threads. The
    noise is drawn on the device: weights differ between CPU and CUDA as those of other noise do.

    Parameters
    ----------
    responses : (n, v) array
        Of the training pictures, z-scored per vertex by the caller (the noise is of that scale).
    embeddings : (n, p) array
        Of the same pictures; their lengths do not matter.
    n_seeds : int
        Decoders that are averaged.
    temperature : float
        Divides the cosines.
    learning_rate : float
    batch_size : int
        Falls to the number of pictures.
    iterations : int
        Steps of every decoder.
    noise_sd : float
        Standard deviation of the noise; 0 for none.
    seed : int
        Of everything random; decoder s of a seed is the same however many there are. Participants need seeds of their
        own: two with as many vertices would begin from the same weights and see the same noise, and their vertices
        would point the same way by that alone.
    device : torch.device or str
    memory : int
        Bytes for the decoders that are trained at once, the data not counted. Each takes 16 v p + 8 B v bytes for a
        batch of B, and a little more; one at a time is the least.
    progress : callable, optional
        Called with the iterations done and those to do, over all groups of decoders.

    Returns
    -------
    DecoderFit

    Raises
    ------
    DatasetError
        Shapes that do not pair up, NaN or infinite values, no vertices, or fewer than two pictures.
    SpecError
        Settings out of range, or a loss that stopped being finite.

    References
    ----------
    Efird et al. 2024, arXiv 2405.17663 (methods, section 8).
    """
    start = time.perf_counter()
    _check_settings(n_seeds, temperature, learning_rate, batch_size, iterations, noise_sd, seed)
    _check_data(responses, embeddings)
    device, batch_size = torch.device(device), min(batch_size, len(responses))
    n_vertices, n_dimensions = responses.shape[1], embeddings.shape[1]
    # Copied only where they must be: torch takes no memory-mapped array that cannot be written without a warning.
    x, images = (torch.from_numpy(np.require(a, np.float32, ["C", "W"])).to(device) for a in (responses, embeddings))
    images = functional.normalize(images, dim=1)

    n_groups = math.ceil(n_seeds / max(1, memory // bytes_per_seed(n_vertices, n_dimensions, batch_size)))
    groups = np.array_split(np.arange(n_seeds), n_groups)
    weights, biases = np.zeros((2, n_vertices, n_dimensions)), np.zeros((2, n_dimensions))  # of even and of odd seeds
    losses = np.zeros(iterations)
    with _single_precision():
        for done, group in enumerate(groups):

            def advance(iteration: int, before: int = done * iterations) -> None:
                if progress is not None:
                    progress(before + iteration, n_groups * iterations)

            decoders = Decoders(n_vertices, n_dimensions, [streams(seed, s).weights for s in group]).to(device)
            batches = _Batches(x, [streams(seed, s) for s in group], batch_size, noise_sd)
            losses += _train(decoders, batches, images, temperature, learning_rate, iterations, advance)
            _add_up(decoders, group, weights, biases)
            del decoders, batches  # before the next group's are made

    counts = np.array([(n_seeds + 1) // 2, n_seeds // 2])
    points = _loss_points(iterations)
    return DecoderFit(
        weight=(weights.sum(axis=0) / n_seeds).astype(np.float32),
        bias=(biases.sum(axis=0) / n_seeds).astype(np.float32),
        halves_weight=(weights / counts[:, None, None]).astype(np.float32) if n_seeds > 1 else None,
        loss=np.add.reduceat(losses, [0, *points[:-1]]) / np.diff(points, prepend=0) / n_seeds,
        loss_iterations=points,
        seconds=time.perf_counter() - start,
        n_seeds=n_seeds,
        seeds_per_group=max(map(len, groups)),
        batch_size=batch_size,
    )


def bytes_per_seed(n_vertices: int, n_dimensions: int, batch_size: int) -> int:
    """Return the memory that training takes per decoder, in bytes.

    Parameters
    ----------
    n_vertices, n_dimensions, batch_size : int
        v, p and B.
    """
    parameters = 4 * (n_vertices + 1) * n_dimensions  # with gradient and Adam's two moments
    inputs = 2 * batch_size * n_vertices  # with noise
    outputs = 8 * batch_size * (n_dimensions + batch_size)  # with cosines and what autograd keeps; rather too many
    return 4 * (parameters + inputs + outputs)


def _train(
    decoders: Decoders,
    batches: _Batches,
    images: Tensor,
    temperature: float,
    learning_rate: float,
    iterations: int,
    advance: Callable[[int], None],
) -> NDArray[np.float64]:
    """Train the decoders in place; return each iteration's loss, summed over the decoders, (iterations,)."""
    weight, bias = decoders.weight, decoders.bias
    weight.grad, bias.grad = torch.empty_like(weight), torch.empty_like(bias)
    adam = torch.optim.Adam([weight, bias], lr=learning_rate, fused=True)
    losses = torch.empty(iterations, device=images.device)
    points, reported = set(_loss_points(iterations).tolist()), 0
    for iteration, (x, index) in enumerate(batches.draw(iterations), start=1):
        with torch.no_grad():
            z = decoders.project(x)
        loss = contrastive_loss(z.requires_grad_(), images[index], temperature, "symmetric").sum()
        (gradient,) = torch.autograd.grad(loss, z)
        with torch.no_grad():  # by hand from here: autograd would make a new tensor of S v p numbers in every step
            torch.bmm(x.mT, gradient, out=weight.grad)
            torch.sum(gradient, dim=1, out=bias.grad)
        adam.step()
        losses[iteration - 1] = loss.detach()
        if iteration in points:
            _require_finite(losses[reported:iteration], iteration, learning_rate)
            reported = iteration
            advance(iteration)
    # What the last step made of them is in no loss. NaN passes through aminmax, and nothing of their size is made.
    extremes = torch.stack([*weight.detach().aminmax(), *bias.detach().aminmax()])
    _require_finite(extremes, iterations, learning_rate)
    return losses.cpu().numpy().astype(np.float64)


def _add_up(
    decoders: Decoders, numbers: NDArray[np.int64], weights: NDArray[np.float64], biases: NDArray[np.float64]
) -> None:
    """Add the decoders of these numbers to the sums of even and odd ones, (2, v, p) and (2, p).

    One by one and in float64, so that the sums do not depend on how decoders are grouped.
    """
    for number, weight, bias in zip(numbers, decoders.weight.detach(), decoders.bias.detach(), strict=True):
        weights[number % 2] += weight.cpu().numpy()
        biases[number % 2] += bias.cpu().numpy()


class _Batches:
    """The batches of a group of decoders: an order of the pictures and noise of its own for each.

    Parameters
    ----------
    responses : (n, v) tensor
    seeds : sequence of Streams
    batch_size : int
    noise_sd : float
    """

    def __init__(self, responses: Tensor, seeds: Sequence[Streams], batch_size: int, noise_sd: float) -> None:
        self.responses, self.batch_size, self.noise_sd = responses, batch_size, noise_sd
        self.orders = [torch.Generator().manual_seed(one.order) for one in seeds]
        self.generators = [torch.Generator(responses.device).manual_seed(one.draws) for one in seeds]
        shape = (len(seeds), batch_size, responses.shape[1])
        self.x = torch.empty(shape, device=responses.device)
        self.noise = torch.empty(shape if noise_sd > 0 else (len(seeds), 0), device=responses.device)

    def draw(self, iterations: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield responses with noise, (S, B, v), and the numbers of their pictures, (S, B).

        The responses are overwritten by the next batch.
        """
        workers = min(torch.get_num_threads(), len(self.generators))
        with ThreadPoolExecutor(workers) as pool:  # torch draws normal numbers with one thread
            many = self.responses.device.type == "cpu" and workers > 1
            for _, index in zip(range(iterations), self._indices(), strict=False):
                if self.noise_sd > 0:
                    list((pool.map if many else map)(self._draw_noise, range(len(self.generators))))
                flat = self.x.view(-1, self.x.shape[-1])
                torch.index_select(self.responses, 0, index.flatten(), out=flat)
                if self.noise_sd > 0:
                    self.x += self.noise
                yield self.x, index

    def _draw_noise(self, number: int) -> None:
        self.noise[number].normal_(0, self.noise_sd, generator=self.generators[number])

    def _indices(self) -> Iterator[Tensor]:
        """Yield the pictures of one batch after the other, (S, B), without end."""
        n = len(self.responses)
        full = n - n % self.batch_size
        while True:
            order = torch.stack([torch.randperm(n, generator=generator)[:full] for generator in self.orders])
            yield from order.to(self.responses.device).split(self.batch_size, dim=1)


def _loss_points(iterations: int) -> NDArray[np.int64]:
    """Return after how many iterations the loss is looked at, (k,), rising and ending with all."""
    k = min(iterations, LOSS_POINTS)
    return np.arange(1, k + 1, dtype=np.int64) * iterations // k


@contextmanager
def _single_precision() -> Iterator[None]:
    """Have CUDA compute products in float32 proper: TF32 keeps 10 bits of each factor. Restored afterwards."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _require_finite(values: Tensor, iteration: int, learning_rate: float) -> None:
    if not values.isfinite().all():
        raise SpecError(
            f"The decoders stopped being finite by iteration {iteration}: the training diverged.",
            got=f"a learning rate of {learning_rate:g}",
            mend=f"choose a learning rate below {learning_rate:g}; 1e-4 is the usual one for z-scored responses.",
        )


def _check_settings(
    n_seeds: int,
    temperature: float,
    learning_rate: float,
    batch_size: int,
    iterations: int,
    noise_sd: float,
    seed: int,
) -> None:
    finite = all(map(math.isfinite, (temperature, learning_rate, noise_sd)))
    positive = finite and temperature > 0 and learning_rate > 0
    if min(n_seeds, iterations) < 1 or batch_size < 2 or not positive or noise_sd < 0 or seed < 0:
        raise SpecError(
            "The decoder's settings are out of range.",
            got=f"{n_seeds} seeds, {iterations} iterations, batch size {batch_size}, temperature {temperature}, "
            f"learning rate {learning_rate}, noise {noise_sd}, seed {seed}",
            expected="at least 1 seed, 1 iteration and a batch size of 2; temperature and learning rate above 0; noise"
            " and seed 0 or more",
        )


def _check_data(responses: NDArray[np.floating], embeddings: NDArray[np.floating]) -> None:
    if responses.ndim != 2 or embeddings.ndim != 2 or len(responses) != len(embeddings):
        raise DatasetError(
            "Responses and embeddings do not match.",
            got=f"shapes {responses.shape} and {embeddings.shape}",
            expected="(pictures, vertices) and (pictures, dimensions), a row of both per picture",
        )
    if min(responses.shape[1], embeddings.shape[1]) < 1:
        raise DatasetError(
            "There is nothing to decode from, or to.",
            got=f"{responses.shape[1]} vertices, embeddings of {embeddings.shape[1]} dimensions",
            expected="at least one of each",
            mend="choose other areas, or a lower noise ceiling for the vertices to pass.",
        )
    if len(responses) < 2:
        raise DatasetError("There are too few pictures to train on.", got=str(len(responses)), expected="at least 2")
    for name, values in (("responses", responses), ("embeddings", embeddings)):
        unusable = ~np.isfinite(values)
        if unusable.any():
            raise DatasetError(
                f"The {name} hold NaN or infinite values.",
                got=f"{int(unusable.sum())} values, in {int(unusable.any(axis=0).sum())} of {values.shape[1]} columns",
                mend="leave these vertices out: a vertex that never varies has no z-score."
                if name == "responses"
                else "compute the embeddings again.",
            )
