"""Finished encoding runs as tables, on planted values: one and several ROIs, methods and subjects."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from brainviz.runs.store import Store
from brainviz.ui.comparison import (
    PROTOCOL,
    How,
    ceiling_band,
    ceiling_frame,
    comparisons,
    finished,
    one_per_vertex,
    permutation_results,
    roi_table,
    rows_at,
    summary,
    vertex_frame,
)
from brainviz.ui.sources import Source

PAIR = How(pair=("contrastive", "untuned"))


# --- per ROI ----------------------------------------------------------------------------------------------------------


def test_rows_are_at_own_best_or_at_one_layer(choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3, contrastive=0.5)
    table = roi_table(finished(choice, Store()))
    assert len(table) == 4
    own = rows_at(table, How()).set_index("method")
    assert own["layer"].to_dict() == {"untuned": "classifier.6", "contrastive": "classifier.5"}
    np.testing.assert_allclose(own.loc[["untuned", "contrastive"], "r"], [0.25, 0.5])
    np.testing.assert_allclose(own["low"], own["r"] - 0.019, atol=1e-6)
    fixed = rows_at(table, How(layer="classifier.5")).set_index("method")
    np.testing.assert_allclose(fixed.loc[["untuned", "contrastive"], "r"], [0.3, 0.5])


def test_the_authors_protocol_is_the_cross_validated_r_without_an_interval(choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("V1v")
    finish(choice, untuned=0.3, contrastive=0.5)
    rows = rows_at(roi_table(finished(choice, Store())), How(score=PROTOCOL))
    np.testing.assert_allclose(rows["r"], [0.4, 0.4])
    assert rows[["low", "high"]].isna().all(axis=None)


def test_a_roi_with_a_run_of_its_own_is_reported_from_it(choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("all", "V1v")
    runs = finish(choice, untuned=0.3)
    table = roi_table(finished(choice, Store()))
    assert set(table["roi"]) == {"all", "V1v", "V1d", "V2v", "FFA-1", "V1"}
    assert not table.duplicated(["subject", "hemi", "roi", "method", "layer"]).any()
    assert set(table.loc[table["roi"] == "V1v", "run"]) == {runs[1].id}
    assert set(table.loc[table["roi"] == "V1d", "part_of"]) == {"all"}


# --- methods against each other ---------------------------------------------------------------------------------------


def test_summary_of_all_vertices_reads_rois_from_the_data_set(choose_runs: Any, finish: Any, source: Source) -> None:
    """A vertex's r is its column's number / 200, so that a ROI's r tells which vertices were taken."""
    choice = choose_runs("all")
    columns = np.arange(source.dataset.n_vertices("subj01", "lh"))
    finish(choice, untuned=columns / 200, contrastive=columns / 200 + 0.1)
    found = summary(finished(choice, Store()), PAIR, source.dataset)
    early = np.mean([source.dataset.columns("subj01", "lh", roi).mean() for roi in ("V1v", "V1d", "V2v")]) / 200
    groups = found.groups.set_index(["group", "method"])["r"]
    # Contrastive's own best layer is the first; untuned's the second, with 0.05 less.
    np.testing.assert_allclose(groups["early", "contrastive"], early + 0.1)
    np.testing.assert_allclose(groups["early", "untuned"], early - 0.05)
    differences = found.differences.set_index("roi")
    np.testing.assert_allclose(differences.loc["V1d", "difference"], 0.15)
    assert differences.loc["V1d", "n_vertices"] == 28
    # The whole is what was chosen; its parts are not counted again.
    assert list(found.overall["n_rois"]) == [1, 1]
    assert found.n_vertices == 120


def test_vertices_are_counted_once_where_rois_overlap(choose_runs: Any, finish: Any, source: Source) -> None:
    choice = choose_runs("V1", "V1v")
    planted = np.full(58, 0.3)
    planted[4] = np.nan
    finish(choose_runs("V1"), untuned=planted)
    finish(choose_runs("V1v"), untuned=0.3)
    found = summary(finished(choice, Store()), How(), source.dataset)
    assert (found.n_vertices, found.undefined) == (58, 1)
    assert found.differences.empty


# --- the noise ceiling ------------------------------------------------------------------------------------------------


