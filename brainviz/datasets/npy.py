"""`.npy` files without loading them: a header checked against the file's size, rows and columns read in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from brainviz.errors import DatasetError

#: How much of a file is read at a time: large enough to stream, small beside any memory limit.
BLOCK_BYTES = 32 << 20

#: One header at a time: Python before 3.11.8 now and then raises SystemError when two threads parse literals at once
#: (https://github.com/python/cpython/issues/106905).
_PARSING = Lock()


@dataclass(frozen=True)
class NpyFile:
    """A whole `.npy` file, known by its header.

    Attributes
    ----------
    path : Path
    shape : tuple of int
    dtype : numpy dtype
    fortran : bool
        Whether columns, not rows, are contiguous.
    offset : int
        Where the values begin, in bytes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    def map(self) -> NDArray[Any]:
        """Return the array, memory-mapped and read-only."""
        order = "F" if self.fortran else "C"
        return np.memmap(self.path, mode="r", dtype=self.dtype, offset=self.offset, shape=self.shape, order=order)  # type: ignore[call-overload,no-any-return]

    def blocks(self, wanted: NDArray[np.integer] | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Stream a matrix: yield (number of the first line, lines) in the order of the file, one block at a time.

        A line is a row, or a column where `fortran`; every block has shape (lines, length of a line). Blocks are
        read, not mapped: a network disk that fails then raises an error instead of ending the process.

        Parameters
        ----------
        wanted : int array, optional
            Line numbers, ascending; blocks without any of them are skipped.

        Raises
        ------
        DatasetError
            The file has become shorter, or the disk fails.
        """
        n_lines, length = self.shape[::-1] if self.fortran else self.shape
        line_bytes = length * self.dtype.itemsize
        step = max(1, BLOCK_BYTES // max(1, line_bytes))
        starts = range(0, n_lines, step) if wanted is None else (np.unique(wanted // step) * step).tolist()
        with self.path.open("rb") as file:
            for start in starts:
                count = min(step, n_lines - start)
                try:
                    file.seek(self.offset + start * line_bytes)
                    block = np.fromfile(file, self.dtype, count * length).reshape(count, length)
                except (OSError, ValueError) as error:
                    got = f"{self.path} ({error})"
                    raise DatasetError(f"{self.path.name} can no longer be read.", got=got) from error
                yield start, block


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a `.npy` header: shape, whether in Fortran order, and type. The file is left at the first value.

    Raises
    ------
    ValueError
        This is no such header.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with _PARSING:
            return read(file)
    except (SyntaxError, TokenError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"the header cannot be parsed: {error}") from error


def open_npy(path: Path) -> NpyFile:
    """Read the header of a `.npy` file of numbers, and make sure that the file is whole.

    Raises
    ------
    DatasetError
        The file is missing, unreadable, not `.npy`, holds Python objects, or is shorter or longer than its header says.
    """
    again = "copy the file again from its source."
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_header(file)
            offset = file.tell()
            size = file.seek(0, 2)
    except FileNotFoundError as error:
        what = "is a link to a file that is not there" if path.is_symlink() else "does not exist"
        raise DatasetError(f"{path.name} {what}.", got=str(path), mend=again) from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read.", got=f"{path} ({error.strerror})", mend=again) from error
    except ValueError as error:
        raise DatasetError(
            f"{path.name} is not a whole NumPy file.", got=f"{path} ({error})", expected="a .npy file", mend=again
        ) from error
    if dtype.hasobject:
        raise DatasetError(
            f"{path.name} holds Python objects.",
            got=f"{path} (dtype {dtype})",
            expected="numbers",
            mend="save it as numbers.",
        )
    wanted = offset + math.prod(shape) * dtype.itemsize
    if size != wanted:
        raise DatasetError(
            f"{path.name} is {'truncated' if size < wanted else 'longer than its header says'}.",
            got=f"{size:,} bytes ({path})",
            expected=f"{wanted:,} bytes for an array {describe(shape, dtype)}",
            mend=again,
        )
    return NpyFile(path, tuple(shape), dtype, bool(fortran), offset)


def describe(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """Return shape and type in words: ``1,200 x 33 float32``."""
    return f"{' x '.join(f'{n:,}' for n in shape) or 'of one value'} {dtype}"


def read_float32(
    file: NpyFile, columns: NDArray[np.integer] | None = None, rows: NDArray[np.integer] | None = None
) -> NDArray[np.float32]:
    """Read columns and rows of a matrix of real numbers, streaming the file once.

    Parameters
    ----------
    file : NpyFile, shape (n, v)
    columns : (c,) int array, optional
        Which columns, in which order; default all.
    rows : (m,) int array, optional
        Which rows, in which order; default all.

    Returns
    -------
    (m, c) float32 array
        In row-major order. Beside it, memory for one block is needed.
    """
    n, v = file.shape
    rows = np.arange(n) if rows is None else np.asarray(rows)
    columns = np.arange(v) if columns is None else np.asarray(columns)
    out = np.empty((len(rows), len(columns)), np.float32)
    # Lines are what is contiguous in the file: rows, or columns in Fortran order.
    lines, across, target = (columns, rows, out.T) if file.fortran else (rows, columns, out)
    order = np.argsort(lines, kind="stable")
    sorted_lines = lines[order]
    for start, block in file.blocks(sorted_lines):
        low, high = np.searchsorted(sorted_lines, (start, start + len(block)))
        picked = sorted_lines[low:high] - start
        whole = len(picked) == len(block) and np.array_equal(picked, np.arange(len(block)))
        target[order[low:high]] = (block if whole else block[picked])[:, across]
    return out
