"""The Encoding page: nothing run, untuned alone, both, without a mesh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs.store import Run, Store

Visit = Callable[..., AppTest]
Metrics = Callable[[AppTest], dict[str, str]]
Finish = Callable[..., list[Run]]


@pytest.fixture
def tiny(serve: Callable[..., None], tiny_root: Path) -> None:
    serve("tiny", tiny_root)


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


@pytest.mark.parametrize(("layers", "count"), [("logits", 1), ("all", 8)])
def test_layers(tiny: None, visit: Visit, layers: str, count: int) -> None:
    at = visit("encoding", dataset="tiny", layers=layers)
    at.button(key="start").click().run()
    assert {len(run.spec.model_dump()["layers"]) for run in Store().runs("features")} == {count}


def test_untuned_alone(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned"])
    at = visit("encoding", dataset="tiny")
    assert metrics(at)["Mean r, untuned"] == "0.254"
    assert metrics(at)["Mean r, contrastive"] == "not run yet"
    assert metrics(at)["Difference"] == "–"
    assert any("This map needs both methods" in info.value for info in at.info)


@pytest.mark.parametrize("quantity", ["untuned", "contrastive", "difference"])
def test_both_methods(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish, quantity: str) -> None:
    finish_encoding("tiny", ["untuned", "contrastive"])
    at = visit("encoding", dataset="tiny", map=quantity, view="posterior", surface="pial")
    assert metrics(at)["Difference"] == "+0.100"
    assert metrics(at)["Vertices improved"] == "100%"
    assert metrics(at)["Vertices"] == "116"
    # One vertex per hemisphere and method is constant.
    assert any(caption.value.startswith("4 values of r are undefined") for caption in at.caption)
    assert list(at.dataframe[0].value["nan_vertices"]) == [1, 1, 1, 1]


def test_one_hemisphere_alone(tiny: None, visit: Visit, metrics: Metrics, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned", "contrastive"], ["rh"])
    at = visit("encoding", dataset="tiny")
    assert metrics(at)["Already done"] == "2"
    assert metrics(at)["Vertices"] == "58"


def test_the_map_begins_with_the_difference(tiny: None, visit: Visit, finish_encoding: Finish) -> None:
    finish_encoding("tiny", ["untuned", "contrastive"])
    assert visit("encoding", dataset="tiny").button_group(key="map").value == "difference"


def test_without_a_mesh(serve: Callable[..., None], tiny_copy: Path, visit: Visit, finish_encoding: Finish) -> None:
    text = (tiny_copy / "dataset.toml").read_text()
    (tiny_copy / "dataset.toml").write_text(text.replace('"fsaverage5"', '"none"'))
    serve("tiny", tiny_copy)
    finish_encoding("tiny", ["untuned", "contrastive"])
    at = visit("encoding", dataset="tiny")
    assert any("has no mesh" in info.value for info in at.info)


def test_no_roi_chosen(tiny: None, visit: Visit) -> None:
    assert "Choose at least one" in visit("encoding", dataset="tiny", roi="").info[0].value
