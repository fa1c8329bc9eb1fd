"""The worker: one per machine, takes queued runs one after the other and has each computed by a child process group of
its own.

It computes nothing itself and imports no torch: it starts the child, watches for a request to cancel, and writes down
how the child ended. It gives up its slot when there has been nothing to do for a while.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil

from brainviz.config import REPOSITORY
from brainviz.errors import SpecError
from brainviz.runs.processes import SLEEPING_THREADS, ProcessIdentity
from brainviz.runs.queue import worker_slot
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import CANCEL, HEARTBEAT, LOG, Run, State, Store, abandon, change_state

IDLE_SECONDS = 20.0
POLL_SECONDS = 0.25

#: How long a cancelled run may take to go by itself (SIGTERM) before it is ended (SIGKILL).
TERM_SECONDS = 5.0

#: How long a starting worker tries to get the slot: somebody may be holding it just to see whether it is free.
SLOT_SECONDS = 2.0


def work(store: Store | None = None, *, idle_seconds: float = IDLE_SECONDS) -> None:
    """Hold this machine's slot and compute queued runs until there has been none for `idle_seconds`.

    Returns at once, or nearly so, when another worker holds the slot.

    Parameters
    ----------
    store : Store, optional
    idle_seconds : float
    """
    store = store or Store()
    while _got_slot(store, idle_seconds):
        # Who queued a run while this worker still held its slot started none: so look again, now that the slot is free.
        if not store.runs(state="queued"):
            return


def _got_slot(store: Store, idle_seconds: float) -> bool:
    """Work for as long as there is something to do, if the slot can be had; return whether it could."""
    deadline = time.monotonic() + SLOT_SECONDS
    while True:
        with worker_slot(store) as mine:
            if mine:
                _work_until_idle(store, idle_seconds)
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def _work_until_idle(store: Store, idle_seconds: float) -> None:
    me = ProcessIdentity.current()
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < idle_seconds:
        queued = store.runs(state="queued")
        run = next_run(queued, store)
        if run is not None and claim(run, me):
            say(f"{run.id[:12]} {run.label}: start")
            execute(run, me)
            say(f"{run.id[:12]} {run.label}: {run.state}")
        if queued:
            idle_since = time.monotonic()
        if run is None:
            time.sleep(POLL_SECONDS)


def next_run(queued: list[Run], store: Store) -> Run | None:
    """Return the oldest queued run that can start; fail those that build on a run that did not get done."""
    for run in reversed(queued):
        try:
            needed = run.spec.dependencies()
        except SpecError as error:  # written by another version of brainviz
            change_state(run, {"queued"}, "failed", finished=time.time(), reason=str(error))
            continue
        states = [_state_of(spec, store) for spec in needed]
        for spec, state in zip(needed, states, strict=True):
            if state in ("failed", "cancelled", "lost", "missing"):
                reason = f"It builds on the {spec.kind} run {spec.run_id[:12]} ({spec.label}), which is {state}."
                if (needed_run := store.find(spec)) is not None:
                    reason = f"{reason}\n{needed_run.status().reason}".rstrip()
                change_state(run, {"queued"}, "failed", finished=time.time(), reason=reason)
                break
        if all(state == "done" for state in states):
            return run
    return None


def _state_of(spec: Spec, store: Store) -> str:
    run = store.find(spec)
    return run.state if run is not None else "missing"


def claim(run: Run, worker: ProcessIdentity) -> bool:
    """Take a queued run for this worker; return whether it was still to be had."""
    (run.path / HEARTBEAT).touch()
    return change_state(run, {"queued"}, "running", started=time.time(), worker=worker)


def execute(run: Run, worker: ProcessIdentity) -> None:
    """Have a claimed run computed by a child in a process group of its own, and write down how it ended."""
    with (run.path / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "brainviz.runs.execute", str(run.path), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            env={**SLEEPING_THREADS, **os.environ},
            process_group=0,
        )
    cancelled = False
    try:
        while not cancelled and not has_exited(child):
            time.sleep(POLL_SECONDS)
            cancelled = (run.path / CANCEL).exists()
    finally:
        # Whatever the reason for leaving, nothing goes on computing: neither the child nor helpers it left behind.
        end_group(child)
    if run.state == "done":
        for name in (CANCEL, HEARTBEAT):
            (run.path / name).unlink(missing_ok=True)
    elif cancelled:
        abandon(run, "cancelled", "Cancelled while it ran.", worker)
    else:
        state, reason = how_it_ended(child.returncode, run)
        abandon(run, state, reason, worker)


def has_exited(child: subprocess.Popen[bytes]) -> bool:
    """Return whether a child has ended, without collecting its exit status.

    Until the status is collected the number of the process, and so that of its group, cannot be given to others.
    """
    return psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and every process of its group: SIGTERM first, SIGKILL for what is left after `TERM_SECONDS`."""
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + TERM_SECONDS
    while not has_exited(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS answers so when only the ended child itself is left of the group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def how_it_ended(code: int, run: Run) -> tuple[State, str]:
    """Return state and reason for a child that wrote down neither: a signal loses a run, other ends are failures."""
    if code >= 0:
        return (
            "failed",
            f"The computing process ended with exit code {code} and left no result; see the log {run.path / LOG}.",
        )
    name = signal.Signals(-code).name
    hint = " If nobody did that, the machine may have run out of memory." if name == "SIGKILL" else ""
    return "lost", f"The computing process was ended by {name}.{hint}"


def say(text: str) -> None:
    """Write a line into the worker's log."""
    sys.stdout.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    sys.stdout.flush()
