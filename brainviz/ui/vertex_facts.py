"""What finished encoding runs and the data set say of the vertices that were picked: one, or a patch of several.

Read from memory maps, and kept by the ids of the runs, so that a click reads no result file twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.config import mesh_folder
from brainviz.datasets.base import MESH_VERTICES, Dataset
from brainviz.encoding.metrics import pearson_r
from brainviz.figures.meshes import load_mesh, resolution
from brainviz.runs.bottleneck_specs import BottleneckSpec
from brainviz.runs.network_specs import EncodingSpec
from brainviz.ui.comparison import OWN_BEST, Finished, roi_masks, run_ids
from brainviz.ui.sources import Source

if TYPE_CHECKING:
    from brainviz.runs.store import Run

#: Between the names of ROIs; no name holds a comma.
SEPARATOR = ", "

#: Pictures that drive a vertex most, and as many that drive it least.
PICTURES = 6

#: Pictures are sent no larger than this many pixels on a side.
THUMBNAIL = 128

#: Vertices whose responses are held at a time.
VERTICES_PER_BLOCK = 512

#: A patch of more vertices gets no interval: bootstrapping it would make a click take seconds.
MOST_BOOTSTRAPPED = 1000


@dataclass(frozen=True)
class Picked:
    """What was picked on the map of one subject.

    Attributes
    ----------
    hemi : str
    columns : tuple of int
        Columns of the subject's responses; one is a vertex, several are a patch.
    """

    hemi: str
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Responses:
    """Responses to the test pictures, measured and predicted at the own best layer; of a patch, the mean.

    Attributes
    ----------
    rows : (n_test,) int64 array
        Rows of the subject's responses, and so pictures.
    measured, predicted : (n_test,) float64 array
        Of one vertex in the units of the data. Of several, both are first put into standard deviations of the vertex's
        own measured responses to the test pictures, counted from their mean.
    r : float
        Correlation of the two. For a patch it is not the mean r of its vertices.
    n_vertices : int
        Over which the mean is.
    constant : int
        Vertices of a patch that are left out, as their measured responses are constant.
    """

    rows: NDArray[np.int64]
    measured: NDArray[np.float64]
    predicted: NDArray[np.float64]
    r: float
    n_vertices: int
    constant: int


# --- where it is ------------------------------------------------------------------------------------------------------


def places(source: Source, subject: str, picked: Picked) -> pd.DataFrame:
    """Return where the picked vertices are and how much of their responses is signal, one row each.

    Returns
    -------
    frame
        ``hemi``, ``column``, ``position`` on the data set's mesh (-1 without one), ``x``, ``y``, ``z`` on its pial
        surface (mm; to the right, to the front, up; NaN where the mesh at hand is coarser), ``ceiling`` (share of the
        variance that is signal; NaN where nobody says), and ``rois``, the names of those that hold it, with commas.
    """
    dataset, columns = source.dataset, np.array(picked.columns)
    positions, ceiling = dataset.positions(subject, picked.hemi), dataset.noise_ceiling(subject, picked.hemi)
    on_mesh = np.full(len(columns), -1) if positions is None else positions[columns]
    xyz = _coordinates(dataset.mesh, picked.hemi, on_mesh)
    rois: list[list[str]] = [[] for _ in columns]
    for roi, mask in roi_masks(source.index.fingerprint, subject, picked.hemi, dataset).items():
        for place in np.flatnonzero(mask[columns]):
            rois[place].append(roi)
    return pd.DataFrame(
        {
            "hemi": picked.hemi,
            "column": columns,
            "position": on_mesh,
            **dict(zip("xyz", xyz.T, strict=True)),
            "ceiling": np.nan if ceiling is None else ceiling[columns].astype(np.float64),
            "rois": [SEPARATOR.join(names) for names in rois],
        }
    )


def holding(where: pd.DataFrame) -> dict[str, int]:
    """Return how many of the vertices of `places` every ROI holds, the one that holds most first."""
    return dict(Counter(name for names in where["rois"] if names for name in names.split(SEPARATOR)).most_common())


def _coordinates(mesh: str, hemi: str, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return pial coordinates, (v, 3) in mm; NaN for positions that the mesh at hand does not have."""
    found = np.full((len(positions), 3), np.nan)
    if mesh not in MESH_VERTICES:
        return found
    # The finer mesh begins with the vertices of the coarser one.
    folder = mesh_folder()
    pial = load_mesh(resolution(mesh, folder, surface="pial"), "pial", folder)[hemi].coordinates
    inside = (positions >= 0) & (positions < len(pial))
    found[inside] = pial[positions[inside]]
    return found


