"""The Landscape page: which models are laid out, every map, colour and view of them, selections, links, downloads."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs.landscape import MIN_MODELS
from brainviz.runs.specs import LandscapeSpec, parse_spec
from brainviz.runs.store import Run, Store

Visit = Callable[..., AppTest]
Finish = Callable[[Mapping[str, Any]], dict[str, Run]]
LayOut = Callable[..., Run]
Charts = Callable[[AppTest], list[dict[str, Any]]]

VIEWS = ("Map", "Matrix", "Axes", "Groups")
LEFT, RIGHT = "subj01 lh V1 contrastive", "subj01 rh V1 contrastive"

#: Two models; with the oracle three, too few for UMAP. On the page: the left hemisphere.
TWO, LINK_TWO = {"untuned": range(9), LEFT: range(8, 12)}, {"dataset": "tiny", "hemi": "lh"}

#: Six tuned models and untuned, what each gets right, and the link to them.
SEVEN = {
    "untuned": range(9),
    LEFT: range(8, 12),
    RIGHT: range(6),
    "subj01 lh V2v contrastive": range(1, 7),
    "subj01 rh V2v contrastive": range(3, 9),
    "subj01 lh FFA-1 contrastive": range(2),
    "subj01 rh FFA-1 contrastive": [0, 5, 7, 11],
}
LINK_SEVEN = {"dataset": "tiny", "roi": ["V1", "V2v", "FFA-1"]}


@pytest.fixture
def two(animals: None, finish_classification: Finish, finish_landscape: LayOut) -> Run:
    return finish_landscape(finish_classification(TWO))


@pytest.fixture
def seven(animals: None, finish_classification: Finish, finish_landscape: LayOut) -> Run:
    return finish_landscape(finish_classification(SEVEN))


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)


def models_of(run: Run) -> pd.DataFrame:
    return pd.read_parquet(run.file("models.parquet")).set_index("model")


def points(figure: dict[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return where each model is drawn, by its name."""
    found = {}
    for trace in figure["data"]:
        axes = [trace[axis] for axis in "xyz" if axis in trace]
        for number, (_, model) in enumerate(trace.get("customdata", ())):
            found[model] = tuple(float(axis[number]) for axis in axes)
    return found


def select(at: AppTest, *models: str) -> None:
    """Have the browser tell that these models were selected on the page's first map."""
    chart = at.get("plotly_chart")[0]
    states = at._tree.get_widget_states()
    widget = states.widgets.add()
    chosen = [{"point_index": 0, "customdata": ["", model]} for model in models]
    # A line, as of the order of early areas, has nothing to tell of itself.
    told = {"points": [*chosen, {"point_index": 0}], "point_indices": [0], "box": [], "lasso": []}
    widget.id, widget.string_value = chart.proto.id, json.dumps({"selection": told})
    at._run(states)
    assert not at.exception, [error.message for error in at.exception]


# --- which models -----------------------------------------------------------------------------------------------------


def test_without_a_task_the_page_says_how_to_name_one(serve: Any, tiny_root: Path, visit: Visit) -> None:
    serve("tiny", tiny_root)
    assert "Add a table [tasks] to brainviz.toml" in said(visit("landscape", dataset="tiny"))


def test_one_model_is_no_landscape(animals: None, visit: Visit) -> None:
    at = visit("landscape", **LINK_TWO, methods="untuned")
    assert "needs at least two models" in said(at)
    assert "start" not in [button.key for button in at.button]


@pytest.mark.parametrize("key", ["subjects", "hemi", "roi", "methods"])
def test_nothing_chosen(animals: None, visit: Visit, key: str) -> None:
    assert "Choose at least one" in said(visit("landscape", **({"dataset": "tiny"} | {key: ""})))


def asked_for(at: AppTest) -> set[str]:
    """Start what the page offers to start, and return the models of the landscape."""
    at.button(key="start").click().run()
    assert not at.exception
    (spec,) = [run.spec for run in Store().runs("landscape")]
    assert isinstance(spec, LandscapeSpec)
    return {model.label.removeprefix("animals: ") for model in spec.models}


def test_everything_chosen_is_asked_for_when_nothing_is_done(animals: None, visit: Visit) -> None:
    at = visit("landscape", dataset="tiny")
    assert "Nothing to show for this choice yet" in said(at)
    assert at.button(key="start").label == "Start the landscape of 3 models (1 run)"
    assert asked_for(at) == {"untuned", LEFT, RIGHT}


