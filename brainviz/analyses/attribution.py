"""Attribution: which places of a picture a number that a network gives depends on, by captum (methods, section 7).

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
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from brainviz.errors import DatasetError, SpecError

AttributionMethod = Literal["grad-cam", "saliency", "input-x-gradient", "integrated-gradients", "occlusion"]
ATTRIBUTIONS: tuple[AttributionMethod, ...] = get_args(AttributionMethod)

#: Integrated gradients sum to the change of the target within this share of it; where they do not, with up to so many
#: steps.
COMPLETENESS, MOST_STEPS = 0.01, 800

#: Pictures per batch, and pictures that pass through the network at a time when a method shows many versions of each:
#: as many as the processor's caches hold of a small network's layers.
BATCH, VERSIONS_AT_A_TIME = 16, 32


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
        Grad-CAM at a layer that the network does not have, that has no rows and columns, or that the number does not
        depend on; a window larger than the pictures.
    DatasetError
        No pictures, or not one target per picture.

    Notes
    -----
    Layers that overwrite their input are made to copy while this runs, and no gradient of the weights is computed. On a
    CPU, batches are computed side by side with one thread each, by copies of the network, which is quicker than one
    after the other with all threads; noise is drawn in order, and so takes turns.
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
    network.to(device)
    starts = range(0, len(images), batch)
    side_by_side = 1 if how.noise_samples or torch.device(device).type != "cpu" else torch.get_num_threads()
    with _frozen(network), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        if how.method == "grad-cam":
            _require_places(network, how.layer, images[:1].to(device))
        workers = SimpleQueue[_Attributor]()
        for number in range(max(1, min(side_by_side, len(starts)))):
            workers.put(_Attributor(network if number == 0 else copy.deepcopy(network), how))

        def attributed(start: int) -> Attribution:
            worker = workers.get()
            try:
                part = slice(start, start + batch)
                shown = images[part].to(device, memory_format=torch.channels_last)
                torch.manual_seed(how.seed + start)
                return worker(shown, chosen[part].to(device))
            finally:
                workers.put(worker)

        found = []
        with _one_thread_each(workers.qsize()) as pool:
            for part in pool.map(attributed, starts):
                found.append(part)
                if progress is not None:
                    progress(min(batch * len(found), len(images)), len(images))
    fields = ("maps", "values", "residuals")
    return Attribution(*(np.concatenate([getattr(part, name) for part in found]) for name in fields))


@contextmanager
def _one_thread_each(n: int) -> Iterator[Executor]:
    """Yield what runs n things side by side, each with one of torch's threads; with n = 1, with all of them."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1 if n > 1 else threads,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


