"""Backbones: which image networks there are, their candidate layers, and their weights found, checked and loaded."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from brainviz.config import nearest
from brainviz.errors import SpecError, WeightsError
from brainviz.models.states import STATE_SUFFIXES, file_digest, fill, read_state, require_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

#: Channel means and standard deviations of ImageNet pictures scaled to 0..1; what every backbone here expects.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: Offered in forms; every other torchvision classifier is accepted by its name.
NETWORKS = ("alexnet", "alexnet_compact", "squeezenet1_1", "vgg16", "resnet18", "resnet50")

#: Names of weights that need no file of the user's.
NAMED_WEIGHTS = ("imagenet", "demo", "random")

#: Prefix of the backbone's tensors in the state of a tuned network.
BACKBONE_PREFIX = "backbone."

COMPACT = "alexnet_compact"
_COMPACT_WEIGHTS = Path(__file__).parent / "weights" / "alexnet_compact.safetensors"

# What follows is known without importing torch, which takes seconds: the app and the command line ask for it at once.
_ALEXNET_LAYERS = (
    "features.2", "features.5", "features.7", "features.9", "features.12",
    "classifier.2", "classifier.5", "classifier.6",
)  # fmt: skip
_SQUEEZENET_1_1_LAYERS = (
    "features.2", "features.3", "features.4", "features.6", "features.7", "features.9", "features.10", "features.11",
    "features.12", "classifier",
)  # fmt: skip
_SQUEEZENET_1_0_LAYERS = (
    "features.2", "features.3", "features.4", "features.5", "features.7", "features.8", "features.9", "features.10",
    "features.12", "classifier",
)  # fmt: skip
_RESNET_LAYERS = ("maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
_REGNET_LAYERS = ("stem", *(f"trunk_output.block{stage}" for stage in (1, 2, 3, 4)), "avgpool", "fc")
_LAYERS_BY_FAMILY = (
    (r"alexnet(_compact)?", _ALEXNET_LAYERS),
    (r"squeezenet1_0", _SQUEEZENET_1_0_LAYERS),
    (r"squeezenet1_1", _SQUEEZENET_1_1_LAYERS),
    (r"(wide_)?resnet\d+(_\d)?|resnext.*", _RESNET_LAYERS),
    (r"regnet_.*", _REGNET_LAYERS),
)
_KNOWN_SIZES = {"alexnet": 224, COMPACT: 64, "squeezenet1_0": 224, "squeezenet1_1": 224}
_ALEXNET_DIGEST = "7be5be79"  # of torchvision's IMAGENET1K_V1, in its file name

#: Modules that only hold others: their children are the candidates.
_CONTAINERS = frozenset({"features", "layers", "blocks", "encoder", "classifier", "heads"})


@dataclass(frozen=True)
class ResolvedWeights:
    """Which weights a name stands for.

    Attributes
    ----------
    name : {"imagenet", "openai", "demo", "random", "file"}
        ``openai`` is for image-text networks (`brainviz.models.clip`).
    digest : str
        SHA-256 of the file; for ``imagenet`` its first digits, from torchvision's file name; for ``openai`` that of
        OpenAI's archive; empty for ``random``.
    path : Path or None
        The file; None for ``imagenet``, ``openai`` and ``random``.
    """

    name: Literal["imagenet", "openai", "demo", "random", "file"]
    digest: str
    path: Path | None = None


def candidate_layers(network: str) -> tuple[str, ...]:
    """Names of the modules whose outputs an encoding model may be built on, from input to logits.

    AlexNet and its compact form have the eight layers of the paper. SqueezeNets have the first convolution, every fire
    module and the logits; VGGs the five poolings and three linear layers; ResNets their stages. For any other
    classifier of torchvision these are its blocks: the top-level modules with weights, where one that merely
    holds others (``features``, ``encoder``, ...) stands for its children.

    Raises
    ------
    SpecError
        No such network.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067, for AlexNet's layers.
    """
    require_network(network)
    for family, layers in _LAYERS_BY_FAMILY:
        if re.fullmatch(family, network):
            return layers
    return _layers_by_rule(network)


def logit_layer(network: str) -> str:
    """Name of the module that gives the logits, the last of `candidate_layers`."""
    return candidate_layers(network)[-1]


def readout_layers(network: str) -> tuple[str, ...]:
    """Names of the modules whose outputs classifiers are built on: the logits, and AlexNet's rectified layer before.

    References
    ----------
    Mulrooney & Brockmeier 2024, arXiv 2410.06067: the poster's logits, the code's ``classifier.5``.
    """
    before = ("classifier.5",) if network.startswith("alexnet") else ()
    return (logit_layer(network), *before)


def last_map(network: str) -> str:
    """Name of the last candidate layer whose answer has rows and columns: where Grad-CAM looks unless told otherwise.

    AlexNet's is features.12, as in the authors' pictures (methods, section 7).

    Raises
    ------
    SpecError
        No such network, or its layers' names do not tell, as with transformers.
    """
    named = [layer for layer in candidate_layers(network) if layer.startswith(("features", "layer", "trunk_output"))]
    if not named:
        raise SpecError(
            f"The layers of {network} do not tell which one has rows and columns.",
            got=", ".join(candidate_layers(network)),
            mend="name one for Grad-CAM, or choose another attribution.",
        )
    return named[-1]


def require_layers(network: str, layers: Sequence[str]) -> None:
    """Raise unless every one of these is a module of the network; torch is imported only for unusual ones.

    Raises
    ------
    SpecError
        No such network, or it has no such module.
    """
    unusual = [layer for layer in layers if layer not in candidate_layers(network)]
    if not unusual:
        return
    import torch

    with torch.device("meta"):  # names only: no memory, no initialisation
        names = [name for name, _ in _architecture(network).named_modules() if name]
    for layer in unusual:
        if layer not in names:
            close = nearest(layer, names)
            raise SpecError(
                f"{network} has no layer {layer!r}.",
                got=layer,
                expected=", ".join(candidate_layers(network)),
                mend=f"did you mean {close}?" if close else "name one of these, or another module of the network.",
            )


def default_image_size(network: str) -> int:
    """Pixels on a side that the network was trained on.

    Raises
    ------
    SpecError
        No such network.
    """
    require_network(network)
    if network in _KNOWN_SIZES:
        return _KNOWN_SIZES[network]
    return int(_torchvision_weights(network).transforms().crop_size[0])


def default_weights(network: str) -> str:
    """``"demo"`` for the compact network, whose weights brainviz carries, ``"imagenet"`` for torchvision's."""
    require_network(network)
    return "demo" if network == COMPACT else "imagenet"