# --- how well it is predicted -----------------------------------------------------------------------------------------


def fits(runs: Sequence[Finished], subject: str, picked: Picked, layer: str = OWN_BEST) -> pd.DataFrame:
    """Return how well the runs predict the picked vertices.

    Parameters
    ----------
    runs : sequence of (str, Run)
    subject : str
    picked : Picked
    layer : str
        `OWN_BEST`, or a layer to report on beside it.

    Returns
    -------
    frame
        A row per method and vertex that has results, at the own best layer of its area (``at`` is `OWN_BEST`), and
        another at `layer` (``at`` is its name) if one is given: ``method``, ``run``, ``roi`` (the area), ``column``,
        ``vertex`` (on the run's vertex axis), ``at``, ``layer``, ``own`` (whether this is the own best layer), ``r``,
        ``low``, ``high`` (95 % interval; NaN elsewhere, where none is kept), ``alpha``. A vertex that lies in several
        areas is taken from the first. Empty where there are no results.
    """
    mine = _of(runs, subject)
    return _fits(run_ids(mine), picked.hemi, np.array(picked.columns), layer, mine)


@st.cache_data(show_spinner=False, max_entries=64)
def _fits(
    ids: tuple[tuple[str, str], ...],
    hemi: str,
    columns: NDArray[np.int64],
    layer: str,
    _runs: tuple[Finished, ...],
) -> pd.DataFrame:
    held = [area for method, run in _runs for area in _in_areas(method, run, hemi, columns)]
    if not held:
        return pd.DataFrame(columns=["method", "run", "roi", "column", "vertex"])
    first = pd.concat(held, ignore_index=True).drop_duplicates(["method", "column"])
    by_id = {run.id: run for _, run in _runs}
    known = [_read(rows, by_id[str(id)], layer) for (_, id), rows in first.groupby(["method", "run"], sort=False)]
    return pd.concat(known, ignore_index=True)


