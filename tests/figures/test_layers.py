"""Layers per ROI: means, marks of the best layers, order."""

import numpy as np
import pandas as pd
import pytest

from brainviz.figures.layers import layer_heatmap
from brainviz.figures.style import Provenance

LAYERS = ("features.2", "features.12", "classifier.6")


def rows(n_subjects: int, methods: tuple[str, ...] = ("contrastive", "untuned")) -> pd.DataFrame:
    """Subject s has its best layer at number s of three; values are whole numbers of 0.1 for easy means."""
    made = [
        (f"subj{s + 1:02d}", hemi, roi, method, layer, 0.1 * (s + n), n == s % 3)
        for s in range(n_subjects)
        for hemi in ("lh", "rh")
        for roi in ("V2", "V1")
        for method in methods
        for n, layer in enumerate(LAYERS)
    ]
    return pd.DataFrame(made, columns=["subject", "hemi", "roi", "method", "layer", "cv_r", "own"])


@pytest.mark.parametrize("n_subjects", [1, 4])
def test_cells_are_means_over_subjects_in_the_order_given(n_subjects: int, provenance: Provenance) -> None:
    figure = layer_heatmap(rows(n_subjects), provenance)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert len(maps) == 4
    for trace in maps:
        mean = 0.1 * (n_subjects - 1) / 2
        np.testing.assert_allclose(trace.z, np.tile([mean, mean + 0.1, mean + 0.2], (2, 1)))
        assert trace.coloraxis == "coloraxis"
    assert list(figure.layout.xaxis.ticktext) == list(LAYERS)
    assert list(figure.layout.yaxis.ticktext) == ["V2", "V1"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]
    assert [a.text for a in figure.layout.annotations][:2] == ["untuned", "contrastive"]


def test_one_subjects_best_layers_are_outlined(provenance: Provenance) -> None:
    figure = layer_heatmap(rows(1), provenance)
    frames = [trace for trace in figure.data if trace.type == "scatter"]
    assert len(frames) == 4 * 2
    for frame in frames:
        corners = np.array([frame.x, frame.y], float).T.reshape(2, 6, 2)[:, :4]
        np.testing.assert_allclose(corners.mean(axis=1), [[0, 0], [0, 1]], atol=1e-12)
    assert [frame.name for frame in frames if frame.showlegend] == ["best layer"]
    assert all(trace.texttemplate is None for trace in figure.data if trace.type == "heatmap")


def test_several_subjects_best_layers_are_counted(provenance: Provenance) -> None:
    figure = layer_heatmap(rows(4), provenance)
    assert {trace.type for trace in figure.data} == {"heatmap"}
    first = figure.data[0]
    # Subjects 1 and 4 have the first layer.
    assert [list(row) for row in first.text] == [["2", "1", "1"]] * 2
    assert first.customdata[1][0][:2] == ["V1", "features.2"]
    assert first.customdata[1][0][2] == "mean of 4 subjects<br>best layer of subj01, subj04"
    assert "left hemisphere" in first.hovertemplate
    assert "%{z:.3f}" in first.hovertemplate


def test_missing_rois_and_undefined_values_are_gaps(provenance: Provenance) -> None:
    frame = rows(2)
    frame = frame[(frame["hemi"] == "lh") | (frame["roi"] == "V1")]
    frame.loc[(frame["hemi"] == "lh") & (frame["roi"] == "V1") & (frame["subject"] == "subj02"), "cv_r"] = np.nan
    left, _, right, _ = layer_heatmap(frame, provenance).data
    assert np.isnan(np.asarray(right.z, float)[0]).all()
    assert np.isfinite(np.asarray(right.z, float)[1]).all()
    np.testing.assert_allclose(left.z[1], [0, 0.1, 0.2], atol=1e-12)
    assert left.customdata[1][0][2].startswith("mean of 1 subject<br>")


def test_one_layer_of_one_roi(provenance: Provenance) -> None:
    frame = rows(1, ("regression",)).query("hemi == 'rh' and roi == 'V1' and layer == 'features.2'")
    figure = layer_heatmap(frame, provenance)
    assert np.shape(figure.data[0].z) == (1, 1)
