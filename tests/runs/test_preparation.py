"""Checking a data set for the app happens in a process of its own, once, and is remembered."""

import json
import os
import shutil
import signal
import time

import pytest

from brainviz.datasets import open_dataset
from brainviz.datasets.index import build_index
from brainviz.errors import DatasetError
from brainviz.runs import preparation
from brainviz.runs.remembered import memo_dir


@pytest.fixture
def named(tiny_copy, tmp_path, monkeypatch, cache):
    """Name the tiny data set ``my/data`` in a brainviz.toml; return its folder."""
    config = tmp_path / "brainviz.toml"
    config.write_text(f'[datasets]\n"my/data" = "{tiny_copy}"\n')
    monkeypatch.setenv("BRAINVIZ_CONFIG", str(config))
    return tiny_copy


def prepared(name):
    deadline = time.monotonic() + 30
    while (status := preparation.status(name)).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return status


def test_a_check_ends_with_a_report(named):
    assert preparation.status("my/data").state == "absent"
    assert preparation.report("my/data") is None
    assert preparation.start("my/data").state == "running"
    assert prepared("my/data").state == "ready"
    report = preparation.report("my/data")
    dataset = open_dataset(named)
    assert report.index.fingerprint == build_index(dataset, memo_dir()).fingerprint
    assert [problem.level for problem in report.problems] == ["warning"]
    assert {row["subject"] for row in report.table} == {"subj01", "subj02"}


def test_two_sessions_start_one_check(named):
    preparation.start("my/data")
    (folder,) = (memo_dir().parents[1] / "preparation").iterdir()
    process = json.loads((folder / "state.json").read_text())["process"]
    preparation.start("my/data")
    assert json.loads((folder / "state.json").read_text())["process"] == process
    assert prepared("my/data").state == "ready"


def test_a_change_of_the_files_makes_the_report_old(named):
    preparation.start("my/data")
    prepared("my/data")
    first, second = sorted((named / "subj01/training_split/training_images").iterdir())[:2]
    shutil.copy(first, second)
    assert preparation.status("my/data").state == "absent"
    assert preparation.report("my/data") is None


def test_a_data_set_with_errors_is_ready_with_its_problems(named):
    next((named / "subj01/training_split/training_images").iterdir()).write_bytes(b"no picture")
    preparation.start("my/data")
    assert prepared("my/data").state == "ready"
    report = preparation.report("my/data")
    assert "" in report.index.subjects["subj01"].image_digests
    assert "error" in {problem.level for problem in report.problems}


@pytest.mark.parametrize("damage", ["no folder", "bad settings"])
def test_a_data_set_that_cannot_be_opened_is_ready_with_its_problem(named, damage):
    if damage == "no folder":
        shutil.rmtree(named)
    else:
        (named / "dataset.toml").write_text("mesh = 5")
    preparation.start("my/data")
    assert prepared("my/data").state == "ready"
    report = preparation.report("my/data")
    assert report.index is None
    assert report.errors


def test_a_killed_check_is_not_taken_for_a_running_one(named):
    picture = next((named / "subj01/training_split/training_images").iterdir())
    picture.unlink()
    os.mkfifo(picture)  # reading it blocks
    preparation.start("my/data")
    (folder,) = (memo_dir().parents[1] / "preparation").iterdir()
    os.kill(json.loads((folder / "state.json").read_text())["process"]["pid"], signal.SIGKILL)
    assert prepared("my/data").state == "failed"
    assert "interrupted" in preparation.status("my/data").message


@pytest.mark.parametrize("function", [preparation.start, preparation.status, preparation.report])
def test_a_path_is_no_name(named, function):
    with pytest.raises(DatasetError, match="no data set of this name"):
        function(str(named))