class _Attributor:
    """One network and one method of captum, for one batch at a time."""

    def __init__(self, network: nn.Module, how: How) -> None:
        self.network, self.how = network, how
        self.method, self.options = _method(self._answer, network, how)
        self._last: Tensor | None = None

    def _answer(self, images: Tensor) -> Tensor:
        """Return what the network says, and remember it."""
        self._last = self.network(images)
        return self._last

    def __call__(self, images: Tensor, target: Tensor) -> Attribution:
        """Attribute a batch."""
        images = images.requires_grad_()
        residuals = np.full(len(images), np.nan)
        if self.how.noise_samples:
            maps = self._noisily(images, target)
        elif self.how.method == "integrated-gradients":
            maps, residuals = self._completely(images, target)
        elif self.how.method == "occlusion":
            # Each square is shown to all pictures of the batch at once.
            at_once = max(1, VERSIONS_AT_A_TIME // len(images))
            maps = self.method.attribute(images, target=target, perturbations_per_eval=at_once, **self.options)
        else:
            maps = self.method.attribute(images, target=target, **self.options)
        # A square of occlusion takes all channels at once: captum gives its loss to each of them.
        joined = maps.detach().mean(dim=1) if self.how.method == "occlusion" else maps.detach().sum(dim=1)
        return Attribution(joined.float().cpu().numpy(), self._values(images, target), residuals)

    def _values(self, images: Tensor, target: Tensor) -> NDArray[np.float64]:
        """Return the attributed numbers: of the pass just made, where it was of these pictures."""
        once = self.how.method in ("grad-cam", "saliency", "input-x-gradient") and not self.how.noise_samples
        with torch.no_grad():
            answer = self._last if once else self.network(images)
            assert answer is not None
            values: NDArray[np.float64] = answer.gather(1, target[:, None])[:, 0].double().cpu().numpy()
        return values

    def _completely(self, images: Tensor, target: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """Return integrated gradients, with more steps for pictures whose sum is off."""
        steps = self.how.n_steps
        found, residual = self._integrated(images, target, steps)
        while steps < MOST_STEPS and (off := np.flatnonzero(np.abs(residual) > COMPLETENESS)).size:
            steps = min(2 * steps, MOST_STEPS)
            rows = torch.from_numpy(off).to(images.device)
            again, better = self._integrated(images[rows].detach().requires_grad_(), target[rows], steps)
            found[rows], residual[off] = again, better
        return found, residual

    def _integrated(self, images: Tensor, target: Tensor, steps: int) -> tuple[Tensor, NDArray[np.float64]]:
        """Return integrated gradients, and how far each sum is from the change, as a share of it."""
        found, delta = self.method.attribute(
            images, target=target, return_convergence_delta=True, **self.options | {"n_steps": steps}
        )
        off = delta.double().cpu().numpy()
        change = found.detach().double().flatten(1).sum(1).cpu().numpy() - off
        with np.errstate(divide="ignore", invalid="ignore"):
            residual = np.where(change == 0, np.where(off == 0, 0.0, np.inf), off / change)
        return found.detach(), residual

    def _noisily(self, images: Tensor, target: Tensor) -> Tensor:
        from captum.attr import NoiseTunnel

        tunnel, found = NoiseTunnel(self.method), []
        # One by one: a tunnel has one spread for all its pictures, and each has its own range.
        for image, wanted in zip(images.detach(), target, strict=True):
            smoothed = tunnel.attribute(
                image[None].requires_grad_(),
                nt_type="smoothgrad",
                nt_samples=self.how.noise_samples,
                nt_samples_batch_size=min(VERSIONS_AT_A_TIME, self.how.noise_samples),
                stdevs=self.how.noise_sd * float(image.amax() - image.amin()),
                target=wanted[None],
                **self.options,
            )
            found.append(smoothed.detach())
        return torch.cat(found)


def _method(answer: Callable[[Tensor], Tensor], network: nn.Module, how: How) -> tuple[Any, dict[str, Any]]:
    """Return captum's method on what answers, and the options of its calls."""
    from captum.attr import InputXGradient, IntegratedGradients, LayerGradCam, Occlusion, Saliency

    if how.method == "grad-cam":
        return LayerGradCam(answer, _spatial_layer(network, how.layer)), {"relu_attributions": True}
    if how.method == "saliency":
        return Saliency(answer), {"abs": False}
    if how.method == "input-x-gradient":
        return InputXGradient(answer), {}
    if how.method == "integrated-gradients":
        return IntegratedGradients(answer), {"n_steps": how.n_steps, "internal_batch_size": VERSIONS_AT_A_TIME}
    stride = how.window // 2
    return Occlusion(answer), {"sliding_window_shapes": (3, how.window, how.window), "strides": (3, stride, stride)}


def _spatial_layer(network: nn.Module, layer: str) -> nn.Module:
    """Return the module that Grad-CAM looks at; its name is that inside the network below the readout."""
    inside = network.backbone if isinstance(network, LinearReadout) else network
    modules: dict[str, nn.Module] = dict(inside.named_modules())
    if layer not in modules:
        known = [name for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.MaxPool2d)]
        raise SpecError("Grad-CAM needs a layer of the network.", got=repr(layer), expected=", ".join(known))
    return modules[layer]


def _require_places(network: nn.Module, layer: str, picture: Tensor) -> None:
    """Raise `SpecError` unless a layer's answer to a picture has rows and columns, and the numbers depend on it."""
    answers: list[Any] = []
    hook = _spatial_layer(network, layer).register_forward_hook(lambda _module, _inputs, output: answers.append(output))
    try:
        numbers = network(picture.detach().requires_grad_())
    finally:
        hook.remove()
    if not answers or not isinstance(answers[-1], Tensor) or answers[-1].ndim != 4:
        raise SpecError(
            "Grad-CAM needs a layer with rows and columns.",
            got=f"{layer}, {tuple(answers[-1].shape[1:]) if answers and isinstance(answers[-1], Tensor) else 'no map'}",
            expected="(channels, rows, columns)",
            mend="name another layer.",
        )
    if torch.autograd.grad(numbers.sum(), answers[-1], allow_unused=True)[0] is None:
        raise SpecError(
            f"What is attributed does not depend on the layer {layer}.",
            got="a layer for Grad-CAM that comes after the one that is read from",
            mend="name the layer that is read from, or one before it.",
        )


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, without gradients of weights and without layers that overwrite their input."""
    modes = {module: module.training for module in network.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in network.parameters()}
    overwriting: list[Any] = [module for module in network.modules() if getattr(module, "inplace", False)]
    network.eval().requires_grad_(False)
    for module in overwriting:
        module.inplace = False
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, grad in wanted.items():
            parameter.requires_grad_(grad)
        for module in overwriting:
            module.inplace = True
