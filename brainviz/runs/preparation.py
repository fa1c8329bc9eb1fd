"""Reading a data set or a classification task for the app: once, in a process of its own that outlives the app.

The child is ``python -m brainviz.runs.preparation NAME``: it writes the demo data set when that is what is asked for,
checks every file, and leaves a report. The name of a task begins with ``task:`` (see `task_key`); its pictures are read
and remembered. ``<cache>/preparation/<name>/`` holds its lock, ``state.json``, ``report.json``
and ``log.txt``.
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from brainviz.config import cache_dir
from brainviz.datasets import dataset_folder, dataset_names, open_dataset
from brainviz.datasets.algonauts import find_root
from brainviz.datasets.check import Report, check_dataset
from brainviz.datasets.index import DatasetIndex, remembered_index
from brainviz.datasets.tasks import build_task_index, open_task, remembered_task_index, task_names
from brainviz.errors import BrainvizError, DatasetError
from brainviz.runs.processes import ProcessIdentity, start_detached
from brainviz.runs.remembered import memo_dir
from brainviz.runs.store import write_json

#: Progress is written down at most so often.
PROGRESS_SECONDS = 0.3

#: A check on another host is taken for dead when it has told nothing for so long.
SILENT_SECONDS = 600.0

#: What the name of a task begins with here.
TASK = "task:"

STATE, REPORT, LOCK, LOG = "state.json", "report.json", ".lock", "log.txt"


@dataclass(frozen=True)
class Preparation:
    """How far the reading of a data set or task is.

    Attributes
    ----------
    state : str
        ``"absent"`` (nobody checked it, or its files have changed since), ``"running"``, ``"ready"`` (there is a
        report, with whatever problems it found) or ``"failed"`` (there is none).
    done, total : int
        Files, while it runs; total is 0 until it is known.
    message : str
        What it is doing, or why it failed.
    """

    state: Literal["absent", "running", "ready", "failed"]
    done: int = 0
    total: int = 0
    message: str = ""


def task_key(task: str) -> str:
    """Return the name of a task for the functions of this module."""
    return TASK + task


def start(name: str) -> Preparation:
    """Start the reading of a data set or task unless it runs already; return at once.

    Parameters
    ----------
    name : str
        One of `brainviz.datasets.dataset_names`, or `task_key` of one of `brainviz.datasets.tasks.task_names`. Paths
        are refused: the app serves only what is named.

    Raises
    ------
    DatasetError
        There is no data set or task of this name.
    """
    folder = _folder(name)
    with (folder / LOCK).open("a") as lock:
        # Held while the child is started and noted, so that two sessions of the app start one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (current := status(name)).state == "running":
            return current
        process = start_detached(["-m", "brainviz.runs.preparation", name], cache_dir(), folder / LOG)
        _write(folder, "running", message="starting", process=process)
    return Preparation("running", message="starting")


def status(name: str) -> Preparation:
    """Return how far the reading of a data set or task is. Quick: reads no big file.

    Raises
    ------
    DatasetError
        There is no data set or task of this name.
    """
    folder = _folder(name)
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Preparation("absent")
    if state["state"] == "running":
        alive = ProcessIdentity(**state["process"]).alive()
        silent = time.time() - (folder / STATE).stat().st_mtime
        if alive is False or (alive is None and silent > SILENT_SECONDS):
            return Preparation("failed", message="The check was interrupted. Start it again.")
        return Preparation("running", state["done"], state["total"], state["message"])
    if state["state"] == "failed":
        return Preparation("failed", message=state["message"])
    as_read = _task_as_read(folder) if name.startswith(TASK) else _still_as_reported(folder)
    return Preparation("ready") if as_read else Preparation("absent")


def report(name: str) -> Report | None:
    """Return what the last check found, or None when there was none (or the files have changed since).

    Its index is there unless nothing of the data set can be used.

    Raises
    ------
    DatasetError
        There is no data set of this name.
    """
    folder = _folder(name)
    if status(name).state != "ready":
        return None
    found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return replace(Report.from_json(found), index=_index_now(found))


def _task_as_read(folder: Path) -> bool:
    """Return whether a task's files still have the contents that were read, as far as size and time tell."""
    found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    try:
        index = remembered_task_index(open_task(found["name"]), memo_dir())
    except DatasetError:
        return False
    return index is not None and bool(index.fingerprint == found["fingerprint"])


def _still_as_reported(folder: Path) -> bool:
    """Return whether the files still have the contents that the report is about, as far as size and time tell."""
    found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    index = _index_now(found)
    if index is None:
        # Where nothing could be used there is nothing to compare: the report stands until the next check.
        return bool(Report.from_json(found).errors)
    return bool(index.fingerprint == found["fingerprint"])


def _index_now(found: Mapping[str, Any]) -> DatasetIndex | None:
    """Return the index of the files as they are; None where they were changed, or cannot be used."""
    try:
        return remembered_index(open_dataset(Path(found["root"])), memo_dir())
    except DatasetError:
        return None


def prepare(name: str, progress: Callable[[str, int, int], None]) -> Path:
    """Write the demo if that is meant, check the data set or task and leave the report; return the report's file.

    Parameters
    ----------
    name : str
        As for `start`.
    progress : callable
        Takes what is being done, files done, files in all.
    """
    folder = _folder(name)
    if name.startswith(TASK):
        progress("finding the pictures", 0, 0)
        task = open_task(name.removeprefix(TASK))
        known = build_task_index(task, memo_dir(), lambda done, total: progress("reading pictures", done, total))
        facts = {"name": task.name, "fingerprint": known.fingerprint, "layout": task.layout}
        write_json(folder / REPORT, {**facts, "n_images": len(task), "n_classes": len(task.classes)})
        return folder / REPORT
    progress("finding the data set", 0, 0)
    root = dataset_folder(name)
    found = check_dataset(root, memo_dir(), lambda done, total: progress("checking files", done, total))
    if found.index is not None:
        root = find_root(root)
    write_json(folder / REPORT, {"root": str(root.resolve()), **found.to_json()})
    return folder / REPORT


def _folder(name: str) -> Path:
    known = task_names() if name.startswith(TASK) else dataset_names()
    if name.removeprefix(TASK) not in known:
        what = "classification task" if name.startswith(TASK) else "data set"
        raise DatasetError(f"There is no {what} of this name.", got=name.removeprefix(TASK), expected=", ".join(known))
    folder = cache_dir() / "preparation" / quote(name, safe="")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(
    folder: Path, state: str, done: int = 0, total: int = 0, message: str = "", process: ProcessIdentity | None = None
) -> None:
    identity = asdict(process) if process else None
    write_json(folder / STATE, {"state": state, "done": done, "total": total, "message": message, "process": identity})


def main() -> int:
    """Prepare the data set that the command line names, noting how it goes; return the exit status."""
    (name,) = sys.argv[1:]
    folder, me = _folder(name), ProcessIdentity.current()
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until `start` has noted this process
    told = 0.0

    def progress(message: str, done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            _write(folder, "running", done, total, message, me)

    try:
        prepare(name, progress)
    except Exception as error:  # The boundary of the check: whatever went wrong belongs into its record.
        traceback.print_exc()
        text = (
            str(error) if isinstance(error, BrainvizError) else f"{type(error).__name__}: {error}; see {folder / LOG}."
        )
        _write(folder, "failed", message=text)
        return 1
    _write(folder, "ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
