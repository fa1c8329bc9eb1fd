"""Figures of lateralization: dots, points, maps and profiles are what was given, and lie where they should."""

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from brainviz.errors import SpecError
from brainviz.figures.laterality_distribution import index_distribution
from brainviz.figures.laterality_dots import QUANTITIES, index_dots
from brainviz.figures.overlays import MAP_SIDE, STEPS, overlay_grid
from brainviz.figures.position_maps import position_maps
from brainviz.figures.style import HEMISPHERE_COLOURS, INK, MUTED, Provenance
from tests.drawn import printed

METHODS = ("contrastive", "untuned", "random")


def indices(rois: tuple[str, ...] = ("V1v", "EBA"), subjects: tuple[str, ...] = ("subj01",)) -> pd.DataFrame:
    """Every value differs from every other; intervals reach 0.02 down and 0.03 up."""
    rows = [(s, roi, hemi, method) for s in subjects for roi in rois for hemi in ("rh", "lh") for method in METHODS]
    frame = pd.DataFrame(rows, columns=["subject", "roi", "hemi", "method"])
    value = 0.4 * np.random.default_rng(0).permutation(len(frame)) / len(frame) - 0.2
    run = [f"{number:064x}" for number in range(len(frame))]
    return frame.assign(value=value, low=value - 0.02, high=value + 0.03, run=run)


