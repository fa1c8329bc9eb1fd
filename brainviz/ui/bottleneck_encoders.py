"""Finished encoders, bottleneck and encoding runs alike: averaged over seeds, per vertex, and one against another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.runs.bottleneck_specs import BottleneckSpec, variant_of
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.specs import Encoder
from brainviz.runs.store import Run, Store

#: Digits of a run's id that tell it from others in a list.
DIGITS = 8

#: What is known of a vertex in a bottleneck run -> its file; an encoding run has the first alone.
R, PLAIN, RECONSTRUCTION = "r", "plain_r", "reconstruction_r"

AREA = ["hemi", "roi"]


def spec_of(run: Run) -> Encoder:
    """Return what an encoder was asked for."""
    spec = _spec(run.id, run)
    assert isinstance(spec, EncodingSpec | BottleneckSpec)
    return spec


# A folder may hold hundreds of runs, each of which would be read at every click.
@st.cache_resource(show_spinner=False, max_entries=4096)
def _spec(run_id: str, _run: Run) -> object:
    return _run.spec


def encoders_of(fingerprint: str, subject: str = "") -> list[Run]:
    """Return the finished encoders of a data set, and of a subject if one is named, the latest first.

    Controls with shuffled pictures, which predict nothing, are left out.
    """
    store = Store()
    found = [*store.runs("bottleneck", "done"), *store.runs("encoding", "done")]
    return [
        run
        for run in found
        if (spec := spec_of(run)).dataset == fingerprint
        and subject in ("", spec.subject)
        and not spec.tested_on["shuffle_images"]
    ]


def label_of(run: Run) -> str:
    """Return a name for an encoder that no other has."""
    spec = spec_of(run)
    where = f"{spec.subject} {spec.hemi} {spec.roi}"
    if isinstance(spec, BottleneckSpec):
        what = f"bottleneck {variant_of(spec)}, seed {spec.bottleneck_seed}, of {spec.features.words}"
    else:
        what = f"{spec.method} {spec.features.network}, {_layers(spec.layers)}"
    return f"{where}: {what} ({run.id[:DIGITS]})"


def _layers(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"best of {len(layers)} layers"


# --- averages over seeds ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Averaged:
    """Runs of one subject that differ in their seeds, averaged; one run is its own average.

    Attributes
    ----------
    tested_on : str
        What decides on test pictures and resamples, as text: replicates of two encoders may be subtracted where it is
        the same.
    rows : frame
        One row per hemisphere and ROI, at its own best layer: ``hemi roi part_of n_vertices nan_vertices r ...``, the
        means over the runs; ``part_of`` is empty for areas that the run was asked for.
    replicates : (B, rows) float64 array
        Bootstrap replicates of each row's mean r, averaged over the runs.
    """

    tested_on: str
    rows: pd.DataFrame
    replicates: NDArray[np.float64]

    def over(self, areas: Sequence[tuple[str, str]]) -> tuple[float, NDArray[np.float64]] | None:
        """Return the mean r over all vertices of these areas with its replicates; None where one is not known.

        Parameters
        ----------
        areas : sequence of (str, str)
            Hemisphere and ROI, which have no vertex in common.
        """
        places = [self.place(*area) for area in areas]
        known = [place for place in places if place is not None]
        if len(known) < len(areas) or not known:
            return None
        own = self.rows.iloc[known]
        weights = (own["n_vertices"] - own["nan_vertices"]).to_numpy(np.float64)
        defined = weights > 0
        if not defined.any():
            return None
        columns = np.array(known)[defined]
        replicates = np.average(self.replicates[:, columns], axis=1, weights=weights[defined])
        return float(np.average(own["r"].to_numpy()[defined], weights=weights[defined])), replicates

    def place(self, hemi: str, roi: str) -> int | None:
        """Return the number of an area's row; None where there is none."""
        found = np.flatnonzero((self.rows["hemi"] == hemi) & (self.rows["roi"] == roi))
        return int(found[0]) if len(found) else None

    @property
    def areas(self) -> list[tuple[str, str]]:
        """Hemisphere and ROI of what was asked for."""
        own = self.rows[self.rows["part_of"] == ""]
        return list(zip(own["hemi"], own["roi"], strict=True))


def averaged(runs: Sequence[Run]) -> Averaged:
    """Return the mean over runs of one subject, with the same ROIs and test pictures."""
    return _averaged(tuple(run.id for run in runs), tuple(runs))


