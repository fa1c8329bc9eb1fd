"""The computing process: adopts only what it was given, and records what it did."""

import os
import sys

import pytest

from brainviz.errors import RunError, SpecError
from brainviz.runs import execute as execute_module
from brainviz.runs.execute import execute, facts, reason_of
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.store import change_state


@pytest.fixture
def mine(queued, finetune_spec):
    """Return a run that this process's parent gave to it."""
    run = queued(finetune_spec())
    parent = ProcessIdentity.of(os.getppid())
    assert change_state(run, {"queued"}, "running", worker=parent)
    return run


@pytest.fixture(autouse=True)
def _no_watch(monkeypatch):
    monkeypatch.setattr(execute_module, "watch", lambda folder, parent: None)


def test_a_run_that_nobody_gave_is_not_touched(queued, finetune_spec):
    run = queued(finetune_spec())
    with pytest.raises(RunError, match="not this process's"):
        execute(run.path, os.getppid())
    assert run.state == "queued"


def test_a_failure_is_written_down_and_leaves_no_results(mine, capfd):
    (mine.path / "half.npy").touch()
    assert execute(mine.path, os.getppid()) == 1
    status = mine.status()
    assert (status.state, status.process) == ("failed", ProcessIdentity.current())
    assert "Nothing is known of the data set" in status.reason
    assert not (mine.path / "half.npy").exists()
    assert "Traceback" in capfd.readouterr().err


def test_reasons(tmp_path):
    assert reason_of(SpecError("It is wrong.", got="this"), tmp_path) == "It is wrong.\nGot: this"
    assert reason_of(KeyError("x"), tmp_path) == f"KeyError: 'x'\nThe whole story is in {tmp_path}."


def test_facts_of_the_computation():
    import torch

    found = facts("cpu", 0.0)
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["threads"] == torch.get_num_threads()
    assert 50e6 < found["peak_memory_bytes"] < 1e12
    assert found["peak_device_memory_bytes"] is None
    assert found["seconds"] == found["finished"]
