"""Starting, watching and cancelling: what is started, and how much time is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from brainviz.runs import queue
from brainviz.runs.processes import ProcessIdentity
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import Run, Store, append_event, change_state, enqueue, locked
from brainviz.ui.choices import Choice, choose
from brainviz.ui.run_controls import active_runs, asked_for, cancel, submit, time_left, to_start
from brainviz.ui.sources import Source

SCALARS = {"epochs": 4, "loss": 1.0, "retrieval_top1": 0.5, "seconds": 12.0, "images_per_second": 9.0}


@pytest.fixture
def choice(source: Source) -> Choice:
    settings = {"contrastive": {"network": "alexnet_compact", "weights": "random", "image_size": 32, "epochs": 4}}
    return choose("finetune", source, ["subj01"], ["lh", "rh"], ["V1"], ["contrastive"], settings)


@pytest.fixture
def store(choice: Choice, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store; nobody computes."""
    monkeypatch.setattr(queue, "ensure_worker", lambda store=None: None)
    return Store()


def start(run: Run, seconds_ago: float, epochs: Iterable[int]) -> None:
    """Pretend that this process has computed a queued run for a while."""
    me = ProcessIdentity.current()
    assert change_state(run, {"queued"}, "running", process=me, started=time.time() - seconds_ago)
    for epoch in epochs:
        append_event(run, {"event": "epoch", "epoch": epoch, "epochs": 4, "loss": 1.0})


def queued(spec: Spec, store: Store) -> Run:
    run = store.run_of(spec)
    with locked(run):
        enqueue(run, spec, "cpu")
    return run


def test_only_what_is_not_there_is_started(choice: Choice, store: Store, finish_run: Callable[..., Any]) -> None:
    finish_run(choice.specs[0], SCALARS)
    assert to_start(choice.specs) == [choice.specs[1]]
    submit(to_start(choice.specs))
    assert to_start(choice.specs) == []
    assert [run.id for run in active_runs(choice.specs, store)] == [choice.specs[1].run_id]


def test_what_was_asked_for(choice: Choice, store: Store) -> None:
    assert asked_for(choice.specs) == []
    submit(choice.specs[1:])
    assert asked_for(choice.specs) == [choice.specs[1]]


def test_cancel_takes_what_has_ended_meanwhile(choice: Choice, store: Store, finish_run: Callable[..., Any]) -> None:
    done, waiting = finish_run(choice.specs[0], SCALARS), queued(choice.specs[1], store)
    cancel([done.id, waiting.id])
    assert (done.state, waiting.state) == ("done", "cancelled")
    assert to_start(choice.specs) == [choice.specs[1]]


def test_time_left_without_finished_runs_is_judged_from_the_running_one(choice: Choice, store: Store) -> None:
    runs = [queued(spec, store) for spec in choice.specs]
    assert time_left(runs, choice.specs, store) is None
    start(runs[0], 30, [1])
    # A quarter took 30 s: 90 s for the rest of this one, 120 s for the other.
    assert time_left(runs, choice.specs, store) == pytest.approx(210, abs=3)


def test_time_left_is_judged_from_finished_runs(
    choice: Choice, store: Store, source: Source, finish_run: Callable[..., Any]
) -> None:
    settings = {"contrastive": {"network": "alexnet_compact", "weights": "random", "image_size": 32, "epochs": 8}}
    other = choose("finetune", source, ["subj01"], ["lh"], ["V2v"], ["contrastive"], settings).specs[0]
    finish_run(other, SCALARS)  # in 12 s, for twice the epochs
    runs = [queued(spec, store) for spec in choice.specs]
    start(runs[0], 2, [])
    assert time_left(runs, choice.specs, store) == pytest.approx(6 + 6 - 2, abs=1)
