"""What a network's layers answer to pictures: flattened activations, several layers in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainviz.errors import DatasetError, SpecError

#: A layer's features are kept in a file instead of in memory when they are larger than this, and a folder is given.
MEMORY_BYTES = 2**30


class _AllSeen(Exception):  # noqa: N818 (no error: it ends a forward pass that has nothing left to give)
    """Raised inside a forward pass once every wanted layer has answered."""


def layer_features(
    backbone: nn.Module,
    layers: Sequence[str],
    images: NDArray[np.uint8],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    device: str = "cpu",
    batch_size: int = 64,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Run pictures through a network once, and return the activations of the named layers.

    Parameters
    ----------
    backbone : nn.Module
        Is moved to `device`; runs in eval mode, and is left in the mode it was in.
    layers : sequence of str
        Names of modules, e.g. ``features.10``.
    images : (n, s, s, 3) uint8 array
        May be memory-mapped.
    mean, std : (3,) sequence
        Channels (0..1, RGB) are normalised as ``(x - mean) / std``.
    device : str
        ``"cpu"`` or ``"cuda"``.
    batch_size : int
        Pictures per forward pass.
    folder : Path, optional
        Where a layer larger than `MEMORY_BYTES` is kept, as ``<layer>.npy``; deleting it is the caller's part. Without
        a folder everything is in memory.
    progress : callable, optional
        Called with the pictures done and the number of all.

    Returns
    -------
    dict
        Layer -> (n, p) float32 array, or memory map; p runs over channels, rows, columns (the last fastest), whatever
        the memory format of the network.

    Raises
    ------
    SpecError
        No layer, one that the network does not have, one that does not run in its forward pass or runs more than once,
        or one whose output is no tensor with one row per picture.
    DatasetError
        The pictures are not an (n, s, s, 3) uint8 array.

    Notes
    -----
    The forward pass ends after the last wanted layer. Convolutions and products are full float32 on either device (no
    TF32), so that features do not depend on it by more than rounding.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or len(images) == 0:
        raise DatasetError(
            "The pictures cannot be shown to a network.",
            got=f"{images.dtype} {images.shape}",
            expected="uint8 (images, size, size, 3), at least one",
        )
    modules = _named_modules(backbone, layers)
    backbone.to(device)
    normalise = normaliser(mean, std, torch.device(device))
    with torch.no_grad(), _evaluating(backbone), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        sizes = _output_sizes(backbone, modules, normalise(images[:1]))
        features = {layer: allocate(folder, layer, len(images), sizes[layer]) for layer in modules}
        for start in range(0, len(images), batch_size):
            batch = normalise(images[start : start + batch_size])
            for layer, output in _forward(backbone, modules, batch).items():
                features[layer][start : start + len(output)] = output
            if progress:
                progress(start + len(batch), len(images))
    return features


def _named_modules(backbone: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """Return the named layers; an unknown one is refused with the nearest names."""
    if not layers:
        raise SpecError("No layer is named.", mend="name at least one module of the network.")
    known = {name: module for name, module in backbone.named_modules() if name}
    for layer in layers:
        if layer not in known:
            nearest = get_close_matches(layer, known, n=5, cutoff=0.5) or list(known)[-5:]
            raise SpecError(
                f"The network has no layer {layer!r}.",
                got=layer,
                expected=f"for example {', '.join(nearest)}",
                mend="name a module of the network.",
            )
    return {layer: known[layer] for layer in layers}


def normaliser(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Return what turns (b, s, s, 3) uint8 pictures into a normalised (b, 3, s, s) float32 batch on the device."""
    centre = torch.tensor(mean, device=device)[:, None, None]
    spread = torch.tensor(std, device=device)[:, None, None]

    def normalise(images: NDArray[np.uint8]) -> Tensor:
        # Channels are last in the array, so that the permuted tensor is channels-last: the fast format, at no cost.
        pictures = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
        return (pictures.float() / 255 - centre) / spread

    return normalise


@contextmanager
def _evaluating(backbone: nn.Module) -> Iterator[None]:
    """Put the network in eval mode for a while; every module's own mode comes back after."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], receive: Callable[[str, Any], None]) -> Iterator[None]:
    """Call ``receive(layer, output)`` whenever one of the modules has run; the hooks go away in any case."""

    def hook(layer: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: receive(layer, output)

    handles = [module.register_forward_hook(hook(layer)) for layer, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output_sizes(backbone: nn.Module, modules: Mapping[str, nn.Module], picture: Tensor) -> dict[str, int]:
    """Show one picture, and return the number of features per layer; refuse layers without one clear answer."""
    outputs: dict[str, list[object]] = {layer: [] for layer in modules}
    with _hooked(modules, lambda layer, output: outputs[layer].append(output)):
        backbone(picture)
    sizes = {}
    for layer, answers in outputs.items():
        if len(answers) != 1:
            raise SpecError(
                f"The layer {layer!r} has no single output.",
                got=f"it runs {len(answers)} times in a forward pass",
                mend="name the module that contains it.",
            )
        answer = answers[0]
        if not isinstance(answer, Tensor) or answer.ndim < 2 or len(answer) != 1:
            raise SpecError(
                f"The output of the layer {layer!r} cannot be used as features.",
                got=str(tuple(answer.shape)) if isinstance(answer, Tensor) else type(answer).__name__,
                expected="a tensor with one row per picture",
            )
        sizes[layer] = answer[0].numel()
    return sizes


def _forward(backbone: nn.Module, modules: Mapping[str, nn.Module], batch: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return layer -> (b, p) for one batch, stopping after the last wanted layer."""
    outputs: dict[str, NDArray[np.float32]] = {}

    def receive(layer: str, output: Tensor) -> None:
        # Copied at once: the ReLU that follows a convolution often works in place.
        outputs[layer] = output.flatten(1).to("cpu", torch.float32, copy=True).numpy()
        if len(outputs) == len(modules):
            raise _AllSeen

    with _hooked(modules, receive), suppress(_AllSeen):
        backbone(batch)
    return outputs


def allocate(folder: Path | None, layer: str, n: int, p: int) -> NDArray[np.float32]:
    """Return an empty (n, p) array for features: a file's memory map when it is large and there is a folder."""
    if folder is None or 4 * n * p <= MEMORY_BYTES:
        return np.empty((n, p), dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(folder / f"{layer}.npy", mode="w+", dtype=np.float32, shape=(n, p))
