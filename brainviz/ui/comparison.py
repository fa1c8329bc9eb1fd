"""Finished encoding runs as tables: every method per ROI, group and vertex, and one method against another.

All are small and kept by the ids of the runs they come from, so that a click reads no result file twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.datasets.base import ALL_VERTICES, Dataset
from brainviz.runs.bottleneck_specs import BOTTLENECK, BottleneckSpec
from brainviz.runs.network_specs import EncodingSpec
from brainviz.runs.part import PartOfRun
from brainviz.runs.requests import compare
from brainviz.runs.specs import ComparisonSpec
from brainviz.runs.store import Run, Store
from brainviz.ui.choices import Choice

if TYPE_CHECKING:
    from brainviz.encoding.summaries import AreaScore, Key

#: What is compared: r on test pictures, or the r cross-validated inside them that the original authors report.
TEST_R, PROTOCOL = "test r", "authors' protocol"

#: Every method at its own best layer of each ROI.
OWN_BEST = "own best"

#: A method as it was picked, and its finished run of some ROI.
Finished = tuple[str, Run]

#: What tells one row of a table from others, whatever the layer.
AREA_METHOD = ["subject", "hemi", "roi", "method"]


@dataclass(frozen=True)
class How:
    """How methods are compared.

    Attributes
    ----------
    layer : str
        `OWN_BEST`, or the layer that all methods are compared at.
    score : str
        `TEST_R` or `PROTOCOL`.
    pair : tuple of two str, or None
        Method A and method B, of which the difference is taken; None where there are no two.
    published : bool
        Whether published values are laid beside.
    """

    layer: str = OWN_BEST
    score: str = TEST_R
    pair: tuple[str, str] | None = None
    published: bool = False

    @property
    def words(self) -> str:
        """For figures and files: score and layer."""
        at = "own best layer each" if self.layer == OWN_BEST else f"all at {self.layer}"
        return f"{self.score_words}, {at}"

    @property
    def score_words(self) -> str:
        return (
            "test r" if self.score == TEST_R else "r cross-validated in test pictures (authors' protocol, optimistic)"
        )


def finished(choice: Choice, store: Store) -> tuple[Finished, ...]:
    """Return the finished runs of a choice, each with its method; of a run of all vertices, what was chosen of it."""
    found = ((method, store.find(spec)) for method, spec in choice.asked)
    done = ((method, run) for method, run in found if run is not None and run.state == "done")
    return tuple((method, _chosen_part(run, choice) if method == BOTTLENECK else run) for method, run in done)


def _chosen_part(run: Run, choice: Choice) -> PartOfRun:
    return PartOfRun(run.id, run.kind, run.path, choice.areas[run.spec.subject])


def layers_fitted(choice: Choice) -> tuple[str, ...]:
    """Return the layers that the encoding models of a choice are fitted on, in the network's order."""
    return next((spec.layers for spec in choice.specs if isinstance(spec, EncodingSpec)), (BOTTLENECK,))


def run_ids(runs: Sequence[Finished]) -> tuple[tuple[str, str], ...]:
    """Return the methods and ids of runs, by which what is read from them is kept."""
    return tuple((method, run.id) for method, run in runs)


# --- per ROI ----------------------------------------------------------------------------------------------------------


def roi_table(runs: Sequence[Finished]) -> pd.DataFrame:
    """Return everything that the runs say of ROIs, one row per subject, hemisphere, ROI, method and layer.

    Returns
    -------
    frame
        ``subject``, ``method``, the columns of ``rois.parquet`` (see `brainviz.runs.encode.roi_rows`), ``run`` (id),
        ``row`` (in the run's own table) and ``part_of``: empty, or ``"all"`` for a ROI that is reported as a part of
        all vertices. A ROI that also has a run of its own is reported from that one.
    """
    return _roi_table(run_ids(runs), tuple(runs))


