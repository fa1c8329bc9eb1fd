"""The Bottleneck page: its form, every view of really trained tiny networks, submissions, links, advice."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.datasets.base import Dataset
from brainviz.errors import DatasetError
from brainviz.runs.bottleneck_specs import BottleneckSpec, variant_of
from brainviz.runs.specs import SubmissionSpec
from brainviz.runs.store import Run, Store
from brainviz.ui import brain
from brainviz.ui.bottleneck_encoders import label_of
from tests.component import plan_of

Visit = Callable[..., AppTest]
Finish = Callable[..., Run]
Charts = Callable[[AppTest], list[dict[str, Any]]]
Offered = dict[str, Callable[[], Any]]

VIEWS = ("Race", "Ablations", "ROIs", "Map", "Table", "Submission")

#: What makes networks small, in a link and in a request.
SMALL = {"clip_network": "clip_compact", "clip_weights": "demo", "bottleneck_width": "16", "response_components": "3"}
SMALL |= {"feature_components": "5", "bottleneck_epochs": "2"}
LINK = {"dataset": "tiny"} | SMALL


@pytest.fixture
def tiny(serve: Callable[..., None], tiny_root: Path) -> None:
    serve("tiny", tiny_root)


@pytest.fixture
def train(tiny: None, finish_concepts: Finish, tiny_dataset: Dataset) -> Finish:
    """Return a function that leaves a tiny network in the test's cache, really trained once per session."""

    def finish(subject: str = "subj01", **settings: Any) -> Run:
        small = {name: value for name, value in SMALL.items() if not (settings.get("linear") and "width" in name)}
        return finish_concepts(tiny_dataset, kind="bottleneck", subject=subject, **small, **settings)

    return finish


@pytest.fixture
def trained(train: Finish) -> dict[str, Run]:
    """Return two variants of subj01: full of two seeds, and one without a leak."""
    return {"full": train(), "full 1": train(bottleneck_seed=1), "no leak": train(leak=False)}


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)


def keys(elements: Any) -> list[str]:
    return [str(each.key) for each in elements]


def table_in(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), comment="#")


# --- before anything is done ------------------------------------------------------------------------------------------


def test_before_anything_was_trained(tiny: None, visit: Visit) -> None:
    for view in VIEWS[:-1]:
        at = visit("bottleneck", dataset="tiny", show=view)
        assert "Nothing to show for this choice yet. Press “Start training”" in said(at)
        assert at.button_group(key="show").value == view
    at = visit("bottleneck", dataset="tiny", show="Submission")
    assert "There is no finished encoder of this data set yet." in said(at)
    assert {metric.label: metric.value for metric in at.metric}["Runs chosen"] == "1"
    assert Store().runs() == []


def test_nothing_chosen(tiny: None, visit: Visit) -> None:
    for nothing in ({"subjects": ""}, {"variants": ""}, {"pooled": ""}):
        at = visit("bottleneck", **LINK | nothing)
        assert "Choose at least one subject, one to train together with, and a variant." in said(at)
        assert "start" not in keys(at.button)
    at = visit("bottleneck", dataset="tiny", source="layers of a network", feature_layers="")
    assert "Choose at least one layer of the network." in said(at)


def test_a_subject_that_is_not_trained_together_with_others(tiny: None, visit: Visit) -> None:
    at = visit("bottleneck", **LINK, pooled="subj02")
    assert "subj01 is not among the subjects together" in said(at).replace("\\", "")


def test_one_subject_alone_has_no_pretraining(tiny: None, visit: Visit) -> None:
    at = visit("bottleneck", **LINK, pooled="subj01", variants=["full", "no pre-training"])
    assert "“full” is “no pre-training”" in said(at)
    assert {metric.label: metric.value for metric in at.metric}["Runs chosen"] == "1"


