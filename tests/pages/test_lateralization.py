"""The Lateralization page: its form, every view of planted results, links and downloads, a visitor's own picture."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import time
import zlib
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from brainviz.analyses.lateralization import laterality_index
from brainviz.datasets import open_dataset
from brainviz.datasets.images import cut_out, decode, squeezed
from brainviz.datasets.tasks import open_task
from brainviz.errors import RunError
from brainviz.runs.lateralize import INDEX, MAPS, POSITIONS, ROWS, SCALES, read_maps
from brainviz.runs.picture import PictureMaps, fitted
from brainviz.runs.specs import LateralizationSpec, parse_spec
from brainviz.runs.store import Run, Store

Visit = Callable[..., AppTest]
Finish = Callable[..., dict[str, Run]]
Charts = Callable[[AppTest], list[dict[str, Any]]]

VIEWS = ("Index", "Pictures", "Distribution", "Position", "Your picture", "Table")
LEFT, RIGHT = "subj01 lh V1 contrastive", "subj01 rh V1 contrastive"
UNTUNED_LEFT, UNTUNED_RIGHT = "subj01 lh V1 untuned", "subj01 rh V1 untuned"

#: Settings of runs about classes, and a link to them: links hold a target's words.
OF_CLASS = {"target": "class", "task": "animals"}
LINK_CLASS = {"target": "class", "task": "animals"}

BEFORE = np.array([0.1, -0.2, 0.3, 0.0, -0.1, 0.05])
CONSTANT = {LEFT: BEFORE + 0.2, RIGHT: BEFORE - 0.1, UNTUNED_LEFT: BEFORE, UNTUNED_RIGHT: BEFORE + 0.1}
#: In another order for each model.
PLANTED = {
    LEFT: np.array([0.3, 0.5, -0.2, 0.1, 0.0, -0.4]),
    RIGHT: np.array([-0.3, 0.4, 0.1, 0.0, -0.6, -0.3]),
    UNTUNED_LEFT: np.array([0.0, 0.1, 0.2, -0.1, 0.05, 0.3]),
    UNTUNED_RIGHT: np.array([0.1, 0.0, -0.2, -0.1, 0.15, 0.2]),
}


@pytest.fixture
def tiny(serve: Callable[..., None], tiny_root: Path) -> None:
    """Serve the tiny data set, read."""
    serve("tiny", tiny_root)


@pytest.fixture
def planted(tiny: None, finish_lateralization: Finish) -> dict[str, Run]:
    """Return finished runs of both hemispheres' models and their controls."""
    return finish_lateralization(PLANTED)


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)


def keys(elements: Any) -> list[str]:
    """Return the keys of controls."""
    return [str(each.key) for each in elements]


def table_in(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), comment="#", keep_default_na=False)


def names_in(figure: dict[str, Any]) -> list[str]:
    """Return the names of columns, then of rows."""
    annotations = figure["layout"].get("annotations", ())
    return [each["text"].replace("<br>", " ") for each in annotations if each.get("name") == "name"]


def pictures_in(figure: dict[str, Any]) -> list[np.ndarray]:
    """Return the pictures of a grid, cell by cell."""
    sources = [trace["source"] for trace in figure["data"] if trace["type"] == "image"]
    return [np.asarray(Image.open(io.BytesIO(b64decode(source.partition(",")[2])))) for source in sources]


def maps_in(figure: dict[str, Any]) -> list[np.ndarray]:
    """Return the maps of a grid, cell by cell, those without one left out."""
    return [np.asarray(trace["z"], float) for trace in figure["data"] if trace["type"] == "heatmap"]