@st.cache_resource(show_spinner=False, max_entries=256)
def _averaged(ids: tuple[str, ...], _runs: tuple[Run, ...]) -> Averaged:
    spec = spec_of(_runs[0])
    tables, replicates = [], []
    for run in _runs:
        table = run.table("rois")
        own = np.flatnonzero(table["own"])
        replicates.append(np.asarray(run.array("replicates")[:, own], np.float64))
        tables.append(table.iloc[own].reset_index(drop=True))
    rows = tables[0][AREA].copy()
    asked = {f"{hemi} {roi}" for hemi, roi in spec.areas}
    rows["part_of"] = np.where((rows["hemi"] + " " + rows["roi"]).isin(asked), "", "all")
    means = ["r_mean", "r_median", "plain_r_mean", "reconstruction_r_mean", "ceiling", "ceiling_r"]
    means += ["r_over_ceiling", "algonauts_score", "n_vertices", "nan_vertices"]
    for name in means:
        own_values = [table[name].to_numpy(np.float64) for table in tables if name in table]
        rows[name] = np.mean(own_values, axis=0) if own_values else np.nan
    return Averaged(
        json.dumps(spec.tested_on, sort_keys=True), rows.rename(columns={"r_mean": "r"}), np.mean(replicates, axis=0)
    )


# --- one against another ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """By how much one encoder's mean r exceeds another's.

    Attributes
    ----------
    difference, low, high : float
        With its 95 % paired bootstrap interval over test pictures; NaN where there is none.
    """

    difference: float
    low: float = np.nan
    high: float = np.nan


def difference(first: Averaged, second: Averaged, areas: Sequence[tuple[str, str]]) -> Difference | None:
    """Return by how much the mean r over the vertices of some areas differs; None where one of the two lacks an area.

    Without an interval where the two are of other test pictures or resamples.
    """
    from brainviz.encoding.statistics import interval  # scipy's statistics take a moment to load

    one, other = first.over(areas), second.over(areas)
    if one is None or other is None:
        return None
    if first.tested_on != second.tested_on:
        return Difference(one[0] - other[0])
    low, high = interval(one[1] - other[1])
    return Difference(one[0] - other[0], float(low), float(high))


def differences(first: Averaged, second: Averaged) -> pd.DataFrame:
    """Return the difference of every area that both have: ``hemi roi n_vertices r other difference low high``."""
    found = []
    for row in first.rows.to_dict("records"):
        area = [(str(row["hemi"]), str(row["roi"]))]
        if (between := difference(first, second, area)) is not None:
            about = {name: row[name] for name in (*AREA, "n_vertices", "r")}
            ends = {"difference": between.difference, "low": between.low, "high": between.high}
            found.append(about | {"other": row["r"] - between.difference} | ends)
    columns = [*AREA, "n_vertices", "r", "other", "difference", "low", "high"]
    return pd.DataFrame(found, columns=columns).astype({"n_vertices": int})


# --- per vertex -------------------------------------------------------------------------------------------------------


def vertices_of(runs: Sequence[Run], what: str = R) -> pd.DataFrame:
    """Return one value per vertex, the mean over runs: ``hemi roi column position value`` (position -1 without a mesh).

    Where areas overlap, a vertex is of the first one.

    Parameters
    ----------
    runs : sequence of Run
        Of one subject, of the same ROIs.
    what : {"r", "plain_r", "reconstruction_r"}
        At each area's own best layer; a run without noise has no plain r, and its r is that.
    """
    return _vertices(tuple(run.id for run in runs), what, tuple(runs))


@st.cache_data(show_spinner=False, max_entries=64)
def _vertices(ids: tuple[str, ...], what: str, _runs: tuple[Run, ...]) -> pd.DataFrame:
    first = _runs[0]
    columns = np.asarray(first.array("columns"))
    positions = np.asarray(first.array("positions")) if first.has("positions.npy") else np.full(len(columns), -1)
    frame = pd.DataFrame({"hemi": "", "roi": "", "column": columns, "position": positions})
    for area in first.json("areas"):
        frame.loc[area["start"] : area["stop"] - 1, AREA] = area["hemi"], area["roi"]
    frame["value"] = np.mean([_values(run, what) for run in _runs], axis=0)
    return frame.drop_duplicates(["hemi", "column"], ignore_index=True)


def _values(run: Run, what: str) -> NDArray[np.float64]:
    if what != R and run.has(f"{what}.npy"):
        return np.asarray(run.array(what), np.float64)
    r = run.array("r")
    return np.asarray(r[np.asarray(run.array("own")), np.arange(r.shape[1])], np.float64)
