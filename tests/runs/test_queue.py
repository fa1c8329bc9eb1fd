"""Submitting, joining, repeating, cancelling and waiting; no worker computes here."""

import multiprocessing
import time

import pytest

from brainviz.errors import RunError, SpecError
from brainviz.runs import queue
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.queue import cancel, ensure_worker, submit, wait, worker_slot
from brainviz.runs.store import CANCEL, Store, abandon, append_event, change_state, write_json, write_manifest


@pytest.fixture
def slot_taken(store):
    """Hold the worker slot, so that nobody starts a worker."""
    with worker_slot(store) as mine:
        assert mine
        yield


def start(run):
    assert change_state(run, {"queued"}, "running", process=ProcessIdentity.current(), worker=ProcessIdentity.current())


def finish(run):
    start(run)
    write_json(run.path / "result.json", {})
    write_manifest(run, {}, ProcessIdentity.current())


@pytest.mark.usefixtures("slot_taken")
def test_what_a_run_builds_on_comes_first(store, encoding_spec):
    run = submit(encoding_spec)
    assert [each.kind for each in reversed(store.runs(state="queued"))] == ["finetune", "features", "encoding"]
    assert run == store.run_of(encoding_spec)


@pytest.mark.usefixtures("slot_taken")
def test_a_queued_or_running_run_is_joined(finetune_spec):
    run = submit(finetune_spec(), "cpu")
    first = run.status()
    assert submit(finetune_spec(), "cuda").status() == first
    start(run)
    assert submit(finetune_spec()) == run
    assert run.state == "running"
    assert run.status().device == "cpu"


@pytest.mark.usefixtures("slot_taken")
def test_a_finished_run_is_not_asked_for_again_nor_what_it_builds_on(store, encoding_spec):
    run = submit(encoding_spec)
    for needed in (encoding_spec.features.finetune, encoding_spec.features):
        abandoned = store.find(needed)
        start(abandoned)
        abandon(abandoned, "failed", "?", ProcessIdentity.current())
    finish(run)
    assert submit(encoding_spec).state == "done"
    assert store.runs(state="queued") == []


@pytest.mark.usefixtures("slot_taken")
@pytest.mark.parametrize("end", ["failed", "cancelled", "lost"])
def test_a_run_that_came_to_nothing_starts_afresh(finetune_spec, end):
    run = submit(finetune_spec())
    start(run)
    (run.path / "log.txt").write_text("old")
    append_event(run, {"event": "note", "text": "old"})
    (run.path / CANCEL).touch()
    abandon(run, end, "?", ProcessIdentity.current())
    (run.path / "left over.npy").touch()
    assert submit(finetune_spec(), "cpu") == run
    status = run.status()
    assert (status.state, status.reason, status.process, status.device) == ("queued", "", None, "cpu")
    assert {path.name for path in run.path.iterdir()} == {".lock", "spec.json", "state.json"}


@pytest.mark.usefixtures("slot_taken")
def test_what_failed_is_repeated_for_what_builds_on_it(store, encoding_spec):
    submit(encoding_spec)
    needed = store.find(encoding_spec.features.finetune)
    start(needed)
    abandon(needed, "lost", "?", ProcessIdentity.current())
    submit(encoding_spec)
    assert needed.state == "queued"


def submit_at_once(cache, spec, barrier, answers):
    barrier.wait()
    run = submit(spec, store=Store(cache))
    answers.put((run.id, run.status().submitted))


@pytest.mark.usefixtures("slot_taken")
def test_four_people_who_ask_at_once_get_one_run(store, encoding_spec):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    people = [
        context.Process(target=submit_at_once, args=(store.cache, encoding_spec, barrier, answers)) for _ in range(4)
    ]
    for person in people:
        person.start()
    got = {answers.get(timeout=30) for _ in people}
    for person in people:
        person.join()
    assert len(got) == 1
    assert len(store.runs()) == 3


def test_a_device_that_there_is_not_is_refused(store, finetune_spec):
    with pytest.raises(SpecError, match="no such device"):
        submit(finetune_spec(), "tpu")
    assert store.runs() == []


@pytest.mark.usefixtures("slot_taken")
def test_a_queued_run_is_cancelled_at_once(finetune_spec):
    run = submit(finetune_spec())
    assert cancel(run.id[:12]).state == "cancelled"
    assert cancel(run.id).state == "cancelled"


@pytest.mark.usefixtures("slot_taken")
def test_a_running_run_is_asked_to_stop(finetune_spec):
    run = submit(finetune_spec())
    start(run)
    assert cancel(run.id).state == "running"
    assert (run.path / CANCEL).exists()


@pytest.mark.usefixtures("slot_taken")
def test_what_is_done_cannot_be_cancelled(finetune_spec):
    run = submit(finetune_spec())
    finish(run)
    with pytest.raises(RunError, match="state done"):
        cancel(run.id)


@pytest.mark.usefixtures("slot_taken")
def test_waiting_has_an_end(finetune_spec):
    run = submit(finetune_spec())
    seen = []
    with pytest.raises(TimeoutError, match="still queued"):
        wait(run, timeout=0.3, notice=seen.append)
    assert seen == [run] * len(seen)
    cancel(run.id)
    assert wait(run).state == "cancelled"


def test_a_worker_is_started_only_when_there_is_none(store, monkeypatch):
    started = []
    monkeypatch.setattr(queue, "start_detached", lambda *arguments: started.append(arguments))
    with worker_slot(store):
        ensure_worker(store)
    assert not started
    ensure_worker(store)
    ((arguments, cache, log),) = started
    assert arguments == ["-m", "brainviz", "worker"]
    assert cache == store.cache
    assert log.parent == store.cache / "workers"


def test_waiting_revives_a_queue_whose_worker_died(store, queued, finetune_spec, monkeypatch):
    run = queued(finetune_spec())
    monkeypatch.setattr(queue, "ENSURE_WORKER_SECONDS", 0.0)
    monkeypatch.setattr(queue, "ensure_worker", lambda store: cancel(run.id, store=store))
    assert wait(run, timeout=10).state == "cancelled"
    assert time.time() - run.status().finished < 10
