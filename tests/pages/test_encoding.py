"""The Encoding page: nothing run, some methods done, every view of planted results, of one subject and of two."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from streamlit.testing.v1 import AppTest

from brainviz.datasets.base import Dataset
from brainviz.runs.network_specs import FinetuneSpec
from brainviz.runs.requests import compare
from brainviz.runs.specs import ComparisonSpec
from brainviz.runs.store import Run, Store
from brainviz.ui import brain
from tests.component import plan_of

Visit = Callable[..., AppTest]
Metrics = Callable[[AppTest], dict[str, str]]
Finish = Callable[..., list[Run]]

VIEWS = ("ROIs", "Groups", "Vertices", "Layers", "Map", "Tests", "Table")
BOTH, LAYERS = ("untuned", "contrastive"), ("classifier.5", "classifier.6")
ALL_LAYERS = (
    *("features.2", "features.5", "features.7", "features.9", "features.12"),
    *("classifier.2", "classifier.5", "classifier.6"),
)


@pytest.fixture
def tiny(serve: Callable[..., None], tiny_root: Path) -> None:
    serve("tiny", tiny_root)


@pytest.fixture
def without_ceiling(serve: Callable[..., None], tiny_copy: Path) -> None:
    for file in (tiny_copy / "subj01/noise_ceiling").iterdir():
        file.unlink()
    serve("tiny", tiny_copy)


@pytest.fixture
def finish_tests(finish_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that writes a finished permutation test of the second half of the runs against the first."""

    def finish(runs: list[Run], q: float) -> Run:
        def of(method: str) -> list:
            return [run.spec for run in runs if run.spec.method == method]

        spec = compare(of("contrastive"), of("untuned"))
        rows = pd.DataFrame([{"hemi": hemi, "roi": roi} for hemi, roi in spec.areas]).assign(
            layer_first="classifier.6", layer_second="classifier.6", n_vertices=58, r_first=0.354, r_second=0.254
        )
        rows = rows.assign(difference=0.1, low=0.08, high=0.12, improved=1.0, p=q / 2, q=q)
        return finish_run(spec, {"n_rois": len(rows)}, tables={"rois": rows})

    return finish


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown) for each in group)


def look_at(at: AppTest, view: str) -> None:
    at.button_group(key="show").set_value(view).run()
    assert not at.exception, [error.message for error in at.exception]
    assert at.button_group(key="show").value == view


# --- the bottleneck network beside encoding models --------------------------------------------------------------------


@pytest.fixture
def whole_cortex(serve: Callable[..., None], tiny_copy: Path) -> None:
    """Serve a tiny data set whose usual bottleneck network is quick."""
    with (tiny_copy / "dataset.toml").open("a") as file:
        file.write(
            'clip_network = "clip_compact"\nclip_weights = "demo"\nresponse_components = 3\nfeature_components = 5\n'
            "bottleneck_width = 16\nbottleneck_epochs = 2\nbottleneck_rate = 1e-2\nbottleneck_validation = 0.2\n"
        )
    serve("tiny", tiny_copy)


def test_the_bottleneck_network_is_a_method(
    whole_cortex: None, visit: Visit, computed: Callable[..., Run], metrics: Metrics
) -> None:
    url = {"dataset": "tiny", "methods": ("untuned", "bottleneck"), "roi": ("V1v", "FFA-1"), "hemi": "lh"}
    at = visit("encoding", **url)
    assert metrics(at)["Runs chosen"] == "3"
    at.button(key="start").click().run()
    asked = [run.spec for kind in ("bottleneck", "encoding") for run in Store().runs(kind)]
    assert [spec.kind for spec in asked] == ["bottleneck", "encoding", "encoding"]
    for run in Store().runs():
        shutil.rmtree(run.path)
    network, *models = [computed(spec) for spec in asked]
    at = visit("encoding", **url)
    own = network.table("rois").set_index(["hemi", "roi"])["r_mean"]
    expected = np.mean([own["lh", roi] for roi in url["roi"]])
    assert metrics(at)["Mean r, bottleneck"] == f"{expected:.3f}"
    untuned = np.mean([model.result()["r_mean"] for model in models])
    assert metrics(at)["Difference"] == f"{expected - untuned:+.3f}"
    for view in VIEWS:
        look_at(at, view)
    # It has one layer, and nothing that the authors' protocol could choose by.
    at.selectbox(key="layer").set_value("classifier.6").run()
    assert metrics(at)["Mean r, bottleneck"] == f"{expected:.3f}"
    at.selectbox(key="score").set_value("authors' protocol").run()
    assert not at.exception
    assert metrics(at)["Mean r, bottleneck"] == "–"
    for view in VIEWS:
        look_at(at, view)
    assert visit("encoding", **url | {"methods": "bottleneck"})