def images(n: int, models: tuple[str, ...] = ("left V1v", "right V1v")) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    parts = [
        pd.DataFrame(
            {"model": model, "hemi": model[0] + "h", "method": "contrastive", "image": np.arange(n) * 7,
             "index": rng.uniform(-0.4, 0.5, n), "run": f"{number:064x}"}
        )
        for number, model in enumerate(models)
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def dots(figure: go.Figure) -> list[Any]:
    """Traces of what was measured: no stars, no legend."""
    return [trace for trace in figure.data if trace.customdata is not None]


def legend(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend]


def test_dots_are_values_with_their_intervals_and_runs(provenance: Provenance) -> None:
    frame = indices()
    figure = index_dots(frame, provenance)
    by_run = frame.set_index("run")
    drawn = [run for trace in dots(figure) for (run,) in trace.customdata]
    assert sorted(drawn) == sorted(frame["run"])
    for trace in dots(figure):
        rows = by_run.loc[[run for (run,) in trace.customdata]]
        np.testing.assert_allclose(trace.y, rows["value"])
        np.testing.assert_allclose(trace.error_y.array, 0.03)
        np.testing.assert_allclose(trace.error_y.arrayminus, 0.02)
        # The dot stands nearest to its ROI.
        assert [("V1v", "EBA")[round(x)] for x in trace.x] == list(rows["roi"])
        ((hemi, method),) = set(zip(rows["hemi"], rows["method"], strict=True))
        assert trace.marker.color == (MUTED if method == "random" else HEMISPHERE_COLOURS[hemi])
        assert trace.marker.symbol.endswith("-open") == (method != "contrastive")
    assert list(figure.layout.xaxis.ticktext) == ["V1v", "EBA"]


def test_the_left_models_are_on_the_left_and_nothing_stands_on_anything_else(provenance: Provenance) -> None:
    for subjects in (("subj01",), ("subj01", "subj02", "all")):
        frame = indices(subjects=subjects)
        where = {
            run: x for t in dots(index_dots(frame, provenance)) for (run,), x in zip(t.customdata, t.x, strict=True)
        }
        assert len(set(np.round(list(where.values()), 9))) == len(frame)
        first = frame[frame["roi"] == "V1v"]
        left, right = ([where[run] for run in first.loc[first["hemi"] == hemi, "run"]] for hemi in ("lh", "rh"))
        assert max(left) < min(right)


def test_the_legend_tells_hemispheres_and_methods(provenance: Provenance) -> None:
    both = ["left hemisphere's model", "right hemisphere's model"]
    assert legend(index_dots(indices(), provenance)) == [*both, "random", "untuned", "contrastive"]
    one = indices().query("method == 'contrastive'")
    assert legend(index_dots(one, provenance)) == both


def test_a_second_tuned_method_has_another_symbol(provenance: Provenance) -> None:
    frame = indices()
    frame["method"] = frame["method"].replace("untuned", "regression")
    symbols = {t.name.split(", ")[1]: t.marker.symbol for t in dots(index_dots(frame, provenance))}
    assert len(set(symbols.values())) == 3
    assert not symbols["regression"].endswith("open")


@pytest.mark.parametrize(("n", "barred"), [(4, True), (5, False)])
def test_subjects_are_small_beside_the_large_summary(n: int, barred: bool, provenance: Provenance) -> None:
    frame = indices(subjects=(*(f"subj{s:02d}" for s in range(n)), "all"))
    figure = index_dots(frame, provenance)
    summaries = set(frame.loc[frame["subject"] == "all", "run"])
    large = [t for t in dots(figure) if {run for (run,) in t.customdata} <= summaries]
    small = [t for t in dots(figure) if t not in large]
    assert sum(len(t.x) for t in large) == len(summaries)
    assert sum(len(t.x) for t in small) == n * len(summaries)
    assert min(t.marker.size for t in large) > max(t.marker.size for t in small)
    assert all(np.isfinite(np.asarray(t.error_y.array, float)).all() for t in large)
    assert {bool(np.isfinite(np.asarray(t.error_y.array, float)).all()) for t in small} == {barred}
    assert "all subjects" in large[0].hovertext[0]
    assert "Small: one subject each" in printed(figure)


@pytest.mark.parametrize("times", [0.01, 1, 3])
def test_the_value_axis_is_symmetric_and_just_holds_the_intervals(times: float, provenance: Provenance) -> None:
    frame = indices()
    frame[["value", "low", "high"]] *= times
    low, high = index_dots(frame, provenance).layout.yaxis.range
    furthest = max(0.1, frame[["low", "high"]].abs().max(axis=None))
    assert low == -high
    assert furthest < high < 1.1 * furthest


def test_stars_stand_above_what_is_significant(provenance: Provenance) -> None:
    frame = indices().assign(q=np.nan)
    frame.loc[0, "q"], frame.loc[1, "q"] = 0.049, 0.05
    figure = index_dots(frame, provenance)
    (stars,) = [trace for trace in figure.data if trace.name == "star"]
    (dot,) = [t for t in dots(figure) if frame.loc[0, "run"] in [run for (run,) in t.customdata]]
    assert list(stars.x) == [dot.x[0]]
    assert frame.loc[0, "high"] < stars.y[0] < figure.layout.yaxis.range[1]
    assert "Star: q < 0.05 (Benjamini-Hochberg over ROIs)." in printed(figure)
    assert "q = 0.049" in dot.hovertext[0]
    without = index_dots(indices(), provenance)
    assert "Star" not in printed(without)
    assert not [trace for trace in without.data if trace.name == "star"]


def test_a_dot_says_whose_model_it_is(provenance: Provenance) -> None:
    frame = indices().head(1).assign(value=-0.1, low=-0.2, high=0.05, method="<b>", roi="<b>", subject="<b>")
    (dot,) = dots(index_dots(frame, provenance))
    assert dot.hovertext[0].split("<br>") == [
        "&lt;b&gt;, &lt;b&gt;",
        "right hemisphere's model, &lt;b&gt;",
        "laterality index: −0.100 (95 % interval −0.200 to 0.050)",
        "run 00000000",
    ]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_axis_says_what_the_values_are(quantity: str, provenance: Provenance) -> None:
    figure = index_dots(indices().query("hemi == 'lh'").assign(hemi="", run=""), provenance, quantity=quantity)
    assert figure.layout.yaxis.title.text == QUANTITIES[quantity]
    colours = {t.name: t.marker.color for t in dots(figure)}
    assert colours == {"contrastive": INK, "untuned": INK, "random": MUTED}
    with pytest.raises(SpecError, match=r"index.*contrast"):
        index_dots(indices(), provenance, quantity="asymmetry")


def test_values_that_are_unknown_are_counted_and_keep_their_place(provenance: Provenance) -> None:
    frame = indices()
    frame.loc[frame["roi"] == "EBA", "value"] = np.nan
    figure = index_dots(frame, provenance)
    assert sum(len(t.x) for t in dots(figure)) == 6
    assert "Left out: 6 without a value." in printed(figure)
    assert list(figure.layout.xaxis.ticktext) == ["V1v", "EBA"]
    assert "Left out" not in printed(index_dots(indices(), provenance))


@pytest.mark.parametrize("n", [1, 36])
def test_few_and_many_rois_stay_legible(n: int, provenance: Provenance) -> None:
    figure = index_dots(indices(tuple(f"<b>{number}" for number in range(n))), provenance, title="Here")
    assert list(figure.layout.xaxis.ticktext) == [f"&lt;b&gt;{number}" for number in range(n)]
    low, high = figure.layout.xaxis.range
    assert high - low >= 3
    assert 350 < figure.layout.height < 560
    assert figure.layout.title.text == "Here"


@pytest.mark.parametrize("frame", [indices().head(0), indices().assign(value=np.nan)], ids=["no rows", "NaN"])
def test_dots_of_nothing_say_so(frame: pd.DataFrame, provenance: Provenance) -> None:
    assert "No laterality index" in printed(index_dots(frame, provenance), "empty")


def test_every_picture_is_a_point_that_tells_its_run_and_row(provenance: Provenance) -> None:
    frame = images(40)
    figure = index_distribution(frame, provenance)
    assert [t.name for t in dots(figure)] == ["left V1v", "right V1v"]
    for trace in dots(figure):
        rows = frame[frame["model"] == trace.name]
        np.testing.assert_allclose(trace.x, rows["index"])
        assert [tuple(data) for data in trace.customdata] == list(zip(rows["run"], rows["image"], strict=True))
        assert trace.mode == "markers"
        assert "image %{customdata[1]}" in trace.hovertemplate
        assert trace.marker.color == HEMISPHERE_COLOURS[trace.name[0] + "h"]
        at = list(figure.layout.yaxis.tickvals)[[t.name for t in dots(figure)].index(trace.name)]
        assert np.abs(np.asarray(trace.y) - at).max() < 0.5
    assert list(figure.layout.yaxis.tickvals) == [1, 0]
    means = [trace.x[0] for trace in figure.data if trace.name == "mean"]
    np.testing.assert_allclose(means, frame.groupby("model", sort=False)["index"].mean())
    assert all(t.hoverinfo == "skip" for t in figure.data if t.type == "violin" or t.name == "mean")


def test_points_are_spread_the_same_way_every_time(provenance: Provenance) -> None:
    frame = images(40)
    np.random.seed(3)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (index_distribution(part, provenance) for part in (frame, frame.sample(frac=1, random_state=0)))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert index_distribution(frame, provenance) == first

    def heights(figure: go.Figure) -> dict[tuple[str, int], float]:
        # Which model is first may differ, the height within its row may not.
        return {tuple(d): y % 1 for t in dots(figure) for d, y in zip(t.customdata, t.y, strict=True)}

    assert heights(first) == pytest.approx(heights(second))
    assert len({round(y, 6) for y in heights(first).values()}) == 40


@pytest.mark.parametrize(("times", "end"), [(0.1, 0.2), (1, None), (2, 1)])
def test_the_axis_of_indices_is_symmetric(times: float, end: float | None, provenance: Provenance) -> None:
    frame = images(40)
    frame["index"] = (frame["index"] * times).clip(-1, 1)
    frame.loc[0, "index"] = 0.5 * times
    figure = index_distribution(frame, provenance)
    assert figure.layout.xaxis.range == pytest.approx((-(end or 0.525), end or 0.525))
    assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(0, 0)]