def dots_in(figure: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the values of dots by the id of their runs."""
    return {
        run: np.asarray(trace["y"], float)[number]
        for trace in figure["data"]
        if trace.get("customdata") is not None
        for number, (run, *_) in enumerate(trace["customdata"])
    }


# --- before anything is done ------------------------------------------------------------------------------------------


def test_before_anything_was_run(tiny: None, visit: Visit) -> None:
    at = visit("lateralization", dataset="tiny")
    assert {metric.label: metric.value for metric in at.metric}["Runs chosen"] == "4"
    assert "Nothing to show for this choice yet. Press “Start attribution”" in said(at)
    assert not (Store().root / "lateralization").exists()
    assert "show" not in keys(at.button_group)
    for key in ("subjects", "hemi", "roi", "methods"):
        assert "Choose at least one" in said(visit("lateralization", **({"dataset": "tiny"} | {key: ""})))


def test_start_submits_what_was_chosen(animals: None, visit: Visit) -> None:
    link = {"target": "class", "task": "animals", "readout": "classifier.5", "attribution": "grad-cam"}
    link |= {"cam_layer": "features.9", "noise_samples": "3", "noise_sd": "0.2", "n_images": "50", "epochs": "2"}
    at = visit("lateralization", dataset="tiny", hemi="lh", methods=["untuned", "random", "contrastive"], **link)
    assert "which is not here" not in said(at)
    at.button(key="start").click().run()
    assert not at.exception
    specs = [run.spec for run in Store().runs("lateralization")]
    assert all(isinstance(spec, LateralizationSpec) for spec in specs)
    assert {spec.method for spec in specs} == {"untuned", "random", "contrastive"}
    chosen = {
        (spec.target, spec.readout, spec.attribution, spec.cam_layer, spec.noise_samples, spec.noise_sd, spec.n_images)
        for spec in specs
    }
    assert chosen == {("class", "classifier.5", "grad-cam", "features.9", 3, 0.2, 50)}
    assert {spec.classification.task for spec in specs if spec.classification is not None} == {"animals"}
    (tuning,) = (spec.network_state.finetune for spec in specs if spec.method == "contrastive")
    assert tuning.epochs == 2
    assert "start" not in keys(at.button)


@pytest.mark.parametrize(
    ("attribution", "setting", "value"), [("occlusion", "window_share", 0.25), ("integrated-gradients", "n_steps", 20)]
)
def test_start_submits_the_vertex_and_how_it_is_attributed(
    tiny: None, visit: Visit, attribution: str, setting: str, value: float
) -> None:
    link = {"target": "vertex", "vertex": "7", "attribution": attribution, setting: str(value)}
    at = visit("lateralization", dataset="tiny", methods="untuned", roi="V1v", **link)
    at.button(key="start").click().run()
    assert not at.exception
    specs = [run.spec for run in Store().runs("lateralization")]
    assert {spec.area for spec in specs} == {("lh", "V1v"), ("rh", "V1v")}
    assert {(spec.vertex, spec.attribution, getattr(spec, setting)) for spec in specs} == {(7, attribution, value)}


# --- the form ---------------------------------------------------------------------------------------------------------


def test_the_form_asks_for_what_means_something(animals: None, visit: Visit) -> None:
    at = visit("lateralization", dataset="tiny")
    asked = {"vertex", "n_steps", "window_share", "noise_sd"}
    assert asked.isdisjoint(keys(at.number_input))
    assert {"task", "cam_layer"}.isdisjoint(keys(at.selectbox))
    assert "noise_samples" in keys(at.number_input)
    for key, value, group, name in (
        ("attribution", "occlusion", "number_input", "window_share"),
        ("attribution", "integrated-gradients", "number_input", "n_steps"),
        ("attribution", "grad-cam", "selectbox", "cam_layer"),
        ("target", "class", "selectbox", "task"),
        ("target", "vertex", "number_input", "vertex"),
    ):
        at.selectbox(key=key).select(value).run()
        assert not at.exception
        assert name in keys(getattr(at, group)), name
    assert "task" not in keys(at.selectbox)
    assert at.selectbox(key="cam_layer").options == [f"features.{number}" for number in (2, 5, 7, 9, 12)]
    assert at.selectbox(key="cam_layer").value == "features.12"
    at.number_input(key="noise_samples").set_value(5).run()
    assert at.number_input(key="noise_sd").value == 0.1


def test_the_vertex_is_one_that_every_chosen_roi_has(tiny: None, visit: Visit) -> None:
    link = {"dataset": "tiny", "target": "vertex", "subjects": ["subj01", "subj02"]}
    # subj02 has no FFA-1 on the left, which does not count.
    at = visit("lateralization", **link, roi=["V1v", "FFA-1"], vertex="23")
    vertex = at.number_input(key="vertex")
    assert (vertex.min, vertex.max, vertex.value) == (0, 23, 23)
    at.multiselect(key="roi").set_value(["V1v"]).run()
    assert at.number_input(key="vertex").max == 29
    at.number_input(key="vertex").set_value(29).run()
    at.multiselect(key="roi").set_value(["V1v", "FFA-1"]).run()
    assert not at.exception
    assert at.number_input(key="vertex").value == 0


# --- the index --------------------------------------------------------------------------------------------------------


def test_dots_are_the_planted_indices(planted: dict[str, Run], visit: Visit, charts: Charts, offered: Any) -> None:
    at = visit("lateralization", dataset="tiny")
    (figure,) = charts(at)
    dots = dots_in(figure)
    assert dots == pytest.approx({planted[model].id: index.mean() for model, index in PLANTED.items()})
    assert "Only 6 pictures in the smallest test: 100 or more are advised" in said(at)
    text = offered["tiny_subj01_V1_saliency_laterality.csv"]()
    table = table_in(text).set_index("run")
    for model, index in PLANTED.items():
        row = table.loc[planted[model].id]
        assert " ".join(row[["subject", "hemi", "roi", "method"]]) == model
        np.testing.assert_allclose(
            row[["value", "low", "high"]].astype(float), index.mean() + np.array([0, -0.05, 0.05])
        )
        assert row["n"] == 6
        assert planted[model].id in text.partition("\nsubject")[0]
    requests = json.loads(offered["tiny_subj01_V1_saliency_laterality.json"]())
    assert {parse_spec(spec).run_id for spec in requests["specs"]} == {run.id for run in planted.values()}
    assert "<html" in offered["tiny_subj01_V1_saliency_laterality.html"]()


def test_what_tuning_and_the_hemisphere_make_of_the_index(
    tiny: None, visit: Visit, charts: Charts, offered: Any, finish_lateralization: Finish
) -> None:
    runs = finish_lateralization(CONSTANT)
    at = visit("lateralization", dataset="tiny", quantity="tuned minus untuned")
    assert dots_in(charts(at)[0]) == pytest.approx({runs[LEFT].id: 0.2, runs[RIGHT].id: -0.2})
    shown = at.dataframe[0].value
    np.testing.assert_allclose(shown["value"], [0.2, -0.2])
    np.testing.assert_allclose(shown["p"], 2 / 64, atol=0.006)
    np.testing.assert_allclose(shown["q"], shown["p"])  # one ROI
    table = table_in(offered["tiny_subj01_V1_saliency_laterality.csv"]())
    assert list(table["against"]) == [runs[UNTUNED_LEFT].id, runs[UNTUNED_RIGHT].id]
    at.button_group(key="quantity").set_value("left minus right").run()
    assert not at.exception
    assert dots_in(charts(at)[0]) == pytest.approx({runs[LEFT].id: 0.3, runs[UNTUNED_LEFT].id: -0.1})
    assert "Benjamini-Hochberg" in said(at)


def test_differences_say_what_they_need(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish
) -> None:
    finish_lateralization({LEFT: BEFORE})
    for quantity, words in (
        ("tuned minus untuned", "finished runs of tuned and untuned networks"),
        ("left minus right", "finished runs of networks of both hemispheres"),
    ):
        at = visit("lateralization", dataset="tiny", quantity=quantity)
        assert words in said(at)
        assert charts(at) == []


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_and_what_each_model_looks_at(
    planted: dict[str, Run], visit: Visit, charts: Charts, offered: Any
) -> None:
    at = visit("lateralization", dataset="tiny", show="Pictures")
    assert at.selectbox(key="place").options == ["subj01 V1 contrastive"]
    (figure,) = charts(at)
    rows = np.load(planted[LEFT].file(ROWS))
    models = ["left model", "right model", "untuned, lh", "untuned, rh"]
    columns = ["picture", *models, *(f"{model}, mirrored" for model in models)]
    assert names_in(figure) == [*columns, *map(str, rows[:5])]
    pictures, maps = pictures_in(figure), maps_in(figure)
    assert (len(pictures), len(maps)) == (45, 40)
    images = open_dataset("tiny").images("subj01")
    for place in range(5):
        expected = squeezed(images[int(rows[place])], 32)
        for column in range(9):
            mirror = column > 4
            np.testing.assert_array_equal(pictures[9 * place + column], expected[:, ::-1] if mirror else expected)
        for column, model in enumerate(PLANTED):
            for which in (0, 4):
                drawn = maps[8 * place + column + which]
                assert laterality_index(drawn) == pytest.approx(PLANTED[model][place], abs=0.02)
                assert [np.sign(row).mean() for row in drawn] == [1, -1, 1, -1]
    assert {trace["opacity"] for trace in figure["data"] if trace["type"] == "heatmap"} == {0.6}
    table = table_in(offered["tiny_subj01_V1_saliency_pictures.csv"]())
    assert list(table["model"][:6]) == ["left model"] * 5 + ["right model"]
    np.testing.assert_allclose(table["index_picture"][:5], PLANTED[LEFT][:5])


def test_all_maps_to_take_away(tiny: None, visit: Visit, offered: Any, finish_lateralization: Finish) -> None:
    mirrored = np.stack([BEFORE, -2 * BEFORE], axis=1)
    runs = finish_lateralization({LEFT: mirrored, RIGHT: BEFORE, UNTUNED_LEFT: BEFORE, UNTUNED_RIGHT: BEFORE})
    visit("lateralization", dataset="tiny", show="Pictures")
    with np.load(io.BytesIO(offered["tiny_subj01_V1_saliency_maps.npz"]())) as found:
        names = {"left_model": LEFT, "right_model": RIGHT, "untuned_lh": UNTUNED_LEFT, "untuned_rh": UNTUNED_RIGHT}
        assert len(found) == 5 * len(names)
        for name, model in names.items():
            run = runs[model]
            for what, file in (("maps", MAPS), ("scales", SCALES), ("rows", ROWS), ("index", INDEX)):
                np.testing.assert_array_equal(found[f"{name}_{what}"], np.load(run.file(file)))
            assert str(found[f"{name}_run"]) == run.id
            own = found[f"{name}_maps"].astype(np.float32) * found[f"{name}_scales"][:, :, None, None]
            np.testing.assert_array_equal(own, read_maps(run))
            np.testing.assert_allclose(laterality_index(own), found[f"{name}_index"], atol=2e-3)


def test_orders_pages_and_opacity_are_in_the_link(planted: dict[str, Run], visit: Visit, charts: Charts) -> None:
    rows = np.load(planted[LEFT].file(ROWS))
    for order, expected in (
        ("farthest right", np.argsort(-PLANTED[LEFT])),
        ("farthest left", np.argsort(PLANTED[LEFT])),
        ("where the models differ most", np.argsort(-np.abs(PLANTED[LEFT] - PLANTED[RIGHT]))),
    ):
        link = {"order": order, "opacity": "0.25", "mirrored": "false"}
        at = visit("lateralization", dataset="tiny", show="Pictures", **link)
        (figure,) = charts(at)
        assert names_in(figure)[5:] == [str(rows[place]) for place in expected[:5]]
        assert {trace["opacity"] for trace in figure["data"] if trace["type"] == "heatmap"} == {0.25}
    assert "Page, of 2" in [each.label for each in at.number_input]
    at.number_input(key="page").set_value(2).run()
    assert names_in(charts(at)[0])[5:] == [str(rows[expected[5]])]
    at = visit("lateralization", dataset="tiny", show="Pictures", page="2")
    assert names_in(charts(at)[0])[9:] == [str(rows[5])]


def test_pictures_of_a_task_are_named_by_their_class(
    animals: None, visit: Visit, charts: Charts, finish_lateralization: Finish
) -> None:
    """Classes are of one untuned network; the pictures are seen as the middle of each."""
    spec = finish_lateralization({LEFT: BEFORE[:3], "untuned": BEFORE[:3]}, **OF_CLASS)[LEFT].spec
    at = visit("lateralization", dataset="tiny", show="Pictures", mirrored="false", **LINK_CLASS)
    assert isinstance(spec, LateralizationSpec)
    rows = np.load(Store().run_of(spec).file(ROWS))
    task = open_task("animals")
    (figure,) = charts(at)
    labels = [f"{row} · {task.classes[task.labels[row]]}" for row in rows]
    assert names_in(figure) == ["picture", "left model", "untuned", *labels]
    np.testing.assert_array_equal(pictures_in(figure)[0], cut_out(decode(task.images.paths[int(rows[0])]), 32))
    assert "page" not in keys(at.number_input)


def test_models_about_other_pictures_are_not_in_the_strip(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish
) -> None:
    finish_lateralization({LEFT: BEFORE, UNTUNED_LEFT: BEFORE})
    finish_lateralization({RIGHT: BEFORE}, rows=range(6))
    (figure,) = charts(visit("lateralization", dataset="tiny", show="Pictures", mirrored="false"))
    assert names_in(figure)[:3] == ["picture", "left model", "untuned"]
    assert len(maps_in(figure)) == 10


# --- distribution and position ----------------------------------------------------------------------------------------


def select(at: AppTest, run: str, picture: int) -> None:
    """Have the browser tell that a picture's point was selected in the distribution."""
    chart = at.get("plotly_chart")[0]
    states = at._tree.get_widget_states()
    widget = states.widgets.add()
    points = [{"point_index": 0, "customdata": [run, picture]}]
    told = {"points": points, "point_indices": [0], "box": [], "lasso": []}
    widget.id, widget.string_value = chart.proto.id, json.dumps({"selection": told})
    at._run(states)
    assert not at.exception, [error.message for error in at.exception]


def test_the_distribution_and_a_point_of_it(
    planted: dict[str, Run], visit: Visit, charts: Charts, offered: Any
) -> None:
    at = visit("lateralization", dataset="tiny", show="Distribution")
    (figure,) = charts(at)
    rows = np.load(planted[LEFT].file(ROWS))
    points = {
        (run, image): float(x)
        for trace in figure["data"]
        if trace.get("customdata") is not None
        for x, (run, image) in zip(trace["x"], trace["customdata"], strict=True)
    }
    expected = {
        (planted[model].id, int(row)): value
        for model, index in PLANTED.items()
        for row, value in zip(rows, index, strict=True)
    }
    assert points == pytest.approx(expected)
    table = table_in(offered["tiny_subj01_V1_saliency_distribution.csv"]())
    assert list(table["model"].unique()) == ["left model", "right model", "untuned, lh", "untuned, rh"]
    assert {(row.run, row.image): row.index_ for row in table.rename(columns={"index": "index_"}).itertuples()} == (
        pytest.approx(expected)
    )
    assert "Click a point" in said(at)
    select(at, planted[RIGHT].id, int(rows[4]))
    _, grid = charts(at)
    assert names_in(grid)[9:] == [str(rows[4])]
    np.testing.assert_array_equal(
        pictures_in(grid)[0], squeezed(open_dataset("tiny").images("subj01")[int(rows[4])], 32)
    )
    assert laterality_index(maps_in(grid)[1]) == pytest.approx(PLANTED[RIGHT][4], abs=0.02)
    # It comes first among the pictures, until it is forgotten.
    at.button_group(key="show").set_value("Pictures").run()
    assert names_in(charts(at)[0])[9] == str(rows[4])
    at.button(key="forget_picture").click().run()
    assert names_in(charts(at)[0])[9] == str(rows[0])
    assert "forget_picture" not in keys(at.button)


def test_positions_are_the_runs_own_and_less_their_own_controls(
    planted: dict[str, Run], visit: Visit, charts: Charts, offered: Any
) -> None:
    left, right, before_left, before_right = (np.load(planted[model].file(POSITIONS)) for model in PLANTED)
    assert np.abs(before_left - before_right).max() > 0.01
    at = visit("lateralization", dataset="tiny", show="Position")
    np.testing.assert_allclose(maps_in(charts(at)[0]), [left, right, left - right], atol=1e-6)
    table = table_in(offered["tiny_subj01_V1_saliency_position.csv"]())
    np.testing.assert_allclose(table.pivot_table(index="row", columns="column", values="right"), right, rtol=1e-5)
    at.toggle(key="less_untuned").set_value(True).run()
    mine, theirs = left - before_left, right - before_right
    np.testing.assert_allclose(maps_in(charts(at)[0]), [mine, theirs, mine - theirs], atol=1e-6)
    table = table_in(offered["tiny_subj01_V1_saliency_position.csv"]())
    np.testing.assert_allclose(table.pivot_table(index="row", columns="column", values="left"), mine, atol=1e-5)
    np.testing.assert_allclose(table.pivot_table(index="row", columns="column", values="right"), theirs, atol=1e-5)


def test_positions_are_not_less_the_other_hemispheres_control(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish
) -> None:
    runs = finish_lateralization({LEFT: BEFORE, RIGHT: BEFORE, UNTUNED_RIGHT: BEFORE})
    at = visit("lateralization", dataset="tiny", show="Position", less_untuned="true")
    assert "less_untuned" not in keys(at.toggle)
    np.testing.assert_allclose(maps_in(charts(at)[0])[0], np.load(runs[LEFT].file(POSITIONS)), atol=1e-6)


def test_the_table(planted: dict[str, Run], visit: Visit, offered: Any) -> None:
    at = visit("lateralization", dataset="tiny", show="Table")
    shown = at.dataframe[0].value
    assert list(zip(shown["hemi"], shown["method"], strict=True)) == [
        ("lh", "untuned"), ("lh", "contrastive"), ("rh", "untuned"), ("rh", "contrastive"),
    ]  # fmt: skip
    expected = [PLANTED[model].mean() for model in (UNTUNED_LEFT, LEFT, UNTUNED_RIGHT, RIGHT)]
    np.testing.assert_allclose(shown["value"], expected)
    table = table_in(offered["tiny_subj01_V1_saliency_index.csv"]())
    np.testing.assert_allclose(table["value"], expected)
    assert set(table["run"]) == {run.id for run in planted.values()}


# --- less than everything ---------------------------------------------------------------------------------------------


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    # What is finished, settings of it, and the methods of the link.
    "one hemisphere": ({LEFT: BEFORE, UNTUNED_LEFT: BEFORE}, {}, "contrastive"),
    "untuned alone": ({UNTUNED_LEFT: BEFORE, UNTUNED_RIGHT: BEFORE}, {}, "untuned"),
    "left less right, untuned alone": ({UNTUNED_LEFT: BEFORE}, {"target": "left-right"}, "untuned"),
    "random": ({"subj01 lh V1 random": BEFORE, LEFT: BEFORE}, {}, "random"),
    "no index": ({LEFT: [np.nan] * 6, UNTUNED_LEFT: np.where(np.arange(6) == 2, np.nan, BEFORE)}, {}, "contrastive"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_view_of_less_than_everything(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish, case: str
) -> None:
    indices, link, method = CASES[case]
    finish_lateralization(indices, **link)
    at = visit("lateralization", dataset="tiny", methods=["untuned", "random", "contrastive"], **link)
    first = charts(at)
    assert len(first) == 1
    for view in VIEWS[1:]:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
        assert not at.error, view
        if view in ("Pictures", "Distribution"):
            assert len(charts(at)) == 1
    assert any(method in each for each in at.dataframe[0].value["method"])
    if case == "no index":
        values = at.dataframe[0].value.set_index("method")["value"]
        assert np.isnan(values["contrastive"])
        assert values["untuned"] == pytest.approx(np.delete(BEFORE, 2).mean())
        at.button_group(key="show").set_value("Index").run()
        at.button_group(key="quantity").set_value("tuned minus untuned").run()
        assert not at.exception


def test_controls_of_classes_alone(animals: None, visit: Visit, charts: Charts, finish_lateralization: Finish) -> None:
    finish_lateralization({"untuned": BEFORE[:3], "random": BEFORE[3:]}, **OF_CLASS)
    at = visit("lateralization", dataset="tiny", methods=["untuned", "random"], **LINK_CLASS)
    assert sorted(dots_in(charts(at)[0]).values()) == pytest.approx(sorted([BEFORE[:3].mean(), BEFORE[3:].mean()]))
    for view in VIEWS[1:]:
        at.button_group(key="show").set_value(view).run()
        assert not at.exception, (view, [error.message for error in at.exception])
    at.button_group(key="show").set_value("Pictures").run()
    assert names_in(charts(at)[0])[:3] == ["picture", "untuned", "random"]


@pytest.mark.parametrize("view", ["Index", "Pictures", "Position", "../../etc/passwd"])
def test_no_traceback_on_hostile_links(planted: dict[str, Run], visit: Visit, view: str) -> None:
    hostile = "<script>alert(1)</script>[x](javascript:0)\x00"
    names = ("place", "order", "quantity", "methods", "roi", "subjects", "network", "readout", "task", "cam_layer")
    numbers = {"page": "9999", "opacity": "abc", "vertex": str(10**9), "n_steps": "-1", "noise_samples": "1e99"}
    numbers |= {"window_share": "nan", "mirrored": "perhaps", "less_untuned": "2", "n_images": "-5"}
    about = {"target": hostile, "attribution": hostile}
    at = visit("lateralization", dataset="tiny", show=view, **dict.fromkeys(names, hostile), **numbers, **about)
    assert "which is not here" in said(at)
    assert "<script>" not in said(at)
    assert at.selectbox(key="target").value == "roi"
    assert at.selectbox(key="attribution").value == "saliency"


@pytest.mark.parametrize(
    "link",
    [
        {"target": "vertex", "vertex": str(10**9)},
        {"target": "vertex", "vertex": "-1"},
        {"attribution": "grad-cam", "cam_layer": "classifier.6"},
        {"attribution": "occlusion", "window_share": "7"},
        {"attribution": "integrated-gradients", "n_steps": "10000000", "noise_samples": "-3"},
    ],
)
def test_settings_out_of_range_are_the_usual_ones(tiny: None, visit: Visit, link: dict[str, str]) -> None:
    at = visit("lateralization", dataset="tiny", methods="untuned", **link)
    assert not at.error
    values = {each.key: each.value for each in (*at.number_input, *at.selectbox)}
    usual = {"vertex": 0, "cam_layer": "features.12", "window_share": 0.125, "n_steps": 50, "noise_samples": 0}
    assert {name: values[name] for name in usual if name in values} == {n: v for n, v in usual.items() if n in values}


# --- a visitor's own picture ------------------------------------------------------------------------------------------


def png(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array, **options).save(file, "PNG")
    return file.getvalue()


def of_header_alone(width: int, height: int) -> bytes:
    """Return a PNG that says how large it is, and has no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(1).integers(0, 256, (24, 40, 4), dtype=np.uint8)
GOOD = png(NOISE[:, :, :3])


class Attributor:
    """In place of the process: maps whose index is planted; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], Image.Image, int]] = []
        self.failures = 0

    def __call__(self, runs: list[Run], image: Image.Image, target: int) -> dict[str, PictureMaps]:
        self.asked.append(([run.id for run in runs], image, target))
        if self.failures:
            self.failures -= 1
            raise RunError("The picture could not be attributed.", got="the <b>network</b> is gone")
        found = {}
        for number, run in enumerate(runs):
            assert isinstance(run.spec, LateralizationSpec)
            seen = fitted(image, run.spec)
            index = np.array([0.2, 0.4]) + 0.1 * number
            halves = np.repeat(np.stack([1 - index, 1 + index], axis=-1), 4, axis=-1)
            maps = np.tile(halves[:, None], (1, 4, 1)).astype(np.float32)
            answered = 1 if target == -1 and run.spec.classification is not None else max(target, 0)
            found[run.id] = PictureMaps(np.stack([seen, seen[:, ::-1]]), maps, index + 7, answered)
        return found


