"""Lateralization: which places of a picture a network looks at, and in which half they lie (methods, section 7).

What is attributed is one number per picture that is linear in a layer's answer, such as a class's score or the mean
predicted response of a ROI: `LinearReadout` puts it on top of a network. captum computes the attributions; this module
wraps, batches and bounds it, and never changes what a method means:

==========================  ============================================================================================
``grad-cam``                A convolutional layer's channels, weighted by their mean gradients, positive part (Selvaraju
                            et al. 2017); as coarse as the layer.
``saliency``                The gradient, signed (Simonyan et al. 2014).
``input-x-gradient``        The gradient times the normalised input.
``integrated-gradients``    The mean gradient on the way from a grey picture (the mean colour), times the way
                            (Sundararajan et al. 2017); its sum is the change of the number, which is made sure of.
``occlusion``               What the number loses when a square is made grey (Zeiler & Fergus 2014), averaged over the
                            squares that cover a place.
==========================  ============================================================================================

A map has a value per position: colour channels are added up, signs kept. With a noise tunnel it is the mean of the maps
of noisy copies (SmoothGrad, Smilkov et al. 2017).

The laterality index of a map is (R - L) / (R + L), where R and L are the sums of its absolute values right and left of
the vertical midline: -1 all left, +1 all right. That of a picture is the mean of the picture's own and of its mirror
image's, each in the frame in which the network saw it: what the picture itself has on one side is then on either side
once, and cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from brainviz.encoding.statistics import interval
from brainviz.errors import DatasetError, SpecError

AttributionMethod = Literal["grad-cam", "saliency", "input-x-gradient", "integrated-gradients", "occlusion"]
ATTRIBUTIONS: tuple[AttributionMethod, ...] = get_args(AttributionMethod)

#: Integrated gradients sum to the change of the target within this share of it; where they do not, with up to so many
#: steps.
COMPLETENESS, MOST_STEPS = 0.01, 800

#: Pictures per batch, and pictures that pass through the network at a time when a method shows many versions of each.
BATCH, VERSIONS_AT_A_TIME = 32, 128


class LinearReadout(nn.Module):
    """A network with numbers on top that are linear in one layer's answer.

    Parameters
    ----------
    backbone : nn.Module
        Not copied.
    layer : str
        Name of the module that is read from.
    weights : (p, K) array
        p runs over the layer's channels, rows, columns.
    intercept : (K,) array
    """

    weights: Tensor
    intercept: Tensor

    def __init__(self, backbone: nn.Module, layer: str, weights: ArrayLike, intercept: ArrayLike) -> None:
        super().__init__()
        modules = dict(backbone.named_modules())
        if layer not in modules:
            raise SpecError("The network has no such layer.", got=layer, expected=", ".join(name for name in modules))
        self.backbone = backbone
        self.register_buffer("weights", torch.tensor(np.asarray(weights), dtype=torch.float32))
        self.register_buffer("intercept", torch.tensor(np.asarray(intercept), dtype=torch.float32))
        self._answer: Tensor | None = None
        modules[layer].register_forward_hook(self._receive)

    def _receive(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._answer = output

    def forward(self, images: Tensor) -> Tensor:
        """Return the numbers, (B, 3, s, s) -> (B, K)."""
        self.backbone(images)
        answer, self._answer = self._answer, None
        assert answer is not None
        # Rows first: in channels-last memory a flattened answer would be in another order.
        flat = answer.contiguous().flatten(1)
        return flat @ self.weights + self.intercept


@dataclass(frozen=True)
class How:
    """How pictures are attributed.

    Attributes
    ----------
    method : str
        One of `ATTRIBUTIONS`.
    layer : str
        For Grad-CAM: a module whose answer has rows and columns.
    n_steps : int
        For integrated gradients: steps at first; doubled for pictures whose sum is off by more than `COMPLETENESS`.
    window : int
        For occlusion: side of the square, pixels; squares are half of it apart.
    noise_samples : int
        Noisy copies of each picture; 0 for none.
    noise_sd : float
        Of the noise, as a share of the range of the picture's normalised values.
    seed : int
        Of the noise.
    """

    method: AttributionMethod
    layer: str = ""
    n_steps: int = 50
    window: int = 8
    noise_samples: int = 0
    noise_sd: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ATTRIBUTIONS:
            raise SpecError("There is no such attribution.", got=self.method, expected=", ".join(ATTRIBUTIONS))
        if self.n_steps < 1 or self.window < 2 or self.noise_samples < 0 or self.noise_sd < 0:
            raise SpecError(
                "Pictures cannot be attributed with these settings.",
                got=f"{self.n_steps} steps, window {self.window}, {self.noise_samples} noisy copies",
                expected="at least 1 step, a window of at least 2 pixels, no fewer than 0 copies",
            )


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps of pictures.

    Attributes
    ----------
    maps : (n, h, w) float32 array
        Signed; as large as the picture, or as the layer for Grad-CAM.
    values : (n,) float64 array
        The attributed number.
    residuals : (n,) float64 array
        For integrated gradients, how far the map's sum is from the change of the number, as a share of that change;
        NaN for other methods.
    """

    maps: NDArray[np.float32]
    values: NDArray[np.float64]
    residuals: NDArray[np.float64]