def _in_areas(method: str, run: Run, hemi: str, columns: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
    """Yield, for each area of a run that holds some of the columns, these and where they are on its vertex axis."""
    all_columns = run.array("columns")
    for area in run.json("areas"):
        if area["hemi"] == hemi:
            inside = np.isin(all_columns[area["start"] : area["stop"]], columns)
            if inside.any():
                vertices = area["start"] + np.flatnonzero(inside)
                facts = {"method": method, "run": run.id, "roi": area["roi"]}
                yield pd.DataFrame({**facts, "column": all_columns[vertices], "vertex": vertices})


def _read(held: pd.DataFrame, run: Run, layer: str) -> pd.DataFrame:
    """Return vertices of one run with their results, at the own best layer and, if one is given, at another."""
    assert isinstance(run.spec, EncodingSpec | BottleneckSpec)
    vertices, layers = held["vertex"].to_numpy(), run.spec.layers
    own = np.asarray(run.array("own")[vertices])
    r, alpha = run.array("r"), run.array("alpha")
    low, high = (np.asarray(run.array(name)[vertices]) for name in ("r_low", "r_high"))
    best = held.assign(
        at=OWN_BEST,
        layer=np.array(layers)[own],
        own=True,
        r=r[own, vertices],
        low=low,
        high=high,
        alpha=alpha[own, vertices],
    )
    if layer == OWN_BEST or layer not in layers:
        return best
    number = layers.index(layer)
    is_own = own == number
    fixed = best.assign(
        at=layer,
        layer=layer,
        own=is_own,
        r=r[number, vertices],
        low=np.where(is_own, low, np.nan),
        high=np.where(is_own, high, np.nan),
        alpha=alpha[number, vertices],
    )
    return pd.concat([fixed, best], ignore_index=True)


def method_rows(
    runs: Sequence[Finished], source: Source, subject: str, picked: Picked, layer: str = OWN_BEST
) -> pd.DataFrame:
    """Return how well each method predicts the picked vertices, averaged over those that have results.

    Returns
    -------
    frame
        A row per method at its own best layer, and before it one at `layer` if that is given and another: ``method``,
        ``layer`` (several names where areas differ), ``own``, ``n_vertices``, ``r`` (mean), ``low``, ``high`` (its
        95 % interval; NaN where there is none), ``alpha`` (the median, or the lower of two), and ``r_over_ceiling``,
        the mean of r over the root of the noise ceiling, for vertices that have a ceiling (else NaN).
    """
    known = fits(runs, subject, picked, layer)
    where = places(source, subject, picked).set_index("column")
    rows = []
    for (method, at), mine in known.groupby(["method", "at"], sort=False):
        if at == OWN_BEST and layer != OWN_BEST and (mine["layer"] == layer).all():
            continue  # the row before says the same
        low, high = mine["low"].iloc[0], mine["high"].iloc[0]
        if len(mine) > 1:
            own = mine["own"].all()
            low, high = mean_interval(runs, source, subject, picked, str(method)) if own else (np.nan, np.nan)
        ceiling = where["ceiling"].reindex(mine["column"]).to_numpy()
        rows.append(
            {
                "method": method,
                "layer": ", ".join(mine["layer"].unique()),
                "own": bool(mine["own"].all()),
                "n_vertices": len(mine),
                "r": mine["r"].mean(),
                "low": low,
                "high": high,
                "alpha": mine["alpha"].quantile(interpolation="lower"),
                "r_over_ceiling": (mine["r"] / np.sqrt(np.where(ceiling > 0, ceiling, np.nan))).mean(),
            }
        )
    return pd.DataFrame(rows)


# --- responses to the test pictures -----------------------------------------------------------------------------------


def responses(runs: Sequence[Finished], source: Source, subject: str, picked: Picked, method: str) -> Responses | None:
    """Return the responses of the picked vertices to the test pictures; None where the method has no results of them.

    Parameters
    ----------
    runs : sequence of (str, Run)
    source : Source
    subject : str
    picked : Picked
    method : str
    """
    mine = _of(runs, subject, method)
    return _responses(run_ids(mine), subject, picked.hemi, np.array(picked.columns), mine, source)


@st.cache_data(show_spinner=False, max_entries=64)
def _responses(
    ids: tuple[tuple[str, str], ...],
    subject: str,
    hemi: str,
    columns: NDArray[np.int64],
    _runs: tuple[Finished, ...],
    _source: Source,
) -> Responses | None:
    held = _fits(ids, hemi, columns, OWN_BEST, _runs)
    if held.empty:
        return None
    rows = _test_rows(_runs)
    total, n_vertices = np.zeros((2, len(rows))), 0
    for measured, predicted in _blocks(held, _runs, _source.dataset, subject, hemi):
        if len(held) > 1:
            measured, predicted = _in_deviations(measured, predicted)
        total += measured.sum(axis=1), predicted.sum(axis=1)
        n_vertices += measured.shape[1]
    if not n_vertices:
        total[:] = np.nan
    measured, predicted = total / max(n_vertices, 1)
    (r,) = pearson_r(predicted[:, None], measured[:, None])
    return Responses(rows, measured, predicted, float(r), n_vertices, len(held) - n_vertices)


def mean_interval(
    runs: Sequence[Finished], source: Source, subject: str, picked: Picked, method: str
) -> tuple[float, float]:
    """Return the 95 % interval of a patch's mean r at the own best layer, over the resamples that its runs used.

    So a patch that is an area has the interval that its run gives for the area. NaN for more than `MOST_BOOTSTRAPPED`
    vertices, and where no r is defined.
    """
    mine = _of(runs, subject, method)
    return _mean_interval(run_ids(mine), subject, picked.hemi, np.array(picked.columns), mine, source)


@st.cache_data(show_spinner=False, max_entries=64)
def _mean_interval(
    ids: tuple[tuple[str, str], ...],
    subject: str,
    hemi: str,
    columns: NDArray[np.int64],
    _runs: tuple[Finished, ...],
    _source: Source,
) -> tuple[float, float]:
    from brainviz.encoding.statistics import bootstrap_r, bootstrap_weights, interval

    held = _fits(ids, hemi, columns, OWN_BEST, _runs)
    held = held[held["r"].notna()]
    if not 0 < len(held) <= MOST_BOOTSTRAPPED:
        return np.nan, np.nan
    spec, rows = _runs[0][1].spec, _test_rows(_runs)
    assert isinstance(spec, EncodingSpec | BottleneckSpec)
    resamples = spec.tested_on
    digests = np.array(_source.index.subjects[subject].image_digests)[rows]
    weights = bootstrap_weights(
        len(rows), resamples["n_bootstrap"], resamples["seed"], np.unique(digests, return_inverse=True)[1]
    )
    replicates = [
        bootstrap_r(predicted, measured, weights)
        for measured, predicted in _blocks(held, _runs, _source.dataset, subject, hemi)
    ]
    means = np.nanmean(np.concatenate(replicates, axis=1), axis=1)
    low, high = interval(means, estimate=held["r"].mean())
    return float(low), float(high)


def _blocks(
    held: pd.DataFrame, runs: Sequence[Finished], dataset: Dataset, subject: str, hemi: str
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield measured and predicted responses, (n_test, v) each, of rows of `fits`, some vertices at a time."""
    recorded, rows, by_id = dataset.responses(subject, hemi), _test_rows(runs), {run.id: run for _, run in runs}
    for id, of_run in held.groupby("run", sort=False):
        predicted, offset = by_id[str(id)].array("predicted"), by_id[str(id)].array("offset")
        for start in range(0, len(of_run), VERTICES_PER_BLOCK):
            some = of_run.iloc[start : start + VERTICES_PER_BLOCK]
            vertices = some["vertex"].to_numpy()
            measured = np.asarray(recorded[np.ix_(rows, some["column"].to_numpy())], np.float64)
            yield measured, predicted[vertices].T + offset[vertices]


def _in_deviations(
    measured: NDArray[np.float64], predicted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put both in standard deviations of the measured responses, from their mean; constant vertices are left out."""
    varies = measured.max(axis=0) > measured.min(axis=0)
    measured, predicted = measured[:, varies], predicted[:, varies]
    mean, deviation = measured.mean(axis=0), measured.std(axis=0)
    return (measured - mean) / deviation, (predicted - mean) / deviation


def _test_rows(runs: Sequence[Finished]) -> NDArray[np.int64]:
    """Return the rows of the test pictures: the runs of a choice divide a subject's pictures in one way."""
    return np.asarray(runs[0][1].array("test_rows"))


def extremes(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the highest values are, the highest first, and the lowest, the lowest first: `PICTURES` each."""
    order, n = np.argsort(values, kind="stable"), min(PICTURES, len(values) // 2)
    return order[::-1][:n], order[:n]


def thumbnail(source: Source, subject: str, row: int) -> bytes:
    """Return a picture of the subject, no larger than `THUMBNAIL` pixels on a side, as JPEG.

    Raises
    ------
    DatasetError
        It cannot be decoded.
    """
    return _thumbnail(source.index.fingerprint, subject, row, source.dataset)


@st.cache_data(show_spinner=False, max_entries=4096)
def _thumbnail(fingerprint: str, subject: str, row: int, _dataset: Dataset) -> bytes:
    picture, buffer = _dataset.images(subject)[row], BytesIO()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _of(runs: Sequence[Finished], subject: str, method: str = "") -> tuple[Finished, ...]:
    """Return the runs of a subject, and of one method if it is named."""
    return tuple((name, run) for name, run in runs if run.spec.subject == subject and method in ("", name))