def test_ceiling_and_score_are_means_over_rois(choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("V1v", "FFA-1", subjects=("subj01", "subj02"), hemispheres=("rh",))
    finish(choose_runs("V1v", subjects=("subj01", "subj02"), hemispheres=("rh",)), untuned=0.3)
    finish(choose_runs("FFA-1", subjects=("subj01", "subj02"), hemispheres=("rh",)), untuned=0.5)
    rows = rows_at(roi_table(finished(choice, Store())), How(layer="classifier.5"))
    (row,) = ceiling_frame(rows).to_dict("records")
    # Only subj01 has a ceiling, 0.8 everywhere.
    assert row["n_subjects"] == 1
    np.testing.assert_allclose(row["r_over_ceiling"], 0.4 / np.sqrt(0.8))
    np.testing.assert_allclose(row["algonauts_score"], 100 * (0.3**2 + 0.5**2) / 2 / 0.8)
    band = ceiling_band(rows)
    assert band is not None
    np.testing.assert_allclose(band[["low", "high"]], np.sqrt(0.8))
    assert ceiling_band(rows[rows["subject"] == "subj02"]) is None
    assert ceiling_frame(rows[rows["subject"] == "subj02"]).empty


def test_the_score_of_all_vertices_is_over_vertices(choose_runs: Any, finish: Any) -> None:
    choice = choose_runs("all", "V1v")
    finish(choose_runs("all"), untuned=0.3)
    finish(choose_runs("V1v"), untuned=0.5)
    rows = rows_at(roi_table(finished(choice, Store())), How(layer="classifier.5"))
    (row,) = ceiling_frame(rows).to_dict("records")
    everything = rows[rows["roi"] == "all"]
    expected = np.average(everything["algonauts_score"], weights=everything["n_vertices"])
    np.testing.assert_allclose(row["algonauts_score"], expected)


# --- permutation tests ------------------------------------------------------------------------------------------------


def test_a_comparison_per_subject(choose_runs: Any) -> None:
    choice = choose_runs("V1v", "FFA-1", subjects=("subj01", "subj02"), hemispheres=("lh",))
    first, second = comparisons(choice, PAIR)
    assert [spec.areas for spec in (first, second)] == [(("lh", "FFA-1"), ("lh", "V1v")), (("lh", "V1v"),)]
    assert (first.subject, second.subject, first.layer) == ("subj01", "subj02", "")
    assert (first.first[0].method, first.second[0].method) == ("contrastive", "untuned")
    assert comparisons(choice, How("classifier.6", pair=PAIR.pair))[0].layer == "classifier.6"
    assert comparisons(choice, How()) == ()
    assert permutation_results([first, second]).empty


# --- per vertex -------------------------------------------------------------------------------------------------------


def test_vertices_of_one_subject(choose_runs: Any, finish: Any, source: Source) -> None:
    choice = choose_runs("V1", "V1v", subjects=("subj01", "subj02"))
    finish(choose_runs("V1", subjects=("subj01", "subj02")), untuned=np.arange(58) / 100, contrastive=0.5)
    finish(choose_runs("V1v"), untuned=0.9)
    runs = finished(choice, Store())
    frame = vertex_frame(runs, PAIR, "subj01", ["untuned", "contrastive"], source.dataset)
    assert frame.groupby("roi", sort=False).size().to_dict() == {"V1": 58, "V1v": 30}
    whole = frame[frame["roi"] == "V1"]
    np.testing.assert_allclose(whole["untuned"], np.arange(58) / 100 - 0.05)
    np.testing.assert_allclose(whole["difference"], 0.5 - whole["untuned"])
    assert frame.loc[frame["roi"] == "V1v", ["contrastive", "difference"]].isna().all(axis=None)
    positions = source.dataset.positions("subj01", "lh")
    assert positions is not None
    np.testing.assert_array_equal(frame["position"], positions[frame["column"].astype(int)])
    # Where ROIs overlap, the first counts.
    once = one_per_vertex(frame)
    assert list(once["roi"].unique()) == ["V1"]
    assert len(vertex_frame(runs, PAIR, "subj02", ["untuned", "contrastive"], source.dataset)) == 58
    assert vertex_frame(runs, PAIR, "nobody", ["untuned", "contrastive"], source.dataset).empty


@pytest.mark.parametrize(("layer", "score"), list(product(["own best", "classifier.6"], ["test r", PROTOCOL])))
def test_vertices_are_of_the_layer_and_score_compared(
    choose_runs: Any, finish: Any, source: Source, layer: str, score: str
) -> None:
    choice = choose_runs("V1v")
    finish(choice, contrastive=0.5)
    frame = vertex_frame(finished(choice, Store()), How(layer, score), "subj01", ["contrastive"], source.dataset)
    planted = {("own best", "test r"): 0.5, ("own best", PROTOCOL): 0.4, ("classifier.6", "test r"): 0.45}
    np.testing.assert_allclose(frame["contrastive"], planted.get((layer, score), 0.3))
