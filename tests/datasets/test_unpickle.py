"""Tests of brainviz.datasets.unpickle: mappings as numpy 1 and 2 write them, and pickles that mean harm."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from brainviz.datasets.unpickle import MAX_BYTES, read_mapping
from brainviz.errors import DatasetError

NAMES = {0: "Unknown", 1: "V1v", 2: "V1d"}


def _header() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    return stream.getvalue()


def _write(path: Path, pickled: bytes) -> Path:
    path.write_bytes(_header() + pickled)
    return path


def _array_pickle(value: object, protocol: int, module: str) -> bytes:
    """Pickle a 0-d object array as the numpy does whose module is called so; protocols above 3 also store lengths."""
    data = pickle.dumps(np.array(value, dtype=object), protocol=protocol)
    return data.replace(b"numpy._core.multiarray", module.encode()).replace(b"numpy.core.multiarray", module.encode())


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_mappings_of_numpy_1_and_2(tmp_path, protocol, module):
    pickled = _array_pickle(NAMES, protocol, module)
    assert module.encode() in pickled
    assert read_mapping(_write(tmp_path / "mapping_x.npy", pickled)) == NAMES


def test_mapping_that_this_numpy_saves(tmp_path):
    np.save(tmp_path / "mapping_x.npy", np.array(NAMES, dtype=object), allow_pickle=True)
    assert read_mapping(tmp_path / "mapping_x.npy") == NAMES


class _Malicious:
    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_nothing_is_executed(tmp_path):
    """Calls that would leave a trace on disk are refused, wherever in the pickle they are."""
    import os
    import subprocess

    trace = tmp_path / "trace"
    harm = [
        _Malicious(os.system, f"touch {trace}"),
        _Malicious(subprocess.check_call, ["touch", str(trace)]),
        _Malicious(eval, f"open({str(trace)!r}, 'w')"),
        _Malicious(Path.touch, trace),
        _Malicious(np.save, str(trace), 1),
        _Malicious(getattr, trace, "touch"),
    ]
    for number, each in enumerate(harm):
        for value in (each, {0: each}, {each: "V1v"}, np.array({0: each}, dtype=object), [each]):
            path = _write(tmp_path / f"mapping_{number}.npy", pickle.dumps(value))
            with pytest.raises(DatasetError, match="nothing in it was run"):
                read_mapping(path)
        np.save(tmp_path / "mapping_x.npy", np.array({0: each}, dtype=object), allow_pickle=True)
        with pytest.raises(DatasetError, match="nothing in it was run"):
            read_mapping(tmp_path / "mapping_x.npy")
    assert not list(tmp_path.glob("trace*"))


def test_numpys_own_names_do_nothing(tmp_path):
    """Reconstructing an array of a terabyte gives no array: the name stands for something inert."""
    reconstruct = np.array(0, dtype=object).__reduce__()[0]
    pickled = pickle.dumps(_Malicious(reconstruct, np.ndarray, (1 << 40,), b"B"))
    with pytest.raises(DatasetError):
        read_mapping(_write(tmp_path / "mapping_x.npy", pickled))
    setting = b"\x80\x03cnumpy\nndarray\n}X\x07\x00\x00\x00__bases__K\x01s\x86b."  # set an attribute of a class
    with pytest.raises(DatasetError):
        read_mapping(_write(tmp_path / "mapping_x.npy", setting))


def test_memo_bomb(tmp_path):
    pickled = b"\x80\x03}r\xff\xff\xff\x7f."  # LONG_BINPUT 2**31 - 1
    assert any(opcode.name == "LONG_BINPUT" for opcode, _, _ in pickletools.genops(pickled))
    with pytest.raises(DatasetError, match="memo index"):
        read_mapping(_write(tmp_path / "mapping_x.npy", pickled))


@pytest.mark.parametrize(
    "value",
    [
        {"1": "V1v"},
        {1: 2},
        {True: "V1v"},
        [1, 2],
        "V1v",
        None,
        {1: {2: "V1v"}},
        {1.0: "V1v"},
    ],
)
def test_other_contents_are_refused(tmp_path, value):
    np.save(tmp_path / "mapping_x.npy", np.array(value, dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="mapping_x"):
        read_mapping(tmp_path / "mapping_x.npy")


@pytest.mark.parametrize(
    "data",
    [b"", b"junk", _header(), _header() + b"junk", _header() + pickle.dumps(NAMES)[:-4], b"x" * (MAX_BYTES + 1)],
    ids=["empty", "junk", "header", "header and junk", "cut", "huge"],
)
def test_damaged_files(tmp_path, data):
    (tmp_path / "mapping_x.npy").write_bytes(data)
    with pytest.raises(DatasetError, match="mapping_x"):
        read_mapping(tmp_path / "mapping_x.npy")


def test_numbers_in_place_of_names(tmp_path):
    np.save(tmp_path / "mapping_x.npy", np.arange(3))
    with pytest.raises(DatasetError, match="int64"):
        read_mapping(tmp_path / "mapping_x.npy")


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="cannot be read"):
        read_mapping(tmp_path / "mapping_x.npy")


def test_every_prefix_and_many_mutations_raise_only_dataset_errors(tmp_path):
    np.save(tmp_path / "mapping_x.npy", np.array(NAMES, dtype=object), allow_pickle=True)
    data = (tmp_path / "mapping_x.npy").read_bytes()
    rng = np.random.default_rng(0)
    start = len(_header())
    for _ in range(400):
        mutated = bytearray(data)
        for position in rng.integers(start, len(data), rng.integers(1, 4)):
            mutated[position] = rng.integers(256)
        (tmp_path / "mapping_x.npy").write_bytes(bytes(mutated[: rng.integers(start, len(data) + 1)]))
        try:
            mapping = read_mapping(tmp_path / "mapping_x.npy")
        except DatasetError:
            continue
        assert all(type(value) is int and type(name) is str for value, name in mapping.items())
