"""The networks that runs are about: with the weights that a spec names, or as a finished run has tuned them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainviz.errors import WeightsError
from brainviz.runs.bottleneck_specs import JointFeaturesSpec
from brainviz.runs.context import Context
from brainviz.runs.network_specs import FeaturesSpec, NetworkFields
from brainviz.runs.remembered import weights_path
from brainviz.runs.specs import ClassificationSpec

if TYPE_CHECKING:
    from torch import nn

#: File of a fine-tuned network's state.
WEIGHTS = "weights.safetensors"

#: Pictures that pass through the network at a time when features are read; does not change the result.
FEATURE_BATCH = 64

#: Pictures whose features are in memory at a time, where those of all may be too large.
PICTURES_PER_BLOCK = 512

#: Features, before PCA, that are in memory or on the disk at a time.
PASS_BYTES = 3 * 2**30


def open_state(spec: FeaturesSpec | ClassificationSpec | JointFeaturesSpec, context: Context) -> nn.Module:
    """Return the network in the state that a spec is about: untuned, random, or tuned by a finished run."""
    if spec.finetune is None:
        return open_backbone(spec, spec.seed, context)
    from brainviz.models.backbones import load_tuned_backbone

    return load_tuned_backbone(spec.network, context.finished(spec.finetune).file(WEIGHTS))


def features_of(
    backbone: nn.Module, layers: Sequence[str], images: NDArray[np.uint8], folder: Path, context: Context
) -> dict[str, NDArray[np.float32]]:
    """Return what layers answer to pictures, (n, p) each, with progress; large ones are kept in `folder`."""
    from brainviz.encoding.features import layer_features
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD

    return layer_features(
        backbone,
        layers,
        images,
        IMAGENET_MEAN,
        IMAGENET_STD,
        device=context.device,
        batch_size=FEATURE_BATCH,
        folder=folder,
        progress=context.progress(f"features of {', '.join(layers)}"),
    )


def feature_blocks(
    backbone: nn.Module, layer: str, images: NDArray[np.uint8], context: Context
) -> Iterator[NDArray[np.float32]]:
    """Yield what a layer answers to pictures, (m, p) for some of them at a time, in order, with progress."""
    from brainviz.encoding.features import layer_features
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD

    tell = context.progress(f"features of {layer}")
    for start in range(0, len(images), PICTURES_PER_BLOCK):
        part = images[start : start + PICTURES_PER_BLOCK]
        yield layer_features(backbone, (layer,), part, IMAGENET_MEAN, IMAGENET_STD, device=context.device)[layer]
        tell(start + len(part), len(images))


def stack_blocks(blocks: Iterable[NDArray[np.float32]], n: int, layer: str, folder: Path) -> NDArray[np.float32]:
    """Return the features of n pictures, which come in blocks, as one array; on the disk where they are large."""
    from brainviz.encoding.features import allocate

    features: NDArray[np.float32] | None = None
    start = 0
    for block in blocks:
        if features is None:
            features = allocate(folder, layer, n, block.shape[1])
        features[start : start + len(block)] = block
        start += len(block)
    assert features is not None
    assert start == n
    return features


def open_backbone(spec: NetworkFields, seed: int, context: Context) -> nn.Module:
    """Return the untuned network that a spec names.

    Raises
    ------
    WeightsError
        A local weights file was asked for and its place is not known, or its contents have changed.
    """
    from brainviz.models.backbones import load_backbone

    path = None
    if spec.weights == "file" and (path := weights_path(spec.weights_digest, context.store.cache)) is None:
        raise WeightsError(
            "Nobody remembers where this weights file is.",
            got=f"SHA-256 {spec.weights_digest}",
            mend="ask for the run again and name the file.",
        )
    return load_backbone(spec.network, spec.weights, spec.weights_digest, path, seed)


def passes(backbone: nn.Module, layers: Sequence[str], images: NDArray[np.uint8]) -> list[tuple[str, ...]]:
    """Divide layers into groups, in order, whose features together take at most `PASS_BYTES`, or hold one layer."""
    from brainviz.encoding.features import layer_features
    from brainviz.models.backbones import IMAGENET_MEAN, IMAGENET_STD

    groups: list[tuple[str, ...]] = []
    held = 0
    for layer, one in layer_features(backbone, layers, images[:1], IMAGENET_MEAN, IMAGENET_STD).items():
        size = one.nbytes * len(images)
        if groups and held + size <= PASS_BYTES:
            groups[-1] = (*groups[-1], layer)
            held += size
        else:
            groups.append((layer,))
            held = size
    return groups


@contextmanager
def scratch(context: Context) -> Iterator[Path]:
    """Yield a folder inside the run's for what is too large to keep, removed afterwards."""
    folder = context.path / "scratch"
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