def attribute(
    network: nn.Module,
    images: Tensor,
    targets: ArrayLike,
    how: How,
    *,
    device: str = "cpu",
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Attribution:
    """Attribute a number per picture to the picture's places.

    Parameters
    ----------
    network : nn.Module
        (B, 3, s, s) -> (B, K), each picture by itself; moved to `device`, in eval mode.
    images : (n, 3, s, s) float32 tensor
        Normalised as the network expects; 0 is the mean colour.
    targets : (n,) int array
        Which of the K numbers.
    how : How
    device : str
        ``"cpu"`` or ``"cuda"``.
    batch : int
        Pictures per call of captum. Changes the maps by no more than rounding, but with noise: that is drawn per batch.
    progress : callable, optional
        Called with the pictures done and the number of all.

    Returns
    -------
    Attribution

    Raises
    ------
    SpecError
        Grad-CAM at a layer that the network does not have, or that has no rows and columns; a window larger than the
        pictures.
    DatasetError
        No pictures, or not one target per picture.

    Notes
    -----
    Layers that overwrite their input are made to copy while this runs, and no gradient of the weights is computed.
    """
    chosen = torch.as_tensor(np.asarray(targets), dtype=torch.int64)
    if images.ndim != 4 or len(images) == 0 or chosen.shape != (len(images),):
        raise DatasetError(
            "These pictures cannot be attributed.",
            got=f"pictures {tuple(images.shape)}, targets {tuple(chosen.shape)}",
            expected="(n, 3, s, s) and (n,), at least one picture",
        )
    if how.method == "occlusion" and how.window > min(images.shape[2:]):
        raise SpecError("The window is larger than the pictures.", got=f"{how.window}, pictures {images.shape[2:]}")
    maps, values, residuals = [], [], []
    network.to(device)
    with _frozen(network), torch.backends.cudnn.flags(allow_tf32=False):
        one = _method(network, how)
        for start in range(0, len(images), batch):
            shown = images[start : start + batch].to(device).requires_grad_()
            target = chosen[start : start + batch].to(device)
            with torch.no_grad():
                answer = network(shown)
                values.append(answer.gather(1, target[:, None])[:, 0].double().cpu().numpy())
            torch.manual_seed(how.seed + start)
            found, residual = one(shown, target)
            maps.append(found.detach().sum(dim=1).float().cpu().numpy())
            residuals.append(residual)
            if progress is not None:
                progress(min(start + batch, len(images)), len(images))
    return Attribution(np.concatenate(maps), np.concatenate(values), np.concatenate(residuals))


_One = Callable[[Tensor, Tensor], tuple[Tensor, NDArray[np.float64]]]


def _method(network: nn.Module, how: How) -> _One:
    """Return a function that gives a batch's maps, (B, channels, h, w), and residuals, (B,)."""
    from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency

    squares: dict[str, Any] = {
        "sliding_window_shapes": (3, how.window, how.window),
        "strides": (3, how.window // 2, how.window // 2),
    }
    method: Any
    options: dict[str, Any]
    if how.method == "grad-cam":
        method, options = LayerGradCam(network, _spatial_layer(network, how.layer)), {"relu_attributions": True}
    elif how.method == "saliency":
        method, options = Saliency(network), {"abs": False}
    elif how.method == "input-x-gradient":
        method, options = InputXGradient(network), {}
    elif how.method == "integrated-gradients":
        method, options = IntegratedGradients(network), {"n_steps": how.n_steps}
    else:
        method, options = Occlusion(network), squares

    def plainly(images: Tensor, target: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        own = dict(options)
        if how.method == "occlusion":
            # Each square is shown to all pictures of the batch at once.
            own["perturbations_per_eval"] = max(1, VERSIONS_AT_A_TIME // len(images))
        return method.attribute(images, target=target, **own), np.full(len(images), np.nan)

    def completely(images: Tensor, target: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        steps = how.n_steps
        found, residual = _integrated(network, method, images, target, steps)
        while steps < MOST_STEPS and (off := np.flatnonzero(np.abs(residual) > COMPLETENESS)).size:
            steps = min(2 * steps, MOST_STEPS)
            rows = torch.from_numpy(off).to(images.device)
            again, better = _integrated(network, method, images[rows].detach().requires_grad_(), target[rows], steps)
            found[rows], residual[off] = again, better
        return found, residual

    def noisily(images: Tensor, target: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        spread = how.noise_sd * float(images.detach().amax() - images.detach().amin())
        tunnel = NoiseTunnel(method)
        size = max(1, VERSIONS_AT_A_TIME // len(images))
        found = tunnel.attribute(
            images,
            nt_type="smoothgrad",
            nt_samples=how.noise_samples,
            nt_samples_batch_size=min(size, how.noise_samples),
            stdevs=spread,
            target=target,
            **options,
        )
        return found, np.full(len(images), np.nan)

    if how.noise_samples:
        return noisily
    return completely if how.method == "integrated-gradients" else plainly


def _integrated(
    network: nn.Module, method: Any, images: Tensor, target: Tensor, steps: int
) -> tuple[Tensor, NDArray[np.float64]]:
    """Return integrated gradients, and how far each sum is from the change, as a share of it."""
    found, delta = method.attribute(
        images, target=target, n_steps=steps, internal_batch_size=VERSIONS_AT_A_TIME, return_convergence_delta=True
    )
    total = found.detach().double().flatten(1).sum(1)
    change = (total - delta.double()).cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(change == 0, np.where(delta.cpu().numpy() == 0, 0.0, np.inf), delta.cpu().numpy() / change)
    return found.detach(), residual


def _spatial_layer(network: nn.Module, layer: str) -> nn.Module:
    """Return the module that Grad-CAM looks at; its name is that inside the network below the readout."""
    inside = network.backbone if isinstance(network, LinearReadout) else network
    modules: dict[str, nn.Module] = dict(inside.named_modules())
    if layer not in modules:
        known = [name for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.MaxPool2d)]
        raise SpecError("Grad-CAM needs a layer of the network.", got=repr(layer), expected=", ".join(known))
    return modules[layer]


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, without gradients of weights and without layers that overwrite their input."""
    training = network.training
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    overwriting: list[Any] = [module for module in network.modules() if getattr(module, "inplace", False)]
    network.eval().requires_grad_(False)
    for module in overwriting:
        module.inplace = False
    try:
        yield
    finally:
        network.train(training)
        for parameter, grad in wanted.items():
            parameter.requires_grad_(grad)
        for module in overwriting:
            module.inplace = True


def laterality_index(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (R - L) / (R + L) of absolute attribution about the vertical midline.

    Parameters
    ----------
    maps : (..., h, w) array
        At least 2 wide. The middle column of an odd width counts for neither side.

    Returns
    -------
    (...) float64 array
        From -1 (all left) to 1 (all right); NaN where there is nothing on either side.

    Raises
    ------
    DatasetError
        A map without two sides, or values that are not finite.
    """
    width = maps.shape[-1] if maps.ndim >= 2 else 0
    if width < 2:
        raise DatasetError(
            "A map needs a left and a right half.", got=f"shape {maps.shape}", expected="at least 2 wide"
        )
    if not np.isfinite(maps).all():
        raise DatasetError("A map has values that are not finite.", got="NaN or infinity", mend="look at the target.")
    mass = np.abs(maps).sum(axis=-2, dtype=np.float64)
    left, right = mass[..., : width // 2].sum(axis=-1), mass[..., -(width // 2) :].sum(axis=-1)
    with np.errstate(invalid="ignore"):
        index: NDArray[np.float64] = (right - left) / (right + left)
    return index


def pair_index(maps: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the index of pictures from their maps and their mirror images': the mean of the two.

    Parameters
    ----------
    maps : (n, 2, h, w) array
        Of each picture and of its mirror image, in the frames in which the network saw them.

    Returns
    -------
    (n,) float64 array
        NaN where either is.
    """
    both: NDArray[np.float64] = laterality_index(maps).mean(axis=1)
    return both


def mean_map(maps: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return where attribution lies on the average, (..., h, w) -> (h, w): 1 is as much as if it were spread evenly.

    Every map counts alike, whatever its scale; maps without anything do not count.
    """
    mass = np.abs(maps, dtype=np.float64).reshape(-1, *maps.shape[-2:])
    totals = mass.sum(axis=(1, 2))
    counted = mass[totals > 0] / totals[totals > 0, None, None]
    if not len(counted):
        return np.full(maps.shape[-2:], np.nan, np.float32)
    mean: NDArray[np.float32] = (counted.mean(axis=0) * mass[0].size).astype(np.float32)
    return mean


@dataclass(frozen=True)
class Estimate:
    """A mean over images with its bootstrap interval.

    Attributes
    ----------
    value, low, high : float
        NaN without images.
    p : float
        Two-sided; NaN where nothing is tested.
    n : int
        Images.
    """

    value: float
    low: float
    high: float
    p: float
    n: int


def mean_estimate(index: ArrayLike, weights: NDArray[np.floating]) -> Estimate:
    """Return the mean index over images.

    Parameters
    ----------
    index : (n,) array
        NaN for an image without one.
    weights : (B, n) array
        How often each image is in each resample (`brainviz.encoding.statistics.bootstrap_weights`).

    Returns
    -------
    Estimate
        Bias-corrected 95 % interval.
    """
    values = np.asarray(index, dtype=np.float64)
    known = np.isfinite(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    value = float(values[known].mean())
    counts = weights[:, known].astype(np.float64)
    with np.errstate(invalid="ignore"):
        replicates = counts @ values[known] / counts.sum(axis=1)
    low, high = interval(replicates, estimate=value)
    return Estimate(value, float(low), float(high), float("nan"), int(known.sum()))


def paired_estimate(
    a: ArrayLike,
    b: ArrayLike,
    weights: NDArray[np.floating],
    *,
    groups: NDArray[np.integer] | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> Estimate:
    """Return the mean difference of two models' indices on the same images, and test it.

    Under the null hypothesis the two models are exchangeable on every image, so that swapping their labels there only
    changes the difference's sign: p is the share of such swaps, the true labels among them, with a mean as far from 0.

    Parameters
    ----------
    a, b : (n,) arrays
        Indices; images that lack either are left out.
    weights : (B, n) array
        As in `mean_estimate`.
    groups : (n,) int array, optional
        Equal values mark equal pictures, which are swapped together.
    n_permutations : int
    seed : int
        Of the swaps.

    Returns
    -------
    Estimate
    """
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    found = mean_estimate(difference, weights)
    known = np.isfinite(difference)
    if not known.any():
        return found
    _, number = np.unique(np.arange(len(difference)) if groups is None else groups, return_inverse=True)
    sums = np.bincount(number[known], weights=difference[known])
    signs = np.random.default_rng(seed).integers(0, 2, size=(n_permutations, len(sums)), dtype=np.int8) * 2 - 1
    swapped = np.abs(signs @ sums)
    # Rounding must not decide between equal sums.
    far = int((swapped >= abs(sums.sum()) * (1 - 1e-9)).sum())
    return Estimate(found.value, found.low, found.high, (1 + far) / (1 + n_permutations), found.n)


@dataclass(frozen=True)
class Summary:
    """An effect over subjects: the mean of a random-effects model.

    Attributes
    ----------
    value, low, high : float
        Mean and its 95 % interval; the interval is NaN for one subject.
    between : float
        Standard deviation between subjects that images do not explain.
    n : int
        Subjects.
    """

    value: float
    low: float
    high: float
    between: float
    n: int


def over_subjects(estimates: Sequence[Estimate]) -> Summary:
    """Summarise an effect over subjects by a two-level (random-effects) model.

    Each subject's mean has an uncertainty from its images, taken from its bootstrap interval, and subjects differ: the
    variance between them is Paule & Mandel's, the interval Hartung, Knapp, Sidik and Jonkman's, with Student's t
    (statsmodels' `combine_effects`). It is about subjects in general, unlike a single subject's interval.

    Parameters
    ----------
    estimates : sequence of Estimate
        One per subject; NaN ones are left out.
    """
    known = [each for each in estimates if np.isfinite([each.value, each.low, each.high]).all()]
    if len(known) < 2:
        value = known[0].value if known else float("nan")
        return Summary(value, float("nan"), float("nan"), float("nan"), len(known))
    from statsmodels.stats.meta_analysis import combine_effects  # type: ignore[import-untyped]

    values = np.array([each.value for each in known])
    # A bootstrap interval of no length, from images that all agree, would take all the weight.
    sd = np.maximum([(each.high - each.low) / (2 * 1.959964) for each in known], 1e-6)
    found = combine_effects(values, sd**2, method_re="iterated", use_t=True)
    row = found.summary_frame().loc["random effect wls"]
    return Summary(
        float(row["eff"]), float(row["ci_low"]), float(row["ci_upp"]), float(np.sqrt(max(found.tau2, 0.0))), len(known)
    )