def test_few_or_equal_indices_have_no_shape(provenance: Provenance) -> None:
    assert not [t for t in index_distribution(images(9), provenance).data if t.type == "violin"]
    assert not [t for t in index_distribution(images(40).assign(index=0.1), provenance).data if t.type == "violin"]
    assert len([t for t in index_distribution(images(10), provenance).data if t.type == "violin"]) == 2


def test_unknown_indices_and_tags_in_names(provenance: Provenance) -> None:
    frame = images(10, ("left <b>",))
    frame.loc[[2, 3], "index"] = np.nan
    figure = index_distribution(frame, provenance)
    assert "Left out: 2 without an index." in printed(figure)
    assert figure.layout.yaxis.ticktext[0].startswith("left &lt;b&gt;<br>")
    assert "8 pictures" in figure.layout.yaxis.ticktext[0]
    assert "<b>" not in dots(figure)[0].hovertemplate
    for nothing in (frame.head(0), frame.assign(index=np.nan)):
        assert "No picture" in printed(index_distribution(nothing, provenance), "empty")


def grid(n: int, k: int, side: int, map_shape: tuple[int, int], *, photo: bool = True) -> tuple[Any, Any]:
    """Pictures of blurred colours with some grain, or of noise; maps of noise."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, k, side, side, 3), dtype=np.uint8)
    if photo:
        for cell in np.ndindex(n, k):
            smooth = Image.fromarray(pictures[cell][:9, :9]).resize((side, side), Image.Resampling.BICUBIC)
            pictures[cell] = np.clip(np.asarray(smooth) + rng.normal(0, 4, (side, side, 3)), 0, 255)
    return pictures, rng.normal(0, 1, (n, k, *map_shape))


def decoded(source: str) -> Any:
    assert source.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


def cells(figure: go.Figure, kind: str) -> list[Any]:
    return [trace for trace in figure.data if trace.type == kind]


def test_overlays_lie_over_their_pictures_to_the_edge(provenance: Provenance) -> None:
    pictures, maps = grid(2, 3, 20, (7, 4))
    figure = overlay_grid(pictures, maps, list("abc"), ["1", "2"], provenance, opacity=0.4, highest=2.0)
    for number, cell in enumerate(np.ndindex(2, 3)):
        image, overlay = cells(figure, "image")[number], cells(figure, "heatmap")[number]
        assert (image.xaxis, image.yaxis) == (overlay.xaxis, overlay.yaxis)
        np.testing.assert_array_equal(decoded(image.source), pictures[cell])
        np.testing.assert_allclose(np.asarray(overlay.z, float) / STEPS * 2, np.clip(maps[cell], -2, 2), atol=1 / STEPS)
        # The picture reaches from −0.5 to 19.5.
        assert (overlay.x0 - overlay.dx / 2, overlay.x0 + 3.5 * overlay.dx) == pytest.approx((-0.5, 19.5))
        assert (overlay.y0 - overlay.dy / 2, overlay.y0 + 6.5 * overlay.dy) == pytest.approx((-0.5, 19.5))
        assert overlay.opacity == 0.4
    axes = figure.layout
    assert (axes.xaxis.range, axes.yaxis.range) == ((-0.5, 19.5), (19.5, -0.5))
    assert axes.yaxis.scaleanchor == "x"
    assert {axes[f"xaxis{number}"].matches for number in range(2, 7)} == {"x"}
    assert {axes[f"yaxis{number}"].matches for number in range(2, 7)} == {"y"}
    # The first row is at the top, the first column on the left.
    assert axes.yaxis.domain[0] > axes.yaxis4.domain[1]
    assert axes.xaxis.domain[1] < axes.xaxis2.domain[0]


@pytest.mark.parametrize("both", [True, False])
def test_all_cells_have_one_scale_of_colours(both: bool, provenance: Provenance) -> None:
    pictures, maps = grid(2, 2, 16, (16, 16))
    maps = maps if both else np.abs(maps)
    figure = overlay_grid(pictures, maps, ["a", "b"], ["1", "2"], provenance, signed_maps=both)
    end = np.percentile(np.abs(maps), 99.5)
    axis = figure.layout.coloraxis
    assert {t.coloraxis for t in cells(figure, "heatmap")} == {"coloraxis"}
    assert (axis.cmin, axis.cmax) == (-STEPS if both else 0, STEPS)
    middle = {"#f7f7f7", "rgb(247,247,247)"}
    assert (axis.colorscale[len(axis.colorscale) // 2][1] in middle) == both
    assert axis.colorbar.ticktext[-1] == f"{end:.2g}"
    assert axis.colorbar.tickvals[-1] == STEPS
    assert f"Colours end at {end:.3g}" in printed(figure)


def test_large_maps_are_means_over_blocks(provenance: Provenance) -> None:
    pictures, maps = grid(1, 1, 224, (224, 300))
    (overlay,) = cells(overlay_grid(pictures, maps, ["a"], ["1"], provenance, highest=3), "heatmap")
    expected = maps[0, 0].reshape(112, 2, 100, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(np.asarray(overlay.z, float) * 3 / STEPS, expected, atol=1.6 / STEPS)
    assert overlay.x0 + 99.5 * overlay.dx == pytest.approx(223.5)
    # Sides that are no multiple: blocks of one size to the edge, and the mean stays.
    maps = np.ones((1, 1, 227, 113))
    (overlay,) = cells(overlay_grid(pictures, maps, ["a"], ["1"], provenance, highest=1), "heatmap")
    z = np.asarray(overlay.z)
    assert max(z.shape) <= MAP_SIDE
    assert (z == STEPS).all()
    assert overlay.y0 + (len(z) - 0.5) * overlay.dy == pytest.approx(223.5)


@pytest.mark.parametrize("photo", [True, False], ids=["photographs", "noise"])
def test_a_large_grid_stays_below_4_megabytes(photo: bool, provenance: Provenance) -> None:
    pictures, maps = grid(6, 7, 224, (224, 224), photo=photo)
    figure = overlay_grid(pictures, maps, list("abcdefg"), list("123456"), provenance)
    assert len(figure.to_json()) < 4e6
    image = cells(figure, "image")[0]
    first = decoded(image.source)
    if photo:
        assert np.abs(first.astype(int) - pictures[0, 0]).max() <= 9  # half a step of 4 bits
    else:
        blocks = pictures[0, 0].reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
        np.testing.assert_allclose(first, blocks, atol=1.5)
    # However many pixels there are, they fill the cell.
    assert (image.x0 - image.dx / 2, image.x0 + (first.shape[1] - 0.5) * image.dx) == pytest.approx((-0.5, 223.5))
    assert (image.y0 - image.dy / 2, image.y0 + (first.shape[0] - 0.5) * image.dy) == pytest.approx((-0.5, 223.5))


def test_missing_values_are_not_drawn(provenance: Provenance) -> None:
    pictures, maps = grid(1, 3, 8, (8, 8))
    maps[0, 0] = np.nan
    maps[0, 1, 0, 0] = np.nan
    figure = overlay_grid(pictures, maps, ["a", "b", "c"], ["1"], provenance)
    assert [t.xaxis for t in cells(figure, "heatmap")] == ["x2", "x3"]
    assert len(cells(figure, "image")) == 3
    partly, whole = (np.asarray(t.z, float) for t in cells(figure, "heatmap"))
    assert np.argwhere(np.isnan(partly)).tolist() == [[0, 0]]
    assert np.isfinite(whole).all()
    bare = overlay_grid(pictures, np.full_like(maps, np.nan), ["a", "b", "c"], ["1"], provenance)
    assert not cells(bare, "heatmap")
    assert not printed(bare)
    zero = overlay_grid(pictures, np.zeros_like(maps), ["a", "b", "c"], ["1"], provenance)
    assert not np.any(cells(zero, "heatmap")[0].z)


def test_names_of_rows_and_columns_are_no_tags(provenance: Provenance) -> None:
    figure = overlay_grid(*grid(1, 1, 8, (8, 8)), ["<b>col"], ["0001 · <b>"], provenance)
    texts = [a.text for a in figure.layout.annotations if a.name == "name"]
    assert texts == ["&lt;b&gt;col", "0001 · &lt;b&gt;"]
    assert "<b>" not in cells(figure, "heatmap")[0].hovertemplate


def test_what_does_not_fill_the_grid_is_refused(provenance: Provenance) -> None:
    pictures, maps = grid(1, 2, 8, (8, 8))
    for bad in ((pictures, maps[:, :1]), (pictures[..., :1], maps), (pictures / 255, maps), (pictures[0], maps)):
        with pytest.raises(SpecError, match="cells of the grid"):
            overlay_grid(*bad, ["a", "b"], ["1"], provenance)
    with pytest.raises(SpecError, match="above 0"):
        overlay_grid(pictures, maps, ["a", "b"], ["1"], provenance, highest=0)
    assert "No picture" in printed(overlay_grid(pictures[:0], maps[:0], ["a", "b"], [], provenance), "empty")


def test_mean_maps_share_a_scale_and_have_a_difference(provenance: Provenance) -> None:
    left, right = np.random.default_rng(0).uniform(0.5, 2, (2, 6, 8))
    figure = position_maps(left, right, provenance)
    for trace, expected in zip(cells(figure, "heatmap"), (left, right, left - right), strict=True):
        np.testing.assert_allclose(trace.z, expected, rtol=1e-5, atol=1e-6)
    for trace, expected in zip(cells(figure, "scatter"), (left, right, left - right), strict=True):
        np.testing.assert_allclose(trace.y, expected.mean(axis=0))
    assert [t.coloraxis for t in cells(figure, "heatmap")] == ["coloraxis", "coloraxis", "coloraxis2"]
    shared, around = figure.layout.coloraxis, figure.layout.coloraxis2
    assert (shared.cmin, shared.cmax) == (0, pytest.approx(max(left.max(), right.max())))
    assert (around.cmin, around.cmax) == pytest.approx((-np.abs(left - right).max(), np.abs(left - right).max()))
    assert figure.layout.yaxis.range == (5.5, -0.5)
    assert figure.layout.yaxis.scaleanchor == "x"
    assert {(shape.x0, shape.x1) for shape in figure.layout.shapes} == {(3.5, 3.5)}
    assert len(figure.layout.shapes) == 6
    ranges = [figure.layout[f"yaxis{number}"].range for number in (4, 5, 6)]
    assert ranges[0] == ranges[1]
    assert ranges[2][0] == -ranges[2][1]
    assert ranges[2][1] - ranges[2][0] == pytest.approx(ranges[0][1])
    for trace, (low, high) in zip(cells(figure, "scatter"), ranges, strict=True):
        assert low <= min(trace.y) <= max(trace.y) <= high
    names = [a.text for a in figure.layout.annotations if a.name == "name"]
    assert names == ["left hemisphere's model", "right hemisphere's model", "left minus right"]


def test_one_mean_map_is_drawn_alone(provenance: Provenance) -> None:
    values = np.ones((4, 4))
    values[:, 0] = np.nan
    for left, right, name in ((values, None, "left"), (None, values, "right"), (values, values * np.nan, "left")):
        figure = position_maps(left, right, provenance)
        assert [t.name for t in cells(figure, "heatmap")] == [f"{name} hemisphere's model"]
        np.testing.assert_array_equal(cells(figure, "scatter")[0].y, [np.nan, 1, 1, 1])
    assert "No mean map" in printed(position_maps(None, values * np.nan, provenance), "empty")
    with pytest.raises(SpecError, match="one shape"):
        position_maps(values, values[:2], provenance)