def test_only_what_is_done_is_asked_for(animals: None, visit: Visit, finish_classification: Finish) -> None:
    finish_classification(TWO)
    at = visit("landscape", dataset="tiny")
    assert at.toggle(key="only_done").value
    assert at.toggle(key="only_done").label == "Only the 2 models that are there"
    assert asked_for(at) == {"untuned", LEFT}


@pytest.mark.parametrize("by_link", [True, False])
def test_all_models_are_asked_for(animals: None, visit: Visit, finish_classification: Finish, by_link: bool) -> None:
    finish_classification(TWO)
    if by_link:
        at = visit("landscape", dataset="tiny", only_done="false")
    else:
        at = visit("landscape", dataset="tiny")
        at.toggle(key="only_done").set_value(False).run()
    assert asked_for(at) == {"untuned", LEFT, RIGHT}


def test_all_done_needs_no_choice(two: Run, visit: Visit) -> None:
    at = visit("landscape", **LINK_TWO)
    assert len(at.toggle) == 1
    assert at.toggle[0].key == "path"


def test_another_readout_is_another_landscape(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish, finish_landscape: LayOut
) -> None:
    runs = finish_classification({"untuned": (9, 5), LEFT: (8, 2)})
    both = {layer: finish_landscape(runs, layer) for layer in ("classifier.6", "classifier.5")}
    for layer, run in both.items():
        at = visit("landscape", **LINK_TWO, readout=layer)
        drawn, table = points(charts(at)[0]), models_of(run)
        for model in table.index:
            np.testing.assert_allclose(drawn[model], table.loc[model, ["inpca_1", "inpca_2"]].astype(float))
    assert len({float(models_of(run).loc["untuned", "inpca_1"]) for run in both.values()}) == 2


def test_placed_models_are_laid_on_the_axes_of_others(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish, finish_landscape: LayOut
) -> None:
    regression = "subj01 lh V1 regression"
    runs = finish_classification(TWO | {regression: range(3, 8)})
    link = LINK_TWO | {"methods": ["untuned", "regression", "contrastive"], "placed": "contrastive"}
    run = finish_landscape({name: runs[name] for name in ("untuned", regression)}, placed=[runs[LEFT]])
    at = visit("landscape", **link)
    assert set(points(charts(at)[0])) == {"untuned", regression, f"{LEFT} (placed)", "oracle"}
    assert run.spec.placed
    at.multiselect(key="placed").set_value([]).run()
    assert "Nothing to show for this choice yet" in said(at)


# --- maps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("embedding", "columns"), [("InPCA", "inpca"), ("MDS", "mds{}"), ("UMAP", "umap{}")])
def test_maps_hold_the_coordinates(
    seven: Run, visit: Visit, charts: Charts, offered: Any, embedding: str, columns: str
) -> None:
    table = models_of(seven)
    for dimensions in (2, 3):
        (figure,) = charts(visit("landscape", **LINK_SEVEN, embedding=embedding, dimensions=str(dimensions)))
        drawn = points(figure)
        assert set(drawn) == {*SEVEN, "oracle"}
        names = [f"{columns.format(dimensions)}_{k + 1}" for k in range(dimensions)]
        for model, place in drawn.items():
            np.testing.assert_allclose(place, table.loc[model, names].astype(float))
        if embedding == "UMAP":
            assert drawn["oracle"] == (7.0, -7.0, 14.0)[:dimensions]
        taken = pd.read_csv(io.StringIO(offered["tiny_animals_landscape_coordinates.csv"]()), comment="#")
        np.testing.assert_allclose(taken[names], table.loc[taken["model"], names])


def test_axes_tell_the_sign(seven: Run, visit: Visit, charts: Charts) -> None:
    (figure,) = charts(visit("landscape", **LINK_SEVEN, dimensions="3"))
    signs = seven.result()["signs"]
    for number, axis in enumerate("xyz"):
        title = figure["layout"]["scene"][f"{axis}axis"]["title"]["text"]
        assert title.startswith(f"InPCA {number + 1} (")
        assert ("imaginary" in title) == (signs[number] < 0)


@pytest.mark.parametrize("dimensions", ["2", "3"])
def test_all_three_beside_each_other(seven: Run, visit: Visit, charts: Charts, dimensions: str) -> None:
    figures = charts(visit("landscape", **LINK_SEVEN, embedding="all three", dimensions=dimensions))
    assert [figure["layout"]["title"]["text"] for figure in figures] == ["InPCA", "MDS", "UMAP"]
    assert {kind for figure in figures for kind in (trace["type"] for trace in figure["data"])} == {
        "scatter" if dimensions == "2" else "scatter3d"
    }


