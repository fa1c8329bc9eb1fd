"""Noise ceilings: how much of the responses is signal, from a file that says so or from NSD's noise-ceiling SNR."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainviz.datasets.base import MESH_VERTICES
from brainviz.datasets.npy import describe, open_npy
from brainviz.errors import DatasetError

#: The folder of a subject's noise ceilings, and the files of a hemisphere there; of several, the first counts.
FOLDER = "noise_ceiling"
SHARE, SNR, SNR_ON_MESH = FILES = ("{}_noise_ceiling.npy", "{}_ncsnr.npy", "{}.ncsnr.mgh")

#: Room for rounding in a noise ceiling's limits 0 and 1.
_ROUNDING = 1e-6

#: Header of an MGH file, and its types of values (FreeSurfer's wiki, MghFormat); all is big-endian.
_MGH_HEADER_BYTES = 284
_MGH_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}


def noise_ceiling(ncsnr: ArrayLike, repeats: ArrayLike | Mapping[int, int]) -> NDArray[np.float64]:
    """Share of the variance of the averaged responses that is signal, from NSD's noise-ceiling SNR.

    ``NC = ncsnr^2 / (ncsnr^2 + t)`` with ``t = (n1 + n2/2 + n3/3 + ...) / (n1 + n2 + n3 + ...)``, where ``n_k`` counts
    the test images that were shown ``k`` times (Allen et al. 2022, Nature Neuroscience 25, Methods, "Noise ceiling
    estimation"; methods, section 3).

    Parameters
    ----------
    ncsnr : (v,) array
        Standard deviation of the signal over that of the noise in a single trial. NaN gives NaN.
    repeats : int, (n_images,) int array, or mapping
        How often the test images were shown: one number for all, one per image, or the counts ``{k: n_k}``.

    Returns
    -------
    (v,) float64 array
        Between 0 and 1.

    Raises
    ------
    DatasetError
        A negative or infinite ncsnr, no image, or an image with less than one repeat.
    """
    snr = np.asarray(ncsnr, dtype=np.float64)
    if np.any(snr < 0) or np.any(np.isinf(snr)):
        raise DatasetError(
            "The noise-ceiling SNR cannot be used.", got="negative or infinite values", expected="0 or more"
        )
    if isinstance(repeats, Mapping):
        shown = np.array(list(repeats.keys()), dtype=np.float64)
        images = np.array(list(repeats.values()), dtype=np.float64)
    else:
        shown = np.atleast_1d(np.asarray(repeats, dtype=np.float64))
        images = np.ones_like(shown)
    if not np.all(shown >= 1) or np.any(images < 0) or images.sum() == 0:
        raise DatasetError(
            "The repeats of the test images cannot be used.",
            got=f"{repeats!r}",
            expected="at least one image, each shown at least once",
        )
    noise = np.average(1.0 / shown, weights=images)
    return snr**2 / (snr**2 + noise)


def read_noise_ceiling(path: Path, n_vertices: int) -> NDArray[np.float32]:
    """Read a noise ceiling, 0..1 per column, shape (v,).

    Raises
    ------
    DatasetError
        The file is damaged, does not fit the responses, or leaves 0..1.
    """
    ceiling = _read_per_column(path, n_vertices).astype(np.float32)
    outside = ~((ceiling >= -_ROUNDING) & (ceiling <= 1 + _ROUNDING))
    if outside.any():
        raise DatasetError(
            f"{path.name} leaves the range 0 to 1.",
            got=f"{outside.sum():,} vertices, from {ceiling.min():g} to {ceiling.max():g}",
            expected="the share of the variance that is signal",
            mend="divide by 100 if these are percent.",
        )
    return ceiling.clip(0, 1)


def read_ncsnr(path: Path, n_vertices: int, positions: NDArray[np.int64] | None, mesh: str) -> NDArray[np.float64]:
    """Read a noise-ceiling SNR per column, shape (v,): signal over noise in a single trial.

    Parameters
    ----------
    path : Path
        A `.npy` file with one value per column, or NSD's `.mgh` with one per vertex of the mesh.
    n_vertices : int
        How many columns there are.
    positions : (v,) int array or None
        Where the columns sit on the mesh, which a `.mgh` file needs.
    mesh : str
        Its number of vertices is compared if it is a key of `MESH_VERTICES`.

    Returns
    -------
    (v,) float64 array
        0 or more; NaN where NSD has no value.

    Raises
    ------
    DatasetError
        The file is damaged, does not fit the responses or the mesh, or holds what is no SNR.
    """
    if path.suffix == ".mgh":
        snr = _at_positions(path, _read_mgh(path), positions, mesh)
    else:
        snr = _read_per_column(path, n_vertices)
    if np.isnan(snr).all():
        raise DatasetError(
            f"{path.name} holds no number.", got=f"NaN for all {len(snr):,} columns", mend="replace the file."
        )
    wrong = np.isinf(snr) | (snr < 0)
    if wrong.any():
        raise DatasetError(
            f"{path.name} is no noise-ceiling SNR.",
            got=f"{wrong.sum():,} negative or infinite values, the first in column {np.flatnonzero(wrong)[0]}",
            expected="0 or more: standard deviation of the signal over that of the noise in one trial",
            mend="replace the file, or take it away.",
        )
    return snr


def _read_per_column(path: Path, n_vertices: int) -> NDArray[np.float64]:
    file = open_npy(path)
    if file.shape != (n_vertices,) or file.dtype.kind not in "fiu":
        raise DatasetError(
            f"{path.name} does not match the responses.",
            got=f"an array {describe(file.shape, file.dtype)}",
            expected=f"{n_vertices:,} float32, one per column",
            mend="save one value per vertex, in the order of the columns.",
        )
    return np.array(file.map(), np.float64)


def _at_positions(
    path: Path, on_mesh: NDArray[np.float64], positions: NDArray[np.int64] | None, mesh: str
) -> NDArray[np.float64]:
    """Return the columns' values, (v,), of values on the mesh."""
    hemi = path.name[:2]
    if positions is None:
        raise DatasetError(
            f"{path.name} has one value per vertex of the mesh, but it is not known where the columns sit on it.",
            mend=f"add roi_masks/{hemi}.all-vertices_fsaverage_space.npy, or save {SNR.format(hemi)} with one value per"
            " column instead.",
        )
    if len(on_mesh) != MESH_VERTICES.get(mesh, len(on_mesh)) or positions.max() >= len(on_mesh):
        vertices = f"{MESH_VERTICES[mesh]:,}, one per vertex of {mesh}" if mesh in MESH_VERTICES else "one per vertex"
        raise DatasetError(
            f"{path.name} does not fit the mesh {mesh}.",
            got=f"{len(on_mesh):,} values",
            expected=vertices,
            mend=f"take the file of the same mesh, or save {SNR.format(hemi)} with one value per column instead.",
        )
    return on_mesh[positions]


def _read_mgh(path: Path) -> NDArray[np.float64]:
    """Read an uncompressed MGH file with one value per vertex, shape (mesh vertices,)."""
    again = "copy the file again from its source."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read.", got=f"{path} ({error.strerror})", mend=again) from error
    version, *shape, kind = struct.unpack(">6i", content[:24]) if len(content) > _MGH_HEADER_BYTES else [0] * 6
    if version != 1 or min(shape) < 1 or kind not in _MGH_TYPES:
        raise DatasetError(f"{path.name} is not an MGH file.", got=str(path), expected="FreeSurfer's MGH", mend=again)
    n_values, dtype = math.prod(shape), np.dtype(_MGH_TYPES[kind])
    if n_values != max(shape):
        raise DatasetError(
            f"{path.name} does not hold one value per vertex.",
            got=" x ".join(f"{n:,}" for n in shape),
            expected="a single map, vertices x 1 x 1",
        )
    if len(content) < _MGH_HEADER_BYTES + n_values * dtype.itemsize:
        raise DatasetError(
            f"{path.name} is truncated.",
            got=f"{len(content):,} bytes ({path})",
            expected=f"{_MGH_HEADER_BYTES + n_values * dtype.itemsize:,} bytes for {n_values:,} values",
            mend=again,
        )
    return np.frombuffer(content, dtype, n_values, _MGH_HEADER_BYTES).astype(np.float64)