@st.cache_data(show_spinner=False, max_entries=32)
def _roi_table(ids: tuple[tuple[str, str], ...], _runs: tuple[Finished, ...]) -> pd.DataFrame:
    frames = []
    for method, run in _runs:
        areas = {(span["hemi"], span["roi"]) for span in run.json("areas")}
        frame = run.table("rois")
        chosen = [area in areas for area in zip(frame["hemi"], frame["roi"], strict=True)]
        frame.insert(0, "subject", run.spec.subject)
        frame.insert(3, "method", method)
        frame["part_of"] = np.where(chosen, "", ALL_VERTICES)
        frames.append(frame.assign(run=run.id, row=range(len(frame))))
    table = pd.concat(frames, ignore_index=True)
    first = table.sort_values("part_of", kind="stable").drop_duplicates([*AREA_METHOD, "layer"])
    return first.sort_index().reset_index(drop=True)


def rows_at(table: pd.DataFrame, how: How) -> pd.DataFrame:
    """Return the rows of `roi_table` at the layer that is compared, with the score as ``r``, ``low`` and ``high``.

    The authors' protocol has no interval: the folds of a cross-validation are no independent samples.
    """
    best = "own" if how.score == TEST_R else "protocol_own"
    # A bottleneck network has one layer, and chooses nothing by cross-validation.
    fixed = [how.layer, BOTTLENECK] if how.score == TEST_R else [how.layer]
    at = table[best] if how.layer == OWN_BEST else table["layer"].isin(fixed)
    rows = table[at]
    if how.score == TEST_R:
        return rows.assign(r=rows["r_mean"], low=rows["r_low"], high=rows["r_high"])
    return rows.assign(r=rows["protocol_r_mean"], low=np.nan, high=np.nan)


# --- methods against each other ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """What the shown methods come to; every frame has one row per subject within its other keys.

    Attributes
    ----------
    overall, overall_difference : frame
        As `groups` and `group_differences`, of one group that holds all chosen ROIs.
    differences : frame
        Of `brainviz.encoding.summaries.differences`: per hemisphere and ROI.
    groups, group_differences : frame
        Of `brainviz.encoding.summaries`: per group of ROIs.
    n_vertices : int
        Vertices of the chosen ROIs, each counted once.
    undefined : int
        Values of r that are undefined, of all methods together.
    """

    overall: pd.DataFrame
    overall_difference: pd.DataFrame
    differences: pd.DataFrame
    groups: pd.DataFrame
    group_differences: pd.DataFrame
    n_vertices: int
    undefined: int


def summary(runs: Sequence[Finished], how: How, dataset: Dataset) -> Summary:
    """Return what the runs come to.

    Parameters
    ----------
    runs : sequence of (str, Run)
    how : How
    dataset : Dataset
        Says which vertices a ROI has, for ROIs that are parts of a run about all vertices.
    """
    return _summary(run_ids(runs), how.layer, how.score, how.pair, tuple(runs), dataset)


@st.cache_data(show_spinner=False, max_entries=32)
def _summary(
    ids: tuple[tuple[str, str], ...],
    layer: str,
    score: str,
    pair: tuple[str, str] | None,
    _runs: tuple[Finished, ...],
    _dataset: Dataset,
) -> Summary:
    # Here, since it needs torch, which a page without results can do without.
    from brainviz.encoding.summaries import AreaScore, differences, group_differences, group_scores

    rows = rows_at(roi_table(_runs), How(layer, score))
    readers = {(method, run.id): _Reader(run, score, _dataset) for method, run in _runs}
    scores: dict[Key, AreaScore] = {}
    chosen: dict[Key, AreaScore] = {}
    columns: dict[tuple[str, str], list[NDArray[np.int64]]] = {}
    for row in rows.itertuples():
        key = (str(row.subject), str(row.hemi), str(row.roi), str(row.method))
        reader = readers[key[3], str(row.run)]
        scores[key] = AreaScore(reader.values(row), reader.replicates(row))
        if not row.part_of:
            chosen[key] = scores[key]
            columns.setdefault(key[:2], []).append(reader.facts(row, "columns"))
    first, second = pair or ("", "")
    everything = {"chosen ROIs": tuple(roi for _, _, roi, _ in chosen)}
    return Summary(
        group_scores(chosen, everything),
        group_differences(chosen, first, second, everything),
        differences(scores, first, second),
        group_scores(scores),
        group_differences(scores, first, second),
        sum(len(np.unique(np.concatenate(those))) for those in columns.values()),
        sum(int(np.isnan(score.r).sum()) for score in chosen.values()),
    )


def over_subjects(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Summarise a value over subjects, as `brainviz.encoding.summaries.over_subjects`, within what it can be.

    With very few subjects the t interval of an r or a share reaches beyond its limits, where it says nothing.
    """
    from brainviz.encoding.summaries import over_subjects as summarise

    found, (least, most) = summarise(frame, by, value), LIMITS[value]
    return found.assign(low=found["low"].clip(least, most), high=found["high"].clip(least, most))


