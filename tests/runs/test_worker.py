"""The worker: what it takes next, and what happens when it or its child is killed; with real processes."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from brainviz.datasets.index import build_index
from brainviz.runs import worker as worker_module
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.queue import cancel, submit, wait, worker_slot
from brainviz.runs.remembered import memo_dir
from brainviz.runs.requests import make_spec
from brainviz.runs.store import SPEC, change_state, file_facts, write_json, write_manifest
from brainviz.runs.worker import claim, end_group, how_it_ended, next_run, work


def finish(run):
    change_state(run, {"queued"}, "running", process=ProcessIdentity.current())
    write_json(run.path / "result.json", {})
    write_manifest(run, {}, ProcessIdentity.current())


def test_the_oldest_run_whose_needs_are_met_is_next(store, queued, encoding_spec, finetune_spec):
    late = queued(encoding_spec)
    features, finetune = queued(encoding_spec.features), queued(encoding_spec.features.finetune)
    other = queued(finetune_spec(seed=1))
    for expected in (finetune, features, late, other):
        assert next_run(store.runs(state="queued"), store) == expected
        finish(expected)
    assert next_run(store.runs(state="queued"), store) is None


@pytest.mark.parametrize("end", ["failed", "cancelled", "lost", "missing"])
def test_a_run_whose_needs_came_to_nothing_fails_and_says_which(store, queued, encoding_spec, end):
    run = queued(encoding_spec)
    if end != "missing":
        change_state(queued(encoding_spec.features), {"queued"}, end, reason="It rained.")
    assert next_run(store.runs(state="queued"), store) is None
    assert run.state == "failed"
    assert encoding_spec.features.run_id[:12] in run.status().reason
    assert end in run.status().reason
    assert ("It rained." in run.status().reason) == (end != "missing")


def test_a_spec_of_another_version_of_brainviz_fails_alone(store, queued, finetune_spec):
    old, good = queued(finetune_spec()), queued(finetune_spec(seed=1))
    spec = finetune_spec().model_dump(mode="json")
    write_json(old.path / SPEC, {**spec, "mystery": 1})
    assert next_run(store.runs(state="queued"), store) == good
    assert old.state == "failed"
    assert "mystery" in old.status().reason


def test_a_run_is_claimed_once(queued, finetune_spec):
    run = queued(finetune_spec())
    assert claim(run, ProcessIdentity.current())
    assert not claim(run, ProcessIdentity.current())


def test_a_second_worker_leaves_at_once(store, queued, finetune_spec, monkeypatch):
    monkeypatch.setattr(worker_module, "SLOT_SECONDS", 0.1)
    run = queued(finetune_spec())
    with worker_slot(store):
        work(store)
    assert run.state == "queued"


def test_a_run_that_arrives_while_the_worker_gives_up_is_not_left_alone(store, queued, finetune_spec, monkeypatch):
    turns = []

    def turn(store, idle_seconds):
        turns.append([run.id for run in store.runs(state="queued")])
        if len(turns) == 1:
            # Queued after the last look, while the slot is still held: its sender starts no worker.
            run = queued(finetune_spec())
            with worker_slot(store) as free:
                assert not free
        else:
            change_state(run := store.runs()[0], {"queued"}, "cancelled")
            assert run.state == "cancelled"

    monkeypatch.setattr(worker_module, "_work_until_idle", turn)
    work(store, idle_seconds=0)
    assert turns == [[], [finetune_spec().run_id]]


def test_an_idle_worker_ends_and_gives_its_slot_back(store):
    began = time.monotonic()
    work(store, idle_seconds=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    with worker_slot(store) as free:
        assert free


def test_a_stubborn_group_is_ended_whole(tmp_path, eventually, monkeypatch):
    monkeypatch.setattr(worker_module, "TERM_SECONDS", 0.3)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    )
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {stubborn!r}], stdout=open(sys.argv[1], "w"))
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "ready")], stdout=subprocess.PIPE, text=True, process_group=0
    )
    grandchild = psutil.Process(int(parent.stdout.readline()))
    eventually((tmp_path / "ready").read_text)
    end_group(parent)
    assert parent.returncode == -signal.SIGTERM
    eventually(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)
    parent.stdout.close()


def test_an_exit_is_a_failure_and_a_signal_a_loss(queued, finetune_spec):
    run = queued(finetune_spec())
    assert how_it_ended(3, run)[0] == "failed"
    state, reason = how_it_ended(-signal.SIGKILL, run)
    assert state == "lost"
    assert "memory" in reason


# --- real workers and real children -----------------------------------------------------------------------------------


def gone(process):
    return process.alive() is False


@pytest.fixture
def computing(endless_spec, worker, eventually):
    """Return a run that a real worker's child is computing, and will be for ever."""
    run = submit(endless_spec())
    eventually(lambda: run.status().process is not None and run.events())
    return run


def test_a_killed_child_loses_its_run_which_can_be_asked_for_again(computing, endless_spec, worker, eventually):
    first = computing.status().process
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: computing.state != "running")
    assert computing.state == "lost"
    assert "SIGKILL" in computing.status().reason
    assert submit(endless_spec()) == computing
    eventually(lambda: computing.status().process not in (None, first))
    assert computing.state == "running"
    assert worker.poll() is None


def test_a_killed_worker_takes_its_child_along_and_the_run_is_lost(computing, worker, eventually):
    child = computing.status().process
    worker.kill()
    worker.wait()
    eventually(lambda: gone(child), seconds=5)
    assert computing.state == "lost"


def test_cancelling_ends_the_group_and_removes_what_was_written(computing, eventually):
    child = computing.status().process
    (computing.path / "r.npy").touch()
    assert os.getpgid(child.pid) == child.pid
    cancel(computing.id)
    assert wait(computing, timeout=10).state == "cancelled"
    assert gone(child)
    left = {path.name for path in computing.path.iterdir()}
    assert left == {".lock", "events.jsonl", "log.txt", "spec.json", "state.json"}


def test_a_run_fails_with_its_reason_and_so_does_what_builds_on_it(store, encoding_spec, worker):
    run = wait(submit(encoding_spec), timeout=30)
    tuned = store.find(encoding_spec.features.finetune)
    assert tuned.state == run.state == "failed"
    assert "Nothing is known of the data set" in tuned.status().reason
    assert "To mend it" in tuned.status().reason
    assert "Traceback" in tuned.log()
    assert f"features run {encoding_spec.features.run_id[:12]}" in run.status().reason


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_no_half_result_that_reads_as_done(tiny_dataset, store, worker, eventually):
    index = build_index(tiny_dataset, memo_dir())
    ends = []
    for number in range(12):
        small = {"network": "squeezenet1_1", "weights": "random", "image_size": 32, "epochs": 3, "seed": number}
        spec = make_spec("finetune", tiny_dataset, index, subject="subj01", hemi="lh", roi="V1v", **small)
        run = submit(spec)
        eventually(lambda run=run: run.status().process is not None)
        # From before torch is there to after the manifest; the last ones are left alone to see that they would end.
        time.sleep(0.4 * number)
        child = run.status().process
        if number < 10 and child.alive():
            os.kill(child.pid, signal.SIGKILL)
        ends.append(wait(run, timeout=60).state)
        if ends[-1] == "done":
            for name, facts in run.manifest()["files"].items():
                assert file_facts(run.path / name) == facts
        else:
            assert not (run.path / "manifest.json").exists()
            assert not (run.path / "weights.safetensors").exists()
    assert set(ends) == {"lost", "done"}
