"""Asking for runs: submit, cancel, wait, estimate; and making sure that somebody computes."""

from __future__ import annotations

import fcntl
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from brainviz.errors import RunError, SpecError
from brainviz.runs.processes import start_detached
from brainviz.runs.spec_base import Spec
from brainviz.runs.store import CANCEL, ENDED, Run, Store, change_state, enqueue, locked

#: Where a run may be asked to compute.
DEVICES = ("auto", "cpu", "cuda")

#: How often a waiting program looks at the disk, and how often it makes sure that a worker lives.
POLL_SECONDS = 0.2
ENSURE_WORKER_SECONDS = 5.0


def submit(spec: Spec, device: str = "auto", *, store: Store | None = None) -> Run:
    """Ask for a run and everything it builds on, and see to it that a worker computes them.

    A run that is done is returned as it is; one that is queued or running is joined; one that failed, was cancelled or
    got lost is cleared and queued again.

    Parameters
    ----------
    spec : Spec
    device : str
        ``"auto"`` (CUDA when there is one), ``"cpu"`` or ``"cuda"``. Not part of the spec: see `store.Status`.
    store : Store, optional
        The store in the configured cache unless given.

    Returns
    -------
    Run
        The run; its state may still be queued.

    Raises
    ------
    SpecError
        There is no such device.
    """
    if device not in DEVICES:
        raise SpecError("There is no such device.", got=device, expected=", ".join(DEVICES))
    store = store or Store()
    run = _enqueue_with_dependencies(spec, device, store)
    if run.state not in ENDED:
        ensure_worker(store)
    return run


def _enqueue_with_dependencies(spec: Spec, device: str, store: Store) -> Run:
    run = store.find(spec)
    if run is not None and run.state in ("running", "done"):
        return run
    # First what it builds on: the oldest request is computed first.
    for needed in spec.dependencies():
        _enqueue_with_dependencies(needed, device, store)
    run = store.run_of(spec)
    with locked(run):
        if store.find(spec) is None or run.state in ("failed", "cancelled", "lost"):
            enqueue(run, spec, device)
    return run


def cancel(run_id: str, *, store: Store | None = None) -> Run:
    """Ask a run to stop; what it wrote so far is removed.

    A queued run is cancelled at once. A running one is ended by its worker within seconds: see `wait`.

    Parameters
    ----------
    run_id : str
        The id, or enough of its first digits.
    store : Store, optional

    Raises
    ------
    RunError
        There is no such run, or it has ended already.
    """
    run = (store or Store()).get(run_id)
    if change_state(run, {"queued"}, "cancelled", finished=time.time(), reason="Cancelled before it started."):
        return run
    state = run.state
    if state == "running":
        (run.path / CANCEL).touch()
    elif state != "cancelled":
        raise RunError(f"Run {run.id[:12]} cannot be cancelled.", got=f"state {state}", expected="queued or running")
    return run


def wait(
    run: Run, *, timeout: float | None = None, notice: Callable[[Run], None] | None = None, store: Store | None = None
) -> Run:
    """Wait until a run has ended, and keep a worker alive meanwhile.

    Parameters
    ----------
    run : Run
    timeout : float, optional
        Seconds; None waits as long as it takes.
    notice : callable, optional
        Called with the run at every look at the disk, to show progress.
    store : Store, optional

    Returns
    -------
    Run
        The same run, in one of the states `store.ENDED`.

    Raises
    ------
    TimeoutError
        It has not ended in time.
    """
    store = store or Store()
    began = ensured = time.monotonic()
    while (state := run.state) not in ENDED:
        if notice is not None:
            notice(run)
        now = time.monotonic()
        if timeout is not None and now - began > timeout:
            raise TimeoutError(f"Run {run.id[:12]} is still {state} after {timeout:g} s.")
        if state == "queued" and now - ensured > ENSURE_WORKER_SECONDS:
            ensure_worker(store)
            ensured = now
        time.sleep(POLL_SECONDS)
    return run


def ensure_worker(store: Store | None = None) -> None:
    """Start this machine's worker unless it is there.

    The slot is a file lock: who can take it knows that there is no worker. A worker that gives up its slot looks for
    queued runs once more afterwards, so a run queued before this call is never left alone.
    """
    store = store or Store()
    with worker_slot(store) as free:
        pass
    if free:
        start_detached(
            ["-m", "brainviz", "worker"], store.cache, _workers_folder(store) / f"{socket.gethostname()}.log"
        )


@contextmanager
def worker_slot(store: Store) -> Iterator[bool]:
    """Try to take this machine's worker slot; yields whether it was free, and holds it inside the block."""
    with (_workers_folder(store) / f"{socket.gethostname()}.lock").open("a") as lock:
        yield _try_lock(lock)


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _workers_folder(store: Store) -> Path:
    folder = store.cache / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