def test_start_asks_for_every_subject_variant_and_seed(tiny: None, visit: Visit) -> None:
    link = LINK | {"bottleneck_rate": "0.002", "leak_alpha": "0.05", "test_share": "0.2", "n_bootstrap": "200"}
    at = visit("bottleneck", **link, subjects=["subj01", "subj02"], variants=["linear", "no leak", "full"], seeds="2")
    assert "which is not here" not in said(at)
    assert {metric.label: metric.value for metric in at.metric}["Runs chosen"] == "12"
    at.button(key="start").click().run()
    assert not at.exception
    specs = [run.spec for run in Store().runs("bottleneck")]
    asked = sorted((spec.subject, variant_of(spec), spec.bottleneck_seed) for spec in specs)
    assert asked == sorted(
        (subject, variant, seed)
        for subject in ("subj01", "subj02")
        for variant in ("full", "no leak", "linear")
        for seed in (0, 1)
    )
    for spec in specs:
        assert isinstance(spec, BottleneckSpec)
        assert spec.pretraining is not None
        # The rate was changed by hand, so that it is the linear network's, too.
        assert (spec.bottleneck_rate, spec.features.test_share, spec.n_bootstrap) == (0.002, 0.2, 200)
        assert spec.leak_alpha == (0.05 if variant_of(spec) == "full" else 0.02)
        assert spec.features.subject == "subj01,subj02"
    # One pre-training per variant and seed serves both subjects.
    assert len(Store().runs("pretraining")) == 6
    assert {metric.label: metric.value for metric in at.metric}["In progress"] == "12"


def test_features_from_a_tuned_network(tiny: None, visit: Visit) -> None:
    link = {"dataset": "tiny", "source": "layers of a network", "method": "contrastive", "epochs": "2"}
    link |= {"tuning_subject": "subj02", "tuning_hemi": "rh", "tuning_roi": "V2v"}
    at = visit("bottleneck", **link, feature_layers=["features.5", "classifier.6"], variants=["no pre-training"])
    assert "which is not here" not in said(at)
    at.button(key="start").click().run()
    assert not at.exception
    (spec,) = (run.spec for run in Store().runs("bottleneck"))
    assert isinstance(spec, BottleneckSpec)
    assert spec.pretraining is None
    assert spec.features.layers == ("features.5", "classifier.6")
    tuned = spec.features.finetune
    assert tuned is not None
    assert (tuned.subject, tuned.hemi, tuned.roi, tuned.method, tuned.epochs) == (
        "subj02", "rh", "V2v", "contrastive", 2,
    )  # fmt: skip


def test_features_from_an_untuned_and_a_random_network(tiny: None, visit: Visit) -> None:
    for method, weights in (("untuned", "demo"), ("random", "random")):
        at = visit("bottleneck", dataset="tiny", source="layers of a network", method=method)
        at.button(key="start").click().run()
        assert not at.exception
        spec = Store().runs("bottleneck")[0].spec
        assert isinstance(spec, BottleneckSpec)
        assert (spec.features.source, spec.features.weights, spec.features.image_size) == ("network", weights, 32)


# --- links ------------------------------------------------------------------------------------------------------------


def test_what_a_link_names_in_vain_is_said(trained: dict[str, Run], visit: Visit) -> None:
    strange = dict.fromkeys(("subjects", "variants", "clip_network", "clip_weights", "source"), "nonsense")
    at = visit("bottleneck", **{"dataset": "tiny"} | strange, pooled="subj99")
    for kind in ("subject nonsense", "subject subj99", "variant nonsense", "image-text network nonsense"):
        assert f"The link names the {kind}, which is not here." in said(at)
    assert "The link names the features from nonsense, which is not here." in said(at)
    at = visit("bottleneck", dataset="tiny", source="layers of a network", network="nonsense", feature_layers="fc9")
    assert "The link names the network nonsense, which is not here." in said(at)
    assert "The link names the layer fc9, which is not here." in said(at)
    for view, key, kind in (
        ("Race", "who", "subject"), ("Race", "variant", "variant"), ("ROIs", "areas", "set of ROIs"),
        ("Map", "map_of", "map"), ("Submission", "encoders", "encoder"),
    ):  # fmt: skip
        at = visit("bottleneck", **LINK, show=view, **{key: "nonsense"})
        assert f"The link names the {kind} nonsense, which is not here." in said(at)
    at = visit("bottleneck", **LINK, show="Map", map_of="difference", against="nonsense")
    assert "The link names the encoder nonsense, which is not here." in said(at)


