"""Finished encoding runs as tables, on planted values."""

import numpy as np
import pytest

from brainviz.ui.comparison import EncodingResult, improved_frame, one_per_vertex, roi_frame, vertex_frame

Results = dict[tuple[str, str, str], EncodingResult]


@pytest.fixture
def results() -> Results:
    """Return V1 and V1v of the left hemisphere, which overlap in column 7; V1v has no tuned run."""
    v1, v1v = np.array([7, 9, 12]), np.array([7])
    return {
        ("lh", "V1", "untuned"): EncodingResult(np.array([0.1, 0.2, np.nan]), v1, 10 * v1, {"r_mean": 0.15}),
        ("lh", "V1", "contrastive"): EncodingResult(np.array([0.3, 0.1, 0.5]), v1, 10 * v1, {"r_mean": 0.3}),
        ("lh", "V1v", "untuned"): EncodingResult(np.array([0.15]), v1v, None, {"r_mean": 0.15}),
    }


def test_difference_is_contrastive_minus_untuned(results: Results) -> None:
    frame = vertex_frame(results)
    np.testing.assert_allclose(frame["difference"], [0.2, -0.1, np.nan, np.nan])
    assert list(frame["position"]) == [70, 90, 120, -1]


def test_where_rois_overlap_the_first_counts(results: Results) -> None:
    once = one_per_vertex(vertex_frame(results))
    assert list(once["column"]) == [7, 9, 12]
    assert once.loc[once["column"] == 7, "untuned"].item() == 0.1


def test_share_improved_counts_vertices_with_both(results: Results) -> None:
    improved = improved_frame(vertex_frame(results))
    assert improved.to_dict("records") == [{"hemi": "lh", "roi": "V1", "improved": 0.5}]


def test_roi_table_has_a_row_per_run(results: Results) -> None:
    frame = roi_frame(results)
    assert list(frame["method"]) == ["untuned", "contrastive", "untuned"]
    assert list(frame["r_mean"]) == [0.15, 0.3, 0.15]
