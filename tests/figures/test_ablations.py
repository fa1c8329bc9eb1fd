"""Variants of the bottleneck network: dots, intervals and bars are what was given, of one subject and of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from brainviz.figures.ablations import VARIANT_COLOURS, ablation_chart, variant_bars
from brainviz.figures.style import Provenance

VARIANTS = ("linear", "full", "no leak")
ORDER = ["full", "no leak", "linear"]


def scores(n_subjects: int = 1) -> pd.DataFrame:
    rows = [
        (f"subj{s + 1:02d}", variant, 0.4 - 0.05 * v + 0.01 * s)
        for s in range(n_subjects)
        for v, variant in enumerate(VARIANTS)
    ]
    frame = pd.DataFrame(rows, columns=["subject", "variant", "r"])
    full = frame["variant"] == "full"
    difference = (frame["r"] - 0.35).mask(full)
    return frame.assign(
        low=frame["r"] - 0.01,
        high=frame["r"] + 0.02,
        difference=difference,
        difference_low=difference - 0.03,
        difference_high=difference + 0.04,
        reconstruction_r=0.6 + 0.1 * (frame["subject"] == "subj02"),
    )


def over(frame: pd.DataFrame) -> pd.DataFrame:
    means = frame.groupby("variant")[["r", "difference"]].mean().reset_index()
    ends = {"low": means["r"] - 0.1, "high": means["r"] + 0.1}
    ends |= {"difference_low": means["difference"] - 0.2, "difference_high": means["difference"] + 0.2}
    return means.assign(**ends)


def seeds(n: int) -> pd.DataFrame:
    rows = [("subj01", variant, seed, 0.3 + 0.01 * seed) for variant in VARIANTS for seed in range(n)]
    return pd.DataFrame(rows, columns=["subject", "variant", "seed", "r"])


def dots(figure: go.Figure, axis: str) -> Any:
    (found,) = [trace for trace in figure.data if trace.xaxis == axis and trace.marker.size == 11]
    return found


def note(figure: go.Figure) -> str:
    return next(each.text.replace("<br>", " ") for each in figure.layout.annotations if each.name == "note")


def test_dots_of_one_subject_have_its_bootstrap_interval(provenance: Provenance) -> None:
    frame = scores()
    figure = ablation_chart(frame, provenance, seeds=seeds(1), over=over(frame).head(0))
    assert list(figure.layout.yaxis.ticktext) == ORDER
    drawn = dots(figure, "x")
    by_row = frame.set_index("variant").loc[[ORDER[int(y)] for y in drawn.y]]
    np.testing.assert_allclose(drawn.x, by_row["r"])
    np.testing.assert_allclose(drawn.error_x.array, 0.02)
    np.testing.assert_allclose(drawn.error_x.arrayminus, 0.01)
    assert list(drawn.marker.color) == [VARIANT_COLOURS[name] for name in by_row.index]
    less = dots(figure, "x2")
    assert [ORDER[int(y)] for y in less.y] == ["linear", "no leak"]
    np.testing.assert_allclose(less.x, [0.05, -0.05])
    np.testing.assert_allclose(less.error_x.array, 0.04)
    assert "paired" in note(figure)
    assert "Ticks" not in note(figure)


def test_seeds_are_ticks(provenance: Provenance) -> None:
    frame = scores()
    figure = ablation_chart(frame, provenance, seeds=seeds(3), over=over(frame).head(0))
    (ticks,) = [trace for trace in figure.data if trace.marker.symbol == "line-ns"]
    assert sorted(zip(ticks.y, np.round(ticks.x, 2), strict=True)) == [
        (row, r) for row in (0, 1, 2) for r in (0.3, 0.31, 0.32)
    ]
    assert "Ticks: single seeds." in note(figure)


def test_of_several_subjects_the_mean_has_its_interval_and_subjects_are_dots(provenance: Provenance) -> None:
    frame = scores(2)
    means = over(frame)
    figure = ablation_chart(frame, provenance, seeds=seeds(3), over=means)
    drawn = dots(figure, "x")
    expected = means.set_index("variant").loc[[ORDER[int(y)] for y in drawn.y]]
    np.testing.assert_allclose(drawn.x, expected["r"])
    np.testing.assert_allclose(drawn.error_x.array, 0.1)
    (small,) = [trace for trace in figure.data if trace.xaxis == "x" and trace.marker.size == 5]
    np.testing.assert_allclose(small.x, frame["r"])
    assert [ORDER[round(y)] for y in small.y] == list(frame["variant"])
    assert small.y[0] < small.y[3]
    assert "mean over 2 subjects" in note(figure)


def test_the_reconstruction_ceiling_is_a_band_from_the_lowest_to_the_highest(provenance: Provenance) -> None:
    figure = ablation_chart(scores(2), provenance, seeds=seeds(1), over=over(scores(2)))
    (band,) = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    np.testing.assert_allclose([band.x0, band.x1], [0.6, 0.7])
    assert [trace.name for trace in figure.data if trace.legendgroup == "ceiling"] == [
        "reconstruction ceiling, 0.600 to 0.700"
    ]
    unknown = ablation_chart(
        scores().assign(reconstruction_r=np.nan), provenance, seeds=seeds(1), over=over(scores()).head(0)
    )
    assert not [shape for shape in unknown.layout.shapes if shape.type == "rect"]
    assert not ablation_chart(scores().head(0), provenance, seeds=seeds(0), over=over(scores()).head(0)).data


def of_rois(n_subjects: int = 1) -> pd.DataFrame:
    base = scores(n_subjects)[["subject", "variant", "r", "low", "high"]]
    return pd.concat([base.assign(hemi=hemi, roi=roi) for hemi in ("lh", "rh") for roi in ("V1v", "EBA")])


def ceilings(low: float, high: float) -> pd.DataFrame:
    rows = [(hemi, roi, low, high) for hemi in ("lh", "rh") for roi in ("V1v", "EBA", "PPA")]
    return pd.DataFrame(rows, columns=["hemi", "roi", "low", "high"])


def test_bars_per_roi_with_both_ceilings(provenance: Provenance) -> None:
    frame = of_rois()
    figure = variant_bars(frame, provenance, reconstruction=ceilings(0.6, 0.65), ceiling=ceilings(0.7, 0.7))
    bars = [trace for trace in figure.data if trace.name in VARIANTS and trace.xaxis == "x"]
    assert [bar.name for bar in bars] == ORDER
    for bar in bars:
        np.testing.assert_allclose(bar.y, frame[frame["variant"] == bar.name]["r"].iloc[0])
        np.testing.assert_allclose(bar.error_y.array, 0.02)
    bands = {trace.legendgroup: trace for trace in figure.data if trace.xaxis == "x" and trace.base is not None}
    assert set(bands) == {"reconstruction", "ceiling"}
    for group, low, high in (("reconstruction", 0.6, 0.65), ("ceiling", 0.7, 0.7)):
        np.testing.assert_allclose(np.asarray(bands[group].base, float), low)
        np.testing.assert_allclose(bands[group].y, high - low)
        assert len(bands[group].x) == 2  # PPA has no bar
    assert "reconstruction ceiling" in bands["reconstruction"].hovertemplate
    assert "noise ceiling" in bands["ceiling"].hovertemplate
    legend = [trace.name for trace in figure.data if trace.showlegend]
    assert legend == ["reconstruction ceiling", "noise ceiling", *ORDER]
    assert "principal components give back" in note(figure)
    assert "Noise ceiling" in note(figure)


def test_bars_of_several_subjects_and_of_none(provenance: Provenance) -> None:
    frame = of_rois(2)
    spread = frame.groupby(["hemi", "roi", "variant"])["r"].mean().reset_index()
    spread = spread.assign(low=spread["r"] - 0.3, high=spread["r"] + 0.3)
    figure = variant_bars(frame, provenance, reconstruction=ceilings(0.6, 0.65), spread=spread)
    bar = next(trace for trace in figure.data if trace.name == "full")
    np.testing.assert_allclose(bar.y, frame[frame["variant"] == "full"]["r"].mean())
    np.testing.assert_allclose(bar.error_y.array, 0.3)
    assert not variant_bars(frame.head(0), provenance, reconstruction=ceilings(0.6, 0.65)).data