#: What a value can be, at least and at most.
LIMITS = {"r": (-1.0, 1.0), "difference": (-2.0, 2.0), "improved": (0.0, 1.0)}


class _Reader:
    """Reads from one finished run what a row of its table stands for.

    Parameters
    ----------
    run : Run
    score : str
    dataset : Dataset
    """

    def __init__(self, run: Run, score: str, dataset: Dataset) -> None:
        assert isinstance(run.spec, EncodingSpec | BottleneckSpec)
        self.run, self.spec, self.dataset, self.is_test = run, run.spec, dataset, score == TEST_R
        self._values = run.array("r" if self.is_test else "protocol_r")
        self._spans = {(span["hemi"], span["roi"]): slice(span["start"], span["stop"]) for span in run.json("areas")}

    def values(self, row: Any) -> NDArray[np.float64]:
        """Return the score of the vertices that a row of `roi_table` is about, at its layer."""
        return np.asarray(self._values[self.spec.layers.index(row.layer), self._vertices(row)])

    def replicates(self, row: Any) -> NDArray[np.float32]:
        """Return the row's bootstrap replicates; only the test r has any."""
        return np.asarray(self.run.array("replicates")[:, row.row]) if self.is_test else np.full(1, np.nan, np.float32)

    def facts(self, row: Any, name: str) -> NDArray[np.int64]:
        """Return the vertices' ``"columns"`` or ``"positions"``; -1 for positions without a mesh."""
        vertices = self._vertices(row)
        if name == "positions" and not self.run.has("positions.npy"):
            return np.full(len(self.facts(row, "columns")), -1)
        return np.asarray(self.run.array(name)[vertices])

    def _vertices(self, row: Any) -> slice | NDArray[np.int64]:
        """Return where the row's vertices are on the run's vertex axis."""
        if not row.part_of:
            return self._spans[row.hemi, row.roi]
        mask = roi_masks(self.run.spec.dataset, row.subject, row.hemi, self.dataset)[row.roi]
        return np.asarray(self._spans[row.hemi, row.part_of].start + np.flatnonzero(mask))


@st.cache_resource(show_spinner=False, max_entries=64)
def roi_masks(fingerprint: str, subject: str, hemi: str, _dataset: Dataset) -> dict[str, NDArray[np.bool_]]:
    """Return the ROIs of a subject's hemisphere, name -> mask over the columns, read once per data set."""
    return _dataset.rois(subject, hemi)