def require_network(network: str) -> None:
    """Raise `SpecError`, naming the nearest, unless `network` is the compact network or a torchvision classifier."""
    if network in _KNOWN_SIZES:
        return
    known = (*_torchvision_classifiers(), COMPACT)
    if network not in known:
        close = difflib.get_close_matches(network, known, n=3)
        raise SpecError(
            f"There is no network {network!r}.",
            got=network,
            expected=f"a classifier of torchvision, or {COMPACT}",
            mend=f"did you mean {' or '.join(close)}?" if close else f"choose one of {', '.join(NETWORKS)}.",
        )


def resolve_weights(network: str, weights: str, *, allow_path: bool = True) -> ResolvedWeights:
    """Find the weights that a name or a path stands for, and their digest; nothing is downloaded.

    Parameters
    ----------
    network : str
        See `NETWORKS`.
    weights : str
        One of `NAMED_WEIGHTS`, a name in ``[weights]`` of brainviz.toml, or the path of a local file.
    allow_path : bool
        False refuses paths: what a form or a link says is never used as one.

    Raises
    ------
    SpecError
        No such network, or no such weights for it.
    WeightsError
        The file is absent or of an unknown kind.
    """
    require_network(network)
    if weights == "random":
        return ResolvedWeights("random", "")
    if weights == "demo":
        return demo_weights(network, COMPACT, _COMPACT_WEIGHTS, "imagenet, random, or a file")
    if weights == "imagenet":
        return ResolvedWeights("imagenet", _imagenet_digest(network))
    return file_weights(weights, allow_path)


def load_backbone(network: str, weights_name: str, digest: str, path: Path | None = None, seed: int = 0) -> nn.Module:
    """Return a network with its weights, float32, on the CPU, in eval mode.

    In-place activations are made out-of-place, so that a layer's output, kept by a hook, still is that layer's output
    when the next one has run. The last layer has as many logits as the weights say, 1000 with random weights.

    Parameters
    ----------
    network, weights_name, digest, path
        As `resolve_weights` gave them. ``imagenet`` weights are downloaded unless torch's cache holds them.
    seed : int
        Of random weights; the global random state is left as it was.

    Raises
    ------
    SpecError
        No such network or weights.
    WeightsError
        The file is absent, damaged, not the one with this digest, or does not fit; or there is no network connection.
    """
    require_network(network)
    if weights_name == "random":
        return _build(network, seed=seed)
    if weights_name == "imagenet":
        path = _imagenet_file(network)
    elif weights_name == "demo":
        path = demo_weights(network, COMPACT, _COMPACT_WEIGHTS, "imagenet, random, or a file").path
    if path is None:
        raise SpecError(
            f"The weights {weights_name!r} need a file.",
            got="no path",
            mend="name the file, or imagenet, demo or random.",
        )
    state = read_state(path)
    require_digest(path, digest)
    return _restore(network, state, str(path))


