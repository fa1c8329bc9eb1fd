"""The data set a page is about."""

from __future__ import annotations

from brainviz.ui.sources import Source, roi_counts, roi_sizes


def test_counts_are_those_planted(source: Source) -> None:
    counts = roi_counts(source, ["subj01", "subj02"])
    here = counts[(counts["subject"] == "subj01") & (counts["hemi"] == "lh")].set_index("roi")["vertices"]
    assert here.to_dict() == {"V1v": 30, "V1d": 28, "V2v": 26, "FFA-1": 24, "V1": 58}


def test_sizes(source: Source) -> None:
    sizes = roi_sizes(source, ["subj01", "subj02"])
    assert sizes["subj01", "lh", "FFA-1"] == 24
    assert sizes["subj02", "lh", "all"] == 96
    assert ("subj02", "lh", "FFA-1") not in sizes
    assert ("subj01", "lh", "hV4") not in sizes