def ceiling_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise how near to its noise ceiling each method comes, where there is a ceiling.

    Parameters
    ----------
    rows : frame
        Of `rows_at`.

    Returns
    -------
    frame
        ``method``, ``n_subjects``, ``r_over_ceiling`` (mean over the chosen ROIs, each counting once),
        ``algonauts_score``, means over subjects, and ``no_ceiling`` (values left out, of all ROIs and subjects); of
        ROIs that all methods have. The Algonauts score is that of all vertices of the hemispheres where these were
        chosen, as in the challenge; else the mean of the ROIs' scores, each counting once.
    """
    known = rows[(rows["part_of"] == "") & rows["algonauts_score"].notna()]
    n_methods = rows["method"].nunique()
    known = known[known.groupby(AREA_METHOD[:3])["method"].transform("nunique") == n_methods]
    everything = known[known["roi"] == ALL_VERTICES]
    scored = everything if len(everything) else known
    scored = scored.assign(weight=scored["n_vertices"] - scored["no_ceiling"] if len(everything) else 1.0)
    scored = scored.assign(points=scored["algonauts_score"] * scored["weight"])
    by = ["method", "subject"]
    score = scored.groupby(by, sort=False)[["points", "weight"]].sum()
    found = known.groupby(by, sort=False).agg({"r_over_ceiling": "mean", "no_ceiling": "sum"})
    found["algonauts_score"] = score["points"] / score["weight"]
    over = {"subject": "count", "r_over_ceiling": "mean", "algonauts_score": "mean", "no_ceiling": "sum"}
    found = found.reset_index().groupby("method", sort=False).agg(over)
    return found.rename(columns={"subject": "n_subjects"}).reset_index()


def ceiling_band(rows: pd.DataFrame) -> pd.DataFrame | None:
    """Return the ceiling of r per hemisphere and ROI, as `correlation_bars` takes it; None where there is none."""
    known = rows.dropna(subset=["ceiling_r"])
    if known.empty:
        return None
    return known.groupby(["hemi", "roi"], sort=False)["ceiling_r"].agg(low="min", high="max").reset_index()


# --- permutation tests ------------------------------------------------------------------------------------------------


def comparisons(choice: Choice, how: How) -> tuple[ComparisonSpec, ...]:
    """Return the permutation tests of the pair over all ROIs of a choice, one per subject; none without a pair."""
    layer = "" if how.layer == OWN_BEST else how.layer
    found = []
    for subject in dict.fromkeys(spec.subject for spec in choice.specs):
        first, second = (choice.of(method, subject) for method in how.pair or ("", ""))
        if first and first != second:
            # One network of all vertices is compared with every other run.
            most = max(len(first), len(second))
            first, second = (runs * most if len(runs) == 1 else runs for runs in (first, second))
            found.append(compare(first, second, layer=layer))  # type: ignore[arg-type]
    return tuple(found)


def permutation_results(tests: Sequence[ComparisonSpec]) -> pd.DataFrame:
    """Return what finished tests found: ``subject`` and the columns of a comparison run's ``rois.parquet``."""
    store = Store()
    found = [run for run in map(store.find, tests) if run is not None and run.state == "done"]
    return _tested(tuple(run.id for run in found), tuple(found))


@st.cache_data(show_spinner=False, max_entries=32)
def _tested(ids: tuple[str, ...], _runs: tuple[Run, ...]) -> pd.DataFrame:
    frames = [run.table("rois") for run in _runs]
    for frame, run in zip(frames, _runs, strict=True):
        frame.insert(0, "subject", run.spec.subject)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


# --- per vertex -------------------------------------------------------------------------------------------------------


def vertex_frame(
    runs: Sequence[Finished], how: How, subject: str, methods: Sequence[str], dataset: Dataset
) -> pd.DataFrame:
    """Return the values of one subject's vertices, one row per chosen hemisphere, ROI and vertex.

    Returns
    -------
    frame
        ``hemi``, ``roi``, ``column``, ``position`` (-1 without a mesh), a column per method (NaN where its run is not
        there), and ``difference`` between the methods of the pair (NaN without one).
    """
    of_subject = tuple((method, run) for method, run in runs if run.spec.subject == subject)
    return _vertex_frame(run_ids(of_subject), how.layer, how.score, how.pair, tuple(methods), of_subject, dataset)


@st.cache_data(show_spinner=False, max_entries=16)
def _vertex_frame(
    ids: tuple[tuple[str, str], ...],
    layer: str,
    score: str,
    pair: tuple[str, str] | None,
    methods: tuple[str, ...],
    _runs: tuple[Finished, ...],
    _dataset: Dataset,
) -> pd.DataFrame:
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    readers = {(method, run.id): _Reader(run, score, _dataset) for method, run in _runs}
    rows = rows_at(roi_table(_runs), How(layer, score)) if _runs else pd.DataFrame({"part_of": []})
    for row in rows[rows["part_of"] == ""].itertuples():
        reader, area = readers[str(row.method), str(row.run)], (str(row.hemi), str(row.roi))
        if area not in frames:
            facts = {"column": reader.facts(row, "columns"), "position": reader.facts(row, "positions")}
            frames[area] = pd.DataFrame({"hemi": area[0], "roi": area[1], **facts, **dict.fromkeys(methods, np.nan)})
        frames[area][str(row.method)] = reader.values(row)
    nothing = pd.DataFrame(columns=["hemi", "roi", "column", "position", *methods], dtype=float)
    frame = pd.concat(frames.values(), ignore_index=True) if frames else nothing
    return frame.assign(difference=frame[pair[0]] - frame[pair[1]] if pair else np.nan)


def one_per_vertex(vertices: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row of every vertex: where ROIs overlap, the one picked first is shown."""
    return vertices.drop_duplicates(["hemi", "column"])