# --- before anything is done ------------------------------------------------------------------------------------------


def test_before_anything_was_run(tiny: None, visit: Visit, metrics: Metrics) -> None:
    at = visit("encoding", dataset="tiny")
    assert metrics(at)["Runs chosen"] == "4"
    assert "Press “Start encoding”" in at.info[0].value
    assert not (Store().root / "encoding").exists()


def test_start(tiny: None, visit: Visit, metrics: Metrics) -> None:
    at = visit("encoding", dataset="tiny", epochs="2")
    at.button(key="start").click().run()
    assert not at.exception
    assert metrics(at)["In progress"] == "4"
    assert len(Store().runs("encoding")) == 4
    assert {run.spec.model_dump()["epochs"] for run in Store().runs("finetune")} == {2}


def test_every_method_has_its_own_settings(tiny: None, visit: Visit) -> None:
    at = visit(
        "encoding",
        dataset="tiny",
        hemi="lh",
        methods=["untuned", "random", "regression", "contrastive"],
        epochs="2",
        regression_epochs="3",
    )
    at.button(key="start").click().run()
    assert {run.spec.method for run in Store().runs("encoding")} == {"untuned", "random", "regression", "contrastive"}
    tuned = [run.spec for run in Store().runs("finetune") if isinstance(run.spec, FinetuneSpec)]
    assert {spec.method: (spec.epochs, spec.learning_rate) for spec in tuned} == {
        "contrastive": (2, 1e-4),
        "regression": (3, 2.5e-5),
    }


@pytest.mark.parametrize(("layers", "count"), [("logits", 1), ("all", 8)])
def test_layers(tiny: None, visit: Visit, layers: str, count: int) -> None:
    at = visit("encoding", dataset="tiny", layers=layers)
    at.button(key="start").click().run()
    assert {len(run.spec.model_dump()["layers"]) for run in Store().runs("features")} == {count}


@pytest.mark.parametrize("key", ["subjects", "hemi", "roi", "methods"])
def test_nothing_chosen(tiny: None, visit: Visit, key: str) -> None:
    assert "Choose at least one" in visit("encoding", dataset="tiny", **{key: ""}).info[0].value


# --- the summary ------------------------------------------------------------------------------------------------------