def test_a_view_of_another_page_is_none_of_this_one(trained: dict[str, Run], visit: Visit) -> None:
    at = visit("bottleneck", **LINK, show="Vertices")
    assert at.button_group(key="show").value == "Race"


# --- what is there ----------------------------------------------------------------------------------------------------


def test_the_overview_is_of_the_first_variant(trained: dict[str, Run], visit: Visit) -> None:
    at = visit("bottleneck", **LINK)
    found = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    result = trained["full"].result()
    assert found["Mean r, full"] == (f"{result['r_mean']:.3f}", f"{result['r_low']:.3f} to {result['r_high']:.3f}")
    assert found["Reconstruction ceiling"][0] == f"{result['ceiling_r_mean']:.3f}"
    assert found["r without noise"][0] == f"{result['plain_r_mean']:.3f}"
    assert found["Algonauts score"][0] == f"{result['algonauts_score']:.1f}"
    assert found["Epoch kept"][0] == str(result["epoch"])
    assert "bootstrap over test pictures" in said(at)


def test_a_subject_without_a_noise_ceiling(train: Finish, visit: Visit) -> None:
    train("subj02")
    at = visit("bottleneck", **LINK, subjects="subj02")
    assert "Algonauts score" not in {metric.label for metric in at.metric}
    assert "No Algonauts score of subj02 without a noise ceiling." in said(at)
    assert "noise_ceiling" in said(at).replace("\\", "")


