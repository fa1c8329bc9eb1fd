"""Read `mapping_SET.npy`, a pickled dictionary of ROI names, without running anything that the pickle names."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from brainviz.datasets.npy import read_header
from brainviz.errors import DatasetError

#: A mapping of a few hundred names takes a few kilobytes.
MAX_BYTES = 1 << 20

#: What malformed pickle data make the standard library raise.
_MALFORMED = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def read_mapping(path: Path) -> dict[int, str]:
    """Return the names of a mask's values: ``{0: "Unknown", 1: "V1v", ...}``.

    The file is a 0-dimensional object array as ``np.save`` of numpy 1 or 2 writes it. It is read
    by an unpickler that builds dictionaries, integers and strings; numpy's constructors are replaced by stand-ins, and
    whatever else the pickle names is refused.

    Raises
    ------
    DatasetError
        The file is missing, is not such an array, or holds anything but a dictionary from integers to strings.
    """
    mend = "get the file again, or write it with np.save(file, {0: 'Unknown', 1: 'V1', ...})."
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(
            f"{path.name}, which names the ROIs, cannot be read.", got=f"{path} ({error.strerror})", mend=mend
        ) from error
    if len(data) > MAX_BYTES:
        raise DatasetError(
            f"{path.name} is too large for a list of ROI names.", got=f"over {MAX_BYTES:,} bytes", mend=mend
        )
    try:
        stream = io.BytesIO(data)
        shape, _, dtype = read_header(stream)
        if shape != () or dtype != np.dtype(object):
            raise ValueError(f"an array of {dtype} with shape {shape}")
        pickled = stream.read()
        _refuse_large_memo(pickled)
        mapping = _MappingUnpickler(io.BytesIO(pickled)).load()
        mapping = mapping.item if isinstance(mapping, _ArrayStandIn) else mapping
    except _MALFORMED as error:
        raise DatasetError(
            f"{path.name} is not a list of ROI names, and nothing in it was run.",
            got=f"{type(error).__name__}: {error}",
            expected="a pickled dictionary from integers to strings",
            mend=mend,
        ) from error
    return _checked(path, mapping, mend)


def _checked(path: Path, mapping: Any, mend: str) -> dict[int, str]:
    expected = "a dictionary from integers to strings"
    if not isinstance(mapping, dict):
        raise DatasetError(
            f"{path.name} does not hold a dictionary.", got=type(mapping).__name__, expected=expected, mend=mend
        )
    for value, name in mapping.items():
        if type(value) is not int or type(name) is not str:
            got = f"{type(value).__name__}: {type(name).__name__}"
            raise DatasetError(f"{path.name} holds other things than ROI names.", got=got, expected=expected, mend=mend)
    return mapping


def _refuse_large_memo(pickled: bytes) -> None:
    """Raise ValueError for a memo index beyond the file's length, for which the unpickler would reserve gigabytes."""
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(pickled):
            raise ValueError(f"memo index {argument}")


class _ArrayStandIn:
    """Receives the state of a 0-d object array: ``(version, shape, dtype, is_fortran, [item])``."""

    item: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, _, _, items = state
        if shape != () or not isinstance(items, list) or len(items) != 1:
            raise ValueError("an array that does not hold one item")
        self.item = items[0]


class _TypeStandIn:
    """Stands for ``numpy.dtype("O")``, whose state says nothing that matters here."""

    def __setstate__(self, state: Any) -> None:
        pass


class _MappingUnpickler(pickle.Unpickler):
    """Resolves the names that numpy writes into a 0-d object array to stand-ins, and no other name."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        # New functions on every call: whatever a pickle sets on them is gone with them.
        match module, name:
            case (("numpy.core.multiarray" | "numpy._core.multiarray"), "_reconstruct"):
                return lambda *_: _ArrayStandIn()
            case "numpy", "dtype":
                return lambda *_: _TypeStandIn()
            case ("numpy", "ndarray") | ("_codecs", "encode"):  # the second is how numpy before 1.17 wrote bytes
                return lambda *_: None
            case _:
                raise pickle.UnpicklingError(f"it names {module}.{name}")