def test_stress_is_said(seven: Run, visit: Visit) -> None:
    result = seven.result()
    for count in (2, 3):
        text = said(visit("landscape", **LINK_SEVEN, dimensions=str(count)))
        assert f"first {count} axes: {result['stress'][count - 1]:.0%}." in text
        assert f"MDS and UMAP: {result[f'mds_stress_{count}d']:.2f}, 0.25;" in text


def test_too_few_models_for_umap(two: Run, visit: Visit, charts: Charts) -> None:
    at = visit("landscape", **LINK_TWO, embedding="UMAP")
    assert f"UMAP needs at least {MIN_MODELS} models" in said(at)
    assert charts(at) == []
    assert len(at.dataframe[0].value) == 3
    at = visit("landscape", **LINK_TWO, embedding="all three")
    assert f"UMAP needs at least {MIN_MODELS} models" in said(at)
    assert len(charts(at)) == 2
    assert ", –; 0 is a perfect map" in said(at)


@pytest.mark.slow
def test_real_umap(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish, finish_landscape: Any
) -> None:
    run = finish_landscape(finish_classification(SEVEN), umap=True)
    (figure,) = charts(visit("landscape", **LINK_SEVEN, embedding="UMAP"))
    drawn = np.array(list(points(figure).values()))
    assert np.isfinite(drawn).all()
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=1e-4)
    assert len(np.unique(drawn.round(6), axis=0)) == 8
    assert 0 < run.result()["umap_stress_2d"] < 1


# --- colours and the order of early areas -----------------------------------------------------------------------------


