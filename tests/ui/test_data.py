"""Parts of the Data page, on the tiny data set's planted facts."""

from __future__ import annotations

import numpy as np

from brainviz.ui.data import overview_frame, roi_map
from brainviz.ui.sources import Source


def test_overview(source: Source) -> None:
    frame = overview_frame(source)
    assert list(frame["subject"] + " " + frame["hemi"]) == ["subj01 lh", "subj01 rh", "subj02 lh", "subj02 rh"]
    assert list(frame["pictures"]) == [40] * 4
    assert list(frame["vertices"]) == [120, 120, 96, 120]
    assert frame["ROI sizes"][2] == "V1v 30, V1d 28, V2v 26"
    assert list(frame["noise ceiling"]) == ["yes", "yes", "no", "no"]


def test_smaller_rois_lie_over_larger_ones(source: Source) -> None:
    values = roi_map(source, "subj01", ["V1", "V1d", "V2v"])
    left = values[values["hemi"] == "lh"]
    # V1 keeps what is not V1d: the 30 vertices of V1v.
    assert left["value"].value_counts().to_dict() == {0.0: 30, 1.0: 28, 2.0: 26}
    positions = source.dataset.positions("subj01", "lh")
    assert positions is not None
    np.testing.assert_array_equal(left["position"], positions[left["column"]])


def test_nothing_chosen_is_an_empty_map(source: Source) -> None:
    assert roi_map(source, "subj01", []).empty
