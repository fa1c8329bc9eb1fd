"""The store: only the manifest means done, writes are whole or absent, and a dead process is seen."""

import hashlib
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from brainviz.errors import DatasetError, RunError
from brainviz.runs import store as store_module
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.store import (
    MANIFEST,
    RESULT,
    STATE,
    abandon,
    append_event,
    atomic_file,
    change_state,
    write_array,
    write_json,
    write_manifest,
)


@pytest.fixture
def run(queued, finetune_spec):
    return queued(finetune_spec())


@pytest.fixture
def running(run):
    """Return a run that this process computes."""
    assert change_state(run, {"queued"}, "running", process=ProcessIdentity.current())
    return run


def finish(run):
    write_array(run.path / "r.npy", np.arange(3.0))
    write_json(run.path / RESULT, {"loss": 1.5})
    write_manifest(run, {"seconds": 2.0}, ProcessIdentity.current())


def test_a_manifest_and_nothing_else_means_done(running):
    write_array(running.path / "r.npy", np.arange(3.0))
    write_json(running.path / RESULT, {"loss": 1.5})
    assert running.state == "running"
    with pytest.raises(RunError, match="state running"):
        running.result()
    write_manifest(running, {"seconds": 2.0}, ProcessIdentity.current())
    assert running.state == "done"
    assert running.result() == {"loss": 1.5}
    (running.path / MANIFEST).unlink()
    assert running.state == "running"


def test_a_manifest_holds_digests_and_sizes_of_the_results(running):
    finish(running)
    files = running.manifest()["files"]
    assert set(files) == {"r.npy", "result.json", "spec.json"}
    for name, facts in files.items():
        content = (running.path / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_results_are_read_by_name_and_without_pickle(running):
    write_array(running.path / "r.npy", np.arange(3.0))
    np.save(running.path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    write_manifest(running, {}, ProcessIdentity.current())
    assert isinstance(running.array("r"), np.memmap)
    np.testing.assert_array_equal(running.array("r"), np.arange(3.0))
    assert running.has("r.npy")
    with pytest.raises(RunError, match="no file"):
        running.array("q")
    with pytest.raises(DatasetError, match="objects"):
        running.array("objects")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"half")])
def test_a_result_that_is_gone_or_cut_is_never_read(running, damage):
    finish(running)
    damage(running.path / "r.npy")
    with pytest.raises(RunError, match="damaged"):
        running.array("r")


def test_only_who_computes_a_run_may_finish_it(run):
    elsewhere = replace(ProcessIdentity.current(), started=0.0)
    change_state(run, {"queued"}, "running", process=ProcessIdentity.current())
    with pytest.raises(RunError, match="no longer this process's"):
        write_manifest(run, {}, elsewhere)
    assert not abandon(run, "failed", "?", elsewhere)
    assert run.state == "running"


def test_an_abandoned_run_keeps_its_log_and_loses_its_results(running):
    write_array(running.path / "r.npy", np.arange(3.0))
    (running.path / "scratch").mkdir()
    (running.path / "scratch/large.npy").touch()
    (running.path / ".r.npy.0.tmp").touch()
    (running.path / "log.txt").write_text("what happened")
    append_event(running, {"event": "note", "text": "hello"})
    assert abandon(running, "cancelled", "no more", ProcessIdentity.current())
    assert running.status().state == "cancelled"
    assert running.status().reason == "no more"
    left = {path.name for path in running.path.iterdir()}
    assert left == {".lock", "events.jsonl", "log.txt", "spec.json", "state.json"}


def test_a_dead_process_makes_a_run_lost(run, dead_process):
    change_state(run, {"queued"}, "running", process=dead_process)
    assert run.state == "lost"
    assert "gone" in run.status().reason


def test_a_number_used_again_does_not_make_a_run_live(run):
    now = ProcessIdentity.current()
    change_state(run, {"queued"}, "running", process=replace(now, started=now.started - 60))
    assert run.state == "lost"


def test_a_worker_that_lives_answers_for_its_child(run, dead_process):
    change_state(run, {"queued"}, "running", process=dead_process, worker=ProcessIdentity.current())
    assert run.state == "running"


def test_another_host_is_judged_by_its_heartbeat(run):
    far = replace(ProcessIdentity.current(), host="elsewhere")
    change_state(run, {"queued"}, "running", process=far)
    assert run.state == "lost"
    heartbeat = run.path / "heartbeat"
    heartbeat.touch()
    assert run.state == "running"
    old = time.time() - store_module.HEARTBEAT_LIMIT_SECONDS - 5
    os.utime(heartbeat, (old, old))
    assert run.state == "lost"


def test_the_last_word_of_a_dead_process_counts(run, dead_process, monkeypatch):
    change_state(run, {"queued"}, "running", process=dead_process)
    look = store_module._anyone_computes

    def ends_meanwhile(path, status):
        answer = look(path, status)
        write_json(path / STATE, asdict(replace(status, state="failed", reason="out of luck")))
        return answer

    monkeypatch.setattr(store_module, "_anyone_computes", ends_meanwhile)
    assert run.status().reason == "out of luck"


def test_a_step_is_taken_from_the_right_state_only(run):
    assert not change_state(run, {"running"}, "failed")
    assert run.state == "queued"


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_json_holds_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"r": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_events_are_lines_and_a_half_written_one_is_left_out(run):
    append_event(run, {"event": "epoch", "epoch": 1, "epochs": 4, "loss": 2.0, "retrieval_top1": 0.5})
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "epo')
    (event,) = run.events()
    assert (event["epoch"], event["loss"]) == (1, 2.0)
    assert abs(event["time"] - time.time()) < 10
    assert run.progress().share == 0.25
    assert "epoch 1 of 4" in run.progress().text


def test_runs_are_found_by_prefix_kind_and_state(store, queued, finetune_spec, encoding_spec):
    first, second = queued(finetune_spec()), queued(encoding_spec.features)
    third = queued(finetune_spec(seed=1))
    assert store.runs() == [third, second, first]
    assert store.runs("features") == [second]
    assert store.runs(state="done") == []
    change_state(first, {"queued"}, "running", process=ProcessIdentity.current())
    finish(first)
    assert store.runs(state="done") == [first]
    assert store.runs(state="queued") == [third, second]
    assert store.get(second.id[:10]) == second
    assert store.find(finetune_spec()) == first
    assert store.find(finetune_spec(seed=2)) is None
    with pytest.raises(RunError, match="no run 'xyz'"):
        store.get("xyz")


def test_an_ambiguous_prefix_is_refused(store, queued, finetune_spec):
    runs = [queued(finetune_spec(seed=seed)) for seed in range(17)]  # more runs than hexadecimal digits
    digits = [run.id[0] for run in runs]
    twice = max(set(digits), key=digits.count)
    with pytest.raises(RunError, match="begin with"):
        store.get(twice)


def test_a_spec_is_read_back(run, finetune_spec):
    assert run.spec == finetune_spec()
    assert run.label == "finetune subj01 lh V1v contrastive"
    assert json.loads((run.path / "spec.json").read_text())["kind"] == "finetune"