def load_tuned_backbone(network: str, path: Path) -> nn.Module:
    """Return the backbone of a tuned network, as `load_backbone` does.

    Parameters
    ----------
    network : str
        The architecture.
    path : Path
        State of the whole tuned network; the backbone's tensors are those named ``backbone.*``.

    Raises
    ------
    SpecError
        No such network.
    WeightsError
        The file is absent, damaged, or holds no backbone of this architecture.
    """
    require_network(network)
    state = read_state(path)
    backbone = {name.removeprefix(BACKBONE_PREFIX): t for name, t in state.items() if name.startswith(BACKBONE_PREFIX)}
    if not backbone:
        raise WeightsError(
            f"{path} holds no tuned backbone.",
            got=f"{len(state)} tensors, none of them named {BACKBONE_PREFIX}*",
            expected="the weights.safetensors of a finetune run",
        )
    return _restore(network, backbone, str(path))


def count_logits(backbone: nn.Module, image_size: int) -> int:
    """Width of the backbone's output for pictures of this size, found by passing one black picture through.

    Raises
    ------
    SpecError
        The network cannot take pictures of this size.
    """
    import torch

    where = next(backbone.parameters()).device
    try:
        with torch.no_grad():
            logits: Tensor = backbone(torch.zeros(1, 3, image_size, image_size, device=where))
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"{type(backbone).__name__} cannot take pictures of {image_size} x {image_size} pixels.",
            got=str(error).splitlines()[0],
            mend="choose the image size that the network was made for; most need a larger one.",
        ) from error
    return logits.shape[1]


# --- layers -----------------------------------------------------------------------------------------------------------


@cache
def _torchvision_classifiers() -> tuple[str, ...]:
    from torchvision import models

    return tuple(models.list_models(module=models))


@cache
def _layers_by_rule(network: str) -> tuple[str, ...]:
    import torch
    from torch import nn

    with torch.device("meta"):  # shapes and names only: no memory, no initialisation
        model = _architecture(network)
    if network.startswith("vgg"):
        pools = [name for name, module in model.named_modules() if isinstance(module, nn.MaxPool2d)]
        return (*pools, "classifier.1", "classifier.4", "classifier.6")
    return tuple(_blocks(model))


def _blocks(module: nn.Module, prefix: str = "") -> list[str]:
    """Names of the children that have weights; a container's children in its place."""
    names: list[str] = []
    for name, child in module.named_children():
        if next(child.parameters(), None) is None:
            continue
        if name in _CONTAINERS and next(child.children(), None) is not None:
            names += _blocks(child, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


# --- architectures ----------------------------------------------------------------------------------------------------


def _architecture(network: str, n_classes: int | None = None) -> nn.Module:
    """Return the untrained network; one output per class, 1000 (the compact network: its own number) by default."""
    if network == COMPACT:
        from brainviz.models.compact import AlexNetCompact

        compact: nn.Module = AlexNetCompact(n_classes=n_classes or int(training_record(_COMPACT_WEIGHTS)["n_classes"]))
        return compact
    from torchvision import models

    options: dict[str, Any] = {"num_classes": n_classes or 1000}
    if network in ("googlenet", "inception_v3"):
        # Without the auxiliary classifiers, which only their first training used; transform_input because torchvision's
        # weights come from networks that scaled pictures to -1..1; and with torch's usual initial weights.
        options |= {"aux_logits": False, "transform_input": True, "init_weights": False}
    if network.startswith("vit_"):
        options["image_size"] = default_image_size(network)
    model: nn.Module = models.get_model(network, weights=None, **options)
    return model


def _build(network: str, n_classes: int | None = None, seed: int = 0) -> nn.Module:
    """Return the network with seeded random weights, in eval mode, its activations out-of-place."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _architecture(network, n_classes)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return model.eval()


def _restore(network: str, state: Mapping[str, Tensor], source: str) -> nn.Module:
    state = _with_todays_names(network, state)
    logits = logit_layer(network)
    weight = state.get("classifier.1.weight" if network.startswith("squeezenet") else f"{logits}.weight")
    model = _build(network, None if weight is None else len(weight))
    fill(model, state, source)
    return model


def _with_todays_names(network: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename or drop what torchvision's own loaders rename or drop in its published files."""
    if network.startswith("densenet"):  # denselayer1.norm.1.weight was the name before PyTorch forbade dots in names
        old = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)")
        return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}
    if network in ("googlenet", "inception_v3"):
        return {name: tensor for name, tensor in state.items() if not name.lower().startswith("aux")}
    return dict(state)


