"""The Data page: not read, being read, read, with errors, changed, without a mesh."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from brainviz.runs import preparation
from brainviz.runs.preparation import Preparation

Visit = Callable[..., AppTest]
Serve = Callable[..., None]


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def test_a_newcomer_is_told_where_to_start(cache: Path, visit: Visit) -> None:
    at = visit("data")
    assert at.title[0].value == "Data"
    assert "Start here" in at.info[0].value
    assert labels(at) == ["Make and read the demo"]


def test_looking_starts_nothing(cache: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(name: str) -> None:
        raise AssertionError("a visit started something")

    monkeypatch.setattr(preparation, "start", never)
    for page in ("data", "finetune", "encoding"):
        visit(page)
    assert not (cache / "runs").exists()


def test_reading_is_one_click(serve: Serve, tiny_root: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    serve("tiny", tiny_root, read=False)
    started = []
    monkeypatch.setattr(preparation, "start", started.append)
    at = visit("data", dataset="tiny")
    assert "has not been read yet" in at.info[0].value
    at.button(key="read").click().run()
    assert started == ["tiny"]


def test_progress_while_it_is_read(
    serve: Serve, tiny_root: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve("tiny", tiny_root, read=False)
    monkeypatch.setattr(preparation, "status", lambda name: Preparation("running", 30, 120, "checking files"))
    at = visit("data", dataset="tiny")
    assert labels(at) == []
    assert "You may leave this page" in at.caption[0].value


def test_what_is_there(
    serve: Serve, tiny_root: Path, visit: Visit, metrics: Callable[[AppTest], dict[str, str]]
) -> None:
    serve("tiny", tiny_root)
    at = visit("data", dataset="tiny")
    assert metrics(at)["Subjects"] == "2"
    assert metrics(at)["Pictures"] == "80"
    assert len(at.dataframe[0].value) == 4


@pytest.mark.parametrize("tab", ["Pictures", "ROI sizes", "ROIs on the cortex", "Check"])
@pytest.mark.parametrize("subject", ["subj01", "subj02"])
def test_every_tab(serve: Serve, tiny_root: Path, visit: Visit, tab: str, subject: str) -> None:
    serve("tiny", tiny_root)
    at = visit("data", dataset="tiny", tab=tab, subject=subject)
    assert at.selectbox(key="subject").value == subject


def test_rois_on_the_cortex(serve: Serve, tiny_root: Path, visit: Visit) -> None:
    serve("tiny", tiny_root)
    at = visit("data", dataset="tiny", tab="ROIs on the cortex", subject="subj02", surface="flat", shown=["V1", "V2v"])
    (viewer,) = at.get("bidi_component")
    plan = json.loads(viewer.proto.json)
    assert plan["summary"] == "subj02: vertices per ROI: V1 116, V2v 52."
    assert (plan["scale"]["kind"], plan["scale"]["names"]) == ("categorical", ["V1", "V2v"])
    assert (plan["look"]["surface"], plan["look"]["borders"]) == ("flat", [])
    assert set(plan["rois"]["names"]) == {"V1v", "V1d", "V2v", "FFA-1", "V1"}
    assert plan["ceiling"] is None  # subj02 has none


def test_problems_are_named(serve: Serve, tiny_copy: Path, visit: Visit) -> None:
    responses = tiny_copy / "subj02/training_split/training_fmri/lh_training_fmri.npy"
    np.save(responses, np.load(responses)[:-3])
    serve("tiny", tiny_copy)
    at = visit("data", dataset="tiny")
    assert at.error[0].value.startswith("1 error found")
    problem = next(error.value for error in at.error if "fmri" in error.value)
    assert "subj02" in problem
    assert "40" in problem  # the number of pictures, which the rows should have
    assert labels(at) == ["Read the data set"]


def test_one_subjects_errors_leave_the_others(serve: Serve, tiny_copy: Path, visit: Visit) -> None:
    next((tiny_copy / "subj02/roi_masks").glob("lh.prf*challenge*")).write_bytes(b"damaged")
    serve("tiny", tiny_copy)
    errors = [error.value for error in visit("data", dataset="tiny", tab="ROI sizes").error]
    assert "found in this data set" in errors[0]
    assert errors[1:]
    assert all("subj02" in error for error in errors[1:])
    for page in ("finetune", "encoding"):
        assert not visit(page, dataset="tiny").error


def test_files_that_changed_are_read_again(serve: Serve, tiny_copy: Path, visit: Visit) -> None:
    serve("tiny", tiny_copy)
    responses = tiny_copy / "subj02/training_split/training_fmri/lh_training_fmri.npy"
    np.save(responses, 2 * np.load(responses))
    assert labels(visit("data", dataset="tiny")) == ["Read the data set"]


def test_without_a_mesh(serve: Serve, tiny_copy: Path, visit: Visit) -> None:
    text = (tiny_copy / "dataset.toml").read_text()
    (tiny_copy / "dataset.toml").write_text(text.replace('"fsaverage5"', '"none"'))
    serve("tiny", tiny_copy)
    at = visit("data", dataset="tiny", tab="ROIs on the cortex")
    assert any("has no mesh" in info.value for info in at.info)


def test_a_path_is_no_data_set(cache: Path, visit: Visit, tiny_root: Path) -> None:
    at = visit("data", dataset=str(tiny_root))
    assert at.selectbox(key="dataset").value == "demo"
    assert "which is not here" in at.warning[0].value


def test_a_broken_configuration_is_explained(
    cache: Path, tmp_path: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.toml").write_text("[dataset]\n")
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(tmp_path / "broken.toml"))
    assert "unknown table" in visit("data").error[0].value