def test_one_subject_in_numbers(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    at = visit("encoding", dataset="tiny")
    # 0 to 0.5 over 58 vertices, the first left out; twice.
    mean = np.linspace(0, 0.5, 58)[1:].mean()
    assert metrics(at)["Mean r, untuned"] == f"{mean:.3f}"
    assert metrics(at)["Mean r, contrastive"] == f"{mean + 0.1:.3f}"
    assert metrics(at)["Difference"] == "+0.100"
    assert metrics(at)["Vertices improved"] == "100%"
    assert metrics(at)["Vertices"] == "116"
    between = {metric.label: metric.delta for metric in at.metric}
    # Replicates are the mean -0.02 to +0.02, evenly, the same for all: their differences do not vary.
    assert between["Mean r, untuned"] == f"{mean - 0.019:.3f} to {mean + 0.019:.3f}"
    assert between["Difference"] == "+0.100 to +0.100"
    assert between["Vertices improved"] == ""
    assert "bootstrap over the 6 test pictures" in said(at)
    # One vertex per hemisphere and method is constant.
    assert "4 values of r undefined" in said(at)


def test_two_subjects_in_numbers(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, ["lh"], subjects=["subj01", "subj02"], better=0.04)
    at = visit("encoding", dataset="tiny", hemi="lh", subjects=["subj01", "subj02"])
    assert metrics(at)["Difference"] == "+0.120"
    # 0.1 and 0.14: the t interval of their mean, from its formula.
    reach = stats.t.ppf(0.975, 1) * np.std([0.1, 0.14], ddof=1) / np.sqrt(2)
    between = {metric.label: metric.delta for metric in at.metric}
    assert between["Difference"] == f"{0.12 - reach:+.3f} to {0.12 + reach:+.3f}"
    assert between["Vertices improved"] == "100% to 100%"
    assert "over 2 subjects" in said(at)
    assert "bootstrap over" not in said(at)


def test_a_method_that_is_not_done(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned"])
    at = visit("encoding", dataset="tiny")
    assert metrics(at)["Mean r, contrastive"] == "not run yet"
    assert metrics(at)["Difference"] == "–"
    assert metrics(at)["Already done"] == "2"
    assert "needs the contrastive runs: “Start encoding”" in said(at)


def test_every_view_goes_with_one_method(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned"], rois=["V1v"])
    at = visit("encoding", dataset="tiny", roi="V1v")
    for methods in (["untuned", "contrastive"], ["untuned"]):
        at.button_group(key="methods").set_value(methods)
        for view in VIEWS:
            look_at(at, view)


def test_methods_are_compared_where_all_have_results(
    tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish
) -> None:
    finish_encoding("tiny", BOTH, ["rh"], rois=["V1"])
    finish_encoding("tiny", ["untuned"], ["lh"], rois=["V1"])
    at = visit("encoding", dataset="tiny")
    assert metrics(at)["Difference"] == "+0.100"
    assert "over 1 ROI " in said(at)


def test_a_subject_that_is_behind_is_named(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, ["lh"])
    finish_encoding("tiny", ["untuned"], ["lh"], subjects=["subj02"])
    at = visit("encoding", dataset="tiny", hemi="lh", subjects=["subj01", "subj02"])
    assert "Left out until all its methods are done: subj02" in said(at)
    assert "bootstrap over the 6 test pictures" in said(at)


def test_what_a_subject_lacks_is_left_out_with_a_word(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, ["rh"], rois=["FFA-1"], subjects=["subj01", "subj02"])
    finish_encoding("tiny", BOTH, ["lh"], rois=["FFA-1"])
    at = visit("encoding", dataset="tiny", roi="FFA-1", subjects=["subj01", "subj02"])
    assert "FFA-1 of subj02 in the left hemisphere" in said(at)
    assert "over 1 to 2 ROIs" in said(at)


def test_the_authors_protocol_is_labelled(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    at = visit("encoding", dataset="tiny", score="authors' protocol")
    # Fake cv_r of a method's own layer: 0.3 above r for the first method, 0 for the second; one layer here.
    mean = np.linspace(0, 0.5, 58)[1:].mean()
    assert metrics(at)["Mean r, untuned"] == f"{mean + 0.3:.3f}"
    assert {metric.label: metric.delta for metric in at.metric}["Mean r, untuned"] == ""
    assert "optimistic" in said(at)
    assert "ceiling" not in said(at)


def test_own_best_and_one_layer(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    """Untuned is best at the first layer, contrastive at the second, which has 0.02 less on test pictures."""
    finish_encoding("tiny", BOTH, layers=ALL_LAYERS)
    link = {"dataset": "tiny", "layers": "all"}
    assert metrics(visit("encoding", **link))["Difference"] == "+0.080"
    at = visit("encoding", **link, layer="features.2")
    assert metrics(at)["Difference"] == "+0.100"
    assert list(at.selectbox(key="layer").options) == ["own best", *ALL_LAYERS]


def test_any_two_methods(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    methods = ["untuned", "random", "regression", "contrastive"]
    finish_encoding("tiny", methods)
    link = {"dataset": "tiny", "methods": methods}
    at = visit("encoding", **link)
    assert (at.selectbox(key="a").value, at.selectbox(key="b").value) == ("contrastive", "untuned")
    at = visit("encoding", **link, a="regression", b="random")
    assert metrics(at)["Difference"] == "+0.150"
    at.selectbox(key="b").select("regression").run()
    assert "the same method" in said(at)
    assert "Difference" not in metrics(at)
    # What is no longer chosen is no longer compared.
    at.button_group(key="methods").set_value(["untuned", "contrastive"]).run()
    assert not at.exception
    assert metrics(at)["Difference"] == "+0.100"


# --- the noise ceiling ------------------------------------------------------------------------------------------------


def test_ceiling(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    r = np.linspace(0, 0.5, 58)[1:]
    # The planted ceiling is 0.8 everywhere.
    text = said(visit("encoding", dataset="tiny"))
    assert f"untuned **{(r / np.sqrt(0.8)).mean():.2f}** of its ceiling" in text
    assert f"mean Algonauts score of the ROIs **{(100 * r**2 / 0.8).mean():.1f}**" in text
    assert "No noise ceiling" not in text


def test_without_a_ceiling_the_page_says_what_would_give_it(
    without_ceiling: None, visit: Visit, finish_encoding: Finish
) -> None:
    finish_encoding("tiny", BOTH)
    text = said(visit("encoding", dataset="tiny"))
    assert "No noise ceiling: subj01 left hemisphere, subj01 right hemisphere" in text
    assert r"noise\_ceiling/lh\_noise\_ceiling.npy" in text
    assert "Algonauts" not in text


# --- the views --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subjects", [["subj01"], ["subj01", "subj02"]])
def test_every_view(tiny: None, visit: Visit, finish_encoding: Finish, subjects: list[str]) -> None:
    finish_encoding("tiny", BOTH, ["rh"], rois=["V1v", "FFA-1"], subjects=subjects, layers=ALL_LAYERS)
    link = {"dataset": "tiny", "hemi": "rh", "roi": ["V1v", "FFA-1"], "subjects": subjects, "layers": "all"}
    at = visit("encoding", **link, published="true")
    for view in VIEWS:
        look_at(at, view)
        assert len(at.get("plotly_chart")) == {"ROIs": 3, "Map": 0, "Tests": 0, "Table": 0}.get(view, 1)
        assert len(at.get("bidi_component")) == (view == "Map")
        assert at.get("download_button") or view == "Tests"
        asked_whose = "Subject shown" in [box.label for box in at.selectbox]
        assert asked_whose == (view in ("Vertices", "Map") and len(subjects) > 1)
        assert ("arXiv 2410.06067" in said(at)) == (view in ("ROIs", "Groups"))
        assert "Published Algonauts scores" in said(at)
        if view == "Groups":
            beside = [frame.value for frame in at.dataframe if "improved, published" in frame.value]
            assert [list(frame["improved, published"].dropna().unique()) for frame in beside] == [[0.83, 0.93, 0.78]]


def test_published_values_are_said_to_be_missing(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    text = said(visit("encoding", dataset="tiny", published="true"))
    assert "Nothing is published for these ROIs" in text
    assert "arXiv" not in text


def test_groups(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, ["lh"], rois=["V1v", "V1d"], subjects=["subj01", "subj02"], better=0.04)
    link = {"dataset": "tiny", "hemi": "lh", "roi": ["V1v", "V1d"], "subjects": ["subj01", "subj02"], "show": "Groups"}
    over, per_subject, differences, by_subject = (frame.value for frame in visit("encoding", **link).dataframe)
    assert list(over["group"].unique()) == ["all ROIs", "early"]
    assert list(over["n_subjects"].unique()) == [2]
    mean = np.mean([np.linspace(0, 0.5, n)[1:].mean() for n in (30, 28)])
    early = per_subject[(per_subject["group"] == "early") & (per_subject["method"] == "contrastive")]
    np.testing.assert_allclose(early["r"], [mean + 0.1, mean + 0.14])
    np.testing.assert_allclose(by_subject["difference"], [0.1, 0.1, 0.14, 0.14])
    np.testing.assert_allclose(differences[differences["of"] == "difference"]["mean"], [0.12, 0.12])


def test_unions_are_in_no_group(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    assert "V1v, V1d, hV4" in said(visit("encoding", dataset="tiny", show="Groups"))


def test_all_vertices_report_every_roi(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, ["lh"], rois=["all"])
    at = visit("encoding", dataset="tiny", hemi="lh", roi="all", show="Table")
    assert list(at.dataframe[0].value["roi"].unique()) == ["all", "V1v", "V1d", "V2v", "FFA-1", "V1"]
    # The numbers above are of what was chosen.
    assert metrics(at)["Vertices"] == "120"
    assert metrics(at)["Difference"] == "+0.100"
    assert "parts of “all”" in said(visit("encoding", dataset="tiny", hemi="lh", roi="all"))
    groups = visit("encoding", dataset="tiny", hemi="lh", roi="all", show="Groups").dataframe[0].value
    assert list(groups["group"].unique()) == ["all ROIs", "early", "higher", "faces"]


def test_a_roi_of_its_own_is_reported_from_its_own_run(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    runs = finish_encoding("tiny", BOTH, ["lh"], rois=["all", "V1v"])
    at = visit("encoding", dataset="tiny", hemi="lh", roi=["all", "V1v"], show="Table")
    table = at.dataframe[0].value
    own = next(run.id[:8] for run in runs if (run.spec.roi, run.spec.method) == ("V1v", "untuned"))
    chosen = table[(table["roi"] == "V1v") & (table["method"] == "untuned")]
    assert list(chosen["run"]) == [own]


def test_maps(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    at = visit("encoding", dataset="tiny", show="Map", camera="posterior", surface="pial")
    assert at.button_group(key="map").value == "difference"
    titles = {"difference": "contrastive − untuned", "untuned": "untuned", "contrastive": "contrastive"}
    for quantity, title in titles.items():
        at.button_group(key="map").set_value(quantity).run()
        assert not at.exception
        assert not at.info
        plan = plan_of(at)
        assert [each["title"] for each in plan["maps"]] == [title]
        assert (plan["look"]["surface"], plan["look"]["cameras"]) == ("pial", ["posterior"])
        assert plan["look"]["borders"] == ["V1"]
        assert plan["scale"]["kind"] == ("diverging" if quantity == "difference" else "sequential")
        assert "Only ROIs" not in json.dumps(plan)


def test_two_maps_beside_each_other(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    plan = plan_of(visit("encoding", dataset="tiny", show="Map", map="untuned", beside="contrastive"))
    assert [each["title"] for each in plan["maps"]] == ["untuned", "contrastive"]
    # 0 to 0.5, and 0.1 more, without the first: on one scale.
    lows, highs = zip(*((each["low"], each["high"]) for each in plan["maps"]), strict=True)
    assert len(set(lows)) == len(set(highs)) == 1
    np.testing.assert_allclose([lows[0], highs[0]], [0.5 / 57, 0.6])


def test_a_link_picks_a_vertex(tiny: None, visit: Visit, finish_encoding: Finish, tiny_dataset: Dataset) -> None:
    finish_encoding("tiny", BOTH)
    positions = tiny_dataset.positions("subj01", "rh")
    assert positions is not None
    inside = int(positions[tiny_dataset.columns("subj01", "rh", "V1")][20])
    link = {"dataset": "tiny", "show": "Map"}
    assert "Click a vertex" in said(visit("encoding", **link))
    at = visit("encoding", **link, vertex=f"rh {inside}")
    assert plan_of(at)["picked"] == {"hemi": "rh", "vertices": [inside]}
    assert "Click a vertex" not in said(at)
    assert "Column 20 of the responses of subj01" in said(at)
    assert "**In** V1v, V1." in said(at)


@pytest.mark.parametrize(
    ("vertex", "words"),
    [
        ("lh 0", "No vertex of the chosen ROIs of subj01 is there"),
        ("rh 999999", "fsaverage5 has no vertex 999999: they are numbered from 0 to 10241"),
    ],
)
def test_a_link_may_pick_a_vertex_without_results(
    tiny: None, visit: Visit, finish_encoding: Finish, vertex: str, words: str
) -> None:
    finish_encoding("tiny", BOTH)
    assert words in said(visit("encoding", dataset="tiny", show="Map", vertex=vertex))


@pytest.mark.parametrize(("q", "found"), [(0.01, True), (0.2, False)])
def test_a_map_of_what_tests_found(
    tiny: None,
    visit: Visit,
    finish_encoding: Finish,
    finish_tests: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    q: float,
    found: bool,
) -> None:
    finish_tests(finish_encoding("tiny", BOTH), q)
    shown: list[Any] = []
    show_viewer = brain.show_viewer

    def noted(*args: Any, **options: Any) -> None:
        shown.append(options["tested"])
        show_viewer(*args, **options)

    monkeypatch.setattr(brain, "show_viewer", noted)
    link = {"dataset": "tiny", "show": "Map"}
    assert "q < 0.05" in plan_of(visit("encoding", **link))["tested"]["label"]
    assert any(len(positions) for positions in shown[-1].positions.values()) == found
    assert plan_of(visit("encoding", **link, map="untuned"))["tested"] is None


def test_a_map_that_is_not_there(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned"])
    assert "This map needs results of both A and B" in said(visit("encoding", dataset="tiny", show="Map"))
    assert "needs the contrastive runs" in said(visit("encoding", dataset="tiny", show="Map", map="contrastive"))


def test_without_a_mesh(serve: Callable[..., None], tiny_copy: Path, visit: Visit, finish_encoding: Finish) -> None:
    text = (tiny_copy / "dataset.toml").read_text()
    (tiny_copy / "dataset.toml").write_text(text.replace('"fsaverage5"', '"none"'))
    serve("tiny", tiny_copy)
    finish_encoding("tiny", BOTH)
    at = visit("encoding", dataset="tiny", show="Map")
    assert any("has no mesh" in info.value for info in at.info)


# --- permutation tests ------------------------------------------------------------------------------------------------


def test_tests_are_started_one_per_subject(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH, subjects=["subj01", "subj02"])
    link = {"dataset": "tiny", "subjects": ["subj01", "subj02"], "show": "Tests", "layer": "classifier.6"}
    at = visit("encoding", **link)
    assert not (Store().root / "comparison").exists()
    at.button(key="start_tests").click().run()
    assert not at.exception
    specs = [run.spec for run in Store().runs("comparison")]
    assert all(isinstance(spec, ComparisonSpec) for spec in specs)
    assert {(spec.subject, spec.layer, spec.first[0].method, spec.second[0].method) for spec in specs} == {
        (subject, "classifier.6", "contrastive", "untuned") for subject in ("subj01", "subj02")
    }
    assert {spec.areas for spec in specs} == {(("lh", "V1"), ("rh", "V1"))}
    assert "2 runs in progress" in said(at)
    assert "start_tests" not in [button.key for button in at.button]


@pytest.mark.parametrize(("q", "significant"), [(0.01, 2), (0.2, 0)])
def test_what_tests_found(
    tiny: None, visit: Visit, finish_encoding: Finish, finish_tests: Callable[..., Run], q: float, significant: int
) -> None:
    finish_tests(finish_encoding("tiny", BOTH), q)
    at = visit("encoding", dataset="tiny", show="Tests")
    assert list(at.dataframe[0].value["q"]) == [q, q]
    assert f"Of 2 ROIs, contrastive is better in {significant} and untuned in 0" in said(at)
    assert "start_tests" not in [button.key for button in at.button]
    assert "not tested yet" not in said(visit("encoding", dataset="tiny"))


def test_untested_differences_say_where_to_test(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", BOTH)
    assert "not tested yet" in said(visit("encoding", dataset="tiny"))
