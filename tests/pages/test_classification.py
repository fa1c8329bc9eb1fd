"""The Classification page: tasks to be named and read, then every view of planted results, links and downloads."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from streamlit.testing.v1 import AppTest

from brainviz.runs import preparation
from brainviz.runs.preparation import Preparation
from brainviz.runs.specs import ClassificationSpec, parse_spec
from brainviz.runs.store import Run, Store

Visit = Callable[..., AppTest]
Metrics = Callable[[AppTest], dict[str, str]]
Finish = Callable[[Mapping[str, Any]], dict[str, Run]]
Charts = Callable[[AppTest], list[dict[str, Any]]]

VIEWS = ("Accuracy", "Trade-off", "Confusion", "Pictures", "Table")
LINK = {"dataset": "tiny", "hemi": "lh"}
LEFT, RIGHT = "subj01 lh V1 contrastive", "subj01 rh V1 contrastive"

#: What each model gets of the 12 test pictures, at the logits and at the layer before.
PLANTED = {"untuned": (range(9), range(6)), LEFT: (range(8, 12), range(2, 10))}


def said(at: AppTest) -> str:
    """Return what the page says in its notes."""
    return "\n".join(each.value for group in (at.caption, at.info, at.warning, at.markdown, at.error) for each in group)


def keys(at: AppTest) -> list[str]:
    """Return the keys of the page's buttons."""
    return [str(button.key) for button in at.button]


def traces(figure: dict[str, Any]) -> dict[str, Any]:
    """Return the named traces of a figure."""
    return {trace["name"]: trace for trace in figure["data"] if trace.get("name")}


def table_in(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), comment="#", keep_default_na=False)


# --- the task ---------------------------------------------------------------------------------------------------------


def test_without_a_task_the_page_says_how_to_name_one(serve: Any, tiny_root: Path, visit: Visit) -> None:
    serve("tiny", tiny_root)
    at = visit("classification", dataset="tiny")
    assert "Add a table [tasks] to brainviz.toml" in at.info[0].value
    assert keys(at) == []
    assert "task" not in [box.key for box in at.selectbox]