@pytest.fixture
def attributor(monkeypatch: pytest.MonkeyPatch) -> Attributor:
    """Return what answers in place of the process."""
    planted = Attributor()
    monkeypatch.setattr("brainviz.ui.uploaded.attribute_picture", planted)
    return planted


def upload(at: AppTest, data: bytes, name: str = "mine.png") -> None:
    """Upload a picture, and wait for what comes of it."""
    at.file_uploader(key="own_picture").set_value((name, data, "image/png"))
    at.run()
    settle(at)


def settle(at: AppTest) -> None:
    """Look again, as the page does, until the picture is attributed."""
    deadline = time.monotonic() + 20
    while "Looking at your picture" in said(at):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        at.run()
    assert not at.exception, [error.message for error in at.exception]


def below(*folders: Path) -> dict[Path, int]:
    """Return the files below folders, and when each was changed."""
    files = (Path(root) / name for folder in folders for root, _, names in os.walk(folder) for name in names)
    return {file: file.stat().st_mtime_ns for file in files}


def test_a_picture_of_ones_own(
    planted: dict[str, Run],
    visit: Visit,
    charts: Charts,
    offered: Any,
    attributor: Attributor,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    at = visit("lateralization", dataset="tiny", show="Your picture")
    assert "Nothing of it is written to a disk" in said(at)
    assert charts(at) == []
    before = below(cache, temporary)
    upload(at, GOOD)
    (figure,) = charts(at)
    models = ["left model", "right model", "untuned, lh", "untuned, rh"]
    assert names_in(figure) == ["picture", *models, "as it is", "mirrored"]
    spec = planted[LEFT].spec
    assert isinstance(spec, LateralizationSpec)
    seen = fitted(Image.fromarray(NOISE[:, :, :3]), spec)
    pictures, maps = pictures_in(figure), maps_in(figure)
    for picture in pictures[:5]:
        np.testing.assert_array_equal(picture, seen)
    for picture in pictures[5:]:
        np.testing.assert_array_equal(picture, seen[:, ::-1])
    indices = [0.2, 0.3, 0.4, 0.5, 0.4, 0.5, 0.6, 0.7]
    np.testing.assert_allclose(laterality_index(np.array(maps)), indices, atol=0.01)
    table = at.dataframe[0].value
    assert list(table["model"]) == models
    np.testing.assert_allclose(table["index, picture"], indices[:4], atol=1e-6)
    np.testing.assert_allclose(table["index, mirrored"], indices[4:], atol=1e-6)
    np.testing.assert_allclose(table["index"], np.array(indices[:4]) + 0.1, atol=1e-6)
    np.testing.assert_allclose(table["target, picture"], np.array(indices[:4]) + 7)
    assert list(table["run"]) == [planted[model].id for model in PLANTED]
    assert "left model" in offered["tiny_subj01_V1_saliency_own_own_picture.csv"]()
    assert [asked[0] for asked in attributor.asked] == [[run.id for run in planted.values()]]
    # Another one, after it; then none.
    upload(at, png(NOISE[::-1, :, :3]), "other.png")
    assert len(attributor.asked) == 2
    np.testing.assert_array_equal(pictures_in(charts(at)[0])[0], fitted(Image.fromarray(NOISE[::-1, :, :3]), spec))
    at.file_uploader(key="own_picture").clear()
    at.run()
    assert charts(at) == []
    assert "_own picture" not in at.session_state
    assert below(cache, temporary) == before


REFUSED = {
    "1 pixel wide": (png(NOISE[:, :1, :3].copy()), "is too small"),
    "narrow": (png(np.zeros((16, 100, 3), np.uint8)), "is too narrow"),
    "100 megapixels": (of_header_alone(10_000, 10_000), "has too many pixels"),
    "text": (b"This is no picture.\n" * 20, "cannot be decoded"),
    "half": (GOOD[: len(GOOD) // 2], "cannot be decoded"),
    "nothing": (b"", "is empty"),
}


def test_what_is_no_picture_is_refused_in_words(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish, attributor: Attributor
) -> None:
    finish_lateralization({LEFT: BEFORE})
    at = visit("lateralization", dataset="tiny", show="Your picture")
    for kind, (data, words) in REFUSED.items():
        upload(at, data, "<b>mine</b>.png")
        assert words in at.error[0].value.replace("\\", ""), kind
        assert "<b>" not in at.error[0].value
        assert charts(at) == []
    assert attributor.asked == []
    upload(at, GOOD)
    assert not at.error
    assert len(charts(at)) == 1


def test_other_kinds_of_png_are_seen_in_rgb(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish, attributor: Attributor
) -> None:
    finish_lateralization({LEFT: BEFORE})
    at = visit("lateralization", dataset="tiny", show="Your picture")
    deep = np.linspace(0, 65535, 24 * 40).reshape(24, 40).astype(np.uint16)
    clear = np.concatenate([NOISE[:, :, :3], np.zeros((24, 40, 1), np.uint8)], axis=2)
    for data, expected in (
        (png(clear), np.full((24, 40, 3), 128)),
        (png(NOISE[:, :, 0].copy()), np.repeat(NOISE[:, :, :1], 3, axis=2)),
        (png(deep), np.repeat(deep[:, :, None] >> 8, 3, axis=2)),
    ):
        upload(at, data)
        assert not at.error
        assert len(charts(at)) == 1
        sent = attributor.asked[-1][1]
        assert sent.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(sent), expected)


def test_a_failure_is_shown_and_can_be_tried_again(
    tiny: None, visit: Visit, charts: Charts, finish_lateralization: Finish, attributor: Attributor
) -> None:
    finish_lateralization({LEFT: BEFORE})
    attributor.failures = 1
    at = visit("lateralization", dataset="tiny", show="Your picture")
    upload(at, GOOD)
    message = at.error[0].value
    assert "could not be attributed" in message
    assert "<b>" not in message
    at.run()
    assert len(attributor.asked) == 1
    at.button(key="own_again").click().run()
    settle(at)
    assert not at.error
    assert len(attributor.asked) == 2
    assert len(charts(at)) == 1


def test_the_class_of_ones_own_picture(
    animals: None,
    visit: Visit,
    charts: Charts,
    finish_lateralization: Finish,
    attributor: Attributor,
) -> None:
    finish_lateralization({LEFT: BEFORE[:3], "untuned": BEFORE[:3]}, **OF_CLASS)
    at = visit("lateralization", dataset="tiny", show="Your picture", **LINK_CLASS)
    upload(at, GOOD)
    box = at.selectbox(key="own_class")
    assert box.options == ["each model's most probable", "cat", "dog", "fish", "owl"]
    assert list(at.dataframe[0].value["class"]) == ["dog", "dog"]
    box.select("owl").run()
    settle(at)
    assert [target for _, _, target in attributor.asked] == [-1, 3]
    assert list(at.dataframe[0].value["class"]) == ["owl", "owl"]
    # What the networks see of it is the middle.
    np.testing.assert_array_equal(pictures_in(charts(at)[0])[0], cut_out(Image.fromarray(NOISE[:, :, :3]), 32))
