"""The areas of an encoding run: ROIs of a hemisphere, or all its vertices, with the responses of one subject.

The vertex axis of an encoding run's arrays, length e, is its areas (hemisphere and ROI) one after the other; a vertex
that lies in two of them is there twice. ``areas.json`` says where each begins and ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES, MIN_ROI_VERTICES
from brainviz.datasets.splits import Split
from brainviz.runs.context import Context, Pictures, read_responses
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.places import require_roi
from brainviz.runs.store import write_array, write_json

#: Where each area of an encoding run is on the vertex axis.
AREAS = "areas.json"


@dataclass(frozen=True)
class Area:
    """One ROI of one hemisphere, or all its vertices.

    Attributes
    ----------
    hemi, roi : str
    responses : (n, v) array
        To all pictures; a memory map where it is all vertices.
    columns : (v,) int array
        Columns of the subject's responses.
    positions : (v,) int array or None
        Index on the mesh.
    ceiling : (v,) float array
        Share of the variance that is signal; NaN where nothing says.
    parts : mapping of str to (v_part,) int array
        ROIs to report on, as indices into the area's vertices: the area itself, and for all vertices also every ROI.
    """

    hemi: str
    roi: str
    responses: NDArray[np.float32]
    columns: NDArray[np.int64]
    positions: NDArray[np.int64] | None
    ceiling: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.int64]]


def open_areas(pictures: Pictures, areas: Sequence[tuple[str, str]]) -> list[Area]:
    """Return areas with their responses, in order; a ROI that is one of them is no part of another."""
    return [open_area(pictures, hemi, roi, {other for where, other in areas if where == hemi}) for hemi, roi in areas]


def open_area(pictures: Pictures, hemi: str, roi: str, apart: Collection[str] = ()) -> Area:
    """Return an area with its responses; ROIs that are `apart` are not among its parts.

    Raises
    ------
    DatasetError
        There is no such ROI, it is too small, or its responses are not all numbers.
    """
    dataset, subject = pictures.dataset, pictures.subject
    require_roi(dataset, subject, hemi, roi)
    columns = dataset.columns(subject, hemi, roi)
    positions, ceiling = dataset.positions(subject, hemi), dataset.noise_ceiling(subject, hemi)
    parts = {roi: np.arange(len(columns))}
    if roi == ALL_VERTICES:
        masks = dataset.rois(subject, hemi)
        known = {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.sum() >= MIN_ROI_VERTICES}
        parts |= {name: part for name, part in known.items() if name not in apart}
    return Area(
        hemi,
        roi,
        read_responses(pictures, hemi, roi),
        columns,
        None if positions is None else positions[columns],
        np.full(len(columns), np.nan) if ceiling is None else ceiling[columns].astype(np.float64),
        parts,
    )


def spans_of(areas: Sequence[Area]) -> list[slice]:
    """Return where each area is on the vertex axis."""
    ends = np.cumsum([len(area.columns) for area in areas]).tolist()
    return [slice(end - len(area.columns), end) for end, area in zip(ends, areas, strict=True)]


def write_places(areas: Sequence[Area], test: NDArray[np.int64], context: Context) -> None:
    """Write ``areas.json``, ``columns`` (e,), ``positions`` (e,) where there is a mesh, and ``test_rows`` (n_test,)."""
    write_array(context.path / "test_rows.npy", test)
    write_array(context.path / "columns.npy", np.concatenate([area.columns for area in areas]))
    positions = [area.positions for area in areas if area.positions is not None]
    if len(positions) == len(areas):
        write_array(context.path / "positions.npy", np.concatenate(positions))
    write_json(
        context.path / AREAS,
        [
            {"hemi": area.hemi, "roi": area.roi, "start": span.start, "stop": span.stop}
            for area, span in zip(areas, spans_of(areas), strict=True)
        ],
    )


def each_once(areas: Sequence[Area]) -> NDArray[np.int64]:
    """Return where each vertex is first on the vertex axis, ascending: it may lie in several areas."""
    where = np.concatenate([[f"{area.hemi} {column}" for column in area.columns] for area in areas])
    first: NDArray[np.int64] = np.sort(np.unique(where, return_index=True)[1])
    return first


def pairing(split: Split, n: int, spec: EncodingSpec) -> NDArray[np.int64]:
    """Return the picture each response is paired with, shape (n,): its own, or a random one of its part."""
    order = np.arange(n)
    if spec.shuffle_images:
        rng = np.random.default_rng(spec.seed)
        for rows in (split.train, split.test):
            order[rows] = rng.permutation(rows)
    return order
