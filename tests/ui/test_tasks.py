"""The classification task that a page is about, and the layer that is classified from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from brainviz.config import cache_dir
from brainviz.datasets.tasks import build_task_index, open_task
from brainviz.runs import preparation
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.store import Run
from brainviz.ui import tasks
from brainviz.ui.sources import Source


@pytest.fixture
def own_task(source: Source, serve_task: Callable[..., None], tiny_task_root: Path, tmp_path: Path) -> Path:
    """Return the folder of a task that is named ``animals``, not read yet, and may be changed."""
    folder = tmp_path / "animals"
    folder.symlink_to(tiny_task_root)
    serve_task("animals", folder, read=False)
    return folder


def found(folder: Path) -> tasks.TaskSource | None:
    """Return what the page finds, now."""
    tasks._task.clear()
    return tasks._task("animals", str(folder), str(cache_dir()))


def read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["preparation", preparation.task_key("animals")])
    assert preparation.main() == 0


def test_a_task_is_there_once_it_was_read(own_task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(own_task) is None
    read(monkeypatch)
    task = found(own_task)
    assert task is not None
    assert (task.task.name, task.task.classes) == ("animals", ("cat", "dog", "fish", "owl"))
    assert len(task.task) == 80
    assert task.fingerprint == build_task_index(open_task("animals"), memo_dir()).fingerprint


def test_a_task_whose_pictures_changed_is_to_be_read_again(
    source: Source, serve_task: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    folder = tmp_path / "animals"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    serve_task("animals", folder)
    before = found(folder)
    assert before is not None
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / "dog" / "0.png")
    assert found(folder) is None
    read(monkeypatch)
    after = found(folder)
    assert after is not None
    assert after.fingerprint != before.fingerprint


def test_classes_are_read_from_the_run(
    source: Source, serve_task: Callable[..., None], tiny_task_root: Path, finish_classification_run: Callable[..., Run]
) -> None:
    serve_task("animals", tiny_task_root)
    settings = {"network": "alexnet_compact", "weights": "demo", "image_size": 32, "task": "animals"}
    spec = make_spec("classification", source.dataset, source.index, subject="subj01", method="untuned", **settings)
    assert tasks.classes_of(finish_classification_run(spec, 5)) == ["cat", "dog", "fish", "owl"]


def layers(network: str) -> None:
    """Draw the choice of the layer; runs as a script of its own."""
    import streamlit as st

    from brainviz.ui.tasks import pick_readout

    st.write(f"classified from {pick_readout(network)}")


@pytest.mark.parametrize(
    ("network", "offered"),
    [("alexnet_compact", ["classifier.6", "classifier.5"]), ("squeezenet1_1", ["classifier"])],
)
def test_the_logits_come_first(network: str, offered: list[str]) -> None:
    at = AppTest.from_function(layers, args=(network,), default_timeout=30).run()
    assert not at.exception
    assert list(at.button_group(key="readout").options) == offered
    assert at.markdown[-1].value == f"classified from {offered[0]}"


def test_a_link_chooses_the_layer_or_is_told_that_there_is_none() -> None:
    for asked, shown in (("classifier.5", "classifier.5"), ("features.2", "classifier.6")):
        at = AppTest.from_function(layers, args=("alexnet_compact",), default_timeout=30)
        at.query_params["readout"] = asked
        at.run()
        assert at.markdown[-1].value == f"classified from {shown}"
        assert [each.value for each in at.warning] == (
            [] if asked == shown else ["The link names the layer features.2, which is not here."]
        )
