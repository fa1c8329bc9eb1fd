"""The data set a page is about."""

from __future__ import annotations

from brainviz.ui.sources import Source, has_roi, roi_counts


def test_counts_are_those_planted(source: Source) -> None:
    counts = roi_counts(source, ["subj01", "subj02"])
    here = counts[(counts["subject"] == "subj01") & (counts["hemi"] == "lh")].set_index("roi")["vertices"]
    assert here.to_dict() == {"V1v": 30, "V1d": 28, "V2v": 26, "FFA-1": 24, "V1": 58}


def test_has_roi(source: Source) -> None:
    assert has_roi(source, "subj01", "lh", "FFA-1")
    assert not has_roi(source, "subj02", "lh", "FFA-1")
    assert not has_roi(source, "subj01", "lh", "hV4")
    assert has_roi(source, "subj02", "lh", "all")