def test_colours_of_names(seven: Run, visit: Visit, charts: Charts) -> None:
    for colour, names in {
        "roi": {"V1", "V2v", "FFA-1"},
        "group": {"early", "faces"},
        "hemi": {"left hemisphere", "right hemisphere"},
        "subject": {"subj01"},
        "method": {"contrastive"},
    }.items():
        (figure,) = charts(visit("landscape", **LINK_SEVEN, colour=colour))
        assert {trace["name"] for trace in figure["data"] if trace.get("showlegend")} == names
        tuned = [trace for trace in figure["data"] if trace["name"] in names]
        assert len({(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in tuned}) == len(names)
        if colour == "group":
            faces = next(trace for trace in tuned if trace["name"] == "faces")
            assert {model for _, model in faces["customdata"]} == {model for model in SEVEN if "FFA-1" in model}


def test_colours_of_accuracy(seven: Run, visit: Visit, charts: Charts) -> None:
    (figure,) = charts(visit("landscape", **LINK_SEVEN, colour="accuracy"))
    (trace,) = [trace for trace in figure["data"] if "coloraxis" in trace.get("marker", {})]
    shown = {model: value for (_, model), value in zip(trace["customdata"], trace["marker"]["color"], strict=True)}
    assert shown == pytest.approx({model: len(gets) / 12 for model, gets in SEVEN.items() if model != "untuned"})


def test_colours_of_r(seven: Run, visit: Visit, charts: Charts, finish_encoding: Any) -> None:
    finish_encoding("tiny", ["contrastive"], ["lh"], rois=["V1"])
    at = visit("landscape", **LINK_SEVEN, colour="r")
    (figure,) = charts(at)
    (known,) = [trace for trace in figure["data"] if "coloraxis" in trace.get("marker", {})]
    # 0 to 0.5 over 58 vertices of which the first is undefined, and 0.1 more for contrastive.
    mean = np.linspace(0, 0.5, 58)[1:].mean() + 0.1
    assert [model for _, model in known["customdata"]] == [LEFT]
    np.testing.assert_allclose(known["marker"]["color"], [mean], rtol=1e-5)
    (unknown,) = [trace for trace in figure["data"] if trace["name"] == "not known"]
    assert len(unknown["customdata"]) == 5
    table = at.dataframe[0].value.set_index("model")
    np.testing.assert_allclose(table["r"].dropna().astype(float), [mean], rtol=1e-5)


def test_r_of_nothing(two: Run, visit: Visit, charts: Charts) -> None:
    (figure,) = charts(visit("landscape", **LINK_TWO, colour="r"))
    assert [trace["name"] for trace in figure["data"]] == ["not known", "untuned", "oracle"]


@pytest.mark.parametrize("parts", [True, False])
def test_the_order_of_the_early_areas(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish, finish_landscape: LayOut, parts: bool
) -> None:
    """From the higher area to V1v; unions such as V1 are of another kind than parts, and V2 is not in these data."""
    rois = ["V1v", "V2v"] if parts else ["V1", "FFA-1"]
    models = {
        f"subj01 {hemi} {roi} contrastive": n
        for n, (hemi, roi) in enumerate((h, r) for h in ("lh", "rh") for r in rois)
    }
    run = finish_landscape(
        finish_classification({"untuned": 9} | {model: range(n, n + 6) for model, n in models.items()})
    )
    link = {"dataset": "tiny", "roi": rois}
    lines = {}
    for path in ("true", "false"):
        (figure,) = charts(visit("landscape", **link, path=path))
        lines[path] = {t["name"]: t for t in figure["data"] if str(t.get("legendgroup", "")).startswith("path")}
    assert lines["false"] == {}
    if not parts:
        assert lines["true"] == {}
        return
    assert set(lines["true"]) == {"path, left hemisphere", "path, right hemisphere"}
    table = models_of(run)
    for hemi, name in (("lh", "path, left hemisphere"), ("rh", "path, right hemisphere")):
        stops = table.loc[[f"subj01 {hemi} {roi} contrastive" for roi in ("V2v", "V1v")], "inpca_1"]
        np.testing.assert_allclose(lines["true"][name]["x"], stops)


# --- selections and the table -----------------------------------------------------------------------------------------


def test_all_models_are_listed_until_some_are_selected(seven: Run, visit: Visit) -> None:
    at = visit("landscape", **LINK_SEVEN)
    assert set(at.dataframe[0].value["model"]) == {*SEVEN, "oracle"}
    assert "Draw round models on a flat map" in said(at)
    select(at, RIGHT, "oracle")
    assert [each.value for each in at.subheader] == ["Selected models"]
    assert set(at.dataframe[0].value["model"]) == {RIGHT, "oracle"}
    select(at)
    assert len(at.dataframe[0].value) == 8


def test_selections_on_one_of_three_maps(seven: Run, visit: Visit) -> None:
    at = visit("landscape", **LINK_SEVEN, embedding="all three")
    select(at, LEFT)
    assert list(at.dataframe[0].value["model"]) == [LEFT]


@pytest.mark.parametrize("column", ["map", "settings"])
def test_models_lead_to_their_own_pages(seven: Run, visit: Visit, column: str) -> None:
    table = visit("landscape", **LINK_SEVEN).dataframe[0].value.set_index("model")
    assert set(table.loc[["untuned", "oracle"], column]) == {""}
    page, _, query = table.loc[RIGHT, column].partition("?")
    assert page == {"map": "encoding", "settings": "finetune"}[column]
    there = visit(page, **parse_qs(query))
    assert "not here" not in said(there)
    # What that page is about is this very network.
    there.button(key="start").click().run()
    tuned = next(model.finetune for model in seven.spec.models if model.label.endswith(RIGHT))
    assert [run.id for run in Store().runs("finetune")] == [tuned.run_id]


# --- the matrix, the axes, the groups ---------------------------------------------------------------------------------


def bhattacharyya(first: np.ndarray, second: np.ndarray) -> float:
    """Return the dissimilarity of two models, image by image, from the formula."""
    terms = [-np.log(np.sqrt(p * q).sum()) for p, q in zip(first, second, strict=True)]
    return float(np.mean(terms))


def test_the_matrix(
    animals: None,
    visit: Visit,
    charts: Charts,
    offered: Any,
    finish_classification: Finish,
    finish_landscape: LayOut,
) -> None:
    runs = finish_classification(TWO)
    finish_landscape(runs)
    (figure,) = charts(visit("landscape", **LINK_TWO, show="Matrix"))
    P = {name: np.load(run.file("probabilities_classifier.6.npy")).astype(float) for name, run in runs.items()}
    P["oracle"] = np.eye(4)[np.load(runs["untuned"].file("labels.npy"))]
    table = pd.read_csv(io.StringIO(offered["tiny_animals_landscape_matrix.csv"]()), comment="#").set_index("model")
    assert set(table.index) == set(table.columns) == set(P)
    for one in P:
        for other in P:
            expected = 0 if one == other else bhattacharyya(P[one], P[other])
            np.testing.assert_allclose(table.loc[one, other], expected, rtol=1e-5, atol=1e-7)
    (heat,) = [trace for trace in figure["data"] if np.shape(trace.get("z")) == (3, 3)]
    order = [str(name) for name in heat["x"]]
    np.testing.assert_allclose(np.array(heat["z"], float), table.loc[order, order], rtol=1e-5, atol=1e-6)


def test_strips_of_the_matrix(seven: Run, visit: Visit, charts: Charts) -> None:
    for strips, names in {
        "group": {"early", "faces"},
        "hemi": {"lh", "rh"},
        "subject": {"subj01"},
        "method": {"contrastive", "untuned", "oracle"},
        "roi": {"V1", "V2v", "FFA-1"},
    }.items():
        at = visit("landscape", **LINK_SEVEN, show="Matrix", strips=strips)
        assert at.selectbox(key="strips").value == strips
        (figure,) = charts(at)
        assert names <= {trace.get("name") for trace in figure["data"]}


def test_the_axes(seven: Run, visit: Visit, charts: Charts, offered: Any) -> None:
    (figure,) = charts(visit("landscape", **LINK_SEVEN, show="Axes"))
    result = seven.result()
    line = next(trace for trace in figure["data"] if trace["mode"] == "lines")
    np.testing.assert_allclose(line["y"], np.array(result["stress"], float))
    table = pd.read_csv(io.StringIO(offered["tiny_animals_landscape_axes.csv"]()), comment="#")
    assert list(table["axis"]) == list(range(1, len(result["stress"]) + 1))
    np.testing.assert_allclose(table["eigenvalues"], result["eigenvalues"])


def test_groups(seven: Run, visit: Visit, offered: Any) -> None:
    at = visit("landscape", **LINK_SEVEN, show="Groups")
    shown = at.dataframe[0].value
    assert list(zip(shown["among"], shown["by"], shown["n_models"], shown["n_groups"], strict=True)) == [
        ("all", "hemi", 6, 2),
        ("early", "hemi", 4, 2),
        ("all", "early", 6, 2),
    ]
    planted = seven.result()["tests"]
    np.testing.assert_allclose(shown["p"], [test["p"] for test in planted])
    assert shown["p"].between(0, 1).all()
    table = pd.read_csv(io.StringIO(offered["tiny_animals_landscape_tests.csv"]()), comment="#")
    np.testing.assert_allclose(table["statistic"], [test["statistic"] for test in planted])


def test_groups_of_too_few_models(two: Run, visit: Visit) -> None:
    at = visit("landscape", **LINK_TWO, show="Groups")
    assert "Tests need tuned models of two groups or more" in said(at)
    assert len(at.dataframe) == 0


# --- links and downloads ----------------------------------------------------------------------------------------------


def test_a_link_restores_the_page(seven: Run, visit: Visit) -> None:
    link = {"embedding": "MDS", "dimensions": "3", "colour": "accuracy", "path": "true", "readout": "classifier.6"}
    at = visit("landscape", **LINK_SEVEN, **link, task="animals", show="Map")
    assert {key: at.button_group(key=key).value for key in ("embedding", "dimensions", "readout", "show")} == {
        "embedding": "MDS",
        "dimensions": "3",
        "readout": "classifier.6",
        "show": "Map",
    }
    assert at.selectbox(key="colour").value == "accuracy"
    assert at.toggle(key="path").value
    assert "not here" not in said(at)


def test_the_request_is_the_landscape(seven: Run, visit: Visit, offered: Any) -> None:
    visit("landscape", **LINK_SEVEN)
    content = json.loads(offered["tiny_animals_landscape_coordinates.json"]())
    (spec,) = [parse_spec(each) for each in content["specs"]]
    assert spec.run_id == seven.id
    assert content["provenance"]["runs"] == [seven.id]
    assert "landscape of 7 models, classifier.6" in content["provenance"]["method"]


@pytest.mark.parametrize("view", [*VIEWS, "<img src=x>"])
def test_no_traceback_on_hostile_links(two: Run, visit: Visit, view: str) -> None:
    hostile = "<script>alert(1)</script>[x](javascript:0)\x00"
    names = (
        "task",
        "readout",
        "embedding",
        "colour",
        "strips",
        "path",
        "only_done",
        "placed",
        "methods",
        "roi",
        "subjects",
    )
    at = visit("landscape", **LINK_TWO, show=view, dimensions="9", **dict.fromkeys(names, hostile))
    assert "which is not here" in said(at)
    assert "<script>" not in said(at)