def test_a_task_is_read_at_a_click_and_then_the_page_is_there(
    serve: Any,
    serve_task: Any,
    tiny_root: Path,
    tiny_task_root: Path,
    visit: Visit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve("tiny", tiny_root)
    serve_task("animals", tiny_task_root, read=False)

    def read_now(name: str) -> Preparation:
        monkeypatch.setattr("sys.argv", ["preparation", name])
        assert preparation.main() == 0
        return Preparation("ready")

    monkeypatch.setattr(preparation, "start", read_now)
    at = visit("classification", **LINK)
    assert "have not been read yet" in said(at)
    assert keys(at) == ["read_task"]
    at.button(key="read_task").click().run()
    assert not at.exception
    assert "read_task" not in keys(at)
    assert "start" in keys(at)


def test_progress_while_a_task_is_read(
    serve: Any, serve_task: Any, tiny_root: Path, tiny_task_root: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("tiny", tiny_root)
    serve_task("animals", tiny_task_root, read=False)
    status = preparation.status

    def half_way(name: str) -> Preparation:
        return Preparation("running", 40, 80, "reading pictures") if name == "task:animals" else status(name)

    monkeypatch.setattr(preparation, "status", half_way)
    at = visit("classification", **LINK)
    assert keys(at) == []
    assert "You may leave this page" in said(at)


def test_a_failed_reading_says_why_and_can_be_tried_again(
    serve: Any, serve_task: Any, tiny_root: Path, tiny_task_root: Path, tmp_path: Path, visit: Visit, monkeypatch: Any
) -> None:
    damaged = Path(shutil.copytree(tiny_task_root, tmp_path / "damaged"))
    (damaged / "dog" / "03.png").write_bytes(b"no picture")
    serve("tiny", tiny_root)
    serve_task("animals", damaged, read=False)
    monkeypatch.setattr("sys.argv", ["preparation", "task:animals"])
    assert preparation.main() == 1
    at = visit("classification", **LINK)
    assert "cannot be read" in at.error[0].value
    assert r"dog/03.png" in at.error[0].value
    assert keys(at) == ["read_task"]


def test_a_link_may_name_a_task_that_is_not_here(animals: None, visit: Visit) -> None:
    at = visit("classification", **LINK, task="demo-objects")
    assert r"The link names the task demo\-objects, which is not here" in said(at)
    assert at.selectbox(key="task").value == "animals"


# --- before anything is done ------------------------------------------------------------------------------------------


def test_before_anything_was_run(animals: None, visit: Visit, metrics: Metrics) -> None:
    at = visit("classification", dataset="tiny")
    # Untuned is one run for both hemispheres.
    assert metrics(at)["Runs chosen"] == "3"
    assert "Press “Start classification”" in said(at)
    assert not (Store().root / "classification").exists()


def test_start(animals: None, visit: Visit) -> None:
    methods = ["untuned", "random", "regression", "contrastive"]
    at = visit("classification", **LINK, methods=methods, epochs="2", regularisation="0.5")
    at.button(key="start").click().run()
    assert not at.exception
    specs = [run.spec for run in Store().runs("classification")]
    assert all(isinstance(spec, ClassificationSpec) for spec in specs)
    assert {spec.method for spec in specs} == set(methods)
    assert {(spec.task, spec.readouts, spec.regularisation) for spec in specs} == {
        ("animals", ("classifier.6", "classifier.5"), 0.5)
    }
    assert {spec.finetune.epochs for spec in specs if spec.method == "contrastive"} == {2}
    assert "start" not in keys(at)


@pytest.mark.parametrize("key", ["subjects", "hemi", "roi", "methods"])
def test_nothing_chosen(animals: None, visit: Visit, key: str) -> None:
    assert "Choose at least one" in said(visit("classification", **({"dataset": "tiny"} | {key: ""})))


def test_what_a_subject_lacks(animals: None, visit: Visit) -> None:
    at = visit("classification", **LINK, subjects="subj02", roi="FFA-1")
    assert "enough vertices" in said(at)
    assert "start" not in keys(at)


# --- accuracy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("readout", "untuned", "left"), [("classifier.6", 9, 4), ("classifier.5", 6, 8)])
def test_bars_are_the_planted_accuracies(
    animals: None,
    visit: Visit,
    charts: Charts,
    finish_classification: Finish,
    readout: str,
    untuned: int,
    left: int,
) -> None:
    runs = finish_classification(PLANTED)
    at = visit("classification", **LINK, readout=readout)
    drawn = traces(charts(at)[0])
    np.testing.assert_allclose(drawn["contrastive"]["y"], [left / 12])
    # Untuned knows no ROI: a line across.
    assert drawn["untuned"]["mode"] == "lines"
    np.testing.assert_allclose(drawn["untuned"]["y"], untuned / 12)
    labels = np.load(runs["untuned"].file("labels.npy"))
    np.testing.assert_allclose(drawn["chance"]["y"], np.bincount(labels).max() / 12)
    assert f"12 test pictures of animals, classified from {readout}" in said(at)


def test_another_readout_at_a_click(animals: None, visit: Visit, charts: Charts, finish_classification: Finish) -> None:
    finish_classification(PLANTED)
    at = visit("classification", **LINK)
    np.testing.assert_allclose(traces(charts(at)[0])["contrastive"]["y"], [4 / 12])
    at.button_group(key="readout").set_value("classifier.5").run()
    np.testing.assert_allclose(traces(charts(at)[0])["contrastive"]["y"], [8 / 12])


def test_one_panel_per_hemisphere_and_untuned_in_each(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish
) -> None:
    finish_classification({"untuned": 9, LEFT: 8, RIGHT: 3})
    (figure,) = charts(visit("classification", dataset="tiny"))
    bars = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert sorted(float(y) for bar in bars for y in bar["y"] if y == y) == pytest.approx([3 / 12, 8 / 12])
    assert sum(trace.get("name") == "untuned" for trace in figure["data"]) == 2


def test_what_is_done_is_shown_while_the_rest_is_not(
    animals: None, visit: Visit, metrics: Metrics, charts: Charts, finish_classification: Finish
) -> None:
    finish_classification({LEFT: 8})
    at = visit("classification", dataset="tiny")
    assert metrics(at)["Already done"] == "1"
    drawn = traces(charts(at)[0])
    np.testing.assert_allclose(drawn["contrastive"]["y"], [8 / 12])
    assert "untuned" not in drawn


# --- the trade-off ----------------------------------------------------------------------------------------------------


def test_the_trade_off_says_what_is_missing(animals: None, visit: Visit, finish_classification: Finish) -> None:
    finish_classification({LEFT: 8})
    link = LINK | {"show": "Trade-off"}
    # Untuned not chosen; chosen, but not done; done, but nothing is encoded.
    assert "choose it among the methods" in said(visit("classification", **link, methods="contrastive"))
    text = said(visit("classification", **link))
    assert "choose it among the methods" not in text
    assert "The trade-off needs the untuned network: press “Start classification”" in text
    finish_classification({"untuned": 9})
    at = visit("classification", **link)
    assert "no network here has been encoded yet" in said(at)
    at.button(key="start_encoding").click().run()
    assert not at.exception
    encodings = [run.spec for run in Store().runs("encoding")]
    assert {(spec.method, spec.areas) for spec in encodings} == {
        (method, (("lh", "V1"),)) for method in ("untuned", "contrastive")
    }
    # Both networks' features, and the tuning, come before.
    assert "5 runs in progress" in said(at)


def test_the_trade_off_holds_gain_and_drop(
    animals: None, visit: Visit, charts: Charts, offered: Any, finish_classification: Finish, finish_encoding: Any
) -> None:
    finish_classification({"untuned": range(9), LEFT: range(1, 8), RIGHT: range(12)})
    finish_encoding("tiny", ["untuned", "contrastive"])
    at = visit("classification", dataset="tiny", show="Trade-off")
    (figure,) = charts(at)
    points = {trace["name"]: (trace["x"], trace["y"]) for trace in figure["data"] if "text" in trace["mode"]}
    # r of contrastive is 0.1 more than that of untuned, everywhere.
    np.testing.assert_allclose(points["V1, left hemisphere"], [[0.1], [100 * 2 / 12]], rtol=1e-5)
    np.testing.assert_allclose(points["V1, right hemisphere"], [[0.1], [-100 * 3 / 12]], rtol=1e-5)
    assert "start_encoding" not in keys(at)
    table = table_in(offered["tiny_animals_trade-off.csv"]()).set_index("hemi")
    np.testing.assert_allclose(table.loc[["lh", "rh"], "drop"], [2 / 12, -3 / 12])
    # McNemar's exact test: of the pictures that one alone gets, all on one side.
    exact = [stats.binomtest(0, n).pvalue for n in (2, 3)]
    np.testing.assert_allclose(table.loc[["lh", "rh"], "p"], exact)
    assert (table["drop_low"] < table["drop"]).all()
    assert (table["drop"] < table["drop_high"]).all()


def test_the_trade_off_is_of_the_readout_shown(
    animals: None, visit: Visit, charts: Charts, finish_classification: Finish, finish_encoding: Any
) -> None:
    finish_classification({"untuned": (9, 9), LEFT: (6, 12)})
    finish_encoding("tiny", ["untuned", "contrastive"], ["lh"])
    for readout, drop in (("classifier.6", 3), ("classifier.5", -3)):
        (figure,) = charts(visit("classification", **LINK, show="Trade-off", readout=readout))
        np.testing.assert_allclose(traces(figure)["V1, left hemisphere"]["y"], [100 * drop / 12])


# --- confusions -------------------------------------------------------------------------------------------------------


def answers(run: Run, right: range) -> tuple[np.ndarray, np.ndarray]:
    """Return the true classes, and what a planted model says: the class after the true one where it is wrong."""
    labels = np.load(run.file("labels.npy"))
    return labels, np.where(np.isin(np.arange(12), right), labels, (labels + 1) % 4)


def counted(rows: np.ndarray, columns: np.ndarray) -> list[list[int]]:
    """Return how many pictures there are for each pair of classes."""
    return [[int(((rows == i) & (columns == j)).sum()) for j in range(4)] for i in range(4)]


def test_confusion_of_one_model(
    animals: None, visit: Visit, charts: Charts, offered: Any, finish_classification: Finish
) -> None:
    runs = finish_classification(PLANTED)
    at = visit("classification", **LINK, show="Confusion")
    assert (at.selectbox(key="one").value, at.selectbox(key="other").value) == ("untuned", None)
    expected = counted(*answers(runs["untuned"], range(9)))
    (figure,) = charts(at)
    np.testing.assert_array_equal(traces(figure)["off"]["customdata"], expected)
    table = table_in(offered["tiny_animals_true-class_untuned_confusion.csv"]())
    assert list(table.columns) == ["true class / untuned", "cat", "dog", "fish", "owl"]
    np.testing.assert_array_equal(table.iloc[:, 1:], expected)
    # Another model, at a click.
    at.selectbox(key="one").select(LEFT).run()
    np.testing.assert_array_equal(
        traces(charts(at)[0])["off"]["customdata"], counted(*answers(runs[LEFT], range(8, 12)))
    )


def test_confusion_of_two_models(
    animals: None, visit: Visit, charts: Charts, offered: Any, finish_classification: Finish
) -> None:
    runs = finish_classification(PLANTED)
    at = visit("classification", **LINK, show="Confusion", one="untuned", other=LEFT)
    mine, theirs = answers(runs["untuned"], range(9))[1], answers(runs[LEFT], range(8, 12))[1]
    (figure,) = charts(at)
    np.testing.assert_array_equal(traces(figure)["off"]["customdata"], counted(mine, theirs))
    stem = f"tiny_animals_untuned_{LEFT.replace(' ', '-')}"
    table = offered[f"{stem}_confusion.csv"]()
    assert table_in(table).columns[0] == f"untuned / {LEFT}"
    # Of the runs that there are, those of the two models alone.
    assert runs["untuned"].id in table
    assert runs[LEFT].id in table
    assert sum(run.id in table for run in runs.values()) == 2
    text = said(at)
    assert "is right in 75.0%, " in text
    assert "in 33.3% of 12 pictures: a difference of +41.7 percentage points" in text
    # Untuned alone gets 8 pictures, the other alone 3.
    assert f"p {stats.binomtest(3, 11).pvalue:.3g}." in text


# --- pictures ---------------------------------------------------------------------------------------------------------


def captions(at: AppTest) -> list[str]:
    return [caption for image in at.get("image") for caption in image.captions]


def test_pictures_that_only_one_gets(animals: None, visit: Visit, finish_classification: Finish, offered: Any) -> None:
    runs = finish_classification(PLANTED)
    at = visit("classification", **LINK, show="Pictures")
    assert (at.selectbox(key="one").value, at.selectbox(key="other").value) == ("untuned", LEFT)
    group = at.button_group(key="gets")
    assert list(group.options) == ["only untuned", f"only {LEFT}", "neither"]
    assert f"Of 12 test pictures: only untuned 8, only {LEFT} 3, neither 0." in said(at)
    assert "8 of 8 pictures" in said(at)
    labels, names = np.load(runs["untuned"].file("labels.npy")), ("cat", "dog", "fish", "owl")
    certainty = np.linspace(0.5, 0.9, 12)

    def words(number: int, first: int, second: int) -> str:
        """Return the caption of a test picture; the answers are so many classes after the true one."""
        true, one, other = (names[(labels[number] + shift) % 4] for shift in (0, first, second))
        return f"{true}: {one} {certainty[number]:.0%}, {other} {certainty[number]:.0%}".replace(":", r"\:")

    # The most certain first: certainty rises with the picture's number.
    assert captions(at) == [words(number, 0, 1) for number in range(7, -1, -1)]
    group.set_value(f"only {LEFT}").run()
    assert captions(at) == [words(number, 1, 0) for number in (11, 10, 9)]
    at.button_group(key="gets").set_value("neither").run()
    assert captions(at) == []
    assert "There is no such picture" in said(at)


def test_answers_to_take_away(animals: None, visit: Visit, finish_classification: Finish, offered: Any) -> None:
    runs = finish_classification(PLANTED)
    visit("classification", **LINK, show="Pictures")
    text = offered["tiny_animals_answers.csv"]()
    assert f"# runs: {runs['untuned'].id} {runs[LEFT].id}\n" in text
    table = table_in(text)
    names = np.array(["cat", "dog", "fish", "owl"])
    labels, mine = answers(runs["untuned"], range(9))
    assert list(table["class"]) == list(names[labels])
    assert list(table["untuned"]) == list(names[mine])
    assert list(table[LEFT]) == list(names[answers(runs[LEFT], range(8, 12))[1]])
    assert list(table["right_in_first"]) == [number < 9 for number in range(12)]
    assert list(table["right_in_second"]) == [number >= 8 for number in range(12)]
    # A picture's id begins with its class's folder.
    assert [name.split("/")[0] for name in table["picture"]] == list(table["class"])


def test_one_model_alone(animals: None, visit: Visit, charts: Charts, finish_classification: Finish) -> None:
    finish_classification({"untuned": 9})
    for view in VIEWS:
        at = visit("classification", **LINK, methods="untuned", show=view)
        assert ("This needs two models with results" in said(at)) == (view == "Pictures")
        assert len(charts(at)) == (view in ("Accuracy", "Confusion"))


# --- the table, downloads and links -----------------------------------------------------------------------------------


def test_the_table_has_every_model_once(
    animals: None, visit: Visit, finish_classification: Finish, offered: Any
) -> None:
    runs = finish_classification({"untuned": 9, LEFT: 8, RIGHT: 3})
    at = visit("classification", dataset="tiny", show="Table")
    shown = at.dataframe[0].value
    assert list(shown["model"]) == ["untuned", LEFT, RIGHT]
    np.testing.assert_allclose(shown["accuracy"], [9 / 12, 8 / 12, 3 / 12])
    np.testing.assert_allclose(shown["high"] - shown["accuracy"], 0.05)
    table = table_in(offered["tiny_animals_models.csv"]())
    assert list(table["run"]) == [run.id for run in runs.values()]
    assert list(table["group"]) == ["", "early", "early"]


def test_downloads_of_the_accuracy(animals: None, visit: Visit, finish_classification: Finish, offered: Any) -> None:
    runs = finish_classification(PLANTED)
    visit("classification", **LINK, readout="classifier.5")
    text = offered["tiny_animals_accuracy.csv"]()
    assert "classifier.5" in text.partition("\nmodel")[0]
    table = table_in(text).set_index("model")
    np.testing.assert_allclose(table.loc[["untuned", LEFT], "accuracy"], [6 / 12, 8 / 12])
    requests = json.loads(offered["tiny_animals_accuracy.json"]())
    assert {parse_spec(spec).run_id for spec in requests["specs"]} == {run.id for run in runs.values()}
    assert "<html" in offered["tiny_animals_accuracy.html"]()


def test_a_link_restores_the_page(animals: None, visit: Visit, finish_classification: Finish) -> None:
    finish_classification({"untuned": (9, range(5)), LEFT: (8, range(4, 10)), RIGHT: 3})
    link = {"readout": "classifier.5", "show": "Pictures", "one": LEFT, "other": "untuned", "gets": "neither"}
    at = visit("classification", dataset="tiny", task="animals", **link)
    assert at.selectbox(key="task").value == "animals"
    assert (at.selectbox(key="one").value, at.selectbox(key="other").value) == (LEFT, "untuned")
    shown = {key: at.button_group(key=key).value for key in ("readout", "show", "gets")}
    assert shown == {key: link[key] for key in shown}
    # Pictures 10 and 11 are those that neither gets at this layer.
    assert len(captions(at)) == 2
    assert "not here" not in said(at)


def test_a_link_may_name_what_is_not_there(animals: None, visit: Visit, finish_classification: Finish) -> None:
    finish_classification(PLANTED)
    at = visit("classification", **LINK, show="Pictures", one="nobody", other="subj09", readout="features.2")
    for words in ("model nobody", "model subj09", "layer features.2"):
        assert f"The link names the {words}, which is not here" in said(at)
    assert (at.selectbox(key="one").value, at.selectbox(key="other").value) == ("untuned", LEFT)
    assert at.button_group(key="readout").value == "classifier.6"


@pytest.mark.parametrize("view", [*VIEWS, "../../etc/passwd"])
def test_no_traceback_on_hostile_links(animals: None, visit: Visit, finish_classification: Finish, view: str) -> None:
    finish_classification(PLANTED)
    hostile = "<script>alert(1)</script>[x](javascript:0)\x00"
    names = ("task", "readout", "one", "other", "gets", "methods", "roi", "subjects", "network", "weights")
    at = visit("classification", **LINK, show=view, **dict.fromkeys(names, hostile), regularisation="-1", epochs="1e9")
    assert "which is not here" in said(at)
    assert "<script>" not in said(at)