# --- weights ----------------------------------------------------------------------------------------------------------


def demo_weights(network: str, own: str, path: Path, others: str) -> ResolvedWeights:
    """Return the weights that come with brainviz; raise `SpecError` unless the network is the one that they are for.

    Parameters
    ----------
    network, own : str
        The network in question, and the one that has them.
    path : Path
        Their file; what was recorded about them lies beside it.
    others : str
        What else there is for other networks, in words.
    """
    if network != own:
        raise SpecError(f"{network} has no demo weights.", got="demo", expected=others, mend=f"demo is for {own}.")
    return ResolvedWeights("demo", str(training_record(path)["sha256"]), path)


@cache
def training_record(path: Path) -> dict[str, Any]:
    """Return what the script that trained a compact network wrote about its weights."""
    record = path.with_suffix(".json")
    if not record.is_file():
        raise WeightsError(
            f"{record} is absent.", mend="it comes with brainviz: restore it from the repository, or train it again."
        )
    content: dict[str, Any] = json.loads(record.read_text())
    return content


def _torchvision_weights(network: str) -> Any:
    """Return torchvision's ImageNet weights: the original ones, where there are several."""
    from torchvision import models

    choices = models.get_model_weights(network)
    return choices.__members__.get("IMAGENET1K_V1", choices.DEFAULT)


def _imagenet_digest(network: str) -> str:
    if network == "alexnet":
        return _ALEXNET_DIGEST
    if network == COMPACT:
        raise SpecError(f"{COMPACT} has no ImageNet weights.", got="imagenet", expected="demo, random, or a file")
    weights = _torchvision_weights(network)
    if tuple(weights.transforms().mean) != IMAGENET_MEAN:
        raise SpecError(
            f"torchvision's weights of {network} expect pictures normalised in a way that brainviz does not offer.",
            got=f"channel means {tuple(weights.transforms().mean)}",
            expected=f"channel means {IMAGENET_MEAN}",
            mend="choose another network.",
        )
    found = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
    if found is None:
        raise WeightsError(
            f"torchvision's file for {network} carries no digest.", got=weights.url, mend="use a local file."
        )
    return found.group(1)


def _imagenet_file(network: str) -> Path:
    """Return torchvision's weights file in torch's cache, downloaded when it is not there yet."""
    import torch

    digest = _imagenet_digest(network)
    url = str(_torchvision_weights(network).url)
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(
            f"The ImageNet weights of {network} could not be downloaded.",
            got=str(error) or type(error).__name__,
            mend=f"fetch {url} where there is a connection and put it at {path}, or name a local file: --weights FILE.",
        ) from error
    return path


def file_weights(weights: str, allow_path: bool, named: Sequence[str] = NAMED_WEIGHTS) -> ResolvedWeights:
    """Return the file that a name in ``[weights]`` of brainviz.toml, or a path, stands for.

    Parameters
    ----------
    weights : str
    allow_path : bool
        False refuses paths.
    named : sequence of str
        What else could have been asked for; the error says so.

    Raises
    ------
    SpecError
        No such name, and no path of a file.
    WeightsError
        The file is absent or of an unknown kind.
    """
    from brainviz.config import load_config

    configured = load_config().weights
    path = configured.get(weights)
    if path is None and allow_path and (Path(weights).suffix in STATE_SUFFIXES or Path(weights).is_file()):
        path = Path(weights).resolve()
    if path is None:
        known = (*named, *configured)
        raise SpecError(
            f"There are no weights {weights!r}.",
            got=weights,
            expected=", ".join(known) + (f", or a file ({', '.join(STATE_SUFFIXES)})" if allow_path else ""),
            mend="choose one of these, or name a file in the table [weights] of brainviz.toml.",
        )
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.", mend="correct the path, or put the file there.")
    if path.suffix not in STATE_SUFFIXES:
        raise WeightsError(f"The weights file {path} is of an unknown kind.", expected=", ".join(STATE_SUFFIXES))
    return ResolvedWeights("file", file_digest(path), path)
