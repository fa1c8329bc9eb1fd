"""Finished encoding runs as tables: untuned against contrastive, per vertex and per ROI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from brainviz.encoding.metrics import share_improved
from brainviz.runs.specs import EncodingSpec
from brainviz.runs.store import Run

#: What a map can show.
QUANTITIES = ("untuned", "contrastive", "difference")


@dataclass(frozen=True)
class EncodingResult:
    """One finished encoding run.

    Attributes
    ----------
    r : (v,) float array
        Pearson r on test pictures; NaN where the response is constant.
    columns : (v,) int array
        Columns of the subject's responses.
    positions : (v,) int array or None
        Index on the data set's mesh.
    scalars : dict
    """

    r: NDArray[np.floating]
    columns: NDArray[np.integer]
    positions: NDArray[np.integer] | None
    scalars: dict[str, Any]


@st.cache_data(show_spinner=False, max_entries=512)
def _read(run_id: str, _run: Run) -> EncodingResult:
    positions = np.array(_run.array("positions")) if _run.has("positions.npy") else None
    return EncodingResult(np.array(_run.array("r")), np.array(_run.array("columns")), positions, _run.result())


def read_results(runs: Sequence[Run]) -> dict[tuple[str, str, str], EncodingResult]:
    """Return the results of finished encoding runs by (hemisphere, ROI, method), in the order given."""
    results: dict[tuple[str, str, str], EncodingResult] = {}
    for run in runs:
        assert isinstance(run.spec, EncodingSpec)
        results[run.spec.hemi, run.spec.roi, run.spec.method] = _read(run.id, run)
    return results


def vertex_frame(results: Mapping[tuple[str, str, str], EncodingResult]) -> pd.DataFrame:
    """Return one row per hemisphere, ROI and vertex.

    Returns
    -------
    frame
        Columns ``hemi``, ``roi``, ``column``, ``position`` (-1 without a mesh), ``untuned``, ``contrastive`` (NaN where
        the run is not there) and ``difference``, contrastive minus untuned.
    """
    frames = []
    for hemi, roi in dict.fromkeys((hemi, roi) for hemi, roi, _ in results):
        untuned, contrastive = results.get((hemi, roi, "untuned")), results.get((hemi, roi, "contrastive"))
        known = untuned or contrastive
        assert known is not None
        nothing = np.full(len(known.r), np.nan)
        frames.append(
            pd.DataFrame(
                {
                    "hemi": hemi,
                    "roi": roi,
                    "column": known.columns,
                    "position": -1 if known.positions is None else known.positions,
                    "untuned": nothing if untuned is None else untuned.r,
                    "contrastive": nothing if contrastive is None else contrastive.r,
                }
            )
        )
    frame = pd.concat(frames, ignore_index=True)
    frame["difference"] = frame["contrastive"] - frame["untuned"]
    return frame


def roi_frame(results: Mapping[tuple[str, str, str], EncodingResult]) -> pd.DataFrame:
    """Return one row per hemisphere, ROI and method: ``hemi``, ``roi``, ``method`` and the run's scalars."""
    return pd.DataFrame(
        [
            {"hemi": hemi, "roi": roi, "method": method, **result.scalars}
            for (hemi, roi, method), result in results.items()
        ]
    )


def improved_frame(vertices: pd.DataFrame) -> pd.DataFrame:
    """Return the share of vertices whose r rose with tuning (methods, section 3): ``hemi``, ``roi``, ``improved``.

    Only hemispheres and ROIs that have both runs.
    """
    rows = []
    for (hemi, roi), group in vertices.groupby(["hemi", "roi"], sort=False):
        if group["difference"].notna().any():
            rows.append({"hemi": hemi, "roi": roi, "improved": share_improved(group["contrastive"], group["untuned"])})
    return pd.DataFrame(rows, columns=["hemi", "roi", "improved"])


def one_per_vertex(vertices: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row of every vertex: where ROIs overlap, the one picked first is shown."""
    return vertices.drop_duplicates(["hemi", "column"])
