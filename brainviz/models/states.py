"""Network states in files: state dicts read without running code, and checked by digest and name by name."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainviz.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: File name endings of the two kinds of state that can be read.
STATE_SUFFIXES = (".safetensors", ".pth", ".pt")

#: How many keys of each kind an error names.
_KEYS_NAMED = 6


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises
    ------
    WeightsError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read.", got=str(error)) from error


def require_digest(path: Path, digest: str) -> None:
    """Raise `WeightsError` unless the file's SHA-256 begins with `digest`.

    torchvision's file names carry the first eight digits only; every other digest is whole.
    """
    found = file_digest(path)
    if not digest or not found.startswith(digest):
        raise WeightsError(
            f"The weights file {path} is not the one that was asked for.",
            got=f"SHA-256 {found}",
            expected=f"SHA-256 {digest or '(none given)'}",
            mend="put the right file back, or ask for a new run, which records the file as it is now.",
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict file, on the CPU, floating ones as float32.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or ``.pth`` / ``.pt`` as `torch.save` writes it; the latter is a pickle and is read with
        ``weights_only=True``, which admits tensors and plain containers but no code.

    Raises
    ------
    WeightsError
        The file is absent, damaged, of another kind, holds anything but named tensors, or NaN or infinite weights.
    """
    import torch

    if path.suffix not in STATE_SUFFIXES:
        raise WeightsError(
            f"The weights file {path} is of an unknown kind.", got=repr(path.suffix), expected=", ".join(STATE_SUFFIXES)
        )
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.", mend="correct the path, or put the file there.")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    state: dict[str, Tensor] = {}
    for name, tensor in content.items():
        if not torch.is_tensor(tensor):
            raise WeightsError(
                f"The weights file {path} is not a plain state dict.",
                got=f"{name!r} holds a {type(tensor).__name__}",
                expected="names and tensors, as torch.save(network.state_dict(), path) writes them",
                mend="save the network's state dict by itself; many checkpoints hold it under 'state_dict'.",
            )
        state[str(name)] = tensor.float() if tensor.is_floating_point() else tensor
    _require_finite(path, state)
    return state


def _read_safetensors(path: Path) -> Mapping[Any, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: dict[str, Tensor] = load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return content


def _read_pickled(path: Path) -> Mapping[Any, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The weights file {path} is refused: it is damaged, or holds more than tensors and plain containers.",
            got=str(error).splitlines()[0],
            mend="save only the state dict: torch.save(network.state_dict(), path), or a .safetensors file.",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"The weights file {path} is not a state dict.",
            got=type(content).__name__,
            expected="a dictionary of tensors",
        )
    return content


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"The weights file {path} is damaged or incomplete.",
        got=(str(error) or type(error).__name__).splitlines()[0],
        mend="fetch or write it again.",
    )


def _require_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"The weights file {path} holds NaN or infinite weights.", got=_named(broken))


def fill(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into the network; every parameter and buffer must be there, with its shape, and nothing else.

    Raises
    ------
    WeightsError
        Names are missing or unexpected, or shapes differ; the error names them.
    """
    own = network.state_dict()
    # Files older than PyTorch 0.4.1 lack this counter of batch norm, which nothing here reads.
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    findings = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(findings.values()):
        raise WeightsError(
            f"The weights in {source} do not fit {type(network).__name__}.",
            got="; ".join(f"{kind}: {_named(names)}" for kind, names in findings.items() if names),
            expected="the names and shapes of this network's own state dict",
            mend="choose the network that these weights belong to.",
        )
    network.load_state_dict({**own, **state})


def flat_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers by name, contiguous and on the CPU, as a safetensors file takes them."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def _named(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _KEYS_NAMED} more" if len(names) > _KEYS_NAMED else ""
    return ", ".join(names[:_KEYS_NAMED]) + more