def test_the_race(trained: dict[str, Run], visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("bottleneck", **LINK, seeds="2", variants=["full", "no leak"], show="Race")
    (figure,) = charts(at)
    runs = [trained["full"], trained["full 1"]]
    curves = [json.loads((run.path / "curves.json").read_text()) for run in runs]
    (own,) = [trace for trace in figure["data"] if trace["name"] == "S, left" and trace["xaxis"] == "x2"]
    np.testing.assert_allclose(own["y"], np.mean([each["s_left"] for each in curves], axis=0))
    spec = runs[0].spec
    assert isinstance(spec, BottleneckSpec)
    assert spec.pretraining is not None
    before = Store().run_of(spec.pretraining).json("curves")
    thin = [trace for trace in figure["data"] if trace["name"] == "seed 0" and trace["xaxis"] == "x"]
    np.testing.assert_allclose(thin[0]["y"], before["s_left"])
    assert "**Pre-training on 2 subjects:** " in said(at)
    assert "**Own training:** " in said(at)
    assert "Not done yet: subj01 no leak (1 of 2 seeds)" in said(at).replace("\\", "")
    table = table_in(offered["tiny_subj01_bottleneck_full_race.csv"]())
    assert len(table) == 8
    lags = table_in(offered["tiny_subj01_bottleneck_lags.csv"]())
    assert lags["variant"].tolist() == ["full", "full", "no leak", "no leak"]
    assert (lags["lh"] + lags["rh"] <= 2).all()


def test_a_variant_that_one_subject_lacks(trained: dict[str, Run], train: Finish, visit: Visit) -> None:
    train("subj02")
    both = {"subjects": ["subj01", "subj02"], "variants": ["full", "no leak"], "who": "subj02", "variant": "no leak"}
    for view in ("Race", "Map"):
        at = visit("bottleneck", **LINK, **both, show=view)
        assert "There is no finished network of subj02, no leak." in said(at)
        assert not at.get("plotly_chart")


def test_ablations(trained: dict[str, Run], visit: Visit, charts: Charts, offered: Offered) -> None:
    at = visit("bottleneck", **LINK, variants=["full", "no leak", "MSE"], show="Ablations")
    assert "Not done yet: subj01 MSE" in said(at)
    (figure,) = charts(at)
    drawn = [trace for trace in figure["data"] if trace["marker"].get("size") == 11]
    results = [trained[name].result() for name in ("full", "no leak")]
    np.testing.assert_allclose(drawn[0]["x"], [result["r_mean"] for result in results])
    np.testing.assert_allclose(drawn[1]["x"], [results[1]["r_mean"] - results[0]["r_mean"]])
    table = table_in(offered["tiny_subj01_bottleneck_ablations.csv"]()).set_index("variant")
    np.testing.assert_allclose(table.loc["full", "low"], results[0]["r_low"], rtol=1e-5)
    assert table.loc["no leak", "difference_low"] < table.loc["no leak", "difference_high"]
    np.testing.assert_allclose(table["reconstruction_r"], [result["ceiling_r_mean"] for result in results])
    assert list(table_in(offered["tiny_subj01_bottleneck_seeds.csv"]())["run"]) == [
        trained["full"].id, trained["no leak"].id,
    ]  # fmt: skip
    assert "Over subjects" not in said(at)


def test_ablations_say_what_they_need(trained: dict[str, Run], visit: Visit) -> None:
    assert "Choose further variants above" in said(visit("bottleneck", **LINK, show="Ablations"))
    alone = visit("bottleneck", **LINK, variants="no leak", show="Ablations")
    assert "Differences are to the full network" in said(alone)


def test_two_subjects(trained: dict[str, Run], train: Finish, visit: Visit, charts: Charts, offered: Offered) -> None:
    train("subj02")
    train("subj02", leak=False)
    both = {"subjects": ["subj01", "subj02"], "variants": ["full", "no leak"]}
    at = visit("bottleneck", **LINK, **both, show="Ablations")
    assert "**Over subjects**" in said(at)
    assert "of the mean over 2 subjects (t)" in said(at)
    over = table_in(offered["tiny_2subjects_bottleneck_over.csv"]()).set_index("variant")
    each = table_in(offered["tiny_2subjects_bottleneck_ablations.csv"]())
    np.testing.assert_allclose(over["r"], each.groupby("variant", sort=False)["r"].mean())
    at = visit("bottleneck", **LINK, **both, show="ROIs")
    (figure,) = charts(at)
    bars = [trace for trace in figure["data"] if trace.get("name") == "full" and trace["type"] == "bar"]
    assert len(bars) == 2


def test_rois(trained: dict[str, Run], visit: Visit, charts: Charts, offered: Offered) -> None:
    link = LINK | {"variants": ["full", "no leak"], "show": "ROIs"}
    at = visit("bottleneck", **link)
    (figure,) = charts(at)
    table = trained["full"].table("rois").set_index(["hemi", "roi"])
    (left,) = [
        trace
        for trace in figure["data"]
        if trace.get("name") == "full" and trace["type"] == "bar" and trace["xaxis"] == "x"
    ]
    assert figure["layout"]["xaxis"]["ticktext"] == ["all", "V1v", "V1d", "V2v", "FFA-1"]
    np.testing.assert_allclose(
        left["y"], [table.loc[("lh", roi), "r_mean"] for roi in ("all", "V1v", "V1d", "V2v", "FFA-1")]
    )
    bands = {trace["name"] for trace in figure["data"] if trace.get("base") is not None}
    assert bands == {"reconstruction ceiling", "noise ceiling"}
    saved = table_in(offered["tiny_subj01_bottleneck_rois.csv"]())
    assert set(saved["roi"]) == {"all", "V1v", "V1d", "V2v", "FFA-1"}
    at = visit("bottleneck", **link, areas="Unions")
    assert charts(at)[0]["layout"]["xaxis"]["ticktext"] == ["V1"]
    assert "Choose a set of ROIs." in said(visit("bottleneck", **link, areas=""))


def test_the_table(trained: dict[str, Run], visit: Visit, offered: Offered) -> None:
    visit("bottleneck", **LINK, variants=["full", "no leak"], seeds="2", show="Table")
    table = table_in(offered["tiny_subj01_bottleneck.csv"]())
    assert set(table["run"]) == {run.id for run in trained.values()}
    own = table[table["run"] == trained["full 1"].id].reset_index(drop=True)
    expected = trained["full 1"].table("rois")
    assert (own[["variant", "seed"]].drop_duplicates().to_numpy().tolist()) == [["full", 1]]
    np.testing.assert_allclose(own["r_mean"], expected["r_mean"])
    requests = json.loads(offered["tiny_subj01_bottleneck.json"]())
    assert len(requests["specs"]) == 4


# --- the map ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the maps that the page draws: title, scale and values."""
    maps: list[dict[str, Any]] = []
    draw = brain.show_viewer

    def noted(shown: Any, mesh: str, scale: Any, *rest: Any, **more: Any) -> Any:
        maps.append({"title": shown[0].title, "scale": scale, "values": shown[0].values})
        return draw(shown, mesh, scale, *rest, **more)

    monkeypatch.setattr(brain, "show_viewer", noted)
    return maps


def test_the_map_of_r_and_of_the_ceiling(trained: dict[str, Run], visit: Visit, drawn: list[dict[str, Any]]) -> None:
    at = visit("bottleneck", **LINK, seeds="2", show="Map")
    r = np.mean([run.array("r")[0] for run in (trained["full"], trained["full 1"])], axis=0)
    np.testing.assert_allclose(drawn[-1]["values"]["value"], r)
    assert drawn[-1]["scale"].kind == "sequential"
    assert plan_of(at)["maps"][0]["title"] == "full"
    visit("bottleneck", **LINK, show="Map", map_of="reconstruction ceiling")
    np.testing.assert_allclose(drawn[-1]["values"]["value"], trained["full"].array("reconstruction_r"))


def test_the_map_of_a_difference(
    trained: dict[str, Run], visit: Visit, drawn: list[dict[str, Any]], offered: Offered
) -> None:
    link = LINK | {"variants": ["full", "no leak"], "show": "Map", "map_of": "difference", "variant": "no leak"}
    at = visit("bottleneck", **link)
    expected = trained["no leak"].array("r")[0] - trained["full"].array("r")[0]
    np.testing.assert_allclose(drawn[-1]["values"]["value"], expected)
    scale = drawn[-1]["scale"]
    assert (scale.kind, scale.low) == ("diverging", -scale.high)
    metrics = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    value, between = metrics["Difference"]
    assert float(value.replace("−", "-")) == pytest.approx(np.nanmean(expected), abs=6e-4)
    low, high = (float(end) for end in between.replace("−", "-").split(" to "))
    assert low < np.nanmean(expected) < high
    per_roi = table_in(offered["tiny_subj01_bottleneck_no leak_differences.csv"]())
    assert len(per_roi) == len(trained["full"].table("rois"))
    at = visit("bottleneck", **link, against="reconstruction ceiling")
    np.testing.assert_allclose(
        drawn[-1]["values"]["value"],
        trained["no leak"].array("r")[0] - trained["no leak"].array("reconstruction_r"),
    )
    assert "the ceiling has no resamples" in said(at)


def test_the_difference_to_an_encoding_model(
    trained: dict[str, Run],
    visit: Visit,
    drawn: list[dict[str, Any]],
    spec_of: Callable[..., Any],
    finish_encoding_run: Finish,
    tiny_dataset: Dataset,
) -> None:
    spec = spec_of("encoding", "tiny", "untuned", "rh", "V1", layers=("classifier.6",), n_bootstrap=201)
    r = np.linspace(0, 0.5, len(tiny_dataset.columns("subj01", "rh", "V1")))
    encoding = finish_encoding_run(spec, tiny_dataset, r[None])
    link = LINK | {"show": "Map", "map_of": "difference", "against": label_of(encoding)}
    at = visit("bottleneck", **link)
    values = drawn[-1]["values"]
    assert set(values["hemi"]) == {"rh"}
    network = trained["full"]
    mine = network.array("r")[0][network.json("areas")[1]["start"] :][values["column"]]
    np.testing.assert_allclose(values["value"], mine - encoding.array("r")[0])
    assert plan_of(at)["maps"][0]["title"].startswith("full − subj01 rh V1: untuned alexnet_compact")
    metrics = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert metrics["Mean r, other"][0] == "0.250"
    # The two were resampled differently.
    assert not metrics["Difference"][1]
    assert "share no resamples" in said(at)


def test_a_picked_vertex_has_its_value_said(trained: dict[str, Run], visit: Visit) -> None:
    run = trained["full"]
    at = visit("bottleneck", **LINK, show="Map", vertex=f"lh {int(run.array('positions')[5])}")
    assert f"full at lh {int(run.array('positions')[5])}: {run.array('r')[0][5]:.3f}" in said(at)


# --- submissions ------------------------------------------------------------------------------------------------------


def test_a_submission_is_asked_for(trained: dict[str, Run], visit: Visit) -> None:
    at = visit("bottleneck", **LINK, show="Submission")
    assert at.multiselect(key="encoders").value == [label_of(trained["full"])]
    at.button(key="start_submission").click().run()
    assert not at.exception
    (spec,) = (run.spec for run in Store().runs("submission"))
    assert isinstance(spec, SubmissionSpec)
    assert [encoder.run_id for encoder in spec.encoders] == [trained["full"].id]
    assert "1 run in progress" in said(at)
    assert "start_submission" not in keys(at.button)


def test_a_submission_is_handed_over(
    trained: dict[str, Run], visit: Visit, finish_concepts: Finish, tiny_dataset: Dataset, offered: Offered
) -> None:
    run = finish_concepts(tiny_dataset, kind="submission", encoders=trained["no leak"].id)
    link = LINK | {"show": "Submission", "encoders": label_of(trained["no leak"])}
    at = visit("bottleneck", **link)
    assert {metric.label: metric.value for metric in at.metric}["Test pictures"] == "4"
    assert {metric.label: metric.value for metric in at.metric}["Not predicted"] == "0"
    with zipfile.ZipFile(io.BytesIO(offered[f"tiny_submission_{run.id[:8]}.zip"]())) as archive:
        assert archive.namelist() == ["subj01/lh_pred_test.npy", "subj01/rh_pred_test.npy"]
        for name in archive.namelist():
            predicted = np.load(io.BytesIO(archive.read(name)))
            assert (predicted.shape, predicted.dtype) == ((4, 120), np.float32)
            np.testing.assert_array_equal(predicted, np.load(run.file(name)))
        about = json.loads(archive.comment)
    assert about["runs"] == [run.id, trained["no leak"].id]


def test_encoders_that_cannot_be_together(trained: dict[str, Run], visit: Visit) -> None:
    at = visit("bottleneck", **LINK, show="Submission", encoders=[label_of(run) for run in trained.values()])
    assert "named twice" in said(at)
    assert "start_submission" not in keys(at.button)
    assert "Choose at least one encoder." in said(visit("bottleneck", **LINK, show="Submission", encoders=""))


def test_a_subject_without_test_pictures(
    trained: dict[str, Run], visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Any:
        raise DatasetError("subj01 has no test pictures.", expected="pictures in test_split/test_images")

    monkeypatch.setattr("brainviz.runs.bottleneck_requests.test_picture_digests", none)
    at = visit("bottleneck", **LINK, show="Submission")
    assert "subj01 has no test pictures" in said(at)
    assert "Mean r, full" in {metric.label for metric in at.metric}
